//! Charts: who was first in a period that has ended. A job writes them, once; what is published never
//! changes, a correction is a new revision.
//!
//! - `job` decides which periods are due, and writes their charts under a lease.
//! - `count` finds the first entities of a period and their order, `countries` those of each country.
//! - `past` knows what the charts before say.
//! - `read` answers what clients ask.
//!
//! What an entry tells about earlier ones (peak, periods, streak) is carried on from the entity's last entry;
//! nothing is looked through from the beginning, except for what is merged.

mod count;
mod countries;
mod job;
mod past;
mod read;

use std::time::Duration;

pub use job::{KINDS, LEASE, Order, Report};
pub use read::{Chart, HistoryKey};

use crate::{
    analytics::Analytics,
    db::Database,
    domain::{chart::Calendar, clock::SharedClock},
};

/// What an operator may choose.
#[derive(Debug, Clone, Copy)]
pub struct ChartSettings {
    pub calendar: Calendar,
    /// How long after its end a period is open for what comes late: then its charts are counted once more.
    pub settle: Duration,
}

/// The service that writes charts and answers from them. Cheap to clone.
#[derive(Clone)]
pub struct Charts {
    database: Database,
    analytics: Analytics,
    clock: SharedClock,
    settings: ChartSettings,
}

impl Charts {
    pub fn new(database: Database, analytics: Analytics, clock: SharedClock, settings: ChartSettings) -> Self {
        Self { database, analytics, clock, settings }
    }
}
