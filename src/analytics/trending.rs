//! What is heard more than usual.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use moka::future::Cache;
use roaring::RoaringBitmap;

use super::{Analytics, days::Asked, people};
use crate::{
    audience::day::{Cell, EntityDay},
    db::{DbError, queries::catalogue},
    domain::{
        counting::{Part, Parts},
        entity::{EntityKind, EntityRef},
        origin::Dimension,
        trend::{HalfLife, STREAMS_PER_PERSON_MAX, Trend, TrendPeriod},
        window::DAY_MS,
    },
};

/// The longest list.
pub const TRENDING_MAX: usize = 100;
/// Entities that are looked at: those with the most listeners in the fast window.
const CANDIDATES_MAX: usize = 2_000;
/// Entities read at once.
const ENTITIES_AT_ONCE: usize = 100;
/// About how many people's days are read at once: 32 bytes each.
const PEOPLE_AT_ONCE: u64 = 1_000_000;
/// Days read at once where few people are concerned.
const DAYS_AT_ONCE: usize = 32;

/// Older lists say nothing about now.
const KEPT_MAX: Duration = Duration::from_secs(3_600);

/// Which list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrendingQuestion {
    pub of: EntityKind,
    pub period: TrendPeriod,
    pub genre: Option<Arc<str>>,
    /// Only what is heard there, by people there.
    pub country: Option<Arc<str>>,
    /// Distinct listeners in the fast window without whom nothing is listed.
    pub listeners_min: u64,
}

/// Something that trends.
#[derive(Debug, Clone, PartialEq)]
pub struct Trending {
    pub entity: EntityRef,
    pub trend: Trend,
    /// Distinct signed-in listeners of the fast window.
    pub listeners: u64,
}

/// Lists for a while; everybody who asks while one is computed waits for it.
pub type TrendingCache = Cache<TrendingQuestion, Arc<Vec<Trending>>>;

pub fn cache(keep_for: Duration) -> TrendingCache {
    // 1,000 lists of 100 entries: some ten megabytes.
    Cache::builder().max_capacity(1_000).time_to_live(keep_for.min(KEPT_MAX)).build()
}

/// One candidate while it is looked at.
struct Candidate {
    entity: EntityRef,
    /// In the fast window, at most.
    listeners_max: u64,
    listeners: RoaringBitmap,
    trend: Trend,
}

/// Days of a candidate that are read together, and what they are read for.
struct Reading<'a> {
    question: &'a TrendingQuestion,
    now_ms: i64,
    days: Vec<i64>,
}

impl Analytics {
    /// What is heard more than usual: the highest score first, then the most listeners, then by id; at most
    /// [`TRENDING_MAX`].
    ///
    /// Source: who streamed on which day; of merged ids together. Of the candidates the recent days are read first.
    /// These alone say how high a score can be at most, so the long past is read from the most promising on, until
    /// nobody left can enter the list.
    pub async fn trending(&self, question: TrendingQuestion) -> Result<Arc<Vec<Trending>>, Arc<DbError>> {
        let compute = async { self.compute_trending(&question).await.map(Arc::new) };
        self.trending.try_get_with(question.clone(), compute).await
    }

    async fn compute_trending(&self, question: &TrendingQuestion) -> Result<Vec<Trending>, DbError> {
        let (now_ms, period) = (self.now_ms(), question.period);
        let recent = self.counted_days(period.fast().days(now_ms));
        let long_past = self.counted_days(period.slow().days(now_ms));
        let long_past = long_past.into_iter().filter(|day| !recent.contains(day)).collect();
        let mut candidates = self.trend_candidates(question, now_ms).await?;
        self.read(&Reading { question, now_ms, days: recent }, &mut candidates).await?;
        candidates.retain(|candidate| candidate.listeners.len() >= question.listeners_min);
        candidates.sort_by(|one, other| other.trend.score().total_cmp(&one.trend.score()));
        let reading = Reading { question, now_ms, days: long_past };
        let mut listed: Vec<Trending> = Vec::new();
        for chunk in candidates.chunks_mut(ENTITIES_AT_ONCE) {
            let last = listed.get(TRENDING_MAX - 1).map_or(0.0, |last| last.trend.score());
            if chunk[0].trend.score() < last {
                break;
            }
            self.read(&reading, chunk).await?;
            let more_than_usual = chunk.iter().filter(|candidate| candidate.trend.score() > 0.0);
            listed.extend(more_than_usual.map(|candidate| Trending {
                entity: candidate.entity.clone(),
                trend: candidate.trend,
                listeners: candidate.listeners.len(),
            }));
            sort(&mut listed);
            listed.truncate(TRENDING_MAX);
        }
        Ok(listed)
    }

    /// The days of a range on which anything was counted, as far as is known without looking.
    fn counted_days(&self, days: RangeInclusive<i64>) -> Vec<i64> {
        let step = usize::try_from(DAY_MS).expect("a day is a small positive number");
        let first = *days.start().max(&self.first_day());
        (first..=*days.end()).step_by(step).collect()
    }

