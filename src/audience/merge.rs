//! Folds open segments into stored days: one process at a time, killable at any point.

use std::{collections::BTreeMap, sync::Arc};

use roaring::RoaringBitmap;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    bytes::Reader,
    day::{EntityDay, Wanted},
    open::{MarketDay, OpenAudience, gather_markets, open_segment},
    segment::{Marks, Segment},
    trail::{BlockDay, Step, TrailPart},
};
use crate::{
    db::{
        Database, DbError, Transaction,
        queries::{
            audience::{self, Columns, DayRow, MarketRow},
            leases,
            trails::{self, PartRow},
        },
    },
    domain::{
        entity::{EntityKind, EntityRef},
        window::Grain,
    },
};

pub const LEASE: &str = "merge-audience";
const LEASE_MS: i64 = 120_000;
/// Rows a transaction: keeps SQLite's only writer waiting for tens of milliseconds, not for seconds.
const ROWS_PER_TRANSACTION: usize = 1_000;
/// While more comes in than such small steps merge: commits, which take turns with them, are large then too.
const ROWS_PER_TRANSACTION_IN_HASTE: usize = 10_000;
/// Days of entities in a run. What a merge costs are its rows, so a run gathers as many segments as make them.
const DAYS_PER_RUN: usize = 200_000;
/// Entities whose stored days one statement reads.
const IDS_AT_ONCE: usize = 1_024;
/// Segments read at once.
const SEGMENTS_AT_ONCE: usize = 64;

type DayKey = (i64, EntityRef);

/// Merges the segments that wait; returns how many. Does nothing while another process merges.
///
/// Facts are folded into days piece by piece and the segments removed last: a run that is cut off leaves them in
/// place, and the next one passes over what the days' marks say they hold.
pub async fn merge(database: &Database, open: &OpenAudience, holder: &str, now_ms: i64) -> Result<usize, DbError> {
    let waiting = audience::list_marks(database.reader()).await?;
    let mut merged = 0;
    let mut run = Run::default();
    for chunk in waiting.chunks(SEGMENTS_AT_ONCE) {
        for (at, facts) in audience::list_segments(database.reader(), chunk).await? {
            run.add(open_segment(at, facts)?);
            if run.days.len() >= DAYS_PER_RUN {
                merged += std::mem::take(&mut run).store(database, open, holder, now_ms).await?;
                open.follow(database).await?;
            }
        }
    }
    merged += run.store(database, open, holder, now_ms).await?;
    if merged > 0 {
        open.follow(database).await?;
    }
    Ok(merged)
}

/// Segments that are merged together.
#[derive(Default)]
struct Run {
    segments: Vec<Arc<Segment>>,
    /// Where each day's facts are: segments by their place above, in the order of their marks, and where in them.
    days: BTreeMap<DayKey, Vec<(usize, u32)>>,
    markets: FxHashMap<MarketDay, Vec<u32>>,
    /// What users did, likewise with the place of the segment that says so.
    steps: BTreeMap<BlockDay, Vec<(usize, Step)>>,
}

impl Run {
    fn add(&mut self, mut segment: Segment) {
        let index = self.segments.len();
        for (entity, at) in std::mem::take(&mut segment.entities) {
            if entity.kind == EntityKind::Song {
                gather_markets(&mut self.markets, &segment, at);
            }
            let mut days: FxHashSet<i64> = FxHashSet::default();
            days.extend(segment.facts(at).map(|fact| Grain::Day.bucket_of(fact.quarter_ms)));
            for day in days {
                self.days.entry((day, entity.clone())).or_default().push((index, at));
            }
        }
        for step in segment.steps() {
            self.steps.entry(step.block_day()).or_default().push((index, step));
        }
        self.segments.push(Arc::new(segment));
    }

