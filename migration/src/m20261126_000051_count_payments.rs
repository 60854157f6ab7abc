//! How many payments a sum of money is made of. Of events from before, `backbeat rebuild` counts them.

use sea_orm_migration::prelude::*;

use crate::columns::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let add = Table::alter().table(Alias::new("money_rollup")).add_column(count("payments")).to_owned();
        manager.alter_table(add).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Table::alter().table(Alias::new("money_rollup")).drop_column(Alias::new("payments")).to_owned();
        manager.alter_table(drop).await
    }
}
