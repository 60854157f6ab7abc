//! What this database alone knows.

use sea_orm::ConnectionTrait;

use crate::db::{Database, DbError, bulk::SqlBuilder};

/// The secret of this name. Where there is none yet, `proposed` becomes it; of two processes that propose one, the
/// first one's counts for both.
pub async fn find_or_keep(database: &Database, name: &str, proposed: [u8; 32]) -> Result<[u8; 32], DbError> {
    if let Some(known) = find(database.reader(), name).await? {
        return Ok(known);
    }
    let writer = database.writer();
    let mut sql = SqlBuilder::new(writer, "INSERT INTO secret (name, value) VALUES (");
    sql.bind(name).push(", ").bind(proposed.to_vec()).push(") ON CONFLICT (name) DO NOTHING");
    writer.execute_raw(sql.build(writer)).await?;
    find(writer, name).await?.ok_or(DbError::Corrupt("a secret was not kept"))
}

async fn find<C: ConnectionTrait>(conn: &C, name: &str) -> Result<Option<[u8; 32]>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT value FROM secret WHERE name = ");
    sql.bind(name);
    let Some(row) = conn.query_one_raw(sql.build(conn)).await? else { return Ok(None) };
    let value: Vec<u8> = row.try_get_by_index(0)?;
    value.try_into().map(Some).map_err(|_| DbError::Corrupt("a secret is not 32 bytes"))
}
