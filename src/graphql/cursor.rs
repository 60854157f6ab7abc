//! Cursors of rankings.

use serde::{Deserialize, Serialize};

use super::input::WINDOW_MS_MAX;
use crate::domain::{
    entity::EntityKind,
    measure::Metric,
    ranking::Among,
    window::{AskedWindow, Window},
};

/// An edge of a ranking: the list it was in, for as long as that is kept, and what finds its place in a new one over
/// the same window.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which ranking it belongs to.
    pub ranking: String,
    pub list: u64,
    pub from_ms: i64,
    pub to_ms: i64,
    /// From 1.
    pub position: usize,
    pub value: i64,
    pub id: String,
}

/// Past the year 9999, on either side of 1970.
const INSTANT_MS_MAX: i64 = 300_000_000_000_000;

impl Cursor {
    pub fn to_text(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_default();
        json.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads a cursor of this ranking.
    pub fn parse(text: &str, ranking: &str) -> Option<Self> {
        if text.len() > 4_096 || !text.is_ascii() || !text.len().is_multiple_of(2) {
            return None;
        }
        let bytes: Option<Vec<u8>> =
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect();
        let cursor: Self = serde_json::from_slice(&bytes?).ok()?;
        // Anybody can write a cursor: what none of ours can say is refused before it is computed with.
        let is_possible = cursor.ranking == ranking
            && (-INSTANT_MS_MAX..INSTANT_MS_MAX).contains(&cursor.from_ms)
            && (-INSTANT_MS_MAX..INSTANT_MS_MAX).contains(&cursor.to_ms)
            && cursor.from_ms < cursor.to_ms
            && cursor.to_ms - cursor.from_ms <= WINDOW_MS_MAX
            && cursor.position > 0
            && cursor.value > 0;
        is_possible.then_some(cursor)
    }

    pub fn window(&self) -> Window {
        Window::snapped_outward(self.from_ms, self.to_ms)
    }
}

/// The name of a ranking in its cursors: everything that was asked for.
pub fn ranking_name(of: EntityKind, by: Metric, during: AskedWindow, among: &Among) -> String {
    format!("{} by {by:?} during {during:?} among {among:?}", of.word())
}
