//! The questions.

use async_graphql::{Context, ID, Object};

use super::{
    context::ContextExt,
    definitions::{Definition, definitions},
    error::ApiError,
    guard::{Allow, forbidden},
    input::{Cadence, EntityKind, Metric, TrendPeriod, WindowInput, page_size},
    object::{
        chart::Chart,
        entity::{Album, Artist, Playlist, Song},
        ranking::{Cursor, PageInfo, RankingConnection, edges, ranking_name},
        realtime::Platform,
        trending::{self, TrendingItem},
        viewer::Viewer,
    },
    scalars::{CountryCode, Date},
};
use crate::{
    analytics::RankingQuestion,
    domain::{
        catalogue::CatalogueEntry,
        chart::{Series, midnight},
        entity::{self, EntityRef},
        viewer::Role,
    },
};

/// The most entities asked for by id at once.
const IDS_MAX: usize = 200;
/// The longest page of a ranking.
const PAGE_MAX: usize = 200;
/// How deep pages of a ranking go.
const RANKING_DEPTH_MAX: usize = 10_000;

pub struct Query;

/// The questions.
#[Object]
impl Query {
    /// Who the token says you are. For any token.
    #[graphql(guard = "Allow::AnyToken")]
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer, ApiError> {
        Ok(Viewer(ctx.require_viewer()?.clone()))
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

    /// Entities of a kind by a metric over a window, highest first, ties by id. Pages go on from a
    /// cursor, over the window that the first page counted, down to place 10,000. For listeners, artists
    /// and admins; metrics that are not public for admins.
    #[graphql(
        guard = "Allow::Public",
        complexity = "50 + first.unwrap_or(20).clamp(0, 200) as usize * child_complexity"
    )]
    async fn ranking(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which kind of entity.")] of: EntityKind,
        #[graphql(desc = "By which metric.", default_with = "Metric::Streams")] by: Metric,
        #[graphql(desc = "Which stretch of time.", default_with = "WindowInput::days(7)")] during: WindowInput,
        #[graphql(desc = "How many, 1 to 200; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "The cursor that the page before ended with.")] after: Option<String>,
    ) -> Result<RankingConnection, ApiError> {
        let metric = require_rankable(ctx, by)?;
        let first = page_size(first.unwrap_or(20), PAGE_MAX)?;
        let name = ranking_name(of.into(), metric);
        let after = after.as_deref().map(|text| Cursor::parse(text, &name)).transpose()?;
        let window = match &after {
            Some(cursor) => cursor.window(),
            None => ctx.analytics().window(during.parse()?, chrono_tz::Tz::UTC),
        };
        let skipped = after.as_ref().map_or(0, |cursor| cursor.position);
        if skipped >= RANKING_DEPTH_MAX {
            return Err(ApiError::invalid("after", format!("pages end at place {RANKING_DEPTH_MAX}")));
        }
        // One more than the page tells whether there is a next; a power of two lets pages share a list.
        let depth = (skipped + first + 1).next_power_of_two().clamp(64, RANKING_DEPTH_MAX);
        let question = RankingQuestion { of: of.into(), by: metric, window, depth };
        let list = ctx.analytics().ranking(question).await?;
        let from = after.as_ref().map_or(0, |cursor| {
            list.partition_point(|ranked| (-ranked.value, &*ranked.entity.id) <= (-cursor.value, &*cursor.id))
        });
        let to = (from + first).min(list.len());
        let edges = edges(ctx, &name, window, from + 1, &list[from..to]).await?;
        let page_info = PageInfo {
            has_next_page: to < list.len(),
            has_previous_page: from > 0,
            start_cursor: edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
        };
        Ok(RankingConnection { question, edges, page_info })
    }

    /// The published chart of a period, in its last revision; null where none is published: the period has not
    /// ended, nothing was streamed in it, or no such genre or country has charts. For listeners, artists and
    /// admins.
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
        #[graphql(desc = "Only what was streamed in this country. No such charts are published yet.")] country: Option<
            CountryCode,
        >,
    ) -> Result<Option<Chart>, ApiError> {
        if of == EntityKind::Playlist {
            return Err(ApiError::invalid("of", "playlists have no charts; ask for SONG, ALBUM or ARTIST"));
        }
        let on_ms = on.map(|Date(day)| midnight(day));
        if on_ms.is_some_and(|on_ms| on_ms > ctx.charts().now_ms()) {
            return Err(ApiError::invalid("on", "lies in the future"));
        }
        // No genre and no country has an empty name: that is how charts of all are stored.
        if genre.as_deref() == Some("") || country.as_ref().is_some_and(|CountryCode(code)| code.is_empty()) {
            return Ok(None);
        }
        let series = Series {
            of: of.into(),
            cadence: cadence.into(),
            genre: genre.map(Into::into),
            country: country.map(|CountryCode(code)| code.into()),
        };
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
}

/// Checks that the viewer may compare everybody by this metric.
pub fn require_rankable(ctx: &Context<'_>, by: Metric) -> Result<crate::domain::measure::Metric, ApiError> {
    let metric: crate::domain::measure::Metric = by.into();
    let viewer = ctx.require_viewer()?;
    if metric.is_public() || viewer.role == Role::Admin {
        return Ok(metric);
    }
    Err(forbidden(viewer, "a ranking by this metric"))
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
