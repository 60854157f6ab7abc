//! The durable form of one commit's facts, appended with the events and kept until it is merged into days.

use std::sync::Arc;

use super::{
    bytes::{Reader, Unreadable, write_block, write_number, write_signed, write_text},
    fact::{Fact, PartTaken, Sums, Texts},
    trail::{Step, read_steps, write_objects, write_steps},
};
use crate::domain::{
    counting::Part,
    entity::{EntityKind, EntityRef},
    window::QUARTER_MS,
};

/// Which segment: the blocks of numbers are given out by the database, and within a block one committer counts on.
///
/// A day that was merged up to a mark holds every segment of that block up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    pub block: u32,
    pub number: u32,
}

/// Up to which number of each block a row holds all segments.
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

    pub fn write(&self, bytes: &mut Vec<u8>) {
        write_number(bytes, self.0.len() as u64);
        for mark in &self.0 {
            write_number(bytes, u64::from(mark.block));
            write_number(bytes, u64::from(mark.number));
        }
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut marks = Self::default();
        for _ in 0..reader.count()? {
            marks.raise(Mark { block: reader.small()?, number: reader.small()? });
        }
        Ok(marks)
    }
}

/// A committed segment, its entities found but their facts not read yet.
#[derive(Debug, Clone)]
pub struct Segment {
    pub mark: Mark,
    pub texts: Texts,
    bytes: Arc<[u8]>,
    /// Where each entity's facts are in `bytes`.
    pub entities: Vec<(EntityRef, u32)>,
    /// Where the steps of its users are, and what they were done to.
    steps: Option<u32>,
    objects: Option<u32>,
}

/// Stand where a kind of entity would: for the steps of users, and for what these were done to.
const STEPS: u8 = 0;
const OBJECTS: u8 = 255;

/// Writes what happened to entities, and what users did; all texts are numbered by `texts`.
pub fn encode<'a>(
    texts: &Texts,
    entities: impl Iterator<Item = (&'a EntityRef, &'a [Fact])>,
    steps: &[Step],
) -> Vec<u8> {
    let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
    texts.write(&mut bytes);
    if !steps.is_empty() {
        bytes.push(STEPS);
        write_block(&mut bytes, &mut scratch, |bytes| write_steps(bytes, steps));
        bytes.push(OBJECTS);
        write_block(&mut bytes, &mut scratch, |bytes| write_objects(bytes, steps));
    }
    for (entity, facts) in entities {
        bytes.push(u8::try_from(entity.kind.code()).expect("kinds are small numbers"));
        write_text(&mut bytes, &entity.id);
        write_block(&mut bytes, &mut scratch, |bytes| facts.iter().for_each(|fact| write_fact(bytes, fact)));
    }
    bytes
}

fn write_fact(bytes: &mut Vec<u8>, fact: &Fact) {
    write_signed(bytes, fact.quarter_ms / QUARTER_MS);
    fact.origin.iter().for_each(|text| write_number(bytes, u64::from(*text)));
    fact.sums.write(bytes);
    write_number(bytes, fact.people.len() as u64);
    for taken in &fact.people {
        bytes.push(taken.part as u8);
        write_number(bytes, u64::from(taken.person));
        write_number(bytes, u64::from(taken.times));
    }
}

fn read_fact(reader: &mut Reader<'_>) -> Result<Fact, Unreadable> {
    let quarter_ms = reader.signed()?.checked_mul(QUARTER_MS).ok_or(Unreadable)?;
    let origin = [reader.small()?, reader.small()?, reader.small()?];
    let sums = Sums::read(reader)?;
    let mut people = Vec::new();
    for _ in 0..reader.count()? {
        let part = *Part::ALL.get(usize::from(reader.byte()?)).ok_or(Unreadable)?;
        people.push(PartTaken { part, person: reader.small()?, times: reader.small()? });
    }
    Ok(Fact { quarter_ms, origin, sums, people })
}

