//! What clients send, and the valid values it becomes.

use async_graphql::{Enum, ID, InputObject, OneofObject};

use super::{
    error::ApiError,
    scalars::{CountryCode, CurrencyCode, DateTime, Decimal, Duration, Long},
};
use crate::{
    domain::{
        chart,
        counting::Counter,
        entity,
        event::{NewEvent, RejectCode, Rejection},
        event_filter::AskedStretch,
        measure, origin, trend,
        window::{self, AskedWindow},
    },
    ingest::Decoded,
};

/// A half-open stretch of time [from, to); exactly one field is given. Counted are whole quarter-hours:
/// a window that cuts one is widened to it, and the answer's `span` says what was counted.
#[derive(Debug, Clone, OneofObject)]
#[graphql(name = "Window")]
pub enum WindowInput {
    /// The stretch of this length that ends now.
    Last(Duration),
    /// A calendar period in the field's time zone.
    Period(Period),
    /// From one instant to another.
    Between(Span),
}

/// What `purge` is to remove.
#[derive(Debug, Clone, InputObject)]
pub struct PurgeInput {
    /// The word `purge`, to say that it is meant.
    pub confirm: String,
    /// Whether the catalogue goes too: what events told of songs, albums, playlists and artists, what `upsertCatalog`
    /// said, and merges.
    #[graphql(default)]
    pub catalogue: bool,
}

/// Two instants; the second is not included.
#[derive(Debug, Clone, InputObject)]
pub struct Span {
    /// The first instant that is included.
    pub from: DateTime,
    /// The first instant that is not included any more.
    pub to: DateTime,
}

/// A calendar period, in the time zone of the field that takes it. Weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "window::Period")]
pub enum Period {
    /// The whole of today; its end lies ahead.
    Today,
    /// The day before today.
    Yesterday,
    /// Monday to Sunday around today.
    ThisWeek,
    /// The week before this one.
    LastWeek,
    /// The month around today.
    ThisMonth,
    /// The month before this one.
    LastMonth,
    /// The year around today.
    ThisYear,
    /// The year before this one.
    LastYear,
    /// From the first counted event until now.
    AllTime,
}

/// The length of a timeline's buckets, by the calendar of its time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "window::Granularity")]
pub enum Granularity {
    /// Hours of the wall clock.
    Hour,
    /// Days from midnight to midnight; 23 or 25 hours long when the clocks change.
    Day,
    /// Weeks from Monday.
    Week,
    /// Calendar months.
    Month,
    /// Calendar years.
    Year,
}

impl Granularity {
    /// For what is kept by days: the argument `field` must name a day or more.
    pub fn of_days(self, field: &str) -> Result<window::Granularity, ApiError> {
        match self {
            Self::Hour => Err(ApiError::invalid(field, "must be DAY, WEEK, MONTH or YEAR")),
            days => Ok(days.into()),
        }
    }
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum EntityKind {
    /// A song; events call it a track.
    Song,
    /// An album or other release.
    Album,
    /// A playlist.
    Playlist,
    /// An artist, with everything credited to them.
    Artist,
}

impl From<EntityKind> for entity::EntityKind {
    fn from(kind: EntityKind) -> Self {
        match kind {
            EntityKind::Song => Self::Song,
            EntityKind::Album => Self::Album,
            EntityKind::Playlist => Self::Playlist,
            EntityKind::Artist => Self::Artist,
        }
    }
}

impl From<entity::EntityKind> for EntityKind {
    fn from(kind: entity::EntityKind) -> Self {
        match kind {
            entity::EntityKind::Song => Self::Song,
            entity::EntityKind::Album => Self::Album,
            entity::EntityKind::Playlist => Self::Playlist,
            _ => Self::Artist,
        }
    }
}

/// What numbers are broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "origin::Dimension")]
pub enum Dimension {
    /// The country of the play, as ISO 3166-1 alpha-2.
    Country,
    /// Where it was played from: search, artist_page, editorial_playlist, radio, …
    Source,
    /// What it was played on.
    Device,
}

/// How often charts are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "chart::Cadence")]
pub enum Cadence {
    /// Charts of single UTC days.
    Daily,
    /// Charts of seven UTC days; from Friday to Thursday unless the platform has chosen another day.
    Weekly,
    /// Charts of calendar months in UTC.
    Monthly,
}

/// What entities are ranked by and timelines have columns for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub enum Metric {
    /// Playback reports of any length.
    Plays,
    /// Plays of 30 seconds and more, or of unknown length.
    Streams,
    /// Distinct identified people with at least one stream.
    Listeners,
    /// Likes given, without those taken back subtracted.
    Likes,
    /// Shares.
    Shares,
    /// Saves to a library, without those taken back subtracted.
    Saves,
    /// Additions to playlists.
    PlaylistAdds,
    /// Follows, without unfollows subtracted.
    Follows,
    /// Paid orders. Open to the artist whose numbers they are, and to admins.
    Purchases,
    /// Time heard, in milliseconds. Open to the artist whose numbers they are, and to admins.
    ListeningTime,
    /// Plays that a person ended before 30 seconds. Open to the artist whose numbers they are, and to admins.
    Skips,
}

