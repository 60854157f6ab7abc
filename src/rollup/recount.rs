//! Recomputes every number from the log, one UTC day at a time: to compare (`verify`) or to swap in
//! (`rebuild`). The counting itself is the committer's: [`Deltas`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem::take,
    sync::Arc,
};

use chrono::DateTime;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::{
    compare::{Report, compare_counters, compare_money, compare_people, compare_trails, place},
    delta::Deltas,
    replay::add_stored,
};
use crate::{
    audience::{
        day::{EntityDay, Wanted},
        merge,
        open::{gather_markets, open_segment},
        segment::{Mark, Marks, Segment},
        trail::TrailPart,
    },
    db::{
        Connection, Database, DbError, Transaction,
        queries::{
            audience::{self, DayRow, MarketRow},
            events, keeping, leases,
            rollups::{self, MoneyRow, RollupRow},
            trails,
        },
    },
    domain::{
        clock::Clock,
        counting::{Counters, CountingRules, MoneyCounters},
        entity::{EntityKind, EntityRef},
        event::EventKey,
        keeping::Keeping,
        window::{DAY_MS, Grain},
    },
};

/// Before any day.
const BEGINNING: i64 = i64::MIN / 2;
/// Events read at once; bounds memory whatever a day holds.
const EVENTS_AT_ONCE: u64 = 10_000;

pub type CounterSums = BTreeMap<(Grain, i64, EntityRef), Counters>;
pub type MoneySums = BTreeMap<(Grain, i64, EntityRef, Arc<str>), MoneyCounters>;

/// One day's numbers as the log gives them.
#[derive(Default)]
struct Recount {
    events: u64,
    counters: CounterSums,
    money: MoneySums,
    people: People,
}

/// Who took part on one day.
#[derive(Default)]
pub struct People {
    pub days: BTreeMap<EntityRef, EntityDay>,
    pub markets: BTreeMap<Option<Arc<str>>, RoaringBitmap>,
    /// By block of users.
    pub trails: BTreeMap<u32, TrailPart>,
}

impl People {
    /// Adds those of a segment's facts that are of this day and not held yet.
    fn fold(&mut self, day: i64, segment: &Segment, is_held: impl Fn(&Marks) -> bool) {
        let mut markets = FxHashMap::default();
        for (entity, at) in &segment.entities {
            if entity.kind == EntityKind::Song {
                gather_markets(&mut markets, segment, *at);
            }
            let mut facts = segment.facts(*at).filter(|fact| Grain::Day.bucket_of(fact.quarter_ms) == day).peekable();
            if facts.peek().is_some() {
                let entity_day = self.days.entry(entity.clone()).or_default();
                if !is_held(&entity_day.marks) {
                    facts.for_each(|fact| entity_day.fold(&fact, &segment.texts));
                }
            }
        }
        for ((_, country), listeners) in markets.into_iter().filter(|((of, _), _)| *of == day) {
            self.markets.entry(country).or_default().extend(listeners);
        }
        for step in segment.steps() {
            let (of, users) = step.block_day();
            if of == day {
                let trail = self.trails.entry(users).or_default();
                if !is_held(&trail.marks) {
                    trail.add(step, &segment.texts, &segment.texts);
                }
            }
        }
    }
}

