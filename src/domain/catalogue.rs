//! What is known about an entity besides its numbers: as events told it, as the catalogue's owner said it,
//! and as it is read.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::NaiveDate;

use super::{
    credit::{Credit, CreditRole},
    entity::{EntityKind, EntityRef},
};

/// One entry of the catalogue, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    pub entity: EntityRef,
    pub title: Option<Arc<str>>,
    /// Who takes part in a song or an album, main artists first. Where only events told, the one they named.
    pub credits: Vec<Credit>,
    /// The artists whose tokens see the private numbers, under every id that is read as theirs.
    pub owners: Vec<Arc<str>>,
    pub album_id: Option<Arc<str>>,
    /// In alphabetical order.
    pub genres: Vec<Arc<str>>,
    pub duration_ms: Option<i64>,
    pub released_on: Option<NaiveDate>,
}

impl CatalogueEntry {
    /// What is known of something that nobody has said anything about: an artist owns themself.
    pub fn bare(entity: EntityRef) -> Self {
        let is_artist = entity.kind.public() == EntityKind::Artist;
        Self {
            owners: is_artist.then(|| entity.id.clone()).into_iter().collect(),
            entity,
            title: None,
            credits: Vec::new(),
            album_id: None,
            genres: Vec::new(),
            duration_ms: None,
            released_on: None,
        }
    }

    /// The first main artist.
    pub fn artist_id(&self) -> Option<&Arc<str>> {
        self.main_artist_ids().next()
    }

    pub fn main_artist_ids(&self) -> impl Iterator<Item = &Arc<str>> {
        let main = self.credits.iter().filter(|credit| credit.role == CreditRole::Main);
        main.map(|credit| &credit.artist_id)
    }
}

/// What the events of a batch tell about one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldEntry {
    pub entity: EntityRef,
    pub title: Option<Arc<str>>,
    pub artist_id: Option<Arc<str>>,
    pub album_id: Option<Arc<str>>,
    pub genres: Vec<Arc<str>>,
    pub duration_ms: Option<i64>,
}

impl ToldEntry {
    pub fn bare(entity: EntityRef) -> Self {
        Self { entity, title: None, artist_id: None, album_id: None, genres: Vec::new(), duration_ms: None }
    }
}

/// What one event tells about one entity, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fact<'a> {
    pub kind: EntityKind,
    pub id: &'a Arc<str>,
    pub title: Option<&'a Arc<str>>,
    pub artist_id: Option<&'a Arc<str>>,
    pub album_id: Option<&'a Arc<str>>,
    pub genre: Option<&'a str>,
    pub duration_ms: Option<i64>,
}

/// Genres that events can give to one entity: a song has the first that is told, albums and artists have
/// those of their songs.
pub const fn told_genres_max(kind: EntityKind) -> usize {
    if matches!(kind, EntityKind::Song) { 1 } else { GENRES_MAX }
}

impl<'a> Fact<'a> {
    pub fn bare(kind: EntityKind, id: &'a Arc<str>) -> Self {
        Self { kind, id, title: None, artist_id: None, album_id: None, genre: None, duration_ms: None }
    }

    /// Adds to an entry what it does not know yet.
    pub fn fill_in(&self, entry: &mut ToldEntry) {
        let fill = |known: &mut Option<Arc<str>>, told: Option<&Arc<str>>| {
            if known.is_none() {
                *known = told.cloned();
            }
        };
        fill(&mut entry.title, self.title);
        fill(&mut entry.artist_id, self.artist_id);
        fill(&mut entry.album_id, self.album_id);
        let has_room = entry.genres.len() < told_genres_max(self.kind);
        if let Some(genre) = self.genre.filter(|genre| has_room && entry.genres.iter().all(|known| **known != **genre))
        {
            entry.genres.push(genre.into());
        }
        entry.duration_ms = entry.duration_ms.or(self.duration_ms);
    }
}

/// The most artists of one song or album.
pub const CREDITS_MAX: usize = 100;
/// The most genres of one entity.
pub const GENRES_MAX: usize = 20;
/// The most songs of one playlist.
pub const PLAYLIST_SONGS_MAX: usize = 10_000;

/// What becomes of one thing that the catalogue knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Nothing was said about it.
    #[default]
    Keep,
    /// The word is taken back: what events tell counts again.
    Clear,
    Set(T),
}

impl<T> Change<T> {
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    pub fn is_clear(&self) -> bool {
        matches!(self, Self::Clear)
    }
}

/// What the catalogue's owner says about one entity. It wins over what events tell, until it is taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryChange {
    pub entity: EntityRef,
    pub title: Change<Arc<str>>,
    pub credits: Change<Vec<Credit>>,
    pub genres: Change<Vec<Arc<str>>>,
    pub duration_ms: Change<i64>,
    pub released_on: Change<NaiveDate>,
    pub album_id: Change<Arc<str>>,
    pub owner_id: Change<Arc<str>>,
    /// A playlist's songs, in order.
    pub song_ids: Change<Vec<Arc<str>>>,
}

impl EntryChange {
    /// Says that there is such an entity, and nothing else.
    pub fn bare(entity: EntityRef) -> Self {
        Self {
            entity,
            title: Change::Keep,
            credits: Change::Keep,
            genres: Change::Keep,
            duration_ms: Change::Keep,
            released_on: Change::Keep,
            album_id: Change::Keep,
            owner_id: Change::Keep,
            song_ids: Change::Keep,
        }
    }

    /// Everything else that the entry names.
    pub fn named(&self) -> impl Iterator<Item = EntityRef> {
        let of = |kind| move |id: &Arc<str>| EntityRef { kind, id: id.clone() };
        let artists = self.credits.value().into_iter().flatten().map(|credit| &credit.artist_id);
        let songs = self.song_ids.value().into_iter().flatten();
        let albums = self.album_id.value().into_iter().map(of(EntityKind::Album));
        albums.chain(artists.map(of(EntityKind::Artist))).chain(songs.map(of(EntityKind::Song)))
    }
}

/// Which state of the catalogue this process has heard of: a number that each change raises.
#[derive(Debug, Default)]
pub struct CatalogueVersion(AtomicI64);

impl CatalogueVersion {
    /// 0 while nobody but events has said anything.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    /// Takes note of a state; false where it, or a newer one, was known.
    pub fn raise(&self, version: i64) -> bool {
        self.0.fetch_max(version, Ordering::AcqRel) < version
    }
}
