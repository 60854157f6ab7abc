//! What each user did, in order: rows of one UTC day and one block of users, in parts that grow as they are merged.

use sea_orm_migration::prelude::*;

use crate::columns::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("trail"))
                    .col(long("day").not_null())
                    // A number, as text like every column that tables may be distributed by.
                    .col(text(manager, "users").not_null())
                    .col(small("part").not_null())
                    // The short columns come first: a row is read only as far as it is asked for.
                    .col(long("steps").not_null())
                    .col(bytes("who").not_null())
                    .col(bytes("marks").not_null())
                    .col(bytes("packed").not_null())
                    .primary_key(&mut primary_key(&["day", "users", "part"]))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["trail"]).await
    }
}