impl From<Metric> for measure::Metric {
    fn from(metric: Metric) -> Self {
        let counter = match metric {
            Metric::Listeners => return Self::Listeners,
            Metric::Plays => Counter::Plays,
            Metric::Streams => Counter::Streams,
            Metric::Likes => Counter::Likes,
            Metric::Shares => Counter::Shares,
            Metric::Saves => Counter::Saves,
            Metric::PlaylistAdds => Counter::PlaylistAdds,
            Metric::Follows => Counter::Follows,
            Metric::Purchases => Counter::Purchases,
            Metric::ListeningTime => Counter::ListeningMs,
            Metric::Skips => Counter::Skips,
        };
        Self::Counter(counter)
    }
}

/// How quickly what trends comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "trend::TrendPeriod")]
pub enum TrendPeriod {
    /// Within hours: a velocity of half-life 12 hours against one of 7 days.
    Day,
    /// Within days: 1 day against 14 days.
    Week,
    /// Within weeks: 4 days against 56 days.
    Month,
}

/// Names an entity.
#[derive(Debug, Clone, InputObject)]
pub struct EntityRef {
    /// What it is.
    pub kind: EntityKind,
    /// The platform's own id.
    pub id: ID,
}

impl From<EntityRef> for entity::EntityRef {
    fn from(input: EntityRef) -> Self {
        entity::EntityRef::new(input.kind.into(), input.id.0)
    }
}

impl Period {
    /// The longest that the period can be; all time counts as ten years.
    pub fn length_ms_max(self) -> i64 {
        let days = match self {
            Self::Today | Self::Yesterday => 1,
            Self::ThisWeek | Self::LastWeek => 7,
            Self::ThisMonth | Self::LastMonth => 31,
            Self::ThisYear | Self::LastYear => 366,
            Self::AllTime => 3_653,
        };
        days * window::DAY_MS
    }
}
/// 200 years: longer than anything is on record, and few enough days to read one by one.
pub const WINDOW_MS_MAX: i64 = 200 * 366 * window::DAY_MS;

impl WindowInput {
    pub fn days(days: i64) -> Self {
        Self::Last(Duration { ms: days * window::DAY_MS })
    }

    pub fn hours(hours: i64) -> Self {
        Self::Last(Duration { ms: hours * window::HOUR_MS })
    }

    pub fn today() -> Self {
        Self::Period(Period::Today)
    }

    /// The valid question that this asks.
    pub fn parse(self) -> Result<AskedWindow, ApiError> {
        Ok(match self.parse_exactly()? {
            AskedStretch::Last(length_ms) => AskedWindow::Last(length_ms),
            AskedStretch::Period(period) => AskedWindow::Period(period),
            AskedStretch::Between { from_ms, to_ms } => {
                AskedWindow::Between(window::Window::snapped_outward(from_ms, to_ms))
            }
        })
    }

    /// The same to the millisecond, for what is not counted by quarter-hours.
    pub fn parse_exactly(self) -> Result<AskedStretch, ApiError> {
        match self {
            Self::Last(duration) => Ok(AskedStretch::Last(duration.ms)),
            Self::Period(period) => Ok(AskedStretch::Period(period.into())),
            Self::Between(span) => {
                let (from_ms, to_ms) = (span.from.ms("between.from")?, span.to.ms("between.to")?);
                if from_ms >= to_ms {
                    return Err(ApiError::invalid("between", "from must lie before to"));
                }
                if to_ms - from_ms > WINDOW_MS_MAX {
                    return Err(ApiError::invalid("between", "must not be longer than 200 years"));
                }
                Ok(AskedStretch::Between { from_ms, to_ms })
            }
        }
    }
}

/// Checks a page size that is given as `first`.
pub fn page_size(first: i32, max: usize) -> Result<usize, ApiError> {
    page_size_of("first", first, max)
}

/// Checks a page size by the name of its argument.
pub fn page_size_of(field: &str, size: i32, max: usize) -> Result<usize, ApiError> {
    usize::try_from(size)
        .ok()
        .filter(|size| (1..=max).contains(size))
        .ok_or_else(|| ApiError::invalid(field, format!("must be between 1 and {max}")))
}

