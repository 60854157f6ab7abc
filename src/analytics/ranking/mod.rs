//! Who is first: entities of a kind, or the works of an artist, an album or a playlist, by a metric over a window.
//!
//! A ranking is listed down to a depth ([`RankingList`]), counted as a whole ([`Totals`]), or asked where something
//! stands in it ([`Place`]). The order is the same in all of them: by value, then listeners, then id.

mod cache;
mod leaders;
mod list;
mod places;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

pub use cache::RankingCache;
pub use leaders::DayLeaders;
pub use list::{RankedEntity, RankingList, Totals};
pub use places::{Place, PlaceKey, PositionKey};

use super::{Analytics, days::Piece, days::pieces, people};
use crate::{
    db::{
        DbError,
        queries::{
            catalogue,
            rankings::{self, Identity, Ranked},
        },
    },
    domain::{
        commit::{Changed, CommitObserver},
        counting::{Counter, Part},
        entity::{EntityKind, EntityRef},
        measure::{MeasureKey, Measures, Metric, Need},
        ranking::RankingQuestion,
        window::Buckets,
    },
};

/// Entities of one value that are put in the order of their listeners: more of them go by id alone, because the sets
/// of all of them would have to be read to list one.
pub const TIES_MAX: usize = 1_000;
/// How deep lists go whose pages are walked through.
pub const PAGES_DEPTH: usize = 10_000;
/// Works of one artist, songs of one album, that are compared; an artist with more is "Various Artists".
const OWN_WORKS_MAX: u64 = 5_000;
/// Entities whose exact numbers are read at once.
const EXACT_AT_ONCE: usize = 500;

/// How deep a list goes: one that is told by leaders at least so far, one that has to be added up so far at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Depth {
    least: usize,
    most: usize,
}

impl Analytics {
    /// The first `depth` of a ranking, and perhaps more.
    ///
    /// Source: whole buckets of the rollup, or for listeners and for one country the days of entities; where the leaders
    /// of days tell, few entities of the kind in them, otherwise every one. The answer is shared by everybody who asks at
    /// the same time, and kept briefly if it took long.
    pub async fn ranking(&self, question: &RankingQuestion, depth: usize) -> Result<Arc<RankingList>, Arc<DbError>> {
        self.ranking_down_to(question, Depth { least: depth, most: depth }).await
    }

    async fn ranking_down_to(
        &self,
        question: &RankingQuestion,
        depth: Depth,
    ) -> Result<Arc<RankingList>, Arc<DbError>> {
        let key = (None, question.clone(), depth);
        self.rankings.get_or_compute(key, || self.compute_ranking(question, depth)).await
    }

    /// A ranking to walk through, at least its first `least`: it is found again under its id, as it is now, while it is
    /// kept.
    pub async fn ranking_to_walk(
        &self,
        question: &RankingQuestion,
        least: usize,
    ) -> Result<Arc<RankingList>, Arc<DbError>> {
        let list = self.ranking_down_to(question, Depth { least, most: PAGES_DEPTH }).await?;
        self.rankings.keep_for_pages(&list).await;
        Ok(list)
    }

    /// The ranking that an earlier page was of; `None` where it is not kept any more, or was another process's.
    pub async fn walked_ranking(&self, id: u64) -> Option<Arc<RankingList>> {
        self.rankings.find_walked(id).await
    }

    async fn compute_ranking(&self, question: &RankingQuestion, depth: Depth) -> Result<RankingList, DbError> {
        if let Some(counter) = self.summed(question)
            && let Some(ranked) = self.beginning(question, counter, depth.least).await?
        {
            return Ok(RankingList::beginning(question.clone(), ranked));
        }
        let depth = depth.most;
        // So many more tell whether those that are tied with the last can be put in order.
        let reach = if question.by == Metric::Listeners { depth } else { depth.saturating_add(TIES_MAX + 1) };
        let ranked = match self.summed(question) {
            Some(counter) => {
                let buckets = self.narrowed(question.window).buckets();
                let ranked = self.sums(question, counter, &buckets);
                entities(question.of, rankings::list(self.database.reader(), ranked, reach).await?)
            }
            None => self.rank_by_reading(question, reach).await?,
        };
        Ok(RankingList::new(question.clone(), depth, reach, ranked))
    }

