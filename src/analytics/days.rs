//! Days of entities as questions need them: stored ones, with what is still open added.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    ops::Range,
    sync::Arc,
};

use roaring::RoaringBitmap;

use crate::{
    audience::{
        day::{Cell, EntityDay, Person, Wanted, mask, quarters_within},
        open::{OpenAudience, OpenFacts},
    },
    db::{
        Database, DbError,
        queries::audience::{self, Columns, DayRow},
    },
    domain::{
        counting::{Part, Parts},
        entity::{EntityKind, EntityRef},
        merge::Merges,
        origin::Dimension,
        window::{DAY_MS, Grain, Window},
    },
};

/// An entity's UTC day.
pub type DayKey = (EntityRef, i64);

/// One day's share of a window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    Whole,
    /// Some of its quarter-hours.
    Cut(Range<u8>),
}

/// How a window falls into UTC days.
pub fn pieces(window: Window) -> impl Iterator<Item = (i64, Piece)> {
    let step = usize::try_from(DAY_MS).expect("a day is a small positive number");
    (Grain::Day.bucket_of(window.from_ms)..window.to_ms).step_by(step).map(move |day| {
        let stretch = window.from_ms.max(day)..window.to_ms.min(day + DAY_MS);
        let is_whole = stretch == (day..day + DAY_MS);
        (day, if is_whole { Piece::Whole } else { Piece::Cut(quarters_within(day, &stretch)) })
    })
}

/// What is read of which days.
#[derive(Default)]
pub struct Asked {
    /// Everybody who listened; the cheapest.
    pub listeners: BTreeSet<DayKey>,
    /// And who did from an active source.
    pub active: BTreeSet<DayKey>,
    /// What came from where, and who.
    pub cells: BTreeSet<DayKey>,
    /// The same by quarter-hour.
    pub detail: BTreeSet<DayKey>,
    /// Of what and whom, in cells and detail.
    pub wanted: Wanted,
}

/// The days that were asked for, as far as there are any.
#[derive(Default)]
pub struct Days {
    pub listeners: HashMap<DayKey, RoaringBitmap>,
    pub active: HashMap<DayKey, RoaringBitmap>,
    pub cells: HashMap<DayKey, EntityDay>,
    pub detail: HashMap<DayKey, EntityDay>,
}

impl Asked {
    /// Asks for the cells of one dimension, with these people.
    pub fn by(dimension: Dimension, parts: Parts) -> Self {
        Self { wanted: Wanted::of(dimension, parts), ..Self::default() }
    }

    /// Asks for the cells of a window's whole days, and for the detail of those that it cuts.
    pub fn ask_cells(&mut self, entity: &EntityRef, window: Window) {
        for (day, piece) in pieces(window) {
            let asked = if piece == Piece::Whole { &mut self.cells } else { &mut self.detail };
            asked.insert((entity.clone(), day));
        }
    }

    /// Reads them, each entity with everything that is read as it: one statement for each kind and form. What is
    /// open is looked at before the database: what is merged in between is then found there, and passed over here.
    pub async fn load(self, database: &Database, open: &OpenAudience, merges: &Merges) -> Result<Days, DbError> {
        let asked = Self {
            listeners: with_members(&self.listeners, merges),
            active: with_members(&self.active, merges),
            cells: with_members(&self.cells, merges),
            detail: with_members(&self.detail, merges),
            wanted: self.wanted,
        };
        let open = asked.open_facts(open);
        let mut days = Days::default();
        for kind in EntityKind::STORED {
            for (columns, days_asked) in [
                (Columns::Listeners, &asked.listeners),
                (Columns::ListenersAndActive, &asked.active),
                (Columns::Cells, &asked.cells),
                (Columns::CellsAndDetail, &asked.detail),
            ] {
                let of_kind = days_asked.iter().filter(|(entity, _)| entity.kind == kind);
                let of_kind: Vec<(i64, Arc<str>)> = of_kind.map(|(entity, day)| (*day, entity.id.clone())).collect();
                for row in list(database, columns, kind, &of_kind).await? {
                    let key = (row.entity.clone(), row.day);
                    // Perhaps every entity was asked for on every day; some of what is found nobody needs.
                    if days_asked.contains(&key) {
                        days.take(columns, key, row, asked.wanted)?;
                    }
                }
            }
        }
        asked.add_open(&mut days, &open);
        Ok(days.united(merges))
    }

    fn open_facts(&self, open: &OpenAudience) -> HashMap<EntityRef, OpenFacts> {
        let mut facts = HashMap::new();
        for (entity, _) in [&self.listeners, &self.active, &self.cells, &self.detail].into_iter().flatten() {
            facts.entry(entity.clone()).or_insert_with(|| open.facts(entity));
        }
        facts.retain(|_, facts: &mut OpenFacts| !facts.is_empty());
        facts
    }

