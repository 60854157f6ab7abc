//! The job: neighbours of what changed since the last run, then what each listener took to. One process at a time,
//! killable at any point.
//!
//! What a listener took to is written last, and what changed is told from it; so a run that was cut off is followed by
//! one that finds the same and more. Since what was written of it may have been of a state that is gone, that one
//! finds all neighbours anew.

use std::{num::NonZero, sync::Arc};

use super::{
    Recommender,
    gather::{Items, Listened, place_of, strongest},
    matrix::Matrix,
    neighbours::{self, Affected, Finder, LIKENESS, Space},
    taste::{KINDS, Taste, weight},
};
use crate::{
    db::{
        Connection, DbError, Transaction,
        queries::{
            leases,
            recommendations::{self, RunRow, TasteRow},
        },
    },
    domain::window::Grain,
};

pub const LEASE: &str = "recommendations";
/// Renewed with every step.
const LEASE_MS: i64 = 300_000;
/// Which way neighbours are told in: raised with every change of weights, so that all are found anew.
const METHOD: i16 = 1;
/// Of one listener so many items of a kind tell what is like what, those that they took to most.
const TOLD_MAX: usize = 500;
/// Items whose neighbours are found and written in one step.
const ITEMS_AT_ONCE: usize = 1_000;
/// Listeners whose rows are read or written in one step.
const LISTENERS_AT_ONCE: usize = 2_000;

/// How a run goes about it.
#[derive(Debug, Clone, Copy)]
pub struct RunOrder {
    /// Whether all neighbours are found anew, also where nothing changed.
    pub is_whole: bool,
    /// On how many cores at once.
    pub threads: NonZero<usize>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub doing: &'static str,
    pub done: usize,
    /// Nothing where it is not known.
    pub of: usize,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub listeners: usize,
    pub items: usize,
    /// Whose neighbours were found anew.
    pub renewed_items: usize,
    /// Whose taste changed.
    pub changed_listeners: usize,
}

impl Recommender {
    /// Brings what recommendations are told from up to date; says how far it is after every step.
    ///
    /// Errors: [`DbError::LeaseHeld`] while another process does it. Cut off, it can be run again.
    pub async fn run(&self, order: RunOrder, on_progress: impl Fn(Progress)) -> Result<Report, DbError> {
        let run = Run {
            recommender: self,
            order,
            holder: uuid::Uuid::new_v4().to_string(),
            began_at_ms: self.clock.now_ms(),
            on_progress,
        };
        run.renew(self.database.writer()).await?;
        let done = run.work().await;
        leases::release(self.database.writer(), LEASE, &run.holder).await?;
        done
    }
}

/// One run.
struct Run<'a, F> {
    recommender: &'a Recommender,
    order: RunOrder,
    holder: String,
    began_at_ms: i64,
    on_progress: F,
}

/// What is different from the last run.
struct Changed {
    /// By item.
    items: Vec<bool>,
    /// By row.
    rows: Vec<bool>,
}

