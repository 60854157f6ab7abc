//! The job: which periods are due, and writing their charts. One process at a time, killable at any point.

use std::{
    collections::{BTreeSet, HashMap},
    ops::AddAssign,
    sync::Arc,
};

use super::{Charts, count::Totals};
use crate::{
    db::{
        DbError,
        queries::{
            charts::{self, ChartRow},
            leases, rollups,
        },
    },
    domain::{
        chart::{self, Cadence, Entry, Past, Series},
        entity::EntityKind,
        window::Window,
    },
};

pub const LEASE: &str = "charts";
/// Renewed with every chart, and while charts are counted.
const LEASE_MS: i64 = 300_000;
/// Kinds that have charts.
pub const KINDS: [EntityKind; 3] = [EntityKind::Song, EntityKind::Album, EntityKind::Artist];

/// A stretch of time whose charts are to be there.
#[derive(Debug, Clone)]
pub struct Order {
    pub of: EntityKind,
    pub cadence: Cadence,
    /// Every ended period that holds any instant of `[from_ms, to_ms)`.
    pub from_ms: i64,
    pub to_ms: i64,
    /// Whether charts that are there are counted again, too; where the numbers differ they are revised.
    pub recount: bool,
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub periods: u64,
    /// First revisions.
    pub published: u64,
    /// Later ones.
    pub revised: u64,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.periods += other.periods;
        self.published += other.published;
        self.revised += other.revised;
    }
}

/// The charts of one kind for one period.
struct Step {
    period: Window,
    recount: bool,
}

/// One kind and cadence in the works.
pub(super) struct Run {
    holder: String,
    /// When the lease was last renewed on purpose.
    renewed_ms: i64,
    /// What is counted later than this is not in its charts.
    began_ms: i64,
    /// Series in which something was written, and the period up to which they have been followed since.
    touched: HashMap<Series, i64>,
    /// The beginnings of periods that were counted as a whole.
    counted: Vec<i64>,
    report: Report,
}

/// Periods back that the regular look goes: a process may have been down for so long.
const fn looked_back(cadence: Cadence) -> usize {
    match cadence {
        Cadence::Daily => 14,
        Cadence::Weekly => 4,
        Cadence::Monthly => 2,
    }
}

impl Charts {
    /// Writes what is due: charts of periods that have ended since the last look, and once more those of
    /// periods that have settled since they were counted.
    ///
    /// Where no chart was ever written, only the newest period is due; the past is for [`Self::run`].
    pub async fn look(&self) -> Result<Report, DbError> {
        let mut report = Report::default();
        for (kind, cadence) in KINDS.into_iter().flat_map(|kind| Cadence::ALL.map(|cadence| (kind, cadence))) {
            let steps = self.due(kind, cadence).await?;
            if !steps.is_empty() {
                report += self.work(kind, cadence, &steps, &|_| {}).await?;
            }
        }
        Ok(report)
    }

    /// Writes the charts of a stretch of time, oldest first; says before each period which one it is.
    ///
    /// Errors: [`DbError::LeaseHeld`] while another process writes charts. Cut off, it can be run again.
    pub async fn run(&self, order: &Order, on_period: impl Fn(Window)) -> Result<Report, DbError> {
        let recount = order.recount;
        let periods = self.periods(order).await?;
        let steps: Vec<Step> = periods.into_iter().map(|period| Step { period, recount }).collect();
        self.work(order.of, order.cadence, &steps, &on_period).await
    }

    /// The periods of an order: from the first day on that has anything, up to the newest ended one.
    pub async fn periods(&self, order: &Order) -> Result<Vec<Window>, DbError> {
        let (calendar, cadence) = (self.settings.calendar, order.cadence);
        let from_ms = calendar.period_of(cadence, order.from_ms).from_ms;
        let Some(first_day) = rollups::find_next_day(self.database.scanner(), from_ms).await? else {
            return Ok(Vec::new());
        };
        Ok(calendar.closed_within(cadence, first_day, order.to_ms, self.clock.now_ms()))
    }

