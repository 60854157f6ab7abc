//! Distinct people over windows, and what is counted in one country: from the days of entities.

use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use super::{
    Analytics,
    days::{Asked, Days, Piece, meet, pieces},
};
use crate::{
    audience::{
        day::{Cell, EntityDay, set_of},
        open::OpenAudience,
    },
    db::{
        Database, DbError,
        queries::audience::{self, Columns},
    },
    domain::{
        counting::{Counter, Part, Parts},
        entity::{EntityKind, EntityRef},
        measure::{Crowd, MeasureKey, Measures, Need},
        origin::Dimension,
        window::Window,
    },
};

type Answers = HashMap<MeasureKey, Measures>;

/// Whoever did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Anything that makes a user active.
    Active,
    /// An event of this type.
    Did(String),
    /// A stream of this.
    ListenersOf(EntityRef),
}

impl Analytics {
    /// Adds people to the answers that need them, and counters to those of one country. Every number is exact: of
    /// days that a window cuts it is known in which quarter-hours somebody took part.
    pub(super) async fn add_people(&self, answers: &mut Answers) -> Result<(), DbError> {
        let mut asked = Asked::by(Dimension::Country, Parts::default());
        for key in answers.keys().filter(|key| needs_days(key)) {
            if of_sets(key).is_some() {
                for (day, piece) in pieces(key.window) {
                    let days = if piece == Piece::Whole { &mut asked.listeners } else { &mut asked.detail };
                    days.insert((key.entity.clone(), day));
                }
            } else {
                asked.ask_cells(&key.entity, key.window);
            }
            asked.wanted.add(Dimension::Country, parts_read(&key.need));
        }
        let days = self.days(asked).await?;
        for (key, measures) in answers.iter_mut().filter(|(key, _)| needs_days(key)) {
            let mut people = People::default();
            for (day, piece) in pieces(key.window) {
                people.add_piece(key, &days, day, &piece, measures);
            }
            people.count(key, measures);
            measures.counters.keep_only(key.need.counters);
        }
        Ok(())
    }

    /// Whoever did something, in each of some windows in a row.
    ///
    /// Source: stored sets of users by type of event, or of listeners by entity, and UTC day; of days that a window
    /// cuts, by quarter-hour.
    pub(super) async fn people_within(&self, windows: &[Window], who: &Who) -> Result<Vec<RoaringBitmap>, DbError> {
        let windows: Vec<Window> = windows.iter().map(|window| self.within_events(*window)).collect();
        let (of, part) = self.people_of(&windows, who).await?;
        let mut asked = Asked::by(Dimension::Country, Parts::of(&[part]));
        let touched: HashSet<(i64, Piece)> = windows.iter().flat_map(|window| pieces(*window)).collect();
        for (day, piece) in &touched {
            let of_piece = if *piece == Piece::Whole { &mut asked.listeners } else { &mut asked.detail };
            of_piece.extend(of.iter().map(|entity| (entity.clone(), *day)));
        }
        let found = self.days(asked).await?;
        let mut sets: HashMap<(i64, Piece), RoaringBitmap> = HashMap::with_capacity(touched.len());
        for (day, piece) in touched {
            let mut all = RoaringBitmap::new();
            for entity in &of {
                let key = (entity.clone(), day);
                if piece == Piece::Whole {
                    found.listeners.get(&key).into_iter().for_each(|set| all |= set);
                } else if let Some(entity_day) = found.detail.get(&key) {
                    let mut met = Vec::new();
                    for cell in entity_day.cells(Dimension::Country) {
                        meet(&mut met, cell, part, &piece);
                    }
                    all |= set_of(met);
                }
            }
            sets.insert((day, piece), all);
        }
        let of_window = |window: &Window| {
            let found = pieces(*window).filter_map(|key| sets.get(&key));
            found.fold(RoaringBitmap::new(), |all, set| all | set)
        };
        Ok(windows.iter().map(of_window).collect())
    }