    fn add_open(&self, days: &mut Days, open: &HashMap<EntityRef, OpenFacts>) {
        for (entity, facts) in open {
            for date in facts.days() {
                let key = (entity.clone(), date);
                for (asked, found) in [(&self.cells, &mut days.cells), (&self.detail, &mut days.detail)] {
                    if asked.contains(&key) {
                        facts.add_to(date, found.entry(key.clone()).or_default());
                    }
                }
                if self.listeners.contains(&key) || self.active.contains(&key) {
                    let mut only_open = EntityDay::default();
                    facts.add_to(date, &mut only_open);
                    // Sets take the same people twice.
                    if self.listeners.contains(&key) {
                        *days.listeners.entry(key.clone()).or_default() |= only_open.listeners();
                    }
                    if self.active.contains(&key) {
                        *days.listeners.entry(key.clone()).or_default() |= only_open.listeners();
                        *days.active.entry(key).or_default() |= only_open.active();
                    }
                }
            }
        }
    }
}

/// Every id on every day, which is one short statement, unless that is much more than what is asked for.
async fn list(
    database: &Database,
    columns: Columns,
    kind: EntityKind,
    asked: &[(i64, Arc<str>)],
) -> Result<Vec<DayRow>, DbError> {
    let days: BTreeSet<i64> = asked.iter().map(|(day, _)| *day).collect();
    let ids: BTreeSet<Arc<str>> = asked.iter().map(|(_, id)| id.clone()).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    if days.len() * ids.len() > 2 * asked.len() {
        return audience::list_each(database.reader(), columns, kind, asked).await;
    }
    let (days, ids): (Vec<_>, Vec<_>) = (days.into_iter().collect(), ids.into_iter().collect());
    audience::list(database.reader(), columns, &days, kind, &ids).await
}

/// The same days of everything that is read as the entities.
fn with_members(days: &BTreeSet<DayKey>, merges: &Merges) -> BTreeSet<DayKey> {
    let members = |(entity, day): &DayKey| merges.members(entity).into_iter().map(|member| (member, *day)).collect();
    days.iter().flat_map(|key| -> Vec<DayKey> { members(key) }).collect()
}

impl Days {
    fn take(&mut self, columns: Columns, key: DayKey, row: DayRow, wanted: Wanted) -> Result<(), DbError> {
        let read = |detail: Option<&[u8]>| {
            EntityDay::read(&row.cells, detail, wanted).map_err(|_| DbError::Corrupt("an entity's day"))
        };
        match columns {
            Columns::Listeners => {
                self.listeners.insert(key, row.listeners);
            }
            Columns::ListenersAndActive | Columns::Everything => {
                self.active.insert(key.clone(), row.active);
                self.listeners.insert(key, row.listeners);
            }
            Columns::Cells => {
                self.cells.insert(key, read(None)?);
            }
            Columns::CellsAndDetail => {
                self.detail.insert(key, read(Some(&row.detail))?);
            }
        }
        Ok(())
    }

    /// What is merged, as one.
    fn united(self, merges: &Merges) -> Self {
        let canonical = |(entity, day): DayKey| (merges.canonical(&entity), day);
        let sets = |sets: HashMap<DayKey, RoaringBitmap>| {
            let mut united: HashMap<DayKey, RoaringBitmap> = HashMap::with_capacity(sets.len());
            sets.into_iter().for_each(|(key, set)| *united.entry(canonical(key)).or_default() |= set);
            united
        };
        let days = |days: HashMap<DayKey, EntityDay>| {
            let mut united: HashMap<DayKey, EntityDay> = HashMap::with_capacity(days.len());
            for (key, day) in days {
                match united.entry(canonical(key)) {
                    Entry::Vacant(place) => drop(place.insert(day)),
                    Entry::Occupied(mut place) => place.get_mut().absorb(&day),
                }
            }
            united
        };
        Self {
            listeners: sets(self.listeners),
            active: sets(self.active),
            cells: days(self.cells),
            detail: days(self.detail),
        }
    }

    /// The day that holds a piece.
    pub fn of_piece(&self, key: &DayKey, piece: &Piece) -> Option<&EntityDay> {
        if *piece == Piece::Whole { self.cells.get(key) } else { self.detail.get(key) }
    }
}

/// Adds everybody of a cell who took a part within a piece to those who were met, and returns how often they did it over
/// the whole day.
pub fn meet(met: &mut Vec<u32>, cell: &Cell, part: Part, piece: &Piece) -> i64 {
    let mut times = 0;
    let meet = |who: &Person| {
        times += i64::from(who.times);
        who.number
    };
    match piece {
        Piece::Whole => met.extend(cell.people(part).iter().map(meet)),
        Piece::Cut(quarters) => met.extend(cell.people_in(part, mask(quarters)).map(meet)),
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::window::HOUR_MS;

    const DAY: i64 = 1_795_305_600_000; // 2026-11-22T00:00:00Z

    #[test]
    fn windows_fall_into_whole_days_and_quarters() {
        let window = Window { from_ms: DAY - DAY_MS - HOUR_MS, to_ms: DAY + HOUR_MS / 4 };
        let pieces: Vec<(i64, Piece)> = pieces(window).collect();
        let cut = |range| Piece::Cut(range);
        assert_eq!(pieces, [(DAY - 2 * DAY_MS, cut(92..96)), (DAY - DAY_MS, Piece::Whole), (DAY, cut(0..1))]);
    }

    #[test]
    fn a_window_inside_one_day_is_one_piece() {
        let window = Window { from_ms: DAY + HOUR_MS, to_ms: DAY + 2 * HOUR_MS };
        assert_eq!(pieces(window).collect::<Vec<_>>(), [(DAY, Piece::Cut(4..8))]);
    }
}
