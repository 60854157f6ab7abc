//! What of the past is no longer all there.

use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QuerySelect};

use crate::{
    db::{DbError, Transaction, entities::keeping, queries::events},
    domain::{commit::Extent, keeping::Keeping},
};

const ID: i16 = 1;

/// How it stands.
pub async fn find<C: ConnectionTrait>(conn: &C) -> Result<Keeping, DbError> {
    Ok(keeping::Entity::find_by_id(ID).one(conn).await?.map(keeping).unwrap_or_default())
}

/// The same, and when the events happened that were ever counted.
pub async fn find_counted<C: ConnectionTrait>(conn: &C) -> Result<(Keeping, Option<Extent>), DbError> {
    let keeping = find(conn).await?;
    Ok((keeping, keeping.counted(events::find_extent(conn).await?)))
}

/// How it stands; until the transaction ends nobody changes it.
pub async fn lock(txn: &Transaction) -> Result<Keeping, DbError> {
    Ok(keeping::Entity::find_by_id(ID).lock_exclusive().one(txn).await?.map(keeping).unwrap_or_default())
}

/// Changes it.
pub async fn put(txn: &Transaction, keeping: &Keeping) -> Result<(), DbError> {
    let row = keeping::ActiveModel {
        id: Set(ID),
        sealed_before_ms: Set(keeping.sealed_before_ms),
        sealed_at_ms: Set(keeping.sealed_at_ms),
        oldest_ms: Set(keeping.removed.map(|extent| extent.oldest_ms)),
        newest_ms: Set(keeping.removed.map(|extent| extent.newest_ms)),
        hours_before_ms: Set(keeping.hours_before_ms),
        folded_before_ms: Set(keeping.folded_before_ms),
    };
    keeping::Entity::update(row).exec(txn).await?;
    Ok(())
}

fn keeping(row: keeping::Model) -> Keeping {
    let removed = row.oldest_ms.zip(row.newest_ms);
    Keeping {
        sealed_before_ms: row.sealed_before_ms,
        sealed_at_ms: row.sealed_at_ms,
        removed: removed.map(|(oldest_ms, newest_ms)| Extent { oldest_ms, newest_ms }),
        hours_before_ms: row.hours_before_ms,
        folded_before_ms: row.folded_before_ms,
    }
}
