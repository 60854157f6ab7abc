//! What people do not want to be recommended.

use sea_orm::{ConnectionTrait, QueryResult};

use super::catalogue::entity;
use crate::{
    db::{DbError, bulk::SqlBuilder},
    domain::entity::EntityRef,
};

/// What somebody dismissed, of an artist all that is theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dismissal {
    pub entity: EntityRef,
    pub dismissed_at_ms: i64,
    /// When it ends; never if absent.
    pub expires_at_ms: Option<i64>,
}

/// Notes a dismissal, in the place of an earlier one of the same.
pub async fn put<C: ConnectionTrait>(conn: &C, user_id: &str, dismissal: &Dismissal) -> Result<(), DbError> {
    let insert = "INSERT INTO dismissal (user_id, entity_kind, entity_id, dismissed_at_ms, expires_at_ms) VALUES (";
    let mut sql = SqlBuilder::new(conn, insert);
    sql.bind(user_id).push(", ").bind(dismissal.entity.kind.code()).push(", ").bind(&*dismissal.entity.id);
    sql.push(", ").bind(dismissal.dismissed_at_ms).push(", ").bind(dismissal.expires_at_ms);
    sql.push(") ON CONFLICT (user_id, entity_kind, entity_id) DO UPDATE SET ");
    sql.push("dismissed_at_ms = excluded.dismissed_at_ms, expires_at_ms = excluded.expires_at_ms");
    conn.execute_raw(sql.build(conn)).await?;
    Ok(())
}

/// Takes a dismissal back; whether there was one.
pub async fn delete<C: ConnectionTrait>(conn: &C, user_id: &str, of: &EntityRef) -> Result<bool, DbError> {
    let mut sql = SqlBuilder::new(conn, "DELETE FROM dismissal WHERE user_id = ");
    sql.bind(user_id).push(" AND entity_kind = ").bind(of.kind.code()).push(" AND entity_id = ").bind(&*of.id);
    Ok(conn.execute_raw(sql.build(conn)).await?.rows_affected() > 0)
}

/// Forgets everything that somebody dismissed; returns how much that was.
pub async fn delete_all_of<C: ConnectionTrait>(conn: &C, user_id: &str) -> Result<u64, DbError> {
    let mut sql = SqlBuilder::new(conn, "DELETE FROM dismissal WHERE user_id = ");
    sql.bind(user_id);
    Ok(conn.execute_raw(sql.build(conn)).await?.rows_affected())
}

/// Everything that somebody dismissed, also what has ended; the first one first.
pub async fn list_of<C: ConnectionTrait>(conn: &C, user_id: &str) -> Result<Vec<Dismissal>, DbError> {
    let select = "SELECT entity_kind, entity_id, dismissed_at_ms, expires_at_ms FROM dismissal WHERE user_id = ";
    let mut sql = SqlBuilder::new(conn, select);
    sql.bind(user_id).push(" ORDER BY dismissed_at_ms, entity_kind, entity_id");
    let dismissal = |row: &QueryResult| {
        let (dismissed_at_ms, expires_at_ms) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
        Ok(Dismissal { entity: entity(row)?, dismissed_at_ms, expires_at_ms })
    };
    conn.query_all_raw(sql.build(conn)).await?.iter().map(dismissal).collect()
}
