//! Who is first: entities of a kind, or one artist's songs and albums, by a metric over a window.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::future::Cache;

use super::{Analytics, people};
use crate::{
    db::{
        DbError,
        queries::{
            catalogue,
            rollups::{self, Identity},
        },
    },
    domain::{
        commit::{Changed, CommitObserver},
        counting::Part,
        entity::{EntityKind, EntityRef},
        measure::{MeasureKey, Measures, Metric},
        window::Window,
    },
};

/// Which ranking: at most `depth` entities are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RankingQuestion {
    pub of: EntityKind,
    pub by: Metric,
    pub window: Window,
    pub depth: usize,
}

/// An entity at its place; the place is its index in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankedEntity {
    pub entity: EntityRef,
    pub value: i64,
}

/// Songs or albums of one artist that are compared; an artist with more is "Various Artists".
const OWN_WORKS_MAX: u64 = 5_000;
/// Entities whose exact listeners are read at once while ranking by listeners.
const EXACT_AT_ONCE: usize = 500;
/// An answer that was cheaper than this is computed anew each time.
const CHEAP: Duration = Duration::from_millis(5);

impl Analytics {
    /// The entities of a kind by a metric, highest first, ties by id; those with nothing are left out.
    ///
    /// Source: whole buckets of the rollup (or the listener sets), every entity of the kind in them; the
    /// answer is shared by everybody who asks at the same time, and kept briefly if it took long.
    pub async fn ranking(&self, question: RankingQuestion) -> Result<Arc<Vec<RankedEntity>>, Arc<DbError>> {
        self.rankings.get_or_compute((None, question), || self.compute_ranking(question)).await
    }

    /// How many entities the ranking holds in all.
    pub async fn ranking_size(&self, question: RankingQuestion) -> Result<i64, DbError> {
        match question.by {
            Metric::Counter(counter) => {
                let buckets = self.narrowed(question.window).buckets();
                let identity = self.identity(question.of);
                rollups::count_ranked(self.database.reader(), question.of, identity, counter, &buckets).await
            }
            Metric::Listeners => {
                // An upper bound counts whoever listened at another hour of a day that the window cuts.
                let mut size = 0;
                for chunk in self.listened_to(question).await?.chunks(EXACT_AT_ONCE) {
                    let entities: Vec<EntityRef> = chunk.iter().map(|(entity, _)| entity.clone()).collect();
                    size += self.values(&entities, question.by, question.window).await?.len();
                }
                Ok(i64::try_from(size).unwrap_or(i64::MAX))
            }
        }
    }

    async fn compute_ranking(&self, question: RankingQuestion) -> Result<Vec<RankedEntity>, DbError> {
        match question.by {
            Metric::Counter(counter) => {
                let buckets = self.narrowed(question.window).buckets();
                let (identity, depth) = (self.identity(question.of), question.depth as u64);
                let reader = self.database.reader();
                let rows = rollups::list_ranked(reader, question.of, identity, counter, &buckets, depth).await?;
                Ok(rows
                    .into_iter()
                    .map(|(id, value)| RankedEntity { entity: EntityRef::new(question.of, id), value })
                    .collect())
            }
            Metric::Listeners => self.rank_by_listeners(question).await,
        }
    }

    /// Reads exact numbers from the most promising on, until nobody left can enter the list.
    async fn rank_by_listeners(&self, question: RankingQuestion) -> Result<Vec<RankedEntity>, DbError> {
        let mut candidates = self.listened_to(question).await?;
        candidates.sort_unstable_by_key(|(_, upper)| Reverse(*upper));
        let mut ranked: Vec<RankedEntity> = Vec::new();
        for chunk in candidates.chunks(EXACT_AT_ONCE) {
            let last = ranked.get(question.depth.saturating_sub(1)).map(|last| last.value);
            if last.is_some_and(|last| i64::try_from(chunk[0].1).is_ok_and(|upper| upper < last)) {
                break;
            }
            let entities: Vec<EntityRef> = chunk.iter().map(|(entity, _)| entity.clone()).collect();
            ranked.extend(self.values(&entities, question.by, question.window).await?);
            sort(&mut ranked);
            ranked.truncate(question.depth);
        }
        Ok(ranked)
    }

    fn identity(&self, kind: EntityKind) -> Identity {
        if self.merges.has(kind) { Identity::Merged } else { Identity::Plain }
    }

    async fn listened_to(&self, question: RankingQuestion) -> Result<Vec<(EntityRef, u64)>, DbError> {
        let (kind, window) = (question.of, self.narrowed(question.window));
        let bounds = people::list_upper_bounds(&self.database, &self.open_audience, kind, window).await?;
        // What is merged has at most the listeners of all its parts.
        let mut merged: HashMap<EntityRef, u64> = HashMap::with_capacity(bounds.len());
        for (entity, bound) in bounds {
            *merged.entry(self.merges.canonical(&entity)).or_default() += bound;
        }
        Ok(merged.into_iter().collect())
    }

