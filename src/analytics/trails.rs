//! What users did one step after the other: stored trails, with what is still open added.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::Analytics;
use crate::{
    audience::{
        fact::Texts,
        merge,
        segment::{Marks, Segment},
        trail::{BLOCK_USERS, Step},
    },
    db::{
        DbError,
        queries::trails::{self, PartRow},
    },
    domain::window::{DAY_MS, Grain, Window},
};

/// Before and after everything that happens, with room for any stretch of time on either side.
pub const EVER: Range<i64> = i64::MIN / 2..i64::MAX / 2;

/// Which steps are looked at.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// In epoch milliseconds.
    pub during: Range<i64>,
    /// Steps of these types of events; of any where it is left out.
    pub event_types: Option<Vec<String>>,
    /// The users by their numbers; everybody where it is left out.
    pub users: Option<RoaringBitmap>,
    /// Also events that stand for several, which are no steps of a journey.
    pub with_several: bool,
}

/// Steps read at once; bounds memory whatever a window holds.
const STEPS_AT_ONCE: i64 = 2_000_000;

impl Analytics {
    /// Shows each user's steps, a user at a time, in the order of time and, of one moment, of their types' names. The
    /// texts number what the steps say, the same for all users.
    ///
    /// Source: trails by UTC day and block of users.
    pub(super) async fn walk(&self, asked: &Walk, mut see: impl FnMut(&[Step], &Texts)) -> Result<(), DbError> {
        self.walk_through(asked, false, |steps, texts, _| see(steps, texts)).await
    }

    /// The same with what the steps were done to, whose names the last texts number: of steps from before that was kept,
    /// `rebuild` finds it.
    pub async fn walk_with_objects(
        &self,
        asked: &Walk,
        see: impl FnMut(&[Step], &Texts, &Texts),
    ) -> Result<(), DbError> {
        self.walk_through(asked, true, see).await
    }

    async fn walk_through(
        &self,
        asked: &Walk,
        with_objects: bool,
        mut see: impl FnMut(&[Step], &Texts, &Texts),
    ) -> Result<(), DbError> {
        let Range { start, end } = asked.during;
        let (Some(oldest_ms), Some(newest_ms)) = (self.watermark.oldest_ms(), self.watermark.newest_ms()) else {
            return Ok(());
        };
        let during = start.max(oldest_ms)..end.min(newest_ms + 1);
        if during.is_empty() {
            return Ok(());
        }
        // Looked at before the database: what is merged in between is then found there, and passed over here.
        let open = self.open_audience.segments();
        let days: Vec<i64> = (Grain::Day.bucket_of(during.start)..during.end).step_by(DAY_MS as usize).collect();
        let blocks: Option<Vec<u32>> = asked.users.as_ref().map(|users| {
            let mut blocks: Vec<u32> = users.iter().map(|user| user / BLOCK_USERS).collect();
            blocks.dedup();
            blocks
        });
        if blocks.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        let mut stored: BTreeMap<u32, Vec<PartRow>> = BTreeMap::new();
        for head in trails::list_heads(self.database.reader(), &days, blocks.as_deref()).await? {
            stored.entry(head.users).or_default().push(head);
        }
        let (texts, names) = (Texts::default(), Texts::default());
        let mut steps =
            Steps { asked, with_objects, during, texts, names, open: FxHashMap::default(), found: Vec::new() };
        steps.add_open(&open);
        steps.open.keys().for_each(|users| {
            stored.entry(*users).or_default();
        });
        let mut blocks = stored.into_iter().peekable();
        while blocks.peek().is_some() {
            let (mut some, mut size) = (Vec::new(), 0);
            while let Some((users, heads)) = blocks.next_if(|_| size < STEPS_AT_ONCE) {
                size += heads.iter().map(|head| head.steps).sum::<i64>();
                some.push((users, heads));
            }
            let mut rows: FxHashMap<u32, Vec<PartRow>> = FxHashMap::default();
            for row in self.list_trails(&some, asked, with_objects).await? {
                rows.entry(row.users).or_default().push(row);
            }
            for (users, _) in some {
                let rows = rows.remove(&users).unwrap_or_default();
                rows.iter().try_for_each(|row| steps.add_part(row))?;
                steps.add_open_of(users, &rows)?;
                steps.show(&mut see);
            }
        }
        Ok(())
    }

    /// How many users did something in a window, and how many of them more than once.
    pub async fn repeating_users(&self, event_type: &str, window: Window) -> Result<(u64, u64), DbError> {
        let event_types = Some(vec![event_type.to_owned()]);
        let (mut all, mut repeating) = (0, 0);
        self.walk(&Walk { during: window.from_ms..window.to_ms, event_types, ..Walk::default() }, |steps, _| {
            all += 1;
            repeating += u64::from(steps.len() > 1);
        })
        .await?;
        Ok((all, repeating))
    }

    /// All parts of some blocks, of the days that their heads say matter. Read by block and day, not by part: a part
    /// may have been merged into another since.
    async fn list_trails(
        &self,
        blocks: &[(u32, Vec<PartRow>)],
        asked: &Walk,
        with_objects: bool,
    ) -> Result<Vec<PartRow>, DbError> {
        let is_wanted = |head: &&PartRow| asked.users.as_ref().is_none_or(|users| !users.is_disjoint(&head.who));
        let heads = blocks.iter().flat_map(|(_, heads)| heads.iter().filter(is_wanted));
        let days: BTreeSet<i64> = heads.map(|head| head.day).collect();
        let users: Vec<u32> = blocks.iter().map(|(users, _)| *users).collect();
        trails::list_of(self.database.reader(), &days.into_iter().collect::<Vec<_>>(), &users, with_objects).await
    }
}

