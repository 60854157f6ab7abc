//! Which genres songs, albums and artists have: several each, and found from either side.

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
                    .table(Alias::new("entity_genre"))
                    .col(small("entity_kind").not_null())
                    .col(text(manager, "entity_id").not_null())
                    .col(text(manager, "genre").not_null())
                    .primary_key(&mut primary_key(&["entity_kind", "entity_id", "genre"]))
                    .extra(storage(manager, ""))
                    .to_owned(),
            )
            .await?;
        // For everything of one genre: rankings and charts.
        manager
            .create_index(
                Index::create()
                    .name("entity_by_genre")
                    .table(Alias::new("entity_genre"))
                    .col(Alias::new("genre"))
                    .col(Alias::new("entity_kind"))
                    .col(Alias::new("entity_id"))
                    .to_owned(),
            )
            .await?;
        let known = "INSERT INTO entity_genre (entity_kind, entity_id, genre) \
                     SELECT 1, id, genre FROM song WHERE genre IS NOT NULL";
        manager.get_connection().execute_unprepared(known).await.map(|_| ())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["entity_genre"]).await
    }
}