impl<F: Fn(Progress)> Run<'_, F> {
    async fn work(&self) -> Result<Report, DbError> {
        let database = &self.recommender.database;
        let last = recommendations::find_run(database.reader()).await?;
        let is_of_use = |run: &RunRow| run.method == METHOD && run.finished_at_ms.is_some();
        let is_whole = self.order.is_whole || !last.as_ref().is_some_and(is_of_use);
        let before_ms = Grain::Day.bucket_of(self.began_at_ms);
        self.tell("reading what listeners did", 0, 0);
        let (items, rows) = self.gather(before_ms).await?;
        let changed = self.compare(&items, &rows, is_whole).await?;
        let run = RunRow {
            method: METHOD,
            // Until the end, whoever's row is not written yet is settled as far as it was.
            before_ms: last.map_or(i64::MIN, |run| run.before_ms),
            began_at_ms: self.began_at_ms,
            finished_at_ms: None,
        };
        self.begin_run(&items, &run).await?;
        let mut renewed_items = 0;
        for kind in 0..KINDS {
            let is_of_kind = |item: &u32| place_of(items.list()[*item as usize].kind) == kind;
            let of_kind: Vec<u32> = (0..items.list().len() as u32).filter(is_of_kind).collect();
            let space = Arc::new(Space::new(LIKENESS, by_listener(&rows, kind, items.list().len())?));
            let due = self.due(&space, &of_kind, &changed.items).await?;
            self.put_neighbours(&space, &due).await?;
            renewed_items += due.len();
        }
        let changed_listeners = self.put_tastes(&rows, &changed.rows).await?;
        let txn = self.begin().await?;
        let finished_at_ms = Some(self.recommender.clock.now_ms());
        recommendations::put_run(&txn, &RunRow { before_ms, finished_at_ms, ..run }).await?;
        txn.commit().await?;
        Ok(Report { listeners: rows.len(), items: items.list().len(), renewed_items, changed_listeners })
    }

    fn tell(&self, doing: &'static str, done: usize, of: usize) {
        (self.on_progress)(Progress { doing, done, of });
    }

    async fn renew<C: Connection>(&self, conn: &C) -> Result<(), DbError> {
        let now_ms = self.recommender.clock.now_ms();
        let is_ours = leases::try_acquire(conn, LEASE, &self.holder, now_ms, LEASE_MS).await?;
        if is_ours { Ok(()) } else { Err(DbError::LeaseHeld(LEASE)) }
    }

    /// A step that has nobody's work overwritten: whose lease was taken over meanwhile does not get in.
    async fn begin(&self) -> Result<Transaction, DbError> {
        let txn = self.recommender.database.begin_write().await?;
        self.renew(&txn).await?;
        Ok(txn)
    }

    /// All items, and what is written of each listener.
    async fn gather(&self, before_ms: i64) -> Result<(Items, Vec<TasteRow>), DbError> {
        let mut rows = Vec::new();
        let see = |Listened { listener, settled, recent }: Listened| {
            let (settled, recent) = (settled.write(), recent.write());
            rows.push(TasteRow { listener, before_ms, settled: settled.into(), recent: recent.into() });
        };
        let items = self.recommender.gather(before_ms, see).await?;
        Ok((items, rows))
    }

    /// Compares with what the last run stored.
    async fn compare(&self, items: &Items, rows: &[TasteRow], is_whole: bool) -> Result<Changed, DbError> {
        let mut changed = Changed { items: vec![is_whole; items.list().len()], rows: Vec::with_capacity(rows.len()) };
        for some in rows.chunks(LISTENERS_AT_ONCE) {
            let listeners: Vec<u32> = some.iter().map(|row| row.listener).collect();
            let mut stored = recommendations::list_tastes(self.recommender.database.scanner(), &listeners).await?;
            stored.sort_unstable_by_key(|row| row.listener);
            for row in some {
                let known = stored.binary_search_by_key(&row.listener, |row| row.listener).ok();
                let known = known.map(|place| &stored[place]);
                let is_same = known.is_some_and(|known| known.settled == row.settled && known.recent == row.recent);
                changed.rows.push(!is_same);
                if is_whole || is_same {
                    continue;
                }
                let before = known.map(|row| taste(row, None)).transpose()?.unwrap_or_default();
                let now = taste(row, None)?;
                for kind in 0..KINDS {
                    let (before, now) = (telling(&before, kind), telling(&now, kind));
                    differing(&before, &now, |item| changed.items[item as usize] = true);
                }
            }
        }
        Ok(changed)
    }

    async fn begin_run(&self, items: &Items, run: &RunRow) -> Result<(), DbError> {
        let txn = self.begin().await?;
        recommendations::put_run(&txn, run).await?;
        let new: Vec<_> = (0..).zip(items.list()).skip(items.stored).collect();
        recommendations::insert_items(&txn, &new).await?;
        txn.commit().await
    }

    /// The items of a kind whose neighbours are to be found anew.
    async fn due(&self, space: &Arc<Space>, of_kind: &[u32], changed: &[bool]) -> Result<Vec<u32>, DbError> {
        let is_changed = |item: &u32| changed[*item as usize];
        let dirty: Vec<u32> = of_kind.iter().copied().filter(is_changed).collect();
        if dirty.is_empty() {
            return Ok(dirty);
        }
        // Of many changed ones nearly everything is a neighbour.
        if dirty.len() * 4 > of_kind.len() {
            let is_due = |item: &u32| is_changed(item) || space.listeners_of(*item) > 0;
            return Ok(of_kind.iter().copied().filter(is_due).collect());
        }
        let mut affected = Affected::new(changed.to_vec());
        for some in of_kind.chunks(ITEMS_AT_ONCE) {
            let lists = recommendations::list_neighbours(self.recommender.database.scanner(), some).await?;
            lists.iter().for_each(|(item, packed)| affected.note(space, *item, neighbours::read(packed)));
        }
        let affected = Arc::new(affected);
        let mut entered = vec![false; changed.len()];
        for some in dirty.chunks(ITEMS_AT_ONCE) {
            let affected = affected.clone();
            let found = self.in_parallel(space, some, move |finder, item| affected.entered(finder, item)).await;
            found.into_iter().flat_map(|(_, items)| items).for_each(|item| entered[item as usize] = true);
        }
        let is_due = |item: &u32| affected.is_due(*item) || entered[*item as usize];
        Ok(of_kind.iter().copied().filter(is_due).collect())
    }

    async fn put_neighbours(&self, space: &Arc<Space>, due: &[u32]) -> Result<(), DbError> {
        for (step, some) in due.chunks(ITEMS_AT_ONCE).enumerate() {
            self.tell("finding neighbours", step * ITEMS_AT_ONCE, due.len());
            let lists = self.in_parallel(space, some, |finder, item| neighbours::write(&finder.nearest(item))).await;
            let txn = self.begin().await?;
            recommendations::put_neighbours(&txn, &lists).await?;
            txn.commit().await?;
        }
        Ok(())
    }

    /// Does the same for many items, on several cores, in the items' order.
    async fn in_parallel<T: Send + 'static>(
        &self,
        space: &Arc<Space>,
        items: &[u32],
        work: impl Fn(&mut Finder<'_>, u32) -> T + Send + Sync + 'static,
    ) -> Vec<(u32, T)> {
        let (space, items, threads) = (space.clone(), items.to_vec(), self.order.threads.get());
        let share = items.len().div_ceil(threads).max(1);
        let parallel = move || {
            let one = |items: &[u32]| -> Vec<(u32, T)> {
                let mut finder = Finder::new(&space);
                items.iter().map(|item| (*item, work(&mut finder, *item))).collect()
            };
            std::thread::scope(|scope| {
                let one = &one;
                let running: Vec<_> = items.chunks(share).map(|items| scope.spawn(move || one(items))).collect();
                running.into_iter().flat_map(|thread| thread.join().expect("a finder does not panic")).collect()
            })
        };
        tokio::task::spawn_blocking(parallel).await.expect("a finder does not panic")
    }

    async fn put_tastes(&self, rows: &[TasteRow], changed: &[bool]) -> Result<usize, DbError> {
        let rows: Vec<&TasteRow> =
            rows.iter().zip(changed).filter(|(_, changed)| **changed).map(|(row, _)| row).collect();
        for (step, some) in rows.chunks(LISTENERS_AT_ONCE).enumerate() {
            self.tell("noting what listeners took to", step * LISTENERS_AT_ONCE, rows.len());
            let txn = self.begin().await?;
            recommendations::put_tastes(&txn, some).await?;
            txn.commit().await?;
        }
        Ok(rows.len())
    }
}

