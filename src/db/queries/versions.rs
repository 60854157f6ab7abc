//! Numbers that say which state of the catalogue is stored; each change raises one. They are what other
//! processes look at.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter};

use crate::db::{DbError, entities::sequence_block, queries::listeners::lease_block};

/// What the catalogue's owner says.
pub const CATALOGUE: &str = "catalogue";
/// Which ids are one thing.
pub const MERGES: &str = "merges";

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
