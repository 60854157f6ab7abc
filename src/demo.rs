//! A believable music platform: who plays what, when, from where and for how long.
//!
//! [`Shape`] says how large the platform is, [`Platform`] writes its events, [`Instants`] are the times of
//! a past, and [`Live`] goes on from there. An event follows from (shape, number, time) alone: nothing here
//! reads a clock, and no event depends on the one before it, so any process may write any part of a history
//! in any order and get the same events.
//!
//! Ids are given by popularity: `song-1` is the most played song and belongs to `artist-1`, the most
//! played artist. What a careful reader will find in the numbers:
//! - songs, artists and listeners follow Zipf's law, each with its own exponent;
//! - a listener comes for a few songs, a session, and has one country, mostly one device, and a favourite genre, so that tastes overlap;
//! - each week another song has its moment, so that something is trending and charts move;
//! - days have an evening peak, weeks a weekend, and the platform grows a little.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use rand_distr::{Distribution, Zipf};

/// How large a platform is, and which of all platforms of that size it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub artists: u32,
    pub songs: u32,
    pub playlists: u32,
    pub listeners: u32,
    pub seed: u64,
    /// Whether events carry the titles of what they name, as they do where no catalogue is sent.
    pub has_titles: bool,
    /// How many listeners are there at a time: each does a few things and leaves. With 0 each event is anybody's, as if
    /// everybody were always there.
    pub listeners_at_once: u32,
}

impl Shape {
    /// Small enough to be read by a person, large enough for charts, markets and similar artists.
    pub const DEMO: Shape = Shape {
        artists: 40,
        songs: 600,
        playlists: 12,
        listeners: 4_000,
        seed: 1,
        has_titles: true,
        listeners_at_once: 3,
    };
}

/// A platform whose events can be written. Cheap to keep, 12 bytes a song, and cheap to clone.
#[derive(Debug, Clone)]
pub struct Platform {
    shape: Shape,
    id_prefix: String,
    /// `song-N` is at `N - 1`.
    songs: Arc<[Song]>,
    hit_share: f64,
    song_popularity: Zipf<f64>,
    artist_popularity: Zipf<f64>,
    listener_activity: Zipf<f64>,
}

impl Platform {
    /// The platform of this shape; a count of 0 is taken as 1. Its event ids begin with `demo-` and the seed.
    pub fn new(shape: Shape) -> Self {
        let shape = Shape {
            artists: shape.artists.max(1),
            songs: shape.songs.max(1),
            playlists: shape.playlists.max(1),
            listeners: shape.listeners.max(1),
            ..shape
        };
        Self {
            id_prefix: format!("demo-{:x}-", shape.seed),
            songs: catalogue(&shape).into(),
            hit_share: HIT_SHARE.min(0.5 / (0..shape.songs as usize).map(weight).sum::<f64>()),
            song_popularity: zipf(shape.songs, SONG_EXPONENT),
            artist_popularity: zipf(shape.artists, ARTIST_EXPONENT),
            listener_activity: zipf(shape.listeners, LISTENER_EXPONENT),
            shape,
        }
    }

    /// The same platform with other event ids: the prefix, then the event's number. The prefix is written
    /// into JSON as it is.
    pub fn with_id_prefix(self, id_prefix: impl Into<String>) -> Self {
        Self { id_prefix: id_prefix.into(), ..self }
    }

    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Appends event `number`, which happened at `at_ms`, as one JSON object without a line end.
    pub fn write_event(&self, number: u64, at_ms: i64, out: &mut String) {
        let dice = &mut dice(self.shape.seed, Facet::Event, number);
        let kind = weighted(&MIX, dice.random_range(0..MIX_TOTAL));
        let listener = self.draw_listener(dice, number);
        let event = &mut EventWriter::open(out, &self.id_prefix, number, kind.word(), at_ms);
        match kind {
            Kind::Played => self.write_play(dice, event, listener, at_ms),
            Kind::Liked | Kind::Unliked | Kind::Saved | Kind::Shared => {
                self.write_listener(event, listener);
                let song = self.draw_song(dice, listener, at_ms);
                self.write_song(event, song);
            }
            Kind::AlbumLiked => {
                self.write_listener(event, listener);
                let song = self.draw_song(dice, listener, at_ms);
                self.write_album(event, song);
                self.write_artist(event, self.song(song).artist);
            }
            Kind::TrackAdded => {
                self.write_listener(event, listener);
                let song = self.draw_song(dice, listener, at_ms);
                self.write_song(event, song);
                event.numbered("playlistId", "playlist-", self.own_playlist(listener));
            }
            Kind::Followed | Kind::Unfollowed => {
                self.write_listener(event, listener);
                let artist = rank(dice, &self.artist_popularity);
                self.write_artist(event, artist);
            }
            Kind::Paid | Kind::Refunded => self.write_order(dice, event, listener, at_ms),
            Kind::Registered | Kind::LoggedIn => {
                // Everybody registers alike; only what comes after is a matter of how active one is.
                let is_new = kind == Kind::Registered;
                let listener = if is_new { dice.random_range(1..=self.shape.listeners) } else { listener };
                self.write_listener(event, listener);
                self.write_device(dice, event, listener);
                event.raw("properties", LOGINS[dice.random_range(0..LOGINS.len())]);
            }
            Kind::Clicked => {
                self.write_listener(event, listener);
                self.write_device(dice, event, listener);
                event.raw("properties", CLICKS[dice.random_range(0..CLICKS.len())]);
            }
            Kind::Converted | Kind::Sold => {
                self.write_listener(event, listener);
                if kind == Kind::Sold {
                    self.write_price(event, listener, Price::Subscription);
                }
                event.raw("properties", CAMPAIGNS[dice.random_range(0..CAMPAIGNS.len())]);
            }
        }
        event.out.push('}');
    }

