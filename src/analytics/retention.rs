//! Who comes back: cohorts of people by when they first did something, and in which later periods they did it again.

use chrono_tz::Tz;
use roaring::RoaringBitmap;

use super::{Analytics, FirstStream, Who};
use crate::{
    db::DbError,
    domain::window::{Granularity, Window},
};

#[derive(Debug, Clone)]
pub struct RetentionQuestion {
    /// What begins: a person's cohort is the period in which they first did it.
    pub start: Who,
    /// What counts as coming back.
    pub back: Who,
    /// How long a period is, in the calendar of a zone.
    pub every: Granularity,
    pub zone: Tz,
    /// The cohorts of the periods that begin in it.
    pub during: Window,
    /// The last of the periods after a cohort's own that are told.
    pub periods: usize,
    /// Whether who comes back in a period or later counts; otherwise who does in that very period.
    pub is_rolling: bool,
    /// Only people who began so: whose first stream was like that, of the entity where it is an entity's listeners.
    pub first_stream: Option<FirstStream>,
    /// How many such people there must be; where there are fewer, there is nobody.
    pub people_min: u64,
}

/// People who began in one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    pub window: Window,
    pub size: u64,
    /// Those who came back, by the number of periods since; `None` while that period has not ended.
    pub back: Vec<Option<u64>>,
}

impl Analytics {
    /// The cohorts of a window, oldest first; `None` where there are more than `limit` periods since the first event.
    ///
    /// Source: stored sets by day, of all days there are: who began earlier is in no later cohort.
    pub async fn retention(&self, question: &RetentionQuestion, limit: usize) -> Result<Option<Vec<Cohort>>, DbError> {
        let RetentionQuestion { every, zone, during, .. } = *question;
        let now_ms = self.now_ms();
        let Some(oldest_ms) = self.watermark.oldest_ms() else { return Ok(Some(Vec::new())) };
        let all = every.widened(Window { from_ms: oldest_ms.min(during.from_ms), to_ms: now_ms + 1 }, zone);
        let Some(periods) = every.cut(all, zone, limit) else { return Ok(None) };
        let start = self.people_within(&periods, &question.start).await?;
        let back = match question.start == question.back {
            true => start.clone(),
            false => self.people_within(&periods, &question.back).await?,
        };
        let back = if question.is_rolling { from_each_on(back) } else { back };
        let mut cohorts = Vec::new();
        let mut seen = RoaringBitmap::new();
        for (index, (window, people)) in periods.iter().zip(&start).enumerate() {
            let began = people - &seen;
            seen |= people;
            if (during.from_ms..during.to_ms).contains(&window.from_ms) {
                cohorts.push((index, began));
            }
        }
        if let Some(first_stream) = &question.first_stream {
            let all = cohorts.iter().fold(RoaringBitmap::new(), |all, (_, began)| all | began);
            let mut among = match &question.start {
                Who::ListenersOf(entity) => {
                    self.began_to_hear_with(first_stream, &self.merges.canonical(entity), &all).await?
                }
                Who::Active | Who::Did(_) => self.began_with(first_stream, &all).await?,
            };
            if among.len() < question.people_min {
                among.clear();
            }
            cohorts.iter_mut().for_each(|(_, began)| *began &= &among);
        }
        let cohort = |(index, began): (usize, RoaringBitmap)| {
            let of_period = |later: usize| {
                let period = periods.get(index + later).filter(|period| period.to_ms <= now_ms)?;
                Some(period).map(|_| began.intersection_len(&back[index + later]))
            };
            let back = (0..=question.periods).map(of_period).collect();
            Cohort { window: periods[index], size: began.len(), back }
        };
        Ok(Some(cohorts.into_iter().map(cohort).collect()))
    }
}

/// Whoever is in a set or in a later one.
fn from_each_on(mut sets: Vec<RoaringBitmap>) -> Vec<RoaringBitmap> {
    for index in (1..sets.len()).rev() {
        let (before, from_here) = sets.split_at_mut(index);
        before[index - 1] |= &from_here[0];
    }
    sets
}
