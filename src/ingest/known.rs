//! What this process remembers having told the database, so that it need not say it again.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::{
    db::{Connection, Database, DbError, queries::listeners},
    domain::{catalogue::CatalogueEntry, entity::EntityRef, event::AcceptedEvent},
};

/// Facts about entities that are in the catalogue already. Bounded: it starts anew when it is full.
#[derive(Default)]
pub struct KnownFacts {
    facts: FxHashSet<u64>,
}

/// 8 bytes each: 16 MB when full.
const FACTS_MAX: usize = 1_000_000;

/// Catalogue entries of a batch that are not known to be stored.
pub struct NewFacts {
    pub entries: Vec<CatalogueEntry>,
    hashes: Vec<u64>,
}

impl KnownFacts {
    /// What the events tell that is not known yet, sorted, one entry per entity.
    pub fn sift<'a>(&self, events: impl Iterator<Item = &'a AcceptedEvent>) -> NewFacts {
        let mut hashes = FxHashSet::default();
        let mut entries: BTreeMap<EntityRef, CatalogueEntry> = BTreeMap::new();
        for event in events {
            for entry in event.catalogue_entries() {
                let hash = FxBuildHasher.hash_one((
                    &entry.entity,
                    &entry.title,
                    &entry.artist_id,
                    &entry.album_id,
                    &entry.genre,
                    entry.duration_ms,
                ));
                if self.facts.contains(&hash) || !hashes.insert(hash) {
                    continue;
                }
                match entries.get_mut(&entry.entity) {
                    None => {
                        entries.insert(entry.entity.clone(), entry);
                    }
                    Some(first) => {
                        first.title = first.title.take().or(entry.title);
                        first.artist_id = first.artist_id.take().or(entry.artist_id);
                        first.album_id = first.album_id.take().or(entry.album_id);
                        first.genre = first.genre.take().or(entry.genre);
                        first.duration_ms = first.duration_ms.or(entry.duration_ms);
                    }
                }
            }
        }
        NewFacts { entries: entries.into_values().collect(), hashes: hashes.into_iter().collect() }
    }

    /// Remembers facts once they are committed.
    pub fn remember(&mut self, facts: NewFacts) {
        if self.facts.len() + facts.hashes.len() > FACTS_MAX {
            self.facts.clear();
        }
        self.facts.extend(facts.hashes);
    }
}

/// The numbers that stand for listeners, as far as this process knows them. Bounded likewise.
#[derive(Default)]
pub struct ListenerNumbers {
    known: FxHashMap<Arc<str>, u32>,
    /// Numbers leased from the database and not given out yet.
    next: i64,
    end: i64,
}

/// About 60 bytes each: 30 MB when full.
const LISTENERS_MAX: usize = 500_000;
/// Large enough to lease rarely, small enough that a restart wastes few of the 4 billion numbers.
const BLOCK_LENGTH: i64 = 4_096;
const BLOCK_NAME: &str = "listener";

impl ListenerNumbers {
    /// Makes sure that as many new listeners can be numbered; before the transaction, because SQLite
    /// has only one.
    pub async fn reserve(&mut self, database: &Database, user_ids: &[&Arc<str>]) -> Result<(), DbError> {
        let unknown = user_ids.iter().filter(|user_id| !self.known.contains_key(**user_id)).count();
        let unknown = i64::try_from(unknown).unwrap_or(i64::MAX);
        if self.end - self.next < unknown {
            let length = unknown.max(BLOCK_LENGTH);
            let txn = database.begin_write().await?;
            let first = listeners::lease_block(&txn, BLOCK_NAME, length).await?;
            txn.commit().await?;
            (self.next, self.end) = (first, first + length);
        }
        Ok(())
    }

    /// The numbers of all these people (sorted, distinct), new ones inserted in this transaction.
    /// Call [`Self::remember`] with the second part once it is committed.
    pub async fn resolve<'a, C: Connection>(
        &mut self,
        conn: &C,
        user_ids: &[&'a Arc<str>],
    ) -> Result<(HashMap<&'a Arc<str>, u32>, Vec<(Arc<str>, u32)>), DbError> {
        let mut numbers = HashMap::with_capacity(user_ids.len());
        let mut unknown: Vec<&'a Arc<str>> = Vec::new();
        for user_id in user_ids {
            match self.known.get(*user_id) {
                Some(number) => {
                    numbers.insert(*user_id, *number);
                }
                None => unknown.push(user_id),
            }
        }
        if unknown.is_empty() {
            return Ok((numbers, Vec::new()));
        }
        let mut found = find(conn, &unknown).await?;
        let missing: Vec<(&str, u32)> = unknown
            .iter()
            .filter(|user_id| !found.contains_key(user_id.as_ref() as &str))
            .map(|user_id| (&***user_id, self.take_number()))
            .collect();
        if !missing.is_empty() {
            listeners::insert_numbers(conn, &missing).await?;
            // Another process may have been faster with some: its numbers are the ones that count.
            found = find(conn, &unknown).await?;
        }
        let mut learned = Vec::with_capacity(unknown.len());
        for user_id in unknown {
            let number = *found.get(&**user_id).ok_or(DbError::Corrupt("a listener has no number"))?;
            numbers.insert(user_id, number);
            learned.push((user_id.clone(), number));
        }
        Ok((numbers, learned))
    }

    pub fn remember(&mut self, learned: Vec<(Arc<str>, u32)>) {
        if self.known.len() + learned.len() > LISTENERS_MAX {
            self.known.clear();
        }
        self.known.extend(learned);
    }

    fn take_number(&mut self) -> u32 {
        let number = u32::try_from(self.next).expect("4 billion listeners are more than there are people online");
        self.next += 1;
        number
    }
}

async fn find<C: Connection>(conn: &C, user_ids: &[&Arc<str>]) -> Result<HashMap<String, u32>, DbError> {
    let user_ids: Vec<&str> = user_ids.iter().map(|user_id| &***user_id).collect();
    Ok(listeners::list_numbers(conn, &user_ids).await?.into_iter().collect())
}
