//! Any group-by: random questions over random events, as a plain reader answers them.

use std::collections::{BTreeMap, BTreeSet};

use backbeat::{
    analytics::{self, ExploreFrom, ExploreQuestion, Key, NumberOf, OrderBy, Statistic},
    domain::{
        counting::Counter,
        entity::{EntityKind, EntityRef},
        origin::Dimension,
        property::{PropertyMatch, PropertyPath},
        window::{Granularity, Window},
    },
};
use chrono::{Datelike, Days, TimeZone, Timelike};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

use crate::support::{App, T0, TestDatabase, app::Options, rfc3339};

mod answers;
mod checks;
mod real_data;

const CASES: u64 = 3;
const QUESTIONS: usize = 60;
const DAY_MS: i64 = 24 * 3_600_000;
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Los_Angeles"];
const TYPES: [&str; 7] =
    ["track.played", "track.played", "track.liked", "album.liked", "playlist.liked", "ui.clicked", "order.paid"];

fn pick<'a>(random: &mut StdRng, some: &[&'a str]) -> &'a str {
    some[random.random_range(0..some.len())]
}

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let event_type = pick(random, &TYPES);
    let mut event = json!({
        "id": format!("event-{number}"), "type": event_type, "occurredAt": T0 - random.random_range(0..40 * DAY_MS),
        "songId": format!("song-{}", random.random_range(0..5)), "albumId": format!("album-{}", random.random_range(0..3)),
        "artistId": format!("artist-{}", random.random_range(1..4)), "playlistId": "playlist-1",
    });
    let mut maybe = |chance: u32, name: &str, value: Value| {
        if random.random_range(0..chance) > 0 {
            event[name] = value;
        }
    };
    maybe(4, "country", json!(["DE", "DE", "FR", "AT"][number % 4]));
    maybe(4, "source", json!(["search", "radio"][number % 2]));
    maybe(4, "device", json!(["mobile", "desktop", "tv"][number % 3]));
    maybe(3, "genre", json!(["pop", "jazz"][number % 2]));
    maybe(5, "userId", json!(format!("user-{}", number * 7 % 13)));
    maybe(2, "anonymousId", json!(format!("somebody-{}", number % 5)));
    if event_type == "track.played" {
        maybe(3, "playedMs", json!(number as i64 * 7_919 % 90_000));
        maybe(2, "durationMs", json!(60_000));
    }
    let plan = ["solo", "family"][number % 2];
    let quarters = json!(number as f64 / 4.0);
    let latency =
        [json!(number as i64 % 40 - 10), quarters, json!("slow"), json!([1]), json!(null)][number % 5].clone();
    maybe(
        2,
        "properties",
        json!({
            "latency": latency,
        "plan": {"name": plan, "seats": number % 3, "trial": number.is_multiple_of(2)},
        }),
    );
    if event_type == "order.paid" {
        event["amount"] = json!(format!("{}.50", number % 9));
        event["currency"] = json!(["EUR", "USD"][random.random_range(0..2)]);
    } else if random.random_range(0..12) == 0 {
        event["count"] = json!(random.random_range(1..5));
    }
    event
}

/// What the catalogue says from the second batch on.
const CATALOGUE: &str = r#"mutation { upsertCatalog(input: {
    albums: [{id: "album-0", credits: [{artistId: "artist-1"}]}, {id: "album-1", credits: [{artistId: "artist-2"}]},
        {id: "album-2", credits: [{artistId: "artist-3"}]}]
    songs: [
        {id: "song-0", title: "Nought", albumId: "album-1",
            credits: [{artistId: "artist-1"}, {artistId: "artist-2"}, {artistId: "artist-3", role: FEATURED}]}
        {id: "song-1", title: "One", credits: [{artistId: "artist-1"}]}
        {id: "song-2", credits: [{artistId: "artist-2"}]}
        {id: "song-3", credits: [{artistId: "artist-3"}]}
        {id: "song-4", credits: [{artistId: "artist-3"}]}
    ] }) { rejected results { message } } }"#;
