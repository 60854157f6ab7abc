//! Days of entities and of markets, and the segments that wait to be merged into them.

use std::sync::{Arc, LazyLock};

use roaring::RoaringBitmap;
use sea_orm::{ConnectionTrait, QueryResult};

use super::chart_totals::IdRange;
use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        transaction::Arguments,
    },
    domain::entity::{EntityKind, EntityRef},
};

/// One entity's UTC day; columns that were not selected are empty.
#[derive(Debug, Clone, PartialEq)]
pub struct DayRow {
    /// In epoch milliseconds.
    pub day: i64,
    pub entity: EntityRef,
    /// Everybody who streamed, signed in.
    pub listeners: RoaringBitmap,
    /// Those of them who did from an active source.
    pub active: RoaringBitmap,
    /// What came from where, and who: as the room `audience` writes it.
    pub cells: Vec<u8>,
    /// The same by quarter-hour.
    pub detail: Vec<u8>,
}

/// Everybody on the platform who streamed in a country on a UTC day.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketRow {
    pub day: i64,
    pub country: Option<Arc<str>>,
    pub listeners: RoaringBitmap,
}

/// Which columns of a day are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    Listeners,
    ListenersAndActive,
    Cells,
    CellsAndDetail,
    Everything,
}

impl Columns {
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Listeners => &["listeners"],
            Self::ListenersAndActive => &["listeners", "active"],
            Self::Cells => &["cells"],
            Self::CellsAndDetail => &["cells", "detail"],
            Self::Everything => &["listeners", "active", "cells", "detail"],
        }
    }
}

static PUT: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO audience_day (day, entity_kind, entity_id, listeners, active, cells, detail)",
        7,
        "ON CONFLICT (day, entity_kind, entity_id) DO UPDATE SET listeners = excluded.listeners, \
         active = excluded.active, cells = excluded.cells, detail = excluded.detail",
    )
});

static PUT_MARKETS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO market_day (day, country, listeners)",
        3,
        "ON CONFLICT (day, country) DO UPDATE SET listeners = excluded.listeners",
    )
});

static APPEND: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO audience_segment (block, number, facts)", 3, ""));

/// Writes days as they are given, over what was there. Rows are sorted by key.
pub async fn put(txn: &Transaction, rows: &[DayRow]) -> Result<(), DbError> {
    let bind = |row: &DayRow, arguments: &mut Arguments| {
        arguments.add(row.day);
        arguments.add(row.entity.kind.code());
        arguments.add(&row.entity.id);
        arguments.add(set_bytes(&row.listeners));
        arguments.add(set_bytes(&row.active));
        arguments.add(&row.cells);
        arguments.add(&row.detail);
    };
    PUT.run(txn, rows, bind).await?;
    Ok(())
}

/// Writes markets' days likewise.
pub async fn put_markets(txn: &Transaction, rows: &[MarketRow]) -> Result<(), DbError> {
    let bind = |row: &MarketRow, arguments: &mut Arguments| {
        arguments.add(row.day);
        arguments.add(row.country.as_deref().unwrap_or_default());
        arguments.add(set_bytes(&row.listeners));
    };
    PUT_MARKETS.run(txn, rows, bind).await?;
    Ok(())
}

pub(super) fn set_bytes(set: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(set.serialized_size());
    set.serialize_into(&mut bytes).expect("memory can be written to");
    bytes
}

pub(super) fn set_of(bytes: &[u8]) -> Result<RoaringBitmap, DbError> {
    RoaringBitmap::deserialize_from(bytes).map_err(|_| DbError::Corrupt("a listener set cannot be read"))
}

/// Many entities of one kind on many days; one statement per 8,192 days.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    columns: Columns,
    days: &[i64],
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<DayRow>, DbError> {
    let ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
    let mut rows = Vec::new();
    for days in days.chunks(8_192) {
        let mut sql = select(conn, columns);
        sql.push(" WHERE day").bind_list(days);
        sql.push(" AND entity_kind = ").bind(kind.code());
        sql.push(" AND entity_id").bind_list(&ids);
        rows.extend(query(conn, columns, sql).await?);
    }
    Ok(rows)
}

