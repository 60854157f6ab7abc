//! Who did anything at all: active users by calendar days, and over the 7 and 28 days that end with each.

use roaring::RoaringBitmap;

use super::{Analytics, people::Who};
use crate::{
    db::{
        DbError,
        queries::rankings::{self, Identity, Ranked},
    },
    domain::{
        counting::Counter,
        entity::{EntityKind, EntityRef},
        window::{Buckets, DAY_MS, Grain, Window},
    },
};

/// The longer of the stretches that end with a day.
pub const MONTH_DAYS: usize = 28;
const WEEK_DAYS: usize = 7;

/// Distinct active users that end with one calendar day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ActiveUsers {
    pub daily: u64,
    pub weekly: u64,
    pub monthly: u64,
    /// Of the 28 days, those of each added up.
    pub daily_sum: u64,
}

/// Active users of calendar days in a row.
pub struct ActiveDays {
    days: Vec<Window>,
    sets: Vec<RoaringBitmap>,
    /// What ends with each day; days before the first are taken for empty.
    rolling: Vec<ActiveUsers>,
}

impl ActiveDays {
    fn new(days: Vec<Window>, sets: Vec<RoaringBitmap>) -> Self {
        let weekly = rolling(&sets, WEEK_DAYS);
        let monthly = rolling(&sets, MONTH_DAYS);
        let daily: Vec<u64> = sets.iter().map(RoaringBitmap::len).collect();
        let of_day = |index: usize| ActiveUsers {
            daily: daily[index],
            weekly: weekly[index],
            monthly: monthly[index],
            daily_sum: daily[(index + 1).saturating_sub(MONTH_DAYS)..=index].iter().sum(),
        };
        let rolling = (0..daily.len()).map(of_day).collect();
        Self { days, sets, rolling }
    }

    /// What ends with the day that ends then.
    pub fn ending_at(&self, to_ms: i64) -> ActiveUsers {
        let day = self.days.partition_point(|day| day.to_ms < to_ms);
        self.rolling.get(day).copied().unwrap_or_default()
    }

    /// The distinct users of all days that lie within a window.
    pub fn within(&self, window: Window) -> u64 {
        let from = self.days.partition_point(|day| day.from_ms < window.from_ms);
        let to = self.days.partition_point(|day| day.to_ms <= window.to_ms);
        let inside = self.sets.get(from..to).unwrap_or_default();
        inside.iter().fold(RoaringBitmap::new(), |all, set| all | set).len()
    }
}

/// How many are in any of each set and those before it, `width` in all. In blocks of that width, every such stretch is
/// the end of one block and the beginning of the next: three unions a set, whatever the width.
fn rolling(sets: &[RoaringBitmap], width: usize) -> Vec<u64> {
    let mut counts = Vec::with_capacity(sets.len());
    // Of the block before, what its sets from each on hold together.
    let mut ends: Vec<RoaringBitmap> = Vec::new();
    for block in sets.chunks(width) {
        let mut beginning = RoaringBitmap::new();
        for (index, set) in block.iter().enumerate() {
            beginning |= set;
            counts.push(ends.get(index + 1).map_or_else(|| beginning.len(), |end| beginning.union_len(end)));
        }
        let mut end = RoaringBitmap::new();
        ends = block
            .iter()
            .rev()
            .map(|set| {
                end |= set;
                end.clone()
            })
            .collect();
        ends.reverse();
    }
    counts
}

impl Analytics {
    /// The types of events that happened on the UTC days that a window touches, the most frequent on
    /// these days first. Source: the rollup's sums by type.
    pub async fn event_types(&self, window: Window, limit: usize) -> Result<Vec<EntityRef>, DbError> {
        let window = self.narrowed(window);
        if window.from_ms >= window.to_ms {
            return Ok(Vec::new());
        }
        let days = Grain::Day.bucket_of(window.from_ms)..Grain::Day.bucket_of(window.to_ms + DAY_MS - 1);
        let buckets = Buckets { days, quarters: [0..0, 0..0] };
        let ranked = Ranked {
            kind: EntityKind::EventType,
            identity: Identity::Plain,
            counter: Counter::Events,
            buckets: &buckets,
            genre: None,
        };
        let types = rankings::list(self.database.reader(), ranked, limit).await?;
        Ok(types.into_iter().map(|(name, _)| EntityRef::event_type(&name)).collect())
    }

    /// Who was active on calendar days in a row, which may be those of any zone.
    pub async fn active_days(&self, days: Vec<Window>) -> Result<ActiveDays, DbError> {
        let sets = self.people_within(&days, &Who::Active).await?;
        Ok(ActiveDays::new(days, sets))
    }

    /// Whether who does this is active.
    pub(super) fn is_activity(&self, event_type: &EntityRef) -> bool {
        let chosen = &self.active_event_types;
        chosen.is_empty() || chosen.iter().any(|name| **name == *event_type.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rolling_counts_are_those_of_unions(
            sets in prop::collection::vec(prop::collection::vec(0..40_u32, 0..6), 0..40),
            width in 1..12_usize,
        ) {
            let sets: Vec<RoaringBitmap> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
            let expected: Vec<u64> = (0..sets.len())
                .map(|last| {
                    let first = (last + 1).saturating_sub(width);
                    sets[first..=last].iter().fold(RoaringBitmap::new(), |all, set| all | set).len()
                })
                .collect();
            prop_assert_eq!(rolling(&sets, width), expected);
        }
    }
}
