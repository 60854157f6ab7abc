//! One entity's UTC day: what was counted and who took part, by origin. Stored in two parts: the day as a whole,
//! which most questions need, and its quarter-hours, for windows that cut it.

use std::ops::Range;

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::{
    bytes::{Reader, Unreadable, write_block, write_number},
    fact::{Fact, OriginNumbers, Sums, Texts},
    segment::Mark,
};
use crate::domain::{
    counting::{Part, Parts},
    origin::{Dimension, SourceClass},
    window::{DAY_MS, QUARTER_MS},
};

const QUARTERS: u8 = 96;

/// Up to which number of each block a day holds all segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<Mark>);

impl Marks {
    pub fn hold(&self, mark: Mark) -> bool {
        self.0.iter().any(|known| known.block == mark.block && known.number >= mark.number)
    }

    pub fn raise(&mut self, mark: Mark) {
        match self.0.iter_mut().find(|known| known.block == mark.block) {
            Some(known) => known.number = known.number.max(mark.number),
            None => self.0.push(mark),
        }
    }

    pub fn raise_all(&mut self, other: &Marks) {
        other.0.iter().for_each(|mark| self.raise(*mark));
    }
}

/// One person of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    pub number: u32,
    pub times: u32,
    /// In which quarter-hours of the day, a bit each.
    pub quarters: u128,
}

/// What came from one origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    pub origin: OriginNumbers,
    pub total: Sums,
    pub quarters: Vec<(u8, Sums)>,
    /// By [`Part`]; each list ascending and distinct once it is settled.
    people: [Vec<Person>; Part::COUNT],
}

/// One entity's day.
#[derive(Debug, Clone, Default)]
pub struct EntityDay {
    pub marks: Marks,
    pub texts: Texts,
    pub cells: Vec<Cell>,
    places: FxHashMap<OriginNumbers, usize>,
    is_settled: bool,
}

/// A range of the day's quarter-hours as bits.
pub fn mask(quarters: &Range<u8>) -> u128 {
    quarters.clone().fold(0, |mask, quarter| mask | 1 << quarter)
}

/// Which quarter-hours of the day that begins at `day_ms` lie in a stretch of time that begins and ends at such.
pub fn quarters_within(day_ms: i64, stretch_ms: &Range<i64>) -> Range<u8> {
    let quarter = |at_ms: i64| u8::try_from((at_ms - day_ms).clamp(0, DAY_MS) / QUARTER_MS).unwrap_or(QUARTERS);
    quarter(stretch_ms.start)..quarter(stretch_ms.end)
}

impl EntityDay {
    /// Adds a fact of this day, whose texts are another's.
    pub fn fold(&mut self, fact: &Fact, texts: &Texts) {
        let place = self.cell(texts, fact.origin);
        let sums = fact.sums.translated(&mut self.texts, texts);
        let cell = &mut self.cells[place];
        let quarter = u8::try_from(fact.quarter_ms.rem_euclid(DAY_MS) / QUARTER_MS).expect("a day has 96 quarters");
        cell.total.add(&sums);
        cell.add_quarter(quarter, sums);
        for taken in &fact.people {
            let person = Person { number: taken.person, times: taken.times, quarters: 1 << quarter };
            cell.people[taken.part as usize].push(person);
        }
        self.is_settled = false;
    }

    /// Adds another day's numbers and people: of what is read as one. Both are settled, and so is the sum.
    pub fn absorb(&mut self, other: &EntityDay) {
        for cell in &other.cells {
            let into = self.cell(&other.texts, cell.origin);
            let translate = |sums: &Sums, texts: &mut Texts| sums.translated(texts, &other.texts);
            let total = translate(&cell.total, &mut self.texts);
            self.cells[into].total.add(&total);
            for (quarter, sums) in &cell.quarters {
                let sums = translate(sums, &mut self.texts);
                self.cells[into].add_quarter(*quarter, sums);
            }
            for part in Part::ALL {
                self.cells[into].people[part as usize].extend_from_slice(cell.people(part));
            }
        }
        self.is_settled = false;
        self.settle();
    }

    /// The place of an origin's cell, a new one if need be.
    fn cell(&mut self, texts: &Texts, origin: OriginNumbers) -> usize {
        if self.places.len() < self.cells.len() {
            self.places = self.cells.iter().enumerate().map(|(place, cell)| (cell.origin, place)).collect();
        }
        let origin = self.texts.translated(texts, origin);
        *self.places.entry(origin).or_insert_with(|| {
            self.cells.push(Cell { origin, ..Cell::default() });
            self.cells.len() - 1
        })
    }

    /// Brings everybody's parts together.
    pub fn settle(&mut self) {
        if self.is_settled {
            return;
        }
        for list in self.cells.iter_mut().flat_map(|cell| &mut cell.people) {
            list.sort_by_key(|person| person.number);
            list.dedup_by(|next, first| {
                let is_same = next.number == first.number;
                if is_same {
                    first.times = first.times.saturating_add(next.times);
                    first.quarters |= next.quarters;
                }
                is_same
            });
        }
        self.is_settled = true;
    }

