//! An event: as a client sends it ([`NewEvent`]), and as it is stored and counted ([`Event`]).

use std::sync::Arc;

use super::{
    catalogue::Fact,
    counting::{Action, action_of},
    credit::Credits,
    entity::{EntityKind, EntityRef},
    money,
    naming::{hash128, id_from_name, normalized},
    origin::country_code,
};

/// An event as a client sent it, decoded but not yet judged. Doors differ in how they make one of
/// these, and in nothing else. Field meanings: the schema's `EventInput`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewEvent {
    pub id: Option<String>,
    pub event_type: Option<String>,
    pub occurred_at_ms: Option<i64>,
    pub user_id: Option<String>,
    pub anonymous_id: Option<String>,
    pub entity: Option<EntityRef>,
    pub song_id: Option<String>,
    pub song_title: Option<String>,
    pub album_id: Option<String>,
    pub album_title: Option<String>,
    pub playlist_id: Option<String>,
    pub artist_id: Option<String>,
    pub artist_name: Option<String>,
    pub genre: Option<String>,
    pub country: Option<String>,
    pub source: Option<String>,
    pub device: Option<String>,
    pub played_ms: Option<i64>,
    pub duration_ms: Option<i64>,
    pub ended_by_user: Option<bool>,
    pub count: Option<i64>,
    pub amount: Option<String>,
    pub currency: Option<String>,
    /// A JSON object's text.
    pub properties: Option<String>,
    /// How large the event was as sent, in bytes.
    pub size_bytes: usize,
}

/// Where an event is in the log: by time, then by a hash of who sent it under which id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    pub occurred_at_ms: i64,
    pub hash: [u8; 16],
}

/// What the ids begin with that stand for people who were erased. No sender can use it.
pub const ERASED: &str = "\u{1}";

/// An accepted event: every field checked, its entities resolved to ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub key: EventKey,
    /// Tells a repetition from a conflict.
    pub content_hash: i64,
    pub received_at_ms: i64,
    /// Whose ids these are: the token's source.
    pub source: Arc<str>,
    pub event_id: String,
    pub event_type: String,
    pub user_id: Option<Arc<str>>,
    pub anonymous_id: Option<Arc<str>>,
    pub song_id: Option<Arc<str>>,
    pub album_id: Option<Arc<str>>,
    pub playlist_id: Option<Arc<str>>,
    pub artist_id: Option<Arc<str>>,
    pub genre: Option<String>,
    pub country: Option<String>,
    pub listening_source: Option<String>,
    pub device: Option<String>,
    pub played_ms: Option<i64>,
    pub duration_ms: Option<i64>,
    pub ended_by_user: Option<bool>,
    pub count: Option<i64>,
    pub amount_minor: Option<i64>,
    pub currency: Option<String>,
    pub properties: Option<String>,
    /// What the catalogue said at the commit about whom the event counts for; `None` where that is what the
    /// event itself names. Not part of the content: a retry after a change of the catalogue is the same event.
    pub credits: Option<Arc<Credits>>,
}

impl Event {
    pub fn entity_id(&self, kind: EntityKind) -> Option<&Arc<str>> {
        match kind {
            EntityKind::Song => self.song_id.as_ref(),
            EntityKind::Album => self.album_id.as_ref(),
            EntityKind::Playlist => self.playlist_id.as_ref(),
            EntityKind::Artist => self.artist_id.as_ref(),
            EntityKind::FeaturedArtist | EntityKind::EventType | EntityKind::Platform => None,
        }
    }

    /// An event that says nothing but its type and time.
    pub fn bare(event_type: &str, occurred_at_ms: i64) -> Self {
        Self {
            key: EventKey { occurred_at_ms, hash: [0; 16] },
            content_hash: 0,
            received_at_ms: occurred_at_ms,
            source: "".into(),
            event_id: String::new(),
            event_type: event_type.to_owned(),
            user_id: None,
            anonymous_id: None,
            song_id: None,
            album_id: None,
            playlist_id: None,
            artist_id: None,
            genre: None,
            country: None,
            listening_source: None,
            device: None,
            played_ms: None,
            duration_ms: None,
            ended_by_user: None,
            count: None,
            amount_minor: None,
            currency: None,
            properties: None,
            credits: None,
        }
    }
}

