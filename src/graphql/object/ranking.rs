//! Who is first.

use std::sync::Arc;

use async_graphql::{Context, Object, SimpleObject};

use super::{
    entity::{Album, Song},
    measurable::Measurable,
    metrics::Freshness,
    works::entries_of,
};
use crate::{
    analytics::{PAGES_DEPTH, Place, PlaceKey, PositionKey, RankedEntity, RankingList},
    domain::{
        entity::{EntityKind, EntityRef},
        ranking::{Among, RankingQuestion},
        viewer::Role,
        window::{AskedWindow, Window},
    },
    graphql::{
        context::ContextExt,
        cursor::{Cursor, ranking_name},
        error::ApiError,
        guard::forbidden,
        input::{Metric, page_size_of},
        scalars::{CountryCode, DateTime, Long},
    },
};

/// The longest page of a ranking.
const PAGE_MAX: usize = 200;
const PAGE_DEFAULT: i32 = 20;

/// A song at its place in a list.
#[derive(SimpleObject)]
pub struct RankedSong {
    /// Its place, from 1.
    pub position: i32,
    /// What it is ranked by: a count, or milliseconds of listening time.
    pub value: f64,
    /// The song.
    pub song: Song,
}

/// An album at its place in a list.
#[derive(SimpleObject)]
pub struct RankedAlbum {
    /// Its place, from 1.
    pub position: i32,
    /// What it is ranked by: a count, or milliseconds of listening time.
    pub value: f64,
    /// The album.
    pub album: Album,
}

/// An entity at its place in a ranking.
#[derive(Clone)]
pub struct RankingEdge {
    /// What the edge is of, and how that is named in cursors.
    list: Arc<RankingList>,
    name: Arc<str>,
    position: usize,
    ranked: RankedEntity,
    node: Measurable,
}

/// An entity at its place in a ranking.
#[Object]
impl RankingEdge {
    /// Where a page goes on, given as `after`, or ends, given as `before`.
    async fn cursor(&self) -> String {
        self.to_cursor()
    }

    /// Its place, from 1.
    async fn position(&self) -> i32 {
        i32::try_from(self.position).unwrap_or(i32::MAX)
    }

    /// Its place over the window of the same length immediately before; null where it was not ranked.
    #[graphql(complexity = "2")]
    async fn previous_position(&self, ctx: &Context<'_>) -> Result<Option<i32>, ApiError> {
        let position = position_of(ctx, self.list.question.previous(), &self.ranked.entity).await?;
        Ok(position.map(|position| i32::try_from(position).unwrap_or(i32::MAX)))
    }

    /// How many places it has climbed since then: `previousPosition` minus `position`. Null where it was not ranked.
    #[graphql(complexity = "2")]
    async fn change(&self, ctx: &Context<'_>) -> Result<Option<i32>, ApiError> {
        let previous = self.previous_position(ctx).await?;
        Ok(previous.map(|previous| previous.saturating_sub(i32::try_from(self.position).unwrap_or(i32::MAX))))
    }

    /// What it is ranked by: a count, or milliseconds of listening time.
    async fn value(&self) -> f64 {
        self.ranked.value as f64
    }

    /// Its part of the sum of all values of the whole ranking, 0 to 1. Null for listeners: one person can be many
    /// entities' listener.
    async fn share(&self, ctx: &Context<'_>) -> Result<Option<f64>, ApiError> {
        let sum = ctx.analytics().totals(&self.list).await?.sum;
        // Of a ranking that is live, one may have grown past the sum in between.
        Ok(sum.map(|sum| self.ranked.value as f64 / sum.max(self.ranked.value) as f64))
    }

    /// The entity.
    async fn node(&self) -> &Measurable {
        &self.node
    }
}

impl RankingEdge {
    fn to_cursor(&self) -> String {
        let RankingQuestion { window, .. } = self.list.question;
        Cursor {
            ranking: self.name.to_string(),
            list: self.list.id,
            from_ms: window.from_ms,
            to_ms: window.to_ms,
            position: self.position,
            value: self.ranked.value,
            id: self.ranked.entity.id.to_string(),
        }
        .to_text()
    }
}

