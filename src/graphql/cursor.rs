//! Cursors of rankings and of lists of events.

use serde::{Deserialize, Serialize};

use super::input::WINDOW_MS_MAX;
use crate::domain::{
    entity::EntityKind,
    event::EventKey,
    measure::Metric,
    naming::hash128,
    pseudonym::Pseudonyms,
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
        hex(&json)
    }

    /// Reads a cursor of this ranking.
    pub fn parse(text: &str, ranking: &str) -> Option<Self> {
        let cursor: Self = serde_json::from_slice(&bytes_of(text)?).ok()?;
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

/// A place among events, as a client carries it: for which list, when, and a key that only we can read.
pub fn event_cursor(list: &str, key: EventKey, pseudonyms: &Pseudonyms) -> String {
    let mut bytes = hash128(&[list]).to_vec();
    bytes.extend(key.occurred_at_ms.to_be_bytes());
    bytes.extend(pseudonyms.seal(key.hash));
    hex(&bytes)
}

/// Reads the cursor of a place in this list. Nothing has to lie there, any more or ever.
pub fn parse_event_cursor(text: &str, list: &str, pseudonyms: &Pseudonyms) -> Option<EventKey> {
    let bytes: [u8; 40] = bytes_of(text)?.try_into().ok()?;
    let (name, rest) = bytes.split_first_chunk::<16>()?;
    let (at, sealed) = rest.split_first_chunk::<8>()?;
    let hash = pseudonyms.open(sealed.try_into().ok()?);
    (*name == hash128(&[list])).then(|| EventKey { occurred_at_ms: i64::from_be_bytes(*at), hash })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    if text.len() > 4_096 || !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
