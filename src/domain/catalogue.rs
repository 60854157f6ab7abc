//! What is known about an entity besides its numbers.

use std::sync::Arc;

use super::entity::{EntityKind, EntityRef};

/// One entry of the catalogue, as far as the events told us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    pub entity: EntityRef,
    pub title: Option<Arc<str>>,
    pub artist_id: Option<Arc<str>>,
    pub album_id: Option<Arc<str>>,
    pub genre: Option<Arc<str>>,
    pub duration_ms: Option<i64>,
}

impl CatalogueEntry {
    pub fn bare(entity: EntityRef) -> Self {
        Self { entity, title: None, artist_id: None, album_id: None, genre: None, duration_ms: None }
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

impl<'a> Fact<'a> {
    pub fn bare(kind: EntityKind, id: &'a Arc<str>) -> Self {
        Self { kind, id, title: None, artist_id: None, album_id: None, genre: None, duration_ms: None }
    }

    /// Adds to an entry what it does not know yet.
    pub fn fill_in(&self, entry: &mut CatalogueEntry) {
        let fill = |known: &mut Option<Arc<str>>, told: Option<&Arc<str>>| {
            if known.is_none() {
                *known = told.cloned();
            }
        };
        fill(&mut entry.title, self.title);
        fill(&mut entry.artist_id, self.artist_id);
        fill(&mut entry.album_id, self.album_id);
        if entry.genre.is_none() {
            entry.genre = self.genre.map(Arc::from);
        }
        entry.duration_ms = entry.duration_ms.or(self.duration_ms);
    }
}