    /// The counter whose sums in the rollup are what is ranked by.
    fn summed(&self, question: &RankingQuestion) -> Option<Counter> {
        match question.by {
            Metric::Counter(counter) if question.among.country.is_none() => Some(counter),
            _ => None,
        }
    }

    fn sums<'a>(&self, question: &'a RankingQuestion, counter: Counter, buckets: &'a Buckets) -> Ranked<'a> {
        let identity = if self.merges.has(question.of) { Identity::Merged } else { Identity::Plain };
        Ranked { kind: question.of, identity, counter, buckets, genre: question.among.genre.as_deref() }
    }

    /// Reads exact numbers from the most promising on, until nobody left can be among the first `reach`; then by value
    /// and id.
    async fn rank_by_reading(&self, question: &RankingQuestion, reach: usize) -> Result<Vec<RankedEntity>, DbError> {
        let mut candidates = self.candidates(question).await?;
        candidates.sort_unstable_by(by_value);
        if self.are_values(question) {
            candidates.truncate(reach);
            return Ok(candidates);
        }
        let mut ranked: Vec<RankedEntity> = Vec::new();
        for chunk in candidates.chunks(EXACT_AT_ONCE) {
            if ranked.len() >= reach {
                ranked.sort_unstable_by(by_value);
                ranked.truncate(reach);
                if ranked.last().is_some_and(|last| chunk[0].value < last.value) {
                    break;
                }
            }
            let entities: Vec<EntityRef> = chunk.iter().map(|candidate| candidate.entity.clone()).collect();
            ranked.extend(self.values(question, &entities).await?);
        }
        ranked.sort_unstable_by(by_value);
        ranked.truncate(reach);
        Ok(ranked)
    }

    /// Every entity that may be in a ranking, with the most that its value can be.
    async fn candidates(&self, question: &RankingQuestion) -> Result<Vec<RankedEntity>, DbError> {
        let window = self.narrowed(question.window);
        if let Metric::Counter(counter) = question.by {
            let buckets = window.buckets();
            let ranked = self.sums(question, counter, &buckets);
            // A country's part is at most the whole.
            let rows = rankings::list(self.database.reader(), ranked, usize::MAX).await?;
            return Ok(entities(question.of, rows));
        }
        let bounds = people::list_upper_bounds(&self.database, &self.open_audience, question.of, window).await?;
        // What is merged has at most the listeners of all its parts.
        let mut merged: HashMap<EntityRef, i64> = HashMap::with_capacity(bounds.len());
        for (entity, bound) in bounds {
            *merged.entry(self.merges.canonical(&entity)).or_default() += i64::try_from(bound).unwrap_or(i64::MAX);
        }
        if let Some(genre) = &question.among.genre {
            let of_genre = catalogue::list_ids_of_genre(self.database.reader(), question.of, genre).await?;
            let of_genre: HashSet<String> = of_genre.into_iter().collect();
            merged.retain(|entity, _| of_genre.contains(&*entity.id));
        }
        Ok(merged.into_iter().map(|(entity, value)| RankedEntity { entity, value }).collect())
    }

    /// Whether candidates' upper bounds are their values: the sets of whole days are everybody's who listened in them.
    fn are_values(&self, question: &RankingQuestion) -> bool {
        let whole_days = pieces(self.narrowed(question.window)).all(|(_, piece)| piece == Piece::Whole);
        let is_of_sets = question.by == Metric::Listeners && question.among.country.is_none();
        is_of_sets && whole_days && !self.merges.has(question.of)
    }

    /// What belongs to an artist, an album or a playlist, of the kind that is asked for, down to `depth`: an artist's
    /// songs or albums, the songs on an album or in a playlist.
    ///
    /// Source: the catalogue says what belongs to them, the rollups what they count; kept like a ranking.
    pub async fn top_works(
        &self,
        owner: &EntityRef,
        question: &RankingQuestion,
        depth: usize,
    ) -> Result<Arc<RankingList>, Arc<DbError>> {
        let key = (Some(owner.clone()), question.clone(), Depth { least: depth, most: depth });
        self.rankings.get_or_compute(key, || self.compute_top_works(owner, question, depth)).await
    }

