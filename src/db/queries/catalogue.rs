//! Songs, albums, playlists and artists: what events told is filled in, and all that is known is read.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use chrono::NaiveDate;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryResult};

use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        entities::{album, artist, playlist, song},
        transaction::Arguments,
    },
    domain::{
        catalogue::{CatalogueEntry, ToldEntry, told_genres_max},
        credit::{Credit, CreditRole},
        entity::{EntityKind, EntityRef},
    },
};

static FILL_SONGS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new(
        "INSERT INTO song (id, title, artist_id, album_id, duration_ms)",
        5,
        keep_known("song", &["title", "artist_id", "album_id", "duration_ms"]),
    )
});

static FILL_ALBUMS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("INSERT INTO album (id, title, artist_id)", 3, keep_known("album", &["title", "artist_id"]))
});

static FILL_PLAYLISTS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO playlist (id, title)", 2, keep_known("playlist", &["title"])));

static FILL_ARTISTS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO artist (id, title)", 2, keep_known("artist", &["title"])));

/// Where the catalogue's owner named genres, events add none; where events did, up to their limit. A song's
/// first genre stays.
static FILL_GENRES: LazyLock<BulkInsert> = LazyLock::new(|| {
    let of_one = "known.entity_kind = told.kind AND known.entity_id = told.id";
    let limits = format!(
        "CASE told.kind WHEN {} THEN {} ELSE {} END",
        EntityKind::Song.code(),
        told_genres_max(EntityKind::Song),
        told_genres_max(EntityKind::Artist)
    );
    BulkInsert::new(
        "INSERT INTO entity_genre (entity_kind, entity_id, genre) WITH told (kind, id, genre) AS (",
        3,
        format!(
            ") SELECT kind, id, genre FROM told \
             WHERE NOT EXISTS (SELECT 1 FROM entity_genre AS known WHERE {of_one} AND known.is_upserted = 1) \
             AND (SELECT COUNT(*) FROM entity_genre AS known WHERE {of_one}) < {limits} \
             ON CONFLICT (entity_kind, entity_id, genre) DO NOTHING"
        ),
    )
});

/// `ON CONFLICT (id) DO UPDATE SET title = COALESCE(song.title, excluded.title), …`
fn keep_known(table: &str, columns: &[&str]) -> String {
    let kept: Vec<String> =
        columns.iter().map(|column| format!("{column} = COALESCE({table}.{column}, excluded.{column})")).collect();
    format!("ON CONFLICT (id) DO UPDATE SET {}", kept.join(", "))
}

/// Adds what the catalogue does not know yet. What it knows stays: a later event never overwrites a
/// title or an owner. Entries are sorted and hold no entity twice.
pub async fn fill_in(txn: &Transaction, entries: &[ToldEntry]) -> Result<(), DbError> {
    for same_kind in entries.chunk_by(|one, next| one.entity.kind == next.entity.kind) {
        let kind = same_kind[0].entity.kind;
        let statement = match kind {
            EntityKind::Song => &FILL_SONGS,
            EntityKind::Album => &FILL_ALBUMS,
            EntityKind::Playlist => &FILL_PLAYLISTS,
            _ => &FILL_ARTISTS,
        };
        let bind = |entry: &ToldEntry, arguments: &mut Arguments| {
            arguments.add(&entry.entity.id);
            arguments.add(&entry.title);
            if matches!(kind, EntityKind::Song | EntityKind::Album) {
                arguments.add(&entry.artist_id);
            }
            if kind == EntityKind::Song {
                arguments.add(&entry.album_id);
                arguments.add(entry.duration_ms);
            }
        };
        statement.run(txn, same_kind, bind).await?;
    }
    let mut genres: Vec<(&EntityRef, &Arc<str>)> =
        entries.iter().flat_map(|entry| entry.genres.iter().map(|genre| (&entry.entity, genre))).collect();
    genres.sort_unstable();
    let bind = |(entity, genre): &(&EntityRef, &Arc<str>), arguments: &mut Arguments| {
        arguments.add(entity.kind.code());
        arguments.add(&entity.id);
        arguments.add(*genre);
    };
    FILL_GENRES.run(txn, &genres, bind).await?;
    Ok(())
}

/// The entries of one kind that exist among `ids`, in no particular order; of credits and genres, what is in
/// the entry's own row.
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
        _ => artist::Entity::find()
            .filter(artist::Column::Id.is_in(ids))
            .all(conn)
            .await?
            .into_iter()
            .map(|row| CatalogueEntry { title: row.title.map(Into::into), ..bare(EntityKind::Artist, row.id) })
            .collect(),
    })
}

