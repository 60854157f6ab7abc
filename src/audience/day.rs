//! One entity's UTC day: what was counted and who took part, by origin. Stored in two parts: the day as a whole,
//! which most questions need, and its quarter-hours, for windows that cut it.

use std::{ops::Range, sync::Arc};

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::{
    bytes::{Reader, Unreadable, write_block, write_number},
    fact::{Fact, Sums, Texts},
    segment::Marks,
};
use crate::domain::{
    counting::{Part, Parts},
    origin::{Dimension, SourceClass},
    window::{DAY_MS, QUARTER_MS},
};

const QUARTERS: u8 = 96;

/// One person of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    pub number: u32,
    pub times: u32,
}

/// Who took a part in a cell. Most questions need no quarter-hours, and are twice as fast without them in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct People {
    /// Ascending and distinct once they are settled.
    list: Vec<Person>,
    /// Of each in the list, in which quarter-hours of the day, a bit each; not of all where only the whole day was read.
    quarters: Vec<u128>,
}

/// What came from one country, source or device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// The number of its text; 0 where events did not say.
    value: u32,
    /// How listeners came to it, by which the cells of a country are told apart; of no other dimension.
    pub class: SourceClass,
    pub total: Sums,
    pub quarters: Vec<(u8, Sums)>,
    /// By [`Part`].
    people: [People; Part::COUNT],
}

/// The cells of one dimension: everything that happened, once.
#[derive(Debug, Clone, Default)]
struct Section {
    cells: Vec<Cell>,
    places: FxHashMap<(u32, SourceClass), usize>,
}

/// One entity's day, once by country, once by source, once by device: a question needs one of them, and what all
/// three together tell nobody asks.
#[derive(Debug, Clone, Default)]
pub struct EntityDay {
    pub marks: Marks,
    pub texts: Texts,
    sections: [Section; 3],
    is_settled: bool,
}

/// What is read of a stored day: by [`Dimension`] whether its cells are, and whom of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted([Option<Parts>; 3]);

impl Wanted {
    pub const EVERYTHING: Wanted = Wanted([Some(Parts::ALL); 3]);

    pub fn of(dimension: Dimension, parts: Parts) -> Self {
        let mut wanted = Self::default();
        wanted.add(dimension, parts);
        wanted
    }

    pub fn add(&mut self, dimension: Dimension, parts: Parts) {
        let known = &mut self.0[dimension as usize];
        *known = Some(known.unwrap_or_default().union(parts));
    }
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

impl Section {
    /// The place of a value's cell, a new one if need be.
    fn place(&mut self, value: u32, class: SourceClass) -> usize {
        if self.places.len() < self.cells.len() {
            let cells = self.cells.iter().enumerate();
            self.places = cells.map(|(place, cell)| ((cell.value, cell.class), place)).collect();
        }
        *self.places.entry((value, class)).or_insert_with(|| {
            self.cells.push(Cell { value, class, ..Cell::default() });
            self.cells.len() - 1
        })
    }
}

impl EntityDay {
    /// Adds a fact of this day, whose texts are another's.
    pub fn fold(&mut self, fact: &Fact, texts: &Texts) {
        let source = texts.text(fact.origin[Dimension::Source as usize]);
        let class = SourceClass::of(source.map(|source| &**source));
        let origin = self.texts.translated(texts, fact.origin);
        let sums = fact.sums.translated(&mut self.texts, texts);
        let quarter = u8::try_from(fact.quarter_ms.rem_euclid(DAY_MS) / QUARTER_MS).expect("a day has 96 quarters");
        for dimension in Dimension::ALL {
            let class = if dimension == Dimension::Country { class } else { SourceClass::default() };
            let section = &mut self.sections[dimension as usize];
            let place = section.place(origin[dimension as usize], class);
            let cell = &mut section.cells[place];
            cell.total.add(&sums);
            cell.add_quarter(quarter, &sums);
            for taken in &fact.people {
                let person = Person { number: taken.person, times: taken.times };
                cell.people[taken.part as usize].add(person, 1 << quarter);
            }
        }
        self.is_settled = false;
    }

