//! Moves open segments into stored sets: one process at a time, killable at any point.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::{first_hourly_day, hour_of_day, open::OpenAudience, segment::Segment};
use crate::{
    db::{
        Connection, Database, DbError,
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
/// Segments a run; bounds the memory of a merge after a long back-fill.
const SEGMENTS_PER_RUN: usize = 4_096;

type Sets = BTreeMap<(i64, EntityRef, String), RoaringBitmap>;

/// Merges the segments that wait; returns how many. Does nothing while another process merges.
///
/// Sets are united into rows piece by piece and the segments removed last: a run that is cut off
/// leaves them in place, and the next one unites the same people again.
pub async fn merge(database: &Database, open: &OpenAudience, holder: &str, now_ms: i64) -> Result<usize, DbError> {
    let mut ids = audience::list_segment_ids(database.reader()).await?;
    if ids.is_empty() {
        return Ok(0);
    }
    ids.truncate(SEGMENTS_PER_RUN);
    let mut sets = Sets::new();
    for (_, pairs) in audience::list_segments(database.reader(), &ids).await? {
        let segment = Segment::decode(&pairs).map_err(|_| DbError::Corrupt("a segment of listeners"))?;
        gather(&mut sets, &segment, now_ms);
    }
    let rows: Vec<AudienceRow> = sets
        .into_iter()
        .map(|((day, entity, segment), listeners)| AudienceRow { day, entity, segment, listeners })
        .collect();
    for chunk in rows.chunks(ROWS_PER_TRANSACTION) {
        let txn = database.begin_write().await?;
        if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
            return Ok(0);
        }
        unite_into_rows(&txn, chunk).await?;
        txn.commit().await?;
    }
    let txn = database.begin_write().await?;
    if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
        return Ok(0);
    }
    audience::delete_segments(&txn, &ids).await?;
    leases::release(&txn, LEASE, holder).await?;
    txn.commit().await?;
    open.follow(database).await?;
    Ok(ids.len())
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

async fn unite_into_rows<C: Connection>(conn: &C, rows: &[AudienceRow]) -> Result<(), DbError> {
    let mut united: Sets = Sets::new();
    for same in rows.chunk_by(|one, next| one.day == next.day && one.entity.kind == next.entity.kind) {
        let mut ids: Vec<_> = same.iter().map(|row| row.entity.id.clone()).collect();
        ids.dedup();
        let mut segments: Vec<_> = same.iter().map(|row| row.segment.clone()).collect();
        segments.sort_unstable();
        segments.dedup();
        for stored in audience::list(conn, &[same[0].day], same[0].entity.kind, &ids, &segments).await? {
            united.insert((stored.day, stored.entity, stored.segment), stored.listeners);
        }
    }
    let rows: Vec<AudienceRow> = rows
        .iter()
        .map(|row| {
            let mut row = row.clone();
            if let Some(stored) = united.get(&(row.day, row.entity.clone(), row.segment.clone())) {
                row.listeners |= stored;
            }
            row
        })
        .collect();
    audience::put(conn, &rows).await
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