/// The titles that came with an event; the catalogue keeps them, the log does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Titles {
    pub song: Option<Arc<str>>,
    pub album: Option<Arc<str>>,
    pub artist: Option<Arc<str>>,
}

/// An accepted event with what it tells the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedEvent {
    pub event: Event,
    pub titles: Titles,
}

impl AcceptedEvent {
    /// What this event tells about each entity it names.
    pub fn facts(&self) -> impl Iterator<Item = Fact<'_>> {
        let event = &self.event;
        EntityKind::ALL.into_iter().filter_map(move |kind| {
            let fact = Fact::bare(kind, event.entity_id(kind)?);
            Some(match kind {
                EntityKind::Song => Fact {
                    title: self.titles.song.as_ref(),
                    artist_id: event.artist_id.as_ref(),
                    album_id: event.album_id.as_ref(),
                    genre: event.genre.as_deref(),
                    duration_ms: event.duration_ms,
                    ..fact
                },
                EntityKind::Album => {
                    let (title, genre) = (self.titles.album.as_ref(), event.genre.as_deref());
                    Fact { title, artist_id: event.artist_id.as_ref(), genre, ..fact }
                }
                EntityKind::Artist => {
                    Fact { title: self.titles.artist.as_ref(), genre: event.genre.as_deref(), ..fact }
                }
                _ => fact,
            })
        })
    }
}

/// Why an event is not taken. The names are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectCode {
    Malformed,
    UnknownField,
    MissingField,
    InvalidValue,
    InvalidCharacter,
    TooLong,
    TooLarge,
    TooDeep,
    InFuture,
    TooOld,
}

impl RejectCode {
    pub const ALL: [RejectCode; 10] = [
        Self::Malformed,
        Self::UnknownField,
        Self::MissingField,
        Self::InvalidValue,
        Self::InvalidCharacter,
        Self::TooLong,
        Self::TooLarge,
        Self::TooDeep,
        Self::InFuture,
        Self::TooOld,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::UnknownField => "UNKNOWN_FIELD",
            Self::MissingField => "MISSING_FIELD",
            Self::InvalidValue => "INVALID_VALUE",
            Self::InvalidCharacter => "INVALID_CHARACTER",
            Self::TooLong => "TOO_LONG",
            Self::TooLarge => "TOO_LARGE",
            Self::TooDeep => "TOO_DEEP",
            Self::InFuture => "IN_FUTURE",
            Self::TooOld => "TOO_OLD",
        }
    }
}

/// One event's refusal: what is wrong, in which field, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub code: RejectCode,
    pub field: Option<String>,
    pub message: String,
    /// The event's id as far as it could be read.
    pub id: Option<String>,
}

impl Rejection {
    pub fn new(code: RejectCode, field: &str, message: impl Into<String>) -> Self {
        Self { code, field: Some(field.to_owned()), message: message.into(), id: None }
    }

    pub fn malformed(message: impl Into<String>) -> Self {
        Self { code: RejectCode::Malformed, field: None, message: message.into(), id: None }
    }
}

/// What is accepted at all; each limit is configurable.
#[derive(Debug, Clone, Copy)]
pub struct AcceptRules {
    pub event_size_bytes_max: usize,
    pub id_length_max: usize,
    pub properties_depth_max: usize,
    /// How far a sender's clock may be ahead of ours.
    pub future_tolerance_ms: i64,
    /// Events older than this are refused, because a retry of them could no longer be recognised.
    pub horizon_ms: Option<i64>,
}