async fn recount_day<C: Connection>(
    conn: &C,
    day: i64,
    rules: &CountingRules,
    keeping: &Keeping,
) -> Result<Recount, DbError> {
    // Of no committer: these facts are folded here and now.
    const MARK: Mark = Mark { block: 0, number: 0 };

    let mut recount = Recount::default();
    let mut after: Option<EventKey> = None;
    loop {
        let events = events::list_between(conn, day, day + DAY_MS, after, EVENTS_AT_ONCE).await?;
        let Some(last) = events.last() else { return Ok(recount) };
        after = Some(last.key);
        recount.events += events.len() as u64;
        let mut deltas = Deltas::default();
        add_stored(conn, &events, rules, &mut deltas).await?;
        for row in deltas.rollup_rows() {
            let bucket = keeping.bucket_of(row.grain, row.bucket);
            recount.counters.entry((row.grain, bucket, row.entity)).or_default().add(&row.counters);
        }
        for row in deltas.money_rows() {
            let bucket = keeping.bucket_of(row.grain, row.bucket);
            recount.money.entry((row.grain, bucket, row.entity, row.currency)).or_default().add(&row.money);
        }
        if let Some(facts) = deltas.segment() {
            let segment = Segment::open(MARK, facts).map_err(|_| DbError::Corrupt("facts written just now"))?;
            recount.people.fold(day, &segment, |_| false);
        }
    }
}

/// Compares everything stored with a recount, in one snapshot of the database; days whose events are no longer all
/// there are left out, and of days that are kept by hours, hours are compared.
pub async fn verify(database: &Database, rules: &CountingRules, on_day: impl Fn(String)) -> Result<Report, DbError> {
    let snapshot = database.begin_snapshot().await?;
    let keeping = keeping::find(&snapshot).await?;
    let mut report = Report { left_out_before: keeping.sealed_before_ms, ..Report::default() };
    let waiting = audience::list_marks(&snapshot).await?;
    let mut open = Vec::new();
    for (at, facts) in audience::list_segments(&snapshot, &waiting).await? {
        open.push(open_segment(at, facts)?);
    }
    let open_days: BTreeSet<i64> = open.iter().flat_map(days_of).collect();
    let mut from = keeping.sealed_before_ms.unwrap_or(BEGINNING);
    while let Some(day) = find_next_day(&snapshot, from, &open_days).await? {
        on_day(date_text(day));
        let recount = recount_day(&snapshot, day, rules, &keeping).await?;
        report.days += 1;
        report.events += recount.events;
        let mut counters = rollups::list_day(&snapshot, day).await?;
        counters.iter_mut().for_each(|row| row.bucket = keeping.bucket_of(row.grain, row.bucket));
        compare_counters(&mut report, recount.counters, rollups::summed_counters(counters));
        let mut money = rollups::list_money_day(&snapshot, day).await?;
        money.iter_mut().for_each(|row| row.bucket = keeping.bucket_of(row.grain, row.bucket));
        compare_money(&mut report, recount.money, rollups::summed_money(money));
        let mut stored = stored_people(&snapshot, day, &open, &mut report).await?;
        let mut people = recount.people;
        compare_trails(&mut report, day, take(&mut people.trails), take(&mut stored.trails));
        compare_people(&mut report, day, people, stored);
        from = day + DAY_MS;
    }
    snapshot.rollback().await.map_err(DbError::from)?;
    Ok(report)
}

/// A day's people as they are stored, with what waits to be merged.
async fn stored_people<C: Connection>(
    conn: &C,
    day: i64,
    open: &[Segment],
    report: &mut Report,
) -> Result<People, DbError> {
    let mut stored = People::default();
    for row in audience::list_day(conn, day).await? {
        match merge::read_day(&row) {
            Ok(entity_day) => {
                if row.listeners != entity_day.listeners() || row.active != entity_day.active() {
                    report.note(format!("{} listeners: the sets are not those of the cells", place(&row.entity, day)));
                }
                stored.days.insert(row.entity, entity_day);
            }
            Err(_) => report.note(format!("{} people: what is stored cannot be read", place(&row.entity, day))),
        }
    }
    let markets = audience::list_markets(conn, &[day]).await?;
    stored.markets = markets.into_iter().map(|row| (row.country, row.listeners)).collect();
    stored.trails = stored_trails(conn, day, report).await?;
    for segment in open {
        stored.fold(day, segment, |marks| marks.hold(segment.mark));
    }
    Ok(stored)
}

