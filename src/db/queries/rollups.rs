//! Counters by bucket and entity.

use std::{
    collections::BTreeMap,
    fmt::Write,
    ops::Range,
    sync::{Arc, LazyLock},
};

use sea_orm::{ConnectionTrait, DatabaseBackend, QueryResult};

use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        transaction::Arguments,
    },
    domain::{
        counting::{Counter, Counters, MoneyCounters},
        entity::{EntityKind, EntityRef},
        measure::CounterSet,
        window::Grain,
    },
};

/// Counters of one entity in one bucket.
#[derive(Debug, Clone, PartialEq)]
pub struct RollupRow {
    pub grain: Grain,
    pub bucket: i64,
    pub entity: EntityRef,
    pub counters: Counters,
}

/// Money of one entity in one bucket and currency.
#[derive(Debug, Clone, PartialEq)]
pub struct MoneyRow {
    pub grain: Grain,
    pub bucket: i64,
    pub entity: EntityRef,
    pub currency: Arc<str>,
    pub money: MoneyCounters,
}

/// Rows that only plays moved, which most are, carry only the counters of plays.
static ADD_PLAYS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO rollup (grain, bucket, entity_kind, entity_id, slot, plays, streams, skips, listening_ms, \
         completed_plays, measured_plays, direct_streams)",
        5 + Counter::OF_PLAYS,
        on_conflict_add(&Counter::ALL[..Counter::OF_PLAYS]),
    )
});

static ADD_ALL: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO rollup (grain, bucket, entity_kind, entity_id, slot, plays, streams, skips, listening_ms, \
         completed_plays, measured_plays, direct_streams, likes, unlikes, shares, saves, unsaves, playlist_adds, follows, unfollows, \
         purchases, refunds, events)",
        5 + Counter::COUNT,
        on_conflict_add(&Counter::ALL),
    )
});

static ADD_MONEY: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO money_rollup (grain, bucket, entity_kind, entity_id, currency, slot, gross_minor, refunded_minor, payments)",
        9,
        "ON CONFLICT (grain, bucket, entity_kind, entity_id, currency, slot) DO UPDATE SET \
         gross_minor = money_rollup.gross_minor + excluded.gross_minor, \
         refunded_minor = money_rollup.refunded_minor + excluded.refunded_minor, \
         payments = money_rollup.payments + excluded.payments",
    )
});

fn on_conflict_add(counters: &[Counter]) -> String {
    let mut text = "ON CONFLICT (grain, bucket, entity_kind, entity_id, slot) DO UPDATE SET ".to_owned();
    for (index, counter) in counters.iter().enumerate() {
        let column = counter.column();
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{column} = rollup.{column} + excluded.{column}"); // writing to a String cannot fail
    }
    text
}

/// Adds deltas to the rollup, under the writer's slot. Rows are sorted by key and hold no key twice, so
/// that two writers lock rows in one order.
pub async fn apply_deltas(txn: &Transaction, slot: i16, rows: &[RollupRow]) -> Result<(), DbError> {
    let (of_plays, of_all): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.counters.is_plays_only());
    for (statement, rows, width) in [(&ADD_PLAYS, of_plays, Counter::OF_PLAYS), (&ADD_ALL, of_all, Counter::COUNT)] {
        let bind = |row: &&RollupRow, arguments: &mut Arguments| {
            bind_key(row.grain, row.bucket, &row.entity, arguments);
            arguments.add(slot);
            row.counters.values()[..width].iter().for_each(|count| arguments.add(*count));
        };
        statement.run(txn, &rows, bind).await?;
    }
    Ok(())
}

/// Adds money deltas, under the same rules.
pub async fn apply_money_deltas(txn: &Transaction, slot: i16, rows: &[MoneyRow]) -> Result<(), DbError> {
    let bind = |row: &MoneyRow, arguments: &mut Arguments| {
        bind_key(row.grain, row.bucket, &row.entity, arguments);
        arguments.add(&row.currency);
        arguments.add(slot);
        arguments.add(row.money.gross_minor);
        arguments.add(row.money.refunded_minor);
        arguments.add(row.money.payments);
    };
    ADD_MONEY.run(txn, rows, bind).await?;
    Ok(())
}