/// The longest play or song that makes sense: 30 days. Keeps sums of milliseconds far from overflow.
pub(super) const LENGTH_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// What one event may stand for: more than anything that was ever counted, and a million times less than what
/// the sums of counts hold.
const COUNT_MAX: i64 = 1_000_000_000_000;
/// The listening time that one event may stand for.
const LENGTHS_MS_MAX: i64 = 1_000_000_000_000_000;
pub(super) const TITLE_LENGTH_MAX: usize = 1_000;

impl NewEvent {
    /// Judges one event. Named steps, each of which passes it on or refuses it with a reason.
    pub fn accept(mut self, source: &Arc<str>, now_ms: i64, rules: &AcceptRules) -> Result<AcceptedEvent, Rejection> {
        let id = self.id.clone();
        self.judge(source, now_ms, rules).map_err(|rejection| Rejection { id, ..rejection })
    }

    fn judge(&mut self, source: &Arc<str>, now_ms: i64, rules: &AcceptRules) -> Result<AcceptedEvent, Rejection> {
        self.check_size(rules)?;
        self.check_texts(rules)?;
        let event_id = self.id.take().ok_or_else(|| missing("id", "send the sender's own unique id of the event"))?;
        let event_type =
            self.event_type.take().ok_or_else(|| missing("type", "send the event's name, such as track.played"))?;
        let properties = self.properties.take().map(|text| canonical_properties(&text, rules)).transpose()?;
        let occurred_at_ms = self.occurred_at(&event_id, now_ms, rules)?;
        self.check_numbers()?;
        let amount_minor = self.amount_minor()?;
        let country = self.country.take().map(|code| country(&code)).transpose()?;
        let (entities, titles) = self.entities()?;
        let mut event = Event {
            key: EventKey { occurred_at_ms, hash: hash128(&[source, &event_id]) },
            content_hash: 0,
            received_at_ms: now_ms,
            source: source.clone(),
            event_id,
            event_type,
            user_id: self.user_id.take().map(Arc::from),
            anonymous_id: self.anonymous_id.take().map(Arc::from),
            song_id: entities.song,
            album_id: entities.album,
            playlist_id: entities.playlist,
            artist_id: entities.artist,
            genre: self.genre.take(),
            country,
            listening_source: self.source.take(),
            device: self.device.take(),
            played_ms: self.played_ms,
            duration_ms: self.duration_ms,
            ended_by_user: self.ended_by_user,
            count: self.count,
            amount_minor,
            currency: self.currency.take(),
            properties,
            credits: None,
        };
        check_required(&event)?;
        event.content_hash = content_hash(&event, &titles);
        Ok(AcceptedEvent { event, titles })
    }

    /// The size of all texts; stands for the event's size where a door has no bytes of its own.
    pub fn texts_size_bytes(&self) -> usize {
        let texts = [
            &self.id,
            &self.event_type,
            &self.user_id,
            &self.anonymous_id,
            &self.song_id,
            &self.song_title,
            &self.album_id,
            &self.album_title,
            &self.playlist_id,
            &self.artist_id,
            &self.artist_name,
            &self.genre,
            &self.country,
            &self.source,
            &self.device,
            &self.amount,
            &self.currency,
            &self.properties,
        ];
        texts.into_iter().flatten().map(String::len).sum()
    }

    fn check_size(&self, rules: &AcceptRules) -> Result<(), Rejection> {
        if self.size_bytes > rules.event_size_bytes_max {
            return Err(Rejection {
                code: RejectCode::TooLarge,
                field: None,
                message: format!(
                    "the event has {} bytes, the limit is {}",
                    self.size_bytes, rules.event_size_bytes_max
                ),
                id: None,
            });
        }
        Ok(())
    }

