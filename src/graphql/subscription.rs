//! What can be watched: first the whole state, then the newest whenever it changed.

use std::{collections::VecDeque, sync::Arc, time::Duration as StdDuration};

use async_graphql::{Context, Object, Subscription as GraphqlSubscription};
use futures_util::{Stream, StreamExt};
use tokio::{sync::watch, time::Instant};

use super::{
    context::ContextExt,
    error::ApiError,
    event_input::EventFilterInput,
    guard::{Allow, forbidden},
    input::{EntityKind, EntityRef, Metric, WindowInput, page_size},
    object::{
        entity::is_own_entity,
        event_list::{Event, LiveEvents},
        metrics::{Metrics, Subject, need_of},
        ranking::{AskedRanking, LiveRanking, among, require_rankable},
        realtime::{LiveRealtime, Realtime},
    },
    scalars::{CountryCode, DateTime, Duration, Long, TimeZone},
};
use crate::{
    analytics::{Analytics, EventQuestion, RankedEntity, SeenEvent, Viewing},
    db::DbError,
    domain::{entity, measure::Need, realtime::RealtimeNumbers, viewer::Role},
    live::{Answer, Batch, EventWatch, Question, State},
};

/// The most events of one message.
const LIVE_EVENTS_MAX: usize = 100;
/// The most batches of the feed that are looked through for one more message.
const LIVE_BATCHES_MAX: usize = 16;
/// How long it holds what may be told to artists of the events that they watch.
const VIEWING_FOR: StdDuration = StdDuration::from_secs(60);
/// The most entities of a watched ranking.
const LIVE_RANKING_MAX: usize = 100;

pub struct Subscription;

pub struct LiveMetrics {
    sequence: u64,
    at_ms: i64,
    metrics: Metrics,
    /// Absent where it was not selected.
    realtime: Option<RealtimeNumbers>,
}

/// The state of watched counters.
#[Object]
impl LiveMetrics {
    /// Counts the states of what is selected since it is watched; a gap tells how many were skipped.
    async fn sequence(&self) -> Long {
        Long::of(self.sequence)
    }

    /// When this state was read.
    async fn at(&self) -> DateTime {
        DateTime::at(self.at_ms)
    }

    /// The counters.
    async fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What happens to the entity right now. Where it is selected, a state comes also when the clock changes it.
    async fn realtime(&self, ctx: &Context<'_>) -> Realtime {
        match &self.realtime {
            Some(numbers) => Realtime::new(self.metrics.subject.is_own, self.at_ms, numbers.clone()),
            None => Realtime::now(ctx, Some(&self.metrics.subject.entity), self.metrics.subject.is_own),
        }
    }
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
        let selected: Vec<_> = ctx.field().selection_set().collect();
        let of_metrics = selected.iter().filter(|field| field.name() == "metrics");
        let need = of_metrics.map(need_of).fold(Need::default(), Need::union);
        let question = Question::Metrics { entity: entity.clone(), window: during.parse()?, zone: time_zone.0, need };
        let mut watched = vec![ctx.hub().watch(question, interval)];
        if selected.iter().any(|field| field.name() == "realtime") {
            watched.push(ctx.hub().watch(Question::Realtime { of: Some(entity.clone()) }, interval));
        }
        Ok(states(watched, interval).filter_map(move |states| {
            let live = live_metrics(&states, &entity, is_own);
            async move { live.map(Ok) }
        }))
    }

    /// What happens right now, for an entity, or for the whole platform where `of` is left out, which is
    /// for admins. A state comes when something was played, and when the clock changes it.
    #[graphql(guard = "Allow::Public")]
    async fn realtime(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which entity; the whole platform if left out.")] of: Option<EntityRef>,
        #[graphql(
            desc = "The shortest time between two states, 0.1 to 60 seconds.",
            default_with = "Duration { ms: 1_000 }"
        )]
        min_interval: Duration,
    ) -> Result<impl Stream<Item = Result<LiveRealtime, ApiError>>, ApiError> {
        let interval = interval(min_interval)?;
        let of: Option<entity::EntityRef> = of.map(Into::into);
        let is_own = match &of {
            Some(entity) => is_own_entity(ctx, entity).await?,
            None => true,
        };
        let viewer = ctx.require_viewer()?;
        if of.is_none() && viewer.role != Role::Admin {
            return Err(forbidden(viewer, "the whole platform"));
        }
        let watched = vec![ctx.hub().watch(Question::Realtime { of }, interval)];
        Ok(states(watched, interval).filter_map(move |states| {
            let live = states.first().and_then(|state| {
                let Answer::Realtime(numbers) = &state.answer else { return None };
                Some(Ok(LiveRealtime {
                    sequence: Long::of(state.sequence),
                    at: DateTime::at(state.at_ms),
                    realtime: Realtime::new(is_own, state.at_ms, numbers.clone()),
                }))
            });
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
        let states = states(vec![ctx.hub().watch(question, interval)], interval);
        Ok(states.zip(futures_util::stream::repeat(asked)).filter_map(move |(states, asked)| async move {
            let state = states.first()?;
            let Answer::Ranking { window, list } = &state.answer else { return None };
            let ranked = list.iter().map(|(entity, value)| RankedEntity { entity: entity.clone(), value: *value });
            Some(asked.live_edges(ctx, *window, ranked.collect()).await.map(|edges| LiveRanking {
                sequence: Long::of(state.sequence),
                at: DateTime::at(state.at_ms),
                edges,
            }))
        }))
    }

    /// Events as they are committed. The first message comes at once and has none: what is committed after it is told,
    /// each event once. Nobody waits for a client that is slow: what is kept for it is bounded,
    /// and what it missed is told as a number. For admins everything; for artists the events that are credited to them,
    /// without who it was.
    #[graphql(guard = "Allow::Owners")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where", desc = "Which events; all if left out.")] filter: Option<EventFilterInput>,
    ) -> Result<impl Stream<Item = Result<LiveEvents, ApiError>> + use<>, ApiError> {
        // Before anything is asked of the database: what is committed meanwhile is told.
        let watch = ctx.feed().watch();
        let question = filter.unwrap_or_default().ask(ctx).await?;
        let analytics = ctx.analytics().clone();
        let viewing = analytics.viewing(&question).await?;
        let watcher = EventWatcher {
            watch,
            analytics,
            question,
            viewing,
            viewing_since: Instant::now(),
            is_begun: false,
            waiting: VecDeque::new(),
            skipped: 0,
        };
        Ok(futures_util::stream::unfold(Some(watcher), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(live) => Some((Ok(live), Some(watcher))),
                // The subscription ends with it: what was being read is lost.
                Err(error) => Some((Err(error.into()), None)),
            }
        }))
    }
}

