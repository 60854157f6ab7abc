//! The log as group-bys read it: in pages, with what the database can filter by.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseBackend, QueryResult};

use super::events::credits;
use crate::{
    db::{DbError, bulk::SqlBuilder},
    domain::{
        entity::EntityKind,
        event::{Event, EventKey},
        event_filter::Named,
        window::{Grain, Window},
    },
};

/// Which events are handed out; what is empty is not asked about.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    pub types: Vec<Arc<str>>,
    pub country: Option<Arc<str>>,
    pub source: Option<Arc<str>>,
    pub device: Option<Arc<str>>,
    pub genre: Option<Arc<str>>,
    pub user_id: Option<Arc<str>>,
    pub currency: Option<Arc<str>>,
    /// Whom an event is credited to no column says: what is credited may be handed out too.
    pub named: Vec<Named>,
    /// Only what is a step of a user: an event that stands for several is nobody's.
    pub of_users: bool,
}

/// Columns that most questions can do without, and that take long to read.
#[derive(Debug, Clone, Copy)]
pub struct LogColumns {
    pub people: bool,
    pub properties: bool,
}

/// A stretch of the log.
pub struct LogPage {
    /// Those that the filter lets through.
    pub events: Vec<Event>,
    /// How far it was looked.
    pub last: Option<EventKey>,
    pub is_last: bool,
}

/// Looks at the next `limit` events of a stretch, oldest first, for those that any of the filters lets through. What is
/// looked at is bounded, whatever fits: the last event is always read, so that the next page goes on behind it.
pub async fn list_page<C: ConnectionTrait>(
    conn: &C,
    filters: &[LogFilter],
    columns: LogColumns,
    stretch: Window,
    after: Option<EventKey>,
    limit: usize,
) -> Result<LogPage, DbError> {
    let mut sql = SqlBuilder::new(conn, "WITH page AS (SELECT occurred_at_ms, event_hash, event_type, ");
    let has_people = columns.people || filters.iter().any(|filter| filter.of_users || filter.user_id.is_some());
    sql.push(if has_people { "user_id, anonymous_id, " } else { "NULL AS user_id, NULL AS anonymous_id, " });
    sql.push("song_id, album_id, playlist_id, artist_id, genre, country, listening_source, device, played_ms, ");
    sql.push("duration_ms, ended_by_user, count, amount_minor, currency, ");
    sql.push(if columns.properties { "properties, " } else { "NULL AS properties, " });
    sql.push("credits FROM event WHERE occurred_at_ms < ").bind(stretch.to_ms);
    match after {
        None => sql.push(" AND occurred_at_ms >= ").bind(stretch.from_ms),
        Some(key) => sql
            .push(" AND (occurred_at_ms, event_hash) > (")
            .bind(key.occurred_at_ms)
            .push(", ")
            .bind(key.hash.to_vec())
            .push(")"),
    };
    let rows_max = i64::try_from(limit).unwrap_or(i64::MAX);
    sql.push(" ORDER BY occurred_at_ms, event_hash LIMIT ").bind(rows_max);
    sql.push("), ending AS (SELECT occurred_at_ms AS last_at, event_hash AS last_hash FROM page ");
    sql.push("ORDER BY occurred_at_ms DESC, event_hash DESC LIMIT 1), judged AS (SELECT page.*, CASE WHEN ");
    for (place, filter) in filters.iter().enumerate() {
        sql.push(if place == 0 { "(" } else { " OR (" });
        filter.push(&mut sql);
        sql.push(")");
    }
    sql.push(" THEN 1 ELSE 0 END AS is_wanted FROM page) SELECT judged.*, (SELECT COUNT(*) FROM page) ");
    sql.push(
        "FROM judged CROSS JOIN ending WHERE is_wanted = 1 OR (occurred_at_ms = last_at AND event_hash = last_hash) ",
    );
    sql.push("ORDER BY occurred_at_ms, event_hash");
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    let mut page = LogPage { events: Vec::with_capacity(rows.len()), last: None, is_last: true };
    for row in &rows {
        let event = event(row)?;
        let (is_wanted, looked_at): (i32, i64) = (row.try_get_by_index(21)?, row.try_get_by_index(22)?);
        (page.last, page.is_last) = (Some(event.key), looked_at < rows_max);
        if is_wanted == 1 {
            page.events.push(event);
        }
    }
    Ok(page)
}

