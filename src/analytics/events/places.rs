//! Where in the log a question can have an answer.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Range,
    sync::Arc,
};

use super::trodden::{Trodden, Way};
use crate::{
    analytics::Analytics,
    db::{
        DbError,
        queries::{event_list::End, rollups},
    },
    domain::{
        entity::EntityKind,
        event_filter::{EventJudge, Named, always_counts},
        window::{DAY_MS, Grain, HOUR_MS, QUARTER_MS},
    },
};

/// Times that hold everything asked for, from one end to the other, each handed out once.
pub enum Places {
    /// Everywhere, at once.
    Everywhere(Option<Range<i64>>),
    /// Where counters tell that there is something.
    Counted(Counted),
    /// Where a user's trail tells that they did something.
    Trodden(Trodden),
}

/// One or some of these times.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    Stretch(Range<i64>),
    /// A user's moments, in order, and at least one.
    Moments(Vec<i64>),
}

/// Days on their way to being looked up: few at first, since the first page is most often the only one, then more.
pub struct Days {
    pub from: End,
    /// What was not taken yet.
    rest: Range<i64>,
    at_once: i64,
}

const DAYS_MIN: i64 = 8;
const DAYS_MAX: i64 = 256;

/// Quarter-hours in which what is asked for was counted.
pub struct Counted {
    sought: Sought,
    days: Days,
    waiting: VecDeque<Range<i64>>,
}

/// What counters are looked for.
struct Sought {
    types: Option<Vec<Arc<str>>>,
    /// As which kinds, and under which ids, what is asked for is counted.
    named: Option<Named>,
}

impl Places {
    pub fn of(analytics: &Analytics, judge: &EventJudge<'_>, stretch: Range<i64>, from: End) -> Self {
        // The end of a stretch can be a key within its last millisecond.
        let stretch = stretch.start..stretch.end.saturating_add(1);
        if let Some(user_id) = &judge.filter.user_id {
            let days = Days::known(analytics, stretch, from);
            return days.map_or(Self::Everywhere(None), |days| Self::Trodden(Trodden::new(user_id.clone(), days)));
        }
        let types = judge.filter.types.as_ref().map(|types| types.iter().cloned().collect());
        // The entity comes first, and is the narrower of the two.
        let sought = Sought { types, named: judge.named().into_iter().next() };
        if sought.types.is_none() && sought.named.is_none() {
            return Self::Everywhere(Some(stretch));
        }
        let days = Days::known(analytics, stretch, from);
        days.map_or(Self::Everywhere(None), |days| Self::Counted(Counted::new(sought, days)))
    }

    /// All places of events of a type, about something if that is asked, oldest first.
    pub async fn list(
        analytics: &Analytics,
        event_type: &str,
        named: Option<Named>,
        stretch: Range<i64>,
    ) -> Result<Vec<Range<i64>>, DbError> {
        let Some(days) = Days::known(analytics, stretch, End::Oldest) else { return Ok(Vec::new()) };
        let mut counted = Counted::new(Sought { types: Some(vec![event_type.into()]), named }, days);
        let mut list = Vec::new();
        while let Some(place) = counted.next(analytics).await? {
            list.push(place);
        }
        Ok(list)
    }

    pub async fn next(&mut self, analytics: &Analytics) -> Result<Option<Place>, DbError> {
        match self {
            Self::Everywhere(place) => Ok(place.take().filter(|place| !place.is_empty()).map(Place::Stretch)),
            Self::Counted(counted) => Ok(counted.next(analytics).await?.map(Place::Stretch)),
            Self::Trodden(trodden) => Ok(trodden.next(analytics).await?.map(Place::Moments)),
        }
    }

    /// The part of one user's trail that was read, where one user was asked for and is known.
    pub fn into_way(self) -> Option<Way> {
        match self {
            Self::Trodden(trodden) => trodden.into_way(),
            Self::Everywhere(_) | Self::Counted(_) => None,
        }
    }
}

impl Days {
    /// Those of a stretch in which anything happened at all.
    fn known(analytics: &Analytics, stretch: Range<i64>, from: End) -> Option<Self> {
        let (oldest_ms, newest_ms) = (analytics.watermark.oldest_ms()?, analytics.watermark.newest_ms()?);
        let rest = stretch.start.max(oldest_ms)..stretch.end.min(newest_ms + 1);
        Some(Self { from, rest, at_once: DAYS_MIN })
    }

    /// Where the next ones begin.
    pub fn edge(&self) -> i64 {
        match self.from {
            End::Newest => self.rest.end,
            End::Oldest => self.rest.start,
        }
    }
}

impl Iterator for Days {
    type Item = Range<i64>;

    fn next(&mut self) -> Option<Range<i64>> {
        if self.rest.is_empty() {
            return None;
        }
        let length_ms = self.at_once * DAY_MS;
        self.at_once = (self.at_once * 2).min(DAYS_MAX);
        Some(match self.from {
            End::Newest => {
                let start = (Grain::Day.bucket_of(self.rest.end - 1) + DAY_MS - length_ms).max(self.rest.start);
                let taken = start..self.rest.end;
                self.rest.end = start;
                taken
            }
            End::Oldest => {
                let end = (Grain::Day.bucket_of(self.rest.start) + length_ms).min(self.rest.end);
                let taken = self.rest.start..end;
                self.rest.start = end;
                taken
            }
        })
    }
}

