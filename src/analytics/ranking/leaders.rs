//! The first of each day, from which the first of several days are told without adding up everybody.
//!
//! Of each (kind, UTC day, counter) that somebody asks for, memory keeps those with the highest sums, and the value
//! that nobody else exceeds. So whoever leads in no day of a window has at most the sum of these values, and of the others
//! few have to be read exactly. Commits name what they change; it is read again before a day is next looked at.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future;
use moka::{future::Cache, policy::EvictionPolicy};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Analytics, RankedEntity, by_value};
use crate::{
    analytics::days::pieces,
    db::{
        Database, DbError,
        queries::{
            rankings::{self, Identity, Ranked},
            rollups,
        },
    },
    domain::{
        commit::{Changed, Extent},
        counting::Counter,
        entity::{EntityKind, EntityRef},
        measure::CounterSet,
        ranking::RankingQuestion,
        window::{Buckets, DAY_MS, Grain, Window},
    },
};

/// Days whose leaders are kept, each of some 100 kB: a quarter of a year by four metrics.
const DAYS_KEPT_MAX: u64 = 400;
/// Windows of more days are added up by the database: their leaders would push each other out.
const WINDOW_DAYS_MAX: usize = 100;
/// With more changes than this a day is listed anew.
const CHANGES_MAX: usize = 20_000;
/// Entities whose exact values are read at once: some more than a page has.
const READ_AT_ONCE: usize = 100;
/// Entities that are read before the database is asked after all.
const READ_MAX: usize = 2_000;

/// All days whose leaders are kept. Cheap to clone.
#[derive(Clone)]
pub struct DayLeaders {
    days: Cache<(EntityKind, i64, Counter), Arc<Day>>,
    /// How many lead; with none, the database is always asked.
    size: usize,
}

#[derive(Default)]
struct Day {
    changes: Mutex<Changes>,
    /// `None` while they are being read, and if that was broken off.
    leaders: tokio::sync::Mutex<Option<Arc<Leaders>>>,
}

/// What has changed since the leaders were read.
enum Changes {
    Of(FxHashSet<Arc<str>>),
    /// Anything.
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Leaders {
    values: FxHashMap<Arc<str>, i64>,
    /// The most that anybody else has.
    rest_max: i64,
}

impl DayLeaders {
    pub fn new(size: usize) -> Self {
        let days = Cache::builder().max_capacity(DAYS_KEPT_MAX).eviction_policy(EvictionPolicy::lru()).build();
        Self { days, size }
    }

    pub fn note(&self, changed: &Changed) {
        let mut kept: FxHashMap<(EntityKind, i64), Vec<Arc<Day>>> = FxHashMap::default();
        for (key, day) in &self.days {
            let (kind, start_ms, _) = *key;
            kept.entry((kind, start_ms)).or_default().push(day);
        }
        match changed {
            _ if kept.is_empty() => {}
            Changed::Entities(entities) => {
                for (entity, extent) in entities {
                    let days = days_of(*extent).filter_map(|day| kept.get(&(entity.kind, day)));
                    days.flatten().for_each(|day| day.lock().note(&entity.id));
                }
            }
            Changed::Everything { within } => {
                let is_within = |start_ms: i64| {
                    within.is_none_or(|extent| start_ms <= extent.newest_ms && extent.oldest_ms < start_ms + DAY_MS)
                };
                let days = kept.iter().filter(|((_, start_ms), _)| is_within(*start_ms)).flat_map(|(_, days)| days);
                days.for_each(|day| *day.lock() = Changes::Unknown);
            }
        }
    }

    async fn get(
        &self,
        database: &Database,
        (kind, start_ms, counter): (EntityKind, i64, Counter),
    ) -> Result<Arc<Leaders>, DbError> {
        // Known to commits before anything is read: whatever is not in what is read now will be named.
        let day = self.days.get_with((kind, start_ms, counter), async { Arc::default() }).await;
        let mut known = day.leaders.lock().await;
        let changes = std::mem::take(&mut *day.lock());
        let leaders = match (known.take(), changes) {
            (Some(leaders), Changes::Of(ids)) if ids.is_empty() => leaders,
            (Some(mut leaders), Changes::Of(ids)) => {
                let ids: Vec<Arc<str>> = ids.into_iter().collect();
                let counters: CounterSet = [counter].into_iter().collect();
                let rows =
                    rollups::list_counters(database.reader(), Grain::Day, &[start_ms], kind, &ids, counters).await?;
                let mut changed: FxHashMap<Arc<str>, i64> = FxHashMap::default();
                for (id, _, counters) in rows {
                    *changed.entry(id.into()).or_default() += counters[counter];
                }
                Arc::make_mut(&mut leaders).renew(changed, self.size);
                leaders
            }
            _ => {
                let buckets = Buckets { days: start_ms..start_ms + DAY_MS, quarters: [0..0, 0..0] };
                let ranked = Ranked { kind, identity: Identity::Plain, counter, buckets: &buckets, genre: None };
                let mut rows = rankings::list(database.reader(), ranked, self.size + 1).await?;
                let rest_max = if rows.len() > self.size { rows.pop().map_or(0, |(_, value)| value) } else { 0 };
                let values = rows.into_iter().map(|(id, value)| (id.into(), value)).collect();
                Arc::new(Leaders { values, rest_max })
            }
        };
        *known = Some(leaders.clone());
        Ok(leaders)
    }
}

fn days_of(extent: Extent) -> impl Iterator<Item = i64> {
    let step = usize::try_from(DAY_MS).expect("a day is a small positive number");
    (Grain::Day.bucket_of(extent.oldest_ms)..=extent.newest_ms).step_by(step)
}

impl Day {
    fn lock(&self) -> std::sync::MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::Of(FxHashSet::default())
    }
}

