//! Charts and their entries. Rows are added and never changed: a correction is a new revision.

use sea_orm_migration::prelude::*;

use crate::columns::*;

/// Which charts follow one another; `''` is every genre, every country.
const SERIES: [&str; 4] = ["entity_kind", "cadence", "genre", "country"];

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut chart = in_series(manager, "chart");
        chart
            .col(long("period_start").not_null())
            .col(small("revision").not_null())
            .col(long("period_end").not_null())
            .col(long("published_at_ms").not_null())
            .primary_key(&mut primary_key(&[&SERIES[..], &["period_start", "revision"]].concat()))
            .extra(storage(manager, ""));
        manager.create_table(chart).await?;

        let mut entry = in_series(manager, "chart_entry");
        entry
            .col(long("period_start").not_null())
            .col(small("revision").not_null())
            .col(text(manager, "entity_id").not_null())
            // None for an entity that was on the chart before and is not on this one.
            .col(small("position"))
            .col(small("previous_position"))
            .col(small("peak_position").not_null())
            .col(long("peak_start").not_null())
            .col(ColumnDef::new(Alias::new("periods")).integer().not_null())
            .col(ColumnDef::new(Alias::new("streak")).integer().not_null())
            .col(small("movement").not_null())
            .col(long("value").not_null())
            .primary_key(&mut primary_key(&[&SERIES[..], &["period_start", "revision", "entity_id"]].concat()))
            .extra(storage(manager, ""));
        manager.create_table(entry).await?;
        // For an entity's last entry, from which its next one follows, and for its history.
        manager
            .create_index(
                Index::create()
                    .name("chart_entry_by_entity")
                    .table(Alias::new("chart_entry"))
                    .col(Alias::new("entity_id"))
                    .col(Alias::new("entity_kind"))
                    .col(Alias::new("cadence"))
                    .col(Alias::new("genre"))
                    .col(Alias::new("country"))
                    .col(Alias::new("period_start"))
                    .to_owned(),
            )
            .await?;

        manager
            .create_table(
                Table::create()
                    .table(Alias::new("chart_period"))
                    .col(small("entity_kind").not_null())
                    .col(small("cadence").not_null())
                    .col(long("period_start").not_null())
                    .col(long("counted_at_ms").not_null())
                    .primary_key(&mut primary_key(&["entity_kind", "cadence", "period_start"]))
                    .extra(storage(manager, ""))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["chart_period", "chart_entry", "chart"]).await
    }
}

fn in_series(manager: &SchemaManager<'_>, name: &'static str) -> TableCreateStatement {
    Table::create()
        .table(Alias::new(name))
        .col(small("entity_kind").not_null())
        .col(small("cadence").not_null())
        .col(text(manager, "genre").not_null())
        .col(text(manager, "country").not_null())
        .to_owned()
}
