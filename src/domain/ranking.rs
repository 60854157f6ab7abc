//! What can be ranked.

use std::sync::Arc;

use super::{entity::EntityKind, measure::Metric, window::Window};

/// Among whom something is ranked, and by which of their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Among {
    /// Only what has this genre.
    pub genre: Option<Arc<str>>,
    /// By what happened in this country alone.
    pub country: Option<Arc<str>>,
    /// What fewer people stand behind in that country is left out; without a country it says nothing.
    pub people_min: u64,
}

/// Which ranking: the highest first, of the same value those with more listeners, then by id. What has nothing
/// is left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RankingQuestion {
    pub of: EntityKind,
    pub by: Metric,
    pub window: Window,
    pub among: Among,
}

impl RankingQuestion {
    /// The same over the window of the same length immediately before.
    pub fn previous(&self) -> Self {
        Self { window: self.window.previous(), ..self.clone() }
    }
}
