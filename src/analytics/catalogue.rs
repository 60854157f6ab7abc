//! What entities are called and whose they are.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::Analytics;
use crate::{
    db::{DbError, queries::catalogue},
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
    },
};

impl Analytics {
    /// The catalogue's entries of those entities that it knows, by the entity asked for; of what is merged,
    /// the entry of what it is read as. One statement a kind, one for all credits, one for all genres.
    pub async fn entries(&self, entities: &[EntityRef]) -> Result<HashMap<EntityRef, CatalogueEntry>, DbError> {
        let reader = self.database.reader();
        let mut found: HashMap<EntityRef, CatalogueEntry> = HashMap::with_capacity(entities.len());
        let wanted: Vec<EntityRef> = entities.iter().map(|entity| self.merges.canonical(entity)).collect();
        for kind in EntityKind::ALL {
            let mut ids: Vec<Arc<str>> =
                wanted.iter().filter(|entity| entity.kind == kind).map(|entity| entity.id.clone()).collect();
            ids.sort_unstable();
            ids.dedup();
            if ids.is_empty() {
                continue;
            }
            for entry in catalogue::list_by_ids(reader, kind, &ids).await? {
                found.insert(entry.entity.clone(), entry);
            }
        }
        let is_work = |entity: &&EntityRef| matches!(entity.kind, EntityKind::Song | EntityKind::Album);
        let works: Vec<&EntityRef> = wanted.iter().filter(is_work).collect();
        let mut credits = catalogue::list_credits(reader, &works).await?;
        let with_genres: Vec<&EntityRef> = wanted.iter().filter(|entity| entity.kind != EntityKind::Playlist).collect();
        let mut genres = catalogue::list_genres(reader, &with_genres).await?;
        for (entity, entry) in &mut found {
            entry.credits = credits.remove(entity).unwrap_or_else(|| std::mem::take(&mut entry.credits));
            entry.genres = genres.remove(entity).unwrap_or_default();
            self.read_as_merged(entry);
        }
        let answer = |(asked, wanted): (&EntityRef, &EntityRef)| Some((asked.clone(), found.get(wanted)?.clone()));
        Ok(entities.iter().zip(&wanted).filter_map(answer).collect())
    }

    /// Names everything by the id that it is read as, and finds the owners under all their ids.
    fn read_as_merged(&self, entry: &mut CatalogueEntry) {
        let artist = |id: &Arc<str>| EntityRef { kind: EntityKind::Artist, id: id.clone() };
        for credit in &mut entry.credits {
            credit.artist_id = self.merges.canonical(&artist(&credit.artist_id)).id;
        }
        let mut seen = HashSet::new();
        entry.credits.retain(|credit| seen.insert(credit.artist_id.clone()));
        if let Some(album_id) = &mut entry.album_id {
            *album_id = self.merges.canonical(&EntityRef { kind: EntityKind::Album, id: album_id.clone() }).id;
        }
        let credited = entry.credits.iter().filter(|credit| credit.role.owns()).map(|credit| &credit.artist_id);
        let oneself = Some(&entry.entity.id).filter(|_| entry.entity.kind == EntityKind::Artist);
        let owners = credited.chain(oneself).flat_map(|id| self.merges.members(&artist(id)));
        entry.owners = owners.map(|artist| artist.id).collect();
    }
}