fn bind_key(grain: Grain, bucket: i64, entity: &EntityRef, arguments: &mut Arguments) {
    arguments.add(grain.code());
    arguments.add(bucket);
    arguments.add(entity.kind.code());
    arguments.add(&entity.id);
}

/// Counters of many entities of one kind in many buckets. Shape: one row per entity, bucket and slot
/// that has any, perhaps with days between those asked for; counters that were not asked for are 0. One
/// statement per 8,192 buckets.
pub async fn list_counters<C: ConnectionTrait>(
    conn: &C,
    grain: Grain,
    buckets: &[i64],
    kind: EntityKind,
    ids: &[Arc<str>],
    counters: CounterSet,
) -> Result<Vec<(String, i64, Counters)>, DbError> {
    let asked: Vec<Counter> = counters.iter().collect();
    let columns: Vec<&str> = asked.iter().map(|counter| counter.column()).collect();
    let select = format!("SELECT entity_id, bucket, {} FROM rollup", columns.join(", "));
    let mut answers = Vec::new();
    let is_indexed = grain == Grain::Day && matches!(kind, EntityKind::Song | EntityKind::Album);
    let rows = match range_of(buckets).filter(|_| is_indexed) {
        Some(days) => list_works(conn, &select, days, kind, ids).await?,
        None => list_keyed(conn, &select, grain, buckets, kind, ids).await?,
    };
    for row in rows {
        let mut counters = Counters::default();
        for (index, counter) in asked.iter().enumerate() {
            counters[*counter] = row.try_get_by_index(2 + index)?;
        }
        answers.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?, counters));
    }
    Ok(answers)
}

/// The first and the last of some days that lie close together; few or scattered ones are sought one by one.
fn range_of(days: &[i64]) -> Option<(i64, i64)> {
    const DAYS_FEW: usize = 3;
    let (first, last) = days.iter().min().zip(days.iter().max())?;
    let stretch = usize::try_from((last - first) / Grain::Day.length_ms()).ok()?;
    (days.len() > DAYS_FEW && stretch <= 2 * days.len()).then_some((*first, *last))
}

/// Song by song, only the days that there are: one short scan each.
async fn list_works<C: ConnectionTrait>(
    conn: &C,
    select: &str,
    (first, last): (i64, i64),
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<QueryResult>, DbError> {
    let mut sql = SqlBuilder::new(conn, select);
    if conn.get_database_backend() == DatabaseBackend::Sqlite {
        // Without statistics, which nobody keeps up to date here, SQLite would rather scan all days.
        sql.push(" INDEXED BY rollup_works_by_id");
    }
    // In the index's own words, so that the database sees that it holds these rows.
    sql.push(" WHERE grain = 1 AND entity_kind <= 2 AND entity_kind = ").bind(kind.code());
    sql.push(" AND bucket >= ").bind(first).push(" AND bucket <= ").bind(last);
    let ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
    sql.push(" AND entity_id").bind_list(&ids);
    Ok(conn.query_all_raw(sql.build(conn)).await?)
}

/// The first UTC day on which each of these songs or albums has streams; without those that have none. One statement
/// per 8,192 ids, and in it a short seek for each.
pub async fn list_first_days<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<(String, i64)>, DbError> {
    let mut first_days = Vec::new();
    for ids in ids.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, "WITH asked (id) AS (VALUES ");
        for (index, id) in ids.iter().enumerate() {
            sql.push(if index == 0 { "(" } else { ", (" }).bind(&**id).push(")");
        }
        sql.push(") SELECT id, (SELECT bucket FROM rollup");
        if conn.get_database_backend() == DatabaseBackend::Sqlite {
            sql.push(" INDEXED BY rollup_works_by_id");
        }
        sql.push(" WHERE grain = 1 AND entity_kind <= 2 AND entity_kind = ").bind(kind.code());
        sql.push(" AND entity_id = id AND streams > 0 ORDER BY bucket LIMIT 1) FROM asked");
        for row in conn.query_all_raw(sql.build(conn)).await? {
            let day: Option<i64> = row.try_get_by_index(1)?;
            if let Some(day) = day {
                first_days.push((row.try_get_by_index(0)?, day));
            }
        }
    }
    Ok(first_days)
}

