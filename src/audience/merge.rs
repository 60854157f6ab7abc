//! Moves open segments into stored sets: one process at a time, killable at any point.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::{first_hourly_day, hour_of_day, open::OpenAudience, segment::Segment};
use crate::{
    db::{
        Database, DbError, Transaction,
        queries::{
            audience::{self, AudienceRow, WHOLE_DAY, hour_segment},
            leases,
        },
    },
    domain::{
        entity::EntityRef,
        window::{DAY_MS, Grain},
    },
};

pub const LEASE: &str = "merge-audience";
const LEASE_MS: i64 = 120_000;
/// Rows a transaction: keeps SQLite's only writer waiting for tens of milliseconds, not for seconds.
const ROWS_PER_TRANSACTION: usize = 2_000;
/// While more comes in than such small steps merge: commits, which take turns with them, are large then too.
const ROWS_PER_TRANSACTION_IN_HASTE: usize = 20_000;
/// Sets of a run: some 50 MB. What a merge costs are its sets, so a run gathers as many segments as make them.
const SETS_PER_RUN: usize = 200_000;
/// Entities whose stored sets one statement reads.
const IDS_AT_ONCE: usize = 2_048;
/// Segments read at once.
const SEGMENTS_AT_ONCE: usize = 64;

type Sets = BTreeMap<(i64, EntityRef, String), RoaringBitmap>;

/// Merges the segments that wait; returns how many. Does nothing while another process merges.
///
/// Sets are united into rows piece by piece and the segments removed last: a run that is cut off
/// leaves them in place, and the next one unites the same people again.
pub async fn merge(database: &Database, open: &OpenAudience, holder: &str, now_ms: i64) -> Result<usize, DbError> {
    let ids = audience::list_segment_ids(database.reader()).await?;
    let mut merged = 0;
    let mut run = Run::default();
    for chunk in ids.chunks(SEGMENTS_AT_ONCE) {
        for (id, pairs) in audience::list_segments(database.reader(), chunk).await? {
            let segment = Segment::decode(&pairs).map_err(|_| DbError::Corrupt("a segment of listeners"))?;
            gather(&mut run.sets, &segment, now_ms);
            run.segment_ids.push(id);
            if run.sets.len() >= SETS_PER_RUN {
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
    segment_ids: Vec<String>,
    sets: Sets,
}

impl Run {
    /// Unites the sets into their rows and removes the segments; returns how many.
    async fn store(
        self,
        database: &Database,
        open: &OpenAudience,
        holder: &str,
        now_ms: i64,
    ) -> Result<usize, DbError> {
        if self.segment_ids.is_empty() {
            return Ok(0);
        }
        let mut sets = self.sets.into_iter().peekable();
        while sets.peek().is_some() {
            let many = if open.is_large() { ROWS_PER_TRANSACTION_IN_HASTE } else { ROWS_PER_TRANSACTION };
            let rows: Vec<AudienceRow> = sets
                .by_ref()
                .take(many)
                .map(|((day, entity, segment), listeners)| AudienceRow { day, entity, segment, listeners })
                .collect();
            let txn = database.begin_write().await?;
            if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
                return Ok(0);
            }
            unite_into_rows(&txn, rows).await?;
            txn.commit().await?;
        }
        let txn = database.begin_write().await?;
        if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
            return Ok(0);
        }
        audience::delete_segments(&txn, &self.segment_ids).await?;
        leases::release(&txn, LEASE, holder).await?;
        txn.commit().await?;
        Ok(self.segment_ids.len())
    }
}

/// Adds a segment's pairs to the day's set and, while the day is recent, to the hour's.
pub fn gather(sets: &mut BTreeMap<(i64, EntityRef, String), RoaringBitmap>, segment: &Segment, now_ms: i64) {
    for set in &segment.0 {
        let day = Grain::Day.bucket_of(set.hour_ms);
        let hourly = (day >= first_hourly_day(now_ms)).then(|| hour_segment(hour_of_day(set.hour_ms)));
        for name in [Some(WHOLE_DAY.to_owned()), hourly].into_iter().flatten() {
            sets.entry((day, set.entity.clone(), name)).or_default().extend(set.listeners.iter().copied());
        }
    }
}

async fn unite_into_rows(txn: &Transaction, mut rows: Vec<AudienceRow>) -> Result<(), DbError> {
    for same in rows.chunk_by_mut(|one, next| one.day == next.day && one.entity.kind == next.entity.kind) {
        let mut ids: Vec<_> = same.iter().map(|row| row.entity.id.clone()).collect();
        ids.dedup();
        let mut segments: Vec<_> = same.iter().map(|row| row.segment.clone()).collect();
        segments.sort_unstable();
        segments.dedup();
        for ids in ids.chunks(IDS_AT_ONCE) {
            for stored in audience::list(txn, &[same[0].day], same[0].entity.kind, ids, &segments).await? {
                let key = (&stored.entity.id, &stored.segment);
                // The statement asks for every id with every segment: some of what it finds is not ours.
                if let Ok(place) = same.binary_search_by(|row| (&row.entity.id, &row.segment).cmp(&key)) {
                    same[place].listeners |= stored.listeners;
                }
            }
        }
    }
    audience::put(txn, &rows).await
}

/// Drops the hourly sets of days that have become old. Whole-day sets stay.
pub async fn drop_old_hours(database: &Database, now_ms: i64) -> Result<(), DbError> {
    let first = first_hourly_day(now_ms);
    // A process may have slept over a few days; each look at a day without hours costs a seek.
    for day in (first - 7 * DAY_MS..first).step_by(usize::try_from(DAY_MS).expect("a day is a small number")) {
        audience::delete_hours(database.writer(), day).await?;
    }
    Ok(())
}
