//! Who an entity's audience is: how people came to it, how much they listen, since when.

use std::{collections::HashMap, sync::Arc};

use roaring::RoaringBitmap;

use super::{
    Analytics,
    days::{Asked, DayKey, Days},
    people::Who,
};
use crate::{
    audience::day::{Cell, set_of},
    db::DbError,
    domain::{
        counting::{Part, Parts},
        entity::EntityRef,
        origin::{Dimension, SourceClass},
        window::{DAY_MS, Grain, Window},
    },
};

/// The stretch that says who is active, and over which new and returning listeners are told apart.
pub const ACTIVE_DAYS: i64 = 28;
/// The stretch that says who is in the audience at all.
pub const AUDIENCE_DAYS: i64 = 730;
/// Whoever comes back after so long is reactivated.
pub const REACTIVATED_DAYS: i64 = 90;

/// From how many streams from active sources in 28 days on a listener is a moderate or a super listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudienceThresholds {
    pub moderate_min: u32,
    pub super_min: u32,
}

/// Whose audience, at the end of which day.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AudienceQuestion {
    pub entity: EntityRef,
    /// Only people who listened there.
    pub country: Option<Arc<str>>,
    /// The last UTC day, in epoch milliseconds.
    pub day: i64,
}

/// Numbers of distinct people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audience {
    pub total: u64,
    pub active: u64,
    pub previously_active: u64,
    pub programmed: u64,
    pub super_listeners: u64,
    pub moderate: u64,
    pub light: u64,
    /// Of the last 28 days' listeners.
    pub new: u64,
    pub returning: u64,
    pub reactivated: u64,
}

/// How many of two entities' listeners are the same people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overlap {
    pub shared: u64,
    pub these: u64,
    pub those: u64,
}

impl Analytics {
    /// The audiences of entities. Source: stored sets by day; of the last 28 days also how often each listened.
    pub async fn audiences(
        &self,
        questions: &[AudienceQuestion],
    ) -> Result<HashMap<AudienceQuestion, Audience>, DbError> {
        let Some(first) = self.watermark.oldest_ms().map(|at_ms| Grain::Day.bucket_of(at_ms)) else {
            return Ok(HashMap::new());
        };
        let mut asked = Asked::by(Dimension::Country, Parts::of(&[Part::Listener]));
        for question in questions {
            let recent = question.day + DAY_MS - ACTIVE_DAYS * DAY_MS;
            for day in dates(first, question.day + DAY_MS) {
                let key = (question.entity.clone(), day);
                if day >= recent || question.country.is_some() {
                    asked.cells.insert(key.clone());
                }
                if question.country.is_none() {
                    asked.active.insert(key);
                }
            }
        }
        let days = self.days(asked).await?;
        let answer = |question: &AudienceQuestion| count(question, &days, first, self.audience_thresholds);
        Ok(questions.iter().map(|question| (question.clone(), answer(question))).collect())
    }

    /// How many people listened to both within a window, and to each.
    pub async fn overlap(&self, these: &EntityRef, those: &EntityRef, window: Window) -> Result<Overlap, DbError> {
        let listeners = async |of: &EntityRef| -> Result<RoaringBitmap, DbError> {
            Ok(self.people_within(&[window], &Who::ListenersOf(of.clone())).await?.pop().unwrap_or_default())
        };
        let (these, those) = (listeners(these).await?, listeners(those).await?);
        Ok(Overlap { shared: these.intersection_len(&those), these: these.len(), those: those.len() })
    }
}

/// Listeners of one day, and those of active sources; adds how often these listened, on the last days.
fn of_day(
    question: &AudienceQuestion,
    days: &Days,
    day: i64,
    times: &mut Vec<(u32, u32)>,
) -> (RoaringBitmap, RoaringBitmap) {
    let is_recent = day >= question.day + DAY_MS - ACTIVE_DAYS * DAY_MS;
    let key = (question.entity.clone(), day);
    let cells = days.cells.get(&key).into_iter().flat_map(|entity_day| {
        let is_asked = |cell: &&Cell| question.country.is_none() || entity_day.text(cell) == question.country.as_ref();
        entity_day.cells(Dimension::Country).iter().filter(is_asked)
    });
    let active = cells.clone().filter(|cell| cell.class == SourceClass::Active);
    for cell in active.clone().filter(|_| is_recent) {
        times.extend(cell.people(Part::Listener).iter().map(|who| (who.number, who.times)));
    }
    if question.country.is_none() {
        let set = |sets: &HashMap<DayKey, RoaringBitmap>| sets.get(&key).cloned().unwrap_or_default();
        return (set(&days.listeners), set(&days.active));
    }
    let listeners = cells.flat_map(|cell| cell.people(Part::Listener)).map(|who| who.number).collect();
    let active = active.flat_map(|cell| cell.people(Part::Listener)).map(|who| who.number).collect();
    (set_of(listeners), set_of(active))
}