    /// Adds another day's numbers and people: of what is read as one. Both are settled, and so is the sum.
    pub fn absorb(&mut self, other: &EntityDay) {
        for dimension in Dimension::ALL {
            for cell in other.cells(dimension) {
                let value = self.texts.number(other.text(cell).map(|text| &**text));
                let total = cell.total.translated(&mut self.texts, &other.texts);
                let section = &mut self.sections[dimension as usize];
                let place = section.place(value, cell.class);
                section.cells[place].total.add(&total);
                for (quarter, sums) in &cell.quarters {
                    let sums = sums.translated(&mut self.texts, &other.texts);
                    self.sections[dimension as usize].cells[place].add_quarter(*quarter, &sums);
                }
                for part in Part::ALL {
                    let into = &mut self.sections[dimension as usize].cells[place];
                    into.people[part as usize].extend(&cell.people[part as usize]);
                }
            }
        }
        self.is_settled = false;
        self.settle();
    }

    /// Brings everybody's parts together.
    pub fn settle(&mut self) {
        if self.is_settled {
            return;
        }
        let cells = self.sections.iter_mut().flat_map(|section| &mut section.cells);
        cells.flat_map(|cell| &mut cell.people).for_each(People::settle);
        self.is_settled = true;
    }

    /// Everything that happened, by one dimension.
    pub fn cells(&self, by: Dimension) -> &[Cell] {
        &self.sections[by as usize].cells
    }

    /// The country, source or device of a cell.
    pub fn text(&self, cell: &Cell) -> Option<&Arc<str>> {
        self.texts.text(cell.value)
    }

    /// Who streamed, signed in; of a type of event, who did it. Nothing has both.
    pub fn listeners(&self) -> RoaringBitmap {
        let cells = self.cells(Dimension::Country).iter();
        let people = cells.flat_map(|cell| cell.people(Part::Listener).iter().chain(cell.people(Part::Actor)));
        set_of(people.map(|who| who.number).collect())
    }

    /// Who streamed from an active source.
    pub fn active(&self) -> RoaringBitmap {
        let active = self.cells(Dimension::Country).iter().filter(|cell| cell.class == SourceClass::Active);
        set_of(active.flat_map(|cell| cell.people(Part::Listener)).map(|who| who.number).collect())
    }

    /// The day as a whole.
    pub fn write_cells(&self) -> Vec<u8> {
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        self.marks.write(&mut bytes);
        self.texts.write(&mut bytes);
        for section in &self.sections {
            write_block(&mut bytes, &mut scratch, |bytes| section.cells.iter().for_each(|cell| cell.write(bytes)));
        }
        bytes
    }

    /// The day's quarter-hours: of each cell in order, and of its people in order.
    pub fn write_detail(&self) -> Vec<u8> {
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        for section in &self.sections {
            write_block(&mut bytes, &mut scratch, |bytes| {
                section.cells.iter().for_each(|cell| cell.write_detail(bytes));
            });
        }
        bytes
    }

    /// Reads what [`Self::write_cells`] wrote, only what is wanted of it, and the quarter-hours where they are given.
    pub fn read(cells: &[u8], detail: Option<&[u8]>, wanted: Wanted) -> Result<Self, Unreadable> {
        let mut reader = Reader(cells);
        let mut detail = detail.map(Reader);
        let marks = Marks::read(&mut reader)?;
        let mut day = Self { marks, is_settled: true, ..Self::default() };
        day.texts = Texts::read(&mut reader)?;
        for dimension in Dimension::ALL {
            let mut cells = reader.block()?;
            let mut detail = detail.as_mut().map(Reader::block).transpose()?;
            let Some(parts) = wanted.0[dimension as usize] else { continue };
            while !cells.is_empty() {
                let cell = Cell::read(&mut cells, detail.as_mut(), parts)?;
                day.sections[dimension as usize].cells.push(cell);
            }
        }
        Ok(day)
    }
}

/// The set of some numbers, in any order and as often as they are there.
pub fn set_of(mut numbers: Vec<u32>) -> RoaringBitmap {
    let largest = numbers.iter().max().map_or(0, |largest| *largest as usize);
    // Of many numbers that lie close together, setting bits is far quicker than sorting.
    if largest / 8 < numbers.len() * 4 {
        let mut bytes = vec![0_u8; largest / 8 + 1];
        numbers.iter().for_each(|number| bytes[*number as usize / 8] |= 1 << (number % 8));
        return RoaringBitmap::from_lsb0_bytes(0, &bytes);
    }
    numbers.sort_unstable();
    numbers.dedup();
    RoaringBitmap::from_sorted_iter(numbers).expect("they are sorted and distinct")
}

impl Cell {
    pub fn people(&self, part: Part) -> &[Person] {
        &self.people[part as usize].list
    }