/// Where a page lies.
#[derive(Clone, SimpleObject)]
pub struct PageInfo {
    /// Whether there are more behind it.
    pub has_next_page: bool,
    /// Whether there are more before it.
    pub has_previous_page: bool,
    /// The cursor of its first edge; null on an empty page. Of events, where reading stopped, if it did.
    pub start_cursor: Option<String>,
    /// The cursor of its last edge; null on an empty page. Of events, where reading stopped, if it did.
    pub end_cursor: Option<String>,
}

/// A page of a ranking.
pub struct RankingConnection {
    list: Arc<RankingList>,
    edges: Vec<RankingEdge>,
    page_info: PageInfo,
}

/// A ranking of entities by a metric over a window: highest first, ties by listeners, then id; entities with nothing
/// are left out.
#[Object]
impl RankingConnection {
    /// The page's entities with their places.
    async fn edges(&self) -> &[RankingEdge] {
        &self.edges
    }

    /// The page's entities alone.
    async fn nodes(&self) -> Vec<Measurable> {
        self.edges.iter().map(|edge| edge.node.clone()).collect()
    }

    /// Where the page lies.
    async fn page_info(&self) -> &PageInfo {
        &self.page_info
    }

    /// How many entities the whole ranking has.
    #[graphql(complexity = "50")]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<Long, ApiError> {
        Ok(Long::of(ctx.analytics().totals(&self.list).await?.count))
    }

    /// How far the numbers can be trusted to be complete.
    async fn freshness(&self, ctx: &Context<'_>) -> Freshness {
        Freshness::of(ctx.analytics(), self.list.question.window)
    }
}

/// The state of a watched ranking.
#[derive(SimpleObject)]
pub struct LiveRanking {
    /// Counts the states of this ranking since it is watched; a gap tells how many were skipped.
    pub sequence: Long,
    /// When this state was read.
    pub at: DateTime,
    /// The first entities with their places.
    pub edges: Vec<RankingEdge>,
}

/// Where an entity stands among all of its kind.
pub struct Rank {
    pub question: RankingQuestion,
    pub entity: EntityRef,
}

/// Where an entity stands among all of its kind, in the order of `ranking`.
#[Object]
impl Rank {
    /// Its place, from 1; null while it has nothing.
    async fn position(&self, ctx: &Context<'_>) -> Result<Option<Long>, ApiError> {
        Ok(self.place(ctx).await?.position.map(Long::of))
    }

    /// Its place over the window of the same length immediately before; null where it had nothing.
    #[graphql(complexity = "50")]
    async fn previous_position(&self, ctx: &Context<'_>) -> Result<Option<Long>, ApiError> {
        Ok(position_of(ctx, self.question.previous(), &self.entity).await?.map(Long::of))
    }

    /// How many are ranked: all of its kind that have anything.
    async fn of(&self, ctx: &Context<'_>) -> Result<Long, ApiError> {
        Ok(Long::of(self.place(ctx).await?.of))
    }

    /// Which part of the ranked it leaves behind or is, in percent, above 0 to 100: the higher the better, 100 is the
    /// first. Null while it has nothing.
    async fn percentile(&self, ctx: &Context<'_>) -> Result<Option<f64>, ApiError> {
        let Place { position, of } = self.place(ctx).await?;
        Ok(position.map(|position| 100.0 * (of - position + 1) as f64 / of as f64))
    }
}

impl Rank {
    async fn place(&self, ctx: &Context<'_>) -> Result<Place, ApiError> {
        let key = PlaceKey { question: self.question.clone(), entity: self.entity.clone() };
        Ok(ctx.loader().load_one(key).await?.unwrap_or(Place { position: None, of: 0 }))
    }
}