/// Money of many entities of one kind in many buckets: entity, bucket, currency, money.
pub async fn list_money<C: ConnectionTrait>(
    conn: &C,
    grain: Grain,
    buckets: &[i64],
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<(String, i64, String, MoneyCounters)>, DbError> {
    let select = "SELECT entity_id, bucket, currency, gross_minor, refunded_minor, payments FROM money_rollup";
    let rows = list_keyed(conn, select, grain, buckets, kind, ids).await?;
    rows.iter()
        .map(|row| {
            let money = money_from(row, 3)?;
            Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?, money))
        })
        .collect()
}

/// Money whose first column is at `index`.
fn money_from(row: &QueryResult, index: usize) -> Result<MoneyCounters, DbError> {
    Ok(MoneyCounters {
        gross_minor: row.try_get_by_index(index)?,
        refunded_minor: row.try_get_by_index(index + 1)?,
        payments: row.try_get_by_index(index + 2)?,
    })
}

/// Those of some buckets in which any of these entities of one kind has counters, in no order, each at least once.
pub async fn list_active_buckets<C: ConnectionTrait>(
    conn: &C,
    grain: Grain,
    buckets: &[i64],
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<i64>, DbError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = list_keyed(conn, "SELECT DISTINCT bucket FROM rollup", grain, buckets, kind, ids).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// The types of events that there were on some UTC days, each at least once.
pub async fn list_event_types<C: ConnectionTrait>(conn: &C, days: &[i64]) -> Result<Vec<Arc<str>>, DbError> {
    let mut types = Vec::new();
    for days in days.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, "SELECT DISTINCT entity_id FROM rollup WHERE grain = ");
        sql.bind(Grain::Day.code()).push(" AND bucket").bind_list(days);
        sql.push(" AND entity_kind = ").bind(EntityKind::EventType.code());
        for row in conn.query_all_raw(sql.build(conn)).await? {
            types.push(row.try_get_by_index::<String>(0)?.into());
        }
    }
    Ok(types)
}

async fn list_keyed<C: ConnectionTrait>(
    conn: &C,
    select: &str,
    grain: Grain,
    buckets: &[i64],
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<QueryResult>, DbError> {
    let ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
    let mut rows = Vec::new();
    // Bucket by bucket, then entity by entity: one short seek each, never a scan of a bucket.
    for buckets in buckets.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, select);
        sql.push(" WHERE grain = ").bind(grain.code());
        sql.push(" AND bucket").bind_list(buckets);
        sql.push(" AND entity_kind = ").bind(kind.code());
        sql.push(" AND entity_id").bind_list(&ids);
        rows.extend(conn.query_all_raw(sql.build(conn)).await?);
    }
    Ok(rows)
}

/// Every counter row of one UTC day, both grains, summed over slots; for comparing with a recount.
pub async fn list_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<Vec<RollupRow>, DbError> {
    let mut rows = Vec::new();
    for grain in [Grain::Quarter, Grain::Day] {
        let mut sql = SqlBuilder::new(conn, &format!("SELECT {} FROM rollup", counter_columns()));
        push_buckets(&mut sql, grain, &(day..day + Grain::Day.length_ms()));
        rows.extend(conn.query_all_raw(sql.build(conn)).await?);
    }
    read_counters(&rows)
}