const MERGE: &str =
    r#"mutation { mergeEntities(input: {kind: SONG, fromId: "song-4", intoId: "song-3"}) { entity { id } } }"#;

/// An event as a plain reader understands it.
struct Plain<'a> {
    event: &'a Value,
    is_told: bool,
}

impl Plain<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.event[name].as_str()
    }

    fn event_type(&self) -> &str {
        self.text("type").unwrap()
    }

    fn at(&self) -> i64 {
        self.event["occurredAt"].as_i64().unwrap()
    }

    fn times(&self) -> i64 {
        self.event["count"].as_i64().unwrap_or(1)
    }

    fn user(&self) -> Option<&str> {
        self.text("userId").filter(|_| self.event["count"].is_null())
    }

    fn is_play(&self) -> bool {
        self.event_type() == "track.played"
    }

    /// The kind of thing that it is done to.
    fn subject(&self) -> &str {
        self.event_type().split('.').next().unwrap()
    }

    fn song(&self) -> String {
        self.text("songId").unwrap().replace("song-4", "song-3")
    }

    fn album(&self) -> &str {
        let told = self.is_told && self.is_play() && self.text("songId") == Some("song-0");
        if told { "album-1" } else { self.text("albumId").unwrap() }
    }

    fn artists(&self) -> Vec<&str> {
        let told = match (self.subject(), self.text("songId").unwrap(), self.text("albumId").unwrap()) {
            ("track", "song-0", _) => vec!["artist-1", "artist-2"],
            ("track", "song-1", _) | ("album", _, "album-0") => vec!["artist-1"],
            ("track", "song-2", _) | ("album", _, "album-1") => vec!["artist-2"],
            ("track", ..) | ("album", ..) => vec!["artist-3"],
            // An order's first thing is its song, and that is the one whose credits count.
            ("order", "song-0", _) => vec!["artist-1", "artist-2"],
            ("order", "song-1", _) => vec!["artist-1"],
            ("order", "song-2", _) => vec!["artist-2"],
            ("order", ..) => vec!["artist-3"],
            _ => Vec::new(),
        };
        let named = vec![self.text("artistId").unwrap()];
        if self.is_told && !told.is_empty() { told } else { named }
    }

    /// Whether it counts for what it names of a kind.
    fn counts_for(&self, kind: &str) -> bool {
        match (self.subject(), kind) {
            _ if self.is_play() => true,
            ("track", kind) => ["SONG", "ARTIST"].contains(&kind),
            ("album", kind) => ["ALBUM", "ARTIST"].contains(&kind),
            ("playlist", kind) => kind == "PLAYLIST",
            _ => false,
        }
    }

    fn played_ms(&self) -> Option<i64> {
        self.event["playedMs"].as_i64()
    }

    fn to_the_end(&self) -> bool {
        self.played_ms().zip(self.event["durationMs"].as_i64()).is_some_and(|(played, whole)| played >= whole)
    }

    fn is_stream(&self) -> bool {
        self.is_play() && self.played_ms().is_none_or(|played| played >= 30_000)
    }

    fn counter(&self, name: &str) -> i64 {
        let is_it = match name {
            "STREAMS" => self.is_stream(),
            "PLAYS" => self.is_play(),
            "SKIPS" => self.is_play() && !self.is_stream() && !self.to_the_end(),
            "LISTENING_TIME" => {
                let heard = self.played_ms().filter(|_| self.is_play()).unwrap_or(0);
                return heard.min(self.event["durationMs"].as_i64().unwrap_or(i64::MAX)) * self.times();
            }
            "LIKES" => self.event_type().ends_with(".liked"),
            other => panic!("{other}"),
        };
        if is_it { self.times() } else { 0 }
    }

    fn property(&self, path: &str) -> &Value {
        path.split('.').fold(&self.event["properties"], |value, key| &value[key])
    }

    fn number(&self, property: &str) -> Option<f64> {
        match property {
            "playedMs" => self.event["playedMs"].as_f64(),
            "amount" => self.text("amount").map(|amount| amount.parse().unwrap()),
            path => self.property(path).as_f64(),
        }
    }

    fn key(&self, by: &str, zone: Tz) -> Vec<Value> {
        let local = zone.timestamp_millis_opt(self.at()).unwrap();
        let one = match by {
            "ARTIST" => return self.artists().iter().map(|artist| json!(artist)).collect(),
            "TYPE" => json!(self.event_type()),
            "SONG" => json!(self.song()),
            "ALBUM" => json!(self.album()),
            "COUNTRY" => self.event["country"].clone(),
            "SOURCE" => self.event["source"].clone(),
            "DEVICE" => self.event["device"].clone(),
            "GENRE" => self.event["genre"].clone(),
            "USER" => self.event["userId"].clone(),
            "HOUR_OF_DAY" => json!(local.hour()),
            "WEEKDAY" => json!(local.weekday().number_from_monday()),
            "currency" => self.event["currency"].clone(),
            path => match self.property(path) {
                value if value.is_array() || value.is_object() => json!(null),
                value if value.as_f64().is_some_and(|it| it.fract() == 0.0) => json!(value.as_f64().unwrap() as i64),
                value => value.clone(),
            },
        };
        vec![one]
    }
}

