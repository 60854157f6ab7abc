//! The platform as a whole: its numbers, who is active on it, and what they do.

use async_graphql::{Context, Object, SimpleObject};

use super::{
    conversion::{Conversion, ConversionEvents},
    funnel::{AskedFunnel, EventMatch, Funnel, FunnelDimension, FunnelOrder, within},
    metrics::{Freshness, Metrics, Subject, UniqueCount, need_of, ratio},
    people::{self, Share},
    realtime::Realtime,
    retention::{AskedRetention, FirstStream, RetentionMode, RetentionTable},
    sessions::SessionStats,
    timeline::{BUCKETS_MAX, Timeline, bucket_estimate, cut},
};
use crate::{
    analytics::{ActiveUsers as Active, MONTH_DAYS, Who},
    domain::{
        counting::{Counter, Part, Parts},
        entity::EntityRef,
        measure::{MeasureKey, Measures, Need},
        window::{self, DAY_MS, HOUR_MS, Window},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::{Dimension, Granularity, Metric, WindowInput, page_size},
        scalars::{Date, DateTime, Duration, Long, TimeZone},
    },
};

const REGISTERED: &str = "user.registered";
const LOGGED_IN: &str = "user.logged_in";
/// The longest list of types of events.
const TYPES_MAX: usize = 200;

pub struct Platform;

/// Distinct users who were active, ending with one day. Active is who did anything under a user id, or any of the types of
/// events that the operator has chosen; anonymous people are not counted.
#[derive(SimpleObject)]
pub struct ActiveUsers {
    /// The day, in UTC.
    pub on: Date,
    /// Active on that day.
    pub daily: UniqueCount,
    /// Active in the 7 days that end with it.
    pub weekly: UniqueCount,
    /// Active in the 28 days that end with it.
    pub monthly: UniqueCount,
    /// How much of their month users are here: the mean of the daily numbers of the 28 days, divided by `monthly`, 0 to 1;
    /// null where nobody was.
    pub stickiness: Option<f64>,
    /// How far the numbers can be trusted to be complete.
    pub freshness: Freshness,
}

fn stickiness(users: &Active) -> Option<f64> {
    (users.monthly > 0).then(|| users.daily_sum as f64 / MONTH_DAYS as f64 / users.monthly as f64)
}

/// Active users of one bucket.
#[derive(SimpleObject)]
pub struct ActiveUsersPoint {
    /// When the bucket begins.
    pub start: DateTime,
    /// When it ends; not included.
    pub end: DateTime,
    /// Whether the bucket has ended.
    pub is_complete: bool,
    /// Distinct users who were active in it.
    pub users: UniqueCount,
    /// Active in the 7 days that end with its last day.
    pub weekly: UniqueCount,
    /// Active in the 28 days that end with its last day.
    pub monthly: UniqueCount,
    /// The mean of the daily numbers of these 28 days, divided by `monthly`, 0 to 1; null where nobody was active.
    pub stickiness: Option<f64>,
}

/// How often something was done in one bucket, and by how many.
#[derive(SimpleObject)]
pub struct CountPoint {
    /// When the bucket begins.
    pub start: DateTime,
    /// When it ends; not included.
    pub end: DateTime,
    /// Whether the bucket is a whole calendar bucket that has ended: not cut by the window, not still growing.
    pub is_complete: bool,
    /// How many events; one with `count` stands for so many.
    pub events: Long,
    /// Distinct users who did it.
    pub users: UniqueCount,
}

/// How often users log in.
#[derive(SimpleObject)]
pub struct LoginStats {
    /// Events of the type `user.logged_in` in the window.
    pub logins: Long,
    /// Distinct users who logged in.
    pub users: UniqueCount,
    /// Logins divided by users who logged in; null without any.
    pub frequency: Option<f64>,
    /// The same bucket by bucket, oldest first.
    pub points: Vec<CountPoint>,
}

/// How much one type of event happened.
#[derive(SimpleObject)]
pub struct FeatureUse {
    /// The type of event.
    #[graphql(name = "type")]
    pub event_type: String,
    /// How many events; one with `count` stands for so many.
    pub events: Long,
    /// Distinct users who did it.
    pub users: UniqueCount,
    /// Its part of all events of the window, 0 to 1.
    pub share: f64,
}

/// The whole platform. For admins.
#[Object]
impl Platform {
    /// What happens right now, on all of the platform: each play once, whomever it is credited to.
    async fn realtime(&self, ctx: &Context<'_>) -> Realtime {
        Realtime::now(ctx, None, true)
    }

    /// What was counted on all of the platform: everything once, however many artists it is credited to.
    async fn metrics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The zone that calendar periods are meant in.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<Metrics, ApiError> {
        let window = ctx.analytics().window(during.parse()?, time_zone.0);
        Metrics::load(ctx, everything(), window, need_of(&ctx.field())).await
    }

