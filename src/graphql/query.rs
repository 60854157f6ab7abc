//! The questions.

use async_graphql::{Context, ID, Object};

use super::{
    context::ContextExt,
    definitions::{Definition, definitions},
    error::ApiError,
    event_input::EventFilterInput,
    explore_input::{AskedExplore, ExploreDimension, ExploreFilter, ExploreMeasure, ExploreOrder},
    guard::Allow,
    input::{Cadence, EntityKind, Granularity, Metric, TrendPeriod, WindowInput},
    object::{
        chart::{Chart, series},
        dashboard::Dashboard,
        entity::{Album, Artist, Playlist, Song},
        event_list::{self, EventConnection},
        explore::{self, ExploreResult},
        platform::Platform,
        privacy::UserExport,
        ranking::{AskedRanking, PageInput, RankingConnection, among, require_rankable},
        recommendation::{self, AssistedPlaylist, Recommendation, RecommendationQuality},
        trending::{self, TrendingItem},
        user::User,
        viewer::Viewer,
    },
    recommendation_input::{AssistedPlaylistInput, RecommendationInput},
    scalars::{CountryCode, Date, TimeZone},
};
use crate::domain::{
    catalogue::CatalogueEntry,
    chart::midnight,
    entity::{self, EntityRef},
};

/// The most entities asked for by id at once.
const IDS_MAX: usize = 200;

pub struct Query;

/// The questions.
#[Object]
impl Query {
    /// Who the token says you are. For any token.
    #[graphql(guard = "Allow::AnyToken")]
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer, ApiError> {
        Ok(Viewer(ctx.require_viewer()?.clone()))
    }

