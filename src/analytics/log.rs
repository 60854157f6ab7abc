//! The log read page by page, for one answer and within its budget.

use std::time::{Duration, Instant};

use super::{Analytics, ExploreBudget};
use crate::{
    db::{
        DbError, Snapshot,
        queries::{
            explore::{self, LogColumns, LogFilter, LogPage},
            listeners::{self, People},
        },
    },
    domain::{
        event::{Event, EventKey},
        window::Window,
    },
};

/// Events that one statement looks at.
const PAGE: usize = 20_000;

/// One snapshot of the log on its way into an answer.
pub struct LogReading {
    snapshot: Snapshot,
    budget: ExploreBudget,
    started: Instant,
    /// How many events were handed out.
    pub rows_read: usize,
}

/// Why the log is not read to the end.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("would read more than {limit} events; {read} were read")]
    TooManyRows { read: usize, limit: usize },
    #[error("took longer than {limit:?}")]
    TooSlow { limit: Duration },
    #[error("the log cannot be read")]
    Store(#[from] DbError),
}

impl LogReading {
    /// `started` is when work on the answer began: all of it is within the budget of time.
    pub async fn begin(analytics: &Analytics, started: Instant) -> Result<Self, DbError> {
        let snapshot = analytics.database.begin_snapshot().await?;
        Ok(Self { snapshot, budget: analytics.explore_budget, started, rows_read: 0 })
    }

    /// Shows the events of a stretch that any of the filters lets through, oldest first.
    pub async fn read<E: From<LogError>>(
        &mut self,
        filters: &[LogFilter],
        columns: LogColumns,
        stretch: Window,
        mut see: impl FnMut(&Event) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after = None;
        loop {
            let page = self.page(filters, columns, stretch, after).await?;
            page.events.iter().try_for_each(&mut see)?;
            if page.is_last {
                return Ok(());
            }
            after = page.last;
        }
    }

    async fn page(
        &mut self,
        filters: &[LogFilter],
        columns: LogColumns,
        stretch: Window,
        after: Option<EventKey>,
    ) -> Result<LogPage, LogError> {
        self.limit_time().await?;
        let page = explore::list_page(&self.snapshot, filters, columns, stretch, after, PAGE).await;
        let page = page.map_err(|error| self.judged(error))?;
        self.rows_read += page.events.len();
        let limit = self.budget.rows_max;
        if self.rows_read > limit { Err(LogError::TooManyRows { read: self.rows_read, limit }) } else { Ok(page) }
    }

    /// The numbers that trails have for users, as they are where the events are read.
    pub async fn numbers_of(&self, users: &[&str]) -> Result<Vec<(String, u32)>, LogError> {
        self.limit_time().await?;
        let numbers = listeners::list_numbers(&self.snapshot, People::Identified, users).await;
        numbers.map_err(|error| self.judged(error))
    }

    /// Gives the next statement the time that is left.
    async fn limit_time(&self) -> Result<(), LogError> {
        let limit = self.budget.time_max;
        let left = limit.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero());
        Ok(explore::limit_time(&self.snapshot, left.ok_or(LogError::TooSlow { limit })?).await?)
    }

    /// A statement that ran into its limit failed for nothing else.
    fn judged(&self, error: DbError) -> LogError {
        let limit = self.budget.time_max;
        if self.started.elapsed() >= limit { LogError::TooSlow { limit } } else { error.into() }
    }
}
