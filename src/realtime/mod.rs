//! What happens right now: listeners of the last five minutes, plays of each of the last sixty.
//!
//! The committer brings its plays as it commits them, other processes' plays come by their word, and what
//! was stored before is read from the log in the background ([`Recovery`]). Each play is taken in once:
//! a recovery reads one snapshot of the database, and begins while no commit is under way, so that a
//! commit of this process is either in the snapshot or brought to the memory that begins with it. Another
//! process's word says which transaction it is of, and the snapshot, which transactions it sees.

mod memory;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use self::memory::{Memory, PARTS};
use crate::{
    db::{
        Database, DbError, Snapshot, Transaction,
        queries::{
            events,
            notify::{Seen, fix_snapshot},
        },
    },
    domain::{
        clock::{Clock, SharedClock},
        counting::CountingRules,
        entity::EntityRef,
        event::EventKey,
        realtime::{MINUTE_S, MINUTES, PlaysOf, RealtimeNumbers, first_minute_ms},
    },
    rollup::{delta::Deltas, replay::add_stored},
    telemetry::Metrics,
};

/// Events that a recovery reads at once; bounds its memory.
const EVENTS_AT_ONCE: u64 = 10_000;
/// How often one of the parts is swept, so that all are within a minute.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing is read again after it was: a recovery costs as much as an hour has events.
const RECOVERY_PAUSE: Duration = Duration::from_secs(10);

/// A memory, and the snapshot of the database that it began with.
struct Began {
    memory: Memory,
    seen: Seen,
}

struct Memories {
    /// Answers questions.
    serving: Arc<Began>,
    /// Takes its place once it is recovered.
    successor: Option<Arc<Began>>,
}

/// The last hour as this process knows it.
pub struct Realtime {
    clock: SharedClock,
    rules: CountingRules,
    memories: RwLock<Memories>,
    /// Held while a commit becomes durable and is taken in, and while a recovery begins.
    commits: tokio::sync::Mutex<()>,
    /// Whether something was committed that may have been missed.
    is_doubted: AtomicBool,
}

impl Realtime {
    /// Empty; [`Self::begin_recovery`] is what makes it true.
    pub fn new(clock: SharedClock, rules: CountingRules) -> Self {
        let serving = Arc::new(Began { memory: Memory::default(), seen: Seen::default() });
        Self {
            clock,
            rules,
            memories: RwLock::new(Memories { serving, successor: None }),
            commits: tokio::sync::Mutex::default(),
            is_doubted: AtomicBool::new(false),
        }
    }

    /// Deltas that keep the plays which [`Self::commit`] needs.
    pub fn deltas(&self) -> Deltas {
        Deltas::keeping_plays_since(first_minute_ms(self.clock.now_ms()))
    }

    /// Commits a transaction and takes in what was played in it.
    pub async fn commit(&self, txn: Transaction, plays: &[PlaysOf]) -> Result<(), DbError> {
        let _one_step = self.commits.lock().await;
        let committed = txn.commit().await;
        match &committed {
            Ok(()) => self.memories().for_each(|began| began.memory.add(plays, self.now_s())),
            // It may be durable all the same.
            Err(_) => self.doubt(),
        }
        committed
    }

    /// Commits a transaction that leaves no event behind, and forgets the hour.
    pub async fn commit_purge(&self, txn: Transaction) -> Result<(), DbError> {
        let _one_step = self.commits.lock().await;
        let committed = txn.commit().await;
        if committed.is_ok() {
            let serving = Arc::new(Began { memory: Memory::default(), seen: Seen::default() });
            // It holds all that there is.
            serving.memory.is_recovered.store(true, Ordering::Release);
            *self.memories.write().unwrap_or_else(PoisonError::into_inner) = Memories { serving, successor: None };
        }
        committed
    }

    /// Takes in what another process's transaction played.
    pub fn hear(&self, transaction: u64, plays: &[PlaysOf]) {
        for began in self.memories().filter(|began| !began.seen.sees(transaction)) {
            began.memory.add(plays, self.now_s());
        }
    }

    /// Says that something may have been missed, so that the hour is read again.
    pub fn doubt(&self) {
        self.is_doubted.store(true, Ordering::Release);
    }

    /// The present state of an entity, or of the whole platform.
    pub fn read(&self, of: Option<&EntityRef>) -> RealtimeNumbers {
        let serving = self.memories.read().unwrap_or_else(PoisonError::into_inner).serving.clone();
        serving.memory.read(of, self.now_s())
    }

