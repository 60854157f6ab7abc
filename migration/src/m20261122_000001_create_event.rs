//! The log of what happened, and the numbers that stand for listeners in the audience sets.

use sea_orm_migration::prelude::*;

use crate::columns::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut event = Table::create();
        event
            .table(Alias::new("event"))
            .col(long("occurred_at_ms").not_null())
            .col(bytes("event_hash").not_null())
            .col(long("content_hash").not_null())
            .col(long("received_at_ms").not_null())
            .col(text(manager, "source").not_null())
            .col(text(manager, "event_id").not_null())
            .col(text(manager, "event_type").not_null());
        for name in [
            "user_id",
            "anonymous_id",
            "song_id",
            "album_id",
            "playlist_id",
            "artist_id",
            "genre",
            "country",
            "listening_source",
            "device",
        ] {
            event.col(text(manager, name));
        }
        for name in ["played_ms", "duration_ms", "ended_by_user", "count", "amount_minor"] {
            event.col(long(name));
        }
        event
            .col(text(manager, "currency"))
            .col(text(manager, "properties"))
            // Time first: new rows land at the right edge of the tree, however large it is.
            .primary_key(&mut primary_key(&["occurred_at_ms", "event_hash"]))
            // The committer makes the month's partition before its first row.
            .extra(storage(manager, "PARTITION BY RANGE (occurred_at_ms)"));
        manager.create_table(event.to_owned()).await?;

        manager
            .create_table(
                Table::create()
                    .table(Alias::new("listener"))
                    .col(text(manager, "user_id").not_null())
                    .col(long("number").not_null())
                    .primary_key(&mut primary_key(&["user_id"]))
                    .extra(storage(manager, ""))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["listener", "event"]).await
    }
}