    /// Those who may have enough listeners in the fast window, the most first.
    async fn trend_candidates(&self, question: &TrendingQuestion, now_ms: i64) -> Result<Vec<Candidate>, DbError> {
        let of_genre = match &question.genre {
            Some(genre) => Some(self.entities_of_genre(question.of, genre).await?),
            None => None,
        };
        if of_genre.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(Vec::new());
        }
        let days = self.counted_days(question.period.fast_window(now_ms));
        // Whoever listened to it there listened there.
        let there = match &question.country {
            Some(country) => Some(self.listeners_by_country(&days).await?.remove(&Some(country.clone()))),
            None => None,
        };
        let mut sets: HashMap<EntityRef, RoaringBitmap> = HashMap::new();
        for (entity, set) in people::list_listeners(&self.database, &self.open_audience, question.of, &days).await? {
            *sets.entry(self.merges.canonical(&entity)).or_default() |= set;
        }
        let count = |set: &RoaringBitmap| match &there {
            Some(there) => there.as_ref().map_or(0, |there| there.intersection_len(set)),
            None => set.len(),
        };
        let mut candidates: Vec<Candidate> = sets
            .into_iter()
            .filter(|(entity, _)| of_genre.as_ref().is_none_or(|of_genre| of_genre.contains(entity)))
            .map(|(entity, set)| (count(&set), entity))
            .filter(|(listeners_max, _)| *listeners_max >= question.listeners_min)
            .map(|(listeners_max, entity)| Candidate {
                entity,
                listeners_max,
                listeners: RoaringBitmap::new(),
                trend: Trend::default(),
            })
            .collect();
        candidates.sort_unstable_by(|one, other| {
            (Reverse(one.listeners_max), &one.entity).cmp(&(Reverse(other.listeners_max), &other.entity))
        });
        candidates.truncate(CANDIDATES_MAX);
        Ok(candidates)
    }

    /// By the genres that are read: those of what an id is read as.
    async fn entities_of_genre(&self, kind: EntityKind, genre: &str) -> Result<HashSet<EntityRef>, DbError> {
        let entities = catalogue::list_of_genre(self.database.reader(), kind, genre).await?;
        Ok(entities.into_iter().filter(|entity| self.merges.canonical(entity) == *entity).collect())
    }

    /// Adds what was heard on the reading's days.
    async fn read(&self, reading: &Reading<'_>, candidates: &mut [Candidate]) -> Result<(), DbError> {
        for chunk in candidates.chunks_mut(ENTITIES_AT_ONCE) {
            // The days of much-heard entities are long: fewer of them at once.
            let people: u64 = chunk.iter().map(|candidate| candidate.listeners_max).sum();
            let days_at_once = usize::try_from(PEOPLE_AT_ONCE / people.max(1)).unwrap_or(0).clamp(1, DAYS_AT_ONCE);
            for days in reading.days.chunks(days_at_once) {
                let keys = |candidate: &Candidate| -> BTreeSet<_> {
                    days.iter().map(|day| (candidate.entity.clone(), *day)).collect()
                };
                let parts = Parts::of(&[Part::Listener, Part::AnonymousListener]);
                let mut asked = Asked::by(Dimension::Country, parts);
                asked.cells = chunk.iter().flat_map(keys).collect();
                let found = self.days(asked).await?;
                for candidate in &mut *chunk {
                    for day in days {
                        if let Some(entity_day) = found.cells.get(&(candidate.entity.clone(), *day)) {
                            reading.add(*day, entity_day, candidate);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Reading<'_> {
    fn add(&self, day: i64, entity_day: &EntityDay, candidate: &mut Candidate) {
        let (period, country) = (self.question.period, self.question.country.as_ref());
        let is_asked = |cell: &&Cell| country.is_none() || entity_day.text(cell) == country;
        let cells: Vec<&Cell> = entity_day.cells(Dimension::Country).iter().filter(is_asked).collect();
        let streams = capped_streams(&cells, Part::Listener) + capped_streams(&cells, Part::AnonymousListener);
        let velocity = |half_life: HalfLife| match half_life.days(self.now_ms).contains(&day) {
            true => streams as f64 * half_life.velocity(day, self.now_ms),
            false => 0.0,
        };
        candidate.trend.fast += velocity(period.fast());
        candidate.trend.slow += velocity(period.slow());
        if period.fast_window(self.now_ms).contains(&day) {
            let listeners = cells.iter().flat_map(|cell| cell.people(Part::Listener));
            candidate.listeners.extend(listeners.map(|person| person.number));
        }
    }
}

/// Streams of known people, of each at most so many, wherever they came from.
fn capped_streams(cells: &[&Cell], part: Part) -> u64 {
    let people = cells.iter().flat_map(|cell| cell.people(part));
    let mut streams: Vec<(u32, u32)> = people.map(|person| (person.number, person.times)).collect();
    streams.sort_unstable_by_key(|(number, _)| *number);
    let of_one = |times: &[(u32, u32)]| times.iter().fold(0_u32, |sum, (_, times)| sum.saturating_add(*times));
    let persons = streams.chunk_by(|one, next| one.0 == next.0);
    persons.map(|times| u64::from(of_one(times).min(STREAMS_PER_PERSON_MAX))).sum()
}

fn sort(listed: &mut [Trending]) {
    listed.sort_unstable_by(|one, other| {
        let by_score = other.trend.score().total_cmp(&one.trend.score());
        by_score.then(other.listeners.cmp(&one.listeners)).then_with(|| one.entity.id.cmp(&other.entity.id))
    });
}
