//! What the events told us about songs, albums, playlists and artists.

use std::sync::{Arc, LazyLock};

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::{
    db::{
        DbError, Transaction,
        bulk::BulkInsert,
        entities::{album, artist, playlist, song},
        transaction::Arguments,
    },
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
    },
};

static FILL_SONGS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO song (id, title, artist_id, album_id, genre, duration_ms)",
        6,
        keep_known("song", &["title", "artist_id", "album_id", "genre", "duration_ms"]),
    )
});

static FILL_ALBUMS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("INSERT INTO album (id, title, artist_id)", 3, keep_known("album", &["title", "artist_id"]))
});

static FILL_PLAYLISTS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO playlist (id, title)", 2, keep_known("playlist", &["title"])));

static FILL_ARTISTS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO artist (id, title)", 2, keep_known("artist", &["title"])));

/// `ON CONFLICT (id) DO UPDATE SET title = COALESCE(song.title, excluded.title), …`
fn keep_known(table: &str, columns: &[&str]) -> String {
    let kept: Vec<String> =
        columns.iter().map(|column| format!("{column} = COALESCE({table}.{column}, excluded.{column})")).collect();
    format!("ON CONFLICT (id) DO UPDATE SET {}", kept.join(", "))
}

/// Adds what the catalogue does not know yet. What it knows stays: a later event never overwrites a
/// title or an owner. Entries are sorted and hold no entity twice.
pub async fn fill_in(txn: &Transaction, entries: &[CatalogueEntry]) -> Result<(), DbError> {
    for same_kind in entries.chunk_by(|one, next| one.entity.kind == next.entity.kind) {
        let kind = same_kind[0].entity.kind;
        let statement = match kind {
            EntityKind::Song => &FILL_SONGS,
            EntityKind::Album => &FILL_ALBUMS,
            EntityKind::Playlist => &FILL_PLAYLISTS,
            EntityKind::Artist => &FILL_ARTISTS,
        };
        let bind = |entry: &CatalogueEntry, arguments: &mut Arguments| {
            arguments.add(&entry.entity.id);
            arguments.add(&entry.title);
            if matches!(kind, EntityKind::Song | EntityKind::Album) {
                arguments.add(&entry.artist_id);
            }
            if kind == EntityKind::Song {
                arguments.add(&entry.album_id);
                arguments.add(&entry.genre);
                arguments.add(entry.duration_ms);
            }
        };
        statement.run(txn, same_kind, bind).await?;
    }
    Ok(())
}

/// The entries of one kind that exist among `ids`, in no particular order.
pub async fn list_by_ids<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    ids: &[Arc<str>],
) -> Result<Vec<CatalogueEntry>, DbError> {
    let ids = ids.iter().map(|id| id.to_string());
    Ok(match kind {
        EntityKind::Song => song::Entity::find()
            .filter(song::Column::Id.is_in(ids))
            .all(conn)
            .await?
            .into_iter()
            .map(Into::into)
            .collect(),
        EntityKind::Album => album::Entity::find()
            .filter(album::Column::Id.is_in(ids))
            .all(conn)
            .await?
            .into_iter()
            .map(Into::into)
            .collect(),
        EntityKind::Playlist => playlist::Entity::find()
            .filter(playlist::Column::Id.is_in(ids))
            .all(conn)
            .await?
            .into_iter()
            .map(|row| CatalogueEntry { title: row.title.map(Into::into), ..bare(EntityKind::Playlist, row.id) })
            .collect(),
        EntityKind::Artist => artist::Entity::find()
            .filter(artist::Column::Id.is_in(ids))
            .all(conn)
            .await?
            .into_iter()
            .map(|row| CatalogueEntry { title: row.title.map(Into::into), ..bare(EntityKind::Artist, row.id) })
            .collect(),
    })
}

/// The songs or albums of an artist by id, at most `limit`.
pub async fn list_by_artist<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    artist_id: &str,
    limit: u64,
) -> Result<Vec<CatalogueEntry>, DbError> {
    Ok(match kind {
        EntityKind::Song => song::Entity::find()
            .filter(song::Column::ArtistId.eq(artist_id))
            .order_by_asc(song::Column::Id)
            .limit(limit)
            .all(conn)
            .await?
            .into_iter()
            .map(Into::into)
            .collect(),
        EntityKind::Album => album::Entity::find()
            .filter(album::Column::ArtistId.eq(artist_id))
            .order_by_asc(album::Column::Id)
            .limit(limit)
            .all(conn)
            .await?
            .into_iter()
            .map(Into::into)
            .collect(),
        EntityKind::Playlist | EntityKind::Artist => Vec::new(),
    })
}

fn bare(kind: EntityKind, id: String) -> CatalogueEntry {
    CatalogueEntry::bare(EntityRef::new(kind, id))
}

impl From<song::Model> for CatalogueEntry {
    fn from(row: song::Model) -> Self {
        Self {
            title: row.title.map(Into::into),
            artist_id: row.artist_id.map(Into::into),
            album_id: row.album_id.map(Into::into),
            genre: row.genre.map(Into::into),
            duration_ms: row.duration_ms,
            ..bare(EntityKind::Song, row.id)
        }
    }
}

impl From<album::Model> for CatalogueEntry {
    fn from(row: album::Model) -> Self {
        Self {
            title: row.title.map(Into::into),
            artist_id: row.artist_id.map(Into::into),
            ..bare(EntityKind::Album, row.id)
        }
    }
}