impl LogFilter {
    fn push(&self, sql: &mut SqlBuilder) {
        sql.push(if self.of_users { "user_id IS NOT NULL AND count IS NULL" } else { "1 = 1" });
        for (column, value) in [
            ("country", &self.country),
            ("listening_source", &self.source),
            ("device", &self.device),
            ("genre", &self.genre),
            ("user_id", &self.user_id),
            ("currency", &self.currency),
        ] {
            if let Some(value) = value {
                sql.push(&format!(" AND {column} = ")).bind(&**value);
            }
        }
        if !self.types.is_empty() {
            sql.push(" AND event_type").bind_list(&texts(&self.types));
        }
        for Named { kind, ids } in &self.named {
            sql.push(&format!(" AND ({}_id", kind.word())).bind_list(&texts(ids));
            let is_credited = matches!(kind, EntityKind::Album | EntityKind::Artist);
            sql.push(if is_credited { " OR credits IS NOT NULL)" } else { ")" });
        }
    }
}

fn texts(texts: &[Arc<str>]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

fn event(row: &QueryResult) -> Result<Event, DbError> {
    let hash: Vec<u8> = row.try_get_by_index(1)?;
    let hash = hash.try_into().map_err(|_| DbError::Corrupt("an event's hash is not 16 bytes"))?;
    let occurred_at_ms = row.try_get_by_index(0)?;
    let id = |index| row.try_get_by_index::<Option<String>>(index).map(|id| id.map(Arc::from));
    let event_type: String = row.try_get_by_index(2)?;
    Ok(Event {
        key: EventKey { occurred_at_ms, hash },
        user_id: id(3)?,
        anonymous_id: id(4)?,
        song_id: id(5)?,
        album_id: id(6)?,
        playlist_id: id(7)?,
        artist_id: id(8)?,
        genre: row.try_get_by_index(9)?,
        country: row.try_get_by_index(10)?,
        listening_source: row.try_get_by_index(11)?,
        device: row.try_get_by_index(12)?,
        played_ms: row.try_get_by_index(13)?,
        duration_ms: row.try_get_by_index(14)?,
        ended_by_user: row.try_get_by_index::<Option<i64>>(15)?.map(|ended| ended != 0),
        count: row.try_get_by_index(16)?,
        amount_minor: row.try_get_by_index(17)?,
        currency: row.try_get_by_index(18)?,
        properties: row.try_get_by_index(19)?,
        credits: row.try_get_by_index::<Option<String>>(20)?.map(|text| credits(&text)).transpose()?,
        ..Event::bare(&event_type, occurred_at_ms)
    })
}

/// The UTC days that a window touches and that have events of any of these types, in order.
pub async fn list_days<C: ConnectionTrait>(conn: &C, types: &[Arc<str>], window: Window) -> Result<Vec<i64>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT DISTINCT bucket FROM rollup WHERE grain = ");
    sql.bind(Grain::Day.code())
        .push(" AND bucket >= ")
        .bind(Grain::Day.bucket_of(window.from_ms))
        .push(" AND bucket < ")
        .bind(window.to_ms);
    sql.push(" AND entity_kind = ").bind(EntityKind::EventType.code());
    sql.push(" AND entity_id").bind_list(&texts(types)).push(" ORDER BY bucket");
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// How many events of a stretch are of any of these types, or of any type; those past `limit` are not counted.
pub async fn count_up_to<C: ConnectionTrait>(
    conn: &C,
    types: Option<&BTreeSet<Arc<str>>>,
    stretch: Window,
    limit: usize,
) -> Result<usize, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT COUNT(*) FROM (SELECT 1 FROM event WHERE occurred_at_ms >= ");
    sql.bind(stretch.from_ms).push(" AND occurred_at_ms < ").bind(stretch.to_ms);
    if let Some(types) = types {
        let types: Vec<String> = types.iter().map(|name| name.to_string()).collect();
        sql.push(" AND event_type").bind_list(&types);
    }
    sql.push(" LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX)).push(") AS found");
    let row = conn.query_one_raw(sql.build(conn)).await?;
    let count: i64 = row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0);
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Lets PostgreSQL give up a statement of this transaction that takes longer. SQLite has no such limit; there,
/// statements are short enough.
pub async fn limit_time<C: ConnectionTrait>(conn: &C, time: Duration) -> Result<(), DbError> {
    if conn.get_database_backend() == DatabaseBackend::Postgres {
        // SET takes no parameters; 0 would be no limit.
        let statement = format!("SET LOCAL statement_timeout = {}", time.as_millis().max(1));
        conn.execute_unprepared(&statement).await?;
    }
    Ok(())
}