/// All that a row says of every kind, or of one alone.
fn taste(row: &TasteRow, only: Option<usize>) -> Result<Taste, DbError> {
    let read = |bytes| Taste::read(bytes, only).map_err(|_| DbError::Corrupt("a taste"));
    let mut all = read(&row.settled)?;
    all.absorb(&read(&row.recent)?);
    Ok(all)
}

/// What of a kind tells what is like what, a row for each listener. Read from what is written, a kind at a time: that is
/// a fraction of the memory.
fn by_listener(rows: &[TasteRow], kind: usize, items: usize) -> Result<Matrix, DbError> {
    let mut by_listener = Matrix::new(items);
    for row in rows {
        by_listener.push(telling(&taste(row, Some(kind))?, kind));
    }
    Ok(by_listener)
}

/// What of a taste tells what is like what, by item.
fn telling(taste: &Taste, kind: usize) -> Vec<(u32, f32)> {
    let weighed = strongest(&taste.0[kind], TOLD_MAX).into_iter().map(|(item, deeds)| (item, weight(deeds.points())));
    weighed.filter(|(_, weight)| *weight > 0.0).collect()
}

/// Says which items two rows, each by item, do not have alike.
fn differing(one: &[(u32, f32)], other: &[(u32, f32)], mut say: impl FnMut(u32)) {
    let (mut ones, mut others) = (one.iter().peekable(), other.iter().peekable());
    loop {
        match (ones.peek(), others.peek()) {
            (Some((item, weight)), Some((next, next_weight))) if item == next => {
                if weight != next_weight {
                    say(*item);
                }
                ones.next();
                others.next();
            }
            (Some((item, _)), next) if next.is_none_or(|(next, _)| item < next) => {
                say(*item);
                ones.next();
            }
            (_, Some((next, _))) => {
                say(*next);
                others.next();
            }
            _ => return,
        }
    }
}
