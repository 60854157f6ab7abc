//! How much a listener took to something, by what they did with it.

use crate::{
    audience::{
        bytes::{Reader, Unreadable, write_block, write_number, write_signed},
        trail::ObjectNumbers,
    },
    domain::{counting::Action, object::Heard},
};

/// What one listener did with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deeds {
    /// What plays come to, in tenths of a point.
    pub plays: u32,
    /// Likes less what was taken back.
    pub likes: i32,
    /// Saves, shares, additions to playlists, follows and purchases, less what was taken back.
    pub keeps: i32,
    /// The UTC day of the last deed, counted from 1970.
    pub last_day: i32,
}

/// A stream, in tenths of a point.
const STREAM: u32 = 10;
/// A stream that was heard to its end, or nearly so.
const COMPLETED: u32 = 15;
/// Little: whoever skips knows it, and does not want it now.
const SKIP: u32 = 1;
/// As much as two streams to the end: said, not just done.
const LIKE: f32 = 3.0;
const KEEP: f32 = 3.0;

impl Deeds {
    /// One thing that was done on a UTC day; `None` where it tells no taste.
    pub fn of(action: Action, object: &ObjectNumbers, day: i32) -> Option<Self> {
        let times = i32::try_from(object.times).unwrap_or(i32::MAX);
        let mut deeds = Self { last_day: day, ..Self::default() };
        match action {
            Action::Play => {
                let each = match object.heard {
                    Heard::Unknown => return None,
                    Heard::Streamed => STREAM,
                    Heard::Completed => COMPLETED,
                    Heard::Skipped => SKIP,
                };
                deeds.plays = object.times.saturating_mul(each);
            }
            Action::Like => deeds.likes = times,
            Action::Unlike => deeds.likes = -times,
            Action::Save | Action::Share | Action::PlaylistAdd | Action::Follow | Action::Purchase => {
                deeds.keeps = times;
            }
            Action::Unsave | Action::Unfollow | Action::Refund => deeds.keeps = -times,
        }
        Some(deeds)
    }

    /// Adds what was done besides.
    pub fn add(&mut self, other: &Deeds) {
        self.plays = self.plays.saturating_add(other.plays);
        self.likes = self.likes.saturating_add(other.likes);
        self.keeps = self.keeps.saturating_add(other.keeps);
        self.last_day = self.last_day.max(other.last_day);
    }

    /// What the deeds come to. More of them are more, without an end.
    pub fn points(&self) -> f32 {
        self.plays as f32 / 10.0 + if self.likes > 0 { LIKE } else { 0.0 } + if self.keeps > 0 { KEEP } else { 0.0 }
    }

    /// Whether it was said, not just done.
    pub fn is_said(&self) -> bool {
        self.likes > 0 || self.keeps > 0
    }
}

/// What counts of points where listeners are compared: the first ones most, for a hundred streams of one song do not
/// make two listeners more alike than ten do.
pub fn weight(points: f32) -> f32 {
    points / (points + 1.0)
}

/// Whether so many points say that somebody likes it: a stream does, a few skips do not.
pub fn tells(points: f32) -> bool {
    points >= 1.0
}

/// What counts of each of a listener's points where the next thing is sought for them: half for having been heard at
/// all, half by how much, beside what they usually listen to.
pub fn strengths(points: &[f32]) -> Vec<f32> {
    let mut sorted = points.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let usual = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0).max(f32::MIN_POSITIVE);
    points.iter().map(|points| 0.5 + points / (points + usual)).collect()
}

/// What counts of a strength so many days later: half of the part that fades goes in a month.
pub fn recency(days: i32) -> f32 {
    const LASTING: f32 = 0.3;
    const HALF_LIFE_DAYS: f32 = 30.0;

    LASTING + (1.0 - LASTING) * (-(days.max(0) as f32) / HALF_LIFE_DAYS).exp2()
}

/// Kinds of things that listeners take to, in the order in which tastes are stored.
pub const KINDS: usize = 4;

/// What one listener took to: of each kind the items by number, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taste(pub [Vec<(u32, Deeds)>; KINDS]);

/// Stored days are counted from here, so that they take two bytes: 2020.
const FIRST_DAY: i32 = 18_262;

impl Taste {
    /// Puts items in order and adds up what was done with the same one.
    pub fn settle(&mut self) {
        for list in &mut self.0 {
            list.sort_unstable_by_key(|(item, _)| *item);
            list.dedup_by(|(next, deeds), (item, all)| {
                let is_same = next == item;
                if is_same {
                    all.add(deeds);
                }
                is_same
            });
        }
    }