    fn write_play(&self, dice: &mut Dice, event: &mut EventWriter, listener: u32, at_ms: i64) {
        // Some hear without being logged in; they are counted as plays, not as listeners.
        if dice.random_ratio(3, 100) {
            event.numbered("anonymousId", "visitor-", listener);
            event.text("country", self.country(listener));
        } else {
            self.write_listener(event, listener);
        }
        self.write_device(dice, event, listener);
        let song = self.draw_song(dice, listener, at_ms);
        self.write_song(event, song);
        self.write_album(event, song);
        event.text("genre", self.genre(self.song(song).artist));
        let source = weighted(&SOURCES, dice.random_range(0..100));
        event.text("source", source);
        match source {
            "editorial_playlist" => event.numbered("playlistId", "playlist-", self.editorial_playlist(song)),
            "own_playlist" => event.numbered("playlistId", "playlist-", self.own_playlist(listener)),
            _ => {}
        }
        let duration_ms = self.song(song).duration_ms;
        event.number("playedMs", played_ms(dice, duration_ms));
        event.number("durationMs", duration_ms);
    }

    fn write_order(&self, dice: &mut Dice, event: &mut EventWriter, listener: u32, at_ms: i64) {
        self.write_listener(event, listener);
        let song = self.draw_song(dice, listener, at_ms);
        if dice.random_bool(0.5) {
            self.write_song(event, song);
            self.write_price(event, listener, Price::Song);
        } else {
            self.write_album(event, song);
            self.write_artist(event, self.song(song).artist);
            self.write_price(event, listener, Price::Album);
        }
    }

    fn write_listener(&self, event: &mut EventWriter, listener: u32) {
        event.numbered("userId", "listener-", listener);
        event.text("country", self.country(listener));
    }

    fn write_device(&self, dice: &mut Dice, event: &mut EventWriter, listener: u32) {
        let is_usual = dice.random_ratio(4, 5);
        let device = if is_usual { self.facet(Facet::Device, listener) } else { dice.random() };
        event.text("device", weighted(&DEVICES, device % 100));
    }

    /// The song and its artist.
    fn write_song(&self, event: &mut EventWriter, song: u32) {
        event.numbered("songId", "song-", song);
        if self.shape.has_titles {
            event.parts("songTitle", song_title(song));
        }
        self.write_artist(event, self.song(song).artist);
    }

    fn write_album(&self, event: &mut EventWriter, song: u32) {
        let album = self.song(song).album;
        event.numbered("albumId", "album-", album);
        if self.shape.has_titles {
            event.parts("albumTitle", album_title(album));
        }
    }

    fn write_artist(&self, event: &mut EventWriter, artist: u32) {
        event.numbered("artistId", "artist-", artist);
        if self.shape.has_titles {
            event.parts("artistName", artist_name(artist));
        }
    }

    fn write_price(&self, event: &mut EventWriter, listener: u32, price: Price) {
        let (currency, is_yen) = match self.country(listener) {
            "GB" => ("GBP", false),
            "JP" => ("JPY", true),
            "DE" | "FR" | "ES" | "IT" | "NL" => ("EUR", false),
            _ => ("USD", false),
        };
        let amount = match (price, is_yen) {
            (Price::Song, false) => "1.29",
            (Price::Song, true) => "255",
            (Price::Album, false) => "9.99",
            (Price::Album, true) => "2200",
            (Price::Subscription, false) => "10.99",
            (Price::Subscription, true) => "1080",
        };
        event.text("amount", amount);
        event.text("currency", currency);
    }

    /// Whose an event is.
    fn draw_listener(&self, dice: &mut Dice, number: u64) -> u32 {
        let seats = u64::from(self.shape.listeners_at_once);
        if seats == 0 {
            return rank(dice, &self.listener_activity);
        }
        let sitting = number / (seats * EVENTS_OF_SITTING) * seats + dice.random_range(0..seats);
        rank(&mut self::dice(self.shape.seed, Facet::Sitting, sitting), &self.listener_activity)
    }

    /// A song this listener turns to: mostly by popularity, leaning to their genre, sometimes the week's hit.
    fn draw_song(&self, dice: &mut Dice, listener: u32, at_ms: i64) -> u32 {
        if dice.random_bool(self.hit_share)
            && let Some(hit) = self.hit(dice, at_ms)
        {
            return hit;
        }
        let song = rank(dice, &self.song_popularity);
        let favourite = weighted(&GENRES, self.facet(Facet::Taste, listener) % 100);
        if self.genre(self.song(song).artist) == favourite || dice.random_bool(0.5) {
            return song;
        }
        rank(dice, &self.song_popularity)
    }

    /// The song that is having its moment. A hit rises for a week and fades for another, so two overlap.
    fn hit(&self, dice: &mut Dice, at_ms: i64) -> Option<u32> {
        let week = at_ms.div_euclid(WEEK_MS);
        let risen = at_ms.rem_euclid(WEEK_MS) as f64 / WEEK_MS as f64;
        let week = if dice.random_bool(risen) { week } else { week - 1 };
        // From the middle of the ranks: known songs need no hit, and in the tail nobody would believe it.
        let (first, last) = (self.shape.songs / 10, self.shape.songs / 2);
        let place = mix(self.shape.seed, Facet::Hit, week.unsigned_abs());
        (first < last).then(|| first + 1 + (place % u64::from(last - first)) as u32)
    }

    /// Editors keep the first half of the playlists, and a song stays where they put it.
    fn editorial_playlist(&self, song: u32) -> u32 {
        let editorial = u64::from(self.shape.playlists.div_ceil(2));
        1 + (self.facet(Facet::Playlist, song) % editorial) as u32
    }

    /// Listeners keep the other half.
    fn own_playlist(&self, listener: u32) -> u32 {
        let own = (self.shape.playlists / 2).max(1);
        1 + self.shape.playlists - own + (self.facet(Facet::Playlist, listener) % u64::from(own)) as u32
    }

    fn song(&self, song: u32) -> &Song {
        &self.songs[song as usize - 1]
    }

