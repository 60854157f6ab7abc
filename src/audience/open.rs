//! The listeners that no stored set holds yet.

use std::{
    collections::HashSet,
    ops::Range,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::segment::Segment;
use crate::{
    db::{Database, DbError, queries::audience},
    domain::entity::EntityRef,
};

/// Segments that were added between two merges. It is dropped as a whole once the database has none of them.
#[derive(Default)]
struct Generation {
    segment_ids: HashSet<String>,
    /// Who listened in which hour, as it came. Most entities have a listener or two between merges, for
    /// which a list is a tenth of a bitmap; merges come often enough to keep the long ones short.
    listens: FxHashMap<EntityRef, Vec<(i64, u32)>>,
    /// How many pairs that are.
    pairs: usize,
}

/// Open pairs past which a merge should not wait for its time: up to some 100 MB.
const PAIRS_MANY: usize = 500_000;
/// Open pairs past which nothing should be added before a merge: three times that.
const PAIRS_MAX: usize = 3 * PAIRS_MANY;

/// All open sets of this database, its own commits at once and other processes' as they are followed.
///
/// A reader must look here *before* it reads stored sets: what leaves here in between has been stored.
#[derive(Default)]
pub struct OpenAudience {
    /// The last one takes what is new.
    generations: RwLock<Vec<Generation>>,
    /// Held while the database is followed: of two that follow at once, one would begin a generation that
    /// the other then takes for the only one with segments newer than its own list.
    following: tokio::sync::Mutex<()>,
    /// Pairs of all generations.
    pairs: AtomicUsize,
    many: Notify,
    room: Notify,
}

impl OpenAudience {
    /// Adds a committed segment.
    pub fn add(&self, segment_id: &str, segment: &Segment) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.is_empty() {
            generations.push(Generation::default());
        }
        let newest = generations.last_mut().expect("one was pushed if there was none");
        if !newest.segment_ids.insert(segment_id.to_owned()) {
            return;
        }
        let mut added = 0;
        for set in &segment.0 {
            let listens = newest.listens.entry(set.entity.clone()).or_default();
            listens.extend(set.listeners.iter().map(|listener| (set.hour_ms, *listener)));
            added += set.listeners.len();
        }
        newest.pairs += added;
        self.pairs.fetch_add(added, Ordering::Relaxed);
        if self.is_large() {
            self.many.notify_one();
        }
    }

    /// Whether so much is open that it should be merged.
    pub fn is_large(&self) -> bool {
        self.pairs.load(Ordering::Relaxed) > PAIRS_MANY
    }

    /// Resolves when something was added and so much is open that it should be merged.
    pub async fn grew_large(&self) {
        self.many.notified().await;
    }

    /// Resolves when there is room for more.
    pub async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            if self.pairs.load(Ordering::Relaxed) <= PAIRS_MAX {
                return;
            }
            room.await;
        }
    }

    /// Whoever listened to the entity in hours that begin within `hours_ms`.
    pub fn listeners(&self, entity: &EntityRef, hours_ms: Range<i64>) -> RoaringBitmap {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        let of_entity = generations.iter().filter_map(|generation| generation.listens.get(entity)).flatten();
        of_entity.filter(|(hour_ms, _)| hours_ms.contains(hour_ms)).map(|(_, listener)| *listener).collect()
    }

    /// Every entity with an open set.
    pub fn entities(&self) -> HashSet<EntityRef> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.iter().flat_map(|generation| generation.listens.keys().cloned()).collect()
    }

    /// Brings the memory in line with the database: adds other processes' segments, drops what has
    /// been merged, and begins a new generation. True where another process had added something.
    pub async fn follow(&self, database: &Database) -> Result<bool, DbError> {
        let _following = self.following.lock().await;
        self.begin_generation();
        let waiting: HashSet<String> = audience::list_segment_ids(database.reader()).await?.into_iter().collect();
        let unknown: Vec<String> = {
            let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
            let is_known = |id: &&String| generations.iter().any(|generation| generation.segment_ids.contains(*id));
            waiting.iter().filter(|id| !is_known(id)).cloned().collect()
        };
        for (id, pairs) in audience::list_segments(database.reader(), &unknown).await? {
            let segment = Segment::decode(&pairs).map_err(|_| DbError::Corrupt("a segment of listeners"))?;
            self.add(&id, &segment);
        }
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let newest = generations.len().saturating_sub(1);
        let mut index = 0;
        generations.retain(|generation| {
            let is_newest = index == newest;
            index += 1;
            is_newest || !generation.segment_ids.is_disjoint(&waiting)
        });
        self.pairs.store(generations.iter().map(|generation| generation.pairs).sum(), Ordering::Relaxed);
        self.room.notify_waiters();
        Ok(!unknown.is_empty())
    }

    /// What is added from now on is told apart from what may be merged now.
    fn begin_generation(&self) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.last().is_none_or(|newest| !newest.segment_ids.is_empty()) {
            generations.push(Generation::default());
        }
    }
}
