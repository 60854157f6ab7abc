//! When a user did something: their trail, read from one end.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use super::places::Days;
use crate::{
    analytics::{Analytics, KnownUser},
    db::{DbError, queries::event_list::End},
};

/// Moments that are handed out together: few at first, since the first page is most often the only one.
const MOMENTS_MIN: usize = 32;
const MOMENTS_MAX: usize = 1_024;

/// A user's moments, some at a time.
pub struct Trodden {
    user_id: Arc<str>,
    /// Known once the first moments were asked for.
    way: Option<Way>,
    days: Days,
    waiting: VecDeque<i64>,
    at_once: usize,
}

/// A stretch of a user's trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub user: KnownUser,
    pub during: Range<i64>,
    /// When the user did something in it, in order; not what stands for several.
    pub steps: Vec<i64>,
}

impl Trodden {
    pub fn new(user_id: Arc<str>, days: Days) -> Self {
        Self { user_id, way: None, days, waiting: VecDeque::new(), at_once: MOMENTS_MIN }
    }

    pub async fn next(&mut self, analytics: &Analytics) -> Result<Option<Vec<i64>>, DbError> {
        if self.way.is_none() {
            let Some(user) = analytics.find_user(&self.user_id).await? else { return Ok(None) };
            let edge = self.days.edge();
            self.way = Some(Way { user, during: edge..edge, steps: Vec::new() });
        }
        let Some(way) = &mut self.way else { return Ok(None) };
        while self.waiting.len() < self.at_once
            && let Some(stretch) = self.days.next()
        {
            let mut moments = way.go_on(analytics, stretch).await?;
            if self.days.from == End::Newest {
                moments.reverse();
            }
            self.waiting.extend(moments);
        }
        let taken: Vec<i64> = self.waiting.drain(..self.at_once.min(self.waiting.len())).collect();
        self.at_once = (self.at_once * 2).min(MOMENTS_MAX);
        Ok(Some(taken).filter(|taken| !taken.is_empty()))
    }

    /// What was read so far.
    pub fn into_way(self) -> Option<Way> {
        self.way
    }
}

impl Way {
    /// Reads on in either direction; returns all moments there, each once, and in order.
    pub async fn go_on(&mut self, analytics: &Analytics, stretch: Range<i64>) -> Result<Vec<i64>, DbError> {
        let (mut moments, mut steps) = (Vec::new(), Vec::new());
        let is_before = stretch.end <= self.during.start;
        self.during = self.during.start.min(stretch.start)..self.during.end.max(stretch.end);
        analytics
            .trail_of(&self.user, stretch, |step| {
                moments.push(step.at_ms);
                if !step.is_several {
                    steps.push(step.at_ms);
                }
            })
            .await?;
        moments.dedup();
        if is_before {
            steps.append(&mut self.steps);
            self.steps = steps;
        } else {
            self.steps.append(&mut steps);
        }
        Ok(moments)
    }
}
