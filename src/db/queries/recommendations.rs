//! What recommendations are told from: items by number, their neighbours, what each listener took to; and how well it
//! foretold.

use std::{collections::HashMap, sync::LazyLock};

use sea_orm::{ConnectionTrait, QueryResult};

use super::catalogue::{entity, push_entities};
use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        transaction::Arguments,
    },
    domain::entity::{EntityKind, EntityRef},
};

/// Numbers that one statement asks for.
const NUMBERS_AT_ONCE: usize = 8_192;

static ADD_ITEMS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("INSERT INTO item (number, entity_kind, entity_id)", 3, "ON CONFLICT (number) DO NOTHING")
});

/// Gives items their numbers, which stay.
pub async fn insert_items(txn: &Transaction, items: &[(u32, &EntityRef)]) -> Result<(), DbError> {
    let bind = |(number, entity): &(u32, &EntityRef), arguments: &mut Arguments| {
        arguments.add(i64::from(*number));
        arguments.add(entity.kind.code());
        arguments.add(&entity.id);
    };
    ADD_ITEMS.run(txn, items, bind).await?;
    Ok(())
}

/// Items whose numbers are `from` or higher, by number, at most `limit`.
pub async fn list_items_from<C: ConnectionTrait>(
    conn: &C,
    from: u32,
    limit: u32,
) -> Result<Vec<(u32, EntityRef)>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT entity_kind, entity_id, number FROM item WHERE number >= ");
    sql.bind(i64::from(from)).push(" ORDER BY number LIMIT ").bind(i64::from(limit));
    conn.query_all_raw(sql.build(conn)).await?.iter().map(|row| Ok((number(row, 2)?, entity(row)?))).collect()
}

/// The items of these numbers.
pub async fn list_items<C: ConnectionTrait>(conn: &C, numbers: &[u32]) -> Result<HashMap<u32, EntityRef>, DbError> {
    let mut items = HashMap::with_capacity(numbers.len());
    for numbers in numbers.chunks(NUMBERS_AT_ONCE) {
        let mut sql = SqlBuilder::new(conn, "SELECT entity_kind, entity_id, number FROM item WHERE number");
        sql.bind_list(&numbers.iter().map(|number| i64::from(*number)).collect::<Vec<_>>());
        for row in conn.query_all_raw(sql.build(conn)).await? {
            items.insert(number(&row, 2)?, entity(&row)?);
        }
    }
    Ok(items)
}

/// The numbers of those of these entities that have one.
pub async fn list_item_numbers<C: ConnectionTrait>(
    conn: &C,
    entities: &[EntityRef],
) -> Result<HashMap<EntityRef, u32>, DbError> {
    let mut numbers = HashMap::with_capacity(entities.len());
    for entities in entities.chunks(NUMBERS_AT_ONCE) {
        let mut sql = SqlBuilder::new(conn, "SELECT entity_kind, entity_id, number FROM item");
        push_entities(&mut sql, entities.iter());
        for row in conn.query_all_raw(sql.build(conn)).await? {
            numbers.insert(entity(&row)?, number(&row, 2)?);
        }
    }
    Ok(numbers)
}

static PUT_NEIGHBOURS: LazyLock<BulkInsert> = LazyLock::new(|| {
    let or_replace = "ON CONFLICT (number) DO UPDATE SET packed = excluded.packed";
    BulkInsert::new("INSERT INTO neighbours (number, packed)", 2, or_replace)
});

/// Stores the neighbours of items.
pub async fn put_neighbours(txn: &Transaction, lists: &[(u32, Vec<u8>)]) -> Result<(), DbError> {
    let bind = |(number, packed): &(u32, Vec<u8>), arguments: &mut Arguments| {
        arguments.add(i64::from(*number));
        arguments.add(packed);
    };
    PUT_NEIGHBOURS.run(txn, lists, bind).await?;
    Ok(())
}

/// The neighbours of these items, in no particular order.
pub async fn list_neighbours<C: ConnectionTrait>(conn: &C, numbers: &[u32]) -> Result<Vec<(u32, Vec<u8>)>, DbError> {
    let mut lists = Vec::with_capacity(numbers.len());
    for numbers in numbers.chunks(NUMBERS_AT_ONCE) {
        let mut sql = SqlBuilder::new(conn, "SELECT number, packed FROM neighbours WHERE number");
        sql.bind_list(&numbers.iter().map(|number| i64::from(*number)).collect::<Vec<_>>());
        for row in conn.query_all_raw(sql.build(conn)).await? {
            lists.push((number(&row, 0)?, row.try_get_by_index(1)?));
        }
    }
    Ok(lists)
}

/// What a listener took to, packed; the room `recommend` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasteRow {
    /// The listener's number.
    pub listener: u32,
    /// What happened before this UTC day is in `settled`, what happened later in `recent`, as far as it was known.
    pub before_ms: i64,
    pub settled: Box<[u8]>,
    pub recent: Box<[u8]>,
}

static PUT_TASTES: LazyLock<BulkInsert> = LazyLock::new(|| {
    let or_replace = "ON CONFLICT (listener) DO UPDATE SET before_ms = excluded.before_ms, \
                      settled = excluded.settled, recent = excluded.recent";
    BulkInsert::new("INSERT INTO taste (listener, before_ms, settled, recent)", 4, or_replace)
});

