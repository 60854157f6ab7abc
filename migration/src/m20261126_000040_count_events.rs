//! How often anything happened: of each type of event, and on the whole platform. Both are kept like entities, under
//! kinds of their own (6 and 7). Of events from before, `backbeat rebuild` counts them.

use sea_orm_migration::prelude::*;

use crate::columns::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add = Table::alter().table(Alias::new("rollup")).add_column(count("events")).to_owned();
        manager.alter_table(add).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["rollup", "money_rollup", "audience_day"] {
            let delete = format!("DELETE FROM {table} WHERE entity_kind IN (6, 7)");
            manager.get_connection().execute_unprepared(&delete).await?;
        }
        let drop = Table::alter().table(Alias::new("rollup")).drop_column(Alias::new("events")).to_owned();
        manager.alter_table(drop).await
    }
}
