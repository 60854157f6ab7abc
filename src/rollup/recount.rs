//! Recomputes every number from the log, one UTC day at a time: to compare (`verify`) or to swap in
//! (`rebuild`). The counting itself is the committer's: [`Deltas`].

use std::collections::BTreeMap;

use chrono::DateTime;
use roaring::RoaringBitmap;

use super::{delta::Deltas, replay::add_stored};
use crate::{
    audience::{first_hourly_day, merge, segment::Segment},
    db::{
        Connection, Database, DbError,
        queries::{
            audience::{self, AudienceRow},
            events, leases, rollups,
        },
    },
    domain::{
        clock::Clock,
        counting::CountingRules,
        entity::EntityRef,
        event::EventKey,
        window::{DAY_MS, Grain},
    },
};

/// Events read at once; bounds memory whatever a day holds.
const EVENTS_AT_ONCE: u64 = 10_000;
/// Differences that are told one by one.
const SHOWN_MAX: usize = 20;

type Sets = BTreeMap<(i64, EntityRef, String), RoaringBitmap>;

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub days: u64,
    pub differences: u64,
    /// The first differences, in words.
    pub shown: Vec<String>,
}

impl Report {
    fn note(&mut self, difference: String) {
        self.differences += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(difference);
        }
    }
}

/// One day's numbers as the log gives them.
struct Recount {
    events: u64,
    deltas: Deltas,
    sets: Sets,
}

async fn recount_day<C: Connection>(
    conn: &C,
    day: i64,
    rules: &CountingRules,
    now_ms: i64,
) -> Result<Recount, DbError> {
    let mut recount = Recount { events: 0, deltas: Deltas::default(), sets: Sets::new() };
    let mut after: Option<EventKey> = None;
    loop {
        let events = events::list_between(conn, day, day + DAY_MS, after, EVENTS_AT_ONCE).await?;
        let Some(last) = events.last() else { return Ok(recount) };
        after = Some(last.key);
        recount.events += events.len() as u64;
        add_stored(conn, &events, rules, &mut recount.deltas).await?;
        merge::gather(&mut recount.sets, &Segment::of(recount.deltas.take_listens()), now_ms);
    }
}

/// Compares everything stored with a recount, in one snapshot of the database.
pub async fn verify(
    database: &Database,
    rules: &CountingRules,
    now_ms: i64,
    on_day: impl Fn(String),
) -> Result<Report, DbError> {
    let snapshot = database.begin_snapshot().await?;
    let mut report = Report::default();
    let mut open = Sets::new();
    let ids = audience::list_segment_ids(&snapshot).await?;
    for (_, pairs) in audience::list_segments(&snapshot, &ids).await? {
        let segment = Segment::decode(&pairs).map_err(|_| DbError::Corrupt("a segment of listeners"))?;
        merge::gather(&mut open, &segment, now_ms);
    }
    let mut from = i64::MIN / 2;
    while let Some(day) = find_next_day(&snapshot, from, &open).await? {
        on_day(date_text(day));
        let recount = recount_day(&snapshot, day, rules, now_ms).await?;
        report.days += 1;
        report.events += recount.events;
        compare_counters(&mut report, &recount, rollups::list_day(&snapshot, day).await?);
        compare_money(&mut report, &recount, rollups::list_money_day(&snapshot, day).await?);
        let mut stored: Sets = audience::list_day(&snapshot, day)
            .await?
            .into_iter()
            .map(|row| ((row.day, row.entity, row.segment), row.listeners))
            .collect();
        let of_day = open.range((day, first_entity(), String::new())..);
        for (key, set) in of_day.take_while(|((of, ..), _)| *of == day) {
            *stored.entry(key.clone()).or_default() |= set;
        }
        if day < first_hourly_day(now_ms) {
            // Hourly sets of a day that has just become old may not have been dropped yet.
            stored.retain(|(_, _, segment), _| segment == audience::WHOLE_DAY);
        }
        compare_sets(&mut report, recount.sets, stored);
        from = day + DAY_MS;
    }
    snapshot.rollback().await.map_err(DbError::from)?;
    Ok(report)
}

fn first_entity() -> EntityRef {
    EntityRef::new(crate::domain::entity::EntityKind::Song, "")
}

/// The first day from `from` on that has an event or any number.
async fn find_next_day<C: Connection>(conn: &C, from: i64, open: &Sets) -> Result<Option<i64>, DbError> {
    let event = events::find_next(conn, from).await?.map(|at_ms| Grain::Day.bucket_of(at_ms));
    let rollup = rollups::find_next_day(conn, from).await?;
    let stored = audience::find_next_day(conn, from).await?;
    let open = open.range((from, first_entity(), String::new())..).next().map(|((day, ..), _)| *day);
    Ok([event, rollup, stored, open].into_iter().flatten().min())
}