    fn check_texts(&self, rules: &AcceptRules) -> Result<(), Rejection> {
        let ids = rules.id_length_max;
        for (field, text, length_max) in [
            ("id", &self.id, ids),
            ("type", &self.event_type, ids),
            ("userId", &self.user_id, ids),
            ("anonymousId", &self.anonymous_id, ids),
            ("songId", &self.song_id, ids),
            ("songTitle", &self.song_title, TITLE_LENGTH_MAX),
            ("albumId", &self.album_id, ids),
            ("albumTitle", &self.album_title, TITLE_LENGTH_MAX),
            ("playlistId", &self.playlist_id, ids),
            ("artistId", &self.artist_id, ids),
            ("artistName", &self.artist_name, TITLE_LENGTH_MAX),
            ("genre", &self.genre, ids),
            ("source", &self.source, ids),
            ("device", &self.device, ids),
        ] {
            if let Some(text) = text {
                check_text(field, text, length_max)?;
            }
        }
        if self.user_id.as_ref().is_some_and(|id| id.starts_with(ERASED)) {
            let message = "begins with U+0001, which stands for people who were erased";
            return Err(Rejection::new(RejectCode::InvalidCharacter, "userId", message));
        }
        if let Some(entity) = &self.entity {
            check_text("entity.id", &entity.id, ids)?;
        }
        Ok(())
    }

    fn occurred_at(&self, event_id: &str, now_ms: i64, rules: &AcceptRules) -> Result<i64, Rejection> {
        let occurred_at_ms = self.occurred_at_ms.or_else(|| time_in_id(event_id)).unwrap_or(now_ms);
        if occurred_at_ms > now_ms + rules.future_tolerance_ms {
            return Err(Rejection::new(
                RejectCode::InFuture,
                "occurredAt",
                format!(
                    "lies more than {} s ahead of the server's clock; correct the sender's clock and send again",
                    rules.future_tolerance_ms / 1_000
                ),
            ));
        }
        if rules.horizon_ms.is_some_and(|horizon| occurred_at_ms < now_ms - horizon) {
            return Err(Rejection::new(
                RejectCode::TooOld,
                "occurredAt",
                "is older than the oldest event that is kept; it can no longer be counted",
            ));
        }
        Ok(occurred_at_ms)
    }

    fn check_numbers(&self) -> Result<(), Rejection> {
        for (field, value) in [("playedMs", self.played_ms), ("durationMs", self.duration_ms)] {
            if value.is_some_and(|value| !(0..=LENGTH_MS_MAX).contains(&value)) {
                return Err(invalid(field, format!("must be between 0 and {LENGTH_MS_MAX} milliseconds (30 days)")));
            }
        }
        if let Some(count) = self.count {
            let largest = COUNT_MAX.min(LENGTHS_MS_MAX / self.played_ms.unwrap_or(1).max(1));
            if count < 1 || count > largest {
                return Err(invalid("count", format!("must be a whole number from 1 to {largest} here")));
            }
        }
        Ok(())
    }

