//! Single events, newest first: a page of those asked for, and how many there are. The one thing here that is read
//! from the log itself.
//!
//! The log has no index but its key, on purpose, so it is read where the question can have an answer ([`Places`]), a
//! step at a time, and never more than a fixed number of rows for one answer.

mod places;
mod seen;
mod trodden;

use std::{ops::Range, sync::Arc};

pub use seen::{SeenEvent, Viewing};
pub use trodden::Way;

use self::places::Place;
pub(super) use self::places::Places;
use super::Analytics;
use crate::{
    db::{
        DbError,
        queries::{
            event_list::{self, End},
            secrets,
        },
    },
    domain::{
        event::EventKey,
        event_filter::{EventFilter, EventJudge, EventScope},
        pseudonym::Pseudonyms,
    },
};

/// What an operator may choose.
#[derive(Debug, Clone, Copy)]
pub struct EventSettings {
    /// How many rows of the log are looked at for one answer.
    pub looked_at_max: usize,
    /// Up to which number events are counted.
    pub counted_max: usize,
}

/// Which events, and who asks.
#[derive(Debug, Clone, PartialEq)]
pub struct EventQuestion {
    pub filter: EventFilter,
    pub scope: EventScope,
}

/// Part of a list: from an end of it, or from a place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPart {
    pub from: End,
    /// The place; what lies on it is left out.
    pub beyond: Option<EventKey>,
    pub size: usize,
}

/// What was found, in the order of the end that it was read from.
#[derive(Debug, Default)]
pub struct FoundEvents {
    pub events: Vec<(EventKey, SeenEvent)>,
    /// Whether there are more, or may be.
    pub has_more: bool,
    /// How far the log was looked at, where that was not for as many as were asked for.
    pub stopped_at: Option<EventKey>,
    /// Of one user's events: the part of the trail that led to them.
    pub way: Option<Way>,
}

/// How many events there are; more, where it is not exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCount {
    pub value: usize,
    pub is_exact: bool,
}

/// Rows of the first step into a place: most pages are full by then. Each further one is twice as large.
const STEP_MIN: usize = 256;
const STEP_MAX: usize = 8_192;
/// A place costs two statements, however few rows it has: as much as so many rows.
const PLACE_COST: usize = 50;

impl Analytics {
    /// A part of the list. Source: the log. What is read is bounded: where it takes more, fewer than asked for are
    /// found, and reading goes on at `stopped_at`.
    pub async fn events(&self, question: &EventQuestion, part: EventPart) -> Result<FoundEvents, Arc<DbError>> {
        let EventPart { from, beyond, size } = part;
        let viewing = self.viewing(question).await?;
        let mut found = FoundEvents::default();
        let mut reading = self.reading(question, from, beyond);
        while let Some(step) = reading.next(self).await? {
            let seen = viewing.see(self, &reading.judge, step.events).await?;
            found.events.extend(seen);
            let is_full = found.events.len() > size;
            if is_full || reading.looked_at >= self.event_settings.looked_at_max {
                found.events.truncate(size);
                found.has_more = true;
                found.stopped_at = Some(step.end).filter(|_| !is_full);
                break;
            }
        }
        found.way = reading.places.into_way();
        Ok(found)
    }

    /// How many there are, as far as it is counted.
    pub async fn count_events(&self, question: &EventQuestion) -> Result<EventCount, Arc<DbError>> {
        let settings = self.event_settings;
        let viewing = self.viewing(question).await?;
        let mut reading = self.reading(question, End::Newest, None);
        let mut value = 0;
        while let Some(step) = reading.next(self).await? {
            value += viewing.see(self, &reading.judge, step.events).await?.len();
            if value > settings.counted_max || reading.looked_at >= settings.looked_at_max {
                return Ok(EventCount { value: value.min(settings.counted_max), is_exact: false });
            }
        }
        Ok(EventCount { value, is_exact: true })
    }

