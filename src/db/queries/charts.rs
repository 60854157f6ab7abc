//! Published charts, their entries, and which periods have been counted.

use std::sync::{Arc, LazyLock};

use sea_orm::{ConnectionTrait, QueryResult};

use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        transaction::Arguments,
    },
    domain::{
        chart::{Cadence, Entry, Movement, Series},
        entity::EntityKind,
        window::Window,
    },
};

/// One revision of the chart of one period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartRow {
    pub series: Series,
    pub period: Window,
    pub revision: i16,
    pub published_at_ms: i64,
}

static ADD_CHART: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO chart (entity_kind, cadence, genre, country, period_start, revision, period_end, published_at_ms)",
        8,
        "",
    )
});

static ADD_ENTRIES: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO chart_entry (entity_kind, cadence, genre, country, period_start, revision, entity_id, position, \
         previous_position, peak_position, peak_start, periods, streak, movement, value)",
        15,
        "",
    )
});

/// Publishes a chart. Errors: a unique violation where this revision is there already.
pub async fn insert(txn: &Transaction, chart: &ChartRow, entries: &[Entry]) -> Result<(), DbError> {
    let bind_key = |arguments: &mut Arguments| {
        arguments.add(chart.series.of.code());
        arguments.add(chart.series.cadence.code());
        arguments.add(all_if_none(&chart.series.genre).to_owned());
        arguments.add(all_if_none(&chart.series.country).to_owned());
        arguments.add(chart.period.from_ms);
        arguments.add(chart.revision);
    };
    let bind_chart = |_: &(), arguments: &mut Arguments| {
        bind_key(arguments);
        arguments.add(chart.period.to_ms);
        arguments.add(chart.published_at_ms);
    };
    ADD_CHART.run(txn, &[()], bind_chart).await?;
    let bind_entry = |entry: &Entry, arguments: &mut Arguments| {
        bind_key(arguments);
        arguments.add(&entry.id);
        arguments.add(entry.position.map(place));
        arguments.add(entry.previous.map(place));
        arguments.add(place(entry.peak));
        arguments.add(entry.peak_at_ms);
        arguments.add(entry.periods);
        arguments.add(entry.streak);
        arguments.add(entry.movement.code());
        arguments.add(entry.value);
    };
    ADD_ENTRIES.run(txn, entries, bind_entry).await?;
    Ok(())
}

fn place(position: i32) -> i16 {
    i16::try_from(position).expect("a chart has 200 places")
}

/// How a series without a genre or a country is stored.
fn all_if_none(part: &Option<Arc<str>>) -> &str {
    part.as_deref().unwrap_or("")
}

/// The newest chart of a series whose period begins at `until_ms` or earlier, in its last revision.
pub async fn find_newest<C: ConnectionTrait>(
    conn: &C,
    series: &Series,
    until_ms: i64,
) -> Result<Option<ChartRow>, DbError> {
    let mut sql = SqlBuilder::new(conn, SELECT_CHART);
    push_series(&mut sql, "c", series);
    sql.push(" AND c.period_start <= ").bind(until_ms);
    sql.push(" ORDER BY c.period_start DESC, c.revision DESC LIMIT 1");
    let row = conn.query_one_raw(sql.build(conn)).await?;
    row.map(|row| chart(series, &row)).transpose()
}

/// The last revision of every chart of a series whose period begins after `after_ms`, oldest first.
pub async fn list_later<C: ConnectionTrait>(
    conn: &C,
    series: &Series,
    after_ms: i64,
) -> Result<Vec<ChartRow>, DbError> {
    let mut sql = SqlBuilder::new(conn, SELECT_CHART);
    push_series(&mut sql, "c", series);
    sql.push(" AND c.period_start > ").bind(after_ms);
    sql.push(" AND ").push(&is_last_revision("c")).push(" ORDER BY c.period_start");
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| chart(series, row)).collect()
}

