//! What can be measured.

use std::sync::{Arc, LazyLock};

/// The kinds of things that counters belong to. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum EntityKind {
    Song = 1,
    Album = 2,
    Playlist = 3,
    Artist = 4,
    /// An artist as featured on songs and albums of others: counted apart from what is their own. Only
    /// storage and counting know it; clients ask an artist.
    FeaturedArtist = 5,
    /// A type of event, by its name: how often it happened, and who did it.
    EventType = 6,
    /// Everything that happened, under one empty id.
    Platform = 7,
}

impl EntityKind {
    /// The kinds that events name, that the catalogue holds, and that clients ask for.
    pub const ALL: [EntityKind; 4] = [Self::Song, Self::Album, Self::Playlist, Self::Artist];

    /// The kinds that numbers are kept for.
    pub const STORED: [EntityKind; 7] =
        [Self::Song, Self::Album, Self::Playlist, Self::Artist, Self::FeaturedArtist, Self::EventType, Self::Platform];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::STORED.into_iter().find(|kind| kind.code() == code)
    }

    /// The kind that clients and the catalogue know it as.
    pub const fn public(self) -> EntityKind {
        match self {
            Self::FeaturedArtist => Self::Artist,
            other => other,
        }
    }

    /// The singular, lower-case word: the catalogue's table name and the stem of field names.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Song => "song",
            Self::Album => "album",
            Self::Playlist => "playlist",
            Self::Artist => "artist",
            Self::FeaturedArtist => "featured artist",
            Self::EventType => "event type",
            Self::Platform => "platform",
        }
    }
}

/// One thing that can be measured, by the platform's own id. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityRef {
    pub kind: EntityKind,
    pub id: Arc<str>,
}

impl EntityRef {
    pub fn new(kind: EntityKind, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: id.into() }
    }

    pub fn platform() -> Self {
        // Every event names it.
        static ID: LazyLock<Arc<str>> = LazyLock::new(|| "".into());

        Self { kind: EntityKind::Platform, id: ID.clone() }
    }

    pub fn event_type(name: &str) -> Self {
        Self::new(EntityKind::EventType, name)
    }
}
