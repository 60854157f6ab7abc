//! Somebody who uses the platform, for themselves and for admins.

use async_graphql::{Context, ID, Object, SimpleObject};
use tokio::sync::OnceCell;

use super::{
    activity::{self, ActivityConnection},
    entity::{Artist, Song},
    metrics::{Freshness, ratio},
    people::Share,
    ranking::{PageInput, RankedSong},
    recommendation::{self, Dismissal, Recommendation},
};
use crate::{
    analytics::{KnownUser, Sessions, StreamTimes, Tastes},
    domain::{catalogue::CatalogueEntry, entity::EntityRef, viewer::Viewer, window::Window},
    graphql::{
        context::ContextExt,
        error::ApiError,
        event_input::EventFilterInput,
        guard::forbidden,
        input::{WindowInput, page_size},
        recommendation_input::RecommendationInput,
        scalars::{Long, TimeZone},
    },
};

/// The longest list of what somebody streamed.
const TOP_MAX: usize = 100;

/// Somebody who uses the platform.
pub struct User(pub KnownUser);

impl User {
    /// The user of an id that the viewer may ask about; `None` while no event named them.
    pub async fn find(ctx: &Context<'_>, id: &str) -> Result<Option<Self>, ApiError> {
        require_own(ctx.require_viewer()?, id)?;
        Ok(ctx.analytics().find_user(id).await?.map(Self))
    }
}

/// Whoever is neither an admin nor the user themselves is refused.
pub fn require_own(viewer: &Viewer, id: &str) -> Result<(), ApiError> {
    if viewer.is_or_looks_after(id) { Ok(()) } else { Err(forbidden(viewer, "this user")) }
}

/// Somebody who uses the platform. For themselves and for admins.
#[Object]
impl User {
    /// The platform's own id.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// What they did, event by event, newest first, with where each session began. Anonymous events are nobody's.
    ///
    /// Pages go forward, to older ones, with `first` and `after`, or backward with `last` and `before`; new events do not
    /// move what is on them. Source: their events.
    #[graphql(complexity = "50 + first.or(last).unwrap_or(20).clamp(0, 200) as usize * child_complexity")]
    async fn activity(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where", desc = "Which events; all if left out. `userId` cannot be given.")] filter: Option<
            EventFilterInput,
        >,
        #[graphql(desc = "How many from the newest, or behind `after`, 1 to 200; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "The cursor that the page before ended with.")] after: Option<String>,
        #[graphql(desc = "How many from the oldest, or before `before`, 1 to 200; not together with `first`.")]
        last: Option<i32>,
        #[graphql(desc = "The cursor that the page behind began with.")] before: Option<String>,
    ) -> Result<ActivityConnection, ApiError> {
        let question = filter.unwrap_or_default().ask_of(&self.0.id)?;
        activity::page(ctx, question, PageInput { first, after, last, before }).await
    }

    /// What they listened to, and when. Source: their events.
    #[graphql(complexity = "20 + child_complexity")]
    async fn summary(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(
            desc = "The zone that days, hours and calendar periods are meant in.",
            default_with = "TimeZone::UTC"
        )]
        time_zone: TimeZone,
    ) -> Result<ListeningSummary, ApiError> {
        let window = ctx.analytics().window(during.parse()?, time_zone.0);
        Ok(ListeningSummary::new(self.0.clone(), window, time_zone))
    }

    /// What they may like next, the best first; see `Query.recommendations`.
    #[graphql(
        complexity = "100 + input.as_ref().map_or(20, |input| input.first.clamp(0, 100) as usize) * child_complexity"
    )]
    async fn recommendations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What to recommend; songs if left out.")] input: Option<RecommendationInput>,
    ) -> Result<Vec<Recommendation>, ApiError> {
        recommendation::for_you(ctx, &self.0.id, input).await
    }

    /// What they do not want to be recommended, the first dismissed first; without what has ended.
    #[graphql(complexity = "20 + 10 * child_complexity")]
    async fn dismissals(&self, ctx: &Context<'_>) -> Result<Vec<Dismissal>, ApiError> {
        recommendation::dismissals(ctx, &self.0.id).await
    }
}

/// What somebody listened to.
pub struct ListeningSummary {
    user: KnownUser,
    window: Window,
    zone: TimeZone,
    /// Each is read once, by whichever field needs it first.
    times: OnceCell<StreamTimes>,
    tastes: OnceCell<Tastes>,
    sessions: OnceCell<Sessions>,
}

impl ListeningSummary {
    fn new(user: KnownUser, window: Window, zone: TimeZone) -> Self {
        let (times, tastes, sessions) = Default::default();
        Self { user, window, zone, times, tastes, sessions }
    }

    async fn times(&self, ctx: &Context<'_>) -> Result<&StreamTimes, ApiError> {
        let read = async || ctx.analytics().stream_times(&self.user, self.window, self.zone.0).await;
        Ok(self.times.get_or_try_init(read).await?)
    }

    async fn tastes(&self, ctx: &Context<'_>) -> Result<&Tastes, ApiError> {
        Ok(self.tastes.get_or_try_init(async || ctx.analytics().tastes(&self.user, self.window).await).await?)
    }

