//! Scalars: how values look on the wire.

use std::sync::Arc;

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{DateTime as Instant, NaiveDate, SecondsFormat, Utc};
use chrono_tz::Tz;

use super::error::ApiError;
use crate::{domain::origin::country_code, ingest::fields};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime(
    /// Epoch milliseconds; `None` where the client sent something unreadable, which is for the field
    /// that takes it to say: an event with a broken time is one rejection, not a failed request.
    Option<i64>,
);

impl DateTime {
    pub fn at(ms: i64) -> Self {
        Self(Some(ms))
    }

    pub fn ms(self, field: &str) -> Result<i64, ApiError> {
        self.0.ok_or_else(|| ApiError::invalid(field, "is not a time such as 2026-11-22T12:00:00Z"))
    }

    /// As answers show it; empty where it is unreadable.
    pub fn text(self) -> String {
        let instant = self.0.and_then(Instant::<Utc>::from_timestamp_millis);
        instant.map(|instant| instant.to_rfc3339_opts(SecondsFormat::Millis, true)).unwrap_or_default()
    }

    pub fn readable_ms(self) -> Option<i64> {
        self.0
    }
}

/// An instant in RFC 3339 with its offset: `2026-11-22T12:00:00Z`. Answers are in UTC with milliseconds.
/// Inputs may also be epoch seconds or milliseconds, told apart by their size.
#[Scalar(name = "DateTime", specified_by_url = "https://scalars.graphql.org/andimarek/date-time")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Ok(Self(fields::instant_from_text(text))),
            Value::Number(number) => Ok(Self(number.as_i64().and_then(fields::instant_from_number))),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Some(self.text()).filter(|text| !text.is_empty()).map_or(Value::Null, Value::String)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(pub NaiveDate);

impl Date {
    /// The UTC day that holds an instant.
    pub fn at(ms: i64) -> Self {
        Self(Instant::<Utc>::from_timestamp_millis(ms).unwrap_or_default().date_naive())
    }
}

/// A day of the calendar: `2026-11-22`.
#[Scalar(name = "Date", specified_by_url = "https://scalars.graphql.org/andimarek/local-date")]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        // The parser would take signs and other numbers of digits, too.
        let day = text.parse().ok().filter(|day: &NaiveDate| day.to_string() == *text);
        day.map(Self).ok_or_else(|| InputValueError::custom("is not a day such as 2026-11-22"))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duration {
    pub ms: i64,
}

/// A hundred years.
const DURATION_MS_MAX: i64 = 100 * 366 * 24 * 3_600_000;

/// A length of time in ISO 8601, of weeks, days, hours, minutes and seconds: `P28D`, `PT15M`, `PT0.25S`.
/// Years and months have no fixed length; use a period or a span of instants instead.
#[Scalar(name = "Duration")]
impl ScalarType for Duration {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let ms = match iso8601::duration(text) {
            Ok(iso8601::Duration::Weeks(weeks)) => i64::from(weeks) * 7 * 86_400_000,
            Ok(iso8601::Duration::YMDHMS { year: 0, month: 0, day, hour, minute, second, millisecond }) => {
                i64::from(day) * 86_400_000
                    + i64::from(hour) * 3_600_000
                    + i64::from(minute) * 60_000
                    + i64::from(second) * 1_000
                    + i64::from(millisecond)
            }
            Ok(_) => {
                return Err(InputValueError::custom("years and months have no fixed length; use days, as in P28D"));
            }
            Err(_) => return Err(InputValueError::custom("is not an ISO 8601 duration such as P28D or PT15M")),
        };
        if !(1..=DURATION_MS_MAX).contains(&ms) {
            return Err(InputValueError::custom("must be longer than nothing and at most a hundred years"));
        }
        Ok(Self { ms })
    }

    fn to_value(&self) -> Value {
        let (days, rest) = (self.ms / 86_400_000, self.ms % 86_400_000);
        let text = match (days, rest) {
            (days, 0) => format!("P{days}D"),
            (0, rest) => format!("PT{}S", rest as f64 / 1_000.0),
            (days, rest) => format!("P{days}DT{}S", rest as f64 / 1_000.0),
        };
        Value::String(text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeZone(pub Tz);

/// An IANA time zone name such as `Europe/Berlin`; aliases are accepted.
#[Scalar(name = "TimeZone")]
impl ScalarType for TimeZone {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let zone =
            text.parse().map_err(|_| InputValueError::custom("is not an IANA time zone such as Europe/Berlin"))?;
        Ok(Self(zone))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.name().to_owned())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Long(pub i64);

const LONG_MAX: i64 = (1 << 53) - 1;

impl Long {
    /// Counts beyond 2^53 - 1 are shown as that: no reader could hold them.
    pub fn of(count: impl TryInto<i64>) -> Self {
        Self(count.try_into().unwrap_or(LONG_MAX).clamp(-LONG_MAX, LONG_MAX))
    }
}

/// A whole number up to 2^53 - 1, as a JSON number. (`Int` ends at 2^31 - 1.)
#[Scalar(name = "Long")]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => match number.as_i64().filter(|number| number.abs() <= LONG_MAX) {
                Some(number) => Ok(Self(number)),
                None => Err(InputValueError::custom("is not a whole number within 2^53 - 1")),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decimal(pub String);

/// An exact decimal number, as a string: `"9.99"`. Inputs may be numbers too.
#[Scalar(name = "Decimal")]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyCode(pub String);

/// A currency's ISO 4217 code: `EUR`.
#[Scalar(name = "CurrencyCode", specified_by_url = "https://www.iso.org/iso-4217-currency-codes.html")]
impl ScalarType for CurrencyCode {
    fn parse(value: Value) -> InputValueResult<Self> {
        text(value).map(Self).map_err(InputValueError::expected_type)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountryCode(pub String);

impl CountryCode {
    /// The code as it is stored.
    pub fn parse(&self, field: &str) -> Result<Arc<str>, ApiError> {
        let code = country_code(&self.0).map(Arc::from);
        code.ok_or_else(|| ApiError::invalid(field, "is not an ISO 3166-1 alpha-2 country code such as DE"))
    }
}

/// A country's ISO 3166-1 alpha-2 code: `DE`.
#[Scalar(name = "CountryCode", specified_by_url = "https://www.iso.org/iso-3166-country-codes.html")]
impl ScalarType for CountryCode {
    fn parse(value: Value) -> InputValueResult<Self> {
        text(value).map(Self).map_err(InputValueError::expected_type)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

fn text(value: Value) -> Result<String, Value> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(other),
    }
}
