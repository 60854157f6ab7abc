//! What charts rank by: sums of the day rows over a period, for the first places only.
//!
//! A platform of a million songs has tens of millions of day rows a month. They are added up in pieces of
//! the id space, so that the database sorts a bounded number of rows at a time, and only what may still
//! enter the chart is handed out.

use std::sync::Arc;

use sea_orm::ConnectionTrait;

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
/// Each day is cut after every `share` of its rows, and of all days' cuts in their order one in so many is kept
/// as there are days. A piece then holds as many cuts as there are days, and of each day at most a share for
/// each cut of its own and one more: two shares for each day in all.
pub async fn list_pieces<C: ConnectionTrait>(
    conn: &C,
    totals: &Totals<'_>,
    rows: usize,
) -> Result<Vec<Piece>, DbError> {
    let day_count = totals.days.len().max(1);
    let share = i64::try_from((rows / day_count / 2).max(1)).unwrap_or(i64::MAX);
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
    let mut cuts: Vec<String> = cuts.into_iter().skip(day_count - 1).step_by(day_count).collect();
    cuts.dedup();
    let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
    let ends = cuts.iter().cloned().map(Some).chain([None]);
    Ok(starts.zip(ends).collect())
}

/// An entity's sum, in the order of one genre or, without one, of all entities.
pub type Sum = (Option<Arc<str>>, Arc<str>, i64);

/// The highest sums of one piece, ties with the last included, in no order: those of all entities, and those
/// of each genre. What has nothing is left out.
pub async fn list_highest<C: ConnectionTrait>(
    conn: &C,
    totals: &Totals<'_>,
    (after, until): &Piece,
) -> Result<Vec<Sum>, DbError> {
    // One row an entity. It is read twice, and the days are to be added up once.
    let sum = format!("SUM({})", totals.counter.column());
    let counted = format!("WITH counted AS MATERIALIZED (SELECT entity_id, CAST({sum} AS BIGINT) AS value FROM rollup");
    let mut sql = SqlBuilder::new(conn, &counted);
    sql.push(" WHERE grain = ").bind(Grain::Day.code());
    sql.push(" AND bucket").bind_list(totals.days);
    sql.push(" AND entity_kind = ").bind(totals.of.code());
    push_piece(&mut sql, "entity_id", after, until);
    sql.push(&format!(" GROUP BY entity_id HAVING {sum} > 0), "));
    // Once among all, and once in each genre. No genre has an empty name.
    sql.push("grouped AS (SELECT '' AS genre, entity_id, value FROM counted UNION ALL ");
    sql.push("SELECT g.genre, c.entity_id, c.value FROM counted AS c JOIN entity_genre AS g");
    sql.push(" ON g.entity_id = c.entity_id WHERE g.entity_kind = ").bind(totals.of.code());
    push_piece(&mut sql, "g.entity_id", after, until);
    sql.push(" AND g.genre <> ''), ");
    sql.push(
        "placed AS (SELECT genre, entity_id, value, RANK() OVER (PARTITION BY genre ORDER BY value DESC) AS place",
    );
    sql.push(" FROM grouped) SELECT genre, entity_id, value FROM placed WHERE place <= ");
    sql.bind(i64::try_from(totals.places).unwrap_or(i64::MAX));
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter()
        .map(|row| {
            let (genre, id): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let genre = (!genre.is_empty()).then(|| genre.into());
            Ok((genre, id.into(), row.try_get_by_index(2)?))
        })
        .collect()
}

fn push_piece(sql: &mut SqlBuilder, column: &str, after: &Option<String>, until: &Option<String>) {
    if let Some(after) = after {
        sql.push(&format!(" AND {column} > ")).bind(after.as_str());
    }
    if let Some(until) = until {
        sql.push(&format!(" AND {column} <= ")).bind(until.as_str());
    }
}
