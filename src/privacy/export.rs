//! Everything about a user, as it was sent: one event a line, oldest first.

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::{Stream, stream};
use serde_json::{Map, Value, json};

use super::{EVENTS_AT_ONCE, Privacy};
use crate::{
    analytics::KnownUser,
    db::{DbError, queries::events},
    domain::{
        event::{Event, EventKey},
        money::decimal_text,
    },
};

/// The most events of one part of an export.
pub const EVENTS_MAX: usize = 5_000;

impl Privacy {
    /// A user's events behind `after`, oldest first, at most `limit`.
    pub async fn export(&self, user: &KnownUser, after: Option<EventKey>, limit: usize) -> Result<Vec<Event>, DbError> {
        let moments = self.analytics.moments_of(user).await?;
        let first = after.map_or(0, |key| moments.partition_point(|moment| *moment < key.occurred_at_ms));
        let mut exported = Vec::new();
        for moments in moments[first..].chunks(limit.min(EVENTS_AT_ONCE)) {
            let events = events::list_of_user(self.database.reader(), &user.id, moments).await?;
            exported.extend(events.into_iter().filter(|event| after.is_none_or(|after| event.key > after)));
            if exported.len() >= limit {
                exported.truncate(limit);
                break;
            }
        }
        Ok(exported)
    }

    /// All of a user's events, part by part as they are asked for, as NDJSON. What is erased meanwhile is not in the
    /// parts to come.
    pub fn export_whole(self, user: KnownUser) -> impl Stream<Item = Result<String, DbError>> + Send {
        stream::try_unfold(None, move |after| {
            let (privacy, user) = (self.clone(), user.clone());
            async move {
                let events = privacy.export(&user, after, EVENTS_MAX).await?;
                Ok(events.last().map(|last| (ndjson(&events), Some(last.key))))
            }
        })
    }
}

/// Events as JSON, one a line.
pub fn ndjson(events: &[Event]) -> String {
    events.iter().map(|event| format!("{}\n", told(event))).collect()
}

/// An event in the fields in which it was sent.
fn told(event: &Event) -> Value {
    let at =
        |ms: i64| DateTime::<Utc>::from_timestamp_millis(ms).map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
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
