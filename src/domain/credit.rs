//! Whose a song or an album is: who takes part in it, and whom an event of it counts for.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;

/// How an artist takes part. The number is what the database stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum CreditRole {
    Main = 1,
    Featured = 2,
    Remixer = 3,
}

impl CreditRole {
    pub const ALL: [CreditRole; 3] = [Self::Main, Self::Featured, Self::Remixer];

    pub const fn code(self) -> i16 {
        self as i16
    }

    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }

    /// Whether the work is theirs: every count goes to them whole, and its private numbers are theirs to see.
    pub const fn owns(self) -> bool {
        matches!(self, Self::Main | Self::Remixer)
    }
}

/// An artist's part in a song or an album.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    pub artist_id: Arc<str>,
    pub role: CreditRole,
}

/// What the catalogue says about whom a song's or an album's events count for. What it does not say is
/// empty; there, what the event names counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credits {
    /// Main artists and remixers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artists: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub featured: Vec<Arc<str>>,
    /// The album that a song is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub album: Option<Arc<str>>,
}

impl Credits {
    pub fn add(&mut self, credit: Credit) {
        if credit.role.owns() { &mut self.artists } else { &mut self.featured }.push(credit.artist_id);
    }

    /// Whether the event itself names exactly these.
    pub fn are_named_by(&self, event: &Event) -> bool {
        let is_artist_named = match &*self.artists {
            [] => true,
            [artist] => event.artist_id.as_ref() == Some(artist),
            _ => false,
        };
        is_artist_named && self.featured.is_empty() && (self.album.is_none() || self.album == event.album_id)
    }

    /// As the log keeps it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("lists of texts can always be written")
    }
}