    async fn of_sessions(&self, ctx: &Context<'_>) -> Result<&Sessions, ApiError> {
        let read =
            async || Ok::<_, ApiError>(ctx.analytics().sessions(&[self.window], Some(&self.user.set())).await?.1);
        self.sessions.get_or_try_init(read).await
    }
}

/// An artist at their place in a list.
#[derive(SimpleObject)]
pub struct RankedArtist {
    /// Their place, from 1.
    pub position: i32,
    /// What they are ranked by: a count.
    pub value: f64,
    /// The artist.
    pub artist: Artist,
}

/// What somebody listened to in a stretch of time. Events with `count` are nobody's.
#[Object]
impl ListeningSummary {
    /// Streams.
    #[graphql(complexity = "5")]
    async fn streams(&self, ctx: &Context<'_>) -> Result<Long, ApiError> {
        Ok(Long::of(self.times(ctx).await?.streams))
    }

    /// Milliseconds heard, of each play at most the song's length.
    #[graphql(complexity = "20")]
    async fn listening_time_ms(&self, ctx: &Context<'_>) -> Result<Long, ApiError> {
        Ok(Long::of(self.tastes(ctx).await?.listening_ms))
    }

    /// Streams by hour of the day in the zone asked for: 24 numbers, from midnight on.
    #[graphql(complexity = "5")]
    async fn by_hour_of_day(&self, ctx: &Context<'_>) -> Result<Vec<Long>, ApiError> {
        Ok(self.times(ctx).await?.by_hour.map(Long::of).to_vec())
    }

    /// On how many days in a row they streamed, up to the last day of the window; it may have begun before the window.
    /// Where that day has not ended, it may still be without a stream.
    #[graphql(complexity = "20")]
    async fn streak_days(&self, ctx: &Context<'_>) -> Result<i32, ApiError> {
        let days = ctx.analytics().streak_days(&self.user, self.window.to_ms, self.zone.0).await?;
        Ok(i32::try_from(days).unwrap_or(i32::MAX))
    }

    /// Sessions that began in the window: events of any type that follow each other within half an hour.
    #[graphql(complexity = "10")]
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Long, ApiError> {
        Ok(Long::of(self.of_sessions(ctx).await?.count))
    }

    /// The mean length of these sessions in milliseconds, from a session's first event to its last; null without any.
    #[graphql(complexity = "10")]
    async fn average_session_ms(&self, ctx: &Context<'_>) -> Result<Option<f64>, ApiError> {
        let all = self.of_sessions(ctx).await?;
        Ok(ratio(all.length_ms, all.count))
    }

    /// The songs they streamed most, ties by id.
    #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
    async fn top_songs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<RankedSong>, ApiError> {
        let first = page_size(first, TOP_MAX)?;
        let songs = &self.tastes(ctx).await?.songs;
        let ranked = |(position, value, entry)| RankedSong { position, value, song: Song(entry) };
        Ok(top(ctx, songs, first).await?.into_iter().map(ranked).collect())
    }

    /// The artists they streamed most, each credited artist with the whole stream, ties by id.
    #[graphql(complexity = "20 + first.clamp(0, 100) as usize * child_complexity")]
    async fn top_artists(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<RankedArtist>, ApiError> {
        let first = page_size(first, TOP_MAX)?;
        let artists = &self.tastes(ctx).await?.artists;
        let ranked = |(position, value, entry)| RankedArtist { position, value, artist: Artist(entry) };
        Ok(top(ctx, artists, first).await?.into_iter().map(ranked).collect())
    }

    /// The genres of what they streamed, the most streams first, ties by name; `UNKNOWN` where events do not say.
    #[graphql(complexity = "20 + child_complexity")]
    async fn top_genres(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<Share>, ApiError> {
        let first = page_size(first, TOP_MAX)?;
        let genres = &self.tastes(ctx).await?.genres;
        let all: u64 = genres.iter().map(|(_, streams)| streams).sum();
        let share = |(genre, streams): &(Option<String>, u64)| {
            let (key, label) = genre.as_deref().map_or(("UNKNOWN", "Unknown"), |genre| (genre, genre));
            let (key, label) = (key.to_owned(), label.to_owned());
            Share { key, label, value: *streams as f64, share: *streams as f64 / all as f64 }
        };
        Ok(genres.iter().take(first).map(share).collect())
    }

    /// How far the numbers can be trusted to be complete.
    async fn freshness(&self, ctx: &Context<'_>) -> Freshness {
        Freshness::of(ctx.analytics(), self.window)
    }
}

/// The first of a list with their places, values and what the catalogue says.
async fn top(
    ctx: &Context<'_>,
    list: &[(EntityRef, u64)],
    first: usize,
) -> Result<Vec<(i32, f64, CatalogueEntry)>, ApiError> {
    let list = &list[..first.min(list.len())];
    let mut entries = ctx.loader().load_many(list.iter().map(|(entity, _)| entity.clone())).await?;
    let ranked = |(position, (entity, streams)): (i32, &(EntityRef, u64))| {
        let entry = entries.remove(entity).unwrap_or_else(|| CatalogueEntry::bare(entity.clone()));
        (position, *streams as f64, entry)
    };
    Ok((1..).zip(list).map(ranked).collect())
}
