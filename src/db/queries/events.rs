//! The event log.

use std::{collections::HashMap, sync::LazyLock};

use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, TransactionTrait, Value};

use crate::{
    db::{
        DbError,
        bulk::{BulkInsert, SqlBuilder},
        statement,
    },
    domain::event::{Event, EventKey},
};

static INSERT: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO event (occurred_at_ms, event_hash, content_hash, received_at_ms, source, event_id, event_type, \
         user_id, anonymous_id, song_id, album_id, playlist_id, artist_id, genre, country, listening_source, device, \
         played_ms, duration_ms, ended_by_user, count, amount_minor, currency, properties)",
        24,
        "",
    )
});

/// What became of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// The key was there before, with this content.
    Known {
        content_hash: i64,
    },
}

/// Stores the events that are new and tells which they are, in the order given.
///
/// `events` are sorted by key and hold no key twice: two writers that meet in a key then wait for each
/// other in one order, and never dead-lock.
///
/// Nearly every batch is all new, so rows are inserted plainly under a savepoint; only where that meets
/// a known key are the keys looked up. (`RETURNING` would cost 2.6 times the insert on SQLite.)
pub async fn insert_new(txn: &DatabaseTransaction, events: &[&Event]) -> Result<Vec<Inserted>, DbError> {
    let mut outcomes = vec![Inserted::New; events.len()];
    let chunk_length = INSERT.rows_max();
    for (chunk, outcomes) in events.chunks(chunk_length).zip(outcomes.chunks_mut(chunk_length)) {
        let mut unknown: Vec<usize> = (0..chunk.len()).collect();
        while !unknown.is_empty() {
            let savepoint = txn.begin().await?;
            let values = unknown.iter().flat_map(|index| row(chunk[*index])).collect();
            match INSERT.run(&savepoint, values).await {
                Ok(()) => {
                    savepoint.commit().await?;
                    break;
                }
                Err(error) if error.is_unique_violation() => savepoint.rollback().await?,
                Err(error) => return Err(error),
            }
            // Another writer may commit one of our keys between this look and the next try; each
            // round then finds at least one more, so the loop ends.
            let keys: Vec<EventKey> = unknown.iter().map(|index| chunk[*index].key).collect();
            let known = find_known(txn, &keys).await?;
            unknown.retain(|index| match known.get(&chunk[*index].key) {
                Some(content_hash) => {
                    outcomes[*index] = Inserted::Known { content_hash: *content_hash };
                    false
                }
                None => true,
            });
        }
    }
    Ok(outcomes)
}

async fn find_known<C: ConnectionTrait>(conn: &C, keys: &[EventKey]) -> Result<HashMap<EventKey, i64>, DbError> {
    let mut sql = SqlBuilder::new(conn, "WITH key (at, hash) AS (VALUES ");
    for (index, key) in keys.iter().enumerate() {
        sql.push(if index == 0 { "(" } else { ", (" }).bind(key.occurred_at_ms);
        sql.push(", ").bind(key.hash.to_vec()).push(")");
    }
    sql.push(
        ") SELECT event.occurred_at_ms, event.event_hash, event.content_hash FROM key CROSS JOIN event \
         WHERE event.occurred_at_ms = key.at AND event.event_hash = key.hash",
    );
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter()
        .map(|row| {
            let hash: Vec<u8> = row.try_get_by_index(1)?;
            let hash = hash.try_into().map_err(|_| DbError::Corrupt("an event's hash is not 16 bytes"))?;
            Ok((EventKey { occurred_at_ms: row.try_get_by_index(0)?, hash }, row.try_get_by_index(2)?))
        })
        .collect()
}

fn row(event: &Event) -> [Value; 24] {
    let text = |text: &Option<String>| Value::from(text.clone());
    let id = |id: &Option<std::sync::Arc<str>>| Value::from(id.as_deref().map(str::to_owned));
    [
        event.key.occurred_at_ms.into(),
        event.key.hash.to_vec().into(),
        event.content_hash.into(),
        event.received_at_ms.into(),
        event.source.to_string().into(),
        event.event_id.clone().into(),
        event.event_type.clone().into(),
        id(&event.user_id),
        text(&event.anonymous_id),
        id(&event.song_id),
        id(&event.album_id),
        id(&event.playlist_id),
        id(&event.artist_id),
        text(&event.genre),
        text(&event.country),
        text(&event.listening_source),
        text(&event.device),
        event.played_ms.into(),
        event.duration_ms.into(),
        event.ended_by_user.map(i64::from).into(),
        event.count.into(),
        event.amount_minor.into(),
        text(&event.currency),
        text(&event.properties),
    ]
}

