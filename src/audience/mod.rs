//! Who listened, exactly: the sets that are still open in memory, the segments that make them
//! durable, and the merger that moves them into stored sets.
//!
//! A commit appends one [`segment::Segment`] with its new (set, listener) pairs. Every process keeps
//! what is not merged yet in [`open::OpenAudience`]; a reader unites it with the stored rows. Union is
//! idempotent, so a pair that is seen in both places, or twice, does no harm.

pub mod merge;
pub mod open;
pub mod segment;

use crate::domain::window::{DAY_MS, Grain, HOUR_MS};

/// Sets are kept by hour for this long; older days have one set for the whole day.
const HOURLY_MS: i64 = 72 * HOUR_MS;

/// The oldest UTC day whose listeners are known by hour.
pub fn first_hourly_day(now_ms: i64) -> i64 {
    Grain::Day.bucket_of(now_ms - HOURLY_MS)
}

/// Which hour of its UTC day begins at `hour_ms`.
pub fn hour_of_day(hour_ms: i64) -> i64 {
    hour_ms.rem_euclid(DAY_MS) / HOUR_MS
}
