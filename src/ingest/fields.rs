//! An event's fields by name, from text: how a CSV file's columns become an event.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::domain::event::{NewEvent, RejectCode, Rejection};

/// The fields that a column can be mapped to.
pub const FIELDS: [&str; 23] = [
    "id",
    "type",
    "occurredAt",
    "userId",
    "anonymousId",
    "songId",
    "songTitle",
    "albumId",
    "albumTitle",
    "playlistId",
    "artistId",
    "artistName",
    "genre",
    "country",
    "source",
    "device",
    "playedMs",
    "durationMs",
    "endedByUser",
    "count",
    "amount",
    "currency",
    "properties",
];

/// Sets one field from a cell's text. An empty cell is an absent field.
pub fn set_field(event: &mut NewEvent, field: &str, text: &str) -> Result<(), Rejection> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(());
    }
    let invalid = |message: &str| Rejection::new(RejectCode::InvalidValue, field, message);
    let number = || text.parse::<i64>().map(Some).map_err(|_| invalid("is not a whole number"));
    let owned = || Some(text.to_owned());
    match field {
        "id" => event.id = owned(),
        "type" => event.event_type = owned(),
        "occurredAt" => {
            let instant = instant_from_text(text).or_else(|| instant_without_offset(text));
            event.occurred_at_ms = Some(
                instant.ok_or_else(|| invalid("is not a time such as 2026-11-22T12:00:00Z or epoch milliseconds"))?,
            );
        }
        "userId" => event.user_id = owned(),
        "anonymousId" => event.anonymous_id = owned(),
        "songId" => event.song_id = owned(),
        "songTitle" => event.song_title = owned(),
        "albumId" => event.album_id = owned(),
        "albumTitle" => event.album_title = owned(),
        "playlistId" => event.playlist_id = owned(),
        "artistId" => event.artist_id = owned(),
        "artistName" => event.artist_name = owned(),
        "genre" => event.genre = owned(),
        "country" => event.country = owned(),
        "source" => event.source = owned(),
        "device" => event.device = owned(),
        "playedMs" => event.played_ms = number()?,
        "durationMs" => event.duration_ms = number()?,
        "endedByUser" => {
            event.ended_by_user = match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" => Some(false),
                _ => return Err(invalid("is neither true nor false")),
            };
        }
        "count" => event.count = number()?,
        "amount" => event.amount = owned(),
        "currency" => event.currency = owned(),
        "properties" => event.properties = owned(),
        _ => return Err(Rejection::new(RejectCode::UnknownField, field, "is not a field of an event")),
    }
    Ok(())
}

/// An instant in RFC 3339 with its offset, or digits that count seconds or milliseconds since 1970.
pub fn instant_from_text(text: &str) -> Option<i64> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.timestamp_millis()).filter(|ms| is_plausible(*ms));
    }
    instant_from_number(text.parse().ok()?)
}

/// Seconds or milliseconds since 1970, told apart by size: between 1973 and 5138 a number of seconds
/// has nine to eleven digits, a number of milliseconds more. Smaller numbers could mean either.
pub fn instant_from_number(number: i64) -> Option<i64> {
    match number {
        100_000_000..100_000_000_000 => Some(number * 1_000),
        100_000_000_000..100_000_000_000_000 => Some(number),
        _ => None,
    }
}

/// A date, or a date and time, that a file gives without an offset: read as UTC.
fn instant_without_offset(text: &str) -> Option<i64> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|date| date.and_hms_opt(0, 0, 0));
    let time = || {
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    };
    date.or_else(time).map(|instant| instant.and_utc().timestamp_millis()).filter(|ms| is_plausible(*ms))
}

/// From 1900 on: recorded music is hardly older, and earlier dates are broken clocks.
fn is_plausible(ms: i64) -> bool {
    const YEAR_1900: i64 = -2_208_988_800_000;
    ms >= YEAR_1900
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_in_every_form_that_is_unambiguous() {
        for (text, expected) in [
            ("2026-11-22T12:00:00Z", Some(1_795_348_800_000)),
            ("2026-11-22T13:00:00.250+01:00", Some(1_795_348_800_250)),
            ("1795348800", Some(1_795_348_800_000)),
            ("1795348800250", Some(1_795_348_800_250)),
            ("2028-02-29T00:00:00Z", Some(1_835_395_200_000)),
            ("2027-02-29T00:00:00Z", None),
            ("2026-11-22T12:00:00", None),
            ("12345", None),
            ("0001-01-01T00:00:00Z", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(instant_from_text(text), expected, "{text}");
        }
    }

    #[test]
    fn files_may_leave_out_the_offset() {
        for (text, expected) in [
            ("1997-01-01", 852_076_800_000),
            ("2017-05-16T00:00:00.008", 1_494_892_800_008),
            ("2017-05-16 00:00:01", 1_494_892_801_000),
        ] {
            let mut event = NewEvent::default();
            set_field(&mut event, "occurredAt", text).unwrap();
            assert_eq!(event.occurred_at_ms, Some(expected), "{text}");
        }
    }

    #[test]
    fn every_field_can_be_set() {
        for field in FIELDS {
            let text = match field {
                "occurredAt" => "2026-11-22T12:00:00Z",
                "endedByUser" => "true",
                _ => "1",
            };
            set_field(&mut NewEvent::default(), field, text).unwrap();
        }
        assert!(set_field(&mut NewEvent::default(), "playdMs", "1").is_err());
    }
}