    /// The same bucket by bucket.
    #[graphql(complexity = "10 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
    async fn timeline(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The buckets' length.", default_with = "Granularity::Day")] every: Granularity,
        #[graphql(desc = "The zone whose calendar cuts the buckets.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<Timeline, ApiError> {
        let (window, buckets) = cut(ctx, during, every, time_zone)?;
        Ok(Timeline { subject: everything(), every, zone: time_zone, window, buckets })
    }

    /// A metric of all of the platform by country, source or device, highest first.
    #[graphql(complexity = "30 + child_complexity")]
    async fn breakdown(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "By what.")] by: Dimension,
        #[graphql(desc = "Which metric.", default_with = "Metric::Streams")] of: Metric,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "How many parts, 1 to 300.", default = 10)] first: i32,
    ) -> Result<Vec<Share>, ApiError> {
        let first = page_size(first, people::ORIGINS_MAX)?;
        let window = ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC);
        people::breakdown(ctx, &EntityRef::platform(), by.into(), of.into(), window, first).await
    }

    /// Distinct active users of a day, of the 7 and of the 28 days that end with it.
    #[graphql(complexity = "30 + child_complexity")]
    pub async fn active_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The last of the days, in UTC; today, whose numbers are provisional, if left out.")]
        on: Option<Date>,
    ) -> Result<ActiveUsers, ApiError> {
        let day = people::day_of(ctx, on)?;
        let window = people::days_to(day, MONTH_DAYS as i64);
        let days = calendar_days(window, chrono_tz::Tz::UTC)?;
        let active = ctx.analytics().active_days(days).await?;
        let users = active.ending_at(window.to_ms);
        let count = |count: u64| UniqueCount::exact(count, window.to_ms > ctx.analytics().now_ms());
        Ok(ActiveUsers {
            on: Date::at(day),
            daily: count(users.daily),
            weekly: count(users.weekly),
            monthly: count(users.monthly),
            stickiness: stickiness(&users),
            freshness: Freshness::of(ctx.analytics(), window),
        })
    }

    /// Active users bucket by bucket, oldest first. The window is widened to whole days of the zone; the shortest bucket is
    /// a day.
    #[graphql(complexity = "30 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
    async fn active_users_timeline(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The buckets' length, a day or more.", default_with = "Granularity::Day")] every: Granularity,
        #[graphql(desc = "The zone whose calendar cuts the days.", default_with = "TimeZone::UTC")] time_zone: TimeZone,
    ) -> Result<Vec<ActiveUsersPoint>, ApiError> {
        let granularity = every.of_days("every")?;
        let zone = time_zone.0;
        let asked = window::Granularity::Day.widened(ctx.analytics().window(during.parse()?, zone), zone);
        // The first buckets' 28 days begin before the window. An hour more than 27 days: clocks may have changed.
        let earlier = Window { from_ms: asked.from_ms - (MONTH_DAYS as i64 - 1) * DAY_MS - HOUR_MS, ..asked };
        let days = calendar_days(window::Granularity::Day.widened(earlier, zone), zone)?;
        let active = ctx.analytics().active_days(days).await?;
        let buckets = granularity.cut(asked, zone, BUCKETS_MAX).ok_or_else(too_many_buckets)?;
        let now_ms = ctx.analytics().now_ms();
        let point = |bucket: Window| {
            let users = active.ending_at(bucket.to_ms);
            let count = |count: u64| UniqueCount::exact(count, bucket.to_ms > now_ms);
            ActiveUsersPoint {
                start: DateTime::at(bucket.from_ms),
                end: DateTime::at(bucket.to_ms),
                is_complete: bucket.to_ms <= now_ms,
                users: count(active.within(bucket)),
                weekly: count(users.weekly),
                monthly: count(users.monthly),
                stickiness: stickiness(&users),
            }
        };
        Ok(buckets.into_iter().map(point).collect())
    }

    /// Who registered, bucket by bucket, oldest first: events of the type `user.registered`.
    #[graphql(complexity = "10 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
    async fn registrations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The buckets' length.", default_with = "Granularity::Day")] every: Granularity,
        #[graphql(desc = "The zone whose calendar cuts the buckets.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<Vec<CountPoint>, ApiError> {
        let (_, buckets) = cut(ctx, during, every, time_zone)?;
        points(ctx, REGISTERED, &buckets, every, time_zone).await
    }

    /// Who logged in, and how often: events of the type `user.logged_in`.
    #[graphql(complexity = "10 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
    async fn logins(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The buckets' length.", default_with = "Granularity::Day")] every: Granularity,
        #[graphql(desc = "The zone whose calendar cuts the buckets.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<LoginStats, ApiError> {
        let (window, buckets) = cut(ctx, during, every, time_zone)?;
        let key = usage_key(EntityRef::event_type(LOGGED_IN), window);
        let (points, whole) =
            futures_util::try_join!(points(ctx, LOGGED_IN, &buckets, every, time_zone), ctx.loader().load_one(key))?;
        let whole = whole.unwrap_or_default();
        let (logins, users) = (whole.counters[Counter::Events], whole.people.of(Part::Actor));
        Ok(LoginStats {
            logins: Long::of(logins),
            users: users_of(ctx, &whole, window),
            frequency: ratio(logins, users),
            points,
        })
    }

    /// Which users come back: cohorts by the period in which they were first active, or first did what `startEvent`
    /// names; who did it before the first cohort is in none. Source: sets of users by day.
    #[graphql(complexity = "100 + bucket_estimate(&during, cohort_by).saturating_mul(child_complexity) / 10")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn retention(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "The cohorts of the periods that begin in this stretch.",
            default_with = "WindowInput::days(84)"
        )]
        during: WindowInput,
        #[graphql(desc = "How long a period is, a day or more.", default_with = "Granularity::Week")]
        cohort_by: Granularity,
        #[graphql(desc = "When somebody has come back.", default_with = "RetentionMode::OnPeriod")] mode: RetentionMode,
        #[graphql(desc = "How many periods after a cohort's own, 1 to 100.", default = 12)] periods: i32,
        #[graphql(desc = "The type of event that begins, such as `user.registered`; any activity if left out.")]
        start_event: Option<String>,
        #[graphql(desc = "The type of event that counts as coming back; any activity if left out.")]
        return_event: Option<String>,
        #[graphql(desc = "Only people who began so.")] first_stream: Option<FirstStream>,
        #[graphql(desc = "The zone whose calendar cuts the periods.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<RetentionTable, ApiError> {
        let who = |event_type: Option<String>| event_type.map_or(Who::Active, Who::Did);
        let (start, back, zone) = (who(start_event), who(return_event), time_zone);
        AskedRetention { start, back, cohort_by, during, mode, periods, zone, first_stream }.answer(ctx).await
    }

    /// Sessions: how many, how long, with how many events. Source: each user's events in order.
    #[graphql(complexity = "100 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
    async fn sessions(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "The buckets' length.", default_with = "Granularity::Day")] every: Granularity,
        #[graphql(desc = "The zone whose calendar cuts the buckets.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Result<SessionStats, ApiError> {
        SessionStats::of(ctx, during, every, time_zone).await
    }

    /// How far users get through some steps, each user in their best attempt: the one that gets furthest, and there
    /// first; where several ways lead there, the one whose steps lie closest together. Events of one moment are taken in
    /// the order of the steps. Source: each user's events in order; anonymous people, and events with `count`, are in
    /// none.
    #[graphql(complexity = "200 + child_complexity")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn funnel(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The steps, 2 to 10. An event that may be several steps is one of them.")] steps: Vec<
            EventMatch,
        >,
        #[graphql(desc = "What ends an attempt where it happens in between, unless it is a step; at most 10.")]
        exclude: Option<Vec<EventMatch>>,
        #[graphql(
            desc = "How long after its first step an attempt may take, at most P366D.",
            default_with = "Duration { ms: DAY_MS }"
        )]
        within: Duration,
        #[graphql(desc = "In which order.", default_with = "FunnelOrder::Sequential")] order: FunnelOrder,
        #[graphql(desc = "When attempts begin; they may end behind it.", default_with = "WindowInput::days(28)")]
        during: WindowInput,
        #[graphql(desc = "What the numbers are told apart by, beside all together.")] by: Option<FunnelDimension>,
        #[graphql(desc = "How many parts, 1 to 200.", default = 10)] first: i32,
    ) -> Result<Funnel, ApiError> {
        let exclude = exclude.unwrap_or_default();
        AskedFunnel { steps, exclude, within, order, during, by, first }.answer(ctx).await
    }

    /// What clicks lead to: conversions, sales, money. Source: counters and sets by type of event, and each user's events
    /// in order.
    #[graphql(complexity = "30 + bucket_estimate(&during, every).saturating_mul(child_complexity) / 10")]
    #[expect(clippy::too_many_arguments, reason = "each is an argument of the field")]
    async fn conversion(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::hours(24)")] during: WindowInput,
        #[graphql(desc = "The length of the points' buckets.", default_with = "Granularity::Day")] every: Granularity,
        #[graphql(desc = "The zone whose calendar cuts the buckets.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
        #[graphql(desc = "The type of event that is a click.", default = "ui.clicked")] click_event: String,
        #[graphql(desc = "The type of event that is a conversion.", default = "conversion.completed")]
        conversion_event: String,
        #[graphql(
            desc = "The type of event that is a sale; `order.paid` where orders are what is sold.",
            default = "sale.completed"
        )]
        sale_event: String,
        #[graphql(
            desc = "How long after a click a conversion is still its work, at most P366D.",
            default_with = "Duration { ms: 7 * DAY_MS }"
        )]
        attributed_within: Duration,
    ) -> Result<Conversion, ApiError> {
        let of = ConversionEvents { click: click_event, conversion: conversion_event, sale: sale_event };
        Conversion::load(ctx, of, within(attributed_within, "attributedWithin")?, during, every, time_zone).await
    }

    /// How much each type of event happened, most events first, then by name.
    #[graphql(complexity = "20 + first.clamp(0, 200) as usize * child_complexity")]
    pub async fn feature_usage(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(desc = "How many types, 1 to 200.", default = 20)] first: i32,
    ) -> Result<Vec<FeatureUse>, ApiError> {
        let first = page_size(first, TYPES_MAX)?;
        let window = ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC);
        // A window that cuts a day may put them in another order than whole days do.
        let types = ctx.analytics().event_types(window, TYPES_MAX).await?;
        let keys: Vec<MeasureKey> = types.into_iter().map(|event_type| usage_key(event_type, window)).collect();
        let events = Need { counters: [Counter::Events].into_iter().collect(), ..Need::default() };
        let all = MeasureKey { entity: EntityRef::platform(), window, country: None, need: events };
        let (mut answers, all) =
            futures_util::try_join!(ctx.loader().load_many(keys.iter().cloned()), ctx.loader().load_one(all))?;
        let all = all.unwrap_or_default().counters[Counter::Events];
        let mut used: Vec<(MeasureKey, Measures)> = keys
            .into_iter()
            .filter_map(|key| answers.remove(&key).map(|measures| (key, measures)))
            .filter(|(_, measures)| measures.counters[Counter::Events] > 0)
            .collect();
        used.sort_by_key(|(key, measures)| (-measures.counters[Counter::Events], key.entity.id.clone()));
        let usage = |(key, measures): (MeasureKey, Measures)| {
            let events = measures.counters[Counter::Events];
            FeatureUse {
                event_type: key.entity.id.to_string(),
                events: Long::of(events),
                users: users_of(ctx, &measures, window),
                // Live, one may have grown past the sum in between.
                share: events as f64 / all.max(events) as f64,
            }
        };
        Ok(used.into_iter().take(first).map(usage).collect())
    }
}

