//! The numbers that stand for people in the audience sets.

use std::sync::{Arc, LazyLock};

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::OnConflict};

use crate::db::{
    DbError, Transaction,
    bulk::BulkInsert,
    entities::{listener, sequence_block},
    transaction::Arguments,
};

static INSERT: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO listener (user_id, number)", 2, "ON CONFLICT (user_id) DO NOTHING"));

/// The numbers of those of `user_ids` that have one.
pub async fn list_numbers<C: ConnectionTrait>(conn: &C, user_ids: &[&str]) -> Result<Vec<(String, u32)>, DbError> {
    let mut numbers = Vec::with_capacity(user_ids.len());
    for chunk in user_ids.chunks(10_000) {
        let rows =
            listener::Entity::find().filter(listener::Column::UserId.is_in(chunk.iter().copied())).all(conn).await?;
        for row in rows {
            let number =
                u32::try_from(row.number).map_err(|_| DbError::Corrupt("a listener's number is not 32 bits"))?;
            numbers.push((row.user_id, number));
        }
    }
    Ok(numbers)
}

/// Gives each new person a number and returns how many got one; whoever another process was faster with
/// keeps the other number.
pub async fn insert_numbers(txn: &Transaction, numbers: &[(&Arc<str>, u32)]) -> Result<u64, DbError> {
    let bind = |(user_id, number): &(&Arc<str>, u32), arguments: &mut Arguments| {
        arguments.add(*user_id);
        arguments.add(i64::from(*number));
    };
    INSERT.run(txn, numbers, bind).await
}

/// Takes `length` numbers that nobody else will get; returns the first.
pub async fn lease_block<C: ConnectionTrait>(conn: &C, name: &str, length: i64) -> Result<i64, DbError> {
    sequence_block::Entity::insert(sequence_block::ActiveModel { name: Set(name.to_owned()), next_value: Set(0) })
        .on_conflict(OnConflict::column(sequence_block::Column::Name).do_nothing().to_owned())
        .exec_without_returning(conn)
        .await?;
    // The update locks the row, so what is read after it in this transaction is ours.
    sequence_block::Entity::update_many()
        .col_expr(
            sequence_block::Column::NextValue,
            sea_orm::sea_query::ExprTrait::add(
                sea_orm::sea_query::Expr::col(sequence_block::Column::NextValue),
                length,
            ),
        )
        .filter(sequence_block::Column::Name.eq(name))
        .exec(conn)
        .await?;
    let row = sequence_block::Entity::find_by_id(name.to_owned()).one(conn).await?;
    Ok(row.ok_or(DbError::Corrupt("a block of numbers vanished"))?.next_value - length)
}