    /// Everybody who took a part, in the cells that `is_asked`.
    pub fn people(&self, part: Part, is_asked: impl Fn(&Cell) -> bool) -> RoaringBitmap {
        self.cells
            .iter()
            .filter(|cell| is_asked(cell))
            .flat_map(|cell| cell.people(part))
            .map(|who| who.number)
            .collect()
    }

    pub fn listeners(&self) -> RoaringBitmap {
        self.people(Part::Listener, |_| true)
    }

    /// Who streamed from an active source.
    pub fn active(&self) -> RoaringBitmap {
        self.people(Part::Listener, |cell| self.is_active(cell))
    }

    pub fn is_active(&self, cell: &Cell) -> bool {
        let source = self.texts.text(cell.origin[Dimension::Source as usize]);
        SourceClass::of(source.map(|source| &**source)) == SourceClass::Active
    }

    /// The day as a whole.
    pub fn write_cells(&self) -> Vec<u8> {
        let (mut bytes, mut scratch, mut inner) = (Vec::new(), Vec::new(), Vec::new());
        write_number(&mut bytes, self.marks.0.len() as u64);
        for mark in &self.marks.0 {
            write_number(&mut bytes, u64::from(mark.block));
            write_number(&mut bytes, u64::from(mark.number));
        }
        self.texts.write(&mut bytes);
        for cell in &self.cells {
            cell.origin.iter().for_each(|text| write_number(&mut bytes, u64::from(*text)));
            cell.total.write(&mut bytes);
            write_block(&mut bytes, &mut scratch, |bytes| {
                for part in Part::ALL.into_iter().filter(|part| !cell.people(*part).is_empty()) {
                    bytes.push(part as u8);
                    write_block(bytes, &mut inner, |bytes| {
                        let mut last = 0;
                        for person in cell.people(part) {
                            write_number(bytes, u64::from(person.number - last));
                            write_number(bytes, u64::from(person.times));
                            last = person.number;
                        }
                    });
                }
            });
        }
        bytes
    }

    /// The day's quarter-hours: of each cell in order, and of its people in order.
    pub fn write_detail(&self) -> Vec<u8> {
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        for cell in &self.cells {
            write_number(&mut bytes, cell.quarters.len() as u64);
            for (quarter, sums) in &cell.quarters {
                bytes.push(*quarter);
                sums.write(&mut bytes);
            }
            for part in Part::ALL.into_iter().filter(|part| !cell.people(*part).is_empty()) {
                write_block(&mut bytes, &mut scratch, |bytes| {
                    cell.people(part).iter().for_each(|person| write_quarters(bytes, person.quarters));
                });
            }
        }
        bytes
    }

    /// Reads what [`Self::write_cells`] wrote, of people only these parts, and the quarter-hours where they are given.
    pub fn read(cells: &[u8], detail: Option<&[u8]>, parts: Parts) -> Result<Self, Unreadable> {
        let mut reader = Reader(cells);
        let mut detail = detail.map(Reader);
        let mut day = Self { is_settled: true, ..Self::default() };
        for _ in 0..reader.count()? {
            day.marks.raise(Mark { block: reader.small()?, number: reader.small()? });
        }
        day.texts = Texts::read(&mut reader)?;
        while !reader.is_empty() {
            let origin = [reader.small()?, reader.small()?, reader.small()?];
            let mut cell = Cell { origin, total: Sums::read(&mut reader)?, ..Cell::default() };
            if let Some(detail) = &mut detail {
                for _ in 0..detail.count()? {
                    cell.quarters.push((detail.byte()?, Sums::read(detail)?));
                }
            }
            let mut lists = reader.block()?;
            while !lists.is_empty() {
                let part = *Part::ALL.get(usize::from(lists.byte()?)).ok_or(Unreadable)?;
                let list = lists.block()?;
                let quarters = detail.as_mut().map(Reader::block).transpose()?;
                if parts.contains(part) {
                    cell.people[part as usize] = read_people(list, quarters)?;
                }
            }
            day.cells.push(cell);
        }
        Ok(day)
    }
}

impl Cell {
    pub fn people(&self, part: Part) -> &[Person] {
        &self.people[part as usize]
    }

    fn add_quarter(&mut self, quarter: u8, sums: Sums) {
        match self.quarters.iter_mut().find(|(known, _)| *known == quarter) {
            Some((_, known)) => known.add(&sums),
            None => self.quarters.push((quarter, sums)),
        }
    }

    /// What was counted in a range of quarter-hours.
    pub fn within(&self, quarters: &Range<u8>) -> Sums {
        let mut sums = Sums::default();
        let inside = self.quarters.iter().filter(|(quarter, _)| quarters.contains(quarter));
        inside.for_each(|(_, counted)| sums.add(counted));
        sums
    }
}

