//! What of the past is no longer all there: a single row, written before anything is removed.

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
                    .table(Alias::new("keeping"))
                    .col(small("id").not_null())
                    .col(long("sealed_before_ms").null())
                    .col(long("sealed_at_ms").null())
                    .col(long("oldest_ms").null())
                    .col(long("newest_ms").null())
                    .col(long("hours_before_ms").null())
                    .col(long("folded_before_ms").null())
                    .primary_key(&mut primary_key(&["id"]))
                    .to_owned(),
            )
            .await?;
        // The row is there from the beginning, so that it can be locked.
        manager.get_connection().execute_unprepared("INSERT INTO keeping (id) VALUES (1)").await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["keeping"]).await
    }
}
