//! Events as request bodies, and what the server said it did with them.

use std::ops::AddAssign;

use hyper::body::Bytes;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{demo::Platform, error::BenchError, target::Answer};

/// The server's limits for one request.
pub const EVENTS_MAX: u32 = 5_000;
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// No event of the demo platform is longer.
const EVENT_BYTES_MAX: usize = 1_024;

pub const EVENTS_PATH: &str = "/v1/events";

/// The platform whose events are sent.
#[derive(Debug, Clone, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlatformOptions {
    /// Artists on the platform.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    artists: u32,

    /// Songs on the platform.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    songs: u32,

    /// Playlists on the platform.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    playlists: u32,

    /// Listeners of the platform.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    listeners: u32,

    /// Which of all platforms of that size: the same seed plays the same songs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Send titles with the events, as the demo does; a third more bytes.
    #[arg(long)]
    titles: bool,
}

impl PlatformOptions {
    pub fn platform(&self) -> Platform {
        Platform::new(crate::demo::Shape {
            artists: self.artists,
            songs: self.songs,
            playlists: self.playlists,
            listeners: self.listeners,
            seed: self.seed,
            has_titles: self.titles,
            listeners_at_once: 0,
        })
    }
}

/// A number that no earlier run has used, to put into event ids.
pub fn run_id() -> String {
    format!("{:012x}", rand::rng().random::<u64>() >> 16)
}

/// One request: an event a line.
#[derive(Debug, Clone)]
pub struct Batch {
    pub body: Bytes,
    pub events: u64,
}

/// The next request's events, as many as the server takes at once but at most `events_max`; `None` when
/// there are no more.
pub fn next_batch(
    platform: &Platform,
    numbered_instants: &mut impl Iterator<Item = (u64, i64)>,
    events_max: u32,
) -> Option<Batch> {
    let mut lines = String::with_capacity(events_max as usize * 300);
    let mut events = 0;
    while events < u64::from(events_max) && lines.len() <= BODY_BYTES_MAX - EVENT_BYTES_MAX {
        let Some((number, at_ms)) = numbered_instants.next() else { break };
        platform.write_event(number, at_ms, &mut lines);
        lines.push('\n');
        events += 1;
    }
    (events > 0).then(|| Batch { body: lines.into(), events })
}

/// What the server counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
pub struct Counts {
    pub accepted: u64,
    pub duplicates: u64,
    #[serde(default)]
    pub conflicts: u64,
    pub rejected: u64,
}

impl Counts {
    /// The four counts of an answer. They come before the results, which are then not read at all.
    pub fn read(answer: &Answer) -> Result<Self, BenchError> {
        const HEAD_BYTES: usize = 256;
        const RESULTS: &[u8] = b",\"results\"";
        let body = &answer.body;
        let head = &body[..body.len().min(HEAD_BYTES)];
        let head_end = head.windows(RESULTS.len()).position(|window| window == RESULTS);
        let short = head_end.and_then(|end| serde_json::from_slice(&[&head[..end], b"}"].concat()).ok());
        match short {
            Some(counts) => Ok(counts),
            None => {
                serde_json::from_slice(body).map_err(|source| BenchError::Answer { body: answer.excerpt(), source })
            }
        }
    }

    /// The first result that was not taken, so that a person learns why.
    pub fn first_refusal(&self, answer: &Answer) -> Option<Value> {
        if self.conflicts + self.rejected == 0 {
            return None;
        }
        let mut body: Value = serde_json::from_slice(&answer.body).ok()?;
        let results = body["results"].as_array_mut()?;
        let is_refusal = |result: &Value| matches!(result["status"].as_str(), Some("REJECTED" | "CONFLICT"));
        let place = results.iter().position(is_refusal)?;
        Some(results.swap_remove(place))
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.rejected += other.rejected;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Shape;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, retry_after: None, body: body.to_owned().into() }
    }

    #[test]
    fn counts_are_read_from_the_head_or_from_anywhere() {
        let expected = Counts { accepted: 7, duplicates: 2, conflicts: 0, rejected: 1 };
        for body in [
            r#"{"accepted":7,"duplicates":2,"conflicts":0,"rejected":1,"results":[{"broken"#,
            r#"{"accepted":7,"duplicates":2,"rejected":1}"#,
            r#"{"results":[{"accepted":99}],"accepted":7,"duplicates":2,"conflicts":0,"rejected":1}"#,
            r#"{ "accepted": 7, "duplicates": 2, "conflicts": 0, "rejected": 1, "results": [] }"#,
        ] {
            assert_eq!(Counts::read(&answer(body)).unwrap(), expected, "{body}");
        }
        assert!(Counts::read(&answer("<html>")).is_err());
    }

    #[test]
    fn the_first_refusal_is_shown() {
        let body = r#"{"accepted":1,"duplicates":0,"conflicts":0,"rejected":1,
            "results":[{"index":0,"status":"ACCEPTED"},{"index":1,"status":"REJECTED","code":"TOO_OLD"}]}"#;
        let answer = answer(body);
        let refusal = Counts::read(&answer).unwrap().first_refusal(&answer).unwrap();
        assert_eq!(refusal["code"], "TOO_OLD");
        assert_eq!(Counts { accepted: 1, ..Counts::default() }.first_refusal(&answer), None);
    }

    #[test]
    fn batches_keep_the_limits_and_lose_nothing() {
        let platform = Platform::new(Shape::DEMO);
        let mut instants = (0..12_001).map(|number| (number, 1_700_000_000_000));
        let mut sizes = Vec::new();
        while let Some(batch) = next_batch(&platform, &mut instants, EVENTS_MAX) {
            assert!(batch.body.len() <= BODY_BYTES_MAX);
            assert_eq!(batch.body.iter().filter(|byte| **byte == b'\n').count() as u64, batch.events);
            sizes.push(batch.events);
        }
        assert_eq!(sizes, [5_000, 5_000, 2_001]);
    }
}