/// The charts of one kind of the periods that begin at this instant, each in its last revision: of the whole
/// platform, of each genre and of each country.
pub async fn list_of_period<C: ConnectionTrait>(
    conn: &C,
    of: EntityKind,
    cadence: Cadence,
    period_start: i64,
) -> Result<Vec<ChartRow>, DbError> {
    let columns =
        "SELECT c.period_start, c.period_end, c.revision, c.published_at_ms, c.genre, c.country FROM chart AS c";
    let mut sql = SqlBuilder::new(conn, columns);
    sql.push(" WHERE c.entity_kind = ").bind(of.code()).push(" AND c.cadence = ").bind(cadence.code());
    sql.push(" AND c.period_start = ").bind(period_start);
    sql.push(" AND ").push(&is_last_revision("c"));
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter()
        .map(|row| {
            let (genre, country): (String, String) = (row.try_get_by_index(4)?, row.try_get_by_index(5)?);
            let none_if_all = |part: String| (!part.is_empty()).then(|| part.into());
            chart(&Series { of, cadence, genre: none_if_all(genre), country: none_if_all(country) }, row)
        })
        .collect()
}

/// All entries of a chart: by place, then the drop-outs by their last place.
pub async fn list_entries<C: ConnectionTrait>(conn: &C, chart: &ChartRow) -> Result<Vec<Entry>, DbError> {
    let mut sql = SqlBuilder::new(conn, SELECT_ENTRY);
    sql.push(" FROM chart_entry AS e WHERE ");
    push_series(&mut sql, "e", &chart.series);
    sql.push(" AND e.period_start = ").bind(chart.period.from_ms);
    sql.push(" AND e.revision = ").bind(chart.revision);
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    let mut entries: Vec<Entry> = rows.iter().map(entry).collect::<Result<_, _>>()?;
    entries.sort_by_key(|entry| (entry.position.is_none(), entry.position, entry.previous));
    Ok(entries)
}

/// An entity's last entry in the charts of a series before a period: one seek, however long the series is.
pub async fn find_last_entry<C: ConnectionTrait>(
    conn: &C,
    series: &Series,
    before_ms: i64,
    id: &Arc<str>,
) -> Result<Option<Entry>, DbError> {
    let mut sql = SqlBuilder::new(conn, SELECT_ENTRY);
    sql.push(" FROM chart_entry AS e WHERE ");
    push_series(&mut sql, "e", series);
    sql.push(" AND e.entity_id = ").bind(&**id);
    sql.push(" AND e.period_start < ").bind(before_ms);
    sql.push(" AND e.position IS NOT NULL AND ").push(&is_last_revision("e"));
    sql.push(" ORDER BY e.period_start DESC LIMIT 1");
    conn.query_one_raw(sql.build(conn)).await?.as_ref().map(entry).transpose()
}

/// The newest entries of many entities in the charts of a series whose periods begin before `before_ms`: each with
/// the period of its chart, newest first, at most `limit` of an entity.
pub async fn list_history<C: ConnectionTrait>(
    conn: &C,
    series: &Series,
    ids: &[Arc<str>],
    before_ms: i64,
    limit: u32,
) -> Result<Vec<(Window, Entry)>, DbError> {
    let ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
    let mut sql = SqlBuilder::new(conn, "SELECT * FROM (");
    sql.push(SELECT_ENTRY).push(", c.period_start, c.period_end");
    sql.push(", ROW_NUMBER() OVER (PARTITION BY e.entity_id ORDER BY e.period_start DESC) AS age");
    sql.push(" FROM chart_entry AS e JOIN chart AS c ON ").push(&same_series("c", "e"));
    sql.push(" AND c.period_start = e.period_start AND c.revision = e.revision WHERE ");
    push_series(&mut sql, "e", series);
    sql.push(" AND e.entity_id").bind_list(&ids).push(" AND e.period_start < ").bind(before_ms);
    sql.push(" AND e.position IS NOT NULL AND ").push(&is_last_revision("e"));
    sql.push(") AS aged WHERE age <= ").bind(i64::from(limit)).push(" ORDER BY period_start DESC");
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter()
        .map(|row| {
            let period = Window { from_ms: row.try_get_by_index(9)?, to_ms: row.try_get_by_index(10)? };
            Ok((period, entry(row)?))
        })
        .collect()
}