    fn amount_minor(&self) -> Result<Option<i64>, Rejection> {
        let (amount, currency) = match (&self.amount, &self.currency) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(missing("currency", "send the ISO 4217 code that the amount is in")),
            (None, Some(_)) => return Err(missing("amount", "a currency without an amount says nothing")),
            (Some(amount), Some(currency)) => (amount, currency),
        };
        money::minor_units(amount, currency).map(Some).map_err(|error| {
            let field = if error == money::MoneyError::UnknownCurrency { "currency" } else { "amount" };
            invalid(field, error.to_string())
        })
    }

    /// Resolves what the event names to ids. The platform's own ids always win; a name alone gives a
    /// stable id, a song's and an album's together with their artist's.
    fn entities(&mut self) -> Result<(EntityIds, Titles), Rejection> {
        if let Some(entity) = self.entity.take() {
            let (field, own) = match entity.kind {
                EntityKind::Song => ("songId", &mut self.song_id),
                EntityKind::Album => ("albumId", &mut self.album_id),
                EntityKind::Playlist => ("playlistId", &mut self.playlist_id),
                _ => ("artistId", &mut self.artist_id),
            };
            if own.as_deref().is_some_and(|id| id != &*entity.id) {
                return Err(invalid("entity", format!("names another {} than {field}", entity.kind.word())));
            }
            *own = Some(entity.id.to_string());
        }
        let titles = Titles {
            song: title("songTitle", self.song_title.as_deref())?,
            album: title("albumTitle", self.album_title.as_deref())?,
            artist: title("artistName", self.artist_name.as_deref())?,
        };
        let artist = self
            .artist_id
            .take()
            .map(Arc::from)
            .or_else(|| titles.artist.as_deref().map(|name| id_from_name(EntityKind::Artist, "", name)));
        let by_title = |kind, own: Option<String>, title: Option<&str>, field| match (own, title) {
            (Some(id), _) => Ok(Some(Arc::from(id))),
            (None, None) => Ok(None),
            (None, Some(title)) => match artist.as_deref() {
                Some(artist) => Ok(Some(id_from_name(kind, artist, title))),
                None => Err(missing("artistName", format!("{field} without an id is told apart only with its artist"))),
            },
        };
        let song = by_title(EntityKind::Song, self.song_id.take(), titles.song.as_deref(), "songTitle")?;
        let album = by_title(EntityKind::Album, self.album_id.take(), titles.album.as_deref(), "albumTitle")?;
        let playlist = self.playlist_id.take().map(Arc::from);
        Ok((EntityIds { song, album, playlist, artist }, titles))
    }
}

struct EntityIds {
    song: Option<Arc<str>>,
    album: Option<Arc<str>>,
    playlist: Option<Arc<str>>,
    artist: Option<Arc<str>>,
}

pub(super) fn check_text(field: &str, text: &str, length_max: usize) -> Result<(), Rejection> {
    if text.is_empty() {
        return Err(invalid(field, "must not be empty; leave it out where it is not known"));
    }
    // Bytes bound characters from above, so most texts are never counted.
    if text.len() > length_max && text.chars().count() > length_max {
        return Err(Rejection::new(
            RejectCode::TooLong,
            field,
            format!("has more than {length_max} characters, which is the limit"),
        ));
    }
    check_characters(field, text)
}

fn check_characters(field: &str, text: &str) -> Result<(), Rejection> {
    if text.bytes().any(|byte| byte == 0) {
        return Err(Rejection::new(RejectCode::InvalidCharacter, field, "holds the character NUL (U+0000); remove it"));
    }
    Ok(())
}

pub(super) fn title(field: &str, text: Option<&str>) -> Result<Option<Arc<str>>, Rejection> {
    let Some(text) = text else { return Ok(None) };
    let title = normalized(text);
    if title.is_empty() {
        return Err(invalid(field, "holds nothing but white space"));
    }
    Ok(Some(title.into()))
}

fn country(code: &str) -> Result<String, Rejection> {
    country_code(code).ok_or_else(|| invalid("country", "is not an ISO 3166-1 alpha-2 country code such as DE"))
}

/// Properties with their keys in order and no white space, so that equal content hashes alike.
fn canonical_properties(text: &str, rules: &AcceptRules) -> Result<String, Rejection> {
    let depth_max = rules.properties_depth_max;
    let too_deep = || {
        let message = format!("are nested deeper than {depth_max} levels, which is the limit");
        Rejection::new(RejectCode::TooDeep, "properties", message)
    };
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        // The parser gives up at 128 levels, long before our own limit could speak.
        if error.to_string().contains("recursion limit") { too_deep() } else { invalid("properties", "is not JSON") }
    })?;
    if !value.is_object() {
        return Err(invalid("properties", "must be a JSON object"));
    }
    let mut waiting = vec![(&value, 1)];
    while let Some((value, depth)) = waiting.pop() {
        if depth > depth_max && (value.is_object() || value.is_array()) {
            return Err(too_deep());
        }
        match value {
            serde_json::Value::String(text) => check_characters("properties", text)?,
            serde_json::Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    check_characters("properties", name)?;
                    waiting.push((member, depth + 1));
                }
            }
            _ => {}
        }
    }
    Ok(value.to_string())
}

