//! Rankings that are given again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{future::Cache, policy::EvictionPolicy};

use super::{Depth, RankingList};
use crate::{
    db::DbError,
    domain::{entity::EntityRef, ranking::RankingQuestion},
};

/// An answer that was cheaper than this is computed anew each time.
const CHEAP: Duration = Duration::from_millis(5);
/// Entities in all lists that are kept, and again in those that are kept for their pages: some 100 bytes each, so
/// 50 MB. Longer lists are not kept.
const KEPT_MAX: u64 = 500_000;
/// How long a list is kept for its next page.
const KEPT_FOR_PAGES: Duration = Duration::from_secs(600);

/// What is ranked: everything, or what belongs to something; and how deep.
type Ranked = (Option<EntityRef>, RankingQuestion, Depth);

#[derive(Clone)]
struct CachedRanking {
    list: Arc<RankingList>,
    computed_at: Instant,
    took: Duration,
    commits: u64,
}

/// Rankings that were expensive, for a moment, where everybody who asks meanwhile waits for one computation; and
/// those that somebody walks through.
#[derive(Clone)]
pub struct RankingCache {
    cache: Cache<Ranked, CachedRanking>,
    walked: Cache<u64, Arc<RankingList>>,
    keep_for: Duration,
    commits: Arc<AtomicU64>,
}

impl RankingCache {
    pub fn new(keep_for: Duration) -> Self {
        let cache = Cache::builder()
            .max_capacity(KEPT_MAX)
            .weigher(|_, cached: &CachedRanking| cached.list.size())
            .time_to_live(Duration::from_secs(60))
            .build();
        let walked = Cache::builder()
            .max_capacity(KEPT_MAX)
            .weigher(|_, list: &Arc<RankingList>| list.size())
            // A walk that begins is not turned away: the one that stands still longest is.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(KEPT_FOR_PAGES)
            .build();
        Self { cache, walked, keep_for, commits: Arc::default() }
    }

    pub async fn keep_for_pages(&self, list: &Arc<RankingList>) {
        self.walked.insert(list.id, list.clone()).await;
    }

    pub async fn find_walked(&self, id: u64) -> Option<Arc<RankingList>> {
        self.walked.get(&id).await
    }

    /// Gives nothing again.
    pub fn clear(&self) {
        self.note_commit();
        self.cache.invalidate_all();
        self.walked.invalidate_all();
    }

    pub fn note_commit(&self) {
        self.commits.fetch_add(1, Ordering::AcqRel);
    }

    pub async fn get_or_compute<F, Fut>(&self, ranked: Ranked, compute: F) -> Result<Arc<RankingList>, Arc<DbError>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<RankingList, DbError>>,
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
