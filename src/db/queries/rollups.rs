//! Counters by bucket and entity.

use std::{fmt::Write, sync::Arc, sync::LazyLock};

use sea_orm::{ConnectionTrait, QueryResult};

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
        window::{Buckets, Grain},
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
         completed_plays, measured_plays)",
        5 + Counter::OF_PLAYS,
        on_conflict_add(&Counter::ALL[..Counter::OF_PLAYS]),
    )
});

static ADD_ALL: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO rollup (grain, bucket, entity_kind, entity_id, slot, plays, streams, skips, listening_ms, \
         completed_plays, measured_plays, likes, unlikes, shares, saves, unsaves, playlist_adds, follows, unfollows, \
         purchases, refunds)",
        5 + Counter::COUNT,
        on_conflict_add(&Counter::ALL),
    )
});

static ADD_MONEY: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO money_rollup (grain, bucket, entity_kind, entity_id, currency, slot, gross_minor, refunded_minor)",
        8,
        "ON CONFLICT (grain, bucket, entity_kind, entity_id, currency, slot) DO UPDATE SET \
         gross_minor = money_rollup.gross_minor + excluded.gross_minor, \
         refunded_minor = money_rollup.refunded_minor + excluded.refunded_minor",
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
/// that has any; counters that were not asked for are 0. One statement per 8,192 buckets.
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
    for row in list_keyed(conn, &select, grain, buckets, kind, ids).await? {
        let mut counters = Counters::default();
        for (index, counter) in asked.iter().enumerate() {
            counters[*counter] = row.try_get_by_index(2 + index)?;
        }
        answers.push((row.try_get_by_index(0)?, row.try_get_by_index(1)?, counters));
    }
    Ok(answers)
}

/// Money of many entities of one kind in many buckets: entity, bucket, currency, money.
pub async fn list_money<C: ConnectionTrait>(
    conn: &C,
    grain: Grain,
    buckets: &[i64],
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<(String, i64, String, MoneyCounters)>, DbError> {
    let select = "SELECT entity_id, bucket, currency, gross_minor, refunded_minor FROM money_rollup";
    let rows = list_keyed(conn, select, grain, buckets, kind, ids).await?;
    rows.iter()
        .map(|row| {
            let money =
                MoneyCounters { gross_minor: row.try_get_by_index(3)?, refunded_minor: row.try_get_by_index(4)? };
            Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?, money))
        })
        .collect()
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

/// The entities of a kind by one counter over the buckets, highest first, ties by id; those with
/// nothing are left out.
pub async fn list_ranked<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    counter: Counter,
    buckets: &Buckets,
    limit: u64,
) -> Result<Vec<(String, i64)>, DbError> {
    if buckets.is_empty() {
        return Ok(Vec::new());
    }
    let value = format!("CAST(SUM({}) AS BIGINT)", counter.column());
    let mut sql = ranked(conn, &format!("SELECT entity_id, {value}"), kind, counter, buckets);
    sql.push(" ORDER BY 2 DESC, 1 LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// How many entities a ranking holds in all.
pub async fn count_ranked<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    counter: Counter,
    buckets: &Buckets,
) -> Result<i64, DbError> {
    if buckets.is_empty() {
        return Ok(0);
    }
    let mut sql = ranked(conn, "SELECT COUNT(*) FROM (SELECT entity_id", kind, counter, buckets);
    sql.push(") AS ranked");
    let row = conn.query_one_raw(sql.build(conn)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0))
}

/// More buckets than this are given by their ends: statements take some ten thousand parameters.
const LISTED_BUCKETS_MAX: i64 = 4_096;

fn ranked<C: ConnectionTrait>(
    conn: &C,
    select: &str,
    kind: EntityKind,
    counter: Counter,
    buckets: &Buckets,
) -> SqlBuilder {
    let mut sql = SqlBuilder::new(conn, select);
    sql.push(" FROM (");
    let mut union = "";
    for (grain, range) in
        [(Grain::Day, &buckets.days), (Grain::Quarter, &buckets.quarters[0]), (Grain::Quarter, &buckets.quarters[1])]
    {
        if range.is_empty() {
            continue;
        }
        sql.push(union).push(&format!("SELECT entity_id, {} FROM rollup WHERE grain = ", counter.column()));
        sql.bind(grain.code());
        if range.end - range.start <= LISTED_BUCKETS_MAX * grain.length_ms() {
            // Kind by bucket: whole buckets are read, but only this kind's part of each.
            let starts: Vec<i64> = range.clone().step_by(step(grain)).collect();
            sql.push(" AND bucket").bind_list(&starts);
        } else {
            sql.push(" AND bucket >= ").bind(range.start).push(" AND bucket < ").bind(range.end);
        }
        sql.push(" AND entity_kind = ").bind(kind.code());
        union = " UNION ALL ";
    }
    sql.push(&format!(") AS counted GROUP BY entity_id HAVING SUM({}) > 0", counter.column()));
    sql
}

