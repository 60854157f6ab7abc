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
    /// Looked up when the first moments are asked for.
    user: Option<KnownUser>,
    days: Days,
    waiting: VecDeque<i64>,
    at_once: usize,
}

impl Trodden {
    pub fn new(user_id: Arc<str>, days: Days) -> Self {
        Self { user_id, user: None, days, waiting: VecDeque::new(), at_once: MOMENTS_MIN }
    }

    pub async fn next(&mut self, analytics: &Analytics) -> Result<Option<Vec<i64>>, DbError> {
        if self.user.is_none() {
            self.user = analytics.find_user(&self.user_id).await?;
        }
        let Some(user) = &self.user else { return Ok(None) };
        while self.waiting.len() < self.at_once
            && let Some(stretch) = self.days.next()
        {
            self.waiting.extend(moments(analytics, user, stretch, self.days.from).await?);
        }
        let taken: Vec<i64> = self.waiting.drain(..self.at_once.min(self.waiting.len())).collect();
        self.at_once = (self.at_once * 2).min(MOMENTS_MAX);
        Ok(Some(taken).filter(|taken| !taken.is_empty()))
    }
}

async fn moments(analytics: &Analytics, user: &KnownUser, stretch: Range<i64>, from: End) -> Result<Vec<i64>, DbError> {
    let mut moments = analytics.moments_of(user, stretch).await?;
    if from == End::Newest {
        moments.reverse();
    }
    Ok(moments)
}