    fn genre(&self, artist: u32) -> &'static str {
        // The top artist stays on top because theirs is the genre that most listeners favour.
        let place = if artist == 1 { 0 } else { self.facet(Facet::Genre, artist) % 100 };
        weighted(&GENRES, place)
    }

    fn country(&self, listener: u32) -> &'static str {
        weighted(&COUNTRIES, self.facet(Facet::Country, listener) % 100)
    }

    fn facet(&self, facet: Facet, number: u32) -> u64 {
        mix(self.shape.seed, facet, number.into())
    }
}

/// A past to be filled with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    pub events: u64,
    pub days: u32,
    /// The first moment after it.
    pub ends_at_ms: i64,
    pub seed: u64,
}

/// The times of a history's events in ms since 1970, ascending, as many as it has events.
#[derive(Debug)]
pub struct Instants {
    history: History,
    /// Events before the end of each quarter of an hour.
    before_end: Vec<u64>,
    quarter: usize,
    number: u64,
}

impl Instants {
    pub fn new(history: History) -> Self {
        let quarters = u64::from(history.days.max(1)) * (DAY_MS / QUARTER_MS) as u64;
        let starts_at_ms = history.ends_at_ms - quarters as i64 * QUARTER_MS;
        let mut sum = 0.0;
        let sums: Vec<f64> = (0..quarters)
            .map(|quarter| {
                let growth = 1.0 + GROWTH * quarter as f64 / quarters as f64;
                sum += growth * intensity(starts_at_ms + quarter as i64 * QUARTER_MS);
                sum
            })
            .collect();
        let mut before_end: Vec<u64> = sums.iter().map(|until| (until / sum * history.events as f64) as u64).collect();
        // The last sum divided by itself is 1, but the count may be too large for f64 to keep it whole.
        if let Some(all) = before_end.last_mut() {
            *all = history.events;
        }
        Self { history, before_end, quarter: 0, number: 0 }
    }
}

impl Iterator for Instants {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        while *self.before_end.get(self.quarter)? <= self.number {
            self.quarter += 1;
        }
        let first = if self.quarter == 0 { 0 } else { self.before_end[self.quarter - 1] };
        let share = (self.before_end[self.quarter] - first) as f64;
        // Each event has its own slice of the quarter and falls somewhere in it: irregular, yet ascending.
        let jitter = unit(mix(self.history.seed, Facet::Instant, self.number));
        let offset_ms = ((self.number - first) as f64 + jitter) / share * QUARTER_MS as f64;
        let quarters_left = (self.before_end.len() - self.quarter) as i64;
        self.number += 1;
        Some(self.history.ends_at_ms - quarters_left * QUARTER_MS + offset_ms as i64)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.history.events - self.number).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

/// A platform at work: one event after the other, at irregular moments.
#[derive(Debug)]
pub struct Live {
    platform: Platform,
    number: u64,
    mean_gap_s: f64,
}

impl Live {
    /// Starts at event `first_number`, which should follow those of a history; `per_second` events on
    /// average, at least one an hour.
    pub fn new(platform: Platform, first_number: u64, per_second: f64) -> Self {
        Self { platform, number: first_number, mean_gap_s: 1.0 / per_second.max(1.0 / 3_600.0) }
    }

    /// Appends the event of this moment and tells how long to wait for the next one.
    pub fn write_next(&mut self, now_ms: i64, out: &mut String) -> Duration {
        self.platform.write_event(self.number, now_ms, out);
        let draw = unit(mix(self.platform.shape.seed, Facet::Gap, self.number));
        self.number += 1;
        // Exponential gaps, as of people who know nothing of each other; nobody watches a pause of minutes.
        Duration::from_secs_f64(self.mean_gap_s * (-(1.0 - draw).ln()).min(5.0))
    }
}

/// Appends an instant as RFC 3339 in UTC with milliseconds.
pub fn write_instant(at_ms: i64, out: &mut String) {
    // Days to year, month and day: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let days = at_ms.div_euclid(DAY_MS) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let ms = at_ms.rem_euclid(DAY_MS);
    for (number, width, end) in [
        (year, 4, '-'),
        (month, 2, '-'),
        (day, 2, 'T'),
        (ms / 3_600_000, 2, ':'),
        (ms / 60_000 % 60, 2, ':'),
        (ms / 1_000 % 60, 2, '.'),
        (ms % 1_000, 3, 'Z'),
    ] {
        push_number(out, number.unsigned_abs(), width);
        out.push(end);
    }
}

const DAY_MS: i64 = 24 * 3_600_000;
const WEEK_MS: i64 = 7 * DAY_MS;
const QUARTER_MS: i64 = 15 * 60_000;

/// Zipf exponents. Songs: the top song of a small platform draws about 6 % of the plays, of a million songs 1 %.
const SONG_EXPONENT: f64 = 0.75;
const ARTIST_EXPONENT: f64 = 0.8;
/// What a listener does before they leave, on average.
const EVENTS_OF_SITTING: u64 = 4;
/// The most active of 100,000 listeners make a few dozen plays a day out of a million in two months.
const LISTENER_EXPONENT: f64 = 0.6;
/// How unevenly songs are spread over artists.
const CATALOGUE_EXPONENT: f64 = 0.4;
const SONGS_PER_ALBUM: u32 = 9;
/// The share of draws that goes to the week's hit: at most this, and always less than to the top song.
const HIT_SHARE: f64 = 0.015;
/// How much busier the end of a history is than its beginning.
const GROWTH: f64 = 0.25;

/// What happens on the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Played,
    Liked,
    Unliked,
    Saved,
    Shared,
    AlbumLiked,
    TrackAdded,
    Followed,
    Unfollowed,
    Paid,
    Refunded,
    Registered,
    LoggedIn,
    Clicked,
    Converted,
    Sold,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Played => "track.played",
            Self::Liked => "track.liked",
            Self::Unliked => "track.unliked",
            Self::Saved => "track.saved",
            Self::Shared => "track.shared",
            Self::AlbumLiked => "album.liked",
            Self::TrackAdded => "playlist.track_added",
            Self::Followed => "artist.followed",
            Self::Unfollowed => "artist.unfollowed",
            Self::Paid => "order.paid",
            Self::Refunded => "order.refunded",
            Self::Registered => "user.registered",
            Self::LoggedIn => "user.logged_in",
            Self::Clicked => "ui.clicked",
            Self::Converted => "conversion.completed",
            Self::Sold => "sale.completed",
        }
    }
}