fn step(grain: Grain) -> usize {
    usize::try_from(grain.length_ms()).expect("a bucket's length is a small positive number")
}

/// Every counter row of one UTC day, both grains, summed over slots; for comparing with a recount.
pub async fn list_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<Vec<RollupRow>, DbError> {
    let mut rows: Vec<RollupRow> = Vec::new();
    for row in list_whole_day(conn, &select_all(), day).await? {
        let mut counters = Counters::default();
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            counters[counter] = row.try_get_by_index(4 + index)?;
        }
        let (grain, bucket, entity) = key(&row)?;
        match rows.last_mut() {
            Some(last) if last.grain == grain && last.bucket == bucket && last.entity == entity => {
                last.counters.add(&counters);
            }
            _ => rows.push(RollupRow { grain, bucket, entity, counters }),
        }
    }
    Ok(rows)
}

fn select_all() -> String {
    let columns: Vec<&str> = Counter::ALL.iter().map(|counter| counter.column()).collect();
    format!("SELECT grain, bucket, entity_kind, entity_id, {} FROM rollup", columns.join(", "))
}

/// Every money row of one UTC day, both grains, summed over slots.
pub async fn list_money_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<Vec<MoneyRow>, DbError> {
    let select =
        "SELECT grain, bucket, entity_kind, entity_id, currency, gross_minor, refunded_minor FROM money_rollup";
    let mut rows: Vec<MoneyRow> = Vec::new();
    for row in list_whole_day(conn, select, day).await? {
        let money = MoneyCounters { gross_minor: row.try_get_by_index(5)?, refunded_minor: row.try_get_by_index(6)? };
        let currency: String = row.try_get_by_index(4)?;
        let (grain, bucket, entity) = key(&row)?;
        rows.push(MoneyRow { grain, bucket, entity, currency: currency.into(), money });
    }
    rows.sort_by(|one, other| money_key(one).cmp(&money_key(other)));
    rows.dedup_by(|next, kept| {
        let same = money_key(next) == money_key(kept);
        if same {
            kept.money.add(&next.money);
        }
        same
    });
    Ok(rows)
}

fn money_key(row: &MoneyRow) -> (Grain, i64, &EntityRef, &str) {
    (row.grain, row.bucket, &row.entity, &row.currency)
}

fn key(row: &QueryResult) -> Result<(Grain, i64, EntityRef), DbError> {
    let grain: i16 = row.try_get_by_index(0)?;
    let grain = if grain == Grain::Day.code() { Grain::Day } else { Grain::Quarter };
    let kind = EntityKind::from_code(row.try_get_by_index(2)?).ok_or(DbError::Corrupt("unknown entity kind"))?;
    let id: String = row.try_get_by_index(3)?;
    Ok((grain, row.try_get_by_index(1)?, EntityRef::new(kind, id)))
}

async fn list_whole_day<C: ConnectionTrait>(conn: &C, select: &str, day: i64) -> Result<Vec<QueryResult>, DbError> {
    let mut rows = Vec::new();
    for grain in [Grain::Quarter, Grain::Day] {
        let mut sql = SqlBuilder::new(conn, select);
        push_day(&mut sql, grain, day);
        sql.push(" ORDER BY grain, bucket, entity_kind, entity_id");
        rows.extend(conn.query_all_raw(sql.build(conn)).await?);
    }
    Ok(rows)
}

fn push_day(sql: &mut SqlBuilder, grain: Grain, day: i64) {
    sql.push(" WHERE grain = ").bind(grain.code());
    sql.push(" AND bucket >= ").bind(day);
    sql.push(" AND bucket < ").bind(day + Grain::Day.length_ms());
}

/// Removes every counter and money row of one UTC day.
pub async fn delete_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<(), DbError> {
    for table in ["rollup", "money_rollup"] {
        for grain in [Grain::Quarter, Grain::Day] {
            let mut sql = SqlBuilder::new(conn, &format!("DELETE FROM {table}"));
            push_day(&mut sql, grain, day);
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
    if conn.get_database_backend() == sea_orm::DatabaseBackend::Postgres {
        // In the order in which writers touch them: the other way round the two would wait for each other.
        conn.execute_unprepared("LOCK TABLE money_rollup, rollup IN EXCLUSIVE MODE").await?;
    }
    Ok(())
}
