//! The one task that writes: it takes whatever waits, stores it with everything derived from it in
//! one transaction, and answers everybody.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};

use super::{
    EventStatus, Ingest, IngestError, IngestLimits, PurgeError, PurgeOrder, ROOM_UNIT_BYTES, Submission,
    credits::KnownCredits,
    known::{KnownFacts, LearnedPeople, NewFacts, PersonNumbers},
    marks::NextMark,
    partitions::Partitions,
};
use crate::{
    audience::{
        open::OpenAudience,
        segment::{Mark, Segment},
    },
    db::{
        Database, DbError,
        queries::{
            audience, catalogue, events, keeping, leases, notify, purge,
            rollups::{self, MoneyRow, RollupRow},
            versions,
        },
    },
    domain::{
        catalogue::CatalogueVersion,
        clock::SharedClock,
        commit::{Changed, Extent, SharedObserver, Watermark, Word},
        counting::CountingRules,
        entity::EntityRef,
        event::{AcceptedEvent, Event, EventKey},
        keeping::Keeping,
        merge::Merges,
        realtime::PlaysOf,
    },
    live::EventFeed,
    realtime::Realtime,
    telemetry::Metrics,
};

/// The most events of one transaction: past this a larger one gains nothing and only waits longer.
const BATCH_EVENTS_MAX: usize = 20_000;
/// How long a batch waits for clients that are about to send again; a commit takes several times as long.
const GATHER_FOR: Duration = Duration::from_micros(500);
/// How long a batch waits for listeners to be merged.
const MERGE_WAIT: Duration = Duration::from_secs(2);
/// A database that is away is tried this long before the waiting requests are told.
const RETRY_FOR: Duration = Duration::from_secs(3);
/// A statement that never returns is given up after this long.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long jobs do nothing after a purge: longer than any of them can take between reading and writing.
const PURGE_LEASE_MS: i64 = 300_000;

/// Some tens of microseconds of work.
const EVENTS_BETWEEN_PAUSES: usize = 64;

/// What the committer works with.
pub struct CommitterParts {
    pub database: Database,
    /// This process's writer slot: no other process updates the same rollup rows.
    pub slot: i16,
    pub rules: CountingRules,
    pub open_audience: Arc<OpenAudience>,
    pub watermark: Arc<Watermark>,
    /// Which state of the catalogue this process has heard of.
    pub catalogue_version: Arc<CatalogueVersion>,
    pub merges: Merges,
    pub realtime: Arc<Realtime>,
    pub observers: Vec<SharedObserver>,
    pub feed: EventFeed,
    /// Of jobs that write what follows from events, and ask for their lease in every transaction.
    pub job_leases: &'static [&'static str],
    pub clock: SharedClock,
    pub metrics: Arc<Metrics>,
    /// Marks our own word to other processes, so that we need not listen to ourselves.
    pub process_id: String,
}

/// Starts the committer. Once `stop` says so it takes nothing new, stores what is queued, and ends.
pub fn start(parts: CommitterParts, limits: IngestLimits, stop: watch::Receiver<bool>) -> (Ingest, JoinHandle<()>) {
    let (queue, waiting) = mpsc::unbounded_channel();
    let (purges, purging) = mpsc::channel(1);
    let room = Arc::new(Semaphore::new(limits.queue_size_bytes_max / ROOM_UNIT_BYTES));
    let (watermark, clock, metrics) = (parts.watermark.clone(), parts.clock.clone(), parts.metrics.clone());
    let ingest = Ingest { queue, purges, room, limits, watermark, clock, metrics };
    let committer = Committer {
        parts,
        known_facts: KnownFacts::default(),
        known_credits: KnownCredits::default(),
        known_version: 0,
        person_numbers: PersonNumbers::default(),
        known_erasures: 0,
        next_mark: NextMark::default(),
        partitions: Partitions::default(),
        expects_known: false,
    };
    (ingest, tokio::spawn(committer.run(waiting, purging, stop)))
}

struct Committer {
    parts: CommitterParts,
    known_facts: KnownFacts,
    known_credits: KnownCredits,
    /// The state of the catalogue that what is known belongs to.
    known_version: i64,
    person_numbers: PersonNumbers,
    /// After how many erasures these are known.
    known_erasures: i64,
    next_mark: NextMark,
    partitions: Partitions,
    /// Whether the last batch held known keys.
    expects_known: bool,
}

