//! What happens right now.

use async_graphql::{Context, Object, SimpleObject};

use crate::{
    domain::{entity::EntityRef, realtime::RealtimeNumbers},
    graphql::{
        context::ContextExt,
        guard::OwnerOnly,
        scalars::{DateTime, Long},
    },
};

#[derive(Debug, Clone)]
pub struct Realtime {
    /// Whether the viewer sees everything about what it is of.
    is_own: bool,
    at_ms: i64,
    numbers: RealtimeNumbers,
}

impl Realtime {
    pub fn new(is_own: bool, at_ms: i64, numbers: RealtimeNumbers) -> Self {
        Self { is_own, at_ms, numbers }
    }

    /// The present state of an entity, or of the whole platform.
    pub fn now(ctx: &Context<'_>, of: Option<&EntityRef>, is_own: bool) -> Self {
        Self::new(is_own, ctx.analytics().now_ms(), ctx.analytics().realtime(of))
    }
}

/// What happens right now. Events count by the time they happened, at once when they are acknowledged. A late
/// one counts in its own minute; one that is ahead of our clock waits: its plays for their minute, its listener
/// for the second.
#[Object]
impl Realtime {
    /// Distinct identified people with a play of any length in the last five minutes, to the second. An
    /// event with `count` stands for nobody. For the artist and admins.
    #[graphql(guard = "OwnerOnly { is_own: self.is_own }")]
    async fn listeners_now(&self) -> Long {
        Long::of(self.numbers.listeners_now)
    }

    /// Plays of any length in each of the last sixty minutes of the clock: sixty whole numbers, oldest
    /// first. The last is the minute that runs now. An event with `count` stands for so many plays.
    async fn plays_per_minute(&self) -> Vec<Long> {
        self.numbers.plays_per_minute.iter().map(|plays| Long::of(*plays)).collect()
    }

    /// The moment that the five and the sixty minutes end at.
    async fn as_of(&self) -> DateTime {
        DateTime::at(self.at_ms)
    }

    /// Whether nothing is missing. For moments after a start the last hour is still being read, and under
    /// extreme load the oldest of it is forgotten: then there were at least so many.
    async fn is_complete(&self) -> bool {
        self.numbers.is_complete
    }
}

/// The present, watched.
#[derive(SimpleObject)]
pub struct LiveRealtime {
    /// Counts the states since they are watched; a gap tells how many were skipped.
    pub sequence: Long,
    /// When this state was read.
    pub at: DateTime,
    /// The state.
    pub realtime: Realtime,
}