    /// Whose days hold them, and as what.
    async fn people_of(&self, windows: &[Window], who: &Who) -> Result<(Vec<EntityRef>, Part), DbError> {
        Ok(match who {
            Who::Active => {
                let (from, to) =
                    (windows.iter().map(|one| one.from_ms).min(), windows.iter().map(|one| one.to_ms).max());
                let whole = Window { from_ms: from.unwrap_or(0), to_ms: to.unwrap_or(0) };
                let types = self.event_types(whole, usize::MAX).await?.into_iter();
                (types.filter(|event_type| self.is_activity(event_type)).collect(), Part::Actor)
            }
            Who::Did(event_type) => (vec![EntityRef::event_type(event_type)], Part::Actor),
            Who::ListenersOf(entity) => (vec![self.merges.canonical(entity)], Part::Listener),
        })
    }

    /// A calendar day as far as there are events; its edges stay where they are.
    fn within_events(&self, day: Window) -> Window {
        let narrowed = self.narrowed(day);
        if narrowed.from_ms >= narrowed.to_ms { narrowed } else { day }
    }
}

fn needs_days(key: &MeasureKey) -> bool {
    let counts = key.country.is_some() && (!key.need.counters.is_empty() || key.need.money);
    counts || !parts_read(&key.need).is_empty()
}

/// Whom the stored sets of a day are enough for: listeners, or of a type of event whoever did it.
fn of_sets(key: &MeasureKey) -> Option<Part> {
    let part = if key.entity.kind == EntityKind::EventType { Part::Actor } else { Part::Listener };
    let is_enough = key.country.is_none() && parts_read(&key.need) == Parts::of(&[part]) && !key.need.crowd.size;
    is_enough.then_some(part)
}

fn parts_read(need: &Need) -> Parts {
    let Crowd { intending, daily, size } = need.crowd;
    let mut parts = need.parts;
    for (is_needed, more) in
        [(intending, Parts::of(&[Part::Saver, Part::Adder])), (daily, Parts::of(&[Part::Listener])), (size, Parts::ALL)]
    {
        if is_needed {
            parts = parts.union(more);
        }
    }
    parts
}

/// The people of one question while it is answered.
#[derive(Default)]
struct People {
    /// Of whole days, as far as their sets are enough.
    of_sets: RoaringBitmap,
    /// Everybody else, as often as they were met.
    parts: [Vec<u32>; Part::COUNT],
    daily_listeners: u64,
    streams: i64,
    /// Streams of known people.
    known_streams: i64,
}

impl People {
    fn add_piece(&mut self, key: &MeasureKey, days: &Days, day: i64, piece: &Piece, measures: &mut Measures) {
        let day_key = (key.entity.clone(), day);
        if of_sets(key).is_some() && *piece == Piece::Whole {
            if let Some(set) = days.listeners.get(&day_key) {
                self.daily_listeners += set.len();
                self.of_sets |= set;
            }
            return;
        }
        let Some(entity_day) = days.of_piece(&day_key, piece) else { return };
        let listeners_before = self.parts[Part::Listener as usize].len();
        // The cells of countries are everything that happened; those of one country are what happened there.
        for cell in entity_day.cells(Dimension::Country) {
            if key.country.is_some() && entity_day.text(cell) != key.country.as_ref() {
                continue;
            }
            for part in Part::ALL {
                let times = meet(&mut self.parts[part as usize], cell, part, piece);
                if matches!(part, Part::Listener | Part::AnonymousListener) {
                    self.known_streams += times;
                }
            }
            self.add_sums(key, entity_day, cell, piece, measures);
        }
        if key.need.crowd.daily {
            let of_day = self.parts[Part::Listener as usize][listeners_before..].to_vec();
            self.daily_listeners += set_of(of_day).len();
        }
    }

