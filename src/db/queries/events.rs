//! The event log.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use sea_orm::{ConnectionTrait, QueryResult};

use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        statement,
        transaction::Arguments,
    },
    domain::{
        commit::Extent,
        credit::Credits,
        event::{Event, EventKey},
    },
};

static INSERT: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO event (occurred_at_ms, event_hash, content_hash, received_at_ms, source, event_id, event_type, \
         user_id, anonymous_id, song_id, album_id, playlist_id, artist_id, genre, country, listening_source, device, \
         played_ms, duration_ms, ended_by_user, count, amount_minor, currency, properties, credits)",
        25,
        "",
    )
});

/// Stores events, all of them or none: [`DbError::is_unique_violation`] says that at least one of their
/// keys is known.
///
/// `events` are sorted by key and hold no key twice: two writers that meet in a key then wait for each
/// other in one order, and never dead-lock.
pub async fn insert(txn: &Transaction, events: &[&Event]) -> Result<(), DbError> {
    INSERT.run(txn, events, |event, arguments| bind(event, arguments)).await?;
    Ok(())
}

/// Those of the keys that are stored, with the hash of their content.
pub async fn list_known<C: ConnectionTrait>(conn: &C, keys: &[EventKey]) -> Result<HashMap<EventKey, i64>, DbError> {
    let mut known = HashMap::new();
    for keys in keys.chunks(KEYS_AT_ONCE) {
        known.extend(find_known(conn, keys).await?);
    }
    Ok(known)
}

/// Two parameters each.
const KEYS_AT_ONCE: usize = 512;

async fn find_known<C: ConnectionTrait>(conn: &C, keys: &[EventKey]) -> Result<Vec<(EventKey, i64)>, DbError> {
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
    rows.iter().map(|row| Ok((key(row)?, row.try_get_by_index(2)?))).collect()
}

/// Of a row that begins with it.
fn key(row: &QueryResult) -> Result<EventKey, DbError> {
    let hash: Vec<u8> = row.try_get_by_index(1)?;
    let hash = hash.try_into().map_err(|_| DbError::Corrupt("an event's hash is not 16 bytes"))?;
    Ok(EventKey { occurred_at_ms: row.try_get_by_index(0)?, hash })
}

fn bind(event: &Event, arguments: &mut Arguments) {
    arguments.add(event.key.occurred_at_ms);
    arguments.add(&event.key.hash[..]);
    arguments.add(event.content_hash);
    arguments.add(event.received_at_ms);
    arguments.add(&event.source);
    arguments.add(&*event.event_id);
    arguments.add(&*event.event_type);
    arguments.add(&event.user_id);
    arguments.add(&event.anonymous_id);
    arguments.add(&event.song_id);
    arguments.add(&event.album_id);
    arguments.add(&event.playlist_id);
    arguments.add(&event.artist_id);
    arguments.add(event.genre.as_deref());
    arguments.add(event.country.as_deref());
    arguments.add(event.listening_source.as_deref());
    arguments.add(event.device.as_deref());
    arguments.add(event.played_ms);
    arguments.add(event.duration_ms);
    arguments.add(event.ended_by_user.map(i64::from));
    arguments.add(event.count);
    arguments.add(event.amount_minor);
    arguments.add(event.currency.as_deref());
    arguments.add(event.properties.as_deref());
    arguments.add(event.credits.as_ref().map(|credits| credits.to_text()));
}

/// What [`event`] reads, in its order.
pub(super) const COLUMNS: &str = "occurred_at_ms, event_hash, content_hash, received_at_ms, source, event_id, \
    event_type, user_id, anonymous_id, song_id, album_id, playlist_id, artist_id, genre, country, listening_source, \
    device, played_ms, duration_ms, ended_by_user, count, amount_minor, currency, properties, credits";