    /// What decides about single events at this moment.
    pub fn event_judge<'a>(&self, question: &'a EventQuestion) -> EventJudge<'a> {
        let now_ms = self.now_ms();
        let stretch = question.filter.stretch(now_ms, self.watermark.oldest_ms().unwrap_or(now_ms));
        EventJudge::new(&question.filter, &question.scope, stretch, &self.merges)
    }

    /// The names that stand for people, by the secret of this database.
    pub async fn pseudonyms(&self) -> Result<&Pseudonyms, DbError> {
        let find = async || secrets::find_or_keep(&self.database, "pseudonyms", rand::random()).await;
        self.pseudonyms.get_or_try_init(async || Ok(Pseudonyms::new(find().await?))).await
    }

    fn reading<'a>(&self, question: &'a EventQuestion, from: End, beyond: Option<EventKey>) -> Reading<'a> {
        let judge = self.event_judge(question);
        let mut stretch = EventKey::first_at(judge.stretch.start)..EventKey::first_at(judge.stretch.end);
        match (from, beyond) {
            (End::Newest, Some(key)) => stretch.end = stretch.end.min(key),
            (End::Oldest, Some(key)) => stretch.start = stretch.start.max(key.successor()),
            (_, None) => {}
        }
        let places = Places::of(self, &judge, stretch.start.occurred_at_ms..stretch.end.occurred_at_ms, from);
        Reading { judge, from, stretch, places, rest: None, step_rows: STEP_MIN, looked_at: 0 }
    }
}

/// The log on its way into an answer.
struct Reading<'a> {
    judge: EventJudge<'a>,
    from: End,
    /// Between which keys the answer lies.
    stretch: Range<EventKey>,
    places: Places,
    /// What of the present place was not looked at yet.
    rest: Option<Range<EventKey>>,
    step_rows: usize,
    looked_at: usize,
}

struct Step {
    events: Vec<crate::domain::event::Event>,
    /// The last key that was looked at.
    end: EventKey,
}

impl Reading<'_> {
    /// The next step with anything in it; `None` at the end.
    async fn next(&mut self, analytics: &Analytics) -> Result<Option<Step>, DbError> {
        let reader = analytics.database.reader();
        loop {
            let rest = match self.rest.take() {
                Some(rest) => rest,
                None => {
                    let Some(place) = self.places.next(analytics).await? else { return Ok(None) };
                    self.looked_at += PLACE_COST;
                    match place {
                        Place::Moments(moments) => return Ok(Some(self.at(analytics, &moments).await?)),
                        Place::Stretch(place) => {
                            let start = self.stretch.start.max(EventKey::first_at(place.start));
                            start..self.stretch.end.min(EventKey::first_at(place.end))
                        }
                    }
                }
            };
            let found = event_list::find_step(reader, &rest, self.from, self.step_rows).await?;
            let Some((end, rows)) = found else { continue };
            let (looked, rest) = match self.from {
                End::Newest => (end..rest.end, rest.start..end),
                End::Oldest => (rest.start..end.successor(), end.successor()..rest.end),
            };
            let is_last = rows < self.step_rows;
            let events = event_list::list_stretch(reader, &looked, self.from, &self.judge).await?;
            self.looked_at += rows;
            self.rest = Some(rest).filter(|_| !is_last);
            self.step_rows = (self.step_rows * 2).min(STEP_MAX);
            let events = events.into_iter().filter(|event| self.judge.admits(event)).collect();
            return Ok(Some(Step { events, end }));
        }
    }

    /// What is asked for of some moments, whatever else happened then.
    async fn at(&mut self, analytics: &Analytics, moments: &[i64]) -> Result<Step, DbError> {
        let mut events = event_list::list_at(analytics.database.reader(), moments, self.from, &self.judge).await?;
        events.retain(|event| self.stretch.contains(&event.key) && self.judge.admits(event));
        self.looked_at += moments.len();
        let last = moments[moments.len() - 1];
        let end = match self.from {
            End::Newest => EventKey::first_at(last),
            End::Oldest => EventKey::last_at(last),
        };
        Ok(Step { events, end })
    }
}
