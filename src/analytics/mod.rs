//! The read side: one function per question a client may ask, each for many keys at once. Answers come
//! from rollups, listener sets and the catalogue, never from the event table.

mod catalogue;
mod counters;
mod listeners;
mod ranking;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono_tz::Tz;

pub use ranking::{RankedEntity, RankingQuestion, value_of};

use crate::{
    audience::open::OpenAudience,
    db::{Database, DbError},
    domain::{
        clock::SharedClock,
        commit::Watermark,
        measure::{MeasureKey, Measures},
        window::{AskedWindow, Window},
    },
};

/// The service that answers. Cheap to clone.
#[derive(Clone)]
pub struct Analytics {
    database: Database,
    open_audience: Arc<OpenAudience>,
    watermark: Arc<Watermark>,
    clock: SharedClock,
    rankings: ranking::RankingCache,
}

impl Analytics {
    /// `cache_for` is how long an answer that took long to compute may be given again.
    pub fn new(
        database: Database,
        open_audience: Arc<OpenAudience>,
        watermark: Arc<Watermark>,
        clock: SharedClock,
        cache_for: Duration,
    ) -> Self {
        Self { database, open_audience, watermark, clock, rankings: ranking::RankingCache::new(cache_for) }
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// When the newest counted event happened; `None` while nothing has been counted.
    pub fn newest_event_ms(&self) -> Option<i64> {
        self.watermark.newest_ms()
    }

    /// The stored window that a question means at this moment.
    pub fn window(&self, asked: AskedWindow, zone: Tz) -> Window {
        let now_ms = self.now_ms();
        asked.resolve(now_ms, zone, self.watermark.oldest_ms().unwrap_or(now_ms))
    }

    /// Counters, money and listeners of many entities over many windows.
    ///
    /// Shape: one [`Measures`] per key, zero where nothing happened. Units: counts, milliseconds, minor
    /// units. Source: the rollups and the audience sets. The number of statements depends on the kinds
    /// of entities and on what is needed, never on how many keys there are.
    pub async fn measures(&self, keys: &[MeasureKey]) -> Result<HashMap<MeasureKey, Measures>, DbError> {
        let mut answers: HashMap<MeasureKey, Measures> =
            keys.iter().map(|key| (key.clone(), Measures::default())).collect();
        counters::add_counters(&self.database, &mut answers).await?;
        counters::add_money(&self.database, &mut answers).await?;
        listeners::add_listeners(&self.database, &self.open_audience, self.now_ms(), &mut answers).await?;
        Ok(answers)
    }
}
