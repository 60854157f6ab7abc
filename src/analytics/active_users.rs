//! Who did anything at all: active users by calendar days, and over the 7 and 28 days that end with each.

use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use super::{
    Analytics,
    days::{Asked, Piece, meet, pieces},
};
use crate::{
    audience::day::set_of,
    db::{
        DbError,
        queries::rankings::{self, Identity, Ranked},
    },
    domain::{
        counting::{Counter, Part, Parts},
        entity::{EntityKind, EntityRef},
        origin::Dimension,
        window::{Buckets, DAY_MS, Grain, Window},
    },
};

/// The longer of the stretches that end with a day.
pub const MONTH_DAYS: usize = 28;
const WEEK_DAYS: usize = 7;

/// Whoever did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Anything that makes a user active.
    Active,
    /// An event of this type.
    Did(String),
    /// A stream of this.
    ListenersOf(EntityRef),
}

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
}

impl ActiveDays {
    /// What ends with each day, in their order; days before the first are taken for empty.
    pub fn rolling(&self) -> Vec<ActiveUsers> {
        let weekly = rolling(&self.sets, WEEK_DAYS);
        let monthly = rolling(&self.sets, MONTH_DAYS);
        let daily: Vec<u64> = self.sets.iter().map(RoaringBitmap::len).collect();
        let of_day = |index: usize| ActiveUsers {
            daily: daily[index],
            weekly: weekly[index],
            monthly: monthly[index],
            daily_sum: daily[(index + 1).saturating_sub(MONTH_DAYS)..=index].iter().sum(),
        };
        (0..daily.len()).map(of_day).collect()
    }

    /// The distinct users of all days that lie within a window.
    pub fn within(&self, window: Window) -> u64 {
        let is_inside = |day: &Window| window.from_ms <= day.from_ms && day.to_ms <= window.to_ms;
        let inside = self.days.iter().zip(&self.sets).filter(|(day, _)| is_inside(day));
        inside.fold(RoaringBitmap::new(), |all, (_, set)| all | set).len()
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
    /// The types of events that happened on the UTC days that a window touches, the most frequent first, with how
    /// often they did on these days. Source: the rollup's sums by type.
    pub async fn event_types(&self, window: Window, limit: usize) -> Result<Vec<(EntityRef, i64)>, DbError> {
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
        Ok(types.into_iter().map(|(name, count)| (EntityRef::event_type(&name), count)).collect())
    }

    /// Who was active on calendar days in a row, which may be those of any zone.
    pub async fn active_days(&self, days: Vec<Window>) -> Result<ActiveDays, DbError> {
        let sets = self.people_within(&days, &Who::Active).await?;
        Ok(ActiveDays { days, sets })
    }

    /// Whoever did something, in each of some windows in a row.
    ///
    /// Source: stored sets of users by type of event, or of listeners by entity, and UTC day; of days that a window
    /// cuts, by quarter-hour.
    pub(super) async fn people_within(&self, windows: &[Window], who: &Who) -> Result<Vec<RoaringBitmap>, DbError> {
        let windows: Vec<Window> = windows.iter().map(|window| self.within_events(*window)).collect();
        let (of, part) = self.people_of(&windows, who).await?;
        let mut asked = Asked::by(Dimension::Country, Parts::of(&[part]));
        let touched: HashSet<(i64, Piece)> = windows.iter().flat_map(|window| pieces(*window)).collect();
        for (day, piece) in &touched {
            let of_piece = if *piece == Piece::Whole { &mut asked.listeners } else { &mut asked.detail };
            of_piece.extend(of.iter().map(|entity| (entity.clone(), *day)));
        }
        let found = self.days(asked).await?;
        let mut sets: HashMap<(i64, Piece), RoaringBitmap> = HashMap::with_capacity(touched.len());
        for (day, piece) in touched {
            let mut all = RoaringBitmap::new();
            for entity in &of {
                let key = (entity.clone(), day);
                if piece == Piece::Whole {
                    found.listeners.get(&key).into_iter().for_each(|set| all |= set);
                } else if let Some(entity_day) = found.detail.get(&key) {
                    let mut met = Vec::new();
                    for cell in entity_day.cells(Dimension::Country) {
                        meet(&mut met, cell, part, &piece);
                    }
                    all |= set_of(met);
                }
            }
            sets.insert((day, piece), all);
        }
        let of_window = |window: &Window| {
            let found = pieces(*window).filter_map(|key| sets.get(&key));
            found.fold(RoaringBitmap::new(), |all, set| all | set)
        };
        Ok(windows.iter().map(of_window).collect())
    }

    /// Whose days hold them, and as what.
    async fn people_of(&self, windows: &[Window], who: &Who) -> Result<(Vec<EntityRef>, Part), DbError> {
        Ok(match who {
            Who::Active => {
                let (from, to) =
                    (windows.iter().map(|one| one.from_ms).min(), windows.iter().map(|one| one.to_ms).max());
                let whole = Window { from_ms: from.unwrap_or(0), to_ms: to.unwrap_or(0) };
                let types = self.event_types(whole, usize::MAX).await?.into_iter().map(|(event_type, _)| event_type);
                (types.filter(|event_type| self.is_activity(event_type)).collect(), Part::Actor)
            }
            Who::Did(event_type) => (vec![EntityRef::event_type(event_type)], Part::Actor),
            Who::ListenersOf(entity) => (vec![self.merges.canonical(entity)], Part::Listener),
        })
    }

    /// Whether who does this is active.
    fn is_activity(&self, event_type: &EntityRef) -> bool {
        let chosen = &self.active_event_types;
        chosen.is_empty() || chosen.iter().any(|name| **name == *event_type.id)
    }

    /// A calendar day as far as there are events; its edges stay where they are.
    fn within_events(&self, day: Window) -> Window {
        let narrowed = self.narrowed(day);
        if narrowed.from_ms >= narrowed.to_ms { narrowed } else { day }
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