/// A day's trails by block of users.
async fn stored_trails<C: Connection>(
    conn: &C,
    day: i64,
    report: &mut Report,
) -> Result<BTreeMap<u32, TrailPart>, DbError> {
    let heads = trails::list_heads(conn, &[day], None).await?;
    let keys: Vec<trails::PartKey> = heads.iter().map(trails::PartRow::key).collect();
    let mut stored: BTreeMap<u32, TrailPart> = BTreeMap::new();
    for row in trails::list(conn, &keys).await? {
        match merge::read_trail(&row, None) {
            Ok(part) => stored.entry(row.users).or_default().absorb(&part),
            Err(_) => report.note(format!("trails of block {} on {}: cannot be read", row.users, date_text(day))),
        }
    }
    Ok(stored)
}

fn days_of(segment: &Segment) -> BTreeSet<i64> {
    let facts = segment.entities.iter().flat_map(|(_, at)| segment.facts(*at));
    facts.map(|fact| Grain::Day.bucket_of(fact.quarter_ms)).collect()
}

/// The first day from `from` on that has an event or any number.
async fn find_next_day<C: Connection>(conn: &C, from: i64, open_days: &BTreeSet<i64>) -> Result<Option<i64>, DbError> {
    let event = events::find_next(conn, from).await?.map(|at_ms| Grain::Day.bucket_of(at_ms));
    let rollup = rollups::find_next_day(conn, from).await?;
    let stored = audience::find_next_day(conn, from).await?;
    let trail = trails::find_next_day(conn, from).await?;
    let open = open_days.range(from..).next().copied();
    Ok([event, rollup, stored, trail, open].into_iter().flatten().min())
}

/// Why numbers could not be recounted.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(
        "the days from {} to {} cannot be rebuilt: their events are no longer kept",
        date_text(*.first),
        date_text(*.before - DAY_MS)
    )]
    Sealed {
        /// The first of them with any number.
        first: i64,
        /// The day after the last.
        before: i64,
        /// Whether there are days that can be.
        is_any_kept: bool,
    },
    #[error(transparent)]
    Database(#[from] DbError),
}

/// Which days are to be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// All; nothing is done where the events of some are no longer all there.
    All,
    /// Those whose events are all there.
    Kept,
}

/// Replaces numbers by a recount, day by day; returns how many days.
///
/// Writers are kept out of the rollups while a day is swapped: what they had committed is recounted,
/// what they commit later comes on top. No day is sealed meanwhile.
pub async fn rebuild(
    database: &Database,
    rules: &CountingRules,
    clock: &dyn Clock,
    which: Days,
    on_day: impl Fn(String),
) -> Result<u64, RebuildError> {
    let holder = uuid::Uuid::new_v4().to_string();
    let nothing_open = BTreeSet::new();
    let mut from = require_kept(database, which).await?;
    let mut days = 0;
    while let Some(day) = find_next_day(database.reader(), from, &nothing_open).await? {
        on_day(date_text(day));
        let now_ms = clock.now_ms();
        let txn = database.begin_write().await?;
        let keeping = keeping::lock(&txn).await?;
        if keeping.is_sealed(day) {
            // Just now: what is stored of it is what it was.
            txn.rollback().await?;
            from = day + DAY_MS;
            continue;
        }
        // Whoever merges listener sets reads and writes them: only one of us at a time.
        if !leases::try_acquire(&txn, merge::LEASE, &holder, now_ms, 0).await? {
            txn.rollback().await?;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            continue;
        }
        rollups::lock_against_writers(&txn).await?;
        // Everything committed so far is in the log: the new days hold all segments that wait.
        let held = merge::waiting_marks(&audience::list_marks(&txn).await?);
        let recount = recount_day(&txn, day, rules, &keeping).await?;
        rollups::delete_day(&txn, day).await?;
        rollups::apply_money_deltas(&txn, 0, &money_rows(recount.money)).await?;
        rollups::apply_deltas(&txn, 0, &counter_rows(recount.counters)).await?;
        let before = audience::list_day_cells(&txn, day).await?;
        audience::delete_day(&txn, day).await?;
        let People { days: people, markets, trails: recounted } = recount.people;
        store_people(&txn, day, people, before, &held).await?;
        let markets = markets.into_iter().map(|(country, listeners)| MarketRow { day, country, listeners });
        audience::put_markets(&txn, &markets.collect::<Vec<_>>()).await?;
        replace_trails(&txn, day, recounted, &held).await?;
        leases::release(&txn, merge::LEASE, &holder).await?;
        txn.commit().await?;
        days += 1;
        from = day + DAY_MS;
    }
    Ok(days)
}