/// How often each person did something, of who did it how often on one of several days; zeros for nobody.
fn times_by_person(mut times: Vec<(u32, u32)>) -> Vec<u32> {
    let largest = times.iter().map(|(who, _)| *who as usize).max().unwrap_or(0);
    // Numbers that lie close together are their own places.
    if largest < times.len() * 8 {
        let mut sums = vec![0_u32; largest + 1];
        times.iter().for_each(|(who, often)| sums[*who as usize] = sums[*who as usize].saturating_add(*often));
        return sums;
    }
    times.sort_unstable();
    let same_person = times.chunk_by(|(one, _), (next, _)| one == next);
    same_person.map(|days| days.iter().fold(0, |sum: u32, (_, often)| sum.saturating_add(*often))).collect()
}

fn count(question: &AudienceQuestion, days: &Days, first: i64, thresholds: AudienceThresholds) -> Audience {
    let end = question.day + DAY_MS;
    let (recent, audience) = (end - ACTIVE_DAYS * DAY_MS, end - AUDIENCE_DAYS * DAY_MS);
    // Of the last 28 days, of those before in the audience's 730, and of all before these.
    let [mut now, mut earlier, mut long_ago] = std::array::from_fn(|_| RoaringBitmap::new());
    let [mut active, mut active_earlier] = std::array::from_fn(|_| RoaringBitmap::new());
    let mut times: Vec<(u32, u32)> = Vec::new();
    // On which of the last days somebody was here for the first time, and who was here on each of the days before.
    let (mut arrivals, mut lately) = (Vec::new(), Vec::new());
    for day in dates(first, end) {
        let (listeners, day_active) = of_day(question, days, day, &mut times);
        if day >= recent {
            arrivals.push((day, &listeners - &now));
            now |= &listeners;
            active |= &day_active;
        } else {
            if day >= audience {
                earlier |= &listeners;
                active_earlier |= &day_active;
            } else {
                long_ago |= &listeners;
            }
            if day > recent - REACTIVATED_DAYS * DAY_MS {
                lately.push((day, listeners));
            }
        }
    }
    let (total, ever_active, before) = (&now | &earlier, &active | &active_earlier, earlier | long_ago);
    let times = times_by_person(times);
    let at_least = |min: u32| times.iter().filter(|often| **often >= min).count() as u64;
    let (super_listeners, moderate_or_more) = (at_least(thresholds.super_min), at_least(thresholds.moderate_min));
    let new = (&now - &before).len();
    Audience {
        total: total.len(),
        active: active.len(),
        previously_active: (&ever_active - &active).len(),
        programmed: (&total - &ever_active).len(),
        super_listeners,
        moderate: moderate_or_more - super_listeners,
        light: active.len() - moderate_or_more,
        new,
        returning: now.len() - new,
        reactivated: reactivated(&arrivals, &lately, &before),
    }
}

/// How many of those who arrived had been here before, but not in the 90 days up to the day on which they came.
fn reactivated(arrivals: &[(i64, RoaringBitmap)], lately: &[(i64, RoaringBitmap)], before: &RoaringBitmap) -> u64 {
    let mut reactivated = 0;
    let mut since_then = RoaringBitmap::new();
    let mut earlier = lately.iter().rev().peekable();
    // From the last day on, so that the days that count as lately only become more.
    for (day, arrived) in arrivals.iter().rev() {
        while let Some((_, listeners)) = earlier.next_if(|(lately, _)| *lately > day - REACTIVATED_DAYS * DAY_MS) {
            since_then |= listeners;
        }
        reactivated += (&(arrived & before) - &since_then).len();
    }
    reactivated
}

fn dates(first: i64, end: i64) -> impl Iterator<Item = i64> {
    (first..end).step_by(usize::try_from(DAY_MS).expect("a day is a small positive number"))
}