    async fn compute_top_works(
        &self,
        owner: &EntityRef,
        question: &RankingQuestion,
        depth: usize,
    ) -> Result<RankingList, DbError> {
        let reader = self.database.reader();
        let owners = self.merges.members(owner);
        let ids: Vec<&str> = owners.iter().map(|owner| &*owner.id).collect();
        let works = match owner.kind.public() {
            EntityKind::Album => catalogue::list_songs_on(reader, &ids, OWN_WORKS_MAX).await?,
            EntityKind::Playlist => catalogue::list_songs_in(reader, &ids).await?,
            _ => catalogue::list_works_of(reader, question.of, &ids, OWN_WORKS_MAX).await?,
        };
        let works: BTreeSet<EntityRef> = works.iter().map(|work| self.merges.canonical(work)).collect();
        let works: Vec<EntityRef> = works.into_iter().collect();
        let mut ranked = self.values(question, &works).await?;
        ranked.sort_unstable_by(by_value);
        Ok(RankingList::new(question.clone(), depth, usize::MAX, ranked))
    }

    /// The values of those of some entities that a ranking holds.
    async fn values(&self, question: &RankingQuestion, entities: &[EntityRef]) -> Result<Vec<RankedEntity>, DbError> {
        let (by, among) = (question.by, &question.among);
        let mut need = by.need();
        need.crowd.size = among.country.is_some() && among.people_min > 0;
        let is_shown = |measures: &Measures| !need.crowd.size || measures.people.size >= among.people_min;
        let mut values = Vec::new();
        for chunk in entities.chunks(EXACT_AT_ONCE) {
            let measures = self.measures(&keys(question, chunk, need)).await?;
            let shown = measures.into_iter().filter(|(_, measures)| is_shown(measures));
            values.extend(
                shown.map(|(key, measures)| RankedEntity { entity: key.entity, value: value_of(by, &measures) }),
            );
        }
        values.retain(|ranked| ranked.value > 0);
        Ok(values)
    }

    /// The listeners of some entities, in the ranking's window and country.
    async fn listeners(
        &self,
        question: &RankingQuestion,
        entities: &[EntityRef],
    ) -> Result<HashMap<EntityRef, i64>, DbError> {
        let mut listeners = HashMap::with_capacity(entities.len());
        for chunk in entities.chunks(EXACT_AT_ONCE) {
            let measures = self.measures(&keys(question, chunk, Metric::Listeners.need())).await?;
            listeners
                .extend(measures.into_iter().map(|(key, measures)| (key.entity, measures.people.of(Part::Listener))));
        }
        Ok(listeners)
    }
}

fn keys(question: &RankingQuestion, entities: &[EntityRef], need: Need) -> Vec<MeasureKey> {
    let (window, country) = (question.window, &question.among.country);
    let key = |entity: &EntityRef| MeasureKey { entity: entity.clone(), window, country: country.clone(), need };
    entities.iter().map(key).collect()
}

/// One metric's value.
pub fn value_of(metric: Metric, measures: &Measures) -> i64 {
    match metric {
        Metric::Counter(counter) => measures.counters[counter],
        Metric::Listeners => measures.people.of(Part::Listener),
    }
}

fn entities(kind: EntityKind, rows: Vec<(String, i64)>) -> Vec<RankedEntity> {
    rows.into_iter().map(|(id, value)| RankedEntity { entity: EntityRef::new(kind, id), value }).collect()
}

fn by_value(one: &RankedEntity, other: &RankedEntity) -> std::cmp::Ordering {
    (Reverse(one.value), &one.entity.id).cmp(&(Reverse(other.value), &other.entity.id))
}

impl CommitObserver for Analytics {
    fn committed(&self, changed: &Changed) {
        self.leaders.note(changed);
        self.rankings.note_commit();
    }

    fn purged(&self) {
        self.leaders.note(&Changed::Everything { within: None });
        self.rankings.clear();
        self.trending.invalidate_all();
        self.platform_markets.invalidate_all();
    }
}