/// Stores what listeners took to.
pub async fn put_tastes(txn: &Transaction, rows: &[&TasteRow]) -> Result<(), DbError> {
    let bind = |row: &&TasteRow, arguments: &mut Arguments| {
        arguments.add(row.listener.to_string());
        arguments.add(row.before_ms);
        arguments.add(&row.settled);
        arguments.add(&row.recent);
    };
    PUT_TASTES.run(txn, rows, bind).await?;
    Ok(())
}

/// What these listeners took to, in no particular order.
pub async fn list_tastes<C: ConnectionTrait>(conn: &C, listeners: &[u32]) -> Result<Vec<TasteRow>, DbError> {
    let mut rows = Vec::with_capacity(listeners.len());
    for listeners in listeners.chunks(NUMBERS_AT_ONCE) {
        let mut sql = SqlBuilder::new(conn, "SELECT listener, before_ms, settled, recent FROM taste WHERE listener");
        sql.bind_list(&listeners.iter().map(u32::to_string).collect::<Vec<_>>());
        for row in conn.query_all_raw(sql.build(conn)).await? {
            let listener: String = row.try_get_by_index(0)?;
            rows.push(TasteRow {
                listener: listener.parse().map_err(|_| DbError::Corrupt("a listener is not a number"))?,
                before_ms: row.try_get_by_index(1)?,
                settled: row.try_get_by_index::<Vec<u8>>(2)?.into(),
                recent: row.try_get_by_index::<Vec<u8>>(3)?.into(),
            });
        }
    }
    Ok(rows)
}

/// The last run of the job; one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRow {
    /// Which way of telling neighbours from listeners: what another way told is of no use.
    pub method: i16,
    /// The UTC day up to which tastes are settled.
    pub before_ms: i64,
    pub began_at_ms: i64,
    /// Absent while it runs, or where it was cut off.
    pub finished_at_ms: Option<i64>,
}

/// The last run; `None` before the first.
pub async fn find_run<C: ConnectionTrait>(conn: &C) -> Result<Option<RunRow>, DbError> {
    let sql = "SELECT method, before_ms, began_at_ms, finished_at_ms FROM recommendation_run";
    let row = conn.query_one_raw(SqlBuilder::new(conn, sql).build(conn)).await?;
    let run = |row: QueryResult| {
        Ok(RunRow {
            method: row.try_get_by_index(0)?,
            before_ms: row.try_get_by_index(1)?,
            began_at_ms: row.try_get_by_index(2)?,
            finished_at_ms: row.try_get_by_index(3)?,
        })
    };
    row.map(run).transpose()
}

static PUT_RUN: LazyLock<BulkInsert> = LazyLock::new(|| {
    let or_replace = "ON CONFLICT (id) DO UPDATE SET method = excluded.method, before_ms = excluded.before_ms, \
                      began_at_ms = excluded.began_at_ms, finished_at_ms = excluded.finished_at_ms";
    BulkInsert::new(
        "INSERT INTO recommendation_run (id, method, before_ms, began_at_ms, finished_at_ms)",
        5,
        or_replace,
    )
});

/// Notes how a run stands.
pub async fn put_run(txn: &Transaction, run: &RunRow) -> Result<(), DbError> {
    let bind = |run: &RunRow, arguments: &mut Arguments| {
        arguments.add(1_i16);
        arguments.add(run.method);
        arguments.add(run.before_ms);
        arguments.add(run.began_at_ms);
        arguments.add(run.finished_at_ms);
    };
    PUT_RUN.run(txn, std::slice::from_ref(run), bind).await?;
    Ok(())
}

/// Keeps what was measured of recommendations of a kind, as JSON.
pub async fn put_quality<C: ConnectionTrait>(
    conn: &C,
    of: EntityKind,
    measured_at_ms: i64,
    measured: &str,
) -> Result<(), DbError> {
    let insert = "INSERT INTO recommendation_quality (entity_kind, measured_at_ms, measured) VALUES (";
    let mut sql = SqlBuilder::new(conn, insert);
    sql.bind(of.code()).push(", ").bind(measured_at_ms).push(", ").bind(measured);
    sql.push(") ON CONFLICT (entity_kind, measured_at_ms) DO UPDATE SET measured = excluded.measured");
    conn.execute_raw(sql.build(conn)).await?;
    Ok(())
}

/// What was measured last of recommendations of a kind, and when.
pub async fn find_quality<C: ConnectionTrait>(conn: &C, of: EntityKind) -> Result<Option<(i64, String)>, DbError> {
    let select = "SELECT measured_at_ms, measured FROM recommendation_quality WHERE entity_kind = ";
    let mut sql = SqlBuilder::new(conn, select);
    sql.bind(of.code()).push(" ORDER BY measured_at_ms DESC LIMIT 1");
    let row = conn.query_one_raw(sql.build(conn)).await?;
    row.map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).transpose()
}

fn number(row: &QueryResult, column: usize) -> Result<u32, DbError> {
    let number: i64 = row.try_get_by_index(column)?;
    u32::try_from(number).map_err(|_| DbError::Corrupt("an item's number is not 32 bits"))
}