/// How often each kind happens, in 10,000.
const MIX: [(Kind, u64); 16] = [
    (Kind::Played, 8_800),
    (Kind::Liked, 260),
    (Kind::Saved, 200),
    (Kind::LoggedIn, 160),
    (Kind::Clicked, 148),
    (Kind::TrackAdded, 120),
    (Kind::Followed, 90),
    (Kind::Shared, 60),
    (Kind::AlbumLiked, 40),
    (Kind::Paid, 40),
    (Kind::Unliked, 30),
    (Kind::Unfollowed, 20),
    (Kind::Converted, 14),
    (Kind::Registered, 10),
    (Kind::Sold, 6),
    (Kind::Refunded, 2),
];
const MIX_TOTAL: u64 = 10_000;

// The tables below are in percent.

const GENRES: [(&str, u64); 12] = [
    ("pop", 24),
    ("hip hop", 18),
    ("rock", 14),
    ("electronic", 10),
    ("latin", 8),
    ("r&b", 7),
    ("indie", 6),
    ("country", 4),
    ("metal", 3),
    ("jazz", 2),
    ("classical", 2),
    ("folk", 2),
];

const COUNTRIES: [(&str, u64); 17] = [
    ("US", 24),
    ("GB", 9),
    ("DE", 9),
    ("BR", 9),
    ("MX", 7),
    ("FR", 6),
    ("IN", 6),
    ("ES", 4),
    ("IT", 4),
    ("JP", 4),
    ("CA", 4),
    ("NL", 3),
    ("SE", 3),
    ("AU", 3),
    ("PL", 2),
    ("AR", 2),
    ("NG", 1),
];

const DEVICES: [(&str, u64); 6] =
    [("android", 36), ("ios", 34), ("web", 12), ("desktop", 12), ("smart_speaker", 4), ("tv", 2)];

const SOURCES: [(&str, u64); 9] = [
    ("library", 18),
    ("own_playlist", 17),
    ("algorithmic", 16),
    ("editorial_playlist", 13),
    ("search", 9),
    ("album_page", 9),
    ("autoplay", 7),
    ("artist_page", 6),
    ("radio", 5),
];