    /// Whoever took a part in any of the quarter-hours of a mask, with how often on the whole day.
    pub fn people_in(&self, part: Part, mask: u128) -> impl Iterator<Item = &Person> {
        self.people_by_quarters(part).filter(move |(_, quarters)| quarters & mask != 0).map(|(person, _)| person)
    }

    /// Whoever took a part, and in which quarter-hours, a bit each.
    pub fn people_by_quarters(&self, part: Part) -> impl Iterator<Item = (&Person, u128)> {
        let People { list, quarters } = &self.people[part as usize];
        list.iter().zip(quarters.iter().copied())
    }

    fn add_quarter(&mut self, quarter: u8, sums: &Sums) {
        match self.quarters.iter_mut().find(|(known, _)| *known == quarter) {
            Some((_, known)) => known.add(sums),
            None => self.quarters.push((quarter, sums.clone())),
        }
    }

    /// The parts that somebody took.
    fn parts(&self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(|part| !self.people(*part).is_empty())
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let (mut lists, mut list, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        write_number(bytes, u64::from(self.value));
        bytes.push(self.class as u8);
        self.total.write(bytes);
        write_block(bytes, &mut lists, |bytes| {
            for part in self.parts() {
                bytes.push(part as u8);
                list.clear();
                let mut last = 0;
                for person in self.people(part) {
                    write_number(&mut list, u64::from(person.number - last));
                    write_number(&mut list, u64::from(person.times));
                    last = person.number;
                }
                write_block(bytes, &mut scratch, |bytes| bytes.extend_from_slice(&list));
            }
        });
    }

    fn write_detail(&self, bytes: &mut Vec<u8>) {
        let mut scratch = Vec::new();
        write_number(bytes, self.quarters.len() as u64);
        for (quarter, sums) in &self.quarters {
            bytes.push(*quarter);
            sums.write(bytes);
        }
        for part in self.parts() {
            write_block(bytes, &mut scratch, |bytes| {
                self.people[part as usize].quarters.iter().for_each(|quarters| write_quarters(bytes, *quarters));
            });
        }
    }

    fn read(reader: &mut Reader<'_>, mut detail: Option<&mut Reader<'_>>, parts: Parts) -> Result<Self, Unreadable> {
        let value = reader.small()?;
        let class = *SourceClass::ALL.get(usize::from(reader.byte()?)).ok_or(Unreadable)?;
        let mut cell = Self { value, class, total: Sums::read(reader)?, ..Self::default() };
        if let Some(detail) = &mut detail {
            for _ in 0..detail.count()? {
                cell.quarters.push((detail.byte()?, Sums::read(detail)?));
            }
        }
        let mut lists = reader.block()?;
        while !lists.is_empty() {
            let part = *Part::ALL.get(usize::from(lists.byte()?)).ok_or(Unreadable)?;
            let list = lists.block()?;
            let quarters = detail.as_mut().map(|detail| detail.block()).transpose()?;
            if parts.contains(part) {
                cell.people[part as usize] = People::read(list, quarters)?;
            }
        }
        Ok(cell)
    }

    /// What was counted in a range of quarter-hours.
    pub fn within(&self, quarters: &Range<u8>) -> Sums {
        let mut sums = Sums::default();
        let inside = self.quarters.iter().filter(|(quarter, _)| quarters.contains(quarter));
        inside.for_each(|(_, counted)| sums.add(counted));
        sums
    }
}

impl People {
    fn read(mut list: Reader<'_>, quarters: Option<Reader<'_>>) -> Result<Self, Unreadable> {
        // Two bytes each at least.
        let mut people = Self { list: Vec::with_capacity(list.0.len() / 2), quarters: Vec::new() };
        let mut last = 0_u32;
        while !list.is_empty() {
            last = last.checked_add(list.small()?).ok_or(Unreadable)?;
            people.list.push(Person { number: last, times: list.small()? });
        }
        if let Some(mut quarters) = quarters {
            people.quarters = people.list.iter().map(|_| read_quarters(&mut quarters)).collect::<Result<_, _>>()?;
        }
        Ok(people)
    }

    fn has_quarters(&self) -> bool {
        self.quarters.len() == self.list.len()
    }