/// A random question, to be asked in each of the ways.
#[derive(Debug, Clone)]
struct Spec {
    /// The measure, and of statistics the property.
    measures: Vec<(&'static str, &'static str)>,
    by: Vec<&'static str>,
    every: Option<&'static str>,
    zone: &'static str,
    filters: BTreeMap<&'static str, String>,
    from_ms: i64,
    to_ms: i64,
    order: Option<(String, bool)>,
    first: usize,
    /// Whose token asks; an admin's if nobody's.
    artists: Vec<&'static str>,
}

const KEYS: [&str; 14] = [
    "TYPE",
    "SONG",
    "ALBUM",
    "ARTIST",
    "COUNTRY",
    "SOURCE",
    "DEVICE",
    "GENRE",
    "USER",
    "HOUR_OF_DAY",
    "WEEKDAY",
    "currency",
    "plan.name",
    "latency",
];
const COUNTERS: [&str; 5] = ["STREAMS", "PLAYS", "SKIPS", "LISTENING_TIME", "LIKES"];
const STATISTICS: [&str; 7] = ["NUMBERS", "SUM", "AVG", "MIN", "MAX", "0.5", "0.95"];
const GRANULARITIES: [(&str, Granularity); 4] = [
    ("HOUR", Granularity::Hour),
    ("DAY", Granularity::Day),
    ("WEEK", Granularity::Week),
    ("MONTH", Granularity::Month),
];

