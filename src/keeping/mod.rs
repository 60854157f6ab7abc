//! Lets go of the past as far as the operator wants: events of days long gone, and the quarter-hours of their counters.
//!
//! Whatever is removed was promised before: the promise ([`Keeping`]) is durable first, so that a process that is
//! killed at any point leaves days of which more is there than is said, and never less. Each further step is one short
//! transaction, and what is left to do is found again by the next look.

use std::{ops::AddAssign, sync::Arc};

use crate::{
    db::{
        Connection, Database, DbError, Transaction,
        queries::{
            events, keeping, leases, notify,
            rollups::{self, Apart},
        },
    },
    domain::{
        clock::SharedClock,
        commit::{Extent, Watermark, Word},
        entity::EntityKind,
        keeping::Keeping,
        window::{DAY_MS, Grain},
    },
    ingest::partitions,
    rollup::fold::{gather, hours_of},
};

pub const LEASE: &str = "retention";
/// Renewed with every step.
const LEASE_MS: i64 = 300_000;
/// How long after a seal nothing is removed: every process hears of it, or looks, within seconds, and what it accepted
/// before is stored by then, so that it is either there while keys are compared or refused.
const PAUSE_MS: i64 = 120_000;
/// Events of one step; on SQLite the committer waits for so long.
const EVENTS_AT_ONCE: u64 = 5_000;

/// What an operator may choose.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepingSettings {
    /// How long events are kept at least; for ever if absent. None older is accepted.
    pub events_ms: Option<i64>,
    /// How long counters are kept by quarter-hours at least; for ever if absent.
    pub quarters_ms: Option<i64>,
}

/// What a look did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Events removed one by one.
    pub events: u64,
    /// Months removed whole.
    pub months: u64,
    /// Rows of counters and money that became part of others.
    pub rows: u64,
    /// When events that are sealed may be removed, where it is too early for that.
    pub resumes_at_ms: Option<i64>,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.months += other.months;
        self.rows += other.rows;
        self.resumes_at_ms = other.resumes_at_ms;
    }
}

/// Takes note of what was let go of, here or elsewhere; returns when the events happened that were ever counted.
pub async fn refresh(database: &Database, watermark: &Watermark) -> Result<Option<Extent>, DbError> {
    let clears = watermark.clears();
    let (keeping, counted) = keeping::find_counted(database.reader()).await?;
    if watermark.clears() != clears {
        return Ok(None);
    }
    watermark.keep(keeping);
    Ok(counted)
}

/// The job. Cheap to clone.
#[derive(Clone)]
pub struct Keeper {
    database: Database,
    watermark: Arc<Watermark>,
    clock: SharedClock,
    settings: KeepingSettings,
}

impl Keeper {
    pub fn new(database: Database, watermark: Arc<Watermark>, clock: SharedClock, settings: KeepingSettings) -> Self {
        Self { database, watermark, clock, settings }
    }

    /// Whether there is anything to do, ever.
    pub fn is_idle(&self) -> bool {
        self.settings.events_ms.is_none() && self.settings.quarters_ms.is_none()
    }

    /// Does what is due; says what after every step.
    ///
    /// Errors: [`DbError::LeaseHeld`] while another process does it. Cut off, it can be run again.
    pub async fn look(&self, on_step: impl Fn(&Report)) -> Result<Report, DbError> {
        let mut run =
            Run { keeper: self, holder: uuid::Uuid::new_v4().to_string(), report: Report::default(), on_step };
        run.renew(self.database.writer()).await?;
        let done = run.work().await;
        leases::release(self.database.writer(), LEASE, &run.holder).await?;
        done.map(|()| run.report)
    }

    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }
}

/// One look.
struct Run<'a, F> {
    keeper: &'a Keeper,
    holder: String,
    report: Report,
    on_step: F,
}

