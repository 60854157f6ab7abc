//! What of the past is no longer all there.

use super::{
    commit::Extent,
    window::{Grain, HOUR_MS, Window},
};

/// How far the past has been thinned out. Each promise is durable before anything is removed under it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Events of the UTC days before are no longer all there, and none is accepted.
    pub sealed_before_ms: Option<i64>,
    /// When that was said last.
    pub sealed_at_ms: Option<i64>,
    /// When the oldest and the newest of those events happened.
    pub removed: Option<Extent>,
    /// Counters of the UTC days before are kept by whole hours, or soon will be.
    pub hours_before_ms: Option<i64>,
    /// Up to where they are.
    pub folded_before_ms: Option<i64>,
}

impl Keeping {
    pub fn is_sealed(&self, at_ms: i64) -> bool {
        self.sealed_before_ms.is_some_and(|before_ms| at_ms < before_ms)
    }

    pub fn is_by_hours(&self, at_ms: i64) -> bool {
        self.hours_before_ms.is_some_and(|before_ms| at_ms < before_ms)
    }

    /// Where what happened in a bucket is kept at the latest: of a day that is kept by hours, in the hour's first quarter.
    pub fn bucket_of(&self, grain: Grain, bucket: i64) -> i64 {
        match grain {
            Grain::Quarter if self.is_by_hours(bucket) => bucket - bucket.rem_euclid(HOUR_MS),
            _ => bucket,
        }
    }

    /// When the events happened that were ever counted, of which the log still holds those of `logged`.
    pub fn counted(&self, logged: Option<Extent>) -> Option<Extent> {
        let extents = self.removed.into_iter().chain(logged);
        extents.reduce(|one, other| Extent {
            oldest_ms: one.oldest_ms.min(other.oldest_ms),
            newest_ms: one.newest_ms.max(other.newest_ms),
        })
    }

    /// What the counters of a window are of: an hour that is kept as a whole counts where it begins.
    pub fn counted_within(&self, window: Window) -> Window {
        let edge = |at_ms: i64| if self.is_by_hours(at_ms) { at_ms + (-at_ms).rem_euclid(HOUR_MS) } else { at_ms };
        Window { from_ms: edge(window.from_ms), to_ms: edge(window.to_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::window::{DAY_MS, QUARTER_MS};

    #[test]
    fn an_hour_kept_as_a_whole_counts_in_the_window_in_which_it_begins() {
        let keeping = Keeping { hours_before_ms: Some(DAY_MS), ..Keeping::default() };
        for (from_ms, to_ms, counted) in [
            (HOUR_MS, 2 * HOUR_MS, HOUR_MS..2 * HOUR_MS),
            (HOUR_MS - QUARTER_MS, 2 * HOUR_MS - QUARTER_MS, HOUR_MS..2 * HOUR_MS),
            (HOUR_MS + QUARTER_MS, 2 * HOUR_MS - QUARTER_MS, 2 * HOUR_MS..2 * HOUR_MS),
            (DAY_MS - QUARTER_MS, DAY_MS + QUARTER_MS, DAY_MS..DAY_MS + QUARTER_MS),
        ] {
            let window = keeping.counted_within(Window { from_ms, to_ms });
            assert_eq!(window.from_ms..window.to_ms, counted);
        }
    }
}
