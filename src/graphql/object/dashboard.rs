//! What a small operator wants to see at one glance.

use async_graphql::{Context, Object, SimpleObject};

use super::{
    entity::Song,
    metrics::{Metrics, need_of},
    platform::{ActiveUsers, FeatureUse, Platform, everything},
    ranking::RankedSong,
    works::entries_of,
};
use crate::{
    domain::{
        counting::Counter,
        entity::EntityKind,
        measure::Metric,
        ranking::{Among, RankingQuestion},
        window::{AskedWindow, Period},
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::{WindowInput, page_size},
        scalars::{DateTime, Long, TimeZone},
    },
};

/// The longest list of a dashboard.
const LIST_MAX: usize = 100;

pub struct Dashboard {
    pub zone: TimeZone,
}

/// How this process takes events in. Counts are of this process, since it started.
#[derive(SimpleObject)]
pub struct IngestHealth {
    /// Events stored and counted.
    pub accepted: Long,
    /// Events that were known already.
    pub duplicates: Long,
    /// Events that met another one under their id.
    pub conflicts: Long,
    /// Events that were not taken, each with a reason.
    pub rejected: Long,
    /// Events of requests that were turned away as a whole, to be sent again.
    pub refused: Long,
    /// Events that wait for their commit at this moment.
    pub waiting: Long,
    /// When the newest counted event of the platform happened, whichever process took it; null while there is none.
    pub newest_event: Option<DateTime>,
    /// How long ago that was, in milliseconds: 0 where its clock is ahead of ours. Null while there is none.
    pub lag_ms: Option<Long>,
}

/// The platform at one glance; its parts are asked for beside each other. For admins.
#[Object]
impl Dashboard {
    /// Today's totals of the whole platform, in the dashboard's time zone.
    async fn today(&self, ctx: &Context<'_>) -> Result<Metrics, ApiError> {
        self.totals(ctx, Period::Today).await
    }

    /// Yesterday's totals.
    async fn yesterday(&self, ctx: &Context<'_>) -> Result<Metrics, ApiError> {
        self.totals(ctx, Period::Yesterday).await
    }

    /// Distinct active users of today, and of the 7 and 28 days that end with it. Its days are those of UTC.
    #[graphql(complexity = "30 + child_complexity")]
    async fn active_users(&self, ctx: &Context<'_>) -> Result<ActiveUsers, ApiError> {
        Platform.active_users(ctx, None).await
    }

    /// The songs with the most streams, highest first.
    #[graphql(complexity = "50 + first.clamp(0, 100) as usize * child_complexity")]
    async fn top_songs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(7)")] during: WindowInput,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<RankedSong>, ApiError> {
        let first = page_size(first, LIST_MAX)?;
        let window = ctx.analytics().window(during.parse()?, self.zone.0);
        let question = RankingQuestion {
            of: EntityKind::Song,
            by: Metric::Counter(Counter::Streams),
            window,
            among: Among::default(),
        };
        let list = ctx.analytics().ranking(&question, first).await?;
        let ranked = ctx.analytics().ranked(&list, 0..first).await?;
        let entries = entries_of(ctx, ranked.iter().map(|ranked| &ranked.entity)).await?;
        let ranked = (1..).zip(ranked).zip(entries);
        Ok(ranked
            .map(|((position, ranked), entry)| RankedSong { position, value: ranked.value as f64, song: Song(entry) })
            .collect())
    }

    /// How much each type of event happened in the last 7 days, most events first, then by name.
    #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
    async fn event_types(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many types, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<FeatureUse>, ApiError> {
        page_size(first, LIST_MAX)?;
        Platform.feature_usage(ctx, WindowInput::days(7), first).await
    }

    /// Whether events come in.
    async fn ingest(&self, ctx: &Context<'_>) -> IngestHealth {
        let health = ctx.ingest().health();
        let newest_ms = ctx.analytics().newest_event_ms();
        IngestHealth {
            accepted: Long::of(health.accepted),
            duplicates: Long::of(health.duplicates),
            conflicts: Long::of(health.conflicts),
            rejected: Long::of(health.rejected),
            refused: Long::of(health.refused),
            waiting: Long::of(health.waiting),
            newest_event: newest_ms.map(DateTime::at),
            lag_ms: newest_ms.map(|newest_ms| Long::of((ctx.analytics().now_ms() - newest_ms).max(0))),
        }
    }
}

impl Dashboard {
    async fn totals(&self, ctx: &Context<'_>, period: Period) -> Result<Metrics, ApiError> {
        let window = ctx.analytics().window(AskedWindow::Period(period), self.zone.0);
        Metrics::load(ctx, everything(), window, need_of(&ctx.field())).await
    }
}
