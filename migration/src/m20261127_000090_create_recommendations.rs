//! What recommendations are told from: items by number, their neighbours, what each listener took to; what listeners
//! do not want to be told; and how well it foretells.

use sea_orm_migration::prelude::*;

use crate::columns::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let create = |table: &'static str| Table::create().table(Alias::new(table)).to_owned();
        manager
            .create_table(
                create("item")
                    .col(long("number").not_null())
                    .col(small("entity_kind").not_null())
                    .col(text(manager, "entity_id").not_null())
                    .primary_key(&mut primary_key(&["number"]))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("item_by_entity")
                    .table(Alias::new("item"))
                    .col(Alias::new("entity_kind"))
                    .col(Alias::new("entity_id"))
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                create("neighbours")
                    .col(long("number").not_null())
                    .col(bytes("packed").not_null())
                    .primary_key(&mut primary_key(&["number"]))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                create("taste")
                    // A number, as text like every column that tables may be distributed by.
                    .col(text(manager, "listener").not_null())
                    .col(long("before_ms").not_null())
                    .col(bytes("settled").not_null())
                    .col(bytes("recent").not_null())
                    .primary_key(&mut primary_key(&["listener"]))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                create("recommendation_run")
                    .col(small("id").not_null())
                    .col(small("method").not_null())
                    .col(long("before_ms").not_null())
                    .col(long("began_at_ms").not_null())
                    .col(long("finished_at_ms").null())
                    .primary_key(&mut primary_key(&["id"]))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                create("dismissal")
                    .col(text(manager, "user_id").not_null())
                    .col(small("entity_kind").not_null())
                    .col(text(manager, "entity_id").not_null())
                    .col(long("dismissed_at_ms").not_null())
                    .col(long("expires_at_ms").null())
                    .primary_key(&mut primary_key(&["user_id", "entity_kind", "entity_id"]))
                    .extra(storage(manager, ""))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                create("recommendation_quality")
                    .col(small("entity_kind").not_null())
                    .col(long("measured_at_ms").not_null())
                    .col(text(manager, "measured").not_null())
                    .primary_key(&mut primary_key(&["entity_kind", "measured_at_ms"]))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = ["recommendation_quality", "dismissal", "recommendation_run", "taste", "neighbours", "item"];
        drop_tables(manager, &tables).await
    }
}