    /// From the oldest due period to the newest ended one: those between follow what changes before them.
    async fn due(&self, kind: EntityKind, cadence: Cadence) -> Result<Vec<Step>, DbError> {
        let (calendar, now_ms) = (self.settings.calendar, self.clock.now_ms());
        let settle_ms = i64::try_from(self.settings.settle.as_millis()).unwrap_or(i64::MAX);
        let newest = calendar.newest_closed(cadence, now_ms);
        let mut steps = Vec::new();
        let mut has_begun = false;
        let periods = std::iter::successors(Some(newest), |period| Some(calendar.before(cadence, *period)));
        let periods: Vec<Window> = periods.take(looked_back(cadence)).collect();
        for period in periods.into_iter().rev() {
            let counted_at = charts::find_counted_at(self.database.scanner(), kind, cadence, period.from_ms).await?;
            let settles_at = period.to_ms.saturating_add(settle_ms);
            let is_due = match counted_at {
                Some(counted_at) => counted_at < settles_at && settles_at <= now_ms,
                None => has_begun || period == newest,
            };
            has_begun |= counted_at.is_some();
            if is_due || !steps.is_empty() {
                steps.push(Step { period, recount: is_due });
            }
        }
        Ok(steps)
    }

    async fn work(
        &self,
        kind: EntityKind,
        cadence: Cadence,
        steps: &[Step],
        on_period: &impl Fn(Window),
    ) -> Result<Report, DbError> {
        let (holder, began_ms) = (uuid::Uuid::new_v4().to_string(), self.clock.now_ms());
        let report = Report::default();
        let mut run =
            Run { holder, renewed_ms: began_ms, began_ms, touched: HashMap::new(), counted: Vec::new(), report };
        let conn = self.database.writer();
        if !leases::try_acquire(conn, LEASE, &run.holder, began_ms, LEASE_MS).await? {
            return Err(DbError::LeaseHeld(LEASE));
        }
        let done = self.publish_periods(kind, cadence, steps, &mut run, on_period).await;
        leases::release(conn, LEASE, &run.holder).await?;
        done.map(|()| run.report)
    }

    async fn publish_periods(
        &self,
        kind: EntityKind,
        cadence: Cadence,
        steps: &[Step],
        run: &mut Run,
        on_period: &impl Fn(Window),
    ) -> Result<(), DbError> {
        for step in steps {
            on_period(step.period);
            self.publish_period(kind, cadence, step, run).await?;
            run.report.periods += 1;
        }
        for (series, after_ms) in std::mem::take(&mut run.touched) {
            for later in charts::list_later(self.database.scanner(), &series, after_ms).await? {
                self.follow(&later, run).await?;
            }
        }
        // Last: what is cut off before is looked at again, and later charts follow it then.
        for period_start in &run.counted {
            charts::mark_counted(self.database.writer(), kind, cadence, *period_start, run.began_ms).await?;
        }
        Ok(())
    }

    /// The charts of one kind for one period: of the whole platform, of every genre that has anything, and of every
    /// country.
    async fn publish_period(
        &self,
        kind: EntityKind,
        cadence: Cadence,
        step: &Step,
        run: &mut Run,
    ) -> Result<(), DbError> {
        let (conn, period) = (self.database.scanner(), step.period);
        let counted_at = charts::find_counted_at(conn, kind, cadence, period.from_ms).await?;
        let published = charts::list_of_period(conn, kind, cadence, period.from_ms).await?;
        let mut published: HashMap<Series, ChartRow> =
            published.into_iter().map(|chart| (chart.series.clone(), chart)).collect();
        // Where there was nothing, something may have been imported since.
        let platform = Series { of: kind, cadence, genre: None, country: None };
        let is_counted = step.recount || counted_at.is_none() || !published.contains_key(&platform);
        let mut totals = Totals::new();
        if is_counted {
            totals = self.totals(kind, cadence, period, run).await?;
            totals.extend(self.totals_by_country(kind, cadence, period, run).await?);
            run.counted.push(period.from_ms);
        }
        // A genre that nothing has any more can still have a chart, which is then to be corrected.
        let all: BTreeSet<Series> = published.keys().chain(totals.keys()).cloned().collect();
        for series in all {
            let (existing, sums) = (published.remove(&series), totals.remove(&series).unwrap_or_default());
            // Written by a run that was cut off, perhaps before the later charts followed.
            let is_unfinished = existing
                .as_ref()
                .is_some_and(|chart| counted_at.is_none_or(|counted_at| counted_at < chart.published_at_ms));
            let is_touched = is_unfinished || run.touched.contains_key(&series);
            let is_written = match &existing {
                Some(chart) if !step.recount => is_touched && self.follow(chart, run).await?,
                _ => self.publish(&series, period, existing.as_ref(), sums, run).await?,
            };
            if is_written || is_touched {
                run.touched.insert(series, period.from_ms);
            }
        }
        Ok(())
    }