const LOGINS: [&str; 3] = [r#"{"method":"password"}"#, r#"{"method":"passkey"}"#, r#"{"method":"single_sign_on"}"#];

const CLICKS: [&str; 6] = [
    r#"{"feature":"search","screen":"home","control":"search_field"}"#,
    r#"{"feature":"lyrics","screen":"now_playing","control":"lyrics_button"}"#,
    r#"{"feature":"queue","screen":"now_playing","control":"queue_button"}"#,
    r#"{"feature":"sleep_timer","screen":"now_playing","control":"timer","minutes":30}"#,
    r#"{"feature":"offline","screen":"album","control":"download_toggle","enabled":true}"#,
    r#"{"feature":"upgrade","screen":"banner","control":"trial_button","variant":"b"}"#,
];

const CAMPAIGNS: [&str; 3] = [
    r#"{"campaign":"spring_trial","channel":"banner"}"#,
    r#"{"campaign":"family_plan","channel":"email"}"#,
    r#"{"campaign":"students","channel":"search"}"#,
];

#[derive(Debug, Clone, Copy)]
enum Price {
    Song,
    Album,
    Subscription,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Song {
    artist: u32,
    album: u32,
    duration_ms: u32,
}

/// Who made which song, and on which album it is.
fn catalogue(shape: &Shape) -> Vec<Song> {
    let artists = owners(shape);
    let mut song_counts = vec![0_u32; shape.artists as usize];
    artists.iter().for_each(|artist| song_counts[*artist as usize - 1] += 1);
    // Each artist gets a row of album places; an album gets its number when its first song comes up.
    let mut first_places = Vec::with_capacity(song_counts.len());
    let mut places = 0_usize;
    for count in &song_counts {
        first_places.push(places);
        places += count.div_ceil(SONGS_PER_ALBUM) as usize;
    }
    let mut numbers = vec![0_u32; places];
    let mut albums = 0;
    (1..)
        .zip(artists)
        .map(|(song, artist): (u32, u32)| {
            let index = artist as usize - 1;
            let own = u64::from(song_counts[index].div_ceil(SONGS_PER_ALBUM));
            let place = mix(shape.seed, Facet::Album, song.into()) % own;
            let album = &mut numbers[first_places[index] + place as usize];
            if *album == 0 {
                albums += 1;
                *album = albums;
            }
            Song { artist, album: *album, duration_ms: duration_ms(mix(shape.seed, Facet::Duration, song.into())) }
        })
        .collect()
}

/// The artist of each song, most popular song first; artists are numbered by what all their songs draw.
fn owners(shape: &Shape) -> Vec<u32> {
    let fame = zipf(shape.artists, CATALOGUE_EXPONENT);
    // At even distances, so that each artist has a song where there are songs enough.
    let distance = ((shape.songs - 1) / shape.artists).max(1) as usize;
    let mut owners = vec![0_usize; shape.songs as usize];
    let mut weights = vec![0.0; shape.artists as usize];
    for (index, owner) in owners.iter_mut().enumerate().skip(1) {
        *owner = if index % distance == 0 && index / distance <= weights.len() {
            index / distance - 1
        } else {
            rank(&mut dice(shape.seed, Facet::Owner, index as u64), &fame) as usize - 1
        };
        weights[*owner] += weight(index);
    }
    let mut by_weight: Vec<usize> = (0..weights.len()).collect();
    by_weight.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
    // The first song goes to whom the others have made the first artist.
    owners[0] = by_weight[0];
    let mut number_of = vec![0_u32; weights.len()];
    (1..).zip(by_weight).for_each(|(number, artist)| number_of[artist] = number);
    owners.into_iter().map(|owner| number_of[owner]).collect()
}

/// How much a song draws, in units of the first.
fn weight(index: usize) -> f64 {
    ((index + 1) as f64).powf(-SONG_EXPONENT)
}

/// Between 1:50 and 5:02, mostly about 3:26: the sum of three even draws.
fn duration_ms(draw: u64) -> u32 {
    110_000 + [0, 16, 32].map(|shift| (draw >> shift & 0xffff) as u32 * 64 / 65).iter().sum::<u32>()
}

/// How busy the platform is at a moment: by hour of the day and by weekday, UTC.
fn intensity(at_ms: i64) -> f64 {
    // Low before dawn, a rise on the way to work, the peak in the evening.
    const HOURS: [f64; 24] = [
        0.55, 0.40, 0.30, 0.25, 0.25, 0.32, 0.50, 0.75, 0.90, 0.92, 0.95, 1.00, 1.05, 1.05, 1.05, 1.10, 1.20, 1.35,
        1.50, 1.60, 1.60, 1.45, 1.15, 0.80,
    ];
    // From Thursday, which 1 January 1970 was.
    const WEEKDAYS: [f64; 7] = [1.0, 1.12, 1.18, 1.06, 0.92, 0.95, 0.97];
    let hour = at_ms.rem_euclid(DAY_MS) as f64 / 3_600_000.0;
    let (this, next) = (hour as usize, (hour as usize + 1) % 24);
    let hourly = HOURS[this] + (HOURS[next] - HOURS[this]) * hour.fract();
    hourly * WEEKDAYS[at_ms.div_euclid(DAY_MS).rem_euclid(7) as usize]
}

/// What a number decides, so that two facets of one thing do not follow from each other.
#[derive(Debug, Clone, Copy)]
enum Facet {
    Event = 1,
    Owner,
    Album,
    Duration,
    Genre,
    Taste,
    Country,
    Device,
    Playlist,
    Hit,
    Instant,
    Gap,
    Sitting,
}

/// The chances of one event. The generator is named, because rand's standard ones may change with a version.
type Dice = Xoshiro256PlusPlus;

fn dice(seed: u64, facet: Facet, number: u64) -> Dice {
    Dice::seed_from_u64(mix(seed, facet, number))
}

/// A number from 1, the smallest the likeliest.
fn rank(dice: &mut Dice, zipf: &Zipf<f64>) -> u32 {
    zipf.sample(dice) as u32
}

/// Four of five hear a song to its end or nearly so, some skip it, few stop on the way.
fn played_ms(dice: &mut Dice, duration_ms: u32) -> u32 {
    match dice.random_range(0..100) {
        0..70 => duration_ms,
        70..80 => duration_ms - dice.random_range(0..duration_ms / 12),
        80..95 => dice.random_range(800..30_000),
        _ => dice.random_range(30_000..duration_ms),
    }
}

/// SplitMix64 over what is asked: the same answer for the same question, in any order.
fn mix(seed: u64, facet: Facet, number: u64) -> u64 {
    let mut mixed = seed;
    for word in [facet as u64, number] {
        mixed = (mixed ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}

/// 0 <= unit < 1.
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

fn zipf(count: u32, exponent: f64) -> Zipf<f64> {
    Zipf::new(f64::from(count.max(1)), exponent).expect("the count is at least 1 and the exponent positive")
}

/// The entry in whose share `place` falls.
fn weighted<T: Copy>(table: &[(T, u64)], place: u64) -> T {
    let mut end = 0;
    let hit = table.iter().find(|(_, weight)| {
        end += weight;
        place < end
    });
    hit.unwrap_or(&table[0]).0
}

fn push_number(out: &mut String, mut number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    while number > 0 || digits.len() - start < width {
        start -= 1;
        digits[start] += (number % 10) as u8;
        number /= 10;
    }
    out.push_str(str::from_utf8(&digits[start..]).expect("digits are ASCII"));
}

/// Writes one JSON object. Every text here is the platform's own and needs no escaping.
struct EventWriter<'a> {
    out: &'a mut String,
}

impl<'a> EventWriter<'a> {
    fn open(out: &'a mut String, id_prefix: &str, number: u64, event_type: &str, at_ms: i64) -> Self {
        out.push_str("{\"id\":\"");
        out.push_str(id_prefix);
        push_number(out, number, 1);
        out.push_str("\",\"occurredAt\":\"");
        write_instant(at_ms, out);
        out.push('"');
        let mut event = Self { out };
        event.text("type", event_type);
        event
    }

    fn text(&mut self, name: &str, value: &str) {
        self.parts(name, [value]);
    }

    fn parts<const N: usize>(&mut self, name: &str, parts: [&str; N]) {
        self.name(name);
        self.out.push('"');
        parts.iter().for_each(|part| self.out.push_str(part));
        self.out.push('"');
    }

    fn numbered(&mut self, name: &str, prefix: &str, number: u32) {
        self.name(name);
        self.out.push('"');
        self.out.push_str(prefix);
        push_number(self.out, number.into(), 1);
        self.out.push('"');
    }

    fn number(&mut self, name: &str, number: u32) {
        self.name(name);
        push_number(self.out, number.into(), 1);
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.out.push_str(json);
    }

    fn name(&mut self, name: &str) {
        self.out.push_str(",\"");
        self.out.push_str(name);
        self.out.push_str("\":");
    }
}

/// The title of a song, in parts; the first 32,768 differ.
fn song_title(song: u32) -> [&'static str; 4] {
    let (pattern, adjective, noun, other) = words(song, 8);
    match pattern {
        0 => [adjective, " ", noun, ""],
        1 => [noun, " in the ", other, ""],
        2 => [noun, " and ", other, ""],
        3 => ["The ", adjective, " ", noun],
        4 => [noun, " Like the ", other, ""],
        5 => ["Give Me the ", adjective, " ", noun],
        6 => [adjective, " ", noun, " (Acoustic)"],
        _ => ["My ", adjective, " ", noun],
    }
}

/// The title of an album, in parts; the first 16,384 differ.
fn album_title(album: u32) -> [&'static str; 4] {
    let (pattern, adjective, noun, other) = words(album, 4);
    match pattern {
        0 => ["Songs of the ", adjective, " ", noun],
        1 => [adjective, " ", noun, "s"],
        2 => [noun, " & ", other, ""],
        _ => ["Live at the ", adjective, " ", noun],
    }
}

/// The name of an artist, in parts; the first 16,384 differ.
fn artist_name(artist: u32) -> [&'static str; 5] {
    let (pattern, first, second) = places(artist, 4);
    match pattern {
        0 => [FIRST_NAMES[first], " ", LAST_NAMES[second], "", ""],
        1 => [FIRST_NAMES[first], " ", NOUNS[second], "", ""],
        2 => ["The ", ADJECTIVES[first], " ", NOUNS[second], "s"],
        _ => [FIRST_NAMES[first], " & the ", NOUNS[second], "s", ""],
    }
}

/// A pattern's number, an adjective, a noun and another noun.
fn words(number: u32, patterns: u32) -> (usize, &'static str, &'static str, &'static str) {
    let (pattern, first, second) = places(number, patterns);
    let other = if first == second { "Love" } else { NOUNS[first] };
    (pattern, ADJECTIVES[first], NOUNS[second], other)
}

/// A place in `patterns` and two in lists of 64 words. The number of combinations is a power of two, and each
/// step is reversible within so many bits, so that none comes twice before all were used.
fn places(number: u32, patterns: u32) -> (usize, usize, usize) {
    let mask = patterns * 4_096 - 1;
    let mut place = number & mask;
    for factor in [0x9e37_79b1, 0x85eb_ca6b] {
        place = place.wrapping_mul(factor) & mask;
        place ^= place >> 7;
    }
    let place = place as usize;
    (place / 4_096, place / 64 % 64, place % 64)
}

#[rustfmt::skip] // one word a line would fill a page
const ADJECTIVES: [&str; 64] = [
    "Golden", "Silent", "Electric", "Broken", "Distant", "Crimson", "Endless", "Hollow", "Velvet", "Neon", "Restless",
    "Gentle", "Burning", "Frozen", "Secret", "Lonely", "Wild", "Midnight", "Paper", "Silver", "Blue", "Bitter",
    "Tender", "Faded", "Crooked", "Hidden", "Last", "First", "Slow", "Quiet", "Scarlet", "Wandering", "Lost",
    "Bright", "Heavy", "Hungry", "Empty", "Sudden", "Early", "Late", "Northern", "Southern", "Second", "Foreign",
    "Careless", "Shining", "Sleepless", "Weightless", "Magnetic", "Painted", "Borrowed", "Honest", "Fearless",
    "Stolen", "Summer", "Winter", "Amber", "Glass", "Iron", "Concrete", "Analogue", "Pale", "Rising", "Falling",
];

#[rustfmt::skip] // one word a line would fill a page
const NOUNS: [&str; 64] = [
    "River", "Night", "Garden", "Mirror", "Signal", "Harbour", "Lantern", "Shadow", "Window", "Engine", "Letter",
    "Ocean", "Satellite", "Avenue", "Dream", "Horizon", "Feather", "Ember", "Canyon", "Tunnel", "Rooftop", "Kingdom",
    "Stranger", "Radio", "Tide", "Comet", "Orchard", "Lighthouse", "Mountain", "Island", "Airport", "Highway",
    "Station", "Carnival", "Heart", "Fire", "Storm", "Desert", "Bridge", "Moon", "Star", "Ghost", "Raven", "Sparrow",
    "Tiger", "Diamond", "Whisper", "Photograph", "Postcard", "Railway", "Suitcase", "Curtain", "Staircase", "Fountain",
    "Terrace", "Motel", "Guitar", "Telephone", "Planet", "Rocket", "Piano", "Machine", "Morning", "Daydream",
];

#[rustfmt::skip] // one word a line would fill a page
const FIRST_NAMES: [&str; 64] = [
    "Zoë", "Marco", "Ava", "Björn", "Inês", "Noah", "Leila", "Tomás", "Freya", "Malik", "Chloé", "Yuki", "Diego",
    "Anaïs", "Felix", "Amara", "Jonas", "Nadia", "Łukasz", "Priya", "Oskar", "Camila", "Idris", "Signe", "Theo",
    "Farah", "Mateo", "Elif", "Hugo", "Aiko", "Samir", "Greta", "Nico", "Thandi", "Emil", "Rosa", "Kenji", "Maeve",
    "Iván", "Astrid", "Kofi", "Lucía", "Milo", "Sanna", "Rafael", "Ngozi", "Anton", "Isolde", "Jamal", "Petra",
    "Enzo", "Mina", "Viktor", "Paloma", "Dario", "Saga", "Omar", "Celeste", "Lev", "Joana", "Basil", "Ruth", "Silas",
    "Wren",
];

#[rustfmt::skip] // one word a line would fill a page
const LAST_NAMES: [&str; 64] = [
    "Okafor", "Lindqvist", "Moreau", "Castellano", "Novák", "Haddad", "Silva", "Bergmann", "Tanaka", "Fitzroy",
    "Almeida", "Kowalski", "Dubois", "Achterberg", "Marlowe", "Eriksen", "Vega", "Osei", "Petrov", "Rahimi",
    "Calloway", "Sørensen", "Navarro", "Ito", "Whitlock", "Çelik", "Fontaine", "Mbeki", "Larsson", "Costa", "Hartley",
    "Zielińska", "Aguilar", "Winters", "Bianchi", "Oyelaran", "Rousseau", "Kapoor", "Holloway", "Vasquez", "Lund",
    "Delgado", "Nakamura", "Abara", "Quinn", "Moretti", "Sandoval", "Weiss", "Duarte", "Nyström", "Pereira", "Sato",
    "Farrow", "Lévesque", "Romero", "Achebe", "Thorne", "Salazar", "Voss", "Demir", "Ashby", "Keller", "Ruiz",
    "Halloran",
];

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde_json::Value;

    use super::*;

    /// 2026-11-22, a Sunday, 10:15 UTC.
    const NOW_MS: i64 = 1_795_342_500_000;

    fn events(platform: &Platform, count: u64) -> Vec<Value> {
        let mut line = String::new();
        (0..count)
            .map(|number| {
                line.clear();
                platform.write_event(number, NOW_MS + number as i64 * 1_000, &mut line);
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// How often each value of a field comes up, of all events or of those of one type.
    fn counts<'a>(events: &'a [Value], event_type: Option<&str>, field: &str) -> HashMap<&'a str, u32> {
        let mut counts = HashMap::new();
        for event in events.iter().filter(|event| event_type.is_none_or(|event_type| event["type"] == event_type)) {
            if let Some(value) = event[field].as_str() {
                *counts.entry(value).or_default() += 1;
            }
        }
        counts
    }

    #[test]
    fn the_same_question_gives_the_same_event_in_any_order() {
        let write = |platform: &Platform, number| {
            let mut line = String::new();
            platform.write_event(number, NOW_MS, &mut line);
            line
        };
        let (one, other) = (Platform::new(Shape::DEMO), Platform::new(Shape::DEMO));
        let forwards: Vec<_> = (0..500).map(|number| write(&one, number)).collect();
        let mut backwards: Vec<_> = (0..500).rev().map(|number| write(&other, number)).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        let another = Platform::new(Shape { seed: 2, ..Shape::DEMO });
        assert_ne!(write(&one, 0), write(&another, 0));
    }

    #[test]
    fn ids_are_unique_over_numbers_and_seeds() {
        let mut ids = HashSet::new();
        for seed in 0..3 {
            for event in events(&Platform::new(Shape { seed, ..Shape::DEMO }), 2_000) {
                assert!(ids.insert(event["id"].as_str().unwrap().to_owned()));
            }
        }
        let renamed = Platform::new(Shape::DEMO).with_id_prefix("bench-7-");
        assert_eq!(events(&renamed, 1)[0]["id"], "bench-7-0");
    }

    #[test]
    fn each_event_has_what_its_type_needs_and_titles_only_where_wanted() {
        let has = |event: &Value, fields: &[&str]| fields.iter().all(|field| !event[*field].is_null());
        let titled = events(&Platform::new(Shape::DEMO), 60_000);
        let bare = events(&Platform::new(Shape { has_titles: false, ..Shape::DEMO }), 60_000);
        let mut types = HashSet::new();
        for (event, bare) in titled.iter().zip(&bare) {
            let event_type = event["type"].as_str().unwrap();
            types.insert(event_type);
            assert!(has(event, &["id", "type", "occurredAt"]), "{event}");
            let needed: &[&str] = match event_type {
                "track.played" => &["songId", "albumId", "artistId", "genre", "device", "playedMs", "durationMs"],
                "track.liked" | "track.unliked" | "track.saved" | "track.shared" => &["userId", "songId", "artistId"],
                "album.liked" => &["userId", "albumId", "artistId"],
                "playlist.track_added" => &["userId", "playlistId", "songId"],
                "artist.followed" | "artist.unfollowed" => &["userId", "artistId"],
                "order.paid" | "order.refunded" => &["userId", "artistId", "amount", "currency"],
                "sale.completed" => &["userId", "amount", "currency", "properties"],
                _ => &["userId", "properties"],
            };
            assert!(has(event, needed), "{event}");
            assert_eq!(event["artistId"].is_null(), event["artistName"].is_null(), "{event}");
            assert!(!["songTitle", "albumTitle", "artistName"].iter().any(|title| !bare[*title].is_null()), "{bare}");
            assert_eq!(event["id"], bare["id"]);
            assert_eq!(event["songId"], bare["songId"]);
        }
        assert_eq!(types.len(), MIX.len(), "each type comes up");
    }

    #[test]
    fn a_song_keeps_its_artist_album_and_length_and_the_first_belongs_to_the_first() {
        let platform = Platform::new(Shape::DEMO);
        let mut seen = HashMap::new();
        for event in events(&platform, 30_000).iter().filter(|event| event["type"] == "track.played") {
            let facts = ["artistId", "albumId", "durationMs", "songTitle", "artistName", "genre"];
            let facts = facts.map(|field| event[field].clone());
            let kept = seen.entry(event["songId"].clone()).or_insert(facts.clone());
            assert_eq!(*kept, facts);
        }
        for (artists, songs) in [(1, 1), (1, 50), (2, 3), (40, 600), (50, 20), (300, 5_000)] {
            let songs = catalogue(&Shape { artists, songs, ..Shape::DEMO });
            assert_eq!((songs[0].artist, songs[0].album), (1, 1), "{artists} artists");
            let with_a_song: HashSet<_> = songs.iter().map(|song| song.artist).collect();
            let possible = (songs.len() - 1).min(artists as usize).max(1);
            assert!(with_a_song.len() >= possible, "{artists} artists, {} with a song", with_a_song.len());
            assert!(with_a_song.iter().all(|artist| (1..=artists).contains(artist)));
        }
    }

    #[test]
    fn popularity_follows_the_numbers_as_zipf_has_it() {
        let events = events(&Platform::new(Shape { songs: 2_000, artists: 100, ..Shape::DEMO }), 60_000);
        let songs = counts(&events, Some("track.played"), "songId");
        // Rank 1 to rank 16 is 16^0.75 = 8 to one; tastes and hits bend that a little.
        let ratio = f64::from(songs["song-1"]) / f64::from(songs["song-16"]);
        assert!((5.0..13.0).contains(&ratio), "{ratio}");
        assert!(songs.iter().all(|(song, count)| *song == "song-1" || *count < songs["song-1"]));
        let artists = counts(&events, Some("track.played"), "artistId");
        assert!(artists["artist-1"] > artists["artist-2"]);
        assert!(artists["artist-2"] > artists["artist-30"] && artists["artist-30"] > artists["artist-100"]);
        let listeners = counts(&events, None, "userId");
        assert!(listeners["listener-1"] > 5 * listeners["listener-1000"]);
    }

    #[test]
    fn listeners_come_for_a_session_where_a_few_are_there_at_a_time() {
        let mean = |shape: Shape| {
            let platform = Platform::new(shape);
            let history = History { events: 60_000, days: 60, ends_at_ms: 1_781_524_800_000, seed: 1 };
            let mut times: HashMap<String, Vec<i64>> = HashMap::new();
            for (number, at_ms) in (0..).zip(Instants::new(history)) {
                let mut text = String::new();
                platform.write_event(number, at_ms, &mut text);
                let event: Value = serde_json::from_str(&text).unwrap();
                if let Some(user) = event["userId"].as_str() {
                    times.entry(user.to_owned()).or_default().push(at_ms);
                }
            }
            let sessions = times.values_mut().map(|times| {
                times.sort_unstable();
                times.chunk_by(|one, next| next - one < 1_800_000).count()
            });
            60_000.0 / sessions.sum::<usize>() as f64
        };
        let (demo, anybody) = (mean(Shape::DEMO), mean(Shape { listeners_at_once: 0, ..Shape::DEMO }));
        assert!((2.5..4.5).contains(&demo) && anybody < 1.3, "{demo} {anybody}");
    }

    #[test]
    fn plays_are_mostly_heard_to_the_end_and_sometimes_skipped() {
        let events = events(&Platform::new(Shape::DEMO), 50_000);
        let plays: Vec<_> = events.iter().filter(|event| event["type"] == "track.played").collect();
        let share = |test: &dyn Fn(u64, u64) -> bool| {
            let number = |event: &Value, field: &str| event[field].as_u64().unwrap();
            let hits = plays.iter().filter(|play| test(number(play, "playedMs"), number(play, "durationMs"))).count();
            hits as f64 / plays.len() as f64
        };
        assert!((0.87..0.89).contains(&(plays.len() as f64 / 50_000.0)));
        assert_eq!(share(&|played, duration| played <= duration), 1.0);
        assert!((0.78..0.84).contains(&share(&|played, duration| played * 10 >= duration * 9)));
        assert!((0.13..0.17).contains(&share(&|played, _| played < 30_000)));
    }

    #[test]
    fn a_song_of_the_middle_has_its_week() {
        let platform = Platform::new(Shape::DEMO);
        let start_of_week = NOW_MS.div_euclid(WEEK_MS) * WEEK_MS;
        // At the very start of a week the hit of the week before is at its height and alone.
        let hits: HashSet<_> =
            (0..20).map(|number| platform.hit(&mut dice(1, Facet::Event, number), start_of_week)).collect();
        assert_eq!(hits.len(), 1);
        let later = platform.hit(&mut dice(1, Facet::Event, 0), start_of_week + WEEK_MS);
        assert!(later.is_some_and(|song| (61..=300).contains(&song)));
        assert!(!hits.contains(&later));
        let tiny = Platform::new(Shape { songs: 1, ..Shape::DEMO });
        assert_eq!(tiny.hit(&mut dice(1, Facet::Event, 0), NOW_MS), None);
    }

    #[test]
    fn a_history_has_its_count_ascends_and_peaks_in_the_evening() {
        let history = History { events: 50_000, days: 28, ends_at_ms: NOW_MS, seed: 3 };
        let times: Vec<i64> = Instants::new(history).collect();
        assert_eq!(times.len(), 50_000);
        assert!(times.is_sorted());
        assert!(times[0] >= NOW_MS - 28 * DAY_MS && times[49_999] < NOW_MS);
        let at_hour = |hour| times.iter().filter(|at| at.rem_euclid(DAY_MS) / 3_600_000 == hour).count();
        assert!(at_hour(19) > 4 * at_hour(3));
        let half = times.partition_point(|at| *at < NOW_MS - 14 * DAY_MS);
        assert!(half < 25_000, "the second half is busier: {half}");
        assert_eq!(times, Instants::new(history).collect::<Vec<_>>());
        for (events, days) in [(0, 7), (1, 0), (5, 1)] {
            let history = History { events, days, ..history };
            assert_eq!(Instants::new(history).count() as u64, events);
        }
    }

    #[test]
    fn a_live_platform_goes_on_with_the_next_number() {
        let mut live = Live::new(Platform::new(Shape::DEMO), 7, 2.0);
        let mut lines = String::new();
        let gaps: Vec<_> = (0..2_000)
            .map(|_| {
                lines.push('\n');
                live.write_next(NOW_MS, &mut lines).as_secs_f64()
            })
            .collect();
        assert!(lines.contains("\"id\":\"demo-1-7\"") && lines.contains("\"id\":\"demo-1-2006\""));
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }

    #[test]
    fn instants_read_as_rfc_3339() {
        for (at_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (NOW_MS, "2026-11-22T10:15:00.000Z"),
        ] {
            let mut out = String::new();
            write_instant(at_ms, &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn titles_are_told_apart_and_tables_add_up() {
        let distinct = |titles: Vec<String>| titles.iter().collect::<HashSet<_>>().len();
        assert_eq!(distinct((1..=32_768).map(|n| song_title(n).concat()).collect()), 32_768);
        assert_eq!(distinct((1..=16_384).map(|n| album_title(n).concat()).collect()), 16_384);
        assert_eq!(distinct((1..=16_384).map(|n| artist_name(n).concat()).collect()), 16_384);
        for table in [&GENRES[..], &COUNTRIES, &DEVICES, &SOURCES] {
            assert_eq!(table.iter().map(|(_, share)| share).sum::<u64>(), 100);
        }
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<u64>(), MIX_TOTAL);
    }
}