    /// Somebody who uses the platform, by id; null while no event named them. For themselves, with a listener's token,
    /// and for admins.
    #[graphql(guard = "Allow::Public")]
    async fn user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user's id.")] id: ID,
    ) -> Result<Option<User>, ApiError> {
        User::find(ctx, &id).await
    }

    /// Everything that is known about a user, as NDJSON: one event a line, oldest first, in the fields in which events are
    /// sent, with `receivedAt`. For themselves, with a listener's token, and for admins.
    #[graphql(guard = "Allow::Public", complexity = "100 + first.clamp(0, 5_000) as usize / 10")]
    async fn export_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user's id.")] id: ID,
        #[graphql(desc = "How many events, 1 to 5,000.", default = 1_000)] first: i32,
        #[graphql(desc = "The cursor that the part before ended with.")] after: Option<String>,
    ) -> Result<UserExport, ApiError> {
        UserExport::load(ctx, &id, first, after).await
    }

    /// What every number means. For anybody.
    async fn definitions(&self) -> Vec<Definition> {
        definitions()
    }

    /// A song by id; null while neither an event nor the catalogue named it. Of what is merged into
    /// another, that other. For listeners, artists and admins.
    #[graphql(guard = "Allow::Public")]
    async fn song(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The song's id.")] id: ID,
    ) -> Result<Option<Song>, ApiError> {
        one(ctx, entity::EntityKind::Song, id, Song).await
    }

    /// An album by id; null while neither an event nor the catalogue named it. Of what is merged into
    /// another, that other. For listeners, artists and admins.
    #[graphql(guard = "Allow::Public")]
    async fn album(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The album's id.")] id: ID,
    ) -> Result<Option<Album>, ApiError> {
        one(ctx, entity::EntityKind::Album, id, Album).await
    }

    /// A playlist by id; null while neither an event nor the catalogue named it. Of what is merged into
    /// another, that other. For listeners, artists and admins.
    #[graphql(guard = "Allow::Public")]
    async fn playlist(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The playlist's id.")] id: ID,
    ) -> Result<Option<Playlist>, ApiError> {
        one(ctx, entity::EntityKind::Playlist, id, Playlist).await
    }

    /// An artist by id; null while neither an event nor the catalogue named them. Of who is merged into
    /// another, that other. For listeners, artists and admins.
    #[graphql(guard = "Allow::Public")]
    async fn artist(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The artist's id.")] id: ID,
    ) -> Result<Option<Artist>, ApiError> {
        one(ctx, entity::EntityKind::Artist, id, Artist).await
    }

    /// Songs by id, in the order asked for; null for each that neither an event nor the catalogue named.
    /// For listeners, artists and admins.
    #[graphql(guard = "Allow::Public", complexity = "ids.len() * child_complexity")]
    async fn songs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Up to 200 ids.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Song>>, ApiError> {
        many(ctx, entity::EntityKind::Song, ids, Song).await
    }

    /// Albums by id, in the order asked for; null for each that neither an event nor the catalogue named.
    /// For listeners, artists and admins.
    #[graphql(guard = "Allow::Public", complexity = "ids.len() * child_complexity")]
    async fn albums(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Up to 200 ids.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Album>>, ApiError> {
        many(ctx, entity::EntityKind::Album, ids, Album).await
    }

    /// Playlists by id, in the order asked for; null for each that neither an event nor the catalogue named.
    /// For listeners, artists and admins.
    #[graphql(guard = "Allow::Public", complexity = "ids.len() * child_complexity")]
    async fn playlists(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Up to 200 ids.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Playlist>>, ApiError> {
        many(ctx, entity::EntityKind::Playlist, ids, Playlist).await
    }

    /// Artists by id, in the order asked for; null for each that neither an event nor the catalogue named.
    /// For listeners, artists and admins.
    #[graphql(guard = "Allow::Public", complexity = "ids.len() * child_complexity")]
    async fn artists(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Up to 200 ids.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Artist>>, ApiError> {
        many(ctx, entity::EntityKind::Artist, ids, Artist).await
    }

    /// The whole platform. For admins.
    #[graphql(guard = "Allow::Admin")]
    async fn platform(&self) -> Platform {
        Platform
    }

    /// What an operator wants to see at one glance. For admins.
    #[graphql(guard = "Allow::Admin", complexity = "10 + child_complexity")]
    async fn dashboard(
        &self,
        #[graphql(desc = "The zone that today and yesterday are meant in.", default_with = "TimeZone::UTC")]
        time_zone: TimeZone,
    ) -> Dashboard {
        Dashboard { zone: time_zone }
    }

    /// Entities of a kind by a metric over a window, highest first, ties by listeners, then id; more than
    /// 1,000 of the same value are by id alone.
    ///
    /// Pages go forward with `first` and `after` or backward with `last` and `before`, down to place 10,000.
    /// They list what the page of their cursor listed, as it was then: for ten minutes, in the process that
    /// answered, while not too many others are kept. After that a page is of the ranking as it is now, over
    /// the same window, and goes on at the cursor's value. For listeners, artists and admins; metrics that are
    /// not public for admins. In one country, only admins see entities behind which fewer than five people stand.
    #[graphql(
        guard = "Allow::Public",
        complexity = "50 + first.or(last).unwrap_or(20).clamp(0, 200) as usize * child_complexity"
    )]
    #[allow(clippy::too_many_arguments)] // Each is an argument of the schema.
    async fn ranking(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which kind of entity.")] of: EntityKind,
        #[graphql(desc = "By which metric.", default_with = "Metric::Streams")] by: Metric,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(7)")] during: WindowInput,
        #[graphql(desc = "Only what has this genre; not for playlists.")] genre: Option<String>,
        #[graphql(desc = "Only by what happened in this country.")] country: Option<CountryCode>,
        #[graphql(desc = "How many from the first, or behind `after`, 1 to 200; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "The cursor that the page before ended with.")] after: Option<String>,
        #[graphql(desc = "How many from the last, or before `before`, 1 to 200; not together with `first`.")]
        last: Option<i32>,
        #[graphql(desc = "The cursor that the page behind began with.")] before: Option<String>,
    ) -> Result<RankingConnection, ApiError> {
        let (of, by) = (of.into(), require_rankable(ctx, by)?);
        let ranking = AskedRanking { of, by, during: during.parse()?, among: among(ctx, of, genre, country)? };
        ranking.page(ctx, PageInput { first, after, last, before }).await
    }

    /// The published chart of a period, in its last revision; null where none is published: the period has not
    /// ended, nothing was streamed in it, or no such genre or country has charts; none has one of a genre and a
    /// country at once. For listeners, artists and admins.
    #[graphql(guard = "Allow::Public", complexity = "50 + child_complexity")]
    async fn chart(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which kind of entity: songs, albums or artists.")] of: EntityKind,
        #[graphql(desc = "How often these charts are published.", default_with = "Cadence::Weekly")] cadence: Cadence,
        #[graphql(desc = "Any day of the period, not later than today; the newest chart if left out.")] on: Option<
            Date,
        >,
        #[graphql(desc = "Only entities of this genre.")] genre: Option<String>,
        #[graphql(
            desc = "Only what was streamed in this country; without what few people there streamed, fewer than are ever shown."
        )]
        country: Option<CountryCode>,
    ) -> Result<Option<Chart>, ApiError> {
        if of == EntityKind::Playlist {
            return Err(ApiError::invalid("of", "playlists have no charts; ask for SONG, ALBUM or ARTIST"));
        }
        let on_ms = on.map(|Date(day)| midnight(day));
        if on_ms.is_some_and(|on_ms| on_ms > ctx.charts().now_ms()) {
            return Err(ApiError::invalid("on", "lies in the future"));
        }
        let Some(series) = series(of.into(), cadence, genre, country) else { return Ok(None) };
        Ok(ctx.charts().find(&series, on_ms).await?.map(|chart| Chart(chart.into())))
    }

    /// What is heard more than usual, the highest score first, ties by listeners, then id. Looked at are the 2,000
    /// entities with the most listeners in the last days. A list may be half a minute old. For listeners, artists and
    /// admins.
    #[graphql(guard = "Allow::Public", complexity = "200 + first.clamp(0, 100) as usize * child_complexity")]
    async fn trending(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which kind of entity.", default_with = "EntityKind::Song")] of: EntityKind,
        #[graphql(desc = "How quickly what trends comes and goes.", default_with = "TrendPeriod::Week")]
        period: TrendPeriod,
        #[graphql(desc = "Only what has this genre; playlists have none.")] genre: Option<String>,
        #[graphql(desc = "Only by what is heard in this country.")] country: Option<CountryCode>,
        #[graphql(desc = "How many, 1 to 100.", default = 10)] first: i32,
    ) -> Result<Vec<TrendingItem>, ApiError> {
        trending::trending(ctx, trending::Asked { of, period, genre, country, first }).await
    }

    /// What a listener may like next, the best first: by all that they did up to this moment and by who else listens to it
    /// (as far as the last run of the job), recent things more than old ones. For whom nothing is known, what was streamed
    /// most in seven days: of the genres asked for, in their country, or anywhere. Without what they have dismissed; the
    /// same until something happens. For themselves, with a listener's token, and for admins.
    #[graphql(
        guard = "Allow::Public",
        complexity = "100 + input.as_ref().map_or(20, |input| input.first.clamp(0, 100) as usize) * child_complexity"
    )]
    async fn recommendations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The listener's id.")] user_id: ID,
        #[graphql(desc = "What to recommend; songs if left out.")] input: Option<RecommendationInput>,
    ) -> Result<Vec<Recommendation>, ApiError> {
        recommendation::for_you(ctx, &user_id, input).await
    }

    /// Songs that go with others, with artists, albums or a playlist to be continued. For listeners, artists and admins.
    #[graphql(guard = "Allow::Public", complexity = "100 + input.length.clamp(0, 500) as usize * child_complexity")]
    async fn assisted_playlist(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What it is made from, and how.")] input: AssistedPlaylistInput,
    ) -> Result<AssistedPlaylist, ApiError> {
        recommendation::assist(ctx, input).await
    }

    /// How well recommendations foretold what listeners turned to, as `backbeat job run recommend-evaluate` measured it
    /// last; null while it did not. For admins.
    #[graphql(guard = "Allow::Admin")]
    async fn recommendation_quality(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Recommendations of what.", default_with = "EntityKind::Song")] of: EntityKind,
    ) -> Result<Option<RecommendationQuality>, ApiError> {
        recommendation::quality(ctx, of.into()).await
    }

    /// Single events, newest first.
    ///
    /// Pages go forward, to older ones, with `first` and `after`, or backward with `last` and `before`; new events do not
    /// move what is on them. For admins everything; for artists the events that are credited to them, without who it was.
    #[graphql(
        guard = "Allow::Owners",
        complexity = "50 + first.or(last).unwrap_or(20).clamp(0, 200) as usize * child_complexity"
    )]
    async fn events(
        &self,
        ctx: &Context<'_>,
        #[graphql(name = "where", desc = "Which events; all if left out.")] filter: Option<EventFilterInput>,
        #[graphql(desc = "How many from the newest, or behind `after`, 1 to 200; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "The cursor that the page before ended with.")] after: Option<String>,
        #[graphql(desc = "How many from the oldest, or before `before`, 1 to 200; not together with `first`.")]
        last: Option<i32>,
        #[graphql(desc = "The cursor that the page behind began with.")] before: Option<String>,
    ) -> Result<EventConnection, ApiError> {
        let question = filter.unwrap_or_default().ask(ctx).await?;
        Ok(event_list::page(ctx, question, PageInput { first, after, last, before }).await?.0)
    }

    /// Any group-by over events and music counters: measures, by up to three dimensions and time buckets, as rows for a
    /// chart. Groups in which nothing that is measured happened are left out.
    ///
    /// Stored sums answer where they suffice (`source: ROLLUP`): counts and users by type, counters of music by song,
    /// album or artist, any of these by hour of the day or weekday, counts and counters by one of country, source and
    /// device; all by time buckets. Anything else is read from the events within budgets: past one, the error
    /// `BUDGET_EXCEEDED` says what to narrow. For admins. For artists within their own catalogue, never by user or
    /// property.
    #[graphql(guard = "Allow::Owners", complexity = "200 + first.clamp(0, 1_000) as usize + child_complexity")]
    #[allow(clippy::too_many_arguments)] // Each is an argument of the schema.
    async fn explore(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The numbers of each row, 1 to 10.")] measures: Vec<ExploreMeasure>,
        #[graphql(desc = "What rows are told apart by, at most 3.", default)] by: Vec<ExploreDimension>,
        #[graphql(desc = "The length of time buckets; without it, the window as a whole.")] every: Option<Granularity>,
        #[graphql(name = "where", desc = "Which events; all if left out.")] filter: Option<ExploreFilter>,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(28)")] during: WindowInput,
        #[graphql(
            desc = "The zone of calendar periods, time buckets, hours and weekdays.",
            default_with = "TimeZone::UTC"
        )]
        time_zone: TimeZone,
        #[graphql(desc = "The order of rows; by time, then with the highest of the first measure first, if left out.")]
        order_by: Option<ExploreOrder>,
        #[graphql(desc = "How many rows, 1 to 1,000.", default = 100)] first: i32,
    ) -> Result<ExploreResult, ApiError> {
        let (filter, zone, order) = (filter.unwrap_or_default(), time_zone, order_by);
        explore::explore(ctx, AskedExplore { measures, by, every, filter, during, zone, order, first }).await
    }
}

async fn one<T>(
    ctx: &Context<'_>,
    kind: entity::EntityKind,
    id: ID,
    make: impl Fn(CatalogueEntry) -> T,
) -> Result<Option<T>, ApiError> {
    Ok(ctx.loader().load_one(EntityRef::new(kind, id.0)).await?.map(make))
}

async fn many<T>(
    ctx: &Context<'_>,
    kind: entity::EntityKind,
    ids: Vec<ID>,
    make: impl Fn(CatalogueEntry) -> T,
) -> Result<Vec<Option<T>>, ApiError> {
    if ids.len() > IDS_MAX {
        return Err(ApiError::invalid("ids", format!("holds {} ids, the limit is {IDS_MAX}", ids.len())));
    }
    let entities: Vec<EntityRef> = ids.into_iter().map(|id| EntityRef::new(kind, id.0)).collect();
    let entries = ctx.loader().load_many(entities.iter().cloned()).await?;
    Ok(entities.iter().map(|entity| entries.get(entity).cloned().map(&make)).collect())
}
