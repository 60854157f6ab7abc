//! Who listened: exact sets by day (and by hour while recent), and the segments that each commit
//! appends until they are merged into them.

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
                    .table(Alias::new("audience"))
                    .col(long("day").not_null())
                    .col(small("entity_kind").not_null())
                    .col(text(manager, "entity_id").not_null())
                    .col(text(manager, "segment").not_null())
                    .col(bytes("listeners").not_null())
                    .primary_key(&mut primary_key(&["day", "entity_kind", "entity_id", "segment"]))
                    .extra(storage(manager, ""))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("audience_segment"))
                    .col(text(manager, "id").not_null())
                    .col(bytes("pairs").not_null())
                    .primary_key(&mut primary_key(&["id"]))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["audience_segment", "audience"]).await
    }
}