/// When the charts of a kind were last counted for a period, with all genres and countries.
pub async fn find_counted_at<C: ConnectionTrait>(
    conn: &C,
    of: EntityKind,
    cadence: Cadence,
    period_start: i64,
) -> Result<Option<i64>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT counted_at_ms FROM chart_period WHERE entity_kind = ");
    sql.bind(of.code()).push(" AND cadence = ").bind(cadence.code());
    sql.push(" AND period_start = ").bind(period_start);
    let row = conn.query_one_raw(sql.build(conn)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?)
}

/// Notes that the charts of a kind were counted for a period.
pub async fn mark_counted<C: ConnectionTrait>(
    conn: &C,
    of: EntityKind,
    cadence: Cadence,
    period_start: i64,
    now_ms: i64,
) -> Result<(), DbError> {
    let mut sql =
        SqlBuilder::new(conn, "INSERT INTO chart_period (entity_kind, cadence, period_start, counted_at_ms) VALUES (");
    sql.bind(of.code()).push(", ").bind(cadence.code()).push(", ").bind(period_start).push(", ").bind(now_ms);
    sql.push(") ON CONFLICT (entity_kind, cadence, period_start) DO UPDATE SET counted_at_ms = excluded.counted_at_ms");
    conn.execute_raw(sql.build(conn)).await?;
    Ok(())
}

const SELECT_CHART: &str = "SELECT c.period_start, c.period_end, c.revision, c.published_at_ms FROM chart AS c WHERE ";
const SELECT_ENTRY: &str = "SELECT e.entity_id, e.position, e.previous_position, e.peak_position, e.peak_start, \
                            e.periods, e.streak, e.movement, e.value";

fn push_series(sql: &mut SqlBuilder, table: &str, series: &Series) {
    sql.push(&format!("{table}.entity_kind = ")).bind(series.of.code());
    sql.push(&format!(" AND {table}.cadence = ")).bind(series.cadence.code());
    sql.push(&format!(" AND {table}.genre = ")).bind(all_if_none(&series.genre));
    sql.push(&format!(" AND {table}.country = ")).bind(all_if_none(&series.country));
}

fn same_series(one: &str, other: &str) -> String {
    let columns = ["entity_kind", "cadence", "genre", "country"];
    let equal: Vec<String> = columns.iter().map(|column| format!("{one}.{column} = {other}.{column}")).collect();
    equal.join(" AND ")
}

/// Of a period's revisions the last one counts.
fn is_last_revision(table: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM chart AS newer WHERE {} AND newer.period_start = {table}.period_start \
         AND newer.revision > {table}.revision)",
        same_series("newer", table)
    )
}

fn chart(series: &Series, row: &QueryResult) -> Result<ChartRow, DbError> {
    Ok(ChartRow {
        series: series.clone(),
        period: Window { from_ms: row.try_get_by_index(0)?, to_ms: row.try_get_by_index(1)? },
        revision: row.try_get_by_index(2)?,
        published_at_ms: row.try_get_by_index(3)?,
    })
}

fn entry(row: &QueryResult) -> Result<Entry, DbError> {
    let id: String = row.try_get_by_index(0)?;
    let position: Option<i16> = row.try_get_by_index(1)?;
    let previous: Option<i16> = row.try_get_by_index(2)?;
    let peak: i16 = row.try_get_by_index(3)?;
    Ok(Entry {
        id: id.into(),
        position: position.map(i32::from),
        previous: previous.map(i32::from),
        peak: i32::from(peak),
        peak_at_ms: row.try_get_by_index(4)?,
        periods: row.try_get_by_index(5)?,
        streak: row.try_get_by_index(6)?,
        movement: Movement::from_code(row.try_get_by_index(7)?).ok_or(DbError::Corrupt("unknown movement"))?,
        value: row.try_get_by_index(8)?,
    })
}
