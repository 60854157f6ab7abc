//! The read side: one function per question a client may ask, each for many keys at once. Answers come
//! from rollups, listener sets, the catalogue and the last hour in memory; only [`events`], [`explore`] and steps of a
//! [`funnel`] that ask for more than trails hold read the event table, and what a user did at known moments is looked up there.

mod active_users;
mod audience;
mod catalogue;
mod counters;
mod countries;
mod days;
mod events;
mod explore;
mod first_streams;
mod funnel;
mod listening;
mod log;
mod origins;
mod people;
mod ranking;
mod releases;
mod retention;
mod sessions;
mod trails;
mod trending;

use std::{collections::HashMap, sync::Arc, time::Duration};

use chrono_tz::Tz;
use tokio::sync::OnceCell;

pub use active_users::{ActiveUsers, MONTH_DAYS};
pub use audience::{
    ACTIVE_DAYS, AUDIENCE_DAYS, Audience, AudienceQuestion, AudienceThresholds, Overlap, REACTIVATED_DAYS,
};
pub use countries::{CountryPass, InCountry};
pub use events::{EventCount, EventPart, EventQuestion, EventSettings, FoundEvents, SeenEvent, Viewing, Way};
pub use explore::{
    ExploreAnswer, ExploreBudget, ExploreError, ExploreFilter, ExploreFrom, ExploreQuestion, ExploreSource, Key,
    KeyValue, Measure, NumberOf, OrderBy, Row, Statistic, Value,
};
pub use first_streams::FirstStream;
pub use funnel::{EventMatch, Funnel, FunnelBy, FunnelError, FunnelOrder, FunnelQuestion, Reached};
pub use listening::{KnownUser, StreamTimes, Tastes};
pub use origins::{Market, OriginNumbers, OriginsQuestion};
pub use people::Who;
pub use ranking::{PAGES_DEPTH, Place, PlaceKey, PositionKey, RankedEntity, RankingList, Totals, value_of};
pub use releases::{RELEASE_DAYS_MAX, ReleaseCurve, ReleaseQuestion, Releases};
pub use retention::{Cohort, RetentionQuestion};
pub use sessions::{SESSION_GAP_MS, Sessions};
pub use trails::{EVER, Walk};
pub use trending::{TRENDING_MAX, Trending, TrendingQuestion};

use crate::{
    audience::open::OpenAudience,
    db::{Database, DbError},
    domain::{
        clock::SharedClock,
        commit::Watermark,
        counting::CountingRules,
        entity::EntityRef,
        measure::{MeasureKey, Measures},
        merge::Merges,
        pseudonym::Pseudonyms,
        realtime::RealtimeNumbers,
        window::{AskedWindow, DAY_MS, Grain, Window},
    },
    realtime::Realtime,
};

/// What an operator may choose.
#[derive(Debug, Clone)]
pub struct AnalyticsSettings {
    /// How long an answer that took long to compute may be given again.
    pub cache_for: Duration,
    /// How long a list of what trends may be given again.
    pub trending_cache_for: Duration,
    /// Behind how many people a number of one country, source or device has to stand to be shown to artists.
    pub shown_people_min: u64,
    pub audience_thresholds: AudienceThresholds,
    /// How many lead each day, from whom rankings are told; with none, everybody is added up each time.
    pub day_leaders: usize,
    /// Which types of events make a user active; none for any.
    pub active_event_types: Arc<[String]>,
    pub events: EventSettings,
    pub explore: ExploreBudget,
    /// How events that are read one by one are counted.
    pub counting: CountingRules,
}

/// The service that answers. Cheap to clone.
#[derive(Clone)]
pub struct Analytics {
    database: Database,
    open_audience: Arc<OpenAudience>,
    watermark: Arc<Watermark>,
    merges: Merges,
    realtime: Arc<Realtime>,
    clock: SharedClock,
    rankings: ranking::RankingCache,
    leaders: ranking::DayLeaders,
    platform_markets: origins::PlatformMarketsCache,
    trending: trending::TrendingCache,
    shown_people_min: u64,
    audience_thresholds: AudienceThresholds,
    active_event_types: Arc<[String]>,
    explore_budget: ExploreBudget,
    counting: CountingRules,
    event_settings: EventSettings,
    /// Known from the first time that somebody needs them.
    pseudonyms: Arc<OnceCell<Pseudonyms>>,
}

