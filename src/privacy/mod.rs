//! What a person may ask of us about themselves: everything that we know, and that it be gone.
//!
//! Erasing takes the person out of what happened, and leaves that it happened: the rows of their events lose the ids,
//! the free properties and the sender's id of the event, and get a random id that leads to nobody, under which the
//! person's number lives on. So every total, set and journey stays what it was, a recount gives the same, and an
//! event that is sent again is still known.

pub mod export;

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    analytics::Analytics,
    audience::open::OpenAudience,
    db::{
        Database, DbError,
        queries::{dismissals, events, listeners, versions},
    },
    domain::{commit::Watermark, event::ERASED},
};

/// Events whose rows one statement changes or reads.
const EVENTS_AT_ONCE: usize = 1_024;

/// The service that answers and erases. Cheap to clone.
#[derive(Clone)]
pub struct Privacy {
    pub database: Database,
    pub analytics: Analytics,
    pub open_audience: Arc<OpenAudience>,
    pub watermark: Arc<Watermark>,
}

impl Privacy {
    /// Erases whom an id stands for; returns how many events lost their person, `None` where nothing is known under the
    /// id, or not any more. It is one transaction: done as a whole or not at all. Committers wait for it, so that no
    /// event gets the number under the old id behind its back.
    pub async fn erase(&self, id: &str) -> Result<Option<u64>, DbError> {
        let txn = self.database.begin_write().await?;
        versions::raise(&txn, versions::ERASURES).await?;
        // From here on nobody commits. What others have committed may not be known here yet.
        self.open_audience.follow(&self.database).await?;
        if let Some(extent) = events::find_extent(self.database.reader()).await? {
            self.watermark.extend(extent);
        }
        let dismissed = dismissals::delete_all_of(&txn, id).await?;
        let Some(user) = self.analytics.find_user(id).await? else {
            txn.commit().await?;
            return Ok((dismissed > 0).then_some(0));
        };
        let nobody = format!("{ERASED}{}", Uuid::new_v4().simple());
        let mut erased = 0;
        for moments in self.analytics.moments_of(&user).await?.chunks(EVENTS_AT_ONCE) {
            erased += events::erase_user(&txn, &user.id, &nobody, moments).await?;
        }
        listeners::rename(&txn, &user.id, &nobody, user.number).await?;
        txn.commit().await?;
        tracing::info!(events = erased, "erased a user");
        Ok(Some(erased))
    }
}