/// Entities of one kind, each on days of its own; one statement per 8,192 of them.
pub async fn list_each<C: ConnectionTrait>(
    conn: &C,
    columns: Columns,
    kind: EntityKind,
    asked: &[(i64, Arc<str>)],
) -> Result<Vec<DayRow>, DbError> {
    let mut rows = Vec::new();
    for asked in asked.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, "WITH asked (on_day, id) AS (VALUES ");
        for (index, (day, id)) in asked.iter().enumerate() {
            sql.push(if index == 0 { "(" } else { ", (" }).bind(*day).push(", ").bind(&**id).push(")");
        }
        sql.push(&format!(") {} JOIN asked ON day = on_day AND entity_id = id", select_text(columns)));
        sql.push(" WHERE entity_kind = ").bind(kind.code());
        rows.extend(query(conn, columns, sql).await?);
    }
    Ok(rows)
}

/// Every entity of one kind on these days.
pub async fn list_kind<C: ConnectionTrait>(
    conn: &C,
    columns: Columns,
    days: &[i64],
    kind: EntityKind,
) -> Result<Vec<DayRow>, DbError> {
    let mut sql = select(conn, columns);
    sql.push(" WHERE day").bind_list(days);
    sql.push(" AND entity_kind = ").bind(kind.code());
    query(conn, columns, sql).await
}

/// The cells of every entity of one kind on one day whose id lies in a range.
pub async fn list_cells<C: ConnectionTrait>(
    conn: &C,
    day: i64,
    kind: EntityKind,
    range: &IdRange,
) -> Result<Vec<DayRow>, DbError> {
    let mut sql = select(conn, Columns::Cells);
    sql.push(" WHERE day = ").bind(day);
    sql.push(" AND entity_kind = ").bind(kind.code());
    range.push(&mut sql, "entity_id");
    query(conn, Columns::Cells, sql).await
}

/// Every entity's day, in key order.
pub async fn list_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<Vec<DayRow>, DbError> {
    let mut sql = select(conn, Columns::Everything);
    sql.push(" WHERE day = ").bind(day).push(" ORDER BY entity_kind, entity_id");
    query(conn, Columns::Everything, sql).await
}

/// The same, their cells alone.
pub async fn list_day_cells<C: ConnectionTrait>(conn: &C, day: i64) -> Result<Vec<DayRow>, DbError> {
    let mut sql = select(conn, Columns::Cells);
    sql.push(" WHERE day = ").bind(day);
    query(conn, Columns::Cells, sql).await
}

fn select<C: ConnectionTrait>(conn: &C, columns: Columns) -> SqlBuilder {
    SqlBuilder::new(conn, &select_text(columns))
}

fn select_text(columns: Columns) -> String {
    format!("SELECT day, entity_kind, entity_id, {} FROM audience_day", columns.names().join(", "))
}

async fn query<C: ConnectionTrait>(conn: &C, columns: Columns, sql: SqlBuilder) -> Result<Vec<DayRow>, DbError> {
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    let place = |name: &str| columns.names().iter().position(|selected| *selected == name).map(|place| 3 + place);
    let places = ["listeners", "active", "cells", "detail"].map(place);
    let bytes = |row: &QueryResult, column: usize| -> Result<Option<Vec<u8>>, DbError> {
        Ok(places[column].map(|place| row.try_get_by_index(place)).transpose()?)
    };
    let set = |row: &QueryResult, column: usize| -> Result<RoaringBitmap, DbError> {
        bytes(row, column)?.map_or_else(|| Ok(RoaringBitmap::new()), |bytes| set_of(&bytes))
    };
    rows.iter()
        .map(|row| {
            let kind =
                EntityKind::from_code(row.try_get_by_index(1)?).ok_or(DbError::Corrupt("unknown entity kind"))?;
            let id: String = row.try_get_by_index(2)?;
            Ok(DayRow {
                day: row.try_get_by_index(0)?,
                entity: EntityRef::new(kind, id),
                listeners: set(row, 0)?,
                active: set(row, 1)?,
                cells: bytes(row, 2)?.unwrap_or_default(),
                detail: bytes(row, 3)?.unwrap_or_default(),
            })
        })
        .collect()
}

