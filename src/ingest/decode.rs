//! From bytes to events: one JSON object, a JSON array, or one object a line (NDJSON).

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::{Decoded, fields};
use crate::domain::{
    entity::{EntityKind, EntityRef},
    event::{NewEvent, RejectCode, Rejection},
};

/// The body as a whole is not what it should be; nothing of it was taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("the body holds no event; send an event, an array of events, or one event a line")]
    Empty,
    #[error("the body is not JSON: {0}")]
    NotJson(String),
}

/// Splits a body into events. A broken event is one rejection; its neighbours are not affected.
pub fn body(bytes: &[u8]) -> Result<Vec<Decoded>, BodyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| BodyError::NotUtf8)?;
    // Some editors and languages put a byte order mark in front.
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.as_bytes().first() {
        None => Err(BodyError::Empty),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
            if items.is_empty() {
                return Err(BodyError::Empty);
            }
            Ok(items.into_iter().map(|item| event(item.get())).collect())
        }
        Some(_) => match serde_json::from_str::<&RawValue>(text) {
            Ok(item) => Ok(vec![event(item.get())]),
            Err(_) if text.contains('\n') => Ok(lines(text)),
            Err(error) => Err(not_json(error)),
        },
    }
}

fn lines(text: &str) -> Vec<Decoded> {
    text.lines().filter(|line| !line.trim().is_empty()).map(event).collect()
}

fn not_json(error: serde_json::Error) -> BodyError {
    BodyError::NotJson(error.to_string())
}

/// Decodes one event from its JSON text.
pub fn event(text: &str) -> Decoded {
    match serde_json::from_str::<EventJson>(text) {
        Ok(json) => Ok(json.into_event(text.trim().len())),
        Err(error) => Err(explain(text, &error)),
    }
}

