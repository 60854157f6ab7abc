//! What one user did, in sessions.

use async_graphql::{Context, Object, SimpleObject};

use super::{
    event_list::{self, Event, EventConnection, EventCount},
    ranking::{PageInfo, PageInput},
};
use crate::{
    analytics::EventQuestion,
    graphql::{context::ContextExt, error::ApiError, scalars::DateTime},
};

/// An event of a user at its place in what they did.
#[derive(Clone, SimpleObject)]
pub struct ActivityEdge {
    /// Where a page goes on, given as `after`, or ends, given as `before`. It names a place, not an event, and stays
    /// good when the event goes away.
    pub cursor: String,
    /// The event.
    pub node: Event,
    /// When the session that it belongs to began; the same for all events of a session. Sessions go by everything that
    /// the user did, whatever the filter or the page leaves out. Null for an event that stands for several, which is in
    /// no session.
    pub session_started_at: Option<DateTime>,
    /// Whether its session began with it, or with another event of the same millisecond.
    pub begins_session: bool,
}

/// A page of what a user did.
pub struct ActivityConnection {
    events: EventConnection,
    edges: Vec<ActivityEdge>,
}

/// A page of what a user did, newest first; events of one millisecond in an order that stays.
///
/// A page holds fewer than asked for, or none, where as much was read as one answer may: then there is a next page (or a
/// previous one), and its cursor goes on from there.
#[Object]
impl ActivityConnection {
    /// The page's events with their places.
    async fn edges(&self) -> &[ActivityEdge] {
        &self.edges
    }

    /// The page's events alone.
    async fn nodes(&self) -> Vec<Event> {
        self.edges.iter().map(|edge| edge.node.clone()).collect()
    }

    /// Where the page lies.
    async fn page_info(&self) -> &PageInfo {
        &self.events.page_info
    }

    /// How many events of the user there are that fit the filter, on all pages. Counted when it is selected.
    #[graphql(complexity = "500")]
    async fn total_count(&self, ctx: &Context<'_>) -> Result<EventCount, ApiError> {
        self.events.count(ctx).await
    }
}

/// A page of one user's events, of the question that asks for them.
pub async fn page(ctx: &Context<'_>, question: EventQuestion, page: PageInput) -> Result<ActivityConnection, ApiError> {
    let (events, way) = event_list::page(ctx, question, page).await?;
    let steps = events.edges.iter().rev().map(|edge| &edge.node.0.event).filter(|event| event.count.is_none());
    let mut moments: Vec<i64> = steps.map(|event| event.key.occurred_at_ms).collect();
    moments.dedup();
    // Without a way there are no events.
    let starts = match way {
        Some(way) => ctx.analytics().session_starts(way, &moments).await?,
        None => Vec::new(),
    };
    let edge = |edge: &event_list::EventEdge| {
        let event = &edge.node.0.event;
        let place = moments.binary_search(&event.key.occurred_at_ms).ok().filter(|_| event.count.is_none());
        let start_ms = place.map(|place| starts[place]);
        ActivityEdge {
            cursor: edge.cursor.clone(),
            node: edge.node.clone(),
            session_started_at: start_ms.map(DateTime::at),
            begins_session: start_ms == Some(event.key.occurred_at_ms),
        }
    };
    let edges = events.edges.iter().map(edge).collect();
    Ok(ActivityConnection { events, edges })
}
