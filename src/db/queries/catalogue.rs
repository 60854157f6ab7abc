//! What the events told us about songs, albums, playlists and artists.

use std::sync::Arc;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Func, IntoIden, OnConflict},
};

use crate::{
    db::{
        DbError,
        entities::{album, artist, playlist, song},
    },
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
    },
};

/// Adds what the catalogue does not know yet. What it knows stays: a later event never overwrites a
/// title or an owner. Entries are sorted and hold no entity twice.
pub async fn fill_in<C: ConnectionTrait>(conn: &C, entries: &[CatalogueEntry]) -> Result<(), DbError> {
    for same_kind in entries.chunk_by(|one, next| one.entity.kind == next.entity.kind) {
        for chunk in same_kind.chunks(1_000) {
            fill_in_kind(conn, chunk).await?;
        }
    }
    Ok(())
}

async fn fill_in_kind<C: ConnectionTrait>(conn: &C, entries: &[CatalogueEntry]) -> Result<(), DbError> {
    let owned = |text: &Option<Arc<str>>| Set(text.as_deref().map(str::to_owned));
    let id = |entry: &CatalogueEntry| Set(entry.entity.id.to_string());
    match entries[0].entity.kind {
        EntityKind::Song => {
            let rows = entries.iter().map(|entry| song::ActiveModel {
                id: id(entry),
                title: owned(&entry.title),
                artist_id: owned(&entry.artist_id),
                album_id: owned(&entry.album_id),
                genre: owned(&entry.genre),
                duration_ms: Set(entry.duration_ms),
            });
            use song::Column::*;
            let fill = keep_known(song::Entity, Id, [Title, ArtistId, AlbumId, Genre, DurationMs]);
            song::Entity::insert_many(rows).on_conflict(fill).exec_without_returning(conn).await?;
        }
        EntityKind::Album => {
            let rows = entries.iter().map(|entry| album::ActiveModel {
                id: id(entry),
                title: owned(&entry.title),
                artist_id: owned(&entry.artist_id),
            });
            use album::Column::*;
            let fill = keep_known(album::Entity, Id, [Title, ArtistId]);
            album::Entity::insert_many(rows).on_conflict(fill).exec_without_returning(conn).await?;
        }
        EntityKind::Playlist => {
            let rows = entries.iter().map(|entry| playlist::ActiveModel { id: id(entry), title: owned(&entry.title) });
            let fill = keep_known(playlist::Entity, playlist::Column::Id, [playlist::Column::Title]);
            playlist::Entity::insert_many(rows).on_conflict(fill).exec_without_returning(conn).await?;
        }
        EntityKind::Artist => {
            let rows = entries.iter().map(|entry| artist::ActiveModel { id: id(entry), title: owned(&entry.title) });
            let fill = keep_known(artist::Entity, artist::Column::Id, [artist::Column::Title]);
            artist::Entity::insert_many(rows).on_conflict(fill).exec_without_returning(conn).await?;
        }
    }
    Ok(())
}

/// `ON CONFLICT (id) DO UPDATE SET title = COALESCE(song.title, excluded.title), …`
fn keep_known<E: EntityTrait + Copy, C: ColumnTrait, const N: usize>(table: E, id: C, columns: [C; N]) -> OnConflict {
    let mut on_conflict = OnConflict::column(id);
    for column in columns {
        let known = Expr::col((table.into_iden(), column.into_iden()));
        let told = Expr::col(("excluded", column.into_iden()));
        on_conflict.value(column, Func::coalesce([known, told]));
    }
    on_conflict
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
