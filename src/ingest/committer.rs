//! The one task that writes: it takes whatever waits, stores it with everything derived from it in
//! one transaction, and answers everybody.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};

use super::{
    EventStatus, Ingest, IngestError, IngestLimits, ROOM_UNIT_BYTES, Submission,
    known::{KnownFacts, ListenerNumbers, NewFacts},
    partitions::Partitions,
};
use crate::{
    audience::{
        open::OpenAudience,
        segment::{Segment, SegmentSet},
    },
    db::{
        Database, DbError, Transaction,
        queries::{
            audience,
            events::{self, Inserted},
            notify, rollups,
        },
    },
    domain::{
        clock::SharedClock,
        commit::{Changed, CommitWord, SharedObserver, Watermark},
        counting::CountingRules,
        event::{AcceptedEvent, Event},
    },
    rollup::delta::{Deltas, Listens},
    telemetry::Metrics,
};

/// The most events of one transaction: past this a larger one gains nothing and only waits longer.
const BATCH_EVENTS_MAX: usize = 20_000;
/// A database that is away is tried this long before the waiting requests are told.
const RETRY_FOR: Duration = Duration::from_secs(3);
/// A statement that never returns is given up after this long.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// What the committer works with.
pub struct CommitterParts {
    pub database: Database,
    /// This process's writer slot: no other process updates the same rollup rows.
    pub slot: i16,
    pub rules: CountingRules,
    pub open_audience: Arc<OpenAudience>,
    pub watermark: Arc<Watermark>,
    pub observers: Vec<SharedObserver>,
    pub clock: SharedClock,
    pub metrics: Arc<Metrics>,
    /// Marks our own word to other processes, so that we need not listen to ourselves.
    pub process_id: String,
}

/// Starts the committer. Once `stop` says so it takes nothing new, stores what is queued, and ends.
pub fn start(parts: CommitterParts, limits: IngestLimits, stop: watch::Receiver<bool>) -> (Ingest, JoinHandle<()>) {
    let (queue, waiting) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(limits.queue_size_bytes_max / ROOM_UNIT_BYTES));
    let ingest = Ingest { queue, room, limits, clock: parts.clock.clone(), metrics: parts.metrics.clone() };
    let committer = Committer {
        parts,
        known_facts: KnownFacts::default(),
        listener_numbers: ListenerNumbers::default(),
        partitions: Partitions::default(),
    };
    (ingest, tokio::spawn(committer.run(waiting, stop)))
}

struct Committer {
    parts: CommitterParts,
    known_facts: KnownFacts,
    listener_numbers: ListenerNumbers,
    partitions: Partitions,
}

/// What a commit leaves to be done once it is durable.
struct Committed {
    statuses: Vec<EventStatus>,
    facts: NewFacts,
    listeners_learned: Vec<(Arc<str>, u32)>,
    segment: Option<(String, Segment)>,
    changed: Changed,
    extent: Option<(i64, i64)>,
}