impl Changes {
    fn note(&mut self, id: &Arc<str>) {
        match self {
            Self::Of(ids) if ids.len() < CHANGES_MAX => {
                ids.insert(id.clone());
            }
            changes => *changes = Self::Unknown,
        }
    }
}

impl Leaders {
    /// Takes new values in. Where that makes too many, the last go, and nobody else has more than the first of them.
    fn renew(&mut self, changed: FxHashMap<Arc<str>, i64>, size: usize) {
        self.values.extend(changed.into_iter().filter(|(_, value)| *value > 0));
        if self.values.len() > 2 * size {
            let mut values: Vec<i64> = self.values.values().copied().collect();
            values.sort_unstable_by(|one, other| other.cmp(one));
            self.rest_max = self.rest_max.max(values[size]);
            let rest_max = self.rest_max;
            self.values.retain(|_, value| *value > rest_max);
        }
    }
}

/// Everybody who leads on any day, with the most that their value over all days can be, highest first; and the most that
/// anybody else's can be.
fn bounds(days: &[Arc<Leaders>]) -> (Vec<(Arc<str>, i64)>, i64) {
    let rest_max: i64 = days.iter().map(|day| day.rest_max).sum();
    let mut bounds: FxHashMap<&Arc<str>, i64> = FxHashMap::default();
    for day in days {
        for (id, value) in &day.values {
            *bounds.entry(id).or_insert(rest_max) += value - day.rest_max;
        }
    }
    let mut bounds: Vec<(Arc<str>, i64)> = bounds.into_iter().map(|(id, bound)| (id.clone(), bound)).collect();
    bounds.sort_unstable_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
    (bounds, rest_max)
}

impl Analytics {
    /// The beginning of a ranking by a counter: at least `least` entities by value and id, with all that are tied with
    /// the last; there are more. `None` where the leaders of its days do not tell.
    pub(super) async fn beginning(
        &self,
        question: &RankingQuestion,
        counter: Counter,
        least: usize,
    ) -> Result<Option<Vec<RankedEntity>>, DbError> {
        let window = self.narrowed(question.window);
        let united = self.merges.list_united(question.of);
        if !is_told_by_leaders(window) || question.among.genre.is_some() || self.leaders.size < least {
            return Ok(None);
        }
        let days = pieces(window).map(|(day, _)| self.leaders.get(&self.database, (question.of, day, counter)));
        let days = future::try_join_all(days).await?;
        let (bounds, rest_max) = bounds(&days);
        // Of few, or much alike, the database sooner knows.
        if rest_max == 0 || united.len() > READ_MAX {
            return Ok(None);
        }
        let entity = |id: Arc<str>| EntityRef { kind: question.of, id };
        let bounds = bounds.into_iter().map(|(id, bound)| (entity(id), bound));
        // What is merged may have the values of all its parts; it is read in any case.
        let is_single = |entity: &EntityRef| self.merges.members(entity).len() == 1;
        let candidates: Vec<(EntityRef, i64)> = bounds.filter(|(entity, _)| is_single(entity)).collect();
        let mut ranked = self.values(question, &united).await?;
        for (chunk, read) in candidates[..candidates.len().min(READ_MAX)].chunks(READ_AT_ONCE).zip(1..) {
            let entities: Vec<EntityRef> = chunk.iter().map(|(entity, _)| entity.clone()).collect();
            ranked.extend(self.values(question, &entities).await?);
            // Leaders that were renewed with small values can be bounded below those who lead nowhere.
            let next_bound = candidates.get(read * READ_AT_ONCE).map_or(rest_max, |(_, bound)| rest_max.max(*bound));
            if ranked.iter().filter(|ranked| ranked.value > next_bound).count() >= least {
                ranked.retain(|ranked| ranked.value > next_bound);
                ranked.sort_unstable_by(by_value);
                return Ok(Some(ranked));
            }
        }
        Ok(None)
    }
}

/// Of less than a day its leaders say little, and the database needs little time.
fn is_told_by_leaders(window: Window) -> bool {
    let Buckets { days, .. } = window.buckets();
    !days.is_empty() && pieces(window).take(WINDOW_DAYS_MAX + 1).count() <= WINDOW_DAYS_MAX
}
