//! Entities of a kind by the sum of one counter over some buckets.

use sea_orm::ConnectionTrait;

use crate::{
    db::{DbError, bulk::SqlBuilder},
    domain::{
        counting::Counter,
        entity::EntityKind,
        window::{Buckets, Grain},
    },
};

/// What is ranked; of the sums, those above 0.
#[derive(Debug, Clone, Copy)]
pub struct Ranked<'a> {
    pub kind: EntityKind,
    pub identity: Identity,
    pub counter: Counter,
    pub buckets: &'a Buckets,
    /// Only what has this genre.
    pub genre: Option<&'a str>,
}

/// What rows are ranked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Each id is a thing of its own; true while nothing of the kind is merged, and cheaper.
    Plain,
    /// Ids that are merged are one thing.
    Merged,
}

/// Ids that are sought in a ranking at one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    pub value: i64,
    /// Ascending, each once.
    pub ids: Vec<String>,
}

/// Where something sought stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How many have a higher value.
    pub above: i64,
    /// How many have the same.
    pub tied: i64,
    /// For each id sought, how many of the same value have a smaller one.
    pub before: Vec<i64>,
}

/// A whole ranking in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: i64,
    pub sum: i64,
    /// One for each value sought, in the order asked for.
    pub standings: Vec<Standing>,
}