/// The steps of one block of users while they are gathered.
struct Steps<'a> {
    asked: &'a Walk,
    with_objects: bool,
    during: Range<i64>,
    /// What all steps' texts, and the names of their objects, are numbered by.
    texts: Texts,
    names: Texts,
    /// Steps that wait to be merged, by block, each with the segment that says so.
    open: FxHashMap<u32, Vec<(Arc<Segment>, Step)>>,
    found: Vec<Step>,
}

impl Steps<'_> {
    fn is_asked(&self, step: &Step) -> bool {
        self.during.contains(&step.at_ms)
            && (!step.is_several || self.asked.with_several)
            && self.asked.users.as_ref().is_none_or(|users| users.contains(step.user))
    }

    fn add_open(&mut self, segments: &[Arc<Segment>]) {
        for segment in segments {
            let mut numbers = self.numbers(&segment.texts, &segment.texts);
            for step in segment.steps() {
                if self.is_asked(&step) && numbers.is_of_type(step.event_type) {
                    let translated = numbers.translated(step, &mut self.texts, &mut self.names);
                    let block = self.open.entry(step.block_day().1).or_default();
                    block.push((segment.clone(), translated));
                }
            }
        }
    }

    /// What of the open steps of a block its stored parts, sorted by day, do not hold yet.
    fn add_open_of(&mut self, users: u32, rows: &[PartRow]) -> Result<(), DbError> {
        let Some(open) = self.open.remove(&users) else { return Ok(()) };
        let mut marks: FxHashMap<i64, Marks> = FxHashMap::default();
        for of_day in rows.chunk_by(|one, next| one.day == next.day) {
            marks.insert(of_day[0].day, merge::marks_of(of_day)?);
        }
        let is_held = |(segment, step): &(Arc<Segment>, Step)| {
            marks.get(&step.block_day().0).is_some_and(|marks| marks.hold(segment.mark))
        };
        self.found.extend(open.into_iter().filter(|step| !is_held(step)).map(|(_, step)| step));
        Ok(())
    }

    fn add_part(&mut self, row: &PartRow) -> Result<(), DbError> {
        let part = merge::read_trail(row, self.asked.users.as_ref())?;
        let mut numbers = self.numbers(&part.texts, &part.names);
        for step in part.steps {
            if self.is_asked(&step) && numbers.is_of_type(step.event_type) {
                self.found.push(numbers.translated(step, &mut self.texts, &mut self.names));
            }
        }
        Ok(())
    }

    fn numbers<'a>(&self, texts: &'a Texts, names: &'a Texts) -> Numbers<'a> {
        let is_asked = |text: &Arc<str>, asked: &[String]| asked.iter().any(|name| **name == **text);
        let of_types =
            self.asked.event_types.as_ref().map(|asked| {
                std::iter::once(false).chain(texts.list().iter().map(|text| is_asked(text, asked))).collect()
            });
        let names = self.with_objects.then(|| Translation::of(names));
        Numbers { texts: Translation::of(texts), names, of_types }
    }

    fn show(&mut self, see: &mut impl FnMut(&[Step], &Texts, &Texts)) {
        let mut found = std::mem::take(&mut self.found);
        let (texts, names) = (&self.texts, &self.names);
        found.sort_unstable_by(|one, next| {
            let by_moment = (one.user, one.at_ms).cmp(&(next.user, next.at_ms));
            by_moment.then_with(|| one.told(texts).cmp(&next.told(texts)))
        });
        found.chunk_by(|one, next| one.user == next.user).for_each(|steps| see(steps, texts, names));
        found.clear();
        self.found = found;
    }
}

/// Our numbers of somebody's texts and names.
struct Numbers<'a> {
    texts: Translation<'a>,
    /// `None` where objects are not asked for.
    names: Option<Translation<'a>>,
    /// Which texts are types that are asked for; `None` where all are.
    of_types: Option<Vec<bool>>,
}

/// Our numbers of somebody's, each found when it is first met: of a segment's thousands of texts one user has few.
struct Translation<'a> {
    theirs: &'a Texts,
    found: Vec<Option<u32>>,
}

impl<'a> Translation<'a> {
    fn of(theirs: &'a Texts) -> Self {
        Self { theirs, found: vec![None; theirs.list().len() + 1] }
    }

    fn number(&mut self, number: u32, ours: &mut Texts) -> u32 {
        let Some(text) = self.theirs.text(number) else { return 0 };
        *self.found[number as usize].get_or_insert_with(|| ours.number(Some(text)))
    }
}

impl Numbers<'_> {
    fn translated(&mut self, step: Step, texts: &mut Texts, names: &mut Texts) -> Step {
        let object = step.object.translated(|number| match &mut self.names {
            Some(theirs) => theirs.number(number, names),
            None => 0,
        });
        Step { object, ..step.translated(|number| self.texts.number(number, texts)) }
    }

    fn is_of_type(&self, event_type: u32) -> bool {
        self.of_types.as_ref().is_none_or(|of_types| of_types.get(event_type as usize) == Some(&true))
    }
}
