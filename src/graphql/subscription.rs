//! What can be watched: first the whole state, then the newest whenever it changed.

use std::{sync::Arc, time::Duration as StdDuration};

use async_graphql::{Context, SimpleObject, Subscription as GraphqlSubscription};
use futures_util::{Stream, StreamExt};
use tokio::sync::watch;

use super::{
    context::ContextExt,
    error::ApiError,
    guard::Allow,
    input::{EntityKind, EntityRef, Metric, WindowInput, page_size},
    object::{
        entity::is_own_entity,
        metrics::{Metrics, Subject, need_of},
        ranking::{AskedRanking, LiveRanking, among, require_rankable},
    },
    scalars::{CountryCode, DateTime, Duration, Long, TimeZone},
};
use crate::{
    analytics::RankedEntity,
    domain::{entity, measure::Need},
    live::{Answer, Question, State},
};

/// The most entities of a watched ranking.
const LIVE_RANKING_MAX: usize = 100;

pub struct Subscription;

/// The state of watched counters.
#[derive(SimpleObject)]
pub struct LiveMetrics {
    /// Counts the states of these counters since they are watched; a gap tells how many were skipped.
    pub sequence: Long,
    /// When this state was read.
    pub at: DateTime,
    /// The counters.
    pub metrics: Metrics,
}

/// What can be watched over a WebSocket (`graphql-transport-ws`). The first message is the whole state;
/// then comes the newest state whenever it changed, at most once per `minInterval`. A slow client skips
/// to the newest.
#[GraphqlSubscription]
impl Subscription {
    /// One entity's counters. Public counters are for listeners too, the rest for the artist and admins.
    #[graphql(guard = "Allow::Public")]
    async fn metrics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which entity.")] of: EntityRef,
        #[graphql(desc = "Which stretch of time; it moves on with the clock.", default_with = "WindowInput::today()")]
        during: WindowInput,
        #[graphql(desc = "The zone that calendar periods are meant in.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
        #[graphql(
            desc = "The shortest time between two states, 0.1 to 60 seconds.",
            default_with = "Duration { ms: 250 }"
        )]
        min_interval: Duration,
    ) -> Result<impl Stream<Item = Result<LiveMetrics, ApiError>>, ApiError> {
        let interval = interval(min_interval)?;
        let entity: entity::EntityRef = of.into();
        let is_own = is_own_entity(ctx, &entity).await?;
        let need = ctx
            .field()
            .selection_set()
            .filter(|field| field.name() == "metrics")
            .map(|field| need_of(&field))
            .fold(Need::default(), Need::union);
        let question = Question::Metrics { entity: entity.clone(), window: during.parse()?, zone: time_zone.0, need };
        let states = states(ctx.hub().watch(question, interval), interval);
        Ok(states.filter_map(move |state| {
            let live = match &state.answer {
                Answer::Metrics { window, measures } => Some(Ok(LiveMetrics {
                    sequence: Long::of(state.sequence),
                    at: DateTime::at(state.at_ms),
                    metrics: Metrics {
                        subject: Subject { entity: entity.clone(), country: None, is_own },
                        window: *window,
                        is_withheld: false,
                        measures: measures.clone(),
                    },
                })),
                Answer::Ranking { .. } => None,
            };
            async move { live }
        }))
    }

    /// The first entities of a ranking, in its order. Metrics that are not public are for admins; in one country, only
    /// admins see entities behind which fewer than five people stand.
    #[allow(clippy::too_many_arguments)] // Each is an argument of the schema.
    #[graphql(guard = "Allow::Public")]
    async fn ranking<'ctx>(
        &self,
        ctx: &'ctx Context<'ctx>,
        #[graphql(desc = "Which kind of entity.")] of: EntityKind,
        #[graphql(desc = "By which metric.", default_with = "Metric::Streams")] by: Metric,
        #[graphql(desc = "Which stretch of time; it moves on with the clock.", default_with = "WindowInput::hours(1)")]
        during: WindowInput,
        #[graphql(desc = "Only what has this genre; not for playlists.")] genre: Option<String>,
        #[graphql(desc = "Only by what happened in this country.")] country: Option<CountryCode>,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
        #[graphql(
            desc = "The shortest time between two states, 0.1 to 60 seconds.",
            default_with = "Duration { ms: 1_000 }"
        )]
        min_interval: Duration,
    ) -> Result<impl Stream<Item = Result<LiveRanking, ApiError>> + use<'ctx>, ApiError> {
        let interval = interval(min_interval)?;
        let (of, by) = (of.into(), require_rankable(ctx, by)?);
        let first = page_size(first, LIVE_RANKING_MAX)?;
        let asked = AskedRanking { of, by, during: during.parse()?, among: among(ctx, of, genre, country)? };
        let question = Question::Ranking { of, by, window: asked.during, among: asked.among.clone(), first };
        let states = states(ctx.hub().watch(question, interval), interval);
        Ok(states.zip(futures_util::stream::repeat(asked)).filter_map(move |(state, asked)| async move {
            let Answer::Ranking { window, list } = &state.answer else { return None };
            let ranked = list.iter().map(|(entity, value)| RankedEntity { entity: entity.clone(), value: *value });
            Some(asked.live_edges(ctx, *window, ranked.collect()).await.map(|edges| LiveRanking {
                sequence: Long::of(state.sequence),
                at: DateTime::at(state.at_ms),
                edges,
            }))
        }))
    }
}

fn interval(min_interval: Duration) -> Result<StdDuration, ApiError> {
    if !(100..=60_000).contains(&min_interval.ms) {
        return Err(ApiError::invalid("minInterval", "must be between PT0.1S and PT60S"));
    }
    Ok(StdDuration::from_millis(min_interval.ms.unsigned_abs()))
}

/// The newest states, at most one per interval.
fn states(receiver: watch::Receiver<Option<Arc<State>>>, interval: StdDuration) -> impl Stream<Item = Arc<State>> {
    futures_util::stream::unfold((receiver, false), move |(mut receiver, is_later)| async move {
        if is_later {
            tokio::time::sleep(interval).await;
            receiver.changed().await.ok()?;
        }
        let state = receiver.wait_for(Option::is_some).await.ok()?.clone()?;
        receiver.mark_unchanged();
        Some((state, (receiver, true)))
    })
}
