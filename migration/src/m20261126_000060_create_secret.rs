//! What this database alone knows: the key of the names that stand for people where they are not shown.

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
                    .table(Alias::new("secret"))
                    .col(text(manager, "name").not_null())
                    .col(bytes("value").not_null())
                    .primary_key(&mut primary_key(&["name"]))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["secret"]).await
    }
}
