//! Sessions: a user's events that follow each other within half an hour.

use roaring::RoaringBitmap;

use super::{Analytics, Way, funnel::median, trails::Walk};
use crate::{
    audience::trail::Step,
    db::DbError,
    domain::window::{DAY_MS, Window},
};

/// Whoever does nothing for so long has ended their session.
pub const SESSION_GAP_MS: i64 = 30 * 60_000;

/// Sessions that begin in one window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sessions {
    pub count: u64,
    /// Distinct users.
    pub users: u64,
    pub events: u64,
    /// All lengths added up: from a session's first to its last event.
    pub length_ms: i64,
    pub median_ms: Option<i64>,
}

impl Analytics {
    /// The sessions that begin in each of some windows in a row, and in all of them together. A session counts where
    /// it begins, with all of its events. Of everybody, where nobody is named.
    ///
    /// Source: trails.
    pub async fn sessions(
        &self,
        windows: &[Window],
        users: Option<&RoaringBitmap>,
    ) -> Result<(Vec<Sessions>, Sessions), DbError> {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Ok(Default::default()) };
        // Whoever goes on for longer than a day behind the windows is asked for again.
        let mut behind_ms = DAY_MS;
        loop {
            let until_ms = last.to_ms.saturating_add(behind_ms);
            // What lies before the windows tells which of their events begin nothing.
            let during = first.from_ms - SESSION_GAP_MS..until_ms;
            let mut found: Vec<Found> = windows.iter().map(|_| Found::default()).collect();
            let mut is_cut = false;
            self.walk(&Walk { during, users: users.cloned(), ..Walk::default() }, |steps, _| {
                for session in steps.chunk_by(|one, next| is_one_session(one.at_ms, next.at_ms)) {
                    let (from_ms, to_ms) = (session[0].at_ms, session[session.len() - 1].at_ms);
                    let place = windows.partition_point(|window| window.to_ms <= from_ms);
                    if first.from_ms <= from_ms && place < windows.len() {
                        is_cut |= is_one_session(to_ms, until_ms);
                        found[place].add(session);
                    }
                }
            })
            .await?;
            if !is_cut {
                let all = Found::united(&found);
                return Ok((found.into_iter().map(Found::count).collect(), all.count()));
            }
            behind_ms *= 4;
        }
    }

    /// When the sessions began that a user was in at some moments, which are in order and lie on the part of the trail
    /// that is known. By everything that the user did: the trail is read further back, as far as the first of these
    /// sessions reaches.
    pub async fn session_starts(&self, mut way: Way, moments: &[i64]) -> Result<Vec<i64>, DbError> {
        let Some(first) = moments.first() else { return Ok(Vec::new()) };
        // One that was committed after the trail was read.
        way.steps.extend(moments);
        way.steps.sort_unstable();
        let mut further_ms = DAY_MS;
        while !begins_in(&way, *first) {
            let earlier = way.during.start - further_ms..way.during.start;
            way.go_on(self, earlier).await?;
            further_ms *= 2;
        }
        let mut starts = Vec::with_capacity(moments.len());
        let mut rest = moments;
        for session in way.steps.chunk_by(|one, next| is_one_session(*one, *next)) {
            let (inside, behind) = rest.split_at(rest.partition_point(|at| *at <= session[session.len() - 1]));
            starts.extend(inside.iter().map(|_| session[0]));
            rest = behind;
        }
        Ok(starts)
    }
}

/// Whether the session of a moment cannot have begun before a part of a trail.
fn begins_in(way: &Way, moment: i64) -> bool {
    let before = &way.steps[..way.steps.partition_point(|at| *at <= moment)];
    let session = before.chunk_by(|one, next| is_one_session(*one, *next)).next_back();
    session.is_none_or(|session| !is_one_session(way.during.start, session[0]))
}

/// Whether an event belongs to the session of the event before.
pub fn is_one_session(before_ms: i64, at_ms: i64) -> bool {
    at_ms - before_ms < SESSION_GAP_MS
}

/// Sessions of one window while they are gathered.
#[derive(Default)]
struct Found {
    users: RoaringBitmap,
    events: u64,
    lengths_ms: Vec<i64>,
}

impl Found {
    fn add(&mut self, session: &[Step]) {
        self.users.insert(session[0].user);
        self.events += session.len() as u64;
        self.lengths_ms.push(session[session.len() - 1].at_ms - session[0].at_ms);
    }

    fn united(all: &[Found]) -> Self {
        Self {
            users: all.iter().fold(RoaringBitmap::new(), |users, found| users | &found.users),
            events: all.iter().map(|found| found.events).sum(),
            lengths_ms: all.iter().flat_map(|found| &found.lengths_ms).copied().collect(),
        }
    }

    fn count(self) -> Sessions {
        Sessions {
            count: self.lengths_ms.len() as u64,
            users: self.users.len(),
            events: self.events,
            length_ms: self.lengths_ms.iter().sum(),
            median_ms: median(self.lengths_ms),
        }
    }
}
