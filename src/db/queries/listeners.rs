//! The numbers that stand for people in the audience.

use std::sync::{Arc, LazyLock};

use sea_orm::{ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, sea_query::OnConflict};

use crate::db::{
    DbError, Transaction,
    bulk::{BulkInsert, SqlBuilder},
    entities::sequence_block,
    transaction::Arguments,
};

/// Whose numbers: those of the two are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum People {
    /// By user id.
    Identified,
    /// By anonymous id.
    Anonymous,
}

static INSERT: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO listener (user_id, number)", 2, "ON CONFLICT (user_id) DO NOTHING"));

static INSERT_ANONYMOUS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("INSERT INTO anonymous_listener (anonymous_id, number)", 2, "ON CONFLICT (anonymous_id) DO NOTHING")
});

/// The numbers of those of `ids` that have one.
pub async fn list_numbers<C: ConnectionTrait>(
    conn: &C,
    people: People,
    ids: &[&str],
) -> Result<Vec<(String, u32)>, DbError> {
    let select = match people {
        People::Identified => "SELECT user_id, number FROM listener WHERE user_id",
        People::Anonymous => "SELECT anonymous_id, number FROM anonymous_listener WHERE anonymous_id",
    };
    let mut numbers = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(8_192) {
        let mut sql = SqlBuilder::new(conn, select);
        sql.bind_list(chunk);
        for row in conn.query_all_raw(sql.build(conn)).await? {
            let number: i64 = row.try_get_by_index(1)?;
            let number = u32::try_from(number).map_err(|_| DbError::Corrupt("a listener's number is not 32 bits"))?;
            numbers.push((row.try_get_by_index(0)?, number));
        }
    }
    Ok(numbers)
}

/// Gives each new person a number and returns how many got one; whoever another process was faster with
/// keeps the other number.
pub async fn insert_numbers(txn: &Transaction, people: People, numbers: &[(&Arc<str>, u32)]) -> Result<u64, DbError> {
    let bind = |(id, number): &(&Arc<str>, u32), arguments: &mut Arguments| {
        arguments.add(*id);
        arguments.add(i64::from(*number));
    };
    match people {
        People::Identified => INSERT.run(txn, numbers, bind).await,
        People::Anonymous => INSERT_ANONYMOUS.run(txn, numbers, bind).await,
    }
}

/// Gives a user's number to another id. The old row goes: the id is what tables may be distributed by.
pub async fn rename(txn: &Transaction, user_id: &str, new_id: &str, number: u32) -> Result<(), DbError> {
    let mut sql = SqlBuilder::new(txn, "DELETE FROM listener WHERE user_id = ");
    sql.bind(user_id);
    txn.execute_raw(sql.build(txn)).await?;
    insert_numbers(txn, People::Identified, &[(&Arc::from(new_id), number)]).await?;
    Ok(())
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
