//! The facts that no stored day holds yet.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;

use super::{
    day::EntityDay,
    fact::{Fact, Texts},
    segment::{Mark, Marks, Segment},
};
use crate::{
    db::{Database, DbError, queries::audience},
    domain::{
        counting::Part,
        entity::{EntityKind, EntityRef},
        origin::Dimension,
        window::Grain,
    },
};

/// A UTC day and a country: what a market's listeners are kept by.
pub type MarketDay = (i64, Option<Arc<str>>);

/// Segments that were added between two merges. It is dropped as a whole once the database has none of them.
#[derive(Default)]
struct Generation {
    marks: FxHashSet<Mark>,
    segments: Vec<Arc<Segment>>,
    /// Where an entity's facts are: segments by their place above, and where in them.
    places: FxHashMap<EntityRef, Vec<(u32, u32)>>,
    markets: FxHashMap<MarketDay, Vec<u32>>,
    size_bytes: usize,
}

/// Open facts past which a merge should not wait for its time.
const SIZE_BYTES_MANY: usize = 64 * 1_024 * 1_024;
/// Open facts past which nothing should be added before a merge.
const SIZE_BYTES_MAX: usize = 3 * SIZE_BYTES_MANY;
/// What an entity's first place takes beside its facts: a map's entry, a shared id, a list.
const ENTITY_BYTES: usize = 120;

/// All open facts of this database, its own commits' at once and other processes' as they are followed.
///
/// A reader must look here *before* it reads stored days: what leaves here in between has been stored.
#[derive(Default)]
pub struct OpenAudience {
    /// The last one takes what is new.
    generations: RwLock<Vec<Generation>>,
    /// Held while the database is followed: of two that follow at once, one would begin a generation that
    /// the other then takes for the only one with segments newer than its own list.
    following: tokio::sync::Mutex<()>,
    /// About how many bytes all generations take.
    size_bytes: AtomicUsize,
    many: Notify,
    room: Notify,
}

/// One entity's open facts, as they were at one moment.
#[derive(Clone, Default)]
pub struct OpenFacts(Vec<(Arc<Segment>, u32)>);

impl OpenFacts {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each fact with its segment's mark and texts.
    pub fn for_each(&self, mut see: impl FnMut(Mark, Fact, &Texts)) {
        for (segment, at) in &self.0 {
            segment.facts(*at).for_each(|fact| see(segment.mark, fact, &segment.texts));
        }
    }

    /// The UTC days on which there are any.
    pub fn days(&self) -> HashSet<i64> {
        let mut days = HashSet::new();
        self.for_each(|_, fact, _| {
            days.insert(Grain::Day.bucket_of(fact.quarter_ms));
        });
        days
    }

    /// Adds to a stored day what it does not hold yet.
    pub fn add_to(&self, day_ms: i64, day: &mut EntityDay) {
        let stored: Marks = day.marks.clone();
        self.for_each(|mark, fact, texts| {
            if Grain::Day.bucket_of(fact.quarter_ms) == day_ms && !stored.hold(mark) {
                day.fold(&fact, texts);
            }
        });
        day.settle();
    }
}

