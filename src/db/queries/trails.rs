//! What each user did, packed by UTC day and block of users, in parts.

use std::sync::LazyLock;

use roaring::RoaringBitmap;
use sea_orm::{ConnectionTrait, QueryResult};

use super::audience::{set_bytes, set_of};
use crate::db::{
    DbError, Transaction,
    bulk::{BulkInsert, SqlBuilder},
    transaction::Arguments,
};

/// A part's place: the day, the block of users, and which part of both.
pub type PartKey = (i64, u32, i16);

/// One part; a column that was not selected is empty.
#[derive(Debug, Clone)]
pub struct PartRow {
    /// In epoch milliseconds.
    pub day: i64,
    pub users: u32,
    pub part: i16,
    /// How many it holds.
    pub steps: i64,
    /// Whose.
    pub who: RoaringBitmap,
    /// Up to where it holds the segments; as the room `audience` writes it, like the steps.
    pub marks: Vec<u8>,
    pub packed: Vec<u8>,
    /// What the steps were done to, likewise.
    pub objects: Vec<u8>,
}

impl PartRow {
    pub fn key(&self) -> PartKey {
        (self.day, self.users, self.part)
    }
}

const HEAD: &str = "SELECT day, users, part, steps, who, marks";

static PUT: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("INSERT INTO trail (day, users, part, steps, who, marks, packed, objects)", 8, "")
});

/// Inserts parts.
pub async fn insert(txn: &Transaction, rows: &[PartRow]) -> Result<(), DbError> {
    let bind = |row: &PartRow, arguments: &mut Arguments| {
        arguments.add(row.day);
        arguments.add(row.users.to_string());
        arguments.add(row.part);
        arguments.add(row.steps);
        arguments.add(set_bytes(&row.who));
        arguments.add(&row.marks);
        arguments.add(&row.packed);
        arguments.add(&row.objects);
    };
    PUT.run(txn, rows, bind).await?;
    Ok(())
}

/// All parts of these days, of some blocks or of all, but for their steps; by day, block and number.
pub async fn list_heads<C: ConnectionTrait>(
    conn: &C,
    days: &[i64],
    users: Option<&[u32]>,
) -> Result<Vec<PartRow>, DbError> {
    select(conn, "", days, users).await
}

/// The same with their steps, and with what these were done to if asked.
pub async fn list_of<C: ConnectionTrait>(
    conn: &C,
    days: &[i64],
    users: &[u32],
    with_objects: bool,
) -> Result<Vec<PartRow>, DbError> {
    let more = if with_objects { ", packed, objects" } else { ", packed" };
    select(conn, more, days, Some(users)).await
}

async fn select<C: ConnectionTrait>(
    conn: &C,
    more: &str,
    days: &[i64],
    users: Option<&[u32]>,
) -> Result<Vec<PartRow>, DbError> {
    let users: Option<Vec<String>> = users.map(|users| users.iter().map(u32::to_string).collect());
    let mut rows = Vec::new();
    for days in days.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, HEAD);
        sql.push(more).push(" FROM trail WHERE day").bind_list(days);
        if let Some(users) = &users {
            sql.push(" AND users").bind_list(users);
        }
        sql.push(" ORDER BY day, users, part");
        rows.extend(query(conn, sql).await?);
    }
    Ok(rows)
}

/// These parts as a whole.
pub async fn list<C: ConnectionTrait>(conn: &C, parts: &[PartKey]) -> Result<Vec<PartRow>, DbError> {
    let mut rows = Vec::new();
    for parts in parts.chunks(PARTS_AT_ONCE) {
        let mut sql = SqlBuilder::new(conn, HEAD);
        sql.push(", packed, objects FROM trail");
        push_parts(&mut sql, parts);
        rows.extend(query(conn, sql).await?);
    }
    Ok(rows)
}

/// Removes these parts.
pub async fn delete<C: ConnectionTrait>(conn: &C, parts: &[PartKey]) -> Result<(), DbError> {
    for parts in parts.chunks(PARTS_AT_ONCE) {
        let mut sql = SqlBuilder::new(conn, "DELETE FROM trail");
        push_parts(&mut sql, parts);
        conn.execute_raw(sql.build(conn)).await?;
    }
    Ok(())
}

/// Removes a day.
pub async fn delete_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<(), DbError> {
    let mut sql = SqlBuilder::new(conn, "DELETE FROM trail WHERE day = ");
    sql.bind(day);
    conn.execute_raw(sql.build(conn)).await?;
    Ok(())
}

/// The first day from `from` on that anybody's trail has.
pub async fn find_next_day<C: ConnectionTrait>(conn: &C, from: i64) -> Result<Option<i64>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT MIN(day) FROM trail WHERE day >= ");
    sql.bind(from);
    let row = conn.query_one_raw(sql.build(conn)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.flatten())
}

/// Three parameters each.
const PARTS_AT_ONCE: usize = 4_096;

fn push_parts(sql: &mut SqlBuilder, parts: &[PartKey]) {
    sql.push(" WHERE (day, users, part) IN (VALUES ");
    // Padded with its last part to a power of two, so that few texts are prepared.
    for index in 0..parts.len().next_power_of_two() {
        let (day, users, part) = parts[index.min(parts.len() - 1)];
        sql.push(if index == 0 { "(" } else { ", (" }).bind(day).push(", ").bind(users.to_string());
        sql.push(", ").bind(part).push(")");
    }
    sql.push(")");
}

async fn query<C: ConnectionTrait>(conn: &C, sql: SqlBuilder) -> Result<Vec<PartRow>, DbError> {
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(part_row).collect()
}

fn part_row(row: &QueryResult) -> Result<PartRow, DbError> {
    let users: String = row.try_get_by_index(1)?;
    let who: Vec<u8> = row.try_get_by_index(4)?;
    // Heads come without their steps, and steps may come without objects, or have none: of an older version.
    let columns = row.column_names().len();
    let packed = if columns > 6 { row.try_get_by_index(6)? } else { Vec::new() };
    let objects =
        if columns > 7 { row.try_get_by_index::<Option<Vec<u8>>>(7)?.unwrap_or_default() } else { Vec::new() };
    Ok(PartRow {
        day: row.try_get_by_index(0)?,
        users: users.parse().map_err(|_| DbError::Corrupt("a block of users is not a number"))?,
        part: row.try_get_by_index(2)?,
        steps: row.try_get_by_index(3)?,
        who: set_of(&who)?,
        marks: row.try_get_by_index(5)?,
        packed,
        objects,
    })
}