fn read_people(mut list: Reader<'_>, mut quarters: Option<Reader<'_>>) -> Result<Vec<Person>, Unreadable> {
    // Two bytes each at least.
    let mut people = Vec::with_capacity(list.0.len() / 2);
    let mut last = 0_u32;
    while !list.is_empty() {
        last = last.checked_add(list.small()?).ok_or(Unreadable)?;
        let times = list.small()?;
        let quarters = quarters.as_mut().map(read_quarters).transpose()?.unwrap_or(0);
        people.push(Person { number: last, times, quarters });
    }
    Ok(people)
}

/// One byte where it is one quarter, which it mostly is; otherwise how many, counted on from 96, then each.
fn write_quarters(bytes: &mut Vec<u8>, quarters: u128) {
    let count = u8::try_from(quarters.count_ones()).expect("128 bits are at most 128");
    if count != 1 {
        bytes.push(QUARTERS + count);
    }
    bytes.extend((0..QUARTERS).filter(|quarter| quarters & 1 << quarter != 0));
}

fn read_quarters(reader: &mut Reader<'_>) -> Result<u128, Unreadable> {
    let first = reader.byte()?;
    if first < QUARTERS {
        return Ok(1 << first);
    }
    let mut quarters = 0;
    for _ in QUARTERS..first {
        let quarter = reader.byte()?;
        if quarter >= QUARTERS {
            return Err(Unreadable);
        }
        quarters |= 1 << quarter;
    }
    Ok(quarters)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{audience::fact::PartTaken, domain::counting::Counter};

    /// Quarter of the day, origin, plays, who did what.
    type Told = (u8, (u8, u8, u8), i64, Vec<(usize, u32)>);

    fn told() -> impl Strategy<Value = Vec<Told>> {
        let people = prop::collection::vec((0..Part::COUNT, 0..50_u32), 0..4);
        prop::collection::vec((0..QUARTERS, (0..3_u8, 0..3_u8, 0..3_u8), 1..5_i64, people), 0..60)
    }

    fn texts() -> Texts {
        let mut texts = Texts::default();
        ["DE", "search", "radio", "phone"].into_iter().for_each(|text| {
            texts.number(Some(text));
        });
        texts
    }

    fn fact((quarter, (country, source, device), plays, people): &Told) -> Fact {
        let mut sums = Sums::default();
        sums.counters[Counter::Plays] = *plays;
        let people =
            people.iter().map(|(part, person)| PartTaken { part: Part::ALL[*part], person: *person, times: 1 });
        let origin = [u32::from(*country), u32::from(*source), u32::from(*device)];
        Fact { quarter_ms: i64::from(*quarter) * QUARTER_MS, origin, sums, people: people.collect() }
    }

    fn folded(told: &[Told]) -> EntityDay {
        let mut day = EntityDay::default();
        told.iter().for_each(|told| day.fold(&fact(told), &texts()));
        day.settle();
        day
    }

    proptest! {
        #[test]
        fn days_survive_encoding_and_go_on_from_there(before in told(), after in told()) {
            let mut day = folded(&before);
            day.marks.raise(Mark { block: 3, number: 7 });
            let mut read = EntityDay::read(&day.write_cells(), Some(&day.write_detail()), Parts::ALL).unwrap();
            prop_assert_eq!(&read.cells, &day.cells);
            let holds = |number| read.marks.hold(Mark { block: 3, number });
            prop_assert_eq!([holds(7), holds(8)], [true, false]);
            after.iter().for_each(|told| read.fold(&fact(told), &texts()));
            read.settle();
            let whole = folded(&[before, after].concat());
            prop_assert_eq!(read.listeners(), whole.listeners());
            for quarters in [0..QUARTERS, 0..40, 40..QUARTERS] {
                let plays = |day: &EntityDay| -> i64 {
                    day.cells.iter().map(|cell| cell.within(&quarters).counters[Counter::Plays]).sum()
                };
                prop_assert_eq!(plays(&read), plays(&whole));
            }
        }

        #[test]
        fn people_are_known_by_their_quarters(told in told(), from in 0..QUARTERS, to in 0..QUARTERS) {
            let day = folded(&told);
            let day = EntityDay::read(&day.write_cells(), Some(&day.write_detail()), Parts::ALL).unwrap();
            let asked = mask(&(from..to));
            let people = day.cells.iter().flat_map(|cell| cell.people(Part::Liker));
            let found: RoaringBitmap = people.filter(|who| who.quarters & asked != 0).map(|who| who.number).collect();
            let inside = told.iter().filter(|told| (from..to).contains(&told.0)).flat_map(|told| &told.3);
            let expected: RoaringBitmap =
                inside.filter(|(part, _)| *part == Part::Liker as usize).map(|(_, person)| *person).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn garbage_is_refused_without_panic(cells in prop::collection::vec(any::<u8>(), 0..200), detail in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = EntityDay::read(&cells, Some(&detail), Parts::ALL);
        }
    }
}