/// Highest first, then by id, at most `limit`.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    ranked: Ranked<'_>,
    limit: usize,
) -> Result<Vec<(String, i64)>, DbError> {
    if ranked.buckets.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = SqlBuilder::new(conn, "");
    ranked.push(&mut sql);
    sql.push(" ORDER BY 2 DESC, 1 LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    query(conn, sql).await
}

/// Everything that has one of these values, in no particular order.
pub async fn list_at<C: ConnectionTrait>(
    conn: &C,
    ranked: Ranked<'_>,
    values: &[i64],
) -> Result<Vec<(String, i64)>, DbError> {
    if ranked.buckets.is_empty() || values.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = SqlBuilder::new(conn, "SELECT id, value FROM (");
    ranked.push(&mut sql);
    sql.push(") AS ranked WHERE value").bind_list(values);
    query(conn, sql).await
}

async fn query<C: ConnectionTrait>(conn: &C, sql: SqlBuilder) -> Result<Vec<(String, i64)>, DbError> {
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Counts a whole ranking, and where in it something stands; what is sought comes highest value first. One pass over
/// the sums, however much is sought.
pub async fn tally<C: ConnectionTrait>(conn: &C, ranked: Ranked<'_>, sought: &[Sought]) -> Result<Tally, DbError> {
    // Each sum falls into a slot, from the highest value down: before a value, at it before each of its ids and
    // behind the last, behind the last value.
    let mut slots = 0;
    let mut tally = Tally::default();
    let mut counts: Vec<i64> = Vec::new();
    if !ranked.buckets.is_empty() {
        let mut sql = SqlBuilder::new(conn, "SELECT slot, COUNT(*), CAST(SUM(value) AS BIGINT) FROM (SELECT ");
        push_values(&mut sql, sought, &mut slots);
        sql.push(" AS slot, value FROM (");
        ranked.push(&mut sql);
        sql.push(") AS ranked) AS placed GROUP BY slot");
        counts.resize(slots, 0);
        for row in conn.query_all_raw(sql.build(conn)).await? {
            let (slot, count, sum): (i32, i64, i64) =
                (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            let slot = usize::try_from(slot).ok().and_then(|slot| counts.get_mut(slot));
            *slot.ok_or(DbError::Corrupt("a slot that was not asked for"))? = count;
            tally.count += count;
            tally.sum += sum;
        }
    }
    let mut counts = counts.into_iter();
    let mut above = 0;
    for Sought { ids, .. } in sought {
        above += counts.next().unwrap_or(0);
        let mut tied = 0;
        let before: Vec<i64> = ids
            .iter()
            .map(|_| {
                tied += counts.next().unwrap_or(0);
                tied
            })
            .collect();
        tied += counts.next().unwrap_or(0);
        tally.standings.push(Standing { above, tied, before });
        above += tied;
    }
    Ok(tally)
}

/// The slot of a sum, found by halving: eight comparisons for 200 values.
fn push_values(sql: &mut SqlBuilder, sought: &[Sought], slot: &mut usize) {
    if sought.is_empty() {
        return push_slot(sql, slot);
    }
    let (higher, rest) = sought.split_at(sought.len() / 2);
    sql.push("CASE WHEN value > ").bind(rest[0].value).push(" THEN ");
    push_values(sql, higher, slot);
    sql.push(" WHEN value = ").bind(rest[0].value).push(" THEN ");
    push_ids(sql, &rest[0].ids, slot);
    sql.push(" ELSE ");
    push_values(sql, &rest[1..], slot);
    sql.push(" END");
}

fn push_ids(sql: &mut SqlBuilder, ids: &[String], slot: &mut usize) {
    if ids.is_empty() {
        return push_slot(sql, slot);
    }
    let (smaller, rest) = ids.split_at(ids.len() / 2);
    sql.push("CASE WHEN id < ").bind(&*rest[0]).push(" THEN ");
    push_ids(sql, smaller, slot);
    sql.push(" ELSE ");
    push_ids(sql, &rest[1..], slot);
    sql.push(" END");
}

fn push_slot(sql: &mut SqlBuilder, slot: &mut usize) {
    sql.push(&slot.to_string());
    *slot += 1;
}

/// More buckets than this are given by their ends: statements take some ten thousand parameters.
const LISTED_BUCKETS_MAX: i64 = 4_096;

impl Ranked<'_> {
    /// A query of `id` and `value`; there is at least one bucket.
    fn push(self, sql: &mut SqlBuilder) {
        let (column, id) = (self.counter.column(), self.identity.id());
        sql.push(&format!("SELECT {id} AS id, CAST(SUM({column}) AS BIGINT) AS value FROM ("));
        let mut union = "";
        for (grain, range) in [
            (Grain::Day, &self.buckets.days),
            (Grain::Quarter, &self.buckets.quarters[0]),
            (Grain::Quarter, &self.buckets.quarters[1]),
        ] {
            if range.is_empty() {
                continue;
            }
            sql.push(union).push(&format!("SELECT entity_id, {column} FROM rollup WHERE grain = ")).bind(grain.code());
            if range.end - range.start <= LISTED_BUCKETS_MAX * grain.length_ms() {
                // Kind by bucket: whole buckets are read, but only this kind's part of each.
                let starts: Vec<i64> = range.clone().step_by(step(grain)).collect();
                sql.push(" AND bucket").bind_list(&starts);
            } else {
                sql.push(" AND bucket >= ").bind(range.start).push(" AND bucket < ").bind(range.end);
            }
            sql.push(" AND entity_kind = ").bind(self.kind.code());
            union = " UNION ALL ";
        }
        sql.push(") AS counted");
        let kind = self.kind.public().code();
        if self.identity == Identity::Merged {
            sql.push(" LEFT JOIN (SELECT from_id, into_id FROM entity_merge WHERE entity_kind = ").bind(kind);
            sql.push(") AS merged ON from_id = entity_id");
        }
        if let Some(genre) = self.genre {
            sql.push(&format!(" WHERE {id} IN (SELECT entity_id FROM entity_genre WHERE genre = ")).bind(genre);
            sql.push(" AND entity_kind = ").bind(kind).push(")");
        }
        sql.push(&format!(" GROUP BY {id} HAVING SUM({column}) > 0"));
    }
}

impl Identity {
    const fn id(self) -> &'static str {
        match self {
            Self::Plain => "entity_id",
            Self::Merged => "COALESCE(into_id, entity_id)",
        }
    }
}

fn step(grain: Grain) -> usize {
    usize::try_from(grain.length_ms()).expect("a bucket's length is a small positive number")
}
