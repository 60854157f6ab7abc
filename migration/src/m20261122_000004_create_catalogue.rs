//! What the events told us about songs, albums, playlists and artists.

use sea_orm_migration::prelude::*;

use crate::columns::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, columns) in [
            ("artist", &["title"][..]),
            ("album", &["title", "artist_id"]),
            ("playlist", &["title"]),
            ("song", &["title", "artist_id", "album_id", "genre"]),
        ] {
            let mut create = Table::create();
            create.table(Alias::new(table)).col(text(manager, "id").not_null());
            for column in columns {
                create.col(text(manager, column));
            }
            if table == "song" {
                create.col(long("duration_ms"));
            }
            create.primary_key(&mut primary_key(&["id"])).extra(storage(manager, ""));
            manager.create_table(create).await?;
            if columns.contains(&"artist_id") {
                manager
                    .create_index(
                        Index::create()
                            .name(format!("{table}_by_artist"))
                            .table(Alias::new(table))
                            .col(Alias::new("artist_id"))
                            .to_owned(),
                    )
                    .await?;
            }
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["song", "playlist", "album", "artist"]).await
    }
}