/// Credits that the catalogue's owner gave to these songs and albums, in order. One statement.
pub async fn list_credits<C: ConnectionTrait>(
    conn: &C,
    works: &[&EntityRef],
) -> Result<BTreeMap<EntityRef, Vec<Credit>>, DbError> {
    let mut credits: BTreeMap<EntityRef, Vec<Credit>> = BTreeMap::new();
    if works.is_empty() {
        return Ok(credits);
    }
    let mut sql = SqlBuilder::new(conn, "SELECT entity_kind, entity_id, artist_id, role FROM credit");
    push_entities(&mut sql, works.iter().copied());
    sql.push(" ORDER BY entity_kind, entity_id, position");
    for row in conn.query_all_raw(sql.build(conn)).await? {
        let artist_id: String = row.try_get_by_index(2)?;
        let role = CreditRole::from_code(row.try_get_by_index(3)?).ok_or(DbError::Corrupt("unknown role"))?;
        credits.entry(entity(&row)?).or_default().push(Credit { artist_id: artist_id.into(), role });
    }
    Ok(credits)
}

/// The genres of these entities, in alphabetical order. One statement.
pub async fn list_genres<C: ConnectionTrait>(
    conn: &C,
    entities: &[&EntityRef],
) -> Result<BTreeMap<EntityRef, Vec<Arc<str>>>, DbError> {
    let mut genres: BTreeMap<EntityRef, Vec<Arc<str>>> = BTreeMap::new();
    if entities.is_empty() {
        return Ok(genres);
    }
    let mut sql = SqlBuilder::new(conn, "SELECT entity_kind, entity_id, genre FROM entity_genre");
    push_entities(&mut sql, entities.iter().copied());
    sql.push(" ORDER BY entity_kind, entity_id, genre");
    for row in conn.query_all_raw(sql.build(conn)).await? {
        let genre: String = row.try_get_by_index(2)?;
        genres.entry(entity(&row)?).or_default().push(genre.into());
    }
    Ok(genres)
}

/// A song or an album, with whom and on which album events or the catalogue's owner named first.
pub struct ToldWork {
    pub entity: EntityRef,
    pub artist_id: Option<Arc<str>>,
    /// Of songs.
    pub album_id: Option<Arc<str>>,
}

/// The songs or albums behind an id, by id, at most `limit`.
pub async fn list_works_behind<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    after: &str,
    limit: u32,
) -> Result<Vec<ToldWork>, DbError> {
    let album = if kind == EntityKind::Song { "album_id" } else { "NULL" };
    let select = format!("SELECT id, artist_id, {album} FROM {} WHERE id > ", kind.word());
    let mut sql = SqlBuilder::new(conn, &select);
    sql.bind(after).push(" ORDER BY id LIMIT ").bind(i64::from(limit));
    let work = |row: &QueryResult| {
        let [artist_id, album_id] = [row.try_get_by_index::<Option<String>>(1)?, row.try_get_by_index(2)?];
        Ok(ToldWork {
            entity: EntityRef::new(kind, row.try_get_by_index::<String>(0)?),
            artist_id: artist_id.map(Into::into),
            album_id: album_id.map(Into::into),
        })
    };
    conn.query_all_raw(sql.build(conn)).await?.iter().map(work).collect()
}

/// Everything of a kind that has a genre, in no particular order.
pub async fn list_of_genre<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    genre: &str,
) -> Result<Vec<EntityRef>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT entity_kind, entity_id FROM entity_genre WHERE genre = ");
    sql.bind(genre).push(" AND entity_kind = ").bind(kind.code());
    conn.query_all_raw(sql.build(conn)).await?.iter().map(entity).collect()
}

/// ` WHERE (entity_kind = … AND entity_id IN (…)) OR …`; there is at least one entity.
pub(super) fn push_entities<'a>(sql: &mut SqlBuilder, entities: impl Iterator<Item = &'a EntityRef>) {
    let mut by_kind: BTreeMap<EntityKind, Vec<&str>> = BTreeMap::new();
    entities.for_each(|entity| by_kind.entry(entity.kind).or_default().push(&entity.id));
    let mut word = " WHERE (entity_kind = ";
    for (kind, ids) in by_kind {
        sql.push(word).bind(kind.code()).push(" AND entity_id").bind_list(&ids).push(")");
        word = " OR (entity_kind = ";
    }
}

pub(super) fn entity(row: &QueryResult) -> Result<EntityRef, DbError> {
    let kind = EntityKind::from_code(row.try_get_by_index(0)?).ok_or(DbError::Corrupt("unknown entity kind"))?;
    let id: String = row.try_get_by_index(1)?;
    Ok(EntityRef::new(kind, id))
}