fn random_spec(random: &mut StdRng) -> Spec {
    let is_artist = random.random_range(0..3) == 0;
    // Every other question is of the kinds that sums may answer.
    let is_plain = random.random_range(0..2) == 0;
    let mut measures: Vec<(&str, &str)> = Vec::new();
    for _ in 0..random.random_range(1..4) {
        let measure = match random.random_range(0..if is_plain { 6 } else { 10 }) {
            0..4 => (pick(random, &COUNTERS), ""),
            4 => ("COUNT", ""),
            5 => ("UNIQUE_USERS", ""),
            _ => {
                let places = if is_artist {
                    &["playedMs"][..]
                } else {
                    &["playedMs", "latency", "plan.seats", "absent", "amount"]
                };
                (pick(random, &STATISTICS), pick(random, places))
            }
        };
        if !measures.contains(&measure) {
            measures.push(measure);
        }
    }
    let is_open = |key: &&&'static str| !is_artist || !["USER", "plan.name", "latency"].contains(*key);
    let keys: Vec<&str> = KEYS.iter().filter(is_open).copied().collect();
    let mut by: Vec<&str> = Vec::new();
    for _ in 0..random.random_range(0..if is_plain { 2 } else { 4 }) {
        let key = pick(random, &keys);
        if !by.contains(&key) {
            by.push(key);
        }
    }
    let mut filters = BTreeMap::new();
    for _ in 0..random.random_range(0..if is_plain { 2 } else { 3 }) {
        let (name, value) = match random.random_range(0..9) {
            0 => ("types", pick(random, &["track.played", "ui.clicked", "track.played,order.paid", "absent"])),
            1 => ("country", pick(random, &["DE", "AT"])),
            2 => ("source", "radio"),
            3 => ("device", "mobile"),
            4 => ("genre", "pop"),
            5 if !is_artist => ("user", "user-3"),
            6 if !is_artist => ("plan.name", "solo"),
            7 => ("currency", "EUR"),
            _ if is_artist => ("entity", pick(random, &["SONG song-0", "ARTIST artist-1", "ALBUM album-0"])),
            _ => ("entity", pick(random, &["SONG song-4", "ALBUM album-1", "PLAYLIST playlist-1", "ARTIST artist-2"])),
        };
        filters.insert(name, value.to_owned());
    }
    let unit = [900_000, DAY_MS][random.random_range(0..2)];
    let midnight = T0 - T0.rem_euclid(DAY_MS);
    let from_ms = midnight - random.random_range(1..40 * DAY_MS / unit) * unit;
    let mut spec = Spec {
        measures,
        by,
        every: Some(pick(random, &["HOUR", "DAY", "WEEK", "MONTH"])).filter(|_| random.random_range(0..2) == 0),
        zone: pick(random, &ZONES),
        filters,
        from_ms,
        to_ms: from_ms + random.random_range(1..30 * DAY_MS / unit) * unit,
        order: None,
        first: [3, 1_000][random.random_range(0..2)],
        artists: if is_artist {
            [vec!["artist-1"], vec!["artist-1", "artist-3"]][random.random_range(0..2)].clone()
        } else {
            Vec::new()
        },
    };
    if random.random_range(0..2) == 0 {
        let columns = spec.columns();
        spec.order = Some((columns[random.random_range(0..columns.len())].clone(), random.random_range(0..2) == 0));
    }
    spec
}

impl Spec {
    fn zone(&self) -> Tz {
        self.zone.parse().unwrap()
    }

    fn key_columns(&self) -> Vec<String> {
        let name = |by: &&str| match *by {
            "HOUR_OF_DAY" => "hourOfDay".to_owned(),
            "currency" => "currency".to_owned(),
            path if path.to_lowercase() == path => format!("properties.{path}"),
            key => key.to_lowercase(),
        };
        self.by.iter().map(name).collect()
    }

    fn measure_columns(&self) -> Vec<String> {
        let name = |(measure, property): &(&str, &str)| match *measure {
            "LISTENING_TIME" => "listeningTimeMs".to_owned(),
            "UNIQUE_USERS" => "uniqueUsers".to_owned(),
            "0.5" => format!("p50:{property}"),
            "0.95" => format!("p95:{property}"),
            other if property.is_empty() => other.to_lowercase(),
            other => format!("{}:{property}", other.to_lowercase()),
        };
        self.measures.iter().map(name).collect()
    }

    fn columns(&self) -> Vec<String> {
        let time = self.every.map(|_| "time".to_owned());
        time.into_iter().chain(self.key_columns()).chain(self.measure_columns()).collect()
    }

