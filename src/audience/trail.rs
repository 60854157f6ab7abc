//! Trails: what each user did, one step after the other. Stored by UTC day and by block of users, so that many
//! users' trails are few rows; each in parts, which grow as segments are merged into them.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{
    bytes::{Reader, Unreadable, write_number, write_signed},
    fact::{OriginNumbers, Texts},
    segment::Marks,
};
use crate::domain::{
    object::Heard,
    window::{DAY_MS, Grain},
};

/// How many users, by their numbers, have their trails in one row. Few enough that one user's are found quickly.
pub const BLOCK_USERS: u32 = 4_096;

/// One thing that a user did. Texts by their numbers; 0 where the event did not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// The number that stands for the user.
    pub user: u32,
    pub at_ms: i64,
    pub event_type: u32,
    /// Whether it was a stream.
    pub is_stream: bool,
    /// Whether the event stands for several; then it is no step of a journey, and here so that it can be found.
    pub is_several: bool,
    pub origin: OriginNumbers,
    pub genre: u32,
    /// Not there where it was not asked for, or not known when the step was stored.
    pub object: ObjectNumbers,
}

/// What a step was done to: entities by the numbers of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectNumbers {
    pub entity: u32,
    pub playlist: u32,
    pub heard: Heard,
    /// How often; nothing where there is no object.
    pub times: u32,
}

impl ObjectNumbers {
    /// How many numbers it takes where it is stored.
    const NUMBERS: usize = 3;

    /// The same with the numbers of other names.
    pub fn translated(self, mut number_of: impl FnMut(u32) -> u32) -> Self {
        Self { entity: number_of(self.entity), playlist: number_of(self.playlist), ..self }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_number(bytes, u64::from(self.entity));
        write_number(bytes, u64::from(self.playlist));
        write_number(bytes, u64::from(self.times) << 2 | self.heard as u64);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let (entity, playlist, heard) = (reader.small()?, reader.small()?, reader.number()?);
        let times = u32::try_from(heard >> 2).map_err(|_| Unreadable)?;
        Ok(Self { entity, playlist, heard: Heard::ALL[(heard & 3) as usize], times })
    }
}

/// How many numbers a stored step takes.
const STEP_NUMBERS: usize = 6;

/// Which rows: a UTC day and a block of users.
pub type BlockDay = (i64, u32);

impl Step {
    pub fn block_day(&self) -> BlockDay {
        (Grain::Day.bucket_of(self.at_ms), self.user / BLOCK_USERS)
    }

    /// The same with the numbers of other texts.
    pub fn translated(self, mut number_of: impl FnMut(u32) -> u32) -> Self {
        Self {
            event_type: number_of(self.event_type),
            origin: self.origin.map(&mut number_of),
            genre: number_of(self.genre),
            ..self
        }
    }

    /// What it says, in the order of type, country, source, device and genre.
    pub fn told<'a>(&self, texts: &'a Texts) -> [Option<&'a Arc<str>>; 5] {
        let [country, source, device] = self.origin;
        [self.event_type, country, source, device, self.genre].map(|number| texts.text(number))
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let flags = u64::from(self.is_stream) | u64::from(self.is_several) << 1;
        write_number(bytes, u64::from(self.event_type) << 2 | flags);
        self.origin.iter().chain([&self.genre]).for_each(|text| write_number(bytes, u64::from(*text)));
    }

    fn read(reader: &mut Reader<'_>, user: u32, at_ms: i64) -> Result<Self, Unreadable> {
        let kind = reader.number()?;
        let event_type = u32::try_from(kind >> 2).map_err(|_| Unreadable)?;
        let (is_stream, is_several) = (kind & 1 != 0, kind & 2 != 0);
        let origin = [reader.small()?, reader.small()?, reader.small()?];
        let (genre, object) = (reader.small()?, ObjectNumbers::default());
        Ok(Self { user, at_ms, event_type, is_stream, is_several, origin, genre, object })
    }
}

