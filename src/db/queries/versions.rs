//! Numbers that say which state of the catalogue, or of who is known, is stored; each change raises one. They are what
//! other processes look at.

use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseBackend, EntityTrait, QueryFilter};

use crate::db::{DbError, bulk::SqlBuilder, entities::sequence_block, queries::listeners::lease_block};

/// What the catalogue's owner says.
pub const CATALOGUE: &str = "catalogue";
/// Which ids are one thing.
pub const MERGES: &str = "merges";

/// Who was erased: whoever remembers which number stands for whom forgets it when this is raised.
pub const ERASURES: &str = "erasures";

/// Raises a number. The row stays locked until the transaction ends, so those who change the same thing do
/// so one after the other.
pub async fn raise<C: ConnectionTrait>(conn: &C, name: &str) -> Result<i64, DbError> {
    Ok(lease_block(conn, name, 1).await? + 1)
}

/// The numbers of the catalogue and of the merges; 0 while there was no change.
pub async fn find<C: ConnectionTrait>(conn: &C) -> Result<(i64, i64), DbError> {
    let names = [CATALOGUE, MERGES];
    let rows = sequence_block::Entity::find().filter(sequence_block::Column::Name.is_in(names)).all(conn).await?;
    let of = |name: &str| rows.iter().find(|row| row.name == name).map_or(0, |row| row.next_value);
    Ok((of(CATALOGUE), of(MERGES)))
}

/// The number of erasures, which nobody raises until this transaction ends.
pub async fn hold_erasures<C: ConnectionTrait>(conn: &C) -> Result<i64, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT next_value FROM sequence_block WHERE name = ");
    sql.bind(ERASURES);
    if conn.get_database_backend() == DatabaseBackend::Postgres {
        sql.push(" FOR SHARE");
    }
    let row = conn.query_one_raw(sql.build(conn)).await?;
    row.ok_or(DbError::Corrupt("the number of erasures vanished"))?.try_get_by_index(0).map_err(Into::into)
}