async fn position_of(
    ctx: &Context<'_>,
    question: RankingQuestion,
    entity: &EntityRef,
) -> Result<Option<i64>, ApiError> {
    Ok(ctx.loader().load_one(PositionKey { question, entity: entity.clone() }).await?.flatten())
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

/// Among whom the viewer may see entities of a kind ranked. In one country, only admins see what few people are
/// behind.
pub fn among(
    ctx: &Context<'_>,
    of: EntityKind,
    genre: Option<String>,
    country: Option<CountryCode>,
) -> Result<Among, ApiError> {
    if genre.is_some() && of == EntityKind::Playlist {
        return Err(ApiError::invalid("genre", "must be left out: playlists have no genres"));
    }
    let country = country.map(|country| country.parse("country")).transpose()?;
    let sees_all = country.is_none() || ctx.require_viewer()?.role == Role::Admin;
    let people_min = if sees_all { 0 } else { ctx.analytics().shown_people_min() };
    Ok(Among { genre: genre.map(Into::into), country, people_min })
}

/// Which page a client asks for.
pub struct PageInput {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
}

/// Where a page lies, as far as is known before the list is.
pub enum AskedPage<C> {
    /// The first of those behind the cursor.
    Forward(usize, Option<C>),
    /// The last of those before it.
    Backward(usize, Option<C>),
}

impl PageInput {
    /// `read` reads a cursor, where it is one of `what` is listed.
    pub fn parse<C>(self, what: &str, read: impl Fn(&str) -> Option<C>) -> Result<AskedPage<C>, ApiError> {
        let Self { first, after, last, before } = self;
        let is_backward = last.is_some() || (before.is_some() && first.is_none());
        if first.is_some() && last.is_some() {
            return Err(ApiError::invalid("last", "must not be given together with first"));
        }
        if is_backward && after.is_some() {
            return Err(ApiError::invalid("after", "goes with first; with last give before"));
        }
        if !is_backward && before.is_some() {
            return Err(ApiError::invalid("before", "goes with last; with first give after"));
        }
        let cursor = |field: &str, text: Option<String>| {
            text.map(|text| read(&text).ok_or_else(|| unknown_cursor(field, what))).transpose()
        };
        if is_backward {
            let size = page_size_of("last", last.unwrap_or(PAGE_DEFAULT), PAGE_MAX)?;
            return Ok(AskedPage::Backward(size, cursor("before", before)?));
        }
        let size = page_size_of("first", first.unwrap_or(PAGE_DEFAULT), PAGE_MAX)?;
        Ok(AskedPage::Forward(size, cursor("after", after)?))
    }
}

impl AskedPage<Cursor> {
    fn cursor(&self) -> Option<&Cursor> {
        let (Self::Forward(_, cursor) | Self::Backward(_, cursor)) = self;
        cursor.as_ref()
    }

    /// The place, from 0, of what comes behind the page, if it lies at a cursor of this position.
    fn end_at(&self, position: usize) -> usize {
        match self {
            Self::Forward(size, _) => position.saturating_add(*size),
            Self::Backward(..) => position.saturating_sub(1),
        }
    }
}

fn unknown_cursor(field: &str, what: &str) -> ApiError {
    ApiError::invalid(field, format!("is not a cursor of {what}"))
}

const THIS_RANKING: &str = "this ranking";

/// What is ranked, as a client asks for it.
#[derive(Clone)]
pub struct AskedRanking {
    pub of: EntityKind,
    pub by: crate::domain::measure::Metric,
    pub during: AskedWindow,
    pub among: Among,
}

impl AskedRanking {
    fn over(self, window: Window) -> RankingQuestion {
        RankingQuestion { of: self.of, by: self.by, window, among: self.among }
    }

    /// A page of it.
    pub async fn page(self, ctx: &Context<'_>, page: PageInput) -> Result<RankingConnection, ApiError> {
        let name: Arc<str> = ranking_name(self.of, self.by, self.during, &self.among).into();
        let page = page.parse(THIS_RANKING, |text| Cursor::parse(text, &name))?;
        let window = match page.cursor() {
            Some(cursor) => cursor.window(),
            None => ctx.analytics().window(self.during, chrono_tz::Tz::UTC),
        };
        let list = list_of(ctx, self.over(window), &page).await?;
        let (from, to) = match &page {
            AskedPage::Forward(size, cursor) => {
                let from = match cursor {
                    Some(cursor) => begin_behind(ctx, &list, cursor).await?,
                    None => 0,
                };
                (from, (from + size).min(list.len))
            }
            AskedPage::Backward(size, cursor) => {
                let to = match cursor {
                    Some(cursor) => end_before(ctx, &list, cursor).await?,
                    None => list.len,
                };
                (to.saturating_sub(*size), to)
            }
        };
        let ranked = ctx.analytics().ranked(&list, from..to).await?;
        let edges = edges(ctx, &list, &name, from, ranked).await?;
        let page_info = PageInfo {
            has_next_page: to < list.len,
            has_previous_page: from > 0,
            start_cursor: edges.first().map(RankingEdge::to_cursor),
            end_cursor: edges.last().map(RankingEdge::to_cursor),
        };
        Ok(RankingConnection { list, edges, page_info })
    }

    /// A state of it that is being watched, as edges.
    pub async fn live_edges(
        self,
        ctx: &Context<'_>,
        window: Window,
        ranked: Vec<RankedEntity>,
    ) -> Result<Vec<RankingEdge>, ApiError> {
        let name = ranking_name(self.of, self.by, self.during, &self.among).into();
        let length = ranked.len();
        let list = RankingList::new(self.over(window), length, length, ranked.clone());
        edges(ctx, &Arc::new(list), &name, 0, ranked).await
    }
}

/// The list that a page is of: the one its cursor was made from, while that is kept. Only who takes cursors along can
/// go on to another page; for everybody else a short list does.
async fn list_of(
    ctx: &Context<'_>,
    question: RankingQuestion,
    page: &AskedPage<Cursor>,
) -> Result<Arc<RankingList>, ApiError> {
    let selected = ctx.look_ahead();
    let info = selected.field("pageInfo");
    let takes_cursors = selected.field("edges").field("cursor").exists()
        || info.field("startCursor").exists()
        || info.field("endCursor").exists();
    match page {
        AskedPage::Forward(_, Some(cursor)) | AskedPage::Backward(_, Some(cursor)) => {
            let walked = ctx.analytics().walked_ranking(cursor.list).await;
            let tells = |list: &Arc<RankingList>| list.question == question && list.tells(page.end_at(cursor.position));
            match walked.filter(tells) {
                Some(list) => Ok(list),
                None => Ok(ctx.analytics().ranking_to_walk(&question, PAGES_DEPTH).await?),
            }
        }
        AskedPage::Forward(size, None) => {
            // One more than the page tells whether there is a next; a power of two lets pages share a list.
            let depth = (size + 1).next_power_of_two().max(64);
            if takes_cursors {
                return Ok(ctx.analytics().ranking_to_walk(&question, depth).await?);
            }
            Ok(ctx.analytics().ranking(&question, depth).await?)
        }
        AskedPage::Backward(_, None) => Ok(ctx.analytics().ranking_to_walk(&question, PAGES_DEPTH).await?),
    }
}

/// The place of a cursor's entity, from 0, in the list that the cursor was made from. In another list it is where the
/// entity is now, if it still has its value.
async fn place_of_cursor(
    ctx: &Context<'_>,
    list: &RankingList,
    cursor: &Cursor,
    field: &str,
) -> Result<Option<usize>, ApiError> {
    let entity = EntityRef::new(list.question.of, &*cursor.id);
    if cursor.list != list.id {
        return Ok(ctx.analytics().place_at(list, &entity, cursor.value).await?);
    }
    let place = cursor.position - 1;
    let found = ctx.analytics().ranked(list, place..cursor.position).await?;
    let is_ours = found.first().is_some_and(|ranked| ranked.entity == entity && ranked.value == cursor.value);
    if is_ours { Ok(Some(place)) } else { Err(unknown_cursor(field, THIS_RANKING)) }
}

/// Where a page behind a cursor begins. Without the cursor's entity it begins at its value: what was tied with it is
/// rather listed twice than left out.
async fn begin_behind(ctx: &Context<'_>, list: &RankingList, cursor: &Cursor) -> Result<usize, ApiError> {
    match place_of_cursor(ctx, list, cursor, "after").await? {
        Some(place) => Ok(place + 1),
        None => Ok(ctx.analytics().place_below(list, cursor.value).await),
    }
}

async fn end_before(ctx: &Context<'_>, list: &RankingList, cursor: &Cursor) -> Result<usize, ApiError> {
    match place_of_cursor(ctx, list, cursor, "before").await? {
        Some(place) => Ok(place),
        None => Ok(ctx.analytics().place_below(list, cursor.value - 1).await),
    }
}

/// Edges of a stretch of a list that begins at a place from 0.
async fn edges(
    ctx: &Context<'_>,
    list: &Arc<RankingList>,
    name: &Arc<str>,
    from: usize,
    ranked: Vec<RankedEntity>,
) -> Result<Vec<RankingEdge>, ApiError> {
    let entries = entries_of(ctx, ranked.iter().map(|ranked| &ranked.entity)).await?;
    let edge = |((position, ranked), entry): ((usize, RankedEntity), _)| RankingEdge {
        list: list.clone(),
        name: name.clone(),
        position,
        ranked,
        node: Measurable::from(entry),
    };
    Ok((from + 1..).zip(ranked).zip(entries).map(edge).collect())
}