/// Writes steps in the order of a commit: for its segment.
pub fn write_steps(bytes: &mut Vec<u8>, steps: &[Step]) {
    let mut last_ms = 0;
    for step in steps {
        write_number(bytes, u64::from(step.user));
        write_signed(bytes, step.at_ms - last_ms);
        step.write(bytes);
        last_ms = step.at_ms;
    }
}

/// Writes what steps were done to, in the same order.
pub fn write_objects(bytes: &mut Vec<u8>, steps: &[Step]) {
    steps.iter().for_each(|step| step.object.write(bytes));
}

/// What [`write_steps`] and [`write_objects`] wrote; objects may be left out. What cannot be read ends it; a segment's
/// bytes are ours and checked by the database.
pub fn read_steps<'a>(mut reader: Reader<'a>, mut objects: Option<Reader<'a>>) -> impl Iterator<Item = Step> + 'a {
    let mut last_ms = 0_i64;
    let mut next = move || -> Result<Step, Unreadable> {
        let user = reader.small()?;
        last_ms = last_ms.checked_add(reader.signed()?).ok_or(Unreadable)?;
        let object = objects.as_mut().map(ObjectNumbers::read).transpose()?.unwrap_or_default();
        Ok(Step { object, ..Step::read(&mut reader, user, last_ms)? })
    };
    std::iter::from_fn(move || next().ok())
}

/// Some of the steps of one row, with all that is needed to read them.
#[derive(Debug, Clone, Default)]
pub struct TrailPart {
    /// Up to where it holds each committer's segments.
    pub marks: Marks,
    pub texts: Texts,
    /// Names of what steps were done to.
    pub names: Texts,
    pub steps: Vec<Step>,
}

impl TrailPart {
    /// Adds a step whose texts and names are numbered by others.
    pub fn add(&mut self, step: Step, texts: &Texts, names: &Texts) {
        let (own_texts, own_names) = (&mut self.texts, &mut self.names);
        let object = step.object.translated(|number| own_names.number(names.text(number).map(|name| &**name)));
        let step = step.translated(|number| own_texts.number(texts.text(number).map(|text| &**text)));
        self.steps.push(Step { object, ..step });
    }

    /// Adds everything that another part holds.
    pub fn absorb(&mut self, other: &TrailPart) {
        self.marks.raise_all(&other.marks);
        other.steps.iter().for_each(|step| self.add(*step, &other.texts, &other.names));
    }

    /// Its durable form but for the marks: the steps, which end up by user and time, and what they were done to.
    pub fn write(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.steps.sort_unstable();
        let mut objects = Vec::with_capacity(self.steps.len() * 8);
        self.names.write(&mut objects);
        write_objects(&mut objects, &self.steps);
        let mut bytes = Vec::with_capacity(self.steps.len() * 10);
        self.texts.write(&mut bytes);
        let mut last_user = 0;
        for of_user in self.steps.chunk_by(|one, next| one.user == next.user) {
            write_number(&mut bytes, u64::from(of_user[0].user - last_user));
            write_number(&mut bytes, of_user.len() as u64);
            last_user = of_user[0].user;
            let mut last_ms = Grain::Day.bucket_of(of_user[0].at_ms);
            for step in of_user {
                write_number(&mut bytes, (step.at_ms - last_ms) as u64);
                step.write(&mut bytes);
                last_ms = step.at_ms;
            }
        }
        (bytes, objects)
    }

