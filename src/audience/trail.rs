//! Trails: what each user did, one step after the other. Stored by UTC day and by block of users, so that many
//! users' trails are few rows; each in parts, which grow as segments are merged into them.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{
    bytes::{Reader, Unreadable, write_number, write_signed},
    fact::{OriginNumbers, Texts},
    segment::Marks,
};
use crate::domain::window::{DAY_MS, Grain};

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
        Ok(Self { user, at_ms, event_type, is_stream, is_several, origin, genre: reader.small()? })
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

/// What [`write_steps`] wrote. What cannot be read ends it; a segment's bytes are ours and checked by the database.
pub fn read_steps(mut reader: Reader<'_>) -> impl Iterator<Item = Step> {
    let mut last_ms = 0_i64;
    let mut next = move || -> Result<Step, Unreadable> {
        let user = reader.small()?;
        last_ms = last_ms.checked_add(reader.signed()?).ok_or(Unreadable)?;
        Step::read(&mut reader, user, last_ms)
    };
    std::iter::from_fn(move || next().ok())
}

/// Some of the steps of one row, with all that is needed to read them.
#[derive(Debug, Clone, Default)]
pub struct TrailPart {
    /// Up to where it holds each committer's segments.
    pub marks: Marks,
    pub texts: Texts,
    pub steps: Vec<Step>,
}

impl TrailPart {
    /// Adds a step whose texts are numbered by others.
    pub fn add(&mut self, step: Step, texts: &Texts) {
        let own = &mut self.texts;
        self.steps.push(step.translated(|number| own.number(texts.text(number).map(|text| &**text))));
    }

    /// Adds everything that another part holds.
    pub fn absorb(&mut self, other: &TrailPart) {
        self.marks.raise_all(&other.marks);
        other.steps.iter().for_each(|step| self.add(*step, &other.texts));
    }

    /// Its durable form but for the marks; steps end up by user and time.
    pub fn write(&mut self) -> Vec<u8> {
        self.steps.sort_unstable();
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
        bytes
    }

    /// Reads a part of a day: the steps of some users, or of all.
    pub fn read(day: i64, marks: Marks, bytes: &[u8], of: Option<&RoaringBitmap>) -> Result<Self, Unreadable> {
        let mut reader = Reader(bytes);
        let texts = Texts::read(&mut reader)?;
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
                continue;
            }
            let mut at_ms = day;
            for _ in 0..count {
                let since = i64::try_from(reader.number()?).ok().filter(|since| *since < DAY_MS).ok_or(Unreadable)?;
                at_ms += since;
                steps.push(Step::read(&mut reader, user, at_ms)?);
            }
        }
        Ok(Self { marks, texts, steps })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 20_000 * DAY_MS;

    fn step() -> impl Strategy<Value = Step> {
        (any::<u32>(), 0..DAY_MS, 0..4_u32, any::<(bool, bool)>(), [0..4_u32, 0..4, 0..4], 0..4_u32).prop_map(
            |(user, since, event_type, (is_stream, is_several), origin, genre)| Step {
                user,
                at_ms: DAY + since,
                event_type,
                is_stream,
                is_several,
                origin,
                genre,
            },
        )
    }

    proptest! {
        #[test]
        fn parts_survive_encoding(mut steps in prop::collection::vec(step(), 0..40)) {
            let mut texts = Texts::default();
            ["track.played", "DE", "search"].into_iter().for_each(|text| { texts.number(Some(text)); });
            let bytes = TrailPart { marks: Marks::default(), texts, steps: steps.clone() }.write();
            let read = TrailPart::read(DAY, Marks::default(), &bytes, None).unwrap();
            steps.sort();
            prop_assert_eq!(&read.steps, &steps);
            prop_assert_eq!(read.texts.text(2).map(|text| &**text), Some("DE"));
            let some: RoaringBitmap = steps.iter().map(|step| step.user).filter(|user| user % 3 == 0).collect();
            let read = TrailPart::read(DAY, Marks::default(), &bytes, Some(&some)).unwrap();
            steps.retain(|step| some.contains(step.user));
            prop_assert_eq!(read.steps, steps);
        }

        #[test]
        fn steps_of_a_commit_survive_encoding(steps in prop::collection::vec(step(), 0..40)) {
            let mut bytes = Vec::new();
            write_steps(&mut bytes, &steps);
            prop_assert_eq!(read_steps(Reader(&bytes)).collect::<Vec<_>>(), steps);
        }

        #[test]
        fn garbage_is_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = TrailPart::read(DAY, Marks::default(), &bytes, None);
            let _ = TrailPart::read(DAY, Marks::default(), &bytes, Some(&RoaringBitmap::new()));
            read_steps(Reader(&bytes)).for_each(drop);
        }
    }
}
