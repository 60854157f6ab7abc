//! The event log as it is listed: by stretches of keys, from either end.

use std::ops::Range;

use sea_orm::ConnectionTrait;

use super::events::{COLUMNS, event};
use crate::{
    db::{DbError, bulk::SqlBuilder},
    domain::{
        entity::EntityKind,
        event::{ERASED, Event, EventKey},
        event_filter::{EventJudge, Named},
    },
};

/// From which end a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Newest,
    Oldest,
}

impl End {
    const fn order(self) -> &'static str {
        match self {
            Self::Newest => " ORDER BY occurred_at_ms DESC, event_hash DESC",
            Self::Oldest => " ORDER BY occurred_at_ms, event_hash",
        }
    }
}

/// How far `rows` rows reach into a stretch, whatever they are: the key of the last one, and how many there are up to
/// it; `None` where there are none. Reads keys alone.
pub async fn find_step<C: ConnectionTrait>(
    conn: &C,
    stretch: &Range<EventKey>,
    from: End,
    rows: usize,
) -> Result<Option<(EventKey, usize)>, DbError> {
    let order = from.order();
    let mut sql = SqlBuilder::new(
        conn,
        &format!(
            "SELECT occurred_at_ms, event_hash, place FROM \
             (SELECT occurred_at_ms, event_hash, ROW_NUMBER() OVER ({order}) AS place FROM event"
        ),
    );
    push_stretch(&mut sql, stretch);
    sql.push(order).push(" LIMIT ").bind(i64::try_from(rows).unwrap_or(i64::MAX));
    sql.push(") AS looked ORDER BY place DESC LIMIT 1");
    let Some(row) = conn.query_one_raw(sql.build(conn)).await? else { return Ok(None) };
    let hash: Vec<u8> = row.try_get_by_index(1)?;
    let hash = hash.try_into().map_err(|_| DbError::Corrupt("an event's hash is not 16 bytes"))?;
    let place: i64 = row.try_get_by_index(2)?;
    Ok(Some((EventKey { occurred_at_ms: row.try_get_by_index(0)?, hash }, usize::try_from(place).unwrap_or(0))))
}

/// Events of a stretch that a judge may admit, in order: the columns are compared here, everything else is for the
/// judge. As many as there are: how far a stretch reaches is for [`find_step`] to say.
pub async fn list_stretch<C: ConnectionTrait>(
    conn: &C,
    stretch: &Range<EventKey>,
    from: End,
    judge: &EventJudge<'_>,
) -> Result<Vec<Event>, DbError> {
    let mut sql = SqlBuilder::new(conn, &format!("SELECT {COLUMNS} FROM event"));
    push_stretch(&mut sql, stretch);
    list_admissible(conn, sql, from, judge).await
}

/// The same of some moments, which are few enough for one statement.
pub async fn list_at<C: ConnectionTrait>(
    conn: &C,
    moments: &[i64],
    from: End,
    judge: &EventJudge<'_>,
) -> Result<Vec<Event>, DbError> {
    let mut sql = SqlBuilder::new(conn, &format!("SELECT {COLUMNS} FROM event WHERE occurred_at_ms"));
    sql.bind_list(moments);
    list_admissible(conn, sql, from, judge).await
}

async fn list_admissible<C: ConnectionTrait>(
    conn: &C,
    mut sql: SqlBuilder,
    from: End,
    judge: &EventJudge<'_>,
) -> Result<Vec<Event>, DbError> {
    push_not_erased(&mut sql);
    let filter = judge.filter;
    if let Some(types) = &filter.types {
        let types: Vec<&str> = types.iter().map(|name| &**name).collect();
        sql.push(" AND event_type").bind_list(&types);
    }
    for (column, value) in [("user_id", &filter.user_id), ("genre", &filter.genre), ("country", &filter.country)] {
        if let Some(value) = value {
            sql.push(&format!(" AND {column} = ")).bind(&**value);
        }
    }
    judge.named().iter().for_each(|named| push_named(&mut sql, named));
    sql.push(from.order());
    conn.query_all_raw(sql.build(conn)).await?.iter().map(event).collect()
}

/// Events of a stretch that were received since a moment, newest first.
pub async fn list_received<C: ConnectionTrait>(
    conn: &C,
    stretch: &Range<EventKey>,
    since_ms: i64,
) -> Result<Vec<Event>, DbError> {
    let mut sql = SqlBuilder::new(conn, &format!("SELECT {COLUMNS} FROM event"));
    push_stretch(&mut sql, stretch);
    push_not_erased(&mut sql);
    sql.push(" AND received_at_ms >= ").bind(since_ms).push(End::Newest.order());
    conn.query_all_raw(sql.build(conn)).await?.iter().map(event).collect()
}

fn push_stretch(sql: &mut SqlBuilder, stretch: &Range<EventKey>) {
    let Range { start, end } = stretch;
    // By time alone, too: partitions are told apart by it.
    sql.push(" WHERE occurred_at_ms >= ").bind(start.occurred_at_ms);
    sql.push(" AND occurred_at_ms <= ").bind(end.occurred_at_ms);
    for (comparison, key) in [(">=", start), ("<", end)] {
        sql.push(&format!(" AND (occurred_at_ms, event_hash) {comparison} (")).bind(key.occurred_at_ms);
        sql.push(", ").bind(key.hash.to_vec()).push(")");
    }
}

fn push_not_erased(sql: &mut SqlBuilder) {
    sql.push(" AND (user_id IS NULL OR substr(user_id, 1, 1) <> ").bind(ERASED).push(")");
}

/// What the event itself names, and what its credits may hold.
fn push_named(sql: &mut SqlBuilder, named: &Named) {
    let column = match named.kind {
        EntityKind::Song => "song_id",
        EntityKind::Album => "album_id",
        EntityKind::Playlist => "playlist_id",
        _ => "artist_id",
    };
    let ids: Vec<&str> = named.ids.iter().map(|id| &**id).collect();
    sql.push(&format!(" AND ({column}")).bind_list(&ids);
    if !matches!(named.kind, EntityKind::Song | EntityKind::Playlist) {
        for id in ids {
            sql.push(" OR credits LIKE ").bind(holding(id)).push(" ESCAPE '!'");
        }
    }
    sql.push(")");
}

/// A pattern of texts that hold an id as JSON writes it.
fn holding(id: &str) -> String {
    let mut pattern = "%".to_owned();
    for letter in serde_json::Value::from(id).to_string().chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}
