//! What the catalogue's owner says about songs, albums, playlists and artists, and which ids are one thing.
//!
//! Nothing here is in the way of a process that does not know it yet.

use sea_orm_migration::prelude::*;

use crate::columns::*;

/// What is new in tables that exist. Flags say that the catalogue's owner said it, not an event.
const COLUMNS: [(&str, &str); 6] = [
    ("song", "released_on"),
    ("song", "is_album_upserted"),
    ("album", "released_on"),
    ("playlist", "owner_id"),
    ("entity_genre", "is_upserted"),
    ("event", "credits"),
];

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in COLUMNS {
            let mut column = if name.starts_with("is_") { small(name) } else { text(manager, name) };
            if name.starts_with("is_") {
                column.not_null().default(0);
            }
            manager
                .alter_table(Table::alter().table(Alias::new(table)).add_column(column.to_owned()).to_owned())
                .await?;
        }
        let direct = Table::alter().table(Alias::new("rollup")).add_column(count("direct_streams")).to_owned();
        manager.alter_table(direct).await?;

        let mut credit = Table::create();
        credit
            .table(Alias::new("credit"))
            .col(small("entity_kind").not_null())
            .col(text(manager, "entity_id").not_null())
            .col(small("position").not_null())
            .col(text(manager, "artist_id").not_null())
            .col(small("role").not_null())
            .primary_key(&mut primary_key(&["entity_kind", "entity_id", "position"]))
            .extra(storage(manager, ""));
        manager.create_table(credit.to_owned()).await?;
        let by_artist = Index::create()
            .name("credit_by_artist")
            .table(Alias::new("credit"))
            .col(Alias::new("artist_id"))
            .col(Alias::new("entity_kind"))
            .col(Alias::new("entity_id"))
            .to_owned();
        manager.create_index(by_artist).await?;

        let mut playlist_song = Table::create();
        playlist_song
            .table(Alias::new("playlist_song"))
            .col(text(manager, "playlist_id").not_null())
            .col(small("position").not_null())
            .col(text(manager, "song_id").not_null())
            .primary_key(&mut primary_key(&["playlist_id", "position"]))
            .extra(storage(manager, ""));
        manager.create_table(playlist_song.to_owned()).await?;

        let mut merge = Table::create();
        merge
            .table(Alias::new("entity_merge"))
            .col(small("entity_kind").not_null())
            .col(text(manager, "from_id").not_null())
            .col(text(manager, "into_id").not_null())
            .col(long("merged_at_ms").not_null())
            .primary_key(&mut primary_key(&["entity_kind", "from_id"]))
            .extra(storage(manager, ""));
        manager.create_table(merge.to_owned()).await?;

        // Albums and artists have the genres of their songs.
        for (kind, owner) in [(2, "album_id"), (4, "artist_id")] {
            let known = format!(
                "INSERT INTO entity_genre (entity_kind, entity_id, genre) SELECT DISTINCT {kind}, {owner}, genre \
                 FROM song WHERE genre IS NOT NULL AND {owner} IS NOT NULL"
            );
            manager.get_connection().execute_unprepared(&known).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["entity_merge", "playlist_song", "credit"]).await?;
        for (table, unknown) in [("entity_genre", "<> 1"), ("rollup", "= 5"), ("money_rollup", "= 5")] {
            let delete = format!("DELETE FROM {table} WHERE entity_kind {unknown}");
            manager.get_connection().execute_unprepared(&delete).await?;
        }
        for (table, column) in COLUMNS.into_iter().chain([("rollup", "direct_streams")]) {
            let drop = Table::alter().table(Alias::new(table)).drop_column(Alias::new(column)).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