    /// Begins to read the hour anew. The first recovery fills the memory that answers; a later one fills
    /// another, which takes its place when it is full.
    pub async fn begin_recovery(&self, database: &Database) -> Result<Recovery, DbError> {
        let _no_commit = self.commits.lock().await;
        self.is_doubted.store(false, Ordering::Release);
        let snapshot = database.begin_snapshot().await?;
        let seen = fix_snapshot(&snapshot).await?;
        let began = Arc::new(Began { memory: Memory::default(), seen });
        let mut memories = self.memories.write().unwrap_or_else(PoisonError::into_inner);
        if memories.serving.memory.is_recovered.load(Ordering::Acquire) {
            memories.successor = Some(began.clone());
        } else {
            *memories = Memories { serving: began.clone(), successor: None };
        }
        Ok(Recovery { snapshot, began })
    }

    /// Keeps the memory true and small until the process stops.
    pub async fn keep(&self, database: &Database, metrics: &Metrics, first: Recovery) {
        let mut recovered = self.recover(first).await;
        for part in (0..PARTS).cycle() {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            self.memories().for_each(|began| began.memory.sweep_part(part, self.now_s()));
            let size_bytes: usize = self.memories().map(|began| began.memory.size_bytes()).sum();
            metrics.realtime_bytes.set(i64::try_from(size_bytes).unwrap_or(i64::MAX));
            if self.is_doubted.load(Ordering::Acquire) && recovered.elapsed() > RECOVERY_PAUSE {
                recovered = match self.begin_recovery(database).await {
                    Ok(recovery) => self.recover(recovery).await,
                    Err(error) => self.failed(&error),
                };
            }
        }
    }

    /// Runs a recovery to its end; returns when that was.
    async fn recover(&self, recovery: Recovery) -> tokio::time::Instant {
        let began = recovery.began.clone();
        if let Err(error) = recovery.run(&self.rules, &*self.clock).await {
            return self.failed(&error);
        }
        began.memory.is_recovered.store(true, Ordering::Release);
        let mut memories = self.memories.write().unwrap_or_else(PoisonError::into_inner);
        // Unless what it was filled with is gone.
        if [Some(&memories.serving), memories.successor.as_ref()]
            .into_iter()
            .flatten()
            .any(|of| Arc::ptr_eq(of, &began))
        {
            *memories = Memories { serving: began, successor: None };
        }
        tokio::time::Instant::now()
    }

    fn failed(&self, error: &DbError) -> tokio::time::Instant {
        tracing::warn!(error = %error, cause = ?std::error::Error::source(error), "the last hour was not read, trying again");
        self.doubt();
        tokio::time::Instant::now()
    }

    fn memories(&self) -> impl Iterator<Item = Arc<Began>> + use<> {
        let memories = self.memories.read().unwrap_or_else(PoisonError::into_inner);
        [Some(memories.serving.clone()), memories.successor.clone()].into_iter().flatten()
    }

    fn now_s(&self) -> i64 {
        self.clock.now_ms().div_euclid(1_000)
    }
}

/// Reads the plays of the last hour from the log.
pub struct Recovery {
    snapshot: Snapshot,
    began: Arc<Began>,
}

impl Recovery {
    /// The newest minute first: who listens now is known as soon as five have been read.
    async fn run(self, rules: &CountingRules, clock: &dyn Clock) -> Result<(), DbError> {
        let first_ms = first_minute_ms(clock.now_ms());
        for minute in (0..MINUTES as i64).rev() {
            let from_ms = first_ms + minute * MINUTE_S * 1_000;
            // The last minute's step takes what lies ahead of the clock, too.
            let is_last = minute == MINUTES as i64 - 1;
            let to_ms = if is_last { i64::MAX } else { from_ms + MINUTE_S * 1_000 };
            let mut after: Option<EventKey> = None;
            loop {
                let events = events::list_between(&self.snapshot, from_ms, to_ms, after, EVENTS_AT_ONCE).await?;
                let Some(last) = events.last() else { break };
                after = Some(last.key);
                let mut deltas = Deltas::keeping_plays_since(from_ms);
                add_stored(&self.snapshot, &events, rules, &mut deltas).await?;
                self.began.memory.add(&deltas.take_plays(), clock.now_ms().div_euclid(1_000));
            }
        }
        self.snapshot.rollback().await.map_err(DbError::from)
    }
}
