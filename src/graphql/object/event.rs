//! What became of events.

use async_graphql::{Enum, ID, SimpleObject};

use crate::{graphql::scalars::Long, ingest};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "ingest::EventStatus")]
pub enum EventStatus {
    /// Stored and counted, durably.
    Accepted,
    /// It was stored before, with the same content; it counts once.
    Duplicate,
    /// Another event was stored before under the same id and time; the first one is kept.
    Conflict,
    /// Not stored: `code`, `field` and `message` say why and what to do.
    Rejected,
}

/// The outcome of one event.
#[derive(Debug, Clone, SimpleObject)]
pub struct EventResult {
    /// The event's place in the request, from 0.
    pub index: i32,
    /// The event's id, as far as it could be read.
    pub id: ID,
    /// What became of it.
    pub status: EventStatus,
    /// Why it was not taken: MALFORMED, UNKNOWN_FIELD, MISSING_FIELD, INVALID_VALUE, INVALID_CHARACTER,
    /// TOO_LONG, TOO_LARGE, TOO_DEEP, IN_FUTURE, TOO_OLD or CONFLICT; null where it was.
    pub code: Option<&'static str>,
    /// Which field is wrong; null where none is.
    pub field: Option<String>,
    /// What is wrong, and what to do.
    pub message: Option<String>,
}

/// The outcomes of all events of a request. accepted + duplicates + conflicts + rejected = events sent.
#[derive(Debug, Clone, SimpleObject)]
pub struct RecordEventsPayload {
    /// How many were stored and counted.
    pub accepted: i32,
    /// How many were known already.
    pub duplicates: i32,
    /// How many met another event under their id.
    pub conflicts: i32,
    /// How many were not taken.
    pub rejected: i32,
    /// One outcome for each event, in the order sent.
    pub results: Vec<EventResult>,
}

/// What was removed.
#[derive(Debug, Clone, SimpleObject)]
pub struct PurgePayload {
    /// How many events there were.
    pub events: Long,
}

impl From<Vec<ingest::EventResult>> for RecordEventsPayload {
    fn from(results: Vec<ingest::EventResult>) -> Self {
        let count = |status| {
            let count = results.iter().filter(|result| result.status == status).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        Self {
            accepted: count(ingest::EventStatus::Accepted),
            duplicates: count(ingest::EventStatus::Duplicate),
            conflicts: count(ingest::EventStatus::Conflict),
            rejected: count(ingest::EventStatus::Rejected),
            results: (0..)
                .zip(results)
                .map(|(index, result)| EventResult {
                    index,
                    id: ID(result.id),
                    status: result.status.into(),
                    code: result.code,
                    field: result.field,
                    message: result.message,
                })
                .collect(),
        }
    }
}
