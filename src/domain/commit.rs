//! What a commit tells the rest of the process.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::entity::{EntityKind, EntityRef};

/// Which entities' numbers a commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    Entities(FxHashSet<EntityRef>),
    /// Too many to name, or unknown: anything may have changed.
    Everything,
}

/// Word of a commit for other processes, small enough for a notification (PostgreSQL takes 8,000 bytes).
#[derive(Debug, Serialize, Deserialize)]
pub struct CommitWord {
    /// Who commits; a process does not listen to itself.
    pub process: String,
    /// When the oldest and the newest of the new events happened.
    pub extent: (i64, i64),
    /// The changed entities; `None` where they are too many to name.
    entities: Option<Vec<(i16, String)>>,
}

const WORD_ENTITIES_MAX: usize = 64;
const WORD_SIZE_BYTES_MAX: usize = 7_500;

impl CommitWord {
    pub fn new(process: &str, extent: (i64, i64), changed: &Changed) -> Self {
        let entities = match changed {
            Changed::Entities(entities) if entities.len() <= WORD_ENTITIES_MAX => {
                Some(entities.iter().map(|entity| (entity.kind.code(), entity.id.to_string())).collect())
            }
            _ => None,
        };
        Self { process: process.to_owned(), extent, entities }
    }

    pub fn to_text(mut self) -> String {
        let text = serde_json::to_string(&self).unwrap_or_default();
        if text.len() <= WORD_SIZE_BYTES_MAX {
            return text;
        }
        self.entities = None;
        serde_json::to_string(&self).unwrap_or_default()
    }

    pub fn changed(self) -> Changed {
        let entities = self.entities.and_then(|entities| {
            entities.into_iter().map(|(kind, id)| Some(EntityRef::new(EntityKind::from_code(kind)?, id))).collect()
        });
        entities.map_or(Changed::Everything, Changed::Entities)
    }
}

/// Word of a change of the catalogue. What changed is in the database: whoever hears it looks.
pub const CATALOGUE_WORD: &str = "catalogue";

/// Hears of every commit, its own and other processes', after it is durable.
pub trait CommitObserver: Send + Sync + 'static {
    fn committed(&self, changed: &Changed);
}

pub type SharedObserver = Arc<dyn CommitObserver>;

/// When the oldest and the newest counted event happened.
#[derive(Debug)]
pub struct Watermark {
    oldest_ms: AtomicI64,
    newest_ms: AtomicI64,
}

impl Default for Watermark {
    fn default() -> Self {
        Self { oldest_ms: AtomicI64::new(i64::MAX), newest_ms: AtomicI64::new(i64::MIN) }
    }
}

impl Watermark {
    pub fn extend(&self, oldest_ms: i64, newest_ms: i64) {
        self.oldest_ms.fetch_min(oldest_ms, Ordering::AcqRel);
        self.newest_ms.fetch_max(newest_ms, Ordering::AcqRel);
    }

    /// `None` while nothing has been counted.
    pub fn newest_ms(&self) -> Option<i64> {
        Some(self.newest_ms.load(Ordering::Acquire)).filter(|newest| *newest > i64::MIN)
    }

    pub fn oldest_ms(&self) -> Option<i64> {
        Some(self.oldest_ms.load(Ordering::Acquire)).filter(|oldest| *oldest < i64::MAX)
    }
}
