//! What the catalogue's owner sends, and the changes that it becomes.

use std::sync::Arc;

use async_graphql::{Enum, ID, InputObject, MaybeUndefined};

use super::{
    input::EntityKind,
    scalars::{Date, Long},
};
use crate::domain::{
    catalogue::{Change, EntryChange},
    credit,
    entity::{self, EntityRef},
};

/// How an artist takes part in a song or an album.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "credit::CreditRole")]
pub enum CreditRole {
    /// It is theirs: each main artist gets every count whole, and sees the private numbers.
    Main,
    /// They take part in what is somebody else's: counted apart, under `Artist.featuredMetrics`.
    Featured,
    /// They made this version: the same as a main artist.
    Remixer,
}

/// An artist's part in a song or an album.
#[derive(Debug, Clone, InputObject)]
pub struct CreditInput {
    /// The artist.
    pub artist_id: ID,
    /// How they take part.
    #[graphql(default_with = "CreditRole::Main")]
    pub role: CreditRole,
}

/// A song as the catalogue has it. A field that is left out stays as it is; null, or an empty list, takes the
/// catalogue's word back, and what events tell counts again.
#[derive(Debug, Clone, InputObject)]
pub struct SongInput {
    /// The platform's own id: the `songId` of events.
    pub id: ID,
    /// The title, at most 1,000 characters.
    pub title: MaybeUndefined<String>,
    /// Who takes part, each artist once, at most 100; at least one is MAIN. Events of the song count for them,
    /// whatever artist an event names.
    pub credits: MaybeUndefined<Vec<CreditInput>>,
    /// The genres, at most 20. They replace those that events told.
    pub genres: MaybeUndefined<Vec<String>>,
    /// How long it is, in milliseconds, up to 30 days.
    pub duration_ms: MaybeUndefined<Long>,
    /// The day it was released.
    pub released_on: MaybeUndefined<Date>,
    /// The album it is on. All plays of the song count for that album, wherever they were played from.
    pub album_id: MaybeUndefined<ID>,
}

/// An album or other release as the catalogue has it. A field that is left out stays as it is; null, or an empty
/// list, takes the catalogue's word back, and what events tell counts again.
#[derive(Debug, Clone, InputObject)]
pub struct AlbumInput {
    /// The platform's own id: the `albumId` of events.
    pub id: ID,
    /// The title, at most 1,000 characters.
    pub title: MaybeUndefined<String>,
    /// Who takes part, each artist once, at most 100; at least one is MAIN. What is done to the album (likes,
    /// saves, shares, orders) counts for them; plays count for the credits of the song.
    pub credits: MaybeUndefined<Vec<CreditInput>>,
    /// The genres, at most 20. They replace those of the songs that events told.
    pub genres: MaybeUndefined<Vec<String>>,
    /// The day it was released.
    pub released_on: MaybeUndefined<Date>,
}

/// A playlist as the catalogue has it. A field that is left out stays as it is; null, or an empty list, takes the
/// catalogue's word back.
#[derive(Debug, Clone, InputObject)]
pub struct PlaylistInput {
    /// The platform's own id: the `playlistId` of events.
    pub id: ID,
    /// The title, at most 1,000 characters.
    pub title: MaybeUndefined<String>,
    /// The user whose playlist it is.
    pub owner_id: MaybeUndefined<ID>,
    /// Its songs in order, at most 10,000. They are kept as they are sent, also one that is in it twice.
    pub song_ids: MaybeUndefined<Vec<ID>>,
}

/// An artist as the catalogue has them. A field that is left out stays as it is; null, or an empty list, takes the
/// catalogue's word back, and what events tell counts again.
#[derive(Debug, Clone, InputObject)]
pub struct ArtistInput {
    /// The platform's own id: the `artistId` of events.
    pub id: ID,
    /// The name, at most 1,000 characters.
    pub title: MaybeUndefined<String>,
    /// The genres, at most 20. They replace those of the songs that events told.
    pub genres: MaybeUndefined<Vec<String>>,
}

