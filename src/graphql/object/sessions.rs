//! How long users stay.

use async_graphql::{Context, SimpleObject};

use super::{
    metrics::{Freshness, UniqueCount, ratio},
    timeline::cut,
};
use crate::{
    analytics::Sessions,
    domain::window::{self, Window},
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::{Granularity, WindowInput},
        scalars::{DateTime, Long, TimeZone},
    },
};

/// Sessions: a user's events that follow each other within half an hour. Each counts where it begins, with all of its
/// events; anonymous people have none.
#[derive(SimpleObject)]
pub struct SessionStats {
    /// How many sessions began in the window.
    pub sessions: Long,
    /// Distinct users whose they are.
    pub users: UniqueCount,
    /// Sessions divided by users; null without any.
    pub per_user: Option<f64>,
    /// Events divided by sessions; null without any.
    pub events_per_session: Option<f64>,
    /// The mean length in milliseconds, from a session's first event to its last; null without any.
    pub average_ms: Option<f64>,
    /// The median length in milliseconds; null without any.
    pub median_ms: Option<Long>,
    /// The same bucket by bucket, oldest first.
    pub points: Vec<SessionPoint>,
    /// How far the numbers can be trusted to be complete.
    pub freshness: Freshness,
}

/// Sessions that began in one bucket.
#[derive(SimpleObject)]
pub struct SessionPoint {
    /// When the bucket begins.
    pub start: DateTime,
    /// When it ends; not included.
    pub end: DateTime,
    /// Whether the bucket is a whole calendar bucket that has ended: not cut by the window, not still growing.
    pub is_complete: bool,
    /// How many sessions began in it.
    pub sessions: Long,
    /// Distinct users whose they are.
    pub users: UniqueCount,
    /// Events divided by sessions; null without any.
    pub events_per_session: Option<f64>,
    /// The mean length in milliseconds; null without any.
    pub average_ms: Option<f64>,
    /// The median length in milliseconds; null without any.
    pub median_ms: Option<Long>,
}

impl SessionStats {
    pub async fn of(
        ctx: &Context<'_>,
        during: WindowInput,
        every: Granularity,
        zone: TimeZone,
    ) -> Result<Self, ApiError> {
        let (window, buckets) = cut(ctx, during, every, zone)?;
        let (of_buckets, all) = ctx.analytics().sessions(&buckets, None).await?;
        let granularity: window::Granularity = every.into();
        let now_ms = ctx.analytics().now_ms();
        let users = |sessions: &Sessions, window: Window| UniqueCount::exact(sessions.users, window.to_ms > now_ms);
        let point = |(window, sessions): (Window, Sessions)| SessionPoint {
            start: DateTime::at(window.from_ms),
            end: DateTime::at(window.to_ms),
            is_complete: granularity.is_complete(window, now_ms, zone.0),
            sessions: Long::of(sessions.count),
            users: users(&sessions, window),
            events_per_session: ratio(sessions.events, sessions.count),
            average_ms: ratio(sessions.length_ms, sessions.count),
            median_ms: sessions.median_ms.map(Long::of),
        };
        Ok(Self {
            sessions: Long::of(all.count),
            users: users(&all, window),
            per_user: ratio(all.count, all.users),
            events_per_session: ratio(all.events, all.count),
            average_ms: ratio(all.length_ms, all.count),
            median_ms: all.median_ms.map(Long::of),
            points: buckets.into_iter().zip(of_buckets).map(point).collect(),
            freshness: Freshness::of(ctx.analytics(), window),
        })
    }
}