impl Segment {
    pub fn open(mark: Mark, bytes: impl Into<Arc<[u8]>>) -> Result<Self, Unreadable> {
        let bytes = bytes.into();
        let mut reader = Reader(&bytes);
        let texts = Texts::read(&mut reader)?;
        let (mut entities, mut steps, mut objects) = (Vec::new(), None, None);
        while !reader.is_empty() {
            let kind = reader.byte()?;
            let entity = match kind {
                STEPS | OBJECTS => None,
                kind => {
                    let kind = EntityKind::from_code(i16::from(kind)).ok_or(Unreadable)?;
                    Some(EntityRef::new(kind, reader.text()?))
                }
            };
            let at = u32::try_from(bytes.len() - reader.0.len()).map_err(|_| Unreadable)?;
            reader.block()?;
            match entity {
                Some(entity) => entities.push((entity, at)),
                None if kind == OBJECTS => objects = Some(at),
                None => steps = Some(at),
            }
        }
        Ok(Self { mark, texts, bytes, entities, steps, objects })
    }

    /// The facts of the entity that is found at `at`. Facts that cannot be read end the list; a segment's bytes
    /// are written by us and checked by the database.
    pub fn facts(&self, at: u32) -> impl Iterator<Item = Fact> {
        let mut reader = Reader(self.bytes.get(at as usize..).unwrap_or_default()).block().unwrap_or(Reader(&[]));
        std::iter::from_fn(move || if reader.is_empty() { None } else { read_fact(&mut reader).ok() })
    }

    /// What users did, in the order of their events; names are numbered as texts are.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let block = |at: Option<u32>| Reader(self.bytes.get(at? as usize..)?).block().ok();
        read_steps(block(self.steps).unwrap_or(Reader(&[])), block(self.objects))
    }

    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::counting::{Counter, MoneyCounters};

    const MARK: Mark = Mark { block: 1, number: 2 };

    fn fact() -> impl Strategy<Value = Fact> {
        let people = prop::collection::vec((0..Part::COUNT, any::<u32>(), 1..9_u32), 0..5);
        let money = prop::collection::vec((1..3_u32, 0..i64::MAX, 0..i64::MAX, 0..9_i64), 0..2);
        let counters = prop::collection::vec((0..Counter::COUNT, 1..i64::MAX), 0..4);
        (-100_000_i64..2_000_000, (0..4_u32, 0..4_u32, 0..4_u32), counters, money, people).prop_map(
            |(quarter, origin, counters, money, people)| {
                let mut sums = Sums::default();
                counters.into_iter().for_each(|(index, count)| sums.counters[Counter::ALL[index]] = count);
                sums.money = money
                    .into_iter()
                    .map(|(currency, gross_minor, refunded_minor, payments)| {
                        (currency, MoneyCounters { gross_minor, refunded_minor, payments })
                    })
                    .collect();
                let people = people
                    .into_iter()
                    .map(|(part, person, times)| PartTaken { part: Part::ALL[part], person, times })
                    .collect();
                Fact { quarter_ms: quarter * QUARTER_MS, origin: origin.into(), sums, people }
            },
        )
    }

    proptest! {
        #[test]
        fn segments_survive_encoding(
            entities in prop::collection::vec((0..4_usize, "[a-zé]{0,20}", prop::collection::vec(fact(), 0..4)), 0..8)
        ) {
            let mut texts = Texts::default();
            ["DE", "search", "phone"].into_iter().for_each(|text| { texts.number(Some(text)); });
            let entities: Vec<(EntityRef, Vec<Fact>)> =
                entities.into_iter().map(|(kind, id, facts)| (EntityRef::new(EntityKind::ALL[kind], id), facts)).collect();
            let bytes = encode(&texts, entities.iter().map(|(entity, facts)| (entity, &facts[..])), &[]);
            let segment = Segment::open(MARK, bytes).unwrap();
            let read: Vec<(EntityRef, Vec<Fact>)> =
                segment.entities.iter().map(|(entity, at)| (entity.clone(), segment.facts(*at).collect())).collect();
            prop_assert_eq!(read, entities);
            prop_assert_eq!(segment.texts.text(1).map(|text| &**text), Some("DE"));
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(segment) = Segment::open(MARK, bytes) {
                segment.entities.iter().for_each(|(_, at)| segment.facts(*at).for_each(drop));
            }
        }
    }
}
