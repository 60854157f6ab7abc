//! What a listener does not want to be told.

use std::{collections::HashSet, sync::Arc};

use super::{Recommender, pick::owners};
pub use crate::db::queries::dismissals::Dismissal;
use crate::{
    db::{DbError, queries::dismissals},
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
    },
};

/// What is in force of somebody's dismissals, by what each is read as.
#[derive(Debug, Clone, Default)]
pub struct Dismissed {
    entities: HashSet<EntityRef>,
    artists: HashSet<Arc<str>>,
}

impl Dismissed {
    /// Whether it, or any of its artists, was dismissed.
    pub fn has(&self, entry: &CatalogueEntry) -> bool {
        self.entities.contains(&entry.entity) || owners(entry).any(|artist| self.artists.contains(artist))
    }
}

impl Recommender {
    /// Notes that somebody does not want to be recommended something, of an artist anything that is theirs.
    pub async fn dismiss(
        &self,
        user_id: &str,
        entity: EntityRef,
        expires_at_ms: Option<i64>,
    ) -> Result<Dismissal, DbError> {
        let dismissal = Dismissal { entity, dismissed_at_ms: self.clock.now_ms(), expires_at_ms };
        dismissals::put(self.database.writer(), user_id, &dismissal).await?;
        Ok(dismissal)
    }

    /// Takes a dismissal back; whether there was one.
    pub async fn restore(&self, user_id: &str, entity: &EntityRef) -> Result<bool, DbError> {
        dismissals::delete(self.database.writer(), user_id, entity).await
    }

    /// What somebody does not want to be told now, the first dismissed first.
    pub async fn dismissals(&self, user_id: &str) -> Result<Vec<Dismissal>, DbError> {
        let now_ms = self.clock.now_ms();
        let mut all = dismissals::list_of(self.database.reader(), user_id).await?;
        all.retain(|dismissal| dismissal.expires_at_ms.is_none_or(|expires_at_ms| now_ms < expires_at_ms));
        Ok(all)
    }

    pub(super) async fn dismissed(&self, user_id: &str) -> Result<Dismissed, DbError> {
        let mut dismissed = Dismissed::default();
        for Dismissal { entity, .. } in self.dismissals(user_id).await? {
            let entity = self.analytics.merges().canonical(&entity);
            if entity.kind == EntityKind::Artist {
                dismissed.artists.insert(entity.id.clone());
            }
            dismissed.entities.insert(entity);
        }
        Ok(dismissed)
    }
}