pub fn everything() -> Subject {
    Subject { entity: EntityRef::platform(), country: None, is_own: true }
}

fn usage_key(event_type: EntityRef, window: Window) -> MeasureKey {
    let need =
        Need { counters: [Counter::Events].into_iter().collect(), parts: Parts::of(&[Part::Actor]), ..Need::default() };
    MeasureKey { entity: event_type, window, country: None, need }
}

fn users_of(ctx: &Context<'_>, measures: &Measures, window: Window) -> UniqueCount {
    UniqueCount::exact(measures.people.of(Part::Actor), window.to_ms > ctx.analytics().now_ms())
}

async fn points(
    ctx: &Context<'_>,
    event_type: &str,
    buckets: &[Window],
    every: Granularity,
    zone: TimeZone,
) -> Result<Vec<CountPoint>, ApiError> {
    let event_type = EntityRef::event_type(event_type);
    let keys: Vec<MeasureKey> = buckets.iter().map(|bucket| usage_key(event_type.clone(), *bucket)).collect();
    let mut answers = ctx.loader().load_many(keys.iter().cloned()).await?;
    let granularity: window::Granularity = every.into();
    let point = |key: MeasureKey| {
        let measures = answers.remove(&key).unwrap_or_default();
        CountPoint {
            start: DateTime::at(key.window.from_ms),
            end: DateTime::at(key.window.to_ms),
            is_complete: granularity.is_complete(key.window, ctx.analytics().now_ms(), zone.0),
            events: Long::of(measures.counters[Counter::Events]),
            users: users_of(ctx, &measures, key.window),
        }
    };
    Ok(keys.into_iter().map(point).collect())
}

fn calendar_days(window: Window, zone: chrono_tz::Tz) -> Result<Vec<Window>, ApiError> {
    window::Granularity::Day.cut(window, zone, BUCKETS_MAX).ok_or_else(too_many_buckets)
}

fn too_many_buckets() -> ApiError {
    ApiError::invalid("during", format!("holds more than {BUCKETS_MAX} days; ask for a shorter window"))
}