/// What a well-known type cannot do without.
fn check_required(event: &Event) -> Result<(), Rejection> {
    if event.event_type.starts_with("user.") && event.user_id.is_none() {
        return Err(missing("userId", format!("{} is about a user", event.event_type)));
    }
    let Some((action, kind)) = action_of(&event.event_type) else { return Ok(()) };
    let needs = match action {
        Action::PlaylistAdd => &[EntityKind::Playlist, EntityKind::Song][..],
        Action::Purchase | Action::Refund if event.amount_minor.is_none() => {
            return Err(missing("amount", format!("{} is about money", event.event_type)));
        }
        _ => kind.as_slice(),
    };
    for kind in needs {
        if event.entity_id(*kind).is_none() {
            let (field, instead) = match kind {
                EntityKind::Song => ("songId", " (or entity, or songTitle and artistName)"),
                EntityKind::Album => ("albumId", " (or entity, or albumTitle and artistName)"),
                EntityKind::Playlist => ("playlistId", " (or entity)"),
                _ => ("artistId", " (or entity, or artistName)"),
            };
            return Err(missing(field, format!("{} needs {field}{instead}", event.event_type)));
        }
    }
    Ok(())
}

fn content_hash(event: &Event, titles: &Titles) -> i64 {
    let number = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let parts: [&str; 21] = [
        &event.event_type,
        event.user_id.as_deref().unwrap_or_default(),
        event.anonymous_id.as_deref().unwrap_or_default(),
        event.song_id.as_deref().unwrap_or_default(),
        event.album_id.as_deref().unwrap_or_default(),
        event.playlist_id.as_deref().unwrap_or_default(),
        event.artist_id.as_deref().unwrap_or_default(),
        titles.song.as_deref().unwrap_or_default(),
        titles.album.as_deref().unwrap_or_default(),
        titles.artist.as_deref().unwrap_or_default(),
        event.genre.as_deref().unwrap_or_default(),
        event.country.as_deref().unwrap_or_default(),
        event.listening_source.as_deref().unwrap_or_default(),
        event.device.as_deref().unwrap_or_default(),
        &number(event.played_ms),
        &number(event.duration_ms),
        event.ended_by_user.map_or("", |ended| if ended { "true" } else { "false" }),
        &number(event.count),
        &number(event.amount_minor),
        event.currency.as_deref().unwrap_or_default(),
        event.properties.as_deref().unwrap_or_default(),
    ];
    let digest = hash128(&parts);
    i64::from_le_bytes(digest[..8].try_into().expect("a 128-bit hash holds 8 bytes"))
}

/// The time that a UUIDv7 or a ULID carries. Other ids of that form (a hash in hex has a 7 in the right
/// place now and then) give times that make no sense, and count as ids without one.
fn time_in_id(id: &str) -> Option<i64> {
    // Both forms are younger than 2015.
    const PLAUSIBLE_MS: std::ops::Range<i64> = 1_420_070_400_000..4_102_444_800_000;
    stated_time_in_id(id).filter(|at_ms| PLAUSIBLE_MS.contains(at_ms))
}

fn stated_time_in_id(id: &str) -> Option<i64> {
    if let Ok(uuid) = uuid::Uuid::try_parse(id) {
        if uuid.get_version_num() != 7 || uuid.get_variant() != uuid::Variant::RFC4122 {
            return None;
        }
        let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
        return i64::try_from(seconds * 1_000 + u64::from(nanos) / 1_000_000).ok();
    }
    i64::try_from(ulid::Ulid::from_string(id).ok()?.timestamp_ms()).ok()
}

pub(super) fn missing(field: &str, message: impl Into<String>) -> Rejection {
    Rejection::new(RejectCode::MissingField, field, message)
}

pub(super) fn invalid(field: &str, message: impl Into<String>) -> Rejection {
    Rejection::new(RejectCode::InvalidValue, field, message)
}
