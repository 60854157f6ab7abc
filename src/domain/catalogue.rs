//! What is known about an entity besides its numbers.

use std::sync::Arc;

use super::entity::EntityRef;

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