    /// Folds the facts into their days and removes the segments; returns how many.
    async fn store(
        self,
        database: &Database,
        open: &OpenAudience,
        holder: &str,
        now_ms: i64,
    ) -> Result<usize, DbError> {
        let Self { segments, days, markets, steps } = self;
        if segments.is_empty() {
            return Ok(0);
        }
        let (mut days, mut steps) = (days.into_iter().peekable(), steps.into_iter().peekable());
        while days.peek().is_some() || steps.peek().is_some() {
            let many = if open.is_large() { ROWS_PER_TRANSACTION_IN_HASTE } else { ROWS_PER_TRANSACTION };
            let some: Vec<(DayKey, Vec<(usize, u32)>)> = days.by_ref().take(many).collect();
            let trails: Vec<(BlockDay, Vec<(usize, Step)>)> = steps.by_ref().take(many - some.len()).collect();
            let txn = database.begin_write().await?;
            if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
                return Ok(0);
            }
            fold_into_rows(&txn, &segments, some).await?;
            fold_into_trails(&txn, &segments, trails).await?;
            txn.commit().await?;
        }
        let txn = database.begin_write().await?;
        if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
            return Ok(0);
        }
        unite_markets(&txn, markets).await?;
        let merged: Vec<(u32, u32)> =
            segments.iter().map(|segment| (segment.mark.block, segment.mark.number)).collect();
        audience::delete_segments(&txn, &merged).await?;
        leases::release(&txn, LEASE, holder).await?;
        txn.commit().await?;
        Ok(segments.len())
    }
}

/// Reads the days' rows, folds in the facts that they do not hold yet, and writes them.
async fn fold_into_rows(
    txn: &Transaction,
    segments: &[Arc<Segment>],
    days: Vec<(DayKey, Vec<(usize, u32)>)>,
) -> Result<(), DbError> {
    let mut rows = Vec::with_capacity(days.len());
    for same in days.chunk_by(|((one_day, one), _), ((next_day, next), _)| one_day == next_day && one.kind == next.kind)
    {
        let ((day, first), _) = &same[0];
        for some in same.chunks(IDS_AT_ONCE) {
            let ids: Vec<_> = some.iter().map(|((_, entity), _)| entity.id.clone()).collect();
            let stored = audience::list(txn, Columns::Everything, &[*day], first.kind, &ids).await?;
            let mut stored: FxHashMap<EntityRef, DayRow> =
                stored.into_iter().map(|row| (row.entity.clone(), row)).collect();
            for ((_, entity), places) in some {
                let mut entity_day = match stored.remove(entity) {
                    Some(row) => read_day(&row)?,
                    None => EntityDay::default(),
                };
                for (index, at) in places {
                    let segment = &segments[*index];
                    if entity_day.marks.hold(segment.mark) {
                        continue;
                    }
                    let facts = segment.facts(*at).filter(|fact| Grain::Day.bucket_of(fact.quarter_ms) == *day);
                    facts.for_each(|fact| entity_day.fold(&fact, &segment.texts));
                    entity_day.marks.raise(segment.mark);
                }
                rows.push(day_row(*day, entity.clone(), entity_day));
            }
        }
    }
    audience::put(txn, &rows).await
}

/// Appends the steps that the trails do not hold yet: to each block's day a part, which takes in those before it that
/// are not at least twice as large. So a day has few parts, and each step is written few times.
async fn fold_into_trails(
    txn: &Transaction,
    segments: &[Arc<Segment>],
    blocks: Vec<(BlockDay, Vec<(usize, Step)>)>,
) -> Result<(), DbError> {
    for same in blocks.chunk_by(|((one, _), _), ((next, _), _)| one == next) {
        let day = same[0].0.0;
        let users: Vec<u32> = same.iter().map(|((_, users), _)| *users).collect();
        let mut heads: FxHashMap<u32, Vec<PartRow>> = FxHashMap::default();
        for head in trails::list_heads(txn, &[day], Some(&users)).await? {
            heads.entry(head.users).or_default().push(head);
        }
        let (mut absorbed, mut grown) = (Vec::new(), Vec::new());
        for ((_, users), steps) in same {
            let heads = heads.remove(users).unwrap_or_default();
            let held = marks_of(&heads)?;
            let mut part = TrailPart::default();
            for (index, step) in steps.iter().filter(|(index, _)| !held.hold(segments[*index].mark)) {
                let texts = &segments[*index].texts;
                part.add(*step, texts, texts);
                part.marks.raise(segments[*index].mark);
            }
            if part.steps.is_empty() {
                continue;
            }
            let (mut kept, mut size) = (heads.len(), part.steps.len() as i64);
            while kept > 0 && heads[kept - 1].steps < 2 * size {
                kept -= 1;
                size += heads[kept].steps;
            }
            absorbed.extend(heads[kept..].iter().map(PartRow::key));
            let number = heads[..kept].last().map_or(0, |head| head.part + 1);
            grown.push((*users, number, part));
        }
        let mut stored: FxHashMap<u32, Vec<PartRow>> = FxHashMap::default();
        for row in trails::list(txn, &absorbed).await? {
            stored.entry(row.users).or_default().push(row);
        }
        let mut rows = Vec::with_capacity(grown.len());
        for (users, number, mut part) in grown {
            for row in stored.remove(&users).unwrap_or_default() {
                part.absorb(&read_trail(&row, None)?);
            }
            rows.push(trail_row(day, users, number, part));
        }
        trails::delete(txn, &absorbed).await?;
        trails::insert(txn, &rows).await?;
    }
    Ok(())
}