/// Events of `[from_ms, to_ms)` behind `after`, oldest first, at most `limit`.
pub async fn list_between<C: ConnectionTrait>(
    conn: &C,
    from_ms: i64,
    to_ms: i64,
    after: Option<EventKey>,
    limit: u64,
) -> Result<Vec<Event>, DbError> {
    let mut sql = SqlBuilder::new(conn, &format!("SELECT {COLUMNS} FROM event WHERE occurred_at_ms < "));
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

pub(super) fn event(row: &QueryResult) -> Result<Event, DbError> {
    let id = |index| row.try_get_by_index::<Option<String>>(index).map(|id| id.map(Arc::from));
    Ok(Event {
        key: key(row)?,
        content_hash: row.try_get_by_index(2)?,
        received_at_ms: row.try_get_by_index(3)?,
        source: row.try_get_by_index::<String>(4)?.into(),
        event_id: row.try_get_by_index(5)?,
        event_type: row.try_get_by_index(6)?,
        user_id: id(7)?,
        anonymous_id: row.try_get_by_index::<Option<String>>(8)?.map(Into::into),
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
        credits: row.try_get_by_index::<Option<String>>(24)?.map(|text| credits(&text)).transpose()?,
    })
}

pub(super) fn credits(text: &str) -> Result<Arc<Credits>, DbError> {
    serde_json::from_str(text).map(Arc::new).map_err(|_| DbError::Corrupt("an event's credits cannot be read"))
}

/// A user's events of some moments, by key.
pub async fn list_of_user<C: ConnectionTrait>(conn: &C, user_id: &str, moments: &[i64]) -> Result<Vec<Event>, DbError> {
    let mut events = Vec::with_capacity(moments.len());
    for moments in moments.chunks(1_024) {
        let mut sql = SqlBuilder::new(conn, &format!("SELECT {COLUMNS} FROM event WHERE occurred_at_ms"));
        sql.bind_list(moments).push(" AND user_id = ").bind(user_id);
        sql.push(" ORDER BY occurred_at_ms, event_hash");
        for row in conn.query_all_raw(sql.build(conn)).await? {
            events.push(event(&row)?);
        }
    }
    Ok(events)
}

/// Everybody's events of a type at some moments, few enough for one statement.
pub async fn list_at<C: ConnectionTrait>(conn: &C, event_type: &str, moments: &[i64]) -> Result<Vec<Event>, DbError> {
    let mut sql = SqlBuilder::new(conn, &format!("SELECT {COLUMNS} FROM event WHERE occurred_at_ms"));
    sql.bind_list(moments).push(" AND event_type = ").bind(event_type);
    conn.query_all_raw(sql.build(conn)).await?.iter().map(event).collect()
}

/// Takes a user out of their events of some moments, and puts `nobody` in their place; returns how many there were.
/// What is counted by stays, and so does the key: an event that is sent again is known.
pub async fn erase_user(txn: &Transaction, user_id: &str, nobody: &str, moments: &[i64]) -> Result<u64, DbError> {
    let mut sql = SqlBuilder::new(txn, "UPDATE event SET user_id = ");
    sql.bind(nobody).push(", anonymous_id = NULL, event_id = '', properties = NULL WHERE occurred_at_ms");
    sql.bind_list(moments).push(" AND user_id = ").bind(user_id);
    Ok(txn.execute_raw(sql.build(txn)).await?.rows_affected())
}

/// When the oldest and the newest stored event happened; `None` while there is none.
pub async fn find_extent<C: ConnectionTrait>(conn: &C) -> Result<Option<Extent>, DbError> {
    // Two single-ended questions: each is one step down the primary key.
    let sql = "SELECT (SELECT MIN(occurred_at_ms) FROM event), (SELECT MAX(occurred_at_ms) FROM event)";
    let Some(row) = conn.query_one_raw(statement(conn, sql, vec![])).await? else { return Ok(None) };
    let oldest: Option<i64> = row.try_get_by_index(0)?;
    let extent = oldest.zip(row.try_get_by_index(1)?);
    Ok(extent.map(|(oldest_ms, newest_ms)| Extent { oldest_ms, newest_ms }))
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

/// Creates the partition `name` of `[from_ms, to_ms)` where it is missing. One process at a time: of two that find
/// it missing, the second would fail.
pub async fn create_partition(txn: &Transaction, name: &str, from_ms: i64, to_ms: i64) -> Result<(), DbError> {
    txn.execute_unprepared("SELECT pg_advisory_xact_lock(hashtext('backbeat event partitions'))").await?;
    // Names and bounds are made from numbers by the caller; DDL takes no parameters.
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS \"{name}\" PARTITION OF event FOR VALUES FROM ('{from_ms}') TO ('{to_ms}')"
    );
    txn.execute_unprepared(&sql).await?;
    Ok(())
}

/// When the oldest and the newest event before `before_ms` happened; `None` where there is none.
pub async fn find_extent_before<C: ConnectionTrait>(conn: &C, before_ms: i64) -> Result<Option<Extent>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT (SELECT MIN(occurred_at_ms) FROM event WHERE occurred_at_ms < ");
    sql.bind(before_ms).push("), (SELECT MAX(occurred_at_ms) FROM event WHERE occurred_at_ms < ");
    sql.bind(before_ms).push(")");
    let Some(row) = conn.query_one_raw(sql.build(conn)).await? else { return Ok(None) };
    let oldest: Option<i64> = row.try_get_by_index(0)?;
    let extent = oldest.zip(row.try_get_by_index(1)?);
    Ok(extent.map(|(oldest_ms, newest_ms)| Extent { oldest_ms, newest_ms }))
}

/// Removes the oldest events before `before_ms`, from a key on; returns how many, and the key of the next one, `None` where
/// there is no more.
pub async fn delete_oldest<C: ConnectionTrait>(
    conn: &C,
    from: Option<EventKey>,
    before_ms: i64,
    limit: u64,
) -> Result<(u64, Option<EventKey>), DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT occurred_at_ms, event_hash FROM event");
    push_stretch(&mut sql, from, before_ms);
    sql.push(" ORDER BY occurred_at_ms, event_hash LIMIT 1 OFFSET ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let next = conn.query_one_raw(sql.build(conn)).await?.map(|row| key(&row)).transpose()?;
    let mut sql = SqlBuilder::new(conn, "DELETE FROM event");
    push_stretch(&mut sql, from, before_ms);
    if let Some(next) = next {
        sql.push(" AND (occurred_at_ms, event_hash) < (").bind(next.occurred_at_ms);
        sql.push(", ").bind(next.hash.to_vec()).push(")");
    }
    Ok((conn.execute_raw(sql.build(conn)).await?.rows_affected(), next))
}

fn push_stretch(sql: &mut SqlBuilder, from: Option<EventKey>, before_ms: i64) {
    sql.push(" WHERE occurred_at_ms < ").bind(before_ms);
    if let Some(from) = from {
        // What was removed before is not looked through again.
        sql.push(" AND (occurred_at_ms, event_hash) >= (").bind(from.occurred_at_ms);
        sql.push(", ").bind(from.hash.to_vec()).push(")");
    }
}

/// The names of the log's partitions, where it is cut into any.
pub async fn list_partitions<C: ConnectionTrait>(conn: &C) -> Result<Vec<String>, DbError> {
    let sql = "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
               WHERE inhparent = 'event'::regclass ORDER BY relname";
    let rows = conn.query_all_raw(statement(conn, sql, vec![])).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Removes a partition with all that is in it; fails where somebody reads the log for longer than a moment, for
/// whoever comes after us would wait for them, too.
pub async fn drop_partition(txn: &Transaction, name: &str) -> Result<(), DbError> {
    txn.execute_unprepared("SET LOCAL lock_timeout = '500ms'").await?;
    // The name is one that the database told; DDL takes no parameters.
    txn.execute_unprepared(&format!("DROP TABLE \"{name}\"")).await?;
    Ok(())
}
