//! What charts rank by: sums of the day rows over a period, for the first places only.
//!
//! A platform of a million songs has tens of millions of day rows a month. They are added up in pieces of
//! the id space, so that the database sorts a bounded number of rows at a time, and only what may still
//! enter the chart is handed out.

use std::sync::Arc;

use sea_orm::ConnectionTrait;

use super::rankings::Identity;
use crate::{
    db::{DbError, bulk::SqlBuilder},
    domain::{counting::Counter, entity::EntityKind, window::Grain},
};

/// Which sums: a counter of all entities of a kind over some UTC days.
#[derive(Debug, Clone, Copy)]
pub struct Totals<'a> {
    pub of: EntityKind,
    /// Whether ids that are merged are one thing.
    pub identity: Identity,
    pub counter: Counter,
    pub days: &'a [i64],
    /// As many entities as have the highest sums, and whoever ties with the last of them.
    pub places: usize,
}

/// Ids `(after, until]` in byte order; open at either end where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdRange {
    pub after: Option<String>,
    pub until: Option<String>,
}

/// Which entities are added up at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Those of a range that nothing is merged into, and that are merged into nothing.
    Ids(IdRange),
    /// All others, whose ids may lie anywhere.
    Merged,
}

impl IdRange {
    pub(super) fn push(&self, sql: &mut SqlBuilder, column: &str) {
        if let Some(after) = &self.after {
            sql.push(&format!(" AND {column} > ")).bind(after.as_str());
        }
        if let Some(until) = &self.until {
            sql.push(&format!(" AND {column} <= ")).bind(until.as_str());
        }
    }
}

/// Cuts the ids into ranges that have at most some `rows` day rows each.
///
/// Each day is cut after every `share` of its rows, and of all days' cuts in their order one in so many is kept
/// as there are days. A range then holds as many cuts as there are days, and of each day at most a share for
/// each cut of its own and one more: two shares for each day in all.
pub async fn list_ranges<C: ConnectionTrait>(
    conn: &C,
    totals: &Totals<'_>,
    rows: usize,
) -> Result<Vec<IdRange>, DbError> {
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
    Ok(starts.zip(ends).map(|(after, until)| IdRange { after, until }).collect())
}

/// An entity's sum, in the order of one genre or, without one, of all entities.
pub type Sum = (Option<Arc<str>>, Arc<str>, i64);

/// The highest sums of one piece, ties with the last included, in no order: those of all entities, and those
/// of each genre. What has nothing is left out.
pub async fn list_highest<C: ConnectionTrait>(
    conn: &C,
    totals: &Totals<'_>,
    piece: &Piece,
) -> Result<Vec<Sum>, DbError> {
    let sum = format!("SUM({})", totals.counter.column());
    let mut sql = SqlBuilder::new(conn, "WITH ");
    let (id, joined) = match (piece, totals.identity) {
        (Piece::Ids(_), Identity::Plain) => ("r.entity_id", ""),
        (Piece::Ids(_), Identity::Merged) => ("r.entity_id", " LEFT JOIN merged AS m ON m.id = r.entity_id"),
        (Piece::Merged, _) => ("m.into_id", " JOIN merged AS m ON m.id = r.entity_id"),
    };
    if !joined.is_empty() {
        // Every id of what is merged, with the one it is read as.
        sql.push("merged AS MATERIALIZED (SELECT from_id AS id, into_id FROM entity_merge WHERE entity_kind = ");
        sql.bind(totals.of.code()).push(" UNION SELECT into_id, into_id FROM entity_merge WHERE entity_kind = ");
        sql.bind(totals.of.code()).push("), ");
    }
    // One row an entity. It is read twice, and the days are to be added up once.
    let counted = format!("counted AS MATERIALIZED (SELECT {id} AS entity_id, CAST({sum} AS BIGINT) AS value");
    sql.push(&counted).push(" FROM rollup AS r").push(joined);
    sql.push(" WHERE r.grain = ").bind(Grain::Day.code());
    sql.push(" AND r.bucket").bind_list(totals.days);
    sql.push(" AND r.entity_kind = ").bind(totals.of.code());
    if let Piece::Ids(range) = piece {
        range.push(&mut sql, "r.entity_id");
        sql.push(if joined.is_empty() { "" } else { " AND m.id IS NULL" });
    }
    sql.push(&format!(" GROUP BY {id} HAVING {sum} > 0), "));
    // Once among all, and once in each genre. No genre has an empty name.
    sql.push("grouped AS (SELECT '' AS genre, entity_id, value FROM counted UNION ALL ");
    sql.push("SELECT g.genre, c.entity_id, c.value FROM counted AS c JOIN entity_genre AS g");
    sql.push(" ON g.entity_id = c.entity_id WHERE g.entity_kind = ").bind(totals.of.code());
    if let Piece::Ids(range) = piece {
        range.push(&mut sql, "g.entity_id");
    }
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
