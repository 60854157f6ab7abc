//! Makes rows fewer: what several processes counted side by side becomes the row of writer slot 0, and of days long
//! past the quarter-hours of an hour become the row of its first one.
//!
//! Reads sum over slots and over all quarter-hours of an hour, so nothing depends on how far it is.

use std::ops::Range;

use crate::{
    db::{
        Database, DbError, Transaction,
        queries::{
            leases,
            rollups::{self, Apart, MoneyRow, RollupRow},
        },
    },
    domain::{
        entity::EntityKind,
        window::{DAY_MS, Grain, HOUR_MS},
    },
};

pub const LEASE: &str = "fold-slots";
const LEASE_MS: i64 = 120_000;
/// A day is left alone for so long after its end, for events that come late.
const SETTLE_MS: i64 = 6 * HOUR_MS;
/// Days looked at: a process may have slept over a few. What comes later than that stays in its slot.
const DAYS_BACK: i64 = 8;

/// Folds the days that have closed lately; returns how many rows were moved. Does nothing while another
/// process folds.
///
/// Hour by hour and kind by kind, each in a transaction of its own that takes rows out and adds them to
/// slot 0: it can be cut off anywhere and run again. Whoever writes one of these rows at that moment finds
/// it gone and begins it anew.
pub async fn fold_closed_days(database: &Database, holder: &str, now_ms: i64) -> Result<u64, DbError> {
    let end = Grain::Day.bucket_of(now_ms - SETTLE_MS);
    let mut moved = 0;
    for day in (1..=DAYS_BACK).rev().map(|back| end - back * DAY_MS) {
        let whole_day = day..day + DAY_MS;
        // Rows of days go last: while there are any, there may be rows of quarter-hours.
        if !rollups::has_apart(database.writer(), Apart::BySlot, Grain::Day, &whole_day).await? {
            continue;
        }
        for (grain, buckets) in hours_of(day).map(|hour| (Grain::Quarter, hour)).chain([(Grain::Day, whole_day)]) {
            for kind in EntityKind::STORED {
                let txn = database.begin_write().await?;
                if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
                    return Ok(moved);
                }
                moved += gather(&txn, Apart::BySlot, grain, &buckets, kind).await?;
                txn.commit().await?;
            }
        }
    }
    leases::release(database.writer(), LEASE, holder).await?;
    Ok(moved)
}

pub fn hours_of(day: i64) -> impl Iterator<Item = Range<i64>> {
    (0..24).map(move |hour| day + hour * HOUR_MS..day + (hour + 1) * HOUR_MS)
}

/// Makes one row in slot 0 of each bucket's rows, or of all rows of the buckets; returns how many were moved.
pub async fn gather(
    txn: &Transaction,
    apart: Apart,
    grain: Grain,
    buckets: &Range<i64>,
    kind: EntityKind,
) -> Result<u64, DbError> {
    let mut money = rollups::take_money_apart(txn, apart, grain, buckets, kind).await?;
    let mut counters = rollups::take_apart(txn, apart, grain, buckets, kind).await?;
    let moved = (money.len() + counters.len()) as u64;
    if apart == Apart::ByBucket {
        money = rollups::summed_money(money.into_iter().map(|row| MoneyRow { bucket: buckets.start, ..row }));
        counters = rollups::summed_counters(counters.into_iter().map(|row| RollupRow { bucket: buckets.start, ..row }));
    }
    rollups::apply_money_deltas(txn, 0, &money).await?;
    rollups::apply_deltas(txn, 0, &counters).await?;
    Ok(moved)
}
