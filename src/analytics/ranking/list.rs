//! A ranking down to some depth, as it was at one moment.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    ops::Range,
};

use tokio::sync::{Mutex, OnceCell};

use super::{Analytics, PAGES_DEPTH, TIES_MAX};
use crate::{
    db::DbError,
    domain::{entity::EntityRef, measure::Metric, ranking::RankingQuestion},
};

/// An entity in a ranking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedEntity {
    pub entity: EntityRef,
    pub value: i64,
}

/// A whole ranking in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub count: i64,
    /// Of all values; `None` for listeners, whose sum is nobody's number.
    pub sum: Option<i64>,
}

/// The values stand still; those that are tied are put in order when somebody first looks at them, and stay so.
pub struct RankingList {
    pub question: RankingQuestion,
    /// A random number, under which pages find it again.
    pub id: u64,
    /// How many can be read.
    pub len: usize,
    /// Whether it holds the whole ranking.
    is_whole: bool,
    entries: Mutex<Entries>,
    totals: OnceCell<Totals>,
}

struct Entries {
    ranked: Vec<RankedEntity>,
    /// Where the values begin whose entities are in order.
    settled: HashSet<usize>,
}

impl RankingList {
    /// Of entities by value and id: the first `reach` of the ranking, of which `depth` can be read.
    pub fn new(question: RankingQuestion, depth: usize, reach: usize, ranked: Vec<RankedEntity>) -> Self {
        Self::of(question, ranked.len().min(depth), ranked.len() < reach, ranked)
    }

    /// Of entities by value and id, with all that are tied with the last; there are more.
    pub(super) fn beginning(question: RankingQuestion, ranked: Vec<RankedEntity>) -> Self {
        Self::of(question, ranked.len(), false, ranked)
    }

    fn of(question: RankingQuestion, len: usize, is_whole: bool, ranked: Vec<RankedEntity>) -> Self {
        Self {
            question,
            id: uuid::Uuid::new_v4().as_u64_pair().0,
            len,
            is_whole,
            entries: Mutex::new(Entries { ranked, settled: HashSet::new() }),
            totals: OnceCell::new(),
        }
    }

    /// Whether a place can be read, from 0, or nothing can be.
    pub fn tells(&self, place: usize) -> bool {
        place < self.len || self.is_whole || self.len >= PAGES_DEPTH
    }

    /// How much room it takes, in entities.
    pub fn size(&self) -> u32 {
        let size = self.entries.try_lock().map_or(self.len, |entries| entries.ranked.len());
        u32::try_from(size).unwrap_or(u32::MAX).saturating_add(10)
    }
}

impl Entries {
    /// The stretches of equal values that reach into a range and are not in order yet. Longer ones go by id, and a
    /// list reaches far enough to tell.
    fn unsettled(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let mut stretches = Vec::new();
        let mut at = range.start;
        while let Some(RankedEntity { value, .. }) = self.ranked.get(at).filter(|_| at < range.end) {
            let start = self.ranked.partition_point(|ranked| ranked.value > *value);
            at = self.ranked.partition_point(|ranked| ranked.value >= *value);
            if (2..=TIES_MAX).contains(&(at - start)) && !self.settled.contains(&start) {
                stretches.push(start..at);
            }
        }
        stretches
    }
}

impl Analytics {
    /// A stretch of a list in its order; places count from 0.
    pub async fn ranked(&self, list: &RankingList, places: Range<usize>) -> Result<Vec<RankedEntity>, DbError> {
        let mut entries = list.entries.lock().await;
        let places = places.start.min(list.len)..places.end.min(list.len);
        self.settle(list, &mut entries, std::slice::from_ref(&places)).await?;
        Ok(entries.ranked[places].to_vec())
    }

    /// Where entities stand in a list, from 0.
    pub(super) async fn places_in(
        &self,
        list: &RankingList,
        wanted: &HashSet<&EntityRef>,
    ) -> Result<HashMap<EntityRef, usize>, DbError> {
        let mut entries = list.entries.lock().await;
        let is_wanted = |(_, ranked): &(usize, &RankedEntity)| wanted.contains(&ranked.entity);
        let found = entries.ranked.iter().enumerate().filter(is_wanted);
        let places: Vec<Range<usize>> = found.map(|(place, _)| place..place + 1).collect();
        self.settle(list, &mut entries, &places).await?;
        let found = entries.ranked.iter().enumerate().filter(is_wanted);
        Ok(found.map(|(place, ranked)| (ranked.entity.clone(), place)).collect())
    }

    /// The place of an entity that had this value in a list; `None` where it has not.
    pub async fn place_at(&self, list: &RankingList, entity: &EntityRef, value: i64) -> Result<Option<usize>, DbError> {
        let place = self.places_in(list, &HashSet::from([entity])).await?.remove(entity);
        let entries = list.entries.lock().await;
        Ok(place.filter(|place| *place < list.len && entries.ranked[*place].value == value))
    }

    /// Puts those that are tied in order, as far as a stretch of them reaches into any of the ranges.
    async fn settle(&self, list: &RankingList, entries: &mut Entries, ranges: &[Range<usize>]) -> Result<(), DbError> {
        if list.question.by == Metric::Listeners {
            return Ok(());
        }
        let mut stretches: Vec<Range<usize>> = ranges.iter().flat_map(|range| entries.unsettled(range)).collect();
        stretches.dedup();
        let tied = stretches.iter().flat_map(|stretch| &entries.ranked[stretch.clone()]);
        let tied: Vec<EntityRef> = tied.map(|ranked| ranked.entity.clone()).collect();
        let listeners = self.listeners(&list.question, &tied).await?;
        for stretch in stretches {
            entries.ranked[stretch.clone()].sort_unstable_by(|one, other| {
                let rank = |ranked: &RankedEntity| Reverse(listeners.get(&ranked.entity).copied().unwrap_or(0));
                (rank(one), &one.entity.id).cmp(&(rank(other), &other.entity.id))
            });
            entries.settled.insert(stretch.start);
        }
        Ok(())
    }

    /// Where the values that are at most `value` begin.
    pub async fn place_below(&self, list: &RankingList, value: i64) -> usize {
        let entries = list.entries.lock().await;
        entries.ranked.partition_point(|ranked| ranked.value > value).min(list.len)
    }

    /// The whole ranking that a list is the beginning of, in numbers; those of the moment they were first asked for.
    pub async fn totals(&self, list: &RankingList) -> Result<Totals, DbError> {
        let compute = || async {
            if !list.is_whole {
                return self.compute_totals(&list.question).await;
            }
            let entries = list.entries.lock().await;
            Ok(Totals::of(&list.question, &entries.ranked))
        };
        list.totals.get_or_try_init(compute).await.copied()
    }
}

impl Totals {
    pub(super) fn of(question: &RankingQuestion, whole: &[RankedEntity]) -> Self {
        let is_summable = question.by != Metric::Listeners;
        Self {
            count: i64::try_from(whole.len()).unwrap_or(i64::MAX),
            sum: is_summable.then(|| whole.iter().map(|ranked| ranked.value).sum()),
        }
    }
}