/// What parts of one block's day hold together.
pub fn marks_of(parts: &[PartRow]) -> Result<Marks, DbError> {
    let mut marks = Marks::default();
    for part in parts {
        let own = Marks::read(&mut Reader(&part.marks)).map_err(|_| DbError::Corrupt("marks of a trail"))?;
        marks.raise_all(&own);
    }
    Ok(marks)
}

/// Reads a part that was selected with its steps, and perhaps their objects: of some users, or of all.
pub fn read_trail(row: &PartRow, of: Option<&RoaringBitmap>) -> Result<TrailPart, DbError> {
    let marks = marks_of(std::slice::from_ref(row))?;
    TrailPart::read(row.day, marks, (&row.packed, &row.objects), of).map_err(|_| DbError::Corrupt("a trail"))
}

/// The row that stores a part.
pub fn trail_row(day: i64, users: u32, part: i16, mut trail: TrailPart) -> PartRow {
    let mut marks = Vec::new();
    trail.marks.write(&mut marks);
    let (packed, objects) = trail.write();
    PartRow {
        day,
        users,
        part,
        steps: trail.steps.len() as i64,
        packed,
        objects,
        who: trail.steps.iter().map(|step| step.user).collect(),
        marks,
    }
}

/// Reads a row that was selected as a whole.
pub fn read_day(row: &DayRow) -> Result<EntityDay, DbError> {
    EntityDay::read(&row.cells, Some(&row.detail), Wanted::EVERYTHING).map_err(|_| DbError::Corrupt("an entity's day"))
}

/// The row that stores an entity's day.
pub fn day_row(day: i64, entity: EntityRef, mut entity_day: EntityDay) -> DayRow {
    entity_day.settle();
    DayRow {
        day,
        entity,
        listeners: entity_day.listeners(),
        active: entity_day.active(),
        cells: entity_day.write_cells(),
        detail: entity_day.write_detail(),
    }
}

async fn unite_markets(txn: &Transaction, markets: FxHashMap<MarketDay, Vec<u32>>) -> Result<(), DbError> {
    let mut rows: Vec<MarketRow> = markets
        .into_iter()
        .map(|((day, country), listeners)| MarketRow { day, country, listeners: listeners.into_iter().collect() })
        .collect();
    rows.sort_by(|one, other| (one.day, &one.country).cmp(&(other.day, &other.country)));
    for same in rows.chunk_by_mut(|one, next| one.day == next.day) {
        for stored in audience::list_markets(txn, &[same[0].day]).await? {
            if let Ok(place) = same.binary_search_by(|row| row.country.cmp(&stored.country)) {
                same[place].listeners |= stored.listeners;
            }
        }
    }
    audience::put_markets(txn, &rows).await
}

/// What stored days hold at least, given the segments that wait: for somebody who recounts days as a whole.
pub fn waiting_marks(waiting: &[(u32, u32)]) -> Marks {
    let mut marks = Marks::default();
    waiting.iter().for_each(|at| marks.raise(super::open::mark(*at)));
    marks
}

/// The union of some sets.
pub fn union<'a>(sets: impl Iterator<Item = &'a RoaringBitmap>) -> RoaringBitmap {
    sets.fold(RoaringBitmap::new(), |union, set| union | set)
}