/// Something that happened on the platform, as one of its services reports it.
///
/// Well-known types are counted: track.played, track.liked, track.unliked, track.shared, track.saved,
/// track.unsaved, the same five for album and playlist, playlist.track_added, artist.followed,
/// artist.unfollowed, order.paid, order.refunded. Any other type is stored and moves no music counter.
#[derive(Debug, Clone, InputObject)]
pub struct EventInput {
    /// The sender's own unique id of the event: sent again under it, the event counts once. At most 200 characters.
    pub id: ID,
    /// What happened, as a dotted name such as `track.played`.
    #[graphql(name = "type")]
    pub event_type: String,
    /// When it happened. Left out: now, or the time inside an id that is a UUIDv7 or a ULID. At most five
    /// minutes ahead of the server's clock.
    pub occurred_at: Option<DateTime>,
    /// The signed-in person it is about.
    pub user_id: Option<String>,
    /// The person it is about while they are not signed in.
    pub anonymous_id: Option<String>,
    /// What it is about; the same as giving that kind's id below.
    pub entity: Option<EntityRef>,
    /// The song it is about.
    pub song_id: Option<String>,
    /// The song's title. Without a `songId`, title and artist give a stable id.
    pub song_title: Option<String>,
    /// The album it is about, or that the song was played from. A play counts for it, unless the catalogue has the
    /// song on another: then this one has the direct stream.
    pub album_id: Option<String>,
    /// The album's title. Without an `albumId`, title and artist give a stable id.
    pub album_title: Option<String>,
    /// The playlist it is about, or that the song was played from.
    pub playlist_id: Option<String>,
    /// The main artist: the event counts for them, unless the catalogue says whose the song or album is.
    pub artist_id: Option<String>,
    /// The main artist's name. Without an `artistId`, the name gives a stable id.
    pub artist_name: Option<String>,
    /// The song's genre. Where the catalogue says nothing, a song has the first one told, albums and artists all.
    pub genre: Option<String>,
    /// Where it happened.
    pub country: Option<CountryCode>,
    /// Where it was played from: search, artist_page, editorial_playlist, radio, …
    pub source: Option<String>,
    /// What it was played on.
    pub device: Option<String>,
    /// How long was heard, in milliseconds. A play without it counts as a stream.
    pub played_ms: Option<Long>,
    /// How long the song is, in milliseconds. Listening time is capped at it.
    pub duration_ms: Option<Long>,
    /// Whether a person ended the play, rather than its end or a lost connection. Left out: yes, unless
    /// the song was played to its end.
    pub ended_by_user: Option<bool>,
    /// How many such events this one stands for, to back-fill totals of an older system. It adds to
    /// counters, never to listeners; `playedMs` is that of each, `amount` that of all together.
    pub count: Option<Long>,
    /// The amount of an order.
    pub amount: Option<Decimal>,
    /// The amount's currency.
    pub currency: Option<CurrencyCode>,
    /// Anything else, as a JSON object nested at most 16 levels deep.
    pub properties: Option<async_graphql::Json<serde_json::Value>>,
}

impl EventInput {
    pub fn decode(self) -> Decoded {
        let properties = self.properties.map(|properties| properties.0.to_string());
        let occurred_at_ms = match self.occurred_at {
            None => None,
            Some(at) => Some(at.readable_ms().ok_or_else(|| {
                let message = "is not a time: send RFC 3339 with an offset (2026-11-22T12:00:00Z)";
                let rejection = Rejection::new(RejectCode::InvalidValue, "occurredAt", message);
                Rejection { id: Some(self.id.0.clone()), ..rejection }
            })?),
        };
        let mut event = NewEvent {
            id: Some(self.id.0),
            event_type: Some(self.event_type),
            occurred_at_ms,
            user_id: self.user_id,
            anonymous_id: self.anonymous_id,
            entity: self.entity.map(Into::into),
            song_id: self.song_id,
            song_title: self.song_title,
            album_id: self.album_id,
            album_title: self.album_title,
            playlist_id: self.playlist_id,
            artist_id: self.artist_id,
            artist_name: self.artist_name,
            genre: self.genre,
            country: self.country.map(|country| country.0),
            source: self.source,
            device: self.device,
            played_ms: self.played_ms.map(|number| number.0),
            duration_ms: self.duration_ms.map(|number| number.0),
            ended_by_user: self.ended_by_user,
            count: self.count.map(|number| number.0),
            amount: self.amount.map(|amount| amount.0),
            currency: self.currency.map(|currency| currency.0),
            properties,
            size_bytes: 0,
        };
        event.size_bytes = event.texts_size_bytes();
        Ok(event)
    }
}
