//! What a person may ask of us about themselves.

use async_graphql::{Context, Enum, ID, SimpleObject};
use chrono::{DateTime as Instant, SecondsFormat};
use serde_json::{Map, Value, json};

use super::user::require_own;
use crate::{
    domain::{
        event::{Event, EventKey},
        money::decimal_text,
    },
    graphql::{context::ContextExt, error::ApiError, input::page_size, scalars::Long},
};

/// The most events of one part of an export.
const EVENTS_MAX: usize = 5_000;

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
        let lines = events.iter().map(|event| format!("{}\n", told(event)));
        Ok(Self { ndjson: lines.collect(), events: Long::of(events.len() as u64), has_next_page, end_cursor })
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

/// An event in the fields in which it was sent.
fn told(event: &Event) -> Value {
    let at = |ms: i64| Instant::from_timestamp_millis(ms).map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let properties = event.properties.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let amount = event.amount_minor.zip(event.currency.as_deref());
    let fields = [
        ("id", json!(event.event_id)),
        ("type", json!(event.event_type)),
        ("occurredAt", json!(at(event.key.occurred_at_ms))),
        ("receivedAt", json!(at(event.received_at_ms))),
        ("sender", json!(&*event.source)),
        ("userId", json!(event.user_id.as_deref())),
        ("anonymousId", json!(event.anonymous_id.as_deref())),
        ("songId", json!(event.song_id.as_deref())),
        ("albumId", json!(event.album_id.as_deref())),
        ("playlistId", json!(event.playlist_id.as_deref())),
        ("artistId", json!(event.artist_id.as_deref())),
        ("genre", json!(event.genre)),
        ("country", json!(event.country)),
        ("source", json!(event.listening_source)),
        ("device", json!(event.device)),
        ("playedMs", json!(event.played_ms)),
        ("durationMs", json!(event.duration_ms)),
        ("endedByUser", json!(event.ended_by_user)),
        ("count", json!(event.count)),
        ("amount", json!(amount.map(|(minor, currency)| decimal_text(minor, currency)))),
        ("currency", json!(event.currency)),
        ("properties", json!(properties)),
    ];
    let said = fields.into_iter().filter(|(_, value)| !value.is_null());
    Value::Object(said.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
