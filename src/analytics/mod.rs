//! The read side: one function per question a client may ask, each for many keys at once. Answers come
//! from rollups, listener sets, the catalogue and the last hour in memory, never from the event table.

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
        entity::EntityRef,
        measure::{MeasureKey, Measures},
        realtime::RealtimeNumbers,
        window::{AskedWindow, DAY_MS, Grain, Window},
    },
    realtime::Realtime,
};

/// The service that answers. Cheap to clone.
#[derive(Clone)]
pub struct Analytics {
    database: Database,
    open_audience: Arc<OpenAudience>,
    watermark: Arc<Watermark>,
    realtime: Arc<Realtime>,
    clock: SharedClock,
    rankings: ranking::RankingCache,
}

impl Analytics {
    /// `cache_for` is how long an answer that took long to compute may be given again.
    pub fn new(
        database: Database,
        open_audience: Arc<OpenAudience>,
        watermark: Arc<Watermark>,
        realtime: Arc<Realtime>,
        clock: SharedClock,
        cache_for: Duration,
    ) -> Self {
        Self { database, open_audience, watermark, realtime, clock, rankings: ranking::RankingCache::new(cache_for) }
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// When the newest counted event happened; `None` while nothing has been counted.
    pub fn newest_event_ms(&self) -> Option<i64> {
        self.watermark.newest_ms()
    }

    /// What happens right now, for an entity or for the whole platform. Source: the last hour in memory.
    pub fn realtime(&self, of: Option<&EntityRef>) -> RealtimeNumbers {
        self.realtime.read(of)
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
        // Nothing lies outside the days that hold events: a window of a hundred years costs what they do.
        // Narrowed once: the newest event can move on while the database is asked.
        let narrowed: Vec<MeasureKey> =
            keys.iter().map(|key| MeasureKey { window: self.narrowed(key.window), ..key.clone() }).collect();
        let mut answers: HashMap<MeasureKey, Measures> =
            narrowed.iter().map(|key| (key.clone(), Measures::default())).collect();
        counters::add_counters(&self.database, &mut answers).await?;
        counters::add_money(&self.database, &mut answers).await?;
        listeners::add_listeners(&self.database, &self.open_audience, self.now_ms(), &mut answers).await?;
        Ok(keys
            .iter()
            .zip(&narrowed)
            .map(|(key, narrowed)| (key.clone(), answers.get(narrowed).cloned().unwrap_or_default()))
            .collect())
    }

    /// The part of a window in which there are events. Where a window begins before the oldest or ends
    /// behind the newest event, its edge is moved to that event's day: one whole bucket then stands for
    /// up to 96 quarter-hours.
    fn narrowed(&self, window: Window) -> Window {
        let (Some(oldest_ms), Some(newest_ms)) = (self.watermark.oldest_ms(), self.watermark.newest_ms()) else {
            return Window { from_ms: window.from_ms, to_ms: window.from_ms };
        };
        let first_day = Grain::Day.bucket_of(oldest_ms);
        let end_of_days = Grain::Day.bucket_of(newest_ms) + DAY_MS;
        let from_ms = if window.from_ms <= oldest_ms { first_day } else { window.from_ms };
        let to_ms = if window.to_ms > newest_ms { end_of_days } else { window.to_ms };
        if window.to_ms <= oldest_ms || window.from_ms > newest_ms {
            return Window { from_ms: window.from_ms, to_ms: window.from_ms };
        }
        Window { from_ms, to_ms: to_ms.max(from_ms) }
    }
}
