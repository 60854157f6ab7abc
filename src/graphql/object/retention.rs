//! Who comes back.

use async_graphql::{Context, Enum, InputObject, SimpleObject};

use super::{
    metrics::{Freshness, UniqueCount},
    people::is_admin,
    timeline::BUCKETS_MAX,
};
use crate::{
    analytics::{self, Cohort, RetentionQuestion, Who},
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::{Granularity, WindowInput},
        scalars::{CountryCode, DateTime, Long, TimeZone},
    },
};

/// The most periods after a cohort's own.
const PERIODS_MAX: i32 = 100;

/// When somebody has come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum RetentionMode {
    /// In that very period.
    OnPeriod,
    /// In that period or any later one, up to now.
    Rolling,
}

/// How people began: what their first stream ever says, of the entity where it is an entity's listeners. All that is
/// given has to hold; who never streamed is out. Where a listener's streams of the first day differ and their events
/// are no longer kept, they are out too.
#[derive(Debug, Clone, InputObject)]
pub struct FirstStream {
    /// From this country.
    pub country: Option<CountryCode>,
    /// From this source, such as `search`.
    pub source: Option<String>,
    /// Of this genre.
    pub genre: Option<String>,
}

impl FirstStream {
    fn parse(self) -> Result<analytics::FirstStream, ApiError> {
        let Self { country, source, genre } = self;
        let country = country.map(|country| country.parse("firstStream.country")).transpose()?;
        Ok(analytics::FirstStream { country: country.map(|code| code.to_string()), source, genre })
    }
}

/// Who comes back: a row for each cohort of people who began in the same period.
#[derive(SimpleObject)]
pub struct RetentionTable {
    /// How long a period is.
    pub cohort_by: Granularity,
    /// When somebody has come back.
    pub mode: RetentionMode,
    /// The cohorts, oldest first; those of periods in which nobody began are there too.
    pub cohorts: Vec<RetentionCohort>,
    /// How far the numbers can be trusted to be complete.
    pub freshness: Freshness,
}

/// Distinct people who did something for the first time in the same period.
#[derive(SimpleObject)]
pub struct RetentionCohort {
    /// When the period begins.
    pub start: DateTime,
    /// When it ends; not included.
    pub end: DateTime,
    /// Distinct people who began in it.
    pub size: UniqueCount,
    /// Who came back, period by period; the first cell is the cohort's own period.
    pub cells: Vec<RetentionCell>,
}

/// How many of a cohort came back in one period.
#[derive(SimpleObject)]
pub struct RetentionCell {
    /// How many periods after the cohort's own; 0 is that itself.
    pub period: i32,
    /// Distinct people of the cohort who came back; null until the period has ended.
    pub users: Option<Long>,
    /// These divided by the size of the cohort, 0 to 1; null until the period has ended, and where nobody began.
    pub rate: Option<f64>,
}

/// What a client asks about.
pub struct AskedRetention {
    pub start: Who,
    pub back: Who,
    pub cohort_by: Granularity,
    pub during: WindowInput,
    pub mode: RetentionMode,
    pub periods: i32,
    pub zone: TimeZone,
    pub first_stream: Option<FirstStream>,
}

impl AskedRetention {
    pub async fn answer(self, ctx: &Context<'_>) -> Result<RetentionTable, ApiError> {
        let Self { start, back, cohort_by, during, mode, periods, zone, first_stream } = self;
        let every = cohort_by.of_days("cohortBy")?;
        if !(1..=PERIODS_MAX).contains(&periods) {
            return Err(ApiError::invalid("periods", format!("must be 1 to {PERIODS_MAX}")));
        }
        let zone = zone.0;
        let during = every.widened(ctx.analytics().window(during.parse()?, zone), zone);
        let (is_rolling, periods) = (mode == RetentionMode::Rolling, periods.unsigned_abs() as usize);
        let first_stream = first_stream.map(FirstStream::parse).transpose()?;
        // An artist would otherwise learn where a single listener is.
        let people_min = if is_admin(ctx) { 0 } else { ctx.analytics().shown_people_min() };
        let question =
            RetentionQuestion { start, back, every, zone, during, periods, is_rolling, first_stream, people_min };
        let cohorts = ctx.analytics().retention(&question, BUCKETS_MAX).await?.ok_or_else(|| {
            ApiError::invalid("cohortBy", format!("gives more than {BUCKETS_MAX} periods; ask for longer ones"))
        })?;
        let now_ms = ctx.analytics().now_ms();
        Ok(RetentionTable {
            cohort_by,
            mode,
            cohorts: cohorts.into_iter().map(|cohort| RetentionCohort::of(cohort, now_ms)).collect(),
            freshness: Freshness::of(ctx.analytics(), during),
        })
    }
}

impl RetentionCohort {
    fn of(cohort: Cohort, now_ms: i64) -> Self {
        let Cohort { window, size, back } = cohort;
        let rate = |users: u64| (size > 0).then(|| users as f64 / size as f64);
        let cell = |(period, users): (i32, Option<u64>)| RetentionCell {
            period,
            users: users.map(Long::of),
            rate: users.and_then(rate),
        };
        Self {
            start: DateTime::at(window.from_ms),
            end: DateTime::at(window.to_ms),
            size: UniqueCount::exact(size, window.to_ms > now_ms),
            cells: (0..).zip(back).map(cell).collect(),
        }
    }
}