/// Events of `[from_ms, to_ms)` behind `after`, oldest first, at most `limit`.
pub async fn list_between<C: ConnectionTrait>(
    conn: &C,
    from_ms: i64,
    to_ms: i64,
    after: Option<EventKey>,
    limit: u64,
) -> Result<Vec<Event>, DbError> {
    let mut sql = SqlBuilder::new(
        conn,
        "SELECT occurred_at_ms, event_hash, content_hash, received_at_ms, source, event_id, event_type, user_id, \
         anonymous_id, song_id, album_id, playlist_id, artist_id, genre, country, listening_source, device, played_ms, \
         duration_ms, ended_by_user, count, amount_minor, currency, properties FROM event WHERE occurred_at_ms < ",
    );
    sql.bind(to_ms);
    match after {
        None => {
            sql.push(" AND occurred_at_ms >= ").bind(from_ms);
        }
        Some(key) => {
            sql.push(" AND (occurred_at_ms, event_hash) > (").bind(key.occurred_at_ms);
            sql.push(", ").bind(key.hash.to_vec()).push(")");
        }
    }
    sql.push(" ORDER BY occurred_at_ms, event_hash LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(event).collect()
}

fn event(row: &QueryResult) -> Result<Event, DbError> {
    let hash: Vec<u8> = row.try_get_by_index(1)?;
    let hash = hash.try_into().map_err(|_| DbError::Corrupt("an event's hash is not 16 bytes"))?;
    let id = |index| row.try_get_by_index::<Option<String>>(index).map(|id| id.map(std::sync::Arc::from));
    Ok(Event {
        key: EventKey { occurred_at_ms: row.try_get_by_index(0)?, hash },
        content_hash: row.try_get_by_index(2)?,
        received_at_ms: row.try_get_by_index(3)?,
        source: row.try_get_by_index::<String>(4)?.into(),
        event_id: row.try_get_by_index(5)?,
        event_type: row.try_get_by_index(6)?,
        user_id: id(7)?,
        anonymous_id: row.try_get_by_index(8)?,
        song_id: id(9)?,
        album_id: id(10)?,
        playlist_id: id(11)?,
        artist_id: id(12)?,
        genre: row.try_get_by_index(13)?,
        country: row.try_get_by_index(14)?,
        listening_source: row.try_get_by_index(15)?,
        device: row.try_get_by_index(16)?,
        played_ms: row.try_get_by_index(17)?,
        duration_ms: row.try_get_by_index(18)?,
        ended_by_user: row.try_get_by_index::<Option<i64>>(19)?.map(|ended| ended != 0),
        count: row.try_get_by_index(20)?,
        amount_minor: row.try_get_by_index(21)?,
        currency: row.try_get_by_index(22)?,
        properties: row.try_get_by_index(23)?,
    })
}

/// When the oldest and the newest stored event happened; `None` while there is none.
pub async fn find_extent<C: ConnectionTrait>(conn: &C) -> Result<Option<(i64, i64)>, DbError> {
    // Two single-ended questions: each is one step down the primary key.
    let sql = "SELECT (SELECT MIN(occurred_at_ms) FROM event), (SELECT MAX(occurred_at_ms) FROM event)";
    let Some(row) = conn.query_one_raw(statement(conn, sql, vec![])).await? else { return Ok(None) };
    let oldest: Option<i64> = row.try_get_by_index(0)?;
    Ok(oldest.zip(row.try_get_by_index(1)?))
}

/// When the first event at or after `from_ms` happened.
pub async fn find_next<C: ConnectionTrait>(conn: &C, from_ms: i64) -> Result<Option<i64>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT MIN(occurred_at_ms) FROM event WHERE occurred_at_ms >= ");
    sql.bind(from_ms);
    let row = conn.query_one_raw(sql.build(conn)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.flatten())
}

/// Whether the log is cut into monthly partitions that have to exist before their first row.
pub async fn is_partitioned_by_time<C: ConnectionTrait>(conn: &C) -> Result<bool, DbError> {
    if conn.get_database_backend() != sea_orm::DatabaseBackend::Postgres {
        return Ok(false);
    }
    let sql = "SELECT partstrat::text FROM pg_partitioned_table WHERE partrelid = 'event'::regclass";
    let row = conn.query_one_raw(statement(conn, sql, vec![])).await?;
    Ok(row.map(|row| row.try_get_by_index::<String>(0)).transpose()?.as_deref() == Some("r"))
}

/// Creates the partition `name` of `[from_ms, to_ms)` where it is missing.
pub async fn create_partition<C: ConnectionTrait>(
    conn: &C,
    name: &str,
    from_ms: i64,
    to_ms: i64,
) -> Result<(), DbError> {
    // Names and bounds are made from numbers by the caller; DDL takes no parameters.
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS \"{name}\" PARTITION OF event FOR VALUES FROM ('{from_ms}') TO ('{to_ms}')"
    );
    conn.execute_unprepared(&sql).await?;
    Ok(())
}