    /// Reads a part of a day: the steps of some users, or of all; without objects where they are empty.
    pub fn read(
        day: i64,
        marks: Marks,
        (bytes, objects): (&[u8], &[u8]),
        of: Option<&RoaringBitmap>,
    ) -> Result<Self, Unreadable> {
        let (mut reader, mut objects) = (Reader(bytes), Reader(objects));
        let texts = Texts::read(&mut reader)?;
        let has_objects = !objects.is_empty();
        let names = if has_objects { Texts::read(&mut objects)? } else { Texts::default() };
        let mut steps = Vec::new();
        if of.is_none() {
            steps.reserve(reader.0.len() / 8);
        }
        let mut user = 0_u32;
        while !reader.is_empty() {
            user = user.checked_add(reader.small()?).ok_or(Unreadable)?;
            let count = reader.count()?;
            if of.is_some_and(|of| !of.contains(user)) {
                // Most of a block is others' where one user is looked for.
                reader.skip_numbers(count.saturating_mul(STEP_NUMBERS))?;
                if has_objects {
                    objects.skip_numbers(count.saturating_mul(ObjectNumbers::NUMBERS))?;
                }
                continue;
            }
            let mut at_ms = day;
            for _ in 0..count {
                let since = i64::try_from(reader.number()?).ok().filter(|since| *since < DAY_MS).ok_or(Unreadable)?;
                at_ms += since;
                let object = if has_objects { ObjectNumbers::read(&mut objects)? } else { ObjectNumbers::default() };
                steps.push(Step { object, ..Step::read(&mut reader, user, at_ms)? });
            }
        }
        Ok(Self { marks, texts, names, steps })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 20_000 * DAY_MS;

    fn step() -> impl Strategy<Value = Step> {
        let object = (0..3_u32, 0..3_u32, 0..4_usize, any::<u32>()).prop_map(|(entity, playlist, heard, times)| {
            ObjectNumbers { entity, playlist, heard: Heard::ALL[heard], times }
        });
        (any::<u32>(), 0..DAY_MS, 0..4_u32, any::<(bool, bool)>(), [0..4_u32, 0..4, 0..4], 0..4_u32, object).prop_map(
            |(user, since, event_type, (is_stream, is_several), origin, genre, object)| Step {
                user,
                at_ms: DAY + since,
                event_type,
                is_stream,
                is_several,
                origin,
                genre,
                object,
            },
        )
    }

    proptest! {
        #[test]
        fn parts_survive_encoding(mut steps in prop::collection::vec(step(), 0..40)) {
            let mut texts = Texts::default();
            ["track.played", "DE", "search"].into_iter().for_each(|text| { texts.number(Some(text)); });
            let mut names = Texts::default();
            ["1song-1", "3playlist-1"].into_iter().for_each(|name| { names.number(Some(name)); });
            let (bytes, objects) = TrailPart { marks: Marks::default(), texts, names, steps: steps.clone() }.write();
            let read = TrailPart::read(DAY, Marks::default(), (&bytes, &objects), None).unwrap();
            steps.sort();
            prop_assert_eq!(&read.steps, &steps);
            prop_assert_eq!(read.names.text(2).map(|name| &**name), Some("3playlist-1"));
            let bare = |step: &Step| Step { object: ObjectNumbers::default(), ..*step };
            let read_bare = TrailPart::read(DAY, Marks::default(), (&bytes, &[]), None).unwrap();
            prop_assert_eq!(read_bare.steps, steps.iter().map(bare).collect::<Vec<_>>());
            prop_assert_eq!(read.texts.text(2).map(|text| &**text), Some("DE"));
            let some: RoaringBitmap = steps.iter().map(|step| step.user).filter(|user| user % 3 == 0).collect();
            let read = TrailPart::read(DAY, Marks::default(), (&bytes, &objects), Some(&some)).unwrap();
            steps.retain(|step| some.contains(step.user));
            prop_assert_eq!(read.steps, steps);
        }

        #[test]
        fn steps_of_a_commit_survive_encoding(steps in prop::collection::vec(step(), 0..40)) {
            let mut bytes = Vec::new();
            write_steps(&mut bytes, &steps);
            let mut objects = Vec::new();
            write_objects(&mut objects, &steps);
            prop_assert_eq!(read_steps(Reader(&bytes), Some(Reader(&objects))).collect::<Vec<_>>(), steps);
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = TrailPart::read(DAY, Marks::default(), (&bytes, &bytes), None);
            let _ = TrailPart::read(DAY, Marks::default(), (&bytes, &bytes), Some(&RoaringBitmap::new()));
            read_steps(Reader(&bytes), Some(Reader(&bytes))).for_each(drop);
        }
    }
}
