//! Who is first.

use async_graphql::{Context, Object, SimpleObject};
use serde::{Deserialize, Serialize};

use super::{
    entity::{Album, Measurable, Song, entries_of},
    metrics::Freshness,
};
use crate::{
    analytics::{RankedEntity, RankingQuestion},
    domain::{entity::EntityKind, measure::Metric, window::Window},
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::WINDOW_MS_MAX,
        scalars::{DateTime, Long},
    },
};

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
#[derive(Clone, SimpleObject)]
pub struct RankingEdge {
    /// Where the next page goes on, given as `after`.
    pub cursor: String,
    /// Its place, from 1.
    pub position: i32,
    /// What it is ranked by: a count, or milliseconds of listening time.
    pub value: f64,
    /// The entity.
    pub node: Measurable,
}

/// Where a page lies.
#[derive(Clone, SimpleObject)]
pub struct PageInfo {
    /// Whether there are more behind it.
    pub has_next_page: bool,
    /// Whether there are more before it.
    pub has_previous_page: bool,
    /// The cursor of its first edge; null on an empty page.
    pub start_cursor: Option<String>,
    /// The cursor of its last edge; null on an empty page.
    pub end_cursor: Option<String>,
}

/// A page of a ranking.
pub struct RankingConnection {
    pub question: RankingQuestion,
    pub edges: Vec<RankingEdge>,
    pub page_info: PageInfo,
}

/// A ranking of entities by a metric over a window: highest first, ties by id, entities with nothing left out.
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
        Ok(Long::of(ctx.analytics().ranking_size(self.question).await?))
    }

    /// How far the numbers can be trusted to be complete.
    async fn freshness(&self, ctx: &Context<'_>) -> Freshness {
        Freshness::of(ctx.analytics(), self.question.window)
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

/// Where a page ended: the window, so that all pages count the same stretch of time, and the last edge.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which ranking it belongs to.
    pub ranking: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub position: usize,
    pub value: i64,
    pub id: String,
}

/// Past the year 9999, on either side of 1970.
const INSTANT_MS_MAX: i64 = 300_000_000_000_000;

impl Cursor {
    fn to_text(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        json.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads a cursor of the ranking of this kind by this metric.
    pub fn parse(text: &str, ranking: &str) -> Result<Self, ApiError> {
        let unreadable = || ApiError::invalid("after", "is not a cursor of this ranking");
        if text.len() > 4_096 || !text.is_ascii() || !text.len().is_multiple_of(2) {
            return Err(unreadable());
        }
        let bytes: Option<Vec<u8>> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect();
        let cursor: Self = serde_json::from_slice(&bytes.ok_or_else(unreadable)?).map_err(|_| unreadable())?;
        // Anybody can write a cursor: what none of ours can say is refused before it is computed with.
        let is_possible = cursor.ranking == ranking
            && (-INSTANT_MS_MAX..INSTANT_MS_MAX).contains(&cursor.from_ms)
            && (-INSTANT_MS_MAX..INSTANT_MS_MAX).contains(&cursor.to_ms)
            && cursor.from_ms < cursor.to_ms
            && cursor.to_ms - cursor.from_ms <= WINDOW_MS_MAX
            && cursor.value > 0;
        if is_possible { Ok(cursor) } else { Err(unreadable()) }
    }

    pub fn window(&self) -> Window {
        Window::snapped_outward(self.from_ms, self.to_ms)
    }
}

/// The name of a ranking in its cursors.
pub fn ranking_name(of: EntityKind, by: Metric) -> String {
    format!("{} by {by:?}", of.word())
}

/// Edges of ranked entities; the first one's place is `first_position`.
pub async fn edges(
    ctx: &Context<'_>,
    ranking: &str,
    window: Window,
    first_position: usize,
    ranked: &[RankedEntity],
) -> Result<Vec<RankingEdge>, ApiError> {
    let entries = entries_of(ctx, ranked.iter().map(|ranked| &ranked.entity)).await?;
    Ok((first_position..)
        .zip(ranked)
        .zip(entries)
        .map(|((position, ranked), entry)| {
            let cursor = Cursor {
                ranking: ranking.to_owned(),
                from_ms: window.from_ms,
                to_ms: window.to_ms,
                position,
                value: ranked.value,
                id: ranked.entity.id.to_string(),
            };
            RankingEdge {
                cursor: cursor.to_text(),
                position: i32::try_from(position).unwrap_or(i32::MAX),
                value: ranked.value as f64,
                node: entry.into(),
            }
        })
        .collect())
}