    fn add_sums(
        &mut self,
        key: &MeasureKey,
        entity_day: &EntityDay,
        cell: &Cell,
        piece: &Piece,
        measures: &mut Measures,
    ) {
        let inside = match piece {
            Piece::Whole => None,
            Piece::Cut(quarters) => Some(cell.within(quarters)),
        };
        let sums = inside.as_ref().unwrap_or(&cell.total);
        self.streams += sums.counters[Counter::Streams];
        if key.country.is_some() {
            measures.counters.add(&sums.counters);
            for (currency, money) in sums.money.iter().filter(|_| key.need.money) {
                let currency = entity_day.texts.text(*currency).map_or("", |currency| &**currency);
                match measures.money.binary_search_by(|(known, _)| known.as_str().cmp(currency)) {
                    Ok(place) => measures.money[place].1.add(money),
                    Err(place) => measures.money.insert(place, (currency.to_owned(), *money)),
                }
            }
        }
    }

    fn count(self, key: &MeasureKey, measures: &mut Measures) {
        let need = key.need;
        let mut sets = self.parts.map(set_of);
        if let Some(part) = of_sets(key) {
            sets[part as usize] |= self.of_sets;
        }
        for part in Part::ALL.into_iter().filter(|part| need.parts.contains(*part)) {
            measures.people.set(part, sets[part as usize].len());
        }
        if need.crowd.intending {
            measures.people.intending = sets[Part::Saver as usize].union_len(&sets[Part::Adder as usize]);
        }
        if need.crowd.daily {
            measures.people.daily_listeners = self.daily_listeners;
        }
        if need.crowd.size {
            measures.people.size = size(&sets, self.streams, self.known_streams);
        }
    }
}

/// How many people stand behind some numbers at least. Streams of which nobody is known are somebody's each: totals
/// of an older system are many people's, a single one may be one person's.
///
/// `known_streams` of a day that is cut are those of the whole day, which makes the size smaller, never larger.
pub fn size(parts: &[RoaringBitmap; Part::COUNT], streams: i64, known_streams: i64) -> u64 {
    let anonymous = &parts[Part::AnonymousListener as usize];
    let is_identified = |part: &Part| *part != Part::AnonymousListener;
    let identified = Part::ALL.into_iter().filter(is_identified).map(|part| &parts[part as usize]);
    let identified = identified.fold(RoaringBitmap::new(), |all, set| all | set);
    identified.len() + anonymous.len() + u64::try_from(streams - known_streams).unwrap_or(0)
}

/// Days whose sets are read by one statement while ranking: bounds memory, not the window.
const DAYS_AT_ONCE: usize = 32;

/// Every entity of a kind with a listener on a day that the window touches, with the most that it can have in the
/// window; for rankings by listeners.
pub async fn list_upper_bounds(
    database: &Database,
    open: &OpenAudience,
    kind: EntityKind,
    window: Window,
) -> Result<Vec<(EntityRef, u64)>, DbError> {
    let days: Vec<i64> = pieces(window).map(|(day, _)| day).collect();
    let sets = list_listeners(database, open, kind, &days).await?;
    Ok(sets.into_iter().map(|(entity, set)| (entity, set.len())).collect())
}

/// Every entity of a kind with a listener on these days, with all of them.
pub async fn list_listeners(
    database: &Database,
    open: &OpenAudience,
    kind: EntityKind,
    days: &[i64],
) -> Result<HashMap<EntityRef, RoaringBitmap>, DbError> {
    let touched: HashSet<i64> = days.iter().copied().collect();
    let mut sets: HashMap<EntityRef, RoaringBitmap> = HashMap::new();
    for entity in open.entities().into_iter().filter(|entity| entity.kind == kind) {
        let mut listeners = RoaringBitmap::new();
        open.facts(&entity).for_each(|_, fact, _| {
            if touched.contains(&crate::domain::window::Grain::Day.bucket_of(fact.quarter_ms)) {
                let people = fact.people.iter().filter(|taken| taken.part == Part::Listener);
                listeners.extend(people.map(|taken| taken.person));
            }
        });
        sets.insert(entity, listeners);
    }
    for days in days.chunks(DAYS_AT_ONCE) {
        for row in audience::list_kind(database.reader(), Columns::Listeners, days, kind).await? {
            *sets.entry(row.entity).or_default() |= row.listeners;
        }
    }
    sets.retain(|_, set| !set.is_empty());
    Ok(sets)
}
