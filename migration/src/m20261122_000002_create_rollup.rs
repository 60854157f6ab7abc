//! Counters by bucket and entity. The bucket comes first in the key, so that writes land in the
//! newest pages; the writer's slot comes last, so that two writers never meet in one row.

use sea_orm_migration::prelude::*;

use crate::columns::*;

const KEY: [&str; 4] = ["grain", "bucket", "entity_kind", "entity_id"];
const COUNTERS: [&str; 16] = [
    "plays",
    "streams",
    "skips",
    "listening_ms",
    "completed_plays",
    "measured_plays",
    "likes",
    "unlikes",
    "shares",
    "saves",
    "unsaves",
    "playlist_adds",
    "follows",
    "unfollows",
    "purchases",
    "refunds",
];
/// Rows are updated in place while their bucket is open: the free space keeps those updates on their page.
const POSTGRES_STORAGE: &str = "WITH (fillfactor = 70)";

/// For an artist's songs and albums over many days, on most of which most of them have nothing: the key would
/// take a seek for each work and day. Days alone (grain 1), because a row of a day is added once and then
/// updated, which leaves the index as it is; songs and albums alone (kinds 1 and 2), because nobody asks for
/// hundreds of the others at once.
const WORKS_BY_ID: &str = "CREATE INDEX rollup_works_by_id ON rollup (entity_kind, entity_id, bucket) \
                           WHERE grain = 1 AND entity_kind <= 2";

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut rollup = keyed(manager, "rollup");
        rollup.col(small("slot").not_null());
        for counter in COUNTERS {
            rollup.col(count(counter));
        }
        rollup.primary_key(&mut primary_key(&[&KEY[..], &["slot"]].concat())).extra(storage(manager, POSTGRES_STORAGE));
        manager.create_table(rollup).await?;
        manager.get_connection().execute_unprepared(WORKS_BY_ID).await?;

        let mut money = keyed(manager, "money_rollup");
        money
            .col(text(manager, "currency").not_null())
            .col(small("slot").not_null())
            .col(count("gross_minor"))
            .col(count("refunded_minor"))
            .primary_key(&mut primary_key(&[&KEY[..], &["currency", "slot"]].concat()))
            .extra(storage(manager, POSTGRES_STORAGE));
        manager.create_table(money).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["money_rollup", "rollup"]).await
    }
}

fn keyed(manager: &SchemaManager<'_>, name: &'static str) -> TableCreateStatement {
    Table::create()
        .table(Alias::new(name))
        .col(small("grain").not_null())
        .col(long("bucket").not_null())
        .col(small("entity_kind").not_null())
        .col(text(manager, "entity_id").not_null())
        .to_owned()
}