/// Finds out which field is wrong, by trying each alone. Only refused events pay for this.
fn explain(text: &str, error: &serde_json::Error) -> Rejection {
    let Ok(serde_json::Value::Object(members)) = serde_json::from_str(text) else {
        return match serde_json::from_str::<serde_json::Value>(text) {
            Ok(_) => Rejection::malformed("an event is a JSON object"),
            Err(error) => Rejection::malformed(format!("the event is not JSON: {error}")),
        };
    };
    let id = members.get("id").and_then(|id| id.as_str()).map(str::to_owned);
    for (name, value) in &members {
        let alone = serde_json::Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = serde_json::from_str::<EventJson>(&serde_json::Value::Object(alone).to_string()) {
            let message = error.to_string();
            let (code, message) = if message.starts_with("unknown field") {
                (RejectCode::UnknownField, "is not a field of an event; what is your own belongs in properties")
            } else {
                // Without the place in the line, which is that of our own small document.
                (RejectCode::InvalidValue, message.rsplit_once(" at line").map_or(&*message, |(text, _)| text))
            };
            return Rejection { id, ..Rejection::new(code, name, message) };
        }
    }
    // Each field is fine alone: a field was given twice.
    Rejection { id, ..Rejection::malformed(error.to_string()) }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventJson {
    id: Option<String>,
    r#type: Option<String>,
    #[serde(default, deserialize_with = "instant")]
    occurred_at: Option<i64>,
    user_id: Option<String>,
    anonymous_id: Option<String>,
    entity: Option<EntityJson>,
    song_id: Option<String>,
    song_title: Option<String>,
    album_id: Option<String>,
    album_title: Option<String>,
    playlist_id: Option<String>,
    artist_id: Option<String>,
    artist_name: Option<String>,
    genre: Option<String>,
    country: Option<String>,
    source: Option<String>,
    device: Option<String>,
    played_ms: Option<i64>,
    duration_ms: Option<i64>,
    ended_by_user: Option<bool>,
    count: Option<i64>,
    #[serde(default, deserialize_with = "decimal")]
    amount: Option<String>,
    currency: Option<String>,
    properties: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntityJson {
    #[serde(deserialize_with = "entity_kind")]
    kind: EntityKind,
    id: String,
}

impl EventJson {
    fn into_event(self, size_bytes: usize) -> NewEvent {
        NewEvent {
            id: self.id,
            event_type: self.r#type,
            occurred_at_ms: self.occurred_at,
            user_id: self.user_id,
            anonymous_id: self.anonymous_id,
            entity: self.entity.map(|entity| EntityRef::new(entity.kind, entity.id)),
            song_id: self.song_id,
            song_title: self.song_title,
            album_id: self.album_id,
            album_title: self.album_title,
            playlist_id: self.playlist_id,
            artist_id: self.artist_id,
            artist_name: self.artist_name,
            genre: self.genre,
            country: self.country,
            source: self.source,
            device: self.device,
            played_ms: self.played_ms,
            duration_ms: self.duration_ms,
            ended_by_user: self.ended_by_user,
            count: self.count,
            amount: self.amount,
            currency: self.currency,
            properties: self.properties.map(|properties| properties.get().to_owned()),
            size_bytes,
        }
    }
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Sent {
        Number(i64),
        Text(String),
        Nothing,
    }
    let instant = match Sent::deserialize(deserializer) {
        Ok(Sent::Nothing) => return Ok(None),
        Ok(Sent::Number(number)) => fields::instant_from_number(number),
        Ok(Sent::Text(text)) => fields::instant_from_text(&text),
        Err(_) => None,
    };
    let expected =
        "is not a time: send RFC 3339 with an offset (2026-11-22T12:00:00Z), or epoch seconds or milliseconds";
    instant.map(Some).ok_or_else(|| de::Error::custom(expected))
}

fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Sent {
        Number(serde_json::Number),
        Text(String),
        Nothing,
    }
    match Sent::deserialize(deserializer) {
        Ok(Sent::Nothing) => Ok(None),
        // The shortest text of a double is the one that was sent, for every amount money comes in.
        Ok(Sent::Number(number)) => Ok(Some(number.to_string())),
        Ok(Sent::Text(text)) => Ok(Some(text)),
        Err(_) => Err(de::Error::custom("is not a decimal number such as \"9.99\"")),
    }
}

fn entity_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntityKind, D::Error> {
    let word = String::deserialize(deserializer)?;
    EntityKind::ALL
        .into_iter()
        .find(|kind| kind.word().eq_ignore_ascii_case(&word))
        .ok_or_else(|| de::Error::custom("kind is not one of SONG, ALBUM, PLAYLIST, ARTIST"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_as_object_array_or_lines() {
        for (text, count) in [
            (r#"{"id":"1","type":"a.b"}"#, 1),
            ("\u{feff} {\"id\":\"1\",\n\"type\":\"a.b\"} ", 1),
            (r#"[{"id":"1"},{"id":"2"}]"#, 2),
            ("{\"id\":\"1\"}\n\n{\"id\":\"2\"}\r\n{\"id\":\"3\"}", 3),
        ] {
            let events = body(text.as_bytes()).unwrap();
            assert_eq!(events.len(), count, "{text}");
            assert!(events.iter().all(Result::is_ok), "{text}");
        }
        assert_eq!(body(b"  "), Err(BodyError::Empty));
        assert_eq!(body(b"[]"), Err(BodyError::Empty));
        assert_eq!(body(b"\xff"), Err(BodyError::NotUtf8));
        assert!(matches!(body(b"{\"id\":"), Err(BodyError::NotJson(_))));
        assert!(matches!(body(b"[{\"id\":\"1\"},"), Err(BodyError::NotJson(_))));
    }

    #[test]
    fn a_broken_line_leaves_its_neighbours_alone() {
        let events = body(b"{\"id\":\"1\"}\n{\"id\":\n{\"id\":\"3\"}").unwrap();
        assert!(events[0].is_ok() && events[1].is_err() && events[2].is_ok());
    }

    #[test]
    fn a_rejection_names_the_field() {
        for (text, code, field) in [
            (r#"{"id":"1","playedMs":"long"}"#, RejectCode::InvalidValue, Some("playedMs")),
            (r#"{"id":"1","playedMs":1.5}"#, RejectCode::InvalidValue, Some("playedMs")),
            (r#"{"id":1}"#, RejectCode::InvalidValue, Some("id")),
            (r#"{"id":"1","playdMs":1}"#, RejectCode::UnknownField, Some("playdMs")),
            (r#"{"id":"1","occurredAt":"soon"}"#, RejectCode::InvalidValue, Some("occurredAt")),
            (r#"{"id":"1","occurredAt":12345}"#, RejectCode::InvalidValue, Some("occurredAt")),
            (r#"{"id":"1","entity":{"kind":"BAND","id":"x"}}"#, RejectCode::InvalidValue, Some("entity")),
            (r#"{"id":"1","userId":"\ud800"}"#, RejectCode::Malformed, None),
            (r#"{"id":"1","id":"2"}"#, RejectCode::Malformed, None),
            (r#""text""#, RejectCode::Malformed, None),
            ("17", RejectCode::Malformed, None),
        ] {
            let rejection = event(text).unwrap_err();
            assert_eq!((rejection.code, rejection.field.as_deref()), (code, field), "{text}: {rejection:?}");
        }
    }

    #[test]
    fn numbers_are_taken_where_they_are_unambiguous() {
        let sent = event(r#"{"id":"1","occurredAt":1795348800,"amount":9.99,"currency":"EUR"}"#).unwrap();
        assert_eq!(sent.occurred_at_ms, Some(1_795_348_800_000));
        assert_eq!(sent.amount.as_deref(), Some("9.99"));
    }
}