/// Entries of the catalogue, all kinds together at most 1,000.
#[derive(Debug, Clone, InputObject)]
pub struct CatalogInput {
    /// Songs.
    #[graphql(default)]
    pub songs: Vec<SongInput>,
    /// Albums and other releases.
    #[graphql(default)]
    pub albums: Vec<AlbumInput>,
    /// Playlists.
    #[graphql(default)]
    pub playlists: Vec<PlaylistInput>,
    /// Artists.
    #[graphql(default)]
    pub artists: Vec<ArtistInput>,
}

/// Two ids that are one thing.
#[derive(Debug, Clone, InputObject)]
pub struct MergeInput {
    /// What they are.
    pub kind: EntityKind,
    /// The id that is read as the other from now on.
    pub from_id: ID,
    /// The id that remains.
    pub into_id: ID,
}

/// An id that is to be a thing of its own again.
#[derive(Debug, Clone, InputObject)]
pub struct UnmergeInput {
    /// What it is.
    pub kind: EntityKind,
    /// The id that was merged into another.
    pub from_id: ID,
}

/// A change, with where it stood in the request.
pub struct Entry {
    pub kind: EntityKind,
    pub index: usize,
    pub change: EntryChange,
}

impl CatalogInput {
    /// All entries: songs, albums, playlists, artists.
    pub fn decode(self) -> Vec<Entry> {
        fn of<T>(kind: EntityKind, inputs: Vec<T>, decode: fn(T) -> EntryChange) -> impl Iterator<Item = Entry> {
            let changes = inputs.into_iter().map(decode).enumerate();
            changes.map(move |(index, change)| Entry { kind, index, change })
        }
        of(EntityKind::Song, self.songs, SongInput::decode)
            .chain(of(EntityKind::Album, self.albums, AlbumInput::decode))
            .chain(of(EntityKind::Playlist, self.playlists, PlaylistInput::decode))
            .chain(of(EntityKind::Artist, self.artists, ArtistInput::decode))
            .collect()
    }
}

impl SongInput {
    fn decode(self) -> EntryChange {
        EntryChange {
            title: change(self.title, Arc::from),
            credits: credits(self.credits),
            genres: texts(self.genres),
            duration_ms: change(self.duration_ms, |length| length.0),
            released_on: change(self.released_on, |day| day.0),
            album_id: change(self.album_id, |id| id.0.into()),
            ..bare(entity::EntityKind::Song, self.id)
        }
    }
}

impl AlbumInput {
    fn decode(self) -> EntryChange {
        EntryChange {
            title: change(self.title, Arc::from),
            credits: credits(self.credits),
            genres: texts(self.genres),
            released_on: change(self.released_on, |day| day.0),
            ..bare(entity::EntityKind::Album, self.id)
        }
    }
}

impl PlaylistInput {
    fn decode(self) -> EntryChange {
        EntryChange {
            title: change(self.title, Arc::from),
            owner_id: change(self.owner_id, |id| id.0.into()),
            song_ids: change(self.song_ids, |ids| ids.into_iter().map(|id| id.0.into()).collect()),
            ..bare(entity::EntityKind::Playlist, self.id)
        }
    }
}

impl ArtistInput {
    fn decode(self) -> EntryChange {
        EntryChange {
            title: change(self.title, Arc::from),
            genres: texts(self.genres),
            ..bare(entity::EntityKind::Artist, self.id)
        }
    }
}

fn bare(kind: entity::EntityKind, id: ID) -> EntryChange {
    EntryChange::bare(EntityRef::new(kind, id.0))
}

fn change<T, U>(sent: MaybeUndefined<T>, decode: impl FnOnce(T) -> U) -> Change<U> {
    match sent {
        MaybeUndefined::Undefined => Change::Keep,
        MaybeUndefined::Null => Change::Clear,
        MaybeUndefined::Value(value) => Change::Set(decode(value)),
    }
}

fn texts(sent: MaybeUndefined<Vec<String>>) -> Change<Vec<Arc<str>>> {
    change(sent, |texts| texts.into_iter().map(Arc::from).collect())
}

fn credits(sent: MaybeUndefined<Vec<CreditInput>>) -> Change<Vec<credit::Credit>> {
    let decode = |input: CreditInput| credit::Credit { artist_id: input.artist_id.0.into(), role: input.role.into() };
    change(sent, |inputs| inputs.into_iter().map(decode).collect())
}