impl Committer {
    async fn run(mut self, mut waiting: mpsc::UnboundedReceiver<Submission>, mut stop: watch::Receiver<bool>) {
        loop {
            let first = tokio::select! {
                biased;
                first = waiting.recv() => first,
                _ = stop.wait_for(|stop| *stop), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            };
            let Some(first) = first else { return };
            let mut count = first.events.len();
            let mut batch = vec![first];
            // Whatever came while the last batch was being written makes the next one: small when it is
            // quiet, large under load, and nobody waits for a timer.
            while count < BATCH_EVENTS_MAX {
                let Ok(next) = waiting.try_recv() else { break };
                count += next.events.len();
                batch.push(next);
            }
            self.commit_or_split(batch).await;
            self.parts.metrics.queue_events.dec_by(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Commits a batch; one that the database refuses is taken apart, so that a single bad submission
    /// is the only one that fails.
    async fn commit_or_split(&mut self, batch: Vec<Submission>) {
        match self.commit_with_retries(&batch).await {
            Ok(statuses) => {
                let mut statuses = statuses.into_iter();
                for submission in batch {
                    let own = statuses.by_ref().take(submission.events.len()).collect();
                    // The client may have gone; what is stored stays stored.
                    let _ = submission.reply.send(Ok(own));
                }
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(error = error_chain(&error), "batch not stored, the database is away");
                for submission in batch {
                    let _ = submission.reply.send(Err(IngestError::DatabaseAway));
                }
            }
            Err(error) if batch.len() > 1 => {
                tracing::warn!(error = error_chain(&error), submissions = batch.len(), "batch refused, splitting it");
                for submission in batch {
                    Box::pin(self.commit_or_split(vec![submission])).await;
                }
            }
            Err(error) => {
                tracing::error!(error = error_chain(&error), "submission refused by the database");
                for submission in batch {
                    let _ = submission.reply.send(Err(IngestError::Failed));
                }
            }
        }
    }

    /// A failed commit means that its outcome is unknown; the keys make trying again safe.
    async fn commit_with_retries(&mut self, batch: &[Submission]) -> Result<Vec<EventStatus>, DbError> {
        let events: Vec<&AcceptedEvent> = batch.iter().flat_map(|submission| &submission.events).collect();
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, self.commit(&events)).await;
            match attempt.unwrap_or(Err(DbError::TimedOut)) {
                Ok(committed) => {
                    self.parts.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
                    self.parts.metrics.batch_events.observe(events.len() as f64);
                    return Ok(self.after_commit(committed));
                }
                Err(error) if error.is_transient() && began.elapsed() < RETRY_FOR => {
                    self.parts.metrics.commit_retries.inc();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn commit(&mut self, events: &[&AcceptedEvent]) -> Result<Committed, DbError> {
        let order = sorted_distinct(events);
        let firsts: Vec<&Event> = order.iter().map(|group| &events[group[0]].event).collect();
        self.partitions.make_for(&self.parts.database, firsts.iter().map(|event| event.key.occurred_at_ms)).await?;
        let mut user_ids: Vec<&Arc<str>> = firsts.iter().filter_map(|event| event.user_id.as_ref()).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        self.listener_numbers.reserve(&self.parts.database, &user_ids).await?;

        let txn = self.parts.database.begin_write().await?;
        let inserted = events::insert_new(&txn, &firsts).await?;
        let mut deltas = Deltas::default();
        let mut new_events = Vec::with_capacity(events.len());
        for (group, outcome) in order.iter().zip(&inserted) {
            if *outcome == Inserted::New {
                deltas.add(&events[group[0]].event, &self.parts.rules);
                new_events.push(events[group[0]]);
            }
        }
        let facts = self.known_facts.sift(new_events.iter().copied());
        crate::db::queries::catalogue::fill_in(&txn, &facts.entries).await?;
        let listens = std::mem::take(&mut deltas.listens);
        let (segment, listeners_learned) = self.append_segment(&txn, &listens).await?;
        let changed = Changed::Entities(deltas.entities().cloned().collect());
        let times = || new_events.iter().map(|event| event.event.key.occurred_at_ms);
        let extent = times().min().zip(times().max());
        if let Some(extent) = extent {
            let word = CommitWord::new(&self.parts.process_id, extent, &changed);
            notify::notify(&txn, &word.to_text()).await?;
        }
        // Last, so that row locks are held only for a moment.
        rollups::apply_money_deltas(&txn, self.parts.slot, &deltas.money_rows()).await?;
        rollups::apply_deltas(&txn, self.parts.slot, &deltas.rollup_rows()).await?;
        txn.commit().await?;

        Ok(Committed {
            statuses: statuses(events, &order, &inserted),
            facts,
            listeners_learned,
            segment,
            changed,
            extent,
        })
    }

    async fn append_segment(
        &mut self,
        txn: &Transaction,
        listens: &Listens,
    ) -> Result<(Option<(String, Segment)>, Vec<(Arc<str>, u32)>), DbError> {
        if listens.is_empty() {
            return Ok((None, Vec::new()));
        }
        let mut user_ids: Vec<&Arc<str>> = listens.values().flatten().map(|(_, user_id)| user_id).collect();
        user_ids.sort_unstable();
        user_ids.dedup();
        let (numbers, learned) = self.listener_numbers.resolve(txn, &user_ids).await?;
        let segment = segment_of(listens, &numbers);
        // Sorts by time of commit, so that the oldest are merged first.
        let id = uuid::Uuid::now_v7().to_string();
        audience::append_segment(txn, &id, segment.encode()).await?;
        Ok((Some((id, segment)), learned))
    }

    fn after_commit(&mut self, committed: Committed) -> Vec<EventStatus> {
        self.known_facts.remember(committed.facts);
        self.listener_numbers.remember(committed.listeners_learned);
        if let Some((id, segment)) = &committed.segment {
            self.parts.open_audience.add(id, segment);
        }
        if let Some((oldest_ms, newest_ms)) = committed.extent {
            self.parts.watermark.extend(oldest_ms, newest_ms);
            for observer in &self.parts.observers {
                observer.committed(&committed.changed);
            }
        }
        committed.statuses
    }
}

/// The events' places grouped by key, sorted by key; a group's first came first.
fn sorted_distinct(events: &[&AcceptedEvent]) -> Vec<Vec<usize>> {
    let mut places: Vec<usize> = (0..events.len()).collect();
    places.sort_by_key(|place| events[*place].event.key);
    places.chunk_by(|one, next| events[*one].event.key == events[*next].event.key).map(<[usize]>::to_vec).collect()
}

fn statuses(events: &[&AcceptedEvent], order: &[Vec<usize>], inserted: &[Inserted]) -> Vec<EventStatus> {
    let mut statuses = vec![EventStatus::Accepted; events.len()];
    for (group, outcome) in order.iter().zip(inserted) {
        let (stored_hash, repeated) = match outcome {
            Inserted::New => (events[group[0]].event.content_hash, &group[1..]),
            Inserted::Known { content_hash } => (*content_hash, &group[..]),
        };
        for place in repeated {
            let is_same = events[*place].event.content_hash == stored_hash;
            statuses[*place] = if is_same { EventStatus::Duplicate } else { EventStatus::Conflict };
        }
    }
    statuses
}

fn segment_of(listens: &Listens, numbers: &HashMap<&Arc<str>, u32>) -> Segment {
    let mut sets = Vec::with_capacity(listens.len());
    for (entity, listens) in listens {
        let mut pairs: Vec<(i64, u32)> = listens.iter().map(|(hour, user_id)| (*hour, numbers[user_id])).collect();
        pairs.sort_unstable();
        pairs.dedup();
        for same_hour in pairs.chunk_by(|one, next| one.0 == next.0) {
            sets.push(SegmentSet {
                entity: entity.clone(),
                hour_ms: same_hour[0].0,
                listeners: same_hour.iter().map(|(_, number)| *number).collect(),
            });
        }
    }
    Segment(sets)
}

/// An error and its causes in one line, for the log.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