/// Every money row of one UTC day, both grains, summed over slots.
pub async fn list_money_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<Vec<MoneyRow>, DbError> {
    let mut rows = Vec::new();
    for grain in [Grain::Quarter, Grain::Day] {
        let mut sql = SqlBuilder::new(conn, &format!("SELECT {MONEY_COLUMNS} FROM money_rollup"));
        push_buckets(&mut sql, grain, &(day..day + Grain::Day.length_ms()));
        rows.extend(conn.query_all_raw(sql.build(conn)).await?);
    }
    read_money(&rows)
}

/// Which rows stand apart though they could be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// Those of slots other than 0.
    BySlot,
    /// All but those of slot 0 in the first of the buckets.
    ByBucket,
}

/// Whether counters or money stand apart in these buckets.
pub async fn has_apart<C: ConnectionTrait>(
    conn: &C,
    apart: Apart,
    grain: Grain,
    buckets: &Range<i64>,
) -> Result<bool, DbError> {
    for table in ["rollup", "money_rollup"] {
        let mut sql = SqlBuilder::new(conn, &format!("SELECT 1 FROM {table}"));
        push_buckets(&mut sql, grain, buckets);
        push_apart(&mut sql, apart, buckets);
        sql.push(" LIMIT 1");
        if conn.query_one_raw(sql.build(conn)).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes out what stands apart of a kind in these buckets, summed by bucket.
pub async fn take_apart(
    txn: &Transaction,
    apart: Apart,
    grain: Grain,
    buckets: &Range<i64>,
    kind: EntityKind,
) -> Result<Vec<RollupRow>, DbError> {
    let mut sql = SqlBuilder::new(txn, "DELETE FROM rollup");
    push_buckets(&mut sql, grain, buckets);
    sql.push(" AND entity_kind = ").bind(kind.code());
    push_apart(&mut sql, apart, buckets);
    sql.push(&format!(" RETURNING {}", counter_columns()));
    read_counters(&txn.query_all_raw(sql.build(txn)).await?)
}

/// Takes out money likewise.
pub async fn take_money_apart(
    txn: &Transaction,
    apart: Apart,
    grain: Grain,
    buckets: &Range<i64>,
    kind: EntityKind,
) -> Result<Vec<MoneyRow>, DbError> {
    let mut sql = SqlBuilder::new(txn, "DELETE FROM money_rollup");
    push_buckets(&mut sql, grain, buckets);
    sql.push(" AND entity_kind = ").bind(kind.code());
    push_apart(&mut sql, apart, buckets);
    sql.push(&format!(" RETURNING {MONEY_COLUMNS}"));
    read_money(&txn.query_all_raw(sql.build(txn)).await?)
}

fn counter_columns() -> String {
    let columns: Vec<&str> = Counter::ALL.iter().map(|counter| counter.column()).collect();
    format!("grain, bucket, entity_kind, entity_id, {}", columns.join(", "))
}

const MONEY_COLUMNS: &str = "grain, bucket, entity_kind, entity_id, currency, gross_minor, refunded_minor, payments";

/// One row a key, sorted by it.
pub fn summed_counters(rows: impl IntoIterator<Item = RollupRow>) -> Vec<RollupRow> {
    let mut sums: BTreeMap<_, Counters> = BTreeMap::new();
    for row in rows {
        sums.entry((row.grain, row.bucket, row.entity)).or_default().add(&row.counters);
    }
    let row = |((grain, bucket, entity), counters)| RollupRow { grain, bucket, entity, counters };
    sums.into_iter().map(row).collect()
}

/// The same of money.
pub fn summed_money(rows: impl IntoIterator<Item = MoneyRow>) -> Vec<MoneyRow> {
    let mut sums: BTreeMap<_, MoneyCounters> = BTreeMap::new();
    for row in rows {
        sums.entry((row.grain, row.bucket, row.entity, row.currency)).or_default().add(&row.money);
    }
    let row = |((grain, bucket, entity, currency), money)| MoneyRow { grain, bucket, entity, currency, money };
    sums.into_iter().map(row).collect()
}

fn read_counters(rows: &[QueryResult]) -> Result<Vec<RollupRow>, DbError> {
    let row = |row: &QueryResult| {
        let (grain, bucket, entity) = key(row)?;
        let mut counters = Counters::default();
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            counters[counter] = row.try_get_by_index(4 + index)?;
        }
        Ok(RollupRow { grain, bucket, entity, counters })
    };
    Ok(summed_counters(rows.iter().map(row).collect::<Result<Vec<_>, DbError>>()?))
}

fn read_money(rows: &[QueryResult]) -> Result<Vec<MoneyRow>, DbError> {
    let row = |row: &QueryResult| {
        let (grain, bucket, entity) = key(row)?;
        let currency: String = row.try_get_by_index(4)?;
        let money = money_from(row, 5)?;
        Ok(MoneyRow { grain, bucket, entity, currency: Arc::from(currency), money })
    };
    Ok(summed_money(rows.iter().map(row).collect::<Result<Vec<_>, DbError>>()?))
}

fn key(row: &QueryResult) -> Result<(Grain, i64, EntityRef), DbError> {
    let grain: i16 = row.try_get_by_index(0)?;
    let grain = if grain == Grain::Day.code() { Grain::Day } else { Grain::Quarter };
    let kind = EntityKind::from_code(row.try_get_by_index(2)?).ok_or(DbError::Corrupt("unknown entity kind"))?;
    let id: String = row.try_get_by_index(3)?;
    Ok((grain, row.try_get_by_index(1)?, EntityRef::new(kind, id)))
}

fn push_buckets(sql: &mut SqlBuilder, grain: Grain, buckets: &Range<i64>) {
    sql.push(" WHERE grain = ").bind(grain.code());
    sql.push(" AND bucket >= ").bind(buckets.start);
    sql.push(" AND bucket < ").bind(buckets.end);
}

fn push_apart(sql: &mut SqlBuilder, apart: Apart, buckets: &Range<i64>) {
    match apart {
        Apart::BySlot => sql.push(" AND slot <> 0"),
        Apart::ByBucket => sql.push(" AND (slot <> 0 OR bucket <> ").bind(buckets.start).push(")"),
    };
}

/// Removes every counter and money row of one UTC day.
pub async fn delete_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<(), DbError> {
    for table in ["rollup", "money_rollup"] {
        for grain in [Grain::Quarter, Grain::Day] {
            let mut sql = SqlBuilder::new(conn, &format!("DELETE FROM {table}"));
            push_buckets(&mut sql, grain, &(day..day + Grain::Day.length_ms()));
            conn.execute_raw(sql.build(conn)).await?;
        }
    }
    Ok(())
}

/// The first UTC day at or after `from` that has a counter or a money row of either grain.
pub async fn find_next_day<C: ConnectionTrait>(conn: &C, from: i64) -> Result<Option<i64>, DbError> {
    let mut first: Option<i64> = None;
    for table in ["rollup", "money_rollup"] {
        for grain in [Grain::Quarter, Grain::Day] {
            let mut sql = SqlBuilder::new(conn, &format!("SELECT MIN(bucket) FROM {table} WHERE grain = "));
            sql.bind(grain.code()).push(" AND bucket >= ").bind(from);
            let row = conn.query_one_raw(sql.build(conn)).await?;
            let bucket: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
            let day = bucket.map(|bucket| Grain::Day.bucket_of(bucket));
            first = first.into_iter().chain(day).min();
        }
    }
    Ok(first)
}

/// Keeps every writer out of the rollups until this transaction ends; what they have not committed by
/// then comes on top. On SQLite a write transaction has no company anyway.
pub async fn lock_against_writers<C: ConnectionTrait>(conn: &C) -> Result<(), DbError> {
    if conn.get_database_backend() == DatabaseBackend::Postgres {
        // In the order in which writers touch them: the other way round the two would wait for each other.
        conn.execute_unprepared("LOCK TABLE money_rollup, rollup IN EXCLUSIVE MODE").await?;
    }
    Ok(())
}