/// Every market on these days.
pub async fn list_markets<C: ConnectionTrait>(conn: &C, days: &[i64]) -> Result<Vec<MarketRow>, DbError> {
    let mut rows = Vec::new();
    for days in days.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, "SELECT day, country, listeners FROM market_day WHERE day");
        sql.bind_list(days);
        rows.extend(conn.query_all_raw(sql.build(conn)).await?);
    }
    rows.iter()
        .map(|row| {
            let country: String = row.try_get_by_index(1)?;
            let listeners: Vec<u8> = row.try_get_by_index(2)?;
            let country = Some(country).filter(|country| !country.is_empty()).map(Into::into);
            Ok(MarketRow { day: row.try_get_by_index(0)?, country, listeners: set_of(&listeners)? })
        })
        .collect()
}

/// Removes every entity's and every market's day.
pub async fn delete_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<(), DbError> {
    for table in ["audience_day", "market_day"] {
        let mut sql = SqlBuilder::new(conn, &format!("DELETE FROM {table} WHERE day = "));
        sql.bind(day);
        conn.execute_raw(sql.build(conn)).await?;
    }
    Ok(())
}

/// The first day from `from` on that any entity or market has.
pub async fn find_next_day<C: ConnectionTrait>(conn: &C, from: i64) -> Result<Option<i64>, DbError> {
    let mut first: Option<i64> = None;
    for table in ["audience_day", "market_day"] {
        let mut sql = SqlBuilder::new(conn, &format!("SELECT MIN(day) FROM {table} WHERE day >= "));
        sql.bind(from);
        let row = conn.query_one_raw(sql.build(conn)).await?;
        let day: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?.flatten();
        first = first.into_iter().chain(day).min();
    }
    Ok(first)
}

/// Appends a commit's segment.
pub async fn append_segment(txn: &Transaction, (block, number): (u32, u32), facts: &[u8]) -> Result<(), DbError> {
    let bind = |facts: &&[u8], arguments: &mut Arguments| {
        arguments.add(i64::from(block));
        arguments.add(i64::from(number));
        arguments.add(*facts);
    };
    APPEND.run(txn, &[facts], bind).await?;
    Ok(())
}

/// Block and number of all segments that wait, in order.
pub async fn list_marks<C: ConnectionTrait>(conn: &C) -> Result<Vec<(u32, u32)>, DbError> {
    let sql = SqlBuilder::new(conn, "SELECT block, number FROM audience_segment ORDER BY block, number");
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok((small(row, 0)?, small(row, 1)?))).collect()
}

/// Those of these segments that still wait, in the order of their numbers.
pub async fn list_segments<C: ConnectionTrait>(
    conn: &C,
    marks: &[(u32, u32)],
) -> Result<Vec<((u32, u32), Vec<u8>)>, DbError> {
    let mut segments = Vec::new();
    for (block, numbers) in by_block(marks) {
        let mut sql = SqlBuilder::new(conn, "SELECT block, number, facts FROM audience_segment WHERE block = ");
        sql.bind(block).push(" AND number").bind_list(&numbers).push(" ORDER BY number");
        for row in conn.query_all_raw(sql.build(conn)).await? {
            segments.push(((small(&row, 0)?, small(&row, 1)?), row.try_get_by_index(2)?));
        }
    }
    Ok(segments)
}

/// Removes merged segments.
pub async fn delete_segments<C: ConnectionTrait>(conn: &C, marks: &[(u32, u32)]) -> Result<(), DbError> {
    for (block, numbers) in by_block(marks) {
        let mut sql = SqlBuilder::new(conn, "DELETE FROM audience_segment WHERE block = ");
        sql.bind(block).push(" AND number").bind_list(&numbers);
        conn.execute_raw(sql.build(conn)).await?;
    }
    Ok(())
}

/// Few numbers of one block each.
fn by_block(marks: &[(u32, u32)]) -> impl Iterator<Item = (i64, Vec<i64>)> {
    let mut sorted = marks.to_vec();
    sorted.sort_unstable();
    let blocks: Vec<(i64, Vec<i64>)> = sorted
        .chunk_by(|one, next| one.0 == next.0)
        .flat_map(|block| block.chunks(512))
        .map(|some| (i64::from(some[0].0), some.iter().map(|(_, number)| i64::from(*number)).collect()))
        .collect();
    blocks.into_iter()
}

fn small(row: &QueryResult, column: usize) -> Result<u32, DbError> {
    let number: i64 = row.try_get_by_index(column)?;
    u32::try_from(number).map_err(|_| DbError::Corrupt("a segment's number is not 32 bits"))
}