    /// Writes a chart of these sums where it is new or differs from the published one; true if it was written.
    async fn publish(
        &self,
        series: &Series,
        period: Window,
        existing: Option<&ChartRow>,
        sums: Vec<(Arc<str>, i64)>,
        run: &mut Run,
    ) -> Result<bool, DbError> {
        let past = self.past(series, period).await?;
        let ranked = match series.country {
            // They come in their order.
            Some(_) => sums,
            None => self.rank(series, period, sums, &past.places()).await?,
        };
        self.write(series, period, existing, &ranked, past, run).await
    }

    /// Writes a published chart anew where an earlier one has changed what it says of the past. Its order and
    /// its numbers stay as they were published.
    async fn follow(&self, chart: &ChartRow, run: &mut Run) -> Result<bool, DbError> {
        let entries = charts::list_entries(self.database.scanner(), chart).await?;
        let ranked: Vec<(Arc<str>, i64)> =
            entries.into_iter().filter(|entry| entry.position.is_some()).map(|entry| (entry.id, entry.value)).collect();
        let past = self.past(&chart.series, chart.period).await?;
        self.write(&chart.series, chart.period, Some(chart), &ranked, past, run).await
    }

    async fn write(
        &self,
        series: &Series,
        period: Window,
        existing: Option<&ChartRow>,
        ranked: &[(Arc<str>, i64)],
        mut past: Past,
        run: &mut Run,
    ) -> Result<bool, DbError> {
        let places = past.places();
        // What a published chart names may have been merged since; its past is that of what it is now.
        let read_as: Vec<(Arc<str>, i64)> =
            ranked.iter().map(|(id, value)| (self.canonical_id(series, id), *value)).collect();
        for (id, _) in read_as.iter().filter(|(id, _)| !places.contains_key(id)) {
            if let Some(last) = self.last_entry(series, period, id).await? {
                past.earlier.insert(id.clone(), last);
            }
        }
        let mut entries = chart::entries(period, &read_as, &past);
        entries.iter_mut().zip(ranked).for_each(|(entry, (id, _))| entry.id = id.clone());
        if let Some(existing) = existing
            && charts::list_entries(self.database.scanner(), existing).await? == entries
        {
            return Ok(false);
        }
        let revision = existing.map_or(0, |chart| chart.revision) + 1;
        let chart = ChartRow { series: series.clone(), period, revision, published_at_ms: run.began_ms };
        self.store(&chart, &entries, &run.holder).await?;
        *if revision == 1 { &mut run.report.published } else { &mut run.report.revised } += 1;
        Ok(true)
    }

    /// Renews the lease now and then: counting takes minutes on a platform of millions of songs.
    pub(super) async fn keep_lease(&self, run: &mut Run) -> Result<(), DbError> {
        let now_ms = self.clock.now_ms();
        if now_ms - run.renewed_ms < LEASE_MS / 5 {
            return Ok(());
        }
        run.renewed_ms = now_ms;
        let is_kept = leases::try_acquire(self.database.writer(), LEASE, &run.holder, now_ms, LEASE_MS).await?;
        if is_kept { Ok(()) } else { Err(DbError::LeaseHeld(LEASE)) }
    }

    async fn store(&self, chart: &ChartRow, entries: &[Entry], holder: &str) -> Result<(), DbError> {
        let txn = self.database.begin_write().await?;
        if !leases::try_acquire(&txn, LEASE, holder, self.clock.now_ms(), LEASE_MS).await? {
            return Err(DbError::LeaseHeld(LEASE));
        }
        match charts::insert(&txn, chart, entries).await {
            // Somebody had the lease while this process slept: theirs is as good.
            Err(error) if error.is_unique_violation() => return Err(DbError::LeaseHeld(LEASE)),
            inserted => inserted?,
        }
        txn.commit().await
    }
}
