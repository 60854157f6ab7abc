//! Who listened, when and from where: one packed row for each entity and day, instead of sets by day and hour; the
//! facts that wait to be merged into them; each market's listeners; numbers for people who are not signed in.
//!
//! Sets of the old form do not say where anybody listened from, so they are not carried over: `backbeat rebuild`
//! makes the days from the log.

use sea_orm_migration::prelude::*;

use crate::{columns::*, m20261122_000003_create_audience};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        m20261122_000003_create_audience::Migration.down(manager).await?;
        // Rows with sets are long. Kept in the tree of their keys, as other tables are on SQLite, each comparison of a key
        // would read one as a whole; so these have a tree of rows beside it.
        for create in [
            Table::create()
                .table(Alias::new("audience_day"))
                .col(long("day").not_null())
                .col(small("entity_kind").not_null())
                .col(text(manager, "entity_id").not_null())
                // The short columns come first: a row is read only as far as it is asked for.
                .col(bytes("listeners").not_null())
                .col(bytes("active").not_null())
                .col(bytes("cells").not_null())
                .col(bytes("detail").not_null())
                .primary_key(&mut primary_key(&["day", "entity_kind", "entity_id"])),
            Table::create()
                .table(Alias::new("market_day"))
                .col(long("day").not_null())
                .col(text(manager, "country").not_null())
                .col(bytes("listeners").not_null())
                .primary_key(&mut primary_key(&["day", "country"])),
            Table::create()
                .table(Alias::new("audience_segment"))
                .col(long("block").not_null())
                .col(long("number").not_null())
                .col(bytes("facts").not_null())
                .primary_key(&mut primary_key(&["block", "number"])),
        ] {
            manager.create_table(create.to_owned()).await?;
        }
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("anonymous_listener"))
                    .col(text(manager, "anonymous_id").not_null())
                    .col(long("number").not_null())
                    .primary_key(&mut primary_key(&["anonymous_id"]))
                    .extra(storage(manager, ""))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["audience_segment", "anonymous_listener", "market_day", "audience_day"]).await?;
        m20261122_000003_create_audience::Migration.up(manager).await
    }
}