/// The songs or albums that any of these artists owns, by id, at most `limit`: by what events told, or by
/// credits that make them a main artist or a remixer.
pub async fn list_works_of<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    artist_ids: &[&str],
    limit: u64,
) -> Result<Vec<EntityRef>, DbError> {
    if !matches!(kind, EntityKind::Song | EntityKind::Album) {
        return Ok(Vec::new());
    }
    let mut sql = SqlBuilder::new(conn, "SELECT DISTINCT id FROM (");
    push_works(&mut sql, kind, artist_ids);
    sql.push(") AS works ORDER BY 1 LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok(EntityRef::new(kind, row.try_get_by_index::<String>(0)?))).collect()
}

/// The songs that are on any of these albums, by id, at most `limit`.
pub async fn list_songs_on<C: ConnectionTrait>(
    conn: &C,
    album_ids: &[&str],
    limit: u64,
) -> Result<Vec<EntityRef>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT id FROM song WHERE album_id");
    sql.bind_list(album_ids).push(" ORDER BY 1 LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    songs(conn, sql).await
}

/// The songs that the catalogue's owner put into any of these playlists.
pub async fn list_songs_in<C: ConnectionTrait>(conn: &C, playlist_ids: &[&str]) -> Result<Vec<EntityRef>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT DISTINCT song_id FROM playlist_song WHERE playlist_id");
    sql.bind_list(playlist_ids);
    songs(conn, sql).await
}

async fn songs<C: ConnectionTrait>(conn: &C, sql: SqlBuilder) -> Result<Vec<EntityRef>, DbError> {
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok(EntityRef::new(EntityKind::Song, row.try_get_by_index::<String>(0)?))).collect()
}

/// Everything of a kind that has a genre.
pub async fn list_ids_of_genre<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    genre: &str,
) -> Result<Vec<String>, DbError> {
    let mut sql = SqlBuilder::new(conn, "SELECT entity_id FROM entity_genre WHERE genre = ");
    sql.bind(genre).push(" AND entity_kind = ").bind(kind.public().code());
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// The same of each artist, by the artist's id, at most `limit` of each.
pub async fn list_works_of_each<C: ConnectionTrait>(
    conn: &C,
    kind: EntityKind,
    artist_ids: &[&str],
    limit: u64,
) -> Result<Vec<(String, EntityRef)>, DbError> {
    let place = "ROW_NUMBER() OVER (PARTITION BY artist_id ORDER BY id) AS place";
    let mut sql = SqlBuilder::new(conn, &format!("SELECT artist_id, id FROM (SELECT artist_id, id, {place} FROM ("));
    push_works(&mut sql, kind, artist_ids);
    sql.push(") AS works) AS numbered WHERE place <= ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = conn.query_all_raw(sql.build(conn)).await?;
    rows.iter()
        .map(|row| Ok((row.try_get_by_index(0)?, EntityRef::new(kind, row.try_get_by_index::<String>(1)?))))
        .collect()
}

/// `artist_id` and `id` of the songs or albums that these artists own.
fn push_works(sql: &mut SqlBuilder, kind: EntityKind, artist_ids: &[&str]) {
    sql.push(&format!("SELECT artist_id, id FROM {} WHERE artist_id", kind.word())).bind_list(artist_ids);
    sql.push(" UNION SELECT artist_id, entity_id FROM credit WHERE entity_kind = ").bind(kind.code());
    sql.push(" AND role <> ").bind(CreditRole::Featured.code()).push(" AND artist_id").bind_list(artist_ids);
}

/// A song or an album that credits both of two artists.
pub async fn find_credited_to_both<C: ConnectionTrait>(
    conn: &C,
    one: &[&str],
    other: &[&str],
) -> Result<Option<EntityRef>, DbError> {
    let sql = "SELECT mine.entity_kind, mine.entity_id FROM credit AS mine JOIN credit AS theirs \
               ON theirs.entity_kind = mine.entity_kind AND theirs.entity_id = mine.entity_id WHERE mine.artist_id";
    let mut sql = SqlBuilder::new(conn, sql);
    sql.bind_list(one).push(" AND theirs.artist_id").bind_list(other).push(" LIMIT 1");
    conn.query_one_raw(sql.build(conn)).await?.as_ref().map(entity).transpose()
}

fn bare(kind: EntityKind, id: String) -> CatalogueEntry {
    CatalogueEntry::bare(EntityRef::new(kind, id))
}

/// What events told, or the first of the main artists.
fn main_artist(artist_id: Option<String>) -> Vec<Credit> {
    artist_id.map(|id| Credit { artist_id: id.into(), role: CreditRole::Main }).into_iter().collect()
}

fn date(text: Option<String>) -> Option<NaiveDate> {
    text.and_then(|text| text.parse().ok())
}

impl From<song::Model> for CatalogueEntry {
    fn from(row: song::Model) -> Self {
        Self {
            title: row.title.map(Into::into),
            credits: main_artist(row.artist_id),
            album_id: row.album_id.map(Into::into),
            duration_ms: row.duration_ms,
            released_on: date(row.released_on),
            ..bare(EntityKind::Song, row.id)
        }
    }
}

impl From<album::Model> for CatalogueEntry {
    fn from(row: album::Model) -> Self {
        Self {
            title: row.title.map(Into::into),
            credits: main_artist(row.artist_id),
            released_on: date(row.released_on),
            ..bare(EntityKind::Album, row.id)
        }
    }
}
