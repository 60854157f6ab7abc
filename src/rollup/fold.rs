//! Folds closed days into writer slot 0: what several processes counted side by side becomes one row.
//!
//! Reads sum over slots, so nothing depends on it; it keeps rows as few as one writer would leave.

use crate::{
    db::{
        Database, DbError,
        queries::{leases, rollups},
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
        if !rollups::has_other_slots(database.writer(), Grain::Day, &whole_day).await? {
            continue;
        }
        let hours = (0..24).map(|hour| (Grain::Quarter, day + hour * HOUR_MS..day + (hour + 1) * HOUR_MS));
        for (grain, buckets) in hours.chain([(Grain::Day, whole_day)]) {
            for kind in EntityKind::STORED {
                let txn = database.begin_write().await?;
                if !leases::try_acquire(&txn, LEASE, holder, now_ms, LEASE_MS).await? {
                    return Ok(moved);
                }
                let money = rollups::take_money_of_other_slots(&txn, grain, &buckets, kind).await?;
                let counters = rollups::take_other_slots(&txn, grain, &buckets, kind).await?;
                moved += (money.len() + counters.len()) as u64;
                rollups::apply_money_deltas(&txn, 0, &money).await?;
                rollups::apply_deltas(&txn, 0, &counters).await?;
                txn.commit().await?;
            }
        }
    }
    leases::release(database.writer(), LEASE, holder).await?;
    Ok(moved)
}