/// Who watches events, and what of them was not sent yet.
struct EventWatcher {
    watch: EventWatch,
    analytics: Analytics,
    question: EventQuestion,
    viewing: Viewing,
    viewing_since: Instant,
    is_begun: bool,
    waiting: VecDeque<SeenEvent>,
    skipped: u64,
}

impl EventWatcher {
    /// The next message; the first is there at once, and empty.
    async fn next(&mut self) -> Result<LiveEvents, Arc<DbError>> {
        if std::mem::replace(&mut self.is_begun, true) {
            self.gather().await?;
        }
        let events = self.waiting.drain(..self.waiting.len().min(LIVE_EVENTS_MAX));
        Ok(LiveEvents {
            at: DateTime::at(self.analytics.now_ms()),
            events: events.map(|seen| Event(Arc::new(seen))).collect(),
            skipped: Long::of(std::mem::take(&mut self.skipped)),
        })
    }

    /// Waits until there is something to say, and takes what else is there already, as far as it fits.
    async fn gather(&mut self) -> Result<(), Arc<DbError>> {
        while self.waiting.is_empty() && self.skipped == 0 {
            let (batch, skipped) = self.watch.next().await;
            self.take(&batch, skipped).await?;
        }
        // Where nearly nothing fits, what was found does not wait for more.
        for _ in 0..LIVE_BATCHES_MAX {
            if self.waiting.len() >= LIVE_EVENTS_MAX {
                break;
            }
            let Some((batch, skipped)) = self.watch.try_next() else { break };
            self.take(&batch, skipped).await?;
        }
        Ok(())
    }

    async fn take(&mut self, batch: &Batch, skipped: u64) -> Result<(), Arc<DbError>> {
        self.skipped += skipped;
        let judge = self.analytics.event_judge(&self.question);
        let admitted: Vec<_> = batch.events.iter().filter(|event| judge.admits(event)).cloned().collect();
        if admitted.is_empty() {
            return Ok(());
        }
        if self.viewing_since.elapsed() > VIEWING_FOR {
            self.viewing = self.analytics.viewing(&self.question).await?;
            self.viewing_since = Instant::now();
        }
        let seen = self.viewing.see(&self.analytics, &judge, admitted).await?;
        self.waiting.extend(seen.into_iter().map(|(_, seen)| seen));
        Ok(())
    }
}

fn interval(min_interval: Duration) -> Result<StdDuration, ApiError> {
    if !(100..=60_000).contains(&min_interval.ms) {
        return Err(ApiError::invalid("minInterval", "must be between PT0.1S and PT60S"));
    }
    Ok(StdDuration::from_millis(min_interval.ms.unsigned_abs()))
}

/// The state of counters, and of the present where that is watched too.
fn live_metrics(states: &[Arc<State>], entity: &entity::EntityRef, is_own: bool) -> Option<LiveMetrics> {
    let Answer::Metrics { window, measures } = &states.first()?.answer else { return None };
    let realtime = states.iter().find_map(|state| match &state.answer {
        Answer::Realtime(numbers) => Some(numbers.clone()),
        _ => None,
    });
    Some(LiveMetrics {
        // Each question's first state is 1. What either skips is a gap in the sum.
        sequence: states.iter().map(|state| state.sequence - 1).sum::<u64>() + 1,
        at_ms: states.iter().map(|state| state.at_ms).max()?,
        metrics: Metrics {
            subject: Subject { entity: entity.clone(), country: None, is_own },
            window: *window,
            is_withheld: false,
            measures: (**measures).clone(),
        },
        realtime,
    })
}

type Watched = Vec<watch::Receiver<Option<Arc<State>>>>;

/// The newest state of each of the questions whenever one has a new one, at most once per interval.
fn states(watched: Watched, interval: StdDuration) -> impl Stream<Item = Vec<Arc<State>>> {
    futures_util::stream::unfold((watched, false), move |(mut watched, is_later)| async move {
        if is_later {
            tokio::time::sleep(interval).await;
            let changes = watched.iter_mut().map(|receiver| Box::pin(receiver.changed()));
            futures_util::future::select_all(changes).await.0.ok()?;
        }
        let mut states = Vec::with_capacity(watched.len());
        for receiver in &mut watched {
            states.push(receiver.wait_for(Option::is_some).await.ok()?.clone()?);
        }
        Some((states, (watched, true)))
    })
}
