//! What a listener does not want to be told.

use std::collections::HashSet;

use super::{Recommender, pick::leads_to};
pub use crate::db::queries::dismissals::Dismissal;
use crate::{
    db::{DbError, queries::dismissals},
    domain::{catalogue::CatalogueEntry, entity::EntityRef},
};

/// What is in force of somebody's dismissals, by what each is read as.
#[derive(Debug, Clone, Default)]
pub struct Dismissed(HashSet<EntityRef>);

impl Dismissed {
    /// Whether it, its album, or any of its artists was dismissed.
    pub fn has(&self, entry: &CatalogueEntry) -> bool {
        !self.0.is_empty() && leads_to(entry).any(|entity| self.0.contains(&entity))
    }

    /// What was dismissed itself.
    pub fn entities(&self) -> Vec<EntityRef> {
        self.0.iter().cloned().collect()
    }
}

impl Recommender {
    /// Notes that somebody does not want to be recommended something, of an artist or an album anything that is theirs or on it.
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
        let merges = self.analytics.merges();
        let dismissals = self.dismissals(user_id).await?;
        Ok(Dismissed(dismissals.iter().map(|dismissal| merges.canonical(&dismissal.entity)).collect()))
    }
}