impl OpenAudience {
    /// Adds a committed segment.
    pub fn add(&self, mut segment: Segment) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.is_empty() {
            generations.push(Generation::default());
        }
        let newest = generations.last_mut().expect("one was pushed if there was none");
        if !newest.marks.insert(segment.mark) {
            return;
        }
        let mut size_bytes = segment.size_bytes();
        let index = u32::try_from(newest.segments.len()).expect("merges come long before 4 billion segments");
        let entities = std::mem::take(&mut segment.entities);
        for (entity, at) in entities {
            if entity.kind == EntityKind::Song {
                gather_markets(&mut newest.markets, &segment, at);
            }
            let places = newest.places.entry(entity).or_insert_with(|| {
                size_bytes += ENTITY_BYTES;
                Vec::new()
            });
            places.push((index, at));
            size_bytes += size_of::<(u32, u32)>();
        }
        newest.segments.push(Arc::new(segment));
        newest.size_bytes += size_bytes;
        self.size_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        if self.is_large() {
            self.many.notify_one();
        }
    }

    /// Whether so much is open that it should be merged.
    pub fn is_large(&self) -> bool {
        self.size_bytes.load(Ordering::Relaxed) > SIZE_BYTES_MANY
    }

    /// Resolves when something was added and so much is open that it should be merged.
    pub async fn grew_large(&self) {
        self.many.notified().await;
    }

    /// Resolves when there is room for more.
    pub async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            if self.size_bytes.load(Ordering::Relaxed) <= SIZE_BYTES_MAX {
                return;
            }
            room.await;
        }
    }

    /// What is open of an entity.
    pub fn facts(&self, entity: &EntityRef) -> OpenFacts {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        let mut open = OpenFacts::default();
        for generation in generations.iter() {
            let places = generation.places.get(entity).map_or(&[][..], Vec::as_slice);
            open.0.extend(places.iter().map(|(index, at)| (generation.segments[*index as usize].clone(), *at)));
        }
        open
    }

    /// Every segment that is open, for what users did.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.iter().flat_map(|generation| generation.segments.iter().cloned()).collect()
    }

    /// Who of the platform listened on days that begin within `days_ms`, by country.
    pub fn markets(&self, days_ms: Range<i64>) -> HashMap<Option<Arc<str>>, RoaringBitmap> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        let mut markets: HashMap<Option<Arc<str>>, RoaringBitmap> = HashMap::new();
        for ((day, country), listeners) in generations.iter().flat_map(|generation| &generation.markets) {
            if days_ms.contains(day) {
                markets.entry(country.clone()).or_default().extend(listeners.iter().copied());
            }
        }
        markets
    }

    /// Every entity with an open fact.
    pub fn entities(&self) -> HashSet<EntityRef> {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        generations.iter().flat_map(|generation| generation.places.keys().cloned()).collect()
    }

    /// Brings the memory in line with the database: adds other processes' segments, drops what has
    /// been merged, and begins a new generation. True where another process had added something.
    pub async fn follow(&self, database: &Database) -> Result<bool, DbError> {
        let _following = self.following.lock().await;
        self.begin_generation();
        let waiting: FxHashSet<Mark> = audience::list_marks(database.reader()).await?.into_iter().map(mark).collect();
        let unknown: Vec<(u32, u32)> = {
            let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
            let is_known = |mark: &&Mark| generations.iter().any(|generation| generation.marks.contains(*mark));
            waiting.iter().filter(|mark| !is_known(mark)).map(|mark| (mark.block, mark.number)).collect()
        };
        for (at, facts) in audience::list_segments(database.reader(), &unknown).await? {
            self.add(open_segment(at, facts)?);
        }
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        let newest = generations.len().saturating_sub(1);
        let mut index = 0;
        generations.retain(|generation| {
            let is_newest = index == newest;
            index += 1;
            is_newest || !generation.marks.is_disjoint(&waiting)
        });
        self.size_bytes.store(generations.iter().map(|generation| generation.size_bytes).sum(), Ordering::Relaxed);
        self.room.notify_waiters();
        Ok(!unknown.is_empty())
    }

    /// Knows only what the database has.
    pub async fn begin_anew(&self, database: &Database) -> Result<(), DbError> {
        {
            let _following = self.following.lock().await;
            self.generations.write().unwrap_or_else(PoisonError::into_inner).clear();
        }
        self.follow(database).await?;
        Ok(())
    }

    /// What is added from now on is told apart from what may be merged now.
    fn begin_generation(&self) {
        let mut generations = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if generations.last().is_none_or(|newest| !newest.marks.is_empty()) {
            generations.push(Generation::default());
        }
    }
}

/// Adds who of a song's listeners listened in which country. Every stream has one song, so songs are the platform.
pub fn gather_markets(markets: &mut FxHashMap<MarketDay, Vec<u32>>, segment: &Segment, at: u32) {
    for fact in segment.facts(at) {
        let day = Grain::Day.bucket_of(fact.quarter_ms);
        let listeners = fact.people.iter().filter(|taken| taken.part == Part::Listener).map(|taken| taken.person);
        let mut listeners = listeners.peekable();
        if listeners.peek().is_some() {
            let country = segment.texts.text(fact.origin[Dimension::Country as usize]).cloned();
            markets.entry((day, country)).or_default().extend(listeners);
        }
    }
}

pub fn mark((block, number): (u32, u32)) -> Mark {
    Mark { block, number }
}

/// A stored segment.
pub fn open_segment(at: (u32, u32), facts: Vec<u8>) -> Result<Segment, DbError> {
    Segment::open(mark(at), facts).map_err(|_| DbError::Corrupt("a segment of facts"))
}