/// What is stored beside new events, and what is remembered of them.
struct Derived {
    facts: NewFacts,
    /// The facts of these events in their durable form.
    segment: Option<Vec<u8>>,
    entities: FxHashMap<EntityRef, Extent>,
    /// When they happened.
    extent: Extent,
    plays: Vec<PlaysOf>,
    money_rows: Vec<MoneyRow>,
    rollup_rows: Vec<RollupRow>,
}

/// What is left to be done once a transaction is durable.
#[derive(Default)]
struct Stored {
    facts: NewFacts,
    learned: LearnedPeople,
    segment: Option<(Mark, Vec<u8>)>,
    /// What changed, and when its events happened; `None` where nothing was new.
    changed: Option<(Changed, Extent)>,
}

struct Committed {
    statuses: Vec<EventStatus>,
    stored: Stored,
}

impl Committer {
    async fn run(
        mut self,
        mut waiting: mpsc::UnboundedReceiver<Submission>,
        mut purging: mpsc::Receiver<PurgeOrder>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut answered = 0;
        loop {
            let next = tokio::select! {
                biased;
                Some(order) = purging.recv() => Err(order),
                first = waiting.recv() => Ok(first),
                _ = stop.wait_for(|stop| *stop), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            };
            let first = match next {
                Ok(Some(first)) => first,
                Ok(None) => return,
                Err(PurgeOrder { and_catalogue, reply }) => {
                    // Whoever asked may have gone; what is removed stays removed.
                    let _ = reply.send(self.purge(and_catalogue).await);
                    continue;
                }
            };
            // Listeners that wait to be merged are held in memory. Where they come faster than they are merged,
            // events wait in the queue instead, whose size is limited; but never for a merge that does not come.
            let _ = tokio::time::timeout(MERGE_WAIT, self.parts.open_audience.has_room()).await;
            let batch = gather(first, &mut waiting, answered).await;
            let count: usize = batch.iter().map(|submission| submission.events.len()).sum();
            answered = batch.len();
            self.commit_or_split(batch).await;
            self.parts.metrics.queue_events.dec_by(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Commits a batch; one that the database refuses is taken apart, so that a single bad submission
    /// is the only one that fails.
    async fn commit_or_split(&mut self, mut batch: Vec<Submission>) {
        match self.commit_with_retries(&mut batch).await {
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
    async fn commit_with_retries(&mut self, batch: &mut [Submission]) -> Result<Vec<EventStatus>, DbError> {
        let count: usize = batch.iter().map(|submission| submission.events.len()).sum();
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, self.commit(batch)).await;
            match attempt.unwrap_or(Err(DbError::TimedOut)) {
                Ok(committed) => {
                    self.parts.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
                    self.parts.metrics.batch_events.observe(count as f64);
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

    async fn commit(&mut self, batch: &mut [Submission]) -> Result<Committed, DbError> {
        self.resolve_credits(batch).await?;
        let events: Vec<&AcceptedEvent> = batch.iter().flat_map(|submission| &submission.events).collect();
        let order = sorted_distinct(&events);
        let firsts: Vec<&AcceptedEvent> = order.iter().map(|group| events[group[0]]).collect();
        let keys: Vec<EventKey> = firsts.iter().map(|first| first.event.key).collect();
        self.partitions.make_for(&self.parts.database, keys.iter().map(|key| key.occurred_at_ms)).await?;
        // Nearly every batch is all new, so nobody looks first: known keys refuse the whole transaction.
        // After a batch that had some, as in an import that is repeated, looking first is cheaper.
        let mut known = HashMap::new();
        if self.expects_known {
            known = events::list_known(self.parts.database.reader(), &keys).await?;
        }
        loop {
            match self.store_new(&firsts, &known).await {
                Ok(stored) => {
                    self.expects_known = !known.is_empty();
                    return Ok(Committed { statuses: statuses(&events, &order, &known), stored });
                }
                Err(error) if error.is_unique_violation() => {
                    let found = events::list_known(self.parts.database.reader(), &keys).await?;
                    // Another writer may commit one of our keys after this look. Each round then finds at
                    // least one more, so the loop ends.
                    if found.len() == known.len() {
                        return Err(error);
                    }
                    known = found;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes into each event what the catalogue says about whom it counts for: it is stored with the event, so
    /// that a recount gives the same whatever the catalogue says by then.
    async fn resolve_credits(&mut self, batch: &mut [Submission]) -> Result<(), DbError> {
        // Before anything is read: a change that comes meanwhile has another number, and the next batch starts anew.
        let version = self.parts.catalogue_version.get();
        if version != self.known_version {
            self.known_credits.clear();
            self.known_facts.clear();
            self.known_version = version;
        }
        if version == 0 {
            return Ok(());
        }
        let (reader, merges) = (self.parts.database.reader(), &self.parts.merges);
        let events = batch.iter().flat_map(|submission| &submission.events).map(|accepted| &accepted.event);
        self.known_credits.learn(reader, events, merges).await?;
        for accepted in batch.iter_mut().flat_map(|submission| &mut submission.events) {
            accepted.event.credits = self.known_credits.of(&accepted.event, merges);
        }
        Ok(())
    }

    /// Stores those that are not known, with everything derived from them, in one transaction.
    async fn store_new(
        &mut self,
        firsts: &[&AcceptedEvent],
        known: &HashMap<EventKey, i64>,
    ) -> Result<Stored, DbError> {
        let new: Vec<&AcceptedEvent> =
            firsts.iter().copied().filter(|first| known.is_empty() || !known.contains_key(&first.event.key)).collect();
        if new.is_empty() {
            return Ok(Stored::default());
        }
        let logged: Vec<&Event> = new.iter().map(|accepted| &accepted.event).collect();
        let mark = self.next_mark.take(&self.parts.database).await?;
        let (txn, learned) = loop {
            let unknown = self.person_numbers.unknown(&logged);
            self.person_numbers.reserve(&self.parts.database, &unknown).await?;
            let txn = self.parts.database.begin_write().await?;
            // Until this transaction ends nobody who is known can be erased.
            let erasures = versions::hold_erasures(&txn).await?;
            if erasures == self.known_erasures {
                let learned = self.person_numbers.learn(&txn, &unknown).await?;
                break (txn, learned);
            }
            txn.rollback().await?;
            self.known_erasures = erasures;
            self.person_numbers.clear();
        };
        // What follows from the events is computed while the database inserts them.
        let (inserted, derived) = futures_util::join!(events::insert(&txn, &logged), self.derive(&new, &learned));
        inserted?;
        catalogue::fill_in(&txn, &derived.facts.entries).await?;
        if let Some(segment) = &derived.segment {
            audience::append_segment(&txn, (mark.block, mark.number), segment).await?;
        }
        let changed = Changed::Entities(derived.entities);
        if !self.parts.database.is_sqlite() {
            let words = Word::texts(derived.extent, logged.len(), &changed, &derived.plays);
            notify::notify(&txn, &self.parts.process_id, &words).await?;
        }
        // Last, so that row locks are held only for a moment.
        rollups::apply_money_deltas(&txn, self.parts.slot, &derived.money_rows).await?;
        rollups::apply_deltas(&txn, self.parts.slot, &derived.rollup_rows).await?;
        self.next_mark.begin_commit();
        if let Err(error) = self.parts.realtime.commit(txn, &derived.plays).await {
            // They may be durable all the same: then the next try finds them, and nobody is told.
            self.parts.feed.skip(logged.len());
            return Err(error);
        }
        self.next_mark.end_commit();
        self.parts.feed.publish(&logged);
        let segment = derived.segment.map(|segment| (mark, segment));
        Ok(Stored { facts: derived.facts, learned, segment, changed: Some((changed, derived.extent)) })
    }

    /// What follows from events that are new. Pauses often, so that it can share a task with statements.
    async fn derive(&self, new: &[&AcceptedEvent], learned: &LearnedPeople) -> Derived {
        let mut deltas = self.parts.realtime.deltas();
        for some in new.chunks(EVENTS_BETWEEN_PAUSES) {
            for accepted in some {
                let number_of = |event: &Event, part| self.person_numbers.get(event, part, learned);
                deltas.add(&accepted.event, &self.parts.rules, number_of);
            }
            tokio::task::yield_now().await;
        }
        let facts = self.known_facts.sift(new.iter().copied());
        tokio::task::yield_now().await;
        let segment = deltas.segment();
        tokio::task::yield_now().await;
        Derived {
            facts,
            segment,
            entities: deltas.extents(),
            // They are sorted by time.
            plays: deltas.take_plays(),
            extent: Extent {
                oldest_ms: new[0].event.key.occurred_at_ms,
                newest_ms: new[new.len() - 1].event.key.occurred_at_ms,
            },
            money_rows: deltas.money_rows(),
            rollup_rows: deltas.rollup_rows(),
        }
    }

    /// Removes everything. Nothing is written meanwhile: this is the one task that stores events, other processes are
    /// turned down, and jobs lose their leases, so that nothing which they had read is written any more.
    async fn purge(&mut self, and_catalogue: bool) -> Result<u64, PurgeError> {
        let (database, now_ms) = (&self.parts.database, self.parts.clock.now_ms());
        if leases::is_any_held(database.writer(), leases::WRITER_SLOT, &self.parts.process_id, now_ms).await? {
            return Err(PurgeError::NotAlone);
        }
        let txn = database.begin_write().await?;
        for lease in self.parts.job_leases {
            leases::seize(&txn, lease, "purge", now_ms + PURGE_LEASE_MS).await?;
        }
        rollups::lock_against_writers(&txn).await?;
        let events = purge::delete_all(&txn, and_catalogue).await?;
        keeping::put(&txn, &Keeping::default()).await?;
        for version in [versions::CATALOGUE, versions::MERGES] {
            versions::raise(&txn, version).await?;
        }
        // In nobody's name, so that this process hears it too.
        notify::notify(&txn, "purge", &[Word::of_catalogue()]).await?;
        let purged = self.parts.realtime.commit_purge(txn).await;
        // Whatever came of it: what is known is what is stored.
        self.begin_anew().await?;
        Ok(purged.map(|()| events)?)
    }

    async fn begin_anew(&mut self) -> Result<(), DbError> {
        self.known_facts = KnownFacts::default();
        self.known_credits = KnownCredits::default();
        self.person_numbers = PersonNumbers::default();
        self.partitions = Partitions::default();
        let (database, watermark) = (&self.parts.database, &self.parts.watermark);
        self.parts.open_audience.begin_anew(database).await?;
        let (keeping, extent) = keeping::find_counted(database.reader()).await?;
        watermark.clear();
        watermark.keep(keeping);
        if let Some(extent) = extent {
            watermark.extend(extent);
        }
        for observer in &self.parts.observers {
            observer.purged();
            observer.committed(&Changed::Everything { within: None });
        }
        Ok(())
    }

    fn after_commit(&mut self, committed: Committed) -> Vec<EventStatus> {
        let Committed { statuses, stored } = committed;
        self.known_facts.remember(stored.facts);
        self.person_numbers.remember(stored.learned);
        if let Some((mark, segment)) = stored.segment {
            let segment = Segment::open(mark, segment).expect("what was written just now can be read");
            self.parts.open_audience.add(segment);
        }
        if let Some((changed, extent)) = &stored.changed {
            self.parts.watermark.extend(*extent);
            for observer in &self.parts.observers {
                observer.committed(changed);
            }
        }
        statuses
    }
}

/// Whatever came while the last batch was being written makes the next one: small when it is quiet,
/// large under load.
///
/// Clients that send one request after the other would fall into two groups that take turns, each
/// waiting for the other's commit. So those `answered` just now get a moment to come back; where
/// there was only one of them, nobody waits for anybody.
async fn gather(
    first: Submission,
    waiting: &mut mpsc::UnboundedReceiver<Submission>,
    answered: usize,
) -> Vec<Submission> {
    let expected = if answered > 1 { answered + 1 + waiting.len() } else { 0 };
    let began = Instant::now();
    let mut count = first.events.len();
    let mut batch = vec![first];
    while count < BATCH_EVENTS_MAX {
        match waiting.try_recv() {
            Ok(next) => {
                count += next.events.len();
                batch.push(next);
            }
            Err(_) if batch.len() < expected && began.elapsed() < GATHER_FOR => tokio::task::yield_now().await,
            Err(_) => break,
        }
    }
    batch
}

/// The events' places grouped by key, sorted by key; a group's first came first.
fn sorted_distinct(events: &[&AcceptedEvent]) -> Vec<Vec<usize>> {
    let mut places: Vec<usize> = (0..events.len()).collect();
    places.sort_by_key(|place| events[*place].event.key);
    places.chunk_by(|one, next| events[*one].event.key == events[*next].event.key).map(<[usize]>::to_vec).collect()
}

fn statuses(events: &[&AcceptedEvent], order: &[Vec<usize>], known: &HashMap<EventKey, i64>) -> Vec<EventStatus> {
    let mut statuses = vec![EventStatus::Accepted; events.len()];
    for group in order {
        let first = &events[group[0]].event;
        let (stored_hash, repeated) = match known.get(&first.key) {
            None => (first.content_hash, &group[1..]),
            Some(content_hash) => (*content_hash, &group[..]),
        };
        for place in repeated {
            let is_same = events[*place].event.content_hash == stored_hash;
            statuses[*place] = if is_same { EventStatus::Duplicate } else { EventStatus::Conflict };
        }
    }
    statuses
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