impl Counted {
    fn new(sought: Sought, days: Days) -> Self {
        Self { sought, days, waiting: VecDeque::new() }
    }

    async fn next(&mut self, analytics: &Analytics) -> Result<Option<Range<i64>>, DbError> {
        while self.waiting.is_empty()
            && let Some(stretch) = self.days.next()
        {
            let quarters = self.sought.quarters(analytics, &stretch).await?;
            self.waiting = joined(&quarters, &stretch);
            if self.days.from == End::Newest {
                self.waiting.make_contiguous().reverse();
            }
        }
        Ok(self.waiting.pop_front())
    }
}

impl Sought {
    /// The quarter-hours of a stretch in which there can be something.
    async fn quarters(&self, analytics: &Analytics, stretch: &Range<i64>) -> Result<BTreeSet<i64>, DbError> {
        let days = buckets(stretch, Grain::Day);
        let lookup = Lookup { analytics, days: &days };
        let Some(named) = &self.named else {
            return lookup.quarters(EntityKind::EventType, self.types.as_deref().unwrap_or_default()).await;
        };
        let types = match &self.types {
            Some(types) => types.clone(),
            None => rollups::list_event_types(analytics.database.reader(), &days).await?,
        };
        let (counting, others): (Vec<_>, Vec<_>) = types.into_iter().partition(|name| always_counts(name, named.kind));
        let mut quarters = lookup.quarters(named.kind, &named.ids).await?;
        if named.kind == EntityKind::Artist {
            quarters.extend(lookup.quarters(EntityKind::FeaturedArtist, &named.ids).await?);
        }
        if self.types.is_some() {
            let of_types = lookup.quarters(EntityKind::EventType, &counting).await?;
            quarters.retain(|quarter| of_types.contains(quarter));
        }
        // What may be about it without counting for it can be wherever there is such a type.
        quarters.extend(lookup.quarters(EntityKind::EventType, &others).await?);
        Ok(quarters)
    }
}

/// A look at the counters of some days.
struct Lookup<'a> {
    analytics: &'a Analytics,
    days: &'a [i64],
}

impl Lookup<'_> {
    /// Days first: most have nothing, and are not looked at by quarter-hours.
    async fn quarters(&self, kind: EntityKind, ids: &[Arc<str>]) -> Result<BTreeSet<i64>, DbError> {
        let reader = self.analytics.database.reader();
        let days = rollups::list_active_buckets(reader, Grain::Day, self.days, kind, ids).await?;
        let days: BTreeSet<i64> = days.into_iter().collect();
        let quarters: Vec<i64> =
            days.into_iter().flat_map(|day| buckets(&(day..day + DAY_MS), Grain::Quarter)).collect();
        let quarters = rollups::list_active_buckets(reader, Grain::Quarter, &quarters, kind, ids).await?;
        // Of a day that is kept by hours, the first quarter of an hour stands for all of it.
        let keeping = self.analytics.watermark.keeping();
        let hour = |quarter: i64| {
            let start = quarter - quarter.rem_euclid(HOUR_MS);
            if keeping.is_by_hours(quarter) { start..start + HOUR_MS } else { quarter..quarter + QUARTER_MS }
        };
        Ok(quarters.into_iter().flat_map(|quarter| buckets(&hour(quarter), Grain::Quarter)).collect())
    }
}

/// The buckets that a stretch holds or cuts.
fn buckets(stretch: &Range<i64>, grain: Grain) -> Vec<i64> {
    let step = usize::try_from(grain.length_ms()).expect("a bucket's length is a small positive number");
    (grain.bucket_of(stretch.start)..stretch.end).step_by(step).collect()
}

/// Quarter-hours as stretches, oldest first: neighbours are one, and nothing lies outside of `within`.
fn joined(quarters: &BTreeSet<i64>, within: &Range<i64>) -> VecDeque<Range<i64>> {
    let mut stretches: VecDeque<Range<i64>> = VecDeque::new();
    for quarter in quarters {
        let stretch = (*quarter).max(within.start)..(quarter + QUARTER_MS).min(within.end);
        match stretches.back_mut() {
            Some(last) if last.end == stretch.start => last.end = stretch.end,
            _ if stretch.is_empty() => {}
            _ => stretches.push_back(stretch),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_quarter_hours_are_one_stretch_within_what_is_asked() {
        let quarters: BTreeSet<i64> = [0, 1, 2, 4, 6, 7].iter().map(|number| number * QUARTER_MS).collect();
        let stretches = joined(&quarters, &(QUARTER_MS + 5..7 * QUARTER_MS));
        let expected = [QUARTER_MS + 5..3 * QUARTER_MS, 4 * QUARTER_MS..5 * QUARTER_MS, 6 * QUARTER_MS..7 * QUARTER_MS];
        assert_eq!(stretches, expected);
    }

    #[test]
    fn days_are_taken_once_from_either_end() {
        let rest = 5..1_000 * DAY_MS + 7;
        for from in [End::Newest, End::Oldest] {
            let mut taken: Vec<_> = Days { from, rest: rest.clone(), at_once: DAYS_MIN }.collect();
            taken.sort_by_key(|stretch| stretch.start);
            assert_eq!((taken[0].start, taken[taken.len() - 1].end), (rest.start, rest.end));
            assert!(taken.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].end % DAY_MS == 0));
        }
    }
}