    /// Adds another's.
    pub fn absorb(&mut self, other: &Taste) {
        self.0.iter_mut().zip(&other.0).for_each(|(list, more)| list.extend(more));
        self.settle();
    }

    /// Its durable form; nothing where it is empty.
    pub fn write(&self) -> Vec<u8> {
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        if self.0.iter().all(Vec::is_empty) {
            return bytes;
        }
        for list in &self.0 {
            write_block(&mut bytes, &mut scratch, |bytes| write_list(bytes, list));
        }
        bytes
    }

    /// What [`Self::write`] wrote: every kind, or one alone.
    pub fn read(bytes: &[u8], only: Option<usize>) -> Result<Self, Unreadable> {
        let (mut taste, mut reader) = (Self::default(), Reader(bytes));
        for (kind, list) in taste.0.iter_mut().enumerate() {
            if reader.is_empty() {
                break;
            }
            let block = reader.block()?;
            if only.is_none_or(|only| only == kind) {
                *list = read_list(block)?;
            }
        }
        Ok(taste)
    }
}

fn write_list(bytes: &mut Vec<u8>, list: &[(u32, Deeds)]) {
    let mut last = 0;
    for (item, deeds) in list {
        let is_said = deeds.likes != 0 || deeds.keeps != 0;
        write_number(bytes, u64::from(item - last));
        write_number(bytes, u64::from(deeds.plays) << 1 | u64::from(is_said));
        if is_said {
            write_signed(bytes, deeds.likes.into());
            write_signed(bytes, deeds.keeps.into());
        }
        write_signed(bytes, i64::from(deeds.last_day) - i64::from(FIRST_DAY));
        last = *item;
    }
}

fn read_list(mut reader: Reader<'_>) -> Result<Vec<(u32, Deeds)>, Unreadable> {
    let mut list = Vec::with_capacity(reader.0.len() / 5);
    let mut item = 0_u32;
    let small = |number: i64| i32::try_from(number).map_err(|_| Unreadable);
    while !reader.is_empty() {
        item = item.checked_add(reader.small()?).ok_or(Unreadable)?;
        let plays = reader.number()?;
        let (mut likes, mut keeps) = (0, 0);
        if plays & 1 != 0 {
            likes = small(reader.signed()?)?;
            keeps = small(reader.signed()?)?;
        }
        let plays = u32::try_from(plays >> 1).map_err(|_| Unreadable)?;
        let last_day = small(reader.signed()?.saturating_add(FIRST_DAY.into()))?;
        list.push((item, Deeds { plays, likes, keeps, last_day }));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list() -> impl Strategy<Value = Vec<(u32, Deeds)>> {
        let deeds = (any::<u32>(), -2..3_i32, -2..3_i32, -40_000..40_000_i32)
            .prop_map(|(plays, likes, keeps, last_day)| Deeds { plays, likes, keeps, last_day });
        prop::collection::btree_map(any::<u32>(), deeds, 0..20).prop_map(|list| list.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(lists in [list(), list(), list(), list()], only in 0..KINDS) {
            let taste = Taste(lists);
            let bytes = taste.write();
            prop_assert_eq!(&Taste::read(&bytes, None).unwrap(), &taste);
            let mut one = Taste::default();
            one.0[only].clone_from(&taste.0[only]);
            prop_assert_eq!(Taste::read(&bytes, Some(only)).unwrap(), one);
        }
    }

    #[test]
    fn what_is_said_weighs_more_than_a_play_and_a_skip_less() {
        let object = |heard, times| ObjectNumbers { entity: 1, playlist: 0, heard, times };
        let points = |action, heard| Deeds::of(action, &object(heard, 1), 0).unwrap().points();
        let (skip, stream) = (points(Action::Play, Heard::Skipped), points(Action::Play, Heard::Streamed));
        let completed = points(Action::Play, Heard::Completed);
        let (like, save) = (points(Action::Like, Heard::Unknown), points(Action::Save, Heard::Unknown));
        assert!(0.0 < skip && skip < stream && stream < completed && completed < like && completed < save);
        assert_eq!(Deeds::of(Action::Play, &object(Heard::Unknown, 1), 0), None);
        let mut taken_back = Deeds::of(Action::Like, &object(Heard::Unknown, 1), 3).unwrap();
        taken_back.add(&Deeds::of(Action::Unlike, &object(Heard::Unknown, 1), 5).unwrap());
        assert!(taken_back.points() == 0.0 && taken_back.last_day == 5);
        assert_eq!(Deeds::of(Action::Play, &object(Heard::Completed, 4), 0).unwrap().points(), 6.0);
    }
}
