//! What a person may ask of us about themselves.

use async_graphql::{Context, Enum, ID, SimpleObject};

use super::user::require_own;
use crate::{
    domain::event::EventKey,
    graphql::{context::ContextExt, error::ApiError, input::page_size, scalars::Long},
    privacy::export::{EVENTS_MAX, ndjson},
};

/// What became of somebody who was to be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum EraseStatus {
    /// They are gone now.
    Erased,
    /// Nothing is known under the id, or not any more.
    Unknown,
}

impl From<Option<u64>> for EraseStatus {
    fn from(erased: Option<u64>) -> Self {
        if erased.is_some() { Self::Erased } else { Self::Unknown }
    }
}

/// The outcome of an erasure.
#[derive(SimpleObject)]
pub struct EraseUserPayload {
    /// The id that was asked for.
    pub id: ID,
    /// What became of them.
    pub status: EraseStatus,
    /// How many events lost their person.
    pub events: Long,
}

/// A part of what is known about a user.
#[derive(SimpleObject)]
pub struct UserExport {
    /// Events as JSON, one a line; empty where nothing is known.
    pub ndjson: String,
    /// How many events it holds.
    pub events: Long,
    /// Whether there is more.
    pub has_next_page: bool,
    /// What to give as `after` for the part behind; null where this one is empty.
    pub end_cursor: Option<String>,
}

impl UserExport {
    pub async fn load(ctx: &Context<'_>, id: &str, first: i32, after: Option<String>) -> Result<Self, ApiError> {
        require_own(ctx.require_viewer()?, id)?;
        let first = page_size(first, EVENTS_MAX)?;
        let after = after.map(|text| parse(&text)).transpose()?;
        let mut events = match ctx.analytics().find_user(id).await? {
            Some(user) => ctx.privacy().export(&user, after, first + 1).await?,
            None => Vec::new(),
        };
        let has_next_page = events.len() > first;
        events.truncate(first);
        let end_cursor = events.last().map(|event| cursor(event.key));
        Ok(Self { ndjson: ndjson(&events), events: Long::of(events.len() as u64), has_next_page, end_cursor })
    }
}

fn cursor(key: EventKey) -> String {
    let hash: String = key.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{hash}", key.occurred_at_ms)
}

fn parse(text: &str) -> Result<EventKey, ApiError> {
    let key = text.rsplit_once('-').and_then(|(at_ms, hash)| {
        let hash = u128::from_str_radix(hash, 16).ok().filter(|_| hash.len() == 32)?;
        Some(EventKey { occurred_at_ms: at_ms.parse().ok()?, hash: hash.to_be_bytes() })
    });
    key.ok_or_else(|| ApiError::invalid("after", "is not a cursor of an export"))
}
