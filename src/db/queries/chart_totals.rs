//! What charts rank by: sums of the day rows over a period, for the first places only.
//!
//! A platform of a million songs has tens of millions of day rows a month. They are added up in pieces of
//! the id space, so that the database sorts a bounded number of rows at a time, and only what may still
//! enter the chart is handed out.

use std::sync::Arc;

use sea_orm::{ConnectionTrait, QueryResult};

use crate::{
    db::{DbError, bulk::SqlBuilder},
    domain::{counting::Counter, entity::EntityKind, window::Grain},
};

/// Which sums: a counter of all entities of a kind over some UTC days.
#[derive(Debug, Clone, Copy)]
pub struct Totals<'a> {
    pub of: EntityKind,
    pub counter: Counter,
    pub days: &'a [i64],
    /// As many entities as have the highest sums, and whoever ties with the last of them.
    pub places: usize,
}

/// Ids `(after, until]` in byte order; open at either end where there is none.
pub type Piece = (Option<String>, Option<String>);

/// Cuts the ids into pieces that have at most some `rows` day rows each.
///
/// Every piece lies between two neighbouring cuts, and each day is cut after every so many rows of its own:
/// so no day puts more than its share into a piece.
pub async fn list_pieces<C: ConnectionTrait>(
    conn: &C,
    totals: &Totals<'_>,
    rows: usize,
) -> Result<Vec<Piece>, DbError> {
    let share = (rows / totals.days.len().max(1)).max(1);
    let share = i64::try_from(share).unwrap_or(i64::MAX);
    let mut cuts = Vec::new();
    for day in totals.days {
        let mut last = String::new();
        loop {
            let mut sql = SqlBuilder::new(conn, "SELECT entity_id FROM rollup WHERE grain = ");
            sql.bind(Grain::Day.code()).push(" AND bucket = ").bind(*day);
            sql.push(" AND entity_kind = ").bind(totals.of.code());
            sql.push(" AND entity_id > ").bind(last.as_str());
            sql.push(" ORDER BY entity_id LIMIT 1 OFFSET ").bind(share - 1);
            let Some(row) = conn.query_one_raw(sql.build(conn)).await? else { break };
            last = row.try_get_by_index(0)?;
            cuts.push(last.clone());
        }
    }
    cuts.sort_unstable();
    cuts.dedup();
    let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
    let ends = cuts.iter().cloned().map(Some).chain([None]);
    Ok(starts.zip(ends).collect())
}

/// The highest sums of one piece that reach `at_least`, ties with the last included, in no order.
pub async fn list_highest<C: ConnectionTrait>(
    conn: &C,
    totals: &Totals<'_>,
    (after, until): &Piece,
    at_least: i64,
) -> Result<Vec<(Arc<str>, i64)>, DbError> {
    let mut sql = SqlBuilder::new(conn, &select_placed("entity_id", totals.counter));
    sql.push(" FROM rollup WHERE grain = ").bind(Grain::Day.code());
    sql.push(" AND bucket").bind_list(totals.days);
    sql.push(" AND entity_kind = ").bind(totals.of.code());
    if let Some(after) = after {
        sql.push(" AND entity_id > ").bind(after.as_str());
    }
    if let Some(until) = until {
        sql.push(" AND entity_id <= ").bind(until.as_str());
    }
    sql.push(&format!(" GROUP BY entity_id HAVING SUM({}) >= ", totals.counter.column())).bind(at_least);
    sql.push(") AS placed WHERE place <= ").bind(limit(totals.places));
    sums(conn.query_all_raw(sql.build(conn)).await?)
}

/// The highest sums of the entities of one genre, ties with the last included, in no order.
pub async fn list_highest_of_genre<C: ConnectionTrait>(
    conn: &C,
    totals: &Totals<'_>,
    genre: &str,
) -> Result<Vec<(Arc<str>, i64)>, DbError> {
    let mut sql = SqlBuilder::new(conn, &select_placed("g.entity_id", totals.counter));
    // SQLite keeps to the order of a cross join: genre by genre, then each entity's days, and never all days.
    sql.push(" FROM entity_genre AS g CROSS JOIN rollup AS r WHERE g.genre = ").bind(genre);
    sql.push(" AND g.entity_kind = ").bind(totals.of.code());
    sql.push(" AND r.grain = ").bind(Grain::Day.code());
    sql.push(" AND r.bucket").bind_list(totals.days);
    sql.push(" AND r.entity_kind = ").bind(totals.of.code()).push(" AND r.entity_id = g.entity_id");
    sql.push(&format!(" GROUP BY g.entity_id HAVING SUM({}) > 0", totals.counter.column()));
    sql.push(") AS placed WHERE place <= ").bind(limit(totals.places));
    sums(conn.query_all_raw(sql.build(conn)).await?)
}

/// The genres that entities of a kind have.
pub async fn list_genres<C: ConnectionTrait>(conn: &C, of: EntityKind) -> Result<Vec<String>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT DISTINCT genre FROM entity_genre WHERE entity_kind = ");
    sql.bind(of.code());
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// The beginning of a statement that goes on behind `FROM` and ends with `) AS placed WHERE place <= …`.
fn select_placed(id: &str, counter: Counter) -> String {
    let sum = format!("SUM({})", counter.column());
    format!(
        "SELECT id, value FROM (SELECT {id} AS id, CAST({sum} AS BIGINT) AS value, \
         RANK() OVER (ORDER BY {sum} DESC) AS place"
    )
}

fn limit(places: usize) -> i64 {
    i64::try_from(places).unwrap_or(i64::MAX)
}

fn sums(rows: Vec<QueryResult>) -> Result<Vec<(Arc<str>, i64)>, DbError> {
    rows.iter()
        .map(|row| {
            let id: String = row.try_get_by_index(0)?;
            Ok((id.into(), row.try_get_by_index(1)?))
        })
        .collect()
}
