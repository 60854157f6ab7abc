//! What this process remembers having told the database, so that it need not say it again.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::{
    db::{Database, DbError, Transaction, queries::listeners},
    domain::{catalogue::ToldEntry, entity::EntityRef, event::AcceptedEvent},
};

/// Facts about entities that are in the catalogue already. Bounded: it starts anew when it is full.
#[derive(Default)]
pub struct KnownFacts {
    facts: FxHashSet<u64>,
}

/// 8 bytes each: 16 MB when full.
const FACTS_MAX: usize = 1_000_000;

/// Catalogue entries of a batch that are not known to be stored.
#[derive(Default)]
pub struct NewFacts {
    pub entries: Vec<ToldEntry>,
    hashes: FxHashSet<u64>,
}

impl KnownFacts {
    /// What the events tell that is not known yet, sorted, one entry per entity.
    pub fn sift<'a>(&self, events: impl Iterator<Item = &'a AcceptedEvent>) -> NewFacts {
        let mut hashes = FxHashSet::default();
        let mut entries: BTreeMap<EntityRef, ToldEntry> = BTreeMap::new();
        for fact in events.flat_map(AcceptedEvent::facts) {
            let hash = FxBuildHasher.hash_one(fact);
            if self.facts.contains(&hash) || !hashes.insert(hash) {
                continue;
            }
            let entity = EntityRef { kind: fact.kind, id: fact.id.clone() };
            fact.fill_in(entries.entry(entity.clone()).or_insert_with(|| ToldEntry::bare(entity)));
        }
        NewFacts { entries: entries.into_values().collect(), hashes }
    }

    /// Forgets everything: the catalogue's owner may have taken a word back that events fill in again.
    pub fn clear(&mut self) {
        self.facts.clear();
    }

    /// Remembers facts once they are committed.
    pub fn remember(&mut self, facts: NewFacts) {
        if self.facts.len() + facts.hashes.len() > FACTS_MAX {
            self.facts.clear();
        }
        self.facts.extend(facts.hashes);
    }
}

/// Numbers that are not remembered before the transaction that learned them is committed.
pub type LearnedNumbers = FxHashMap<Arc<str>, u32>;

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
    /// The people among these whose numbers this process does not know, sorted, each once.
    pub fn unknown<'a>(&self, user_ids: impl Iterator<Item = &'a Arc<str>>) -> Vec<&'a Arc<str>> {
        let mut unknown: Vec<_> = user_ids.filter(|user_id| !self.known.contains_key(*user_id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Makes sure that so many new listeners can be numbered; before the transaction, because SQLite
    /// has only one.
    pub async fn reserve(&mut self, database: &Database, count: usize) -> Result<(), DbError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self.end - self.next < count {
            let length = count.max(BLOCK_LENGTH);
            let txn = database.begin_write().await?;
            let first = listeners::lease_block(&txn, BLOCK_NAME, length).await?;
            txn.commit().await?;
            (self.next, self.end) = (first, first + length);
        }
        Ok(())
    }

    /// The numbers of these unknown people, new ones inserted in this transaction.
    /// Call [`Self::remember`] with them once it is committed.
    pub async fn learn(&mut self, txn: &Transaction, unknown: &[&Arc<str>]) -> Result<LearnedNumbers, DbError> {
        if unknown.is_empty() {
            return Ok(LearnedNumbers::default());
        }
        let user_ids: Vec<&str> = unknown.iter().map(|user_id| &***user_id).collect();
        let mut found: HashMap<String, u32> = listeners::list_numbers(txn, &user_ids).await?.into_iter().collect();
        let missing: Vec<(&Arc<str>, u32)> = unknown
            .iter()
            .filter(|user_id| !found.contains_key(&****user_id))
            .map(|user_id| (*user_id, self.take_number()))
            .collect();
        let inserted = listeners::insert_numbers(txn, &missing).await?;
        if inserted < missing.len() as u64 {
            // Another process was faster with some: its numbers are the ones that count.
            found = listeners::list_numbers(txn, &user_ids).await?.into_iter().collect();
        } else {
            found.extend(missing.into_iter().map(|(user_id, number)| (user_id.to_string(), number)));
        }
        let number = |user_id: &str| found.get(user_id).copied().ok_or(DbError::Corrupt("a listener has no number"));
        unknown.iter().map(|user_id| Ok(((*user_id).clone(), number(user_id)?))).collect()
    }

    /// A person's number, if it is known or has been learned just now.
    pub fn get(&self, user_id: &str, learned: &LearnedNumbers) -> Option<u32> {
        self.known.get(user_id).or_else(|| learned.get(user_id)).copied()
    }

    pub fn remember(&mut self, learned: LearnedNumbers) {
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
