//! What is like what, what a listener may like next, and what goes with a playlist: from who listened to what.
//!
//! - `gather` reads from trails what each listener took to, `taste` says how much.
//! - `job` finds `neighbours` of what changed, and stores them with everybody's taste.
//! - `similar`, `for_you` and `assisted` answer, `history` with what happened since; `pick` leaves out what is not
//!   wanted, `popular` fills up.
//! - `dismissals` is what listeners do not want to be told.
//! - `evaluate` measures how well it foretells, beside other methods.

mod assisted;
mod dismissals;
pub mod evaluate;
mod for_you;
mod gather;
mod history;
mod job;
pub mod matrix;
pub mod neighbours;
mod pick;
mod popular;
mod quality;
mod similar;
pub mod taste;

use std::sync::Arc;

pub use assisted::{AssistedOrder, AssistedPlaylist};
pub use dismissals::Dismissal;
pub use for_you::ForYou;
pub use job::{LEASE, Progress, Report, RunOrder};
pub use quality::{Measured, QualityOrder};
pub use similar::SimilarQuestion;

use crate::{
    analytics::Analytics,
    db::{Database, DbError},
    domain::{catalogue::CatalogueEntry, clock::SharedClock},
};

/// Why something is recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReasonKind {
    /// The same people listen to it.
    ListenedTogether,
    /// The same people listen to it as to something that the listener liked, saved or followed.
    LikedSimilar,
    SameGenre,
    Popular,
}

/// Something that is recommended.
#[derive(Debug, Clone)]
pub struct Recommendation {
    pub entry: CatalogueEntry,
    /// 0 to 1; nothing where it is not told from who listened.
    pub score: f64,
    /// Listeners in common with the first of `because`; nothing where they are few.
    pub support: u32,
    pub reason: ReasonKind,
    pub because: Vec<CatalogueEntry>,
}

/// Why an answer failed: the database's fault, also where many wait for one computation.
pub type Failed = Arc<DbError>;

/// The service that recommends. Cheap to clone.
#[derive(Clone)]
pub struct Recommender {
    database: Database,
    analytics: Analytics,
    clock: SharedClock,
}

impl Recommender {
    pub fn new(database: Database, analytics: Analytics, clock: SharedClock) -> Self {
        Self { database, analytics, clock }
    }
}
