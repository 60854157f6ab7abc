//! What the catalogue's owner says: stored over what events told.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use sea_orm::ConnectionTrait;

use crate::{
    db::{
        DbError, Transaction,
        bulk::{BulkInsert, SqlBuilder},
        transaction::Arguments,
    },
    domain::{
        catalogue::EntryChange,
        credit::{Credit, CreditRole, Credits},
        entity::{EntityKind, EntityRef},
    },
};

static SONGS: LazyLock<BulkInsert> = LazyLock::new(|| {
    let said = said("song", &["title", "artist_id", "album_id", "duration_ms", "released_on"]);
    let flag = "is_album_upserted = CASE WHEN excluded.album_id IS NULL THEN song.is_album_upserted ELSE 1 END";
    BulkInsert::new(
        "INSERT INTO song (id, title, artist_id, album_id, duration_ms, released_on, is_album_upserted)",
        7,
        format!("{said}, {flag}"),
    )
});

static ALBUMS: LazyLock<BulkInsert> = LazyLock::new(|| {
    let said = said("album", &["title", "artist_id", "released_on"]);
    BulkInsert::new("INSERT INTO album (id, title, artist_id, released_on)", 4, said)
});

static PLAYLISTS: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("INSERT INTO playlist (id, title, owner_id)", 3, said("playlist", &["title", "owner_id"]))
});

static ARTISTS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO artist (id, title)", 2, said("artist", &["title"])));

static CREDITS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO credit (entity_kind, entity_id, position, artist_id, role)", 5, ""));

static GENRES: LazyLock<BulkInsert> = LazyLock::new(|| {
    // An event may tell the same at this moment.
    let tail = "ON CONFLICT (entity_kind, entity_id, genre) DO UPDATE SET is_upserted = 1";
    BulkInsert::new("INSERT INTO entity_genre (entity_kind, entity_id, genre, is_upserted)", 4, tail)
});

static PLAYLIST_SONGS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("INSERT INTO playlist_song (playlist_id, position, song_id)", 3, ""));

/// `ON CONFLICT (id) DO UPDATE SET title = COALESCE(excluded.title, song.title), …`: what is said wins, what
/// is not said stays.
fn said(table: &str, columns: &[&str]) -> String {
    let columns: Vec<String> =
        columns.iter().map(|column| format!("{column} = COALESCE(excluded.{column}, {table}.{column})")).collect();
    format!("ON CONFLICT (id) DO UPDATE SET {}", columns.join(", "))
}

/// Stores what was said, and that there is everything it names. Entries hold no entity twice.
///
/// Rows are touched in the order in which the committer fills the catalogue in, so that the two wait for
/// each other in one order.
pub async fn apply(txn: &Transaction, changes: &[EntryChange]) -> Result<(), DbError> {
    let mut all: BTreeMap<EntityRef, EntryChange> =
        changes.iter().flat_map(EntryChange::named).map(|entity| (entity.clone(), EntryChange::bare(entity))).collect();
    all.extend(changes.iter().map(|change| (change.entity.clone(), change.clone())));
    let all: Vec<EntryChange> = all.into_values().collect();
    for same_kind in all.chunk_by(|one, next| one.entity.kind == next.entity.kind) {
        store_rows(txn, same_kind).await?;
    }
    store_credits(txn, &all).await?;
    store_genres(txn, &all).await?;
    store_playlists(txn, &all).await
}

async fn store_rows(txn: &Transaction, changes: &[EntryChange]) -> Result<(), DbError> {
    let kind = changes[0].entity.kind;
    let statement = match kind {
        EntityKind::Song => &SONGS,
        EntityKind::Album => &ALBUMS,
        EntityKind::Playlist => &PLAYLISTS,
        _ => &ARTISTS,
    };
    let bind = |change: &EntryChange, arguments: &mut Arguments| {
        arguments.add(&change.entity.id);
        arguments.add(change.title.value());
        let artist = change.credits.value().and_then(|credits| credits.first()).map(|credit| &credit.artist_id);
        let released_on = change.released_on.value().map(ToString::to_string);
        match kind {
            EntityKind::Song => {
                arguments.add(artist);
                arguments.add(change.album_id.value());
                arguments.add(change.duration_ms.value());
                arguments.add(released_on);
                arguments.add(i16::from(change.album_id.value().is_some()));
            }
            EntityKind::Album => {
                arguments.add(artist);
                arguments.add(released_on);
            }
            EntityKind::Playlist => arguments.add(change.owner_id.value()),
            _ => {}
        }
    };
    statement.run(txn, changes, bind).await?;
    let is_song = kind == EntityKind::Song;
    let is_work = is_song || kind == EntityKind::Album;
    for (is_column, column, is_cleared) in [
        (true, "title = NULL", (|change| change.title.is_clear()) as fn(&EntryChange) -> bool),
        (is_work, "artist_id = NULL", |change| change.credits.is_clear()),
        (is_work, "released_on = NULL", |change| change.released_on.is_clear()),
        (is_song, "album_id = NULL, is_album_upserted = 0", |change| change.album_id.is_clear()),
        (is_song, "duration_ms = NULL", |change| change.duration_ms.is_clear()),
        (kind == EntityKind::Playlist, "owner_id = NULL", |change| change.owner_id.is_clear()),
    ] {
        let ids: Vec<&str> =
            changes.iter().filter(|change| is_column && is_cleared(change)).map(|change| &*change.entity.id).collect();
        if !ids.is_empty() {
            let mut sql = SqlBuilder::new(txn, &format!("UPDATE {} SET {column} WHERE id", kind.word()));
            sql.bind_list(&ids);
            txn.execute_raw(sql.build(txn)).await?;
        }
    }
    Ok(())
}