fn compare_counters(report: &mut Report, recount: &Recount, stored: Vec<rollups::RollupRow>) {
    let key = |row: &rollups::RollupRow| (row.grain, row.bucket, row.entity.clone());
    let mut stored: BTreeMap<_, _> = stored.into_iter().map(|row| (key(&row), row.counters)).collect();
    for row in recount.deltas.rollup_rows() {
        let counters = stored.remove(&key(&row)).unwrap_or_default();
        if counters != row.counters {
            report.note(format!(
                "{}: stored {counters:?}, events say {:?}",
                place(&row.entity, row.bucket),
                row.counters
            ));
        }
    }
    for ((_, bucket, entity), counters) in stored.into_iter().filter(|(_, counters)| !counters.is_zero()) {
        report.note(format!("{}: stored {counters:?}, events say nothing", place(&entity, bucket)));
    }
}

fn compare_money(report: &mut Report, recount: &Recount, stored: Vec<rollups::MoneyRow>) {
    let key = |row: &rollups::MoneyRow| (row.grain, row.bucket, row.entity.clone(), row.currency.clone());
    let mut stored: BTreeMap<_, _> = stored.into_iter().map(|row| (key(&row), row.money)).collect();
    for row in recount.deltas.money_rows() {
        let money = stored.remove(&key(&row)).unwrap_or_default();
        if money != row.money {
            report.note(format!("{}: stored {money:?}, events say {:?}", place(&row.entity, row.bucket), row.money));
        }
    }
    for ((_, bucket, entity, _), money) in stored {
        report.note(format!("{}: stored {money:?}, events say nothing", place(&entity, bucket)));
    }
}

fn compare_sets(report: &mut Report, recounted: Sets, mut stored: Sets) {
    for (key, set) in recounted {
        let found = stored.remove(&key).unwrap_or_default();
        if found != set {
            let (only_stored, only_counted) = (&found - &set, &set - &found);
            report.note(format!(
                "{} listeners {}: {} stored too many, {} missing",
                place(&key.1, key.0),
                key.2,
                only_stored.len(),
                only_counted.len()
            ));
        }
    }
    for ((day, entity, segment), set) in stored.into_iter().filter(|(_, set)| !set.is_empty()) {
        report.note(format!("{} listeners {segment}: {} stored too many", place(&entity, day), set.len()));
    }
}

fn place(entity: &EntityRef, bucket: i64) -> String {
    format!(
        "{} {:?} at {}",
        entity.kind.word(),
        &*entity.id,
        DateTime::from_timestamp_millis(bucket).unwrap_or_default()
    )
}

/// Replaces every number by a recount, day by day; returns how many days.
///
/// Writers are kept out of the rollups while a day is swapped: what they had committed is recounted,
/// what they commit later comes on top.
pub async fn rebuild(
    database: &Database,
    rules: &CountingRules,
    clock: &dyn Clock,
    on_day: impl Fn(String),
) -> Result<u64, DbError> {
    let holder = uuid::Uuid::new_v4().to_string();
    let mut days = 0;
    let mut from = i64::MIN / 2;
    let nothing_open = Sets::new();
    while let Some(day) = find_next_day(database.reader(), from, &nothing_open).await? {
        on_day(date_text(day));
        let now_ms = clock.now_ms();
        let txn = database.begin_write().await?;
        // Whoever merges listener sets reads and writes them: only one of us at a time.
        if !leases::try_acquire(&txn, merge::LEASE, &holder, now_ms, 0).await? {
            txn.rollback().await?;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            continue;
        }
        rollups::lock_against_writers(&txn).await?;
        let recount = recount_day(&txn, day, rules, now_ms).await?;
        rollups::delete_day(&txn, day).await?;
        rollups::apply_money_deltas(&txn, 0, &recount.deltas.money_rows()).await?;
        rollups::apply_deltas(&txn, 0, &recount.deltas.rollup_rows()).await?;
        audience::delete_day(&txn, day).await?;
        let rows: Vec<AudienceRow> = recount
            .sets
            .into_iter()
            .map(|((day, entity, segment), listeners)| AudienceRow { day, entity, segment, listeners })
            .collect();
        audience::put(&txn, &rows).await?;
        leases::release(&txn, merge::LEASE, &holder).await?;
        txn.commit().await?;
        days += 1;
        from = day + DAY_MS;
    }
    Ok(days)
}

fn date_text(day: i64) -> String {
    DateTime::from_timestamp_millis(day).unwrap_or_default().date_naive().to_string()
}
