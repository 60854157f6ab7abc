//! Leases: what of many processes one may hold. A lease only saves work or contention; whatever must
//! not happen twice is also safe when it does.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};

use crate::db::{DbError, Transaction, entities::lease};

/// What the leases of writer slots begin with: each is held by a process that stores events.
pub const WRITER_SLOT: &str = "writer-slot-";

/// Takes or renews a lease; false while somebody else holds it. Inside a transaction this also locks
/// the lease's row until the end.
pub async fn try_acquire<C: ConnectionTrait>(
    conn: &C,
    name: &str,
    holder: &str,
    now_ms: i64,
    length_ms: i64,
) -> Result<bool, DbError> {
    lease::Entity::insert(lease::ActiveModel {
        name: Set(name.to_owned()),
        holder: Set(String::new()),
        expires_at_ms: Set(0),
    })
    .on_conflict(OnConflict::column(lease::Column::Name).do_nothing().to_owned())
    .exec_without_returning(conn)
    .await?;
    let taken = lease::Entity::update_many()
        .col_expr(lease::Column::Holder, Expr::value(holder))
        .col_expr(lease::Column::ExpiresAtMs, Expr::value(now_ms + length_ms))
        .filter(lease::Column::Name.eq(name))
        .filter(Condition::any().add(lease::Column::Holder.eq(holder)).add(lease::Column::ExpiresAtMs.lt(now_ms)))
        .exec(conn)
        .await?;
    Ok(taken.rows_affected == 1)
}

/// Takes a lease from whoever holds it. They find out in the transaction in which they next do something under it.
pub async fn seize(txn: &Transaction, name: &str, holder: &str, until_ms: i64) -> Result<(), DbError> {
    let taken =
        lease::ActiveModel { name: Set(name.to_owned()), holder: Set(holder.to_owned()), expires_at_ms: Set(until_ms) };
    let columns = [lease::Column::Holder, lease::Column::ExpiresAtMs];
    lease::Entity::insert(taken)
        .on_conflict(OnConflict::column(lease::Column::Name).update_columns(columns).to_owned())
        .exec_without_returning(txn)
        .await?;
    Ok(())
}

/// Whether anybody else holds a lease whose name begins so.
pub async fn is_any_held<C: ConnectionTrait>(
    conn: &C,
    prefix: &str,
    holder: &str,
    now_ms: i64,
) -> Result<bool, DbError> {
    let others = lease::Entity::find()
        .filter(lease::Column::Name.starts_with(prefix))
        .filter(lease::Column::Holder.ne(holder))
        .filter(lease::Column::ExpiresAtMs.gte(now_ms));
    Ok(others.one(conn).await?.is_some())
}

/// Lets go of a lease, if it is still ours.
pub async fn release<C: ConnectionTrait>(conn: &C, name: &str, holder: &str) -> Result<(), DbError> {
    lease::Entity::update_many()
        .col_expr(lease::Column::ExpiresAtMs, Expr::value(0))
        .filter(lease::Column::Name.eq(name))
        .filter(lease::Column::Holder.eq(holder))
        .exec(conn)
        .await?;
    Ok(())
}