impl<F: Fn(&Report)> Run<'_, F> {
    async fn work(&mut self) -> Result<(), DbError> {
        self.seal().await?;
        self.fold().await?;
        self.remove().await
    }

    async fn renew<C: Connection>(&self, conn: &C) -> Result<(), DbError> {
        let is_ours = leases::try_acquire(conn, LEASE, &self.holder, self.keeper.now_ms(), LEASE_MS).await?;
        if is_ours { Ok(()) } else { Err(DbError::LeaseHeld(LEASE)) }
    }

    /// A step that has nobody's work overwritten: whose lease was taken over meanwhile does not get in.
    async fn begin(&self) -> Result<Transaction, DbError> {
        let txn = self.keeper.database.begin_write().await?;
        self.renew(&txn).await?;
        Ok(txn)
    }

    /// Makes a promise, and lets every process know.
    async fn promise(&self, txn: Transaction, keeping: Keeping) -> Result<(), DbError> {
        keeping::put(&txn, &keeping).await?;
        // In nobody's name, so that this process hears it too: it may have looked just before.
        notify::notify(&txn, LEASE, &[Word::of_keeping()]).await?;
        txn.commit().await?;
        refresh(&self.keeper.database, &self.keeper.watermark).await?;
        Ok(())
    }

    /// Says of which days events will be removed: days that ended longer ago than anything is accepted, and a day more,
    /// for whoever's clock is behind.
    async fn seal(&self) -> Result<(), DbError> {
        let Some(kept_ms) = self.keeper.settings.events_ms else { return Ok(()) };
        let before_ms = Grain::Day.bucket_of(self.keeper.now_ms() - kept_ms - DAY_MS);
        let known = keeping::find(self.keeper.database.reader()).await?;
        if known.sealed_before_ms.is_some_and(|sealed_ms| sealed_ms >= before_ms) {
            return Ok(());
        }
        let txn = self.begin().await?;
        let keeping = keeping::lock(&txn).await?;
        let Some(extent) = events::find_extent_before(&txn, before_ms).await? else {
            return txn.rollback().await;
        };
        let sealed = Keeping {
            sealed_before_ms: Some(before_ms),
            sealed_at_ms: Some(self.keeper.now_ms()),
            removed: keeping.counted(Some(extent)),
            ..keeping
        };
        self.promise(txn, sealed).await
    }

    /// Removes the events of sealed days, the oldest first.
    async fn remove(&mut self) -> Result<(), DbError> {
        let database = &self.keeper.database;
        let keeping = keeping::find(database.reader()).await?;
        let Some((before_ms, sealed_at_ms)) = keeping.sealed_before_ms.zip(keeping.sealed_at_ms) else { return Ok(()) };
        if events::find_extent_before(database.reader(), before_ms).await?.is_none() {
            return Ok(());
        }
        if self.keeper.now_ms() < sealed_at_ms + PAUSE_MS {
            self.report.resumes_at_ms = Some(sealed_at_ms + PAUSE_MS);
            return Ok(());
        }
        if events::is_partitioned_by_time(database.reader()).await? {
            self.remove_months(before_ms).await?;
        }
        let mut from = None;
        loop {
            let txn = self.begin().await?;
            let (count, next) = events::delete_oldest(&txn, from, before_ms, EVENTS_AT_ONCE).await?;
            txn.commit().await?;
            self.report.events += count;
            (self.on_step)(&self.report);
            if next.is_none() {
                return Ok(());
            }
            from = next;
        }
    }

    /// A month whose days are all sealed goes as a whole.
    async fn remove_months(&mut self, before_ms: i64) -> Result<(), DbError> {
        let names = events::list_partitions(self.keeper.database.reader()).await?;
        for name in names.iter().filter(|name| partitions::end_ms(name).is_some_and(|end_ms| end_ms <= before_ms)) {
            let txn = self.begin().await?;
            events::drop_partition(&txn, name).await?;
            txn.commit().await?;
            self.report.months += 1;
            (self.on_step)(&self.report);
        }
        Ok(())
    }

    /// Makes one row of the quarter-hours of each hour, day by day. Who reads whole hours sees the same at any moment.
    async fn fold(&mut self) -> Result<(), DbError> {
        const BEGINNING: i64 = i64::MIN / 2;

        let Some(kept_ms) = self.keeper.settings.quarters_ms else { return Ok(()) };
        let database = &self.keeper.database;
        let end_ms = Grain::Day.bucket_of(self.keeper.now_ms() - kept_ms);
        let mut from_ms = keeping::find(database.reader()).await?.folded_before_ms.unwrap_or(BEGINNING);
        while let Some(day) = rollups::find_next_day(database.reader(), from_ms).await?.filter(|day| *day < end_ms) {
            from_ms = day + DAY_MS;
            let txn = self.begin().await?;
            let keeping = keeping::lock(&txn).await?;
            self.promise(txn, Keeping { hours_before_ms: keeping.hours_before_ms.max(Some(from_ms)), ..keeping })
                .await?;
            self.fold_day(day).await?;
            let txn = self.begin().await?;
            let keeping = keeping::lock(&txn).await?;
            self.promise(txn, Keeping { folded_before_ms: Some(from_ms), ..keeping }).await?;
        }
        Ok(())
    }

    async fn fold_day(&mut self, day: i64) -> Result<(), DbError> {
        let (apart, grain) = (Apart::ByBucket, Grain::Quarter);
        for hour in hours_of(day) {
            if !rollups::has_apart(self.keeper.database.reader(), apart, grain, &hour).await? {
                continue;
            }
            for kind in EntityKind::STORED {
                let txn = self.begin().await?;
                self.report.rows += gather(&txn, apart, grain, &hour, kind).await?;
                txn.commit().await?;
            }
            (self.on_step)(&self.report);
        }
        Ok(())
    }
}
