//! Listener sets, and the segments that wait to be merged into them.

use std::sync::{Arc, LazyLock};

use roaring::RoaringBitmap;
use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        entities::audience_segment,
        transaction::Arguments,
    },
    domain::entity::{EntityKind, EntityRef},
};

/// Everybody of a whole UTC day.
pub const WHOLE_DAY: &str = "all";

/// The segment of one hour of a day, `h00` to `h23`.
pub fn hour_segment(hour_of_day: i64) -> String {
    format!("h{hour_of_day:02}")
}

/// One stored set.
#[derive(Debug, Clone, PartialEq)]
pub struct AudienceRow {
    /// The UTC day, in epoch milliseconds.
    pub day: i64,
    pub entity: EntityRef,
    pub segment: String,
    pub listeners: RoaringBitmap,
}

static PUT: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO audience (day, entity_kind, entity_id, segment, listeners)",
        5,
        "ON CONFLICT (day, entity_kind, entity_id, segment) DO UPDATE SET listeners = excluded.listeners",
    )
});

/// Writes sets as they are given, over what was there. Rows are sorted by key.
pub async fn put(txn: &Transaction, rows: &[AudienceRow]) -> Result<(), DbError> {
    let bind = |row: &AudienceRow, arguments: &mut Arguments| {
        let mut bytes = Vec::with_capacity(row.listeners.serialized_size());
        row.listeners.serialize_into(&mut bytes).expect("memory can be written to");
        arguments.add(row.day);
        arguments.add(row.entity.kind.code());
        arguments.add(&row.entity.id);
        arguments.add(&*row.segment);
        arguments.add(bytes);
    };
    PUT.run(txn, rows, bind).await?;
    Ok(())
}

/// The stored sets of many entities of one kind on many days, only those segments.
pub async fn list<C: ConnectionTrait>(
    conn: &C,
    days: &[i64],
    kind: EntityKind,
    ids: &[Arc<str>],
    segments: &[String],
) -> Result<Vec<AudienceRow>, DbError> {
    let ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
    let mut rows = Vec::new();
    for days in days.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, SELECT);
        sql.push(" WHERE day").bind_list(days);
        sql.push(" AND entity_kind = ").bind(kind.code());
        sql.push(" AND entity_id").bind_list(&ids);
        sql.push(" AND segment").bind_list(segments);
        rows.extend(query(conn, sql).await?);
    }
    Ok(rows)
}

/// Every set of one kind on these days in one segment; for rankings by listeners.
pub async fn list_kind<C: ConnectionTrait>(
    conn: &C,
    days: &[i64],
    kind: EntityKind,
    segment: &str,
) -> Result<Vec<AudienceRow>, DbError> {
    let mut sql = SqlBuilder::new(conn, SELECT);
    sql.push(" WHERE day").bind_list(days);
    sql.push(" AND entity_kind = ").bind(kind.code());
    sql.push(" AND segment = ").bind(segment);
    query(conn, sql).await
}

/// Every set of one day, in key order.
pub async fn list_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<Vec<AudienceRow>, DbError> {
    let mut sql = SqlBuilder::new(conn, SELECT);
    sql.push(" WHERE day = ").bind(day).push(" ORDER BY entity_kind, entity_id, segment");
    query(conn, sql).await
}

const SELECT: &str = "SELECT day, entity_kind, entity_id, segment, listeners FROM audience";

async fn query<C: ConnectionTrait>(conn: &C, sql: SqlBuilder) -> Result<Vec<AudienceRow>, DbError> {
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter()
        .map(|row| {
            let kind =
                EntityKind::from_code(row.try_get_by_index(1)?).ok_or(DbError::Corrupt("unknown entity kind"))?;
            let id: String = row.try_get_by_index(2)?;
            let bytes: Vec<u8> = row.try_get_by_index(4)?;
            Ok(AudienceRow {
                day: row.try_get_by_index(0)?,
                entity: EntityRef::new(kind, id),
                segment: row.try_get_by_index(3)?,
                listeners: RoaringBitmap::deserialize_from(&bytes[..])
                    .map_err(|_| DbError::Corrupt("a listener set cannot be read"))?,
            })
        })
        .collect()
}

/// Removes every set of one day.
pub async fn delete_day<C: ConnectionTrait>(conn: &C, day: i64) -> Result<(), DbError> {
    let mut sql = SqlBuilder::new(conn, "DELETE FROM audience WHERE day = ");
    sql.bind(day);
    conn.execute_raw(sql.build(conn)).await?;
    Ok(())
}

/// Removes the hourly sets of one day; its whole-day sets stay.
pub async fn delete_hours<C: ConnectionTrait>(conn: &C, day: i64) -> Result<(), DbError> {
    let mut sql = SqlBuilder::new(conn, "DELETE FROM audience WHERE day = ");
    sql.bind(day).push(" AND segment <> ").bind(WHOLE_DAY);
    conn.execute_raw(sql.build(conn)).await?;
    Ok(())
}

/// The first day after `from` that has a set.
pub async fn find_next_day<C: ConnectionTrait>(conn: &C, from: i64) -> Result<Option<i64>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT MIN(day) FROM audience WHERE day >= ");
    sql.bind(from);
    let row = conn.query_one_raw(sql.build(conn)).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.flatten())
}

/// Appends a commit's segment.
pub async fn append_segment<C: ConnectionTrait>(conn: &C, id: &str, pairs: Vec<u8>) -> Result<(), DbError> {
    audience_segment::Entity::insert(audience_segment::ActiveModel { id: Set(id.to_owned()), pairs: Set(pairs) })
        .exec_without_returning(conn)
        .await?;
    Ok(())
}

/// The ids of all segments that wait, oldest first.
pub async fn list_segment_ids<C: ConnectionTrait>(conn: &C) -> Result<Vec<String>, DbError> {
    Ok(audience_segment::Entity::find()
        .select_only()
        .column(audience_segment::Column::Id)
        .order_by_asc(audience_segment::Column::Id)
        .into_tuple()
        .all(conn)
        .await?)
}

/// The segments of these ids that still wait.
pub async fn list_segments<C: ConnectionTrait>(conn: &C, ids: &[String]) -> Result<Vec<(String, Vec<u8>)>, DbError> {
    let mut segments = Vec::new();
    for chunk in ids.chunks(512) {
        let rows = audience_segment::Entity::find()
            .filter(audience_segment::Column::Id.is_in(chunk.iter().cloned()))
            .all(conn)
            .await?;
        segments.extend(rows.into_iter().map(|row| (row.id, row.pairs)));
    }
    Ok(segments)
}

/// Removes merged segments.
pub async fn delete_segments<C: ConnectionTrait>(conn: &C, ids: &[String]) -> Result<(), DbError> {
    for chunk in ids.chunks(512) {
        audience_segment::Entity::delete_many()
            .filter(audience_segment::Column::Id.is_in(chunk.iter().cloned()))
            .exec(conn)
            .await?;
    }
    Ok(())
}