async fn store_credits(txn: &Transaction, changes: &[EntryChange]) -> Result<(), DbError> {
    let changed: Vec<&EntryChange> =
        changes.iter().filter(|change| change.credits.is_clear() || change.credits.value().is_some()).collect();
    delete_of(txn, "credit", &changed).await?;
    let rows: Vec<(&EntityRef, i16, &Credit)> = changed
        .iter()
        .flat_map(|change| {
            (0..).zip(change.credits.value().into_iter().flatten()).map(|(at, one)| (&change.entity, at, one))
        })
        .collect();
    let bind = |(entity, position, credit): &(&EntityRef, i16, &Credit), arguments: &mut Arguments| {
        arguments.add(entity.kind.code());
        arguments.add(&entity.id);
        arguments.add(*position);
        arguments.add(&credit.artist_id);
        arguments.add(credit.role.code());
    };
    CREDITS.run(txn, &rows, bind).await?;
    Ok(())
}

async fn store_genres(txn: &Transaction, changes: &[EntryChange]) -> Result<(), DbError> {
    let changed: Vec<&EntryChange> =
        changes.iter().filter(|change| change.genres.is_clear() || change.genres.value().is_some()).collect();
    delete_of(txn, "entity_genre", &changed).await?;
    let mut rows: Vec<(&EntityRef, &Arc<str>)> = changed
        .iter()
        .flat_map(|change| change.genres.value().into_iter().flatten().map(|genre| (&change.entity, genre)))
        .collect();
    rows.sort_unstable();
    let bind = |(entity, genre): &(&EntityRef, &Arc<str>), arguments: &mut Arguments| {
        arguments.add(entity.kind.code());
        arguments.add(&entity.id);
        arguments.add(*genre);
        arguments.add(1_i16);
    };
    GENRES.run(txn, &rows, bind).await?;
    Ok(())
}

async fn store_playlists(txn: &Transaction, changes: &[EntryChange]) -> Result<(), DbError> {
    let changed: Vec<&EntryChange> =
        changes.iter().filter(|change| change.song_ids.is_clear() || change.song_ids.value().is_some()).collect();
    let ids: Vec<&str> = changed.iter().map(|change| &*change.entity.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let mut sql = SqlBuilder::new(txn, "DELETE FROM playlist_song WHERE playlist_id");
    sql.bind_list(&ids);
    txn.execute_raw(sql.build(txn)).await?;
    let rows: Vec<(&Arc<str>, i16, &Arc<str>)> = changed
        .iter()
        .flat_map(|change| {
            (0..).zip(change.song_ids.value().into_iter().flatten()).map(|(at, id)| (&change.entity.id, at, id))
        })
        .collect();
    let bind = |(playlist, position, song): &(&Arc<str>, i16, &Arc<str>), arguments: &mut Arguments| {
        arguments.add(*playlist);
        arguments.add(*position);
        arguments.add(*song);
    };
    PLAYLIST_SONGS.run(txn, &rows, bind).await?;
    Ok(())
}

/// Deletes a table's rows of the changed entities, kind by kind.
async fn delete_of(txn: &Transaction, table: &str, changed: &[&EntryChange]) -> Result<(), DbError> {
    for same_kind in changed.chunk_by(|one, next| one.entity.kind == next.entity.kind) {
        let mut sql = SqlBuilder::new(txn, &format!("DELETE FROM {table} WHERE entity_kind = "));
        sql.bind(same_kind[0].entity.kind.code()).push(" AND entity_id");
        sql.bind_list(&same_kind.iter().map(|change| &*change.entity.id).collect::<Vec<_>>());
        txn.execute_raw(sql.build(txn)).await?;
    }
    Ok(())
}

/// Whom the events of these songs and albums count for, of those about which the catalogue's owner said so.
/// One statement per 5,000 works.
pub async fn list_counted_for<C: ConnectionTrait>(
    conn: &C,
    works: &[&EntityRef],
) -> Result<BTreeMap<EntityRef, Credits>, DbError> {
    const WORKS_AT_ONCE: usize = 5_000;
    const ALBUM_OF_SONG: i16 = 0;

    let mut credits: BTreeMap<EntityRef, Credits> = BTreeMap::new();
    for works in works.chunks(WORKS_AT_ONCE) {
        let mut sql = SqlBuilder::new(
            conn,
            "SELECT CAST(entity_kind AS INTEGER), entity_id, position, CAST(role AS INTEGER), artist_id FROM credit",
        );
        super::catalogue::push_entities(&mut sql, works.iter().copied());
        let songs: Vec<&str> =
            works.iter().filter(|work| work.kind == EntityKind::Song).map(|work| &*work.id).collect();
        if !songs.is_empty() {
            sql.push(" UNION ALL SELECT 1, id, 0, 0, album_id FROM song WHERE is_album_upserted = 1 AND id");
            sql.bind_list(&songs);
        }
        sql.push(" ORDER BY 1, 2, 3");
        for row in conn.query_all_raw(sql.build(conn)).await? {
            let small = |index| row.try_get_by_index::<i32>(index).map(|number| i16::try_from(number).unwrap_or(-1));
            let kind = EntityKind::from_code(small(0)?).ok_or(DbError::Corrupt("unknown entity kind"))?;
            let (id, named): (String, String) = (row.try_get_by_index(1)?, row.try_get_by_index(4)?);
            let credits = credits.entry(EntityRef::new(kind, id)).or_default();
            match small(3)? {
                ALBUM_OF_SONG => credits.album = Some(named.into()),
                role => {
                    let role = CreditRole::from_code(role).ok_or(DbError::Corrupt("unknown role"))?;
                    credits.add(Credit { artist_id: named.into(), role });
                }
            }
        }
    }
    Ok(credits)
}