/// Where a rebuild begins.
async fn require_kept(database: &Database, which: Days) -> Result<i64, RebuildError> {
    let reader = database.reader();
    let Some(before) = keeping::find(reader).await?.sealed_before_ms else { return Ok(BEGINNING) };
    let nothing_open = BTreeSet::new();
    let first = find_next_day(reader, BEGINNING, &nothing_open).await?.filter(|first| *first < before);
    let is_any_kept = find_next_day(reader, before, &nothing_open).await?.is_some();
    match first {
        Some(first) if which == Days::All || !is_any_kept => Err(RebuildError::Sealed { first, before, is_any_kept }),
        _ => Ok(before),
    }
}

fn counter_rows(counters: CounterSums) -> Vec<RollupRow> {
    let row = |((grain, bucket, entity), counters)| RollupRow { grain, bucket, entity, counters };
    counters.into_iter().map(row).collect()
}

fn money_rows(money: MoneySums) -> Vec<MoneyRow> {
    let row = |((grain, bucket, entity, currency), money)| MoneyRow { grain, bucket, entity, currency, money };
    money.into_iter().map(row).collect()
}

/// Writes a day's people. Their rows hold what waits, and what the rows before them held.
async fn store_people(
    txn: &Transaction,
    day: i64,
    people: BTreeMap<EntityRef, EntityDay>,
    before: Vec<DayRow>,
    held: &Marks,
) -> Result<(), DbError> {
    let mut marks_before: HashMap<EntityRef, Marks> = HashMap::new();
    for row in before {
        // What cannot be read is what is being repaired.
        let marks = EntityDay::read(&row.cells, None, Wanted::default()).map(|day| day.marks).unwrap_or_default();
        marks_before.insert(row.entity, marks);
    }
    let rows: Vec<DayRow> = people
        .into_iter()
        .map(|(entity, mut entity_day)| {
            entity_day.marks = marks_before.remove(&entity).unwrap_or_default();
            entity_day.marks.raise_all(held);
            merge::day_row(day, entity, entity_day)
        })
        .collect();
    audience::put(txn, &rows).await
}

/// Writes a day's trails over those that are stored. Their rows hold what waits, and what the rows before them held.
async fn replace_trails(
    txn: &Transaction,
    day: i64,
    recounted: BTreeMap<u32, TrailPart>,
    held: &Marks,
) -> Result<(), DbError> {
    let mut marks_before: HashMap<u32, Marks> = HashMap::new();
    for head in trails::list_heads(txn, &[day], None).await? {
        // What cannot be read is what is being repaired.
        let marks = merge::marks_of(std::slice::from_ref(&head)).unwrap_or_default();
        marks_before.entry(head.users).or_default().raise_all(&marks);
    }
    trails::delete_day(txn, day).await?;
    let row = |(users, mut trail): (u32, TrailPart)| {
        trail.marks = marks_before.remove(&users).unwrap_or_default();
        trail.marks.raise_all(held);
        merge::trail_row(day, users, 0, trail)
    };
    trails::insert(txn, &recounted.into_iter().map(row).collect::<Vec<_>>()).await
}

pub fn date_text(day: i64) -> String {
    DateTime::from_timestamp_millis(day).unwrap_or_default().date_naive().to_string()
}