    fn add(&mut self, person: Person, quarters: u128) {
        if self.has_quarters() {
            self.quarters.push(quarters);
        }
        self.list.push(person);
    }

    fn extend(&mut self, other: &People) {
        if self.has_quarters() {
            self.quarters.extend_from_slice(&other.quarters);
        }
        self.list.extend_from_slice(&other.list);
    }

    fn settle(&mut self) {
        if self.list.is_sorted_by(|one, next| one.number < next.number) {
            return;
        }
        let has_quarters = self.has_quarters();
        let of_each = std::mem::take(&mut self.quarters).into_iter().chain(std::iter::repeat(0));
        let mut people: Vec<(Person, u128)> = std::mem::take(&mut self.list).into_iter().zip(of_each).collect();
        people.sort_by_key(|(person, _)| person.number);
        people.dedup_by(|(next, next_quarters), (first, quarters)| {
            let is_same = next.number == first.number;
            if is_same {
                first.times = first.times.saturating_add(next.times);
                *quarters |= *next_quarters;
            }
            is_same
        });
        self.list = people.iter().map(|(person, _)| *person).collect();
        if has_quarters {
            self.quarters = people.into_iter().map(|(_, quarters)| quarters).collect();
        }
    }
}

/// One byte where it is one quarter, which it mostly is; otherwise how many, counted on from 96, then each.
fn write_quarters(bytes: &mut Vec<u8>, quarters: u128) {
    let count = u8::try_from(quarters.count_ones()).expect("128 bits are at most 128");
    if count != 1 {
        bytes.push(QUARTERS + count);
    }
    let mut rest = quarters;
    while rest != 0 {
        bytes.push(rest.trailing_zeros() as u8);
        rest &= rest - 1;
    }
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
    use crate::{
        audience::{fact::PartTaken, segment::Mark},
        domain::counting::Counter,
    };

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
            let mut read = EntityDay::read(&day.write_cells(), Some(&day.write_detail()), Wanted::EVERYTHING).unwrap();
            for by in Dimension::ALL {
                prop_assert_eq!(read.cells(by), day.cells(by));
            }
            let holds = |number| read.marks.hold(Mark { block: 3, number });
            prop_assert_eq!([holds(7), holds(8)], [true, false]);
            after.iter().for_each(|told| read.fold(&fact(told), &texts()));
            read.settle();
            let whole = folded(&[before, after].concat());
            prop_assert_eq!(read.listeners(), whole.listeners());
            for quarters in [0..QUARTERS, 0..40, 40..QUARTERS] {
                let plays = |day: &EntityDay| -> i64 {
                    let cells = Dimension::ALL.into_iter().flat_map(|by| day.cells(by));
                    cells.map(|cell| cell.within(&quarters).counters[Counter::Plays]).sum()
                };
                prop_assert_eq!(plays(&read), plays(&whole));
            }
        }

        #[test]
        fn people_are_known_by_their_quarters(told in told(), from in 0..QUARTERS, to in 0..QUARTERS) {
            let day = folded(&told);
            let day = EntityDay::read(&day.write_cells(), Some(&day.write_detail()), Wanted::EVERYTHING).unwrap();
            let asked = mask(&(from..to));
            let people = day.cells(Dimension::Source).iter().flat_map(|cell| cell.people_in(Part::Liker, asked));
            let found: RoaringBitmap = people.map(|who| who.number).collect();
            let inside = told.iter().filter(|told| (from..to).contains(&told.0)).flat_map(|told| &told.3);
            let expected: RoaringBitmap =
                inside.filter(|(part, _)| *part == Part::Liker as usize).map(|(_, person)| *person).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn sets_hold_each_number_once(numbers in prop::collection::vec(prop_oneof![0..200_u32, any::<u32>()], 0..300), few in prop::collection::vec(0..5_000_u32, 0..300)) {
            for numbers in [numbers, few] {
                prop_assert_eq!(set_of(numbers.clone()), numbers.into_iter().collect::<RoaringBitmap>());
            }
        }

        #[test]
        fn garbage_is_refused_without_panic(cells in prop::collection::vec(any::<u8>(), 0..200), detail in prop::collection::vec(any::<u8>(), 0..50)) {
            let _ = EntityDay::read(&cells, Some(&detail), Wanted::EVERYTHING);
        }
    }
}
