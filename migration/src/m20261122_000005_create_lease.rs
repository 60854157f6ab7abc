//! What of many processes only one may do or hold: writer slots, jobs, blocks of listener numbers.

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
                    .table(Alias::new("lease"))
                    .col(text(manager, "name").not_null())
                    .col(text(manager, "holder").not_null())
                    .col(long("expires_at_ms").not_null())
                    .primary_key(&mut primary_key(&["name"]))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("sequence_block"))
                    .col(text(manager, "name").not_null())
                    .col(long("next_value").not_null())
                    .primary_key(&mut primary_key(&["name"]))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["sequence_block", "lease"]).await
    }
}
