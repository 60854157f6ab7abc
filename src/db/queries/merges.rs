//! Which ids are one thing.

use sea_orm::ConnectionTrait;

use crate::{
    db::{DbError, bulk::SqlBuilder, statement},
    domain::{
        entity::{EntityKind, EntityRef},
        merge::Merge,
    },
};

/// All merges, by what is merged.
pub async fn list_all<C: ConnectionTrait>(conn: &C) -> Result<Vec<Merge>, DbError> {
    let sql = "SELECT entity_kind, from_id, into_id FROM entity_merge ORDER BY entity_kind, from_id";
    let rows = conn.query_all_raw(statement(conn, sql, vec![])).await?;
    rows.iter()
        .map(|row| {
            let kind = EntityKind::from_code(row.try_get_by_index(0)?);
            let kind = kind.ok_or(DbError::Corrupt("unknown entity kind"))?;
            let (from, into): (String, String) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            Ok(Merge { from: EntityRef::new(kind, from), into_id: into.into() })
        })
        .collect()
}

pub async fn insert<C: ConnectionTrait>(conn: &C, merge: &Merge, now_ms: i64) -> Result<(), DbError> {
    let mut sql =
        SqlBuilder::new(conn, "INSERT INTO entity_merge (entity_kind, from_id, into_id, merged_at_ms) VALUES (");
    sql.bind(merge.from.kind.code()).push(", ").bind(&*merge.from.id).push(", ").bind(&*merge.into_id);
    sql.push(", ").bind(now_ms).push(")");
    conn.execute_raw(sql.build(conn)).await?;
    Ok(())
}

/// Takes a merge back; false where there was none.
pub async fn delete<C: ConnectionTrait>(conn: &C, from: &EntityRef) -> Result<bool, DbError> {
    let mut sql = SqlBuilder::new(conn, "DELETE FROM entity_merge WHERE entity_kind = ");
    sql.bind(from.kind.code()).push(" AND from_id = ").bind(&*from.id);
    Ok(conn.execute_raw(sql.build(conn)).await?.rows_affected() > 0)
}
