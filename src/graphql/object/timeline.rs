//! Counters of one entity bucket by bucket.

use async_graphql::{Context, Object, SimpleObject};

use super::metrics::{Freshness, Metrics, Subject, need_of};
use crate::{
    analytics::value_of,
    domain::{
        measure::{MeasureKey, Metric as DomainMetric, Need},
        window::{self, DAY_MS, HOUR_MS, Window},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        guard::forbidden,
        input::{Granularity, Metric, WindowInput},
        scalars::{DateTime, TimeZone},
    },
};

/// The most buckets of one timeline: a year of hours and some.
pub const BUCKETS_MAX: usize = 10_000;

/// About how many buckets a timeline will have; what it costs follows from it.
pub fn bucket_estimate(during: &WindowInput, every: Granularity) -> usize {
    let length_ms = match during {
        WindowInput::Last(duration) => duration.ms,
        WindowInput::Period(period) => period.length_ms_max(),
        WindowInput::Between(span) => {
            let ends = span.from.readable_ms().zip(span.to.readable_ms());
            ends.map_or(0, |(from_ms, to_ms)| to_ms.saturating_sub(from_ms))
        }
    };
    let bucket_ms = match every {
        Granularity::Hour => HOUR_MS,
        Granularity::Day => DAY_MS,
        Granularity::Week => 7 * DAY_MS,
        Granularity::Month => 28 * DAY_MS,
        Granularity::Year => 365 * DAY_MS,
    };
    usize::try_from(length_ms / bucket_ms + 1).unwrap_or(0).min(BUCKETS_MAX)
}

/// The window that is asked for, cut into buckets.
pub fn cut(
    ctx: &Context<'_>,
    during: WindowInput,
    every: Granularity,
    zone: TimeZone,
) -> Result<(Window, Vec<Window>), ApiError> {
    let window = ctx.analytics().window(during.parse()?, zone.0);
    let granularity: window::Granularity = every.into();
    let buckets = granularity.cut(window, zone.0, BUCKETS_MAX).ok_or_else(|| {
        let message = format!("gives more than {BUCKETS_MAX} buckets; ask for a shorter window or longer buckets");
        ApiError::invalid("every", message)
    })?;
    Ok((window, buckets))
}

/// A window cut into calendar buckets.
pub struct Timeline {
    pub subject: Subject,
    pub every: Granularity,
    pub zone: TimeZone,
    pub window: Window,
    pub buckets: Vec<Window>,
}

/// One bucket.
#[derive(SimpleObject)]
pub struct TimelinePoint {
    /// When the bucket begins.
    pub start: DateTime,
    /// When it ends; not included.
    pub end: DateTime,
    /// Whether the bucket is a whole calendar bucket that has ended: not cut by the window, not still growing.
    pub is_complete: bool,
    /// The bucket's counters.
    pub metrics: Metrics,
}

/// The same timeline as columns, for charts.
#[derive(SimpleObject)]
pub struct TimelineColumns {
    /// When each bucket begins, in order.
    pub starts: Vec<DateTime>,
    /// One column a metric, in the order asked for.
    pub series: Vec<Column>,
}

/// One metric over all buckets.
#[derive(SimpleObject)]
pub struct Column {
    /// Which metric.
    pub metric: Metric,
    /// Its value in each bucket, in the order of `starts`; 0 where nothing happened, null where it is withheld
    /// because fewer than five people of the country stand behind it.
    pub values: Vec<Option<f64>>,
    /// Its value over the whole window: the sum, for listeners the distinct people.
    pub total: f64,
}

impl Timeline {
    /// The buckets' numbers, in their order.
    async fn load(&self, ctx: &Context<'_>, need: Need) -> Result<Vec<Metrics>, ApiError> {
        let keys: Vec<MeasureKey> = self.buckets.iter().map(|bucket| self.subject.key(ctx, *bucket, need)).collect();
        let mut answers = ctx.loader().load_many(keys.iter().cloned()).await?;
        Ok(keys
            .iter()
            .map(|key| self.subject.shown(ctx, key.window, answers.remove(key).unwrap_or_default()))
            .collect())
    }
}

/// A window cut into buckets by the calendar of a time zone, right across clock changes; buckets in
/// which nothing happened are there too. The first and the last are cut to the window, so that counters
/// add up to the window's.
#[Object]
impl Timeline {
    /// The buckets' length.
    async fn every(&self) -> Granularity {
        self.every
    }

    /// The zone whose calendar cuts the buckets.
    async fn time_zone(&self) -> TimeZone {
        self.zone
    }

    /// The buckets as rows, oldest first.
    async fn points(&self, ctx: &Context<'_>) -> Result<Vec<TimelinePoint>, ApiError> {
        let need = ctx
            .field()
            .selection_set()
            .filter(|field| field.name() == "metrics")
            .map(|field| need_of(&field))
            .fold(Need::default(), Need::union);
        let answers = self.load(ctx, need).await?;
        let now_ms = ctx.analytics().now_ms();
        let granularity: window::Granularity = self.every.into();
        Ok(self
            .buckets
            .iter()
            .zip(answers)
            .map(|(bucket, metrics)| TimelinePoint {
                start: DateTime::at(bucket.from_ms),
                end: DateTime::at(bucket.to_ms),
                is_complete: granularity.is_complete(*bucket, now_ms, self.zone.0),
                metrics,
            })
            .collect())
    }

    /// The buckets as columns, one a metric. Metrics that are not public are for the artist and admins.
    #[graphql(complexity = "of.len() + child_complexity")]
    async fn columns(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which metrics, in the order of the columns.")] of: Vec<Metric>,
    ) -> Result<TimelineColumns, ApiError> {
        if of.iter().enumerate().any(|(index, metric)| of[..index].contains(metric)) {
            return Err(ApiError::invalid("of", "names a metric twice"));
        }
        let metrics: Vec<DomainMetric> = of.iter().map(|metric| (*metric).into()).collect();
        if !self.subject.is_own && !metrics.iter().all(|metric| metric.is_public()) {
            return Err(forbidden(ctx.require_viewer()?, "one of these metrics"));
        }
        let need = metrics.iter().map(|metric| metric.need()).fold(Need::default(), Need::union);
        let total = Metrics::load(ctx, self.subject.clone(), self.window, need);
        let (answers, total) = futures_util::try_join!(self.load(ctx, need), total)?;
        let series = of
            .into_iter()
            .zip(metrics)
            .map(|(metric, domain)| Column {
                metric,
                values: answers.iter().map(|bucket| shown_value(domain, bucket)).collect(),
                total: value_of(domain, &total.measures) as f64,
            })
            .collect();
        let starts = self.buckets.iter().map(|bucket| DateTime::at(bucket.from_ms)).collect();
        Ok(TimelineColumns { starts, series })
    }

    /// How far the numbers can be trusted to be complete.
    async fn freshness(&self, ctx: &Context<'_>) -> Freshness {
        Freshness::of(ctx.analytics(), self.window)
    }
}

fn shown_value(metric: DomainMetric, bucket: &Metrics) -> Option<f64> {
    (!bucket.is_withheld).then(|| value_of(metric, &bucket.measures) as f64)
}
