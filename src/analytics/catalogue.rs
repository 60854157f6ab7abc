//! What entities are called and whose they are.

use std::{collections::HashMap, sync::Arc};

use super::Analytics;
use crate::{
    db::{DbError, queries::catalogue},
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
    },
};

impl Analytics {
    /// The catalogue's entries of those entities that it knows; one statement a kind.
    pub async fn entries(&self, entities: &[EntityRef]) -> Result<HashMap<EntityRef, CatalogueEntry>, DbError> {
        let mut entries = HashMap::with_capacity(entities.len());
        for kind in EntityKind::ALL {
            let mut ids: Vec<Arc<str>> =
                entities.iter().filter(|entity| entity.kind == kind).map(|entity| entity.id.clone()).collect();
            ids.sort_unstable();
            ids.dedup();
            if ids.is_empty() {
                continue;
            }
            for entry in catalogue::list_by_ids(self.database.reader(), kind, &ids).await? {
                entries.insert(entry.entity.clone(), entry);
            }
        }
        Ok(entries)
    }
}
