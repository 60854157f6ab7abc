//! Who takes part in a work, and what became of entries of the catalogue.

use async_graphql::{Enum, ID, SimpleObject};

use super::{entity::Artist, measurable::Measurable};
use crate::{
    domain::event::Rejection,
    graphql::{catalogue_input::CreditRole, input::EntityKind},
};

/// An artist's part in a song or an album.
#[derive(Debug, Clone, SimpleObject)]
pub struct Credit {
    /// The artist.
    pub artist: Artist,
    /// How they take part.
    pub role: CreditRole,
}

/// What became of an entry of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum CatalogStatus {
    /// It is stored, durably, and wins from now on.
    Stored,
    /// Nothing of it is stored: `code`, `field` and `message` say why and what to do.
    Rejected,
}

/// The outcome of one entry.
#[derive(Debug, Clone, SimpleObject)]
pub struct CatalogResult {
    /// What the entry is.
    pub kind: EntityKind,
    /// The entry's place among those of its kind in the request, from 0.
    pub index: i32,
    /// The entry's id.
    pub id: ID,
    /// What became of it.
    pub status: CatalogStatus,
    /// Why it was not taken: MISSING_FIELD, INVALID_VALUE, INVALID_CHARACTER, TOO_LONG or TOO_LARGE; null where
    /// it was.
    pub code: Option<&'static str>,
    /// Which field is wrong; null where none is.
    pub field: Option<String>,
    /// What is wrong, and what to do.
    pub message: Option<String>,
}

impl CatalogResult {
    pub fn of(kind: EntityKind, index: usize, id: String, outcome: Result<(), Rejection>) -> Self {
        let rejection = outcome.err();
        Self {
            kind,
            index: i32::try_from(index).unwrap_or(i32::MAX),
            id: ID(id),
            status: if rejection.is_some() { CatalogStatus::Rejected } else { CatalogStatus::Stored },
            code: rejection.as_ref().map(|rejection| rejection.code.code()),
            field: rejection.as_ref().and_then(|rejection| rejection.field.clone()),
            message: rejection.map(|rejection| rejection.message),
        }
    }
}

/// The outcomes of all entries of a request. stored + rejected = entries sent.
#[derive(Debug, Clone, SimpleObject)]
pub struct UpsertCatalogPayload {
    /// How many are stored.
    pub stored: i32,
    /// How many were not taken.
    pub rejected: i32,
    /// One outcome for each entry: songs, albums, playlists, artists, each in the order sent.
    pub results: Vec<CatalogResult>,
}

impl From<Vec<CatalogResult>> for UpsertCatalogPayload {
    fn from(results: Vec<CatalogResult>) -> Self {
        let count = |status| {
            let count = results.iter().filter(|result| result.status == status).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        Self { stored: count(CatalogStatus::Stored), rejected: count(CatalogStatus::Rejected), results }
    }
}

/// What an id is read as after a merge was made or taken back.
#[derive(Debug, Clone, SimpleObject)]
pub struct MergePayload {
    /// What `fromId` answers now: after a merge the entity that remains, after taking it back its own.
    pub entity: Measurable,
}
