//! Events in: decode, judge, queue, commit, answer. Every door calls [`Ingest::record`].
//!
//! An answer is given after the commit that holds the event, its counters and its listener. Every
//! event of a request gets an outcome; what has none is not stored.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub mod committer;
mod credits;
pub mod decode;
pub mod fields;
mod known;
mod marks;
pub mod partitions;

use crate::{
    db::DbError,
    domain::{
        clock::SharedClock,
        commit::Watermark,
        error::ErrorKind,
        event::{AcceptRules, AcceptedEvent, NewEvent, Rejection},
    },
    telemetry::Metrics,
};

/// How much is taken at once.
#[derive(Debug, Clone, Copy)]
pub struct IngestLimits {
    pub accept: AcceptRules,
    pub request_events_max: usize,
    /// Bytes of events that may wait for the committer; a request that does not fit is refused at once.
    pub queue_size_bytes_max: usize,
    /// How long a request waits for its commit before it is told that the outcome is unknown.
    pub commit_wait: Duration,
}

/// Why a whole request was not taken. Nothing of it is stored, unless the outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the request holds {count} events, the limit is {limit}; send them in several requests")]
    TooManyEvents { count: usize, limit: usize },
    #[error("too many events are waiting to be stored; send the same request again later")]
    QueueFull,
    #[error("the database cannot be reached; send the same request again later, under the same ids")]
    DatabaseAway,
    #[error("the events could not be stored")]
    Failed,
    #[error("the service is stopping; send the same request again, under the same ids")]
    Stopping,
}

impl IngestError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooManyEvents { .. } => ErrorKind::PayloadTooLarge,
            Self::QueueFull => ErrorKind::TooManyRequests,
            Self::DatabaseAway | Self::Stopping => ErrorKind::Unavailable,
            Self::Failed => ErrorKind::Internal,
        }
    }
}

/// Events that this process met since it started, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    pub accepted: u64,
    pub duplicates: u64,
    pub conflicts: u64,
    pub rejected: u64,
    /// Of requests that were turned away as a whole.
    pub refused: u64,
    /// What waits for its commit now.
    pub waiting: i64,
}

/// Why nothing was purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    #[error("another process works on this database; stop it and try again")]
    NotAlone,
    #[error("the service is stopping")]
    Stopping,
    #[error("not everything could be removed, so nothing was")]
    Database(#[from] DbError),
}

/// Asks the committer to remove everything.
struct PurgeOrder {
    and_catalogue: bool,
    reply: oneshot::Sender<Result<u64, PurgeError>>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventStatus {
    Accepted,
    Duplicate,
    Conflict,
    Rejected,
}

impl EventStatus {
    pub const ALL: [EventStatus; 4] = [Self::Accepted, Self::Duplicate, Self::Conflict, Self::Rejected];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Duplicate => "DUPLICATE",
            Self::Conflict => "CONFLICT",
            Self::Rejected => "REJECTED",
        }
    }
}

/// The outcome of one event of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventResult {
    /// The event's id, empty where none could be read.
    pub id: String,
    pub status: EventStatus,
    pub code: Option<&'static str>,
    pub field: Option<String>,
    pub message: Option<String>,
}

/// A decoded event, or why it could not be decoded.
pub type Decoded = Result<NewEvent, Rejection>;

/// Events of one request on their way to the committer.
struct Submission {
    events: Vec<AcceptedEvent>,
    reply: oneshot::Sender<Result<Vec<EventStatus>, IngestError>>,
    /// Frees the events' room in the queue when the submission is done.
    _room: OwnedSemaphorePermit,
}

/// The queue's room is counted in these units; a smaller event takes one.
const ROOM_UNIT_BYTES: usize = 1_024;

/// The one way in. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    queue: mpsc::UnboundedSender<Submission>,
    purges: mpsc::Sender<PurgeOrder>,
    room: Arc<Semaphore>,
    limits: IngestLimits,
    watermark: Arc<Watermark>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
}

impl Ingest {
    pub fn limits(&self) -> &IngestLimits {
        &self.limits
    }

    /// Judges and stores events; returns their outcomes in order, after they are durable.
    pub async fn record(&self, decoded: Vec<Decoded>, source: &Arc<str>) -> Result<Vec<EventResult>, IngestError> {
        let count = decoded.len();
        self.metrics.ingest_received.inc_by(count as u64);
        let outcome = self.record_received(decoded, source).await;
        match &outcome {
            Ok(results) => self.metrics.count_outcomes(results),
            Err(_) => {
                self.metrics.ingest_refused.inc_by(count as u64);
            }
        }
        outcome
    }

