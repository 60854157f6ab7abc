//! The last hour, play by play: what a commit tells of it, and the numbers that are made of it.

use serde::{Deserialize, Serialize};

use super::entity::{EntityKind, EntityRef};

pub const MINUTE_S: i64 = 60;
/// Who played something within so many seconds is listening now.
pub const LISTENERS_NOW_S: i64 = 5 * MINUTE_S;
/// How many minutes have a number of plays each; the last is the one that runs now.
pub const MINUTES: usize = 60;

/// When the first of the minutes that are kept at `now_ms` begins.
pub fn first_minute_ms(now_ms: i64) -> i64 {
    (minute_of(now_ms.div_euclid(1_000)) - MINUTES as i64 + 1) * MINUTE_S * 1_000
}

pub fn minute_of(at_s: i64) -> i64 {
    at_s.div_euclid(MINUTE_S)
}

/// One event's plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {
    /// The second in which they happened.
    pub at_s: i64,
    /// How many; more than one where an event stands for several.
    pub times: i64,
    /// The number of the identified person who listened.
    pub listener: Option<u32>,
}

/// Recent plays of one entity, or of the whole platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaysOf {
    /// `None` is the platform, for which each event counts once, whatever entities it names.
    #[serde(with = "entity_text")]
    pub entity: Option<EntityRef>,
    pub plays: Vec<Play>,
}

/// The present state of an entity, or of the whole platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RealtimeNumbers {
    /// Distinct identified people with a play in the last five minutes.
    pub listeners_now: u64,
    /// Plays of each of the last sixty minutes, oldest first; the last minute still runs.
    pub plays_per_minute: Vec<u64>,
    /// Whether nothing is missing.
    pub is_complete: bool,
}

/// An entity in a word to another process: its kind's number and its id.
mod entity_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{EntityKind, EntityRef};

    pub fn serialize<S: Serializer>(entity: &Option<EntityRef>, to: S) -> Result<S::Ok, S::Error> {
        entity.as_ref().map(|entity| (entity.kind.code(), &*entity.id)).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<EntityRef>, D::Error> {
        let Some((kind, id)) = Option::<(i16, String)>::deserialize(from)? else { return Ok(None) };
        let kind = EntityKind::from_code(kind).ok_or_else(|| D::Error::custom("no such kind of entity"))?;
        Ok(Some(EntityRef::new(kind, id)))
    }
}
