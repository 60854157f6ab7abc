//! What this process remembers having told the database, so that it need not say it again.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    sync::Arc,
};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};

use crate::{
    db::{
        Database, DbError, Transaction,
        queries::listeners::{self, People},
    },
    domain::{
        catalogue::ToldEntry,
        counting::Part,
        entity::EntityRef,
        event::{AcceptedEvent, Event},
    },
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

/// The numbers that stand for people.
pub struct PersonNumbers {
    identified: Numbers,
    anonymous: Numbers,
}

/// People whose numbers this process does not know.
pub struct UnknownPeople<'a> {
    identified: Vec<&'a Arc<str>>,
    anonymous: Vec<&'a Arc<str>>,
}

/// Their numbers; not remembered before the transaction that learned them is committed.
#[derive(Default)]
pub struct LearnedPeople {
    identified: LearnedNumbers,
    anonymous: LearnedNumbers,
}

impl Default for PersonNumbers {
    fn default() -> Self {
        Self { identified: Numbers::of(People::Identified), anonymous: Numbers::of(People::Anonymous) }
    }
}

impl PersonNumbers {
    /// The people of these events who need a number that this process does not know. Nobody asks for anonymous
    /// people but listeners.
    pub fn unknown<'a>(&self, events: &[&'a Event]) -> UnknownPeople<'a> {
        let anonymous = events.iter().filter(|event| event.user_id.is_none() && event.event_type == "track.played");
        UnknownPeople {
            identified: self.identified.unknown(events.iter().filter_map(|event| event.user_id.as_ref())),
            anonymous: self.anonymous.unknown(anonymous.filter_map(|event| event.anonymous_id.as_ref())),
        }
    }

    /// Makes sure that they can be numbered; before the transaction, because SQLite has only one.
    pub async fn reserve(&mut self, database: &Database, unknown: &UnknownPeople<'_>) -> Result<(), DbError> {
        self.identified.reserve(database, unknown.identified.len()).await?;
        self.anonymous.reserve(database, unknown.anonymous.len()).await
    }

    /// Their numbers, new ones inserted in this transaction. Call [`Self::remember`] with them once it is committed.
    pub async fn learn(&mut self, txn: &Transaction, unknown: &UnknownPeople<'_>) -> Result<LearnedPeople, DbError> {
        Ok(LearnedPeople {
            identified: self.identified.learn(txn, &unknown.identified).await?,
            anonymous: self.anonymous.learn(txn, &unknown.anonymous).await?,
        })
    }

    /// The number of the person who takes a part in an event, if it is known or has been learned just now.
    pub fn get(&self, event: &Event, part: Part, learned: &LearnedPeople) -> Option<u32> {
        match part {
            Part::AnonymousListener => self.anonymous.get(event.anonymous_id.as_deref()?, &learned.anonymous),
            _ => self.identified.get(event.user_id.as_deref()?, &learned.identified),
        }
    }

    /// Forgets everybody: some of those who are known may have been erased.
    pub fn clear(&mut self) {
        self.identified.known.clear();
        self.anonymous.known.clear();
    }

    pub fn remember(&mut self, learned: LearnedPeople) {
        self.identified.remember(learned.identified);
        self.anonymous.remember(learned.anonymous);
    }
}

/// Numbers that one transaction learned.
type LearnedNumbers = FxHashMap<Arc<str>, u32>;

/// The numbers of one sort of people, as far as this process knows them. Bounded likewise.
struct Numbers {
    people: People,
    known: FxHashMap<Arc<str>, u32>,
    /// Numbers leased from the database and not given out yet.
    next: i64,
    end: i64,
}

/// About 60 bytes each: 30 MB when full.
const LISTENERS_MAX: usize = 500_000;
/// Large enough to lease rarely, small enough that a restart wastes few of the 4 billion numbers.
const BLOCK_LENGTH: i64 = 4_096;

impl Numbers {
    fn of(people: People) -> Self {
        Self { people, known: FxHashMap::default(), next: 0, end: 0 }
    }

    /// The people among these whose numbers this process does not know, sorted, each once.
    fn unknown<'a>(&self, ids: impl Iterator<Item = &'a Arc<str>>) -> Vec<&'a Arc<str>> {
        let mut unknown: Vec<_> = ids.filter(|id| !self.known.contains_key(*id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    /// Makes sure that so many new listeners can be numbered; before the transaction, because SQLite
    /// has only one.
    async fn reserve(&mut self, database: &Database, count: usize) -> Result<(), DbError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self.end - self.next < count {
            let length = count.max(BLOCK_LENGTH);
            let txn = database.begin_write().await?;
            let name = match self.people {
                People::Identified => "listener",
                People::Anonymous => "anonymous-listener",
            };
            let first = listeners::lease_block(&txn, name, length).await?;
            txn.commit().await?;
            (self.next, self.end) = (first, first + length);
        }
        Ok(())
    }

    /// The numbers of these unknown people, new ones inserted in this transaction.
    async fn learn(&mut self, txn: &Transaction, unknown: &[&Arc<str>]) -> Result<LearnedNumbers, DbError> {
        if unknown.is_empty() {
            return Ok(LearnedNumbers::default());
        }
        let ids: Vec<&str> = unknown.iter().map(|id| &***id).collect();
        let mut found: HashMap<String, u32> =
            listeners::list_numbers(txn, self.people, &ids).await?.into_iter().collect();
        let missing: Vec<(&Arc<str>, u32)> =
            unknown.iter().filter(|id| !found.contains_key(&****id)).map(|id| (*id, self.take_number())).collect();
        let inserted = listeners::insert_numbers(txn, self.people, &missing).await?;
        if inserted < missing.len() as u64 {
            // Another process was faster with some: its numbers are the ones that count.
            found = listeners::list_numbers(txn, self.people, &ids).await?.into_iter().collect();
        } else {
            found.extend(missing.into_iter().map(|(id, number)| (id.to_string(), number)));
        }
        let number = |id: &str| found.get(id).copied().ok_or(DbError::Corrupt("a listener has no number"));
        unknown.iter().map(|id| Ok(((*id).clone(), number(id)?))).collect()
    }

    /// A person's number, if it is known or has been learned just now.
    fn get(&self, id: &str, learned: &LearnedNumbers) -> Option<u32> {
        self.known.get(id).or_else(|| learned.get(id)).copied()
    }

    fn remember(&mut self, learned: LearnedNumbers) {
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