    fn query(&self) -> String {
        let measures = self.measures.iter().map(|(measure, property)| match (measure.parse::<f64>(), property) {
            (Ok(part), property) => format!(r#"{{measure: PERCENTILE, percentile: {part}, property: "{property}"}}"#),
            (_, &"") => format!("{{measure: {measure}}}"),
            (_, property) => format!(r#"{{measure: {measure}, property: "{property}"}}"#),
        });
        let by = self.by.iter().map(|by| match *by {
            path if path.to_lowercase() == path => format!(r#"{{of: PROPERTY, property: "{path}"}}"#),
            key => format!("{{of: {key}}}"),
        });
        let filters = self.filters.iter().map(|(name, value)| match *name {
            "types" => format!("types: {}", json!(value.split(',').collect::<Vec<_>>())),
            "user" => format!(r#"userId: "{value}""#),
            "plan.name" => String::new(),
            "currency" => String::new(),
            "entity" => {
                let (kind, id) = value.split_once(' ').unwrap();
                format!(r#"entity: {{kind: {kind}, id: "{id}"}}"#)
            }
            name => format!(r#"{name}: "{value}""#),
        });
        let filters: Vec<String> = filters.collect();
        let equals = self.filters.iter().filter(|(name, _)| ["plan.name", "currency"].contains(name));
        let equals: Vec<String> =
            equals.map(|(path, value)| format!(r#"{{path: "{path}", value: "{value}"}}"#)).collect();
        let join = |parts: &mut dyn Iterator<Item = String>| parts.collect::<Vec<_>>().join(", ");
        let mut arguments = format!(
            r#"measures: [{}], by: [{}], where: {{{}, propertyEquals: [{}]}}, timeZone: "{}", first: {},
                during: {{between: {{from: "{}", to: "{}"}}}}"#,
            join(&mut measures.into_iter()),
            join(&mut by.into_iter()),
            filters.join(" "),
            equals.join(", "),
            self.zone,
            self.first,
            rfc3339(self.from_ms),
            rfc3339(self.to_ms),
        );
        arguments.extend(self.every.map(|every| format!(", every: {every}")));
        if let Some((column, is_descending)) = &self.order {
            let direction = if *is_descending { "DESC" } else { "ASC" };
            arguments.push_str(&format!(r#", orderBy: {{column: "{column}", direction: {direction}}}"#));
        }
        format!("{{ explore({arguments}) {{ columns rows source rowsRead }} }}")
    }

    /// The same question for the room that answers.
    fn question(&self) -> ExploreQuestion {
        let path = |path: &str| PropertyPath::new(path).unwrap();
        let measure = |(measure, property): &(&str, &str)| {
            let number = match *property {
                "playedMs" => NumberOf::PlayedMs,
                "amount" => NumberOf::Amount,
                other => NumberOf::Property(path(if other.is_empty() { "none" } else { other })),
            };
            let statistic = match *measure {
                "COUNT" => return analytics::Measure::Counter(Counter::Events),
                "STREAMS" => return analytics::Measure::Counter(Counter::Streams),
                "PLAYS" => return analytics::Measure::Counter(Counter::Plays),
                "SKIPS" => return analytics::Measure::Counter(Counter::Skips),
                "LISTENING_TIME" => return analytics::Measure::Counter(Counter::ListeningMs),
                "LIKES" => return analytics::Measure::Counter(Counter::Likes),
                "UNIQUE_USERS" => return analytics::Measure::UniqueUsers,
                "NUMBERS" => Statistic::Numbers,
                "SUM" => Statistic::Sum,
                "AVG" => Statistic::Mean,
                "MIN" => Statistic::Min,
                "MAX" => Statistic::Max,
                part => Statistic::Percentile(part.parse().unwrap()),
            };
            analytics::Measure::Statistic(statistic, number)
        };
        let key = |by: &&str| match *by {
            "TYPE" => Key::Type,
            "SONG" => Key::Entity(EntityKind::Song),
            "ALBUM" => Key::Entity(EntityKind::Album),
            "ARTIST" => Key::Entity(EntityKind::Artist),
            "COUNTRY" => Key::Origin(Dimension::Country),
            "SOURCE" => Key::Origin(Dimension::Source),
            "DEVICE" => Key::Origin(Dimension::Device),
            "GENRE" => Key::Genre,
            "USER" => Key::User,
            "HOUR_OF_DAY" => Key::HourOfDay,
            "WEEKDAY" => Key::Weekday,
            "currency" => Key::Currency,
            other => Key::Property(path(other)),
        };
        let filter = |name: &str| self.filters.get(name).map(|value| value.as_str().into());
        let entity = self.filters.get("entity").map(|entity| {
            let (kind, id) = entity.split_once(' ').unwrap();
            let kind = EntityKind::ALL.into_iter().find(|known| known.word().to_uppercase() == kind).unwrap();
            EntityRef::new(kind, id)
        });
        let artist =
            entity.clone().filter(|entity| entity.kind == EntityKind::Artist).map(|entity| BTreeSet::from([entity.id]));
        let own: BTreeSet<_> = self.artists.iter().map(|id| (*id).into()).collect();
        let window = Window { from_ms: self.from_ms, to_ms: self.to_ms };
        let granularity = GRANULARITIES.into_iter().find(|(name, _)| Some(*name) == self.every).map(|(_, it)| it);
        let place = |column: &str| {
            let keys = self.key_columns();
            let of = |names: &[String]| names.iter().position(|name| name == column);
            match column {
                "time" => OrderBy::Time,
                _ => of(&keys)
                    .map(OrderBy::Key)
                    .unwrap_or_else(|| OrderBy::Measure(of(&self.measure_columns()).unwrap())),
            }
        };
        let time = self.every.map(|_| (OrderBy::Time, false));
        ExploreQuestion {
            measures: self.measures.iter().map(measure).collect(),
            by: self.by.iter().map(key).collect(),
            buckets: granularity.map(|every| every.cut(window, self.zone(), 10_000).unwrap()),
            zone: self.zone(),
            filter: analytics::ExploreFilter {
                types: self.filters.get("types").map(|types| types.split(',').map(Into::into).collect()),
                entity: entity.filter(|entity| entity.kind != EntityKind::Artist),
                country: filter("country"),
                source: filter("source"),
                device: filter("device"),
                genre: filter("genre"),
                user_id: filter("user"),
                currency: filter("currency"),
                properties: filter("plan.name")
                    .map(|name: std::sync::Arc<str>| PropertyMatch::new("plan.name", json!(&*name)).unwrap())
                    .into_iter()
                    .collect(),
            },
            window,
            artists: artist.or_else(|| (!own.is_empty()).then_some(own)),
            order: match &self.order {
                Some((column, is_descending)) => vec![(place(column), *is_descending)],
                None => time.into_iter().chain([(OrderBy::Measure(0), true)]).collect(),
            },
            first: self.first,
            is_folded: !self.artists.is_empty(),
        }
    }

    /// Whose catalogue it is limited to, as far as that goes by what events are credited to.
    fn catalogue(&self) -> Option<Vec<&str>> {
        let filtered = self.filters.get("entity").and_then(|entity| entity.strip_prefix("ARTIST "));
        let own = (!self.artists.is_empty()).then(|| self.artists.clone());
        filtered.map(|artist| vec![artist]).or(own)
    }

    fn has_works(&self) -> bool {
        let filtered = self.filters.get("entity").is_some_and(|entity| !entity.starts_with("ARTIST"));
        filtered || self.by.iter().any(|by| ["SONG", "ALBUM", "ARTIST"].contains(by))
    }

    fn admits(&self, event: &Plain<'_>) -> bool {
        let of_filter = self.filters.iter().all(|(name, value)| match *name {
            "types" => value.split(',').any(|name| name == event.event_type()),
            "user" => event.text("userId") == Some(value),
            "plan.name" => event.property("plan.name") == value,
            "entity" => match value.split_once(' ').unwrap() {
                ("SONG", id) => event.song() == id.replace("song-4", "song-3"),
                ("ALBUM", id) => event.album() == id,
                ("PLAYLIST", id) => event.text("playlistId") == Some(id),
                _ => true,
            },
            name => event.text(name) == Some(value),
        });
        let works = |artist: &str| match artist {
            "artist-1" => ["song-0", "song-1", "album-0"],
            "artist-2" => ["song-0", "song-2", "album-1"],
            _ => ["song-3", "song-4", "album-2"],
        };
        let of_catalogue = self.catalogue().is_none_or(|artists| {
            let owns = |work: &str| artists.iter().any(|artist| works(artist).contains(&work));
            (!self.by.contains(&"SONG") || owns(&event.song()))
                && (!self.by.contains(&"ALBUM") || owns(event.album()))
                && (self.has_works() || event.artists().iter().any(|artist| artists.contains(artist)))
        });
        (self.from_ms..self.to_ms).contains(&event.at()) && of_filter && of_catalogue
    }

    /// The kinds of which an event has to count for something to move a counter of music.
    fn counts(&self, event: &Plain<'_>) -> bool {
        let grouped = self.by.iter().copied().filter(|by| ["SONG", "ALBUM", "ARTIST"].contains(by));
        let filtered = self.filters.get("entity").and_then(|entity| entity.split_once(' ')).map(|(kind, _)| kind);
        let filtered = filtered.filter(|kind| *kind != "ARTIST");
        let credited = (self.catalogue().is_some() && !self.has_works()).then_some("ARTIST");
        grouped.chain(filtered).chain(credited).all(|kind| event.counts_for(kind))
    }

    /// When the bucket of an event begins.
    fn time(&self, at_ms: i64) -> i64 {
        let local = self.zone().timestamp_millis_opt(at_ms).unwrap();
        let midnight = |day: chrono::NaiveDate| {
            self.zone().from_local_datetime(&day.and_hms_opt(0, 0, 0).unwrap()).earliest().unwrap().timestamp_millis()
        };
        let day = local.date_naive();
        let start = match self.every {
            None => return 0,
            Some("HOUR") => at_ms - (i64::from(local.minute()) * 60_000 + at_ms.rem_euclid(60_000)),
            Some("DAY") => midnight(day),
            Some("WEEK") => midnight(day - Days::new(u64::from(day.weekday().num_days_from_monday()))),
            _ => midnight(day.with_day(1).unwrap()),
        };
        start.max(self.from_ms)
    }
}

/// A group of a plain group-by.
#[derive(Default, Clone)]
struct PlainGroup<'a> {
    events: Vec<(&'a Plain<'a>, bool)>,
}

impl PlainGroup<'_> {
    fn value(&self, (measure, property): (&str, &str)) -> Value {
        let mut numbers: Vec<f64> = self.events.iter().filter_map(|(event, _)| event.number(property)).collect();
        numbers.sort_by(f64::total_cmp);
        let number = |number: f64| if number.fract() == 0.0 { json!(number as i64) } else { json!(number) };
        match measure {
            "COUNT" => json!(self.events.iter().map(|(event, _)| event.times()).sum::<i64>()),
            "UNIQUE_USERS" => {
                json!(self.events.iter().filter_map(|(event, _)| event.user()).collect::<BTreeSet<_>>().len())
            }
            "NUMBERS" => json!(numbers.len()),
            _ if !property.is_empty() && numbers.is_empty() => json!(null),
            "SUM" => number(numbers.iter().sum()),
            "AVG" => number(numbers.iter().sum::<f64>() / numbers.len() as f64),
            "MIN" => number(numbers[0]),
            "MAX" => number(numbers[numbers.len() - 1]),
            "0.5" => number(numbers[numbers.len().div_ceil(2) - 1]),
            "0.95" => number(numbers[(numbers.len() * 19).div_ceil(20) - 1]),
            counter => json!(
                self.events.iter().filter(|(_, counts)| *counts).map(|(event, _)| event.counter(counter)).sum::<i64>()
            ),
        }
    }

    /// Who stands behind it at least.
    fn people(&self, spec: &Spec) -> u64 {
        let any_event = spec.measures.iter().any(|(measure, _)| !COUNTERS.contains(measure));
        let mut users = BTreeSet::new();
        let mut anonymous = BTreeSet::new();
        let mut unknown = 0;
        for (event, counts) in &self.events {
            let is_music = *counts && (event.is_stream() || event.event_type().ends_with(".liked"));
            if is_music || any_event {
                users.extend(event.user());
            }
            if *counts && event.is_stream() && event.user().is_none() {
                match event
                    .text("anonymousId")
                    .filter(|_| event.event["count"].is_null() && event.text("userId").is_none())
                {
                    Some(somebody) => drop(anonymous.insert(somebody)),
                    None => unknown += event.times(),
                }
            }
        }
        (users.len() + anonymous.len()) as u64 + unknown as u64
    }

    fn says(&self, spec: &Spec) -> bool {
        let statistics = spec.measures.iter().filter(|(_, property)| !property.is_empty());
        let has_numbers = statistics.into_iter().any(|(_, property)| self.value(("NUMBERS", property)) != 0);
        let counts = spec.measures.iter().filter(|(_, property)| property.is_empty());
        has_numbers || counts.into_iter().any(|measure| self.value(*measure) != 0)
    }
}