impl Analytics {
    pub fn new(
        database: Database,
        open_audience: Arc<OpenAudience>,
        watermark: Arc<Watermark>,
        merges: Merges,
        realtime: Arc<Realtime>,
        clock: SharedClock,
        settings: AnalyticsSettings,
    ) -> Self {
        Self {
            database,
            open_audience,
            watermark,
            merges,
            realtime,
            clock,
            rankings: ranking::RankingCache::new(settings.cache_for),
            leaders: ranking::DayLeaders::new(settings.day_leaders),
            platform_markets: origins::platform_markets_cache(),
            trending: trending::cache(settings.trending_cache_for),
            shown_people_min: settings.shown_people_min,
            audience_thresholds: settings.audience_thresholds,
            active_event_types: settings.active_event_types,
            explore_budget: settings.explore,
            counting: settings.counting,
            event_settings: settings.events,
            pseudonyms: Arc::default(),
        }
    }

    pub fn audience_thresholds(&self) -> AudienceThresholds {
        self.audience_thresholds
    }

    /// Behind how many people at least a number of one country, source or device stands that artists are shown.
    pub fn shown_people_min(&self) -> u64 {
        self.shown_people_min
    }

    /// Which ids are one thing.
    pub fn merges(&self) -> &Merges {
        &self.merges
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// When the newest counted event happened; `None` while nothing has been counted.
    pub fn newest_event_ms(&self) -> Option<i64> {
        self.watermark.newest_ms()
    }

    /// The UTC day of the oldest counted event; today while nothing has been counted.
    pub fn first_day(&self) -> i64 {
        Grain::Day.bucket_of(self.watermark.oldest_ms().unwrap_or_else(|| self.now_ms()))
    }

    /// What the counters of a window are of; of days long past, an hour counts as a whole where it begins.
    pub fn counted_within(&self, window: Window) -> Window {
        self.watermark.keeping().counted_within(window)
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
        let narrowed: Vec<MeasureKey> = keys
            .iter()
            .map(|key| {
                let (entity, window) = (self.merges.canonical(&key.entity), self.narrowed(key.window));
                MeasureKey { entity, window, ..key.clone() }
            })
            .collect();
        let mut answers: HashMap<MeasureKey, Measures> = HashMap::with_capacity(keys.len());
        // What is merged is counted under each of its ids.
        let mut parts: HashMap<MeasureKey, Measures> = HashMap::with_capacity(keys.len());
        for key in &narrowed {
            answers.insert(key.clone(), Measures::default());
            parts.extend(self.members(key).map(|member| (member, Measures::default())));
        }
        counters::add_counters(&self.database, &mut parts).await?;
        counters::add_money(&self.database, &mut parts).await?;
        for (key, answer) in &mut answers {
            self.members(key).filter_map(|member| parts.get(&member)).for_each(|part| answer.add_sums(part));
        }
        self.add_people(&mut answers).await?;
        Ok(keys
            .iter()
            .zip(&narrowed)
            .map(|(key, narrowed)| (key.clone(), answers.get(narrowed).cloned().unwrap_or_default()))
            .collect())
    }

    /// Days of entities, each with everything that is read as it.
    async fn days(&self, asked: days::Asked) -> Result<days::Days, DbError> {
        asked.load(&self.database, &self.open_audience, &self.merges).await
    }

    /// The same question about everything that is read as its entity is.
    fn members<'a>(&self, key: &'a MeasureKey) -> impl Iterator<Item = MeasureKey> + use<'a> {
        let members = self.merges.members(&key.entity).into_iter();
        members.map(|entity: EntityRef| MeasureKey { entity, ..key.clone() })
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