    /// The songs or albums of one artist by a metric, highest first, ties by id.
    ///
    /// Shape: at most the question's depth; those with nothing are left out. Source: the catalogue says which
    /// are the artist's, the rollups what they count; kept like a ranking.
    pub async fn top_works(
        &self,
        artist_id: &Arc<str>,
        question: RankingQuestion,
    ) -> Result<Arc<Vec<RankedEntity>>, Arc<DbError>> {
        let key = (Some(artist_id.clone()), question);
        self.rankings.get_or_compute(key, || self.compute_top_works(artist_id, question)).await
    }

    async fn compute_top_works(
        &self,
        artist_id: &Arc<str>,
        question: RankingQuestion,
    ) -> Result<Vec<RankedEntity>, DbError> {
        let RankingQuestion { of, by, window, depth } = question;
        let artists = self.merges.members(&EntityRef { kind: EntityKind::Artist, id: artist_id.clone() });
        let artist_ids: Vec<&str> = artists.iter().map(|artist| &*artist.id).collect();
        let works = catalogue::list_works_of(self.database.reader(), of, &artist_ids, OWN_WORKS_MAX).await?;
        let works: BTreeSet<EntityRef> = works.iter().map(|work| self.merges.canonical(work)).collect();
        let entities: Vec<EntityRef> = works.into_iter().collect();
        let mut ranked = self.values(&entities, by, window).await?;
        sort(&mut ranked);
        ranked.truncate(depth);
        Ok(ranked)
    }

    async fn values(&self, entities: &[EntityRef], by: Metric, window: Window) -> Result<Vec<RankedEntity>, DbError> {
        let keys: Vec<MeasureKey> = entities
            .iter()
            .map(|entity| MeasureKey { entity: entity.clone(), window, country: None, need: by.need() })
            .collect();
        Ok(self
            .measures(&keys)
            .await?
            .into_iter()
            .map(|(key, measures)| RankedEntity { entity: key.entity, value: value_of(by, &measures) })
            .filter(|ranked| ranked.value > 0)
            .collect())
    }
}

/// One metric's value.
pub fn value_of(metric: Metric, measures: &Measures) -> i64 {
    match metric {
        Metric::Counter(counter) => measures.counters[counter],
        Metric::Listeners => measures.people.of(Part::Listener),
    }
}

fn sort(ranked: &mut [RankedEntity]) {
    ranked.sort_unstable_by(|one, other| {
        (Reverse(one.value), &one.entity.id).cmp(&(Reverse(other.value), &other.entity.id))
    });
}

/// What is ranked: an artist's works, or everything.
type Ranked = (Option<Arc<str>>, RankingQuestion);

#[derive(Clone)]
struct CachedRanking {
    list: Arc<Vec<RankedEntity>>,
    computed_at: Instant,
    took: Duration,
    commits: u64,
}

/// Rankings that were expensive, for a moment; everybody who asks meanwhile waits for one computation.
#[derive(Clone)]
pub struct RankingCache {
    cache: Cache<Ranked, CachedRanking>,
    keep_for: Duration,
    commits: Arc<AtomicU64>,
}

impl RankingCache {
    pub fn new(keep_for: Duration) -> Self {
        // 1,000 lists of some 50 entries: a few megabytes.
        let cache = Cache::builder().max_capacity(1_000).time_to_live(Duration::from_secs(60)).build();
        Self { cache, keep_for, commits: Arc::default() }
    }

    async fn get_or_compute<F, Fut>(&self, ranked: Ranked, compute: F) -> Result<Arc<Vec<RankedEntity>>, Arc<DbError>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Vec<RankedEntity>, DbError>>,
    {
        let commits = self.commits.load(Ordering::Acquire);
        // Nothing has been committed since, or it took long and is young: good enough. Otherwise a
        // client would not see what was acknowledged to it a moment ago.
        let is_good = |cached: &CachedRanking| {
            cached.commits >= commits || (cached.took > CHEAP && cached.computed_at.elapsed() < self.keep_for)
        };
        if let Some(cached) = self.cache.get(&ranked).await {
            if is_good(&cached) {
                return Ok(cached.list);
            }
            self.cache.invalidate(&ranked).await;
        }
        let compute_now = || async {
            let began = Instant::now();
            let list = Arc::new(compute().await?);
            Ok(CachedRanking { list, computed_at: Instant::now(), took: began.elapsed(), commits })
        };
        let shared = self.cache.try_get_with(ranked.clone(), compute_now()).await?;
        if is_good(&shared) {
            return Ok(shared.list);
        }
        // We joined a computation that had begun before the last commit.
        let own = compute_now().await.map_err(Arc::new)?;
        self.cache.insert(ranked, own.clone()).await;
        Ok(own.list)
    }
}

impl CommitObserver for Analytics {
    fn committed(&self, _changed: &Changed) {
        self.rankings.commits.fetch_add(1, Ordering::AcqRel);
    }
}