    async fn record_received(&self, decoded: Vec<Decoded>, source: &Arc<str>) -> Result<Vec<EventResult>, IngestError> {
        let count = decoded.len();
        if count > self.limits.request_events_max {
            return Err(IngestError::TooManyEvents { count, limit: self.limits.request_events_max });
        }
        let now_ms = self.clock.now_ms();
        let rules = self.accept_rules(now_ms);
        let mut results = Vec::with_capacity(count);
        let mut accepted = Vec::with_capacity(count);
        let mut room = 0;
        for decoded in decoded {
            let size_bytes = decoded.as_ref().map_or(0, |event| event.size_bytes);
            match decoded.and_then(|event| event.accept(source, now_ms, &rules)) {
                Ok(event) => {
                    results.push(EventResult::acceptable(event.event.event_id.clone()));
                    accepted.push(event);
                    room += size_bytes.div_ceil(ROOM_UNIT_BYTES).max(1);
                }
                Err(rejection) => results.push(EventResult::rejected(rejection)),
            }
        }
        let statuses = if accepted.is_empty() { Vec::new() } else { self.commit(accepted, room).await? };
        let judged = results.iter_mut().filter(|result| result.status != EventStatus::Rejected);
        for (result, status) in judged.zip(statuses) {
            result.decide(status);
        }
        Ok(results)
    }

    /// How it went since this process started.
    pub fn health(&self) -> Health {
        let count = |status| self.metrics.outcomes(status);
        Health {
            accepted: count(EventStatus::Accepted),
            duplicates: count(EventStatus::Duplicate),
            conflicts: count(EventStatus::Conflict),
            rejected: count(EventStatus::Rejected),
            refused: self.metrics.ingest_refused.get(),
            waiting: self.metrics.queue_events.get(),
        }
    }

    /// Removes every event and all that follows from them, and the catalogue if asked; returns how many events there
    /// were. What waits to be stored is stored after that.
    pub async fn purge(&self, and_catalogue: bool) -> Result<u64, PurgeError> {
        let (reply, outcome) = oneshot::channel();
        let order = PurgeOrder { and_catalogue, reply };
        self.purges.send(order).await.map_err(|_| PurgeError::Stopping)?;
        outcome.await.map_err(|_| PurgeError::Stopping)?
    }

    /// What is accepted now: nothing of days whose events may be removed already, whatever removed them, for a retry of
    /// one would count twice.
    fn accept_rules(&self, now_ms: i64) -> AcceptRules {
        let kept_ms = self.watermark.keeping().sealed_before_ms.map(|before_ms| now_ms - before_ms);
        let horizon_ms = [self.limits.accept.horizon_ms, kept_ms].into_iter().flatten().min();
        AcceptRules { horizon_ms, ..self.limits.accept }
    }

    async fn commit(&self, events: Vec<AcceptedEvent>, room: usize) -> Result<Vec<EventStatus>, IngestError> {
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(room).map_err(|_| IngestError::QueueFull)?;
        let (reply, outcome) = oneshot::channel();
        let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
        self.queue.send(Submission { events, reply, _room: room }).map_err(|_| IngestError::Stopping)?;
        self.metrics.queue_events.inc_by(count);
        match tokio::time::timeout(self.limits.commit_wait, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(IngestError::Stopping),
            Err(_) => Err(IngestError::DatabaseAway),
        }
    }
}

impl EventResult {
    /// The outcome of an event that only has to be stored now, or of one that will not be.
    pub fn judged(judged: Result<AcceptedEvent, Rejection>) -> Self {
        match judged {
            Ok(event) => Self::acceptable(event.event.event_id),
            Err(rejection) => Self::rejected(rejection),
        }
    }

    fn acceptable(id: String) -> Self {
        Self { id, status: EventStatus::Accepted, code: None, field: None, message: None }
    }

    fn rejected(rejection: Rejection) -> Self {
        Self {
            id: rejection.id.unwrap_or_default(),
            status: EventStatus::Rejected,
            code: Some(rejection.code.code()),
            field: rejection.field,
            message: Some(rejection.message),
        }
    }

    fn decide(&mut self, status: EventStatus) {
        self.status = status;
        if status == EventStatus::Conflict {
            self.code = Some("CONFLICT");
            self.field = Some("id".to_owned());
            self.message =
                Some("another event was stored under this id and time before; the first one is kept".to_owned());
        }
    }
}
