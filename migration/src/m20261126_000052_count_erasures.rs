//! How many people were erased: a number that is there from the beginning, so that committers can hold on to it.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let insert = "INSERT INTO sequence_block (name, next_value) VALUES ('erasures', 0)";
        manager.get_connection().execute_unprepared(insert).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared("DELETE FROM sequence_block WHERE name = 'erasures'").await?;
        Ok(())
    }
}
