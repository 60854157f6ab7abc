//! The numbers against a model: random events in random batches, counted by a few plain lines.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use backbeat::ingest::decode;
use chrono::{DateTime, TimeZone, Timelike};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::support::{App, T0, TestDatabase, app::Options, rfc3339};

const CASES: u64 = 12;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const QUARTER_MS: i64 = HOUR_MS / 4;
const KINDS: [&str; 4] = ["song", "album", "playlist", "artist"];

type Counts = BTreeMap<&'static str, i64>;

/// What one accepted event adds to one entity.
struct Entry {
    at_ms: i64,
    counts: Counts,
    /// Currency, gross, refunded.
    money: Option<(String, i64, i64)>,
    listener: Option<String>,
}

/// The definitions once more, as plainly as they can be written.
#[derive(Default)]
struct Model {
    accepted: HashMap<(String, i64), Value>,
    entries: BTreeMap<(&'static str, String), Vec<Entry>>,
}

impl Model {
    /// Takes an event and says what its outcome has to be.
    fn send(&mut self, event: &Value) -> &'static str {
        let at_ms = event["occurredAt"].as_i64().unwrap();
        let key = (event["id"].as_str().unwrap().to_owned(), at_ms);
        if let Some(first) = self.accepted.get(&key) {
            return if first == event { "DUPLICATE" } else { "CONFLICT" };
        }
        self.accepted.insert(key, event.clone());
        let number = |field: &str| event[field].as_i64();
        let times = number("count").unwrap_or(1);
        let kind = event["type"].as_str().unwrap();
        let mut counts = Counts::new();
        let (mut money, mut listener) = (None, None);
        let minor = || {
            let amount = event["amount"].as_str().unwrap();
            let currency = event["currency"].as_str().unwrap().to_owned();
            let scale = if currency == "JPY" { 1.0 } else { 100.0 };
            (currency, (amount.parse::<f64>().unwrap() * scale).round() as i64)
        };
        let credited: &[&str] = match kind {
            "track.played" => {
                let (played, length) = (number("playedMs"), number("durationMs"));
                counts.insert("plays", times);
                if played.is_none_or(|played| played >= 30_000) {
                    counts.insert("streams", times);
                    if event["count"].is_null() {
                        listener = event["userId"].as_str().map(str::to_owned);
                    }
                } else if event["endedByUser"].as_bool().unwrap_or(length.is_none() || played < length) {
                    counts.insert("skips", times);
                }
                if let Some(played) = played {
                    counts.insert("listeningTimeMs", times * length.map_or(played, |length| played.min(length)));
                }
                &KINDS
            }
            "track.liked" => {
                counts.insert("likes", times);
                &["song", "artist"]
            }
            "album.saved" => {
                counts.insert("saves", times);
                &["album", "artist"]
            }
            "playlist.shared" => {
                counts.insert("shares", times);
                &["playlist"]
            }
            "playlist.track_added" => {
                counts.insert("playlistAdds", times);
                &["song", "playlist", "artist"]
            }
            "artist.unfollowed" => {
                counts.insert("unfollows", times);
                &["artist"]
            }
            "order.paid" => {
                counts.insert("purchases", times);
                let (currency, minor) = minor();
                money = Some((currency, minor, 0));
                &["song", "artist"]
            }
            "order.refunded" => {
                counts.insert("refunds", times);
                let (currency, minor) = minor();
                money = Some((currency, 0, minor));
                &["song", "artist"]
            }
            _ => &[],
        };
        for kind in KINDS.into_iter().filter(|kind| credited.contains(kind)) {
            if let Some(id) = event[format!("{kind}Id")].as_str() {
                let (counts, money, listener) = (counts.clone(), money.clone(), listener.clone());
                self.entries.entry((kind, id.to_owned())).or_default().push(Entry { at_ms, counts, money, listener });
            }
        }
        "ACCEPTED"
    }

    fn within(&self, kind: &'static str, id: &str, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.get(&(kind, id.to_owned()));
        entries.into_iter().flatten().filter(move |entry| (from_ms..to_ms).contains(&entry.at_ms))
    }
}

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let pick = |random: &mut StdRng, words: &[&str]| words[random.random_range(0..words.len())].to_owned();
    let kind = pick(
        random,
        &[
            "track.played",
            "track.played",
            "track.played",
            "track.played",
            "track.liked",
            "album.saved",
            "playlist.shared",
            "playlist.track_added",
            "artist.unfollowed",
            "order.paid",
            "order.refunded",
            "ui.clicked",
        ],
    );
    // Some land exactly on the edges of hours and days.
    let at_ms = match random.random_range(0..4) {
        0 => T0 - random.random_range(0..96) * HOUR_MS,
        1 => T0 - 12 * HOUR_MS - random.random_range(0..4) * DAY_MS - random.random_range(0..2),
        _ => T0 - random.random_range(0..4 * DAY_MS),
    };
    let mut event = json!({"id": format!("event-{number}"), "type": kind, "occurredAt": at_ms, "songId": pick(random, &["song-1", "song-2", "song-3"])});
    event["albumId"] = json!(pick(random, &["album-1", "album-2"]));
    event["playlistId"] = json!(pick(random, &["playlist-1", "playlist-2"]));
    event["artistId"] = json!(pick(random, &["artist-1", "artist-2"]));
    if kind == "track.played" {
        if random.random_range(0..4) > 0 {
            event["playedMs"] = json!(random.random_range(0..90_000));
        }
        if random.random_range(0..2) == 0 {
            event["durationMs"] = json!(random.random_range(10_000..80_000));
        }
        match random.random_range(0..4) {
            0 => event["endedByUser"] = json!(true),
            1 => event["endedByUser"] = json!(false),
            _ => {}
        }
        for optional in ["albumId", "playlistId", "artistId"] {
            if random.random_range(0..3) == 0 {
                event.as_object_mut().unwrap().remove(optional);
            }
        }
    }
    if kind.starts_with("order.") {
        let currency = pick(random, &["EUR", "USD", "JPY"]);
        let minor = random.random_range(0..5_000);
        event["amount"] =
            json!(if currency == "JPY" { minor.to_string() } else { format!("{}.{:02}", minor / 100, minor % 100) });
        event["currency"] = json!(currency);
    }
    if random.random_range(0..5) > 0 {
        event["userId"] = json!(format!("user-{}", random.random_range(0..12)));
    }
    if random.random_range(0..10) == 0 {
        event["count"] = json!(random.random_range(1..50));
    }
    event
}

const COUNTERS: [&str; 11] = [
    "plays",
    "streams",
    "skips",
    "listeningTimeMs",
    "likes",
    "saves",
    "shares",
    "playlistAdds",
    "unfollows",
    "purchases",
    "refunds",
];

/// Compares every entity over one window with the model.
async fn check_window(app: &App, model: &Model, from_ms: i64, to_ms: i64, context: &str) {
    let fields = COUNTERS.join(" ");
    let metrics = format!(
        r#"id metrics(during: {{between: {{from: "{}", to: "{}"}}}}) {{ {fields} revenue {{ currency gross refunded }} listeners {{ lower upper }} }}"#,
        rfc3339(from_ms),
        rfc3339(to_ms)
    );
    let query = format!(
        r#"{{ song: songs(ids: ["song-1", "song-2", "song-3"]) {{ {metrics} }} album: albums(ids: ["album-1", "album-2"]) {{ {metrics} }}
            playlist: playlists(ids: ["playlist-1", "playlist-2"]) {{ {metrics} }} artist: artists(ids: ["artist-1", "artist-2"]) {{ {metrics} }} }}"#
    );
    let data = app.ask(&query).await;
    // What is counted are whole quarter-hours.
    let (from_ms, to_ms) = (from_ms.div_euclid(QUARTER_MS) * QUARTER_MS, -(-to_ms).div_euclid(QUARTER_MS) * QUARTER_MS);
    let mut compared = 0;
    for kind in KINDS {
        for entity in data[kind].as_array().unwrap().iter().filter(|entity| !entity.is_null()) {
            let id = entity["id"].as_str().unwrap();
            let answer = &entity["metrics"];
            let context = format!("{context}: {id} from {} to {}\n{answer:#}", rfc3339(from_ms), rfc3339(to_ms));
            let entries: Vec<&Entry> = model.within(kind, id, from_ms, to_ms).collect();
            for counter in COUNTERS {
                let sum: i64 = entries.iter().filter_map(|entry| entry.counts.get(counter)).sum();
                assert_eq!(answer[counter], sum, "{counter} of {context}");
            }
            let mut money: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
            for (currency, gross, refunded) in entries.iter().filter_map(|entry| entry.money.as_ref()) {
                let sums = money.entry(currency).or_default();
                *sums = (sums.0 + gross, sums.1 + refunded);
            }
            money.retain(|_, sums| *sums != (0, 0));
            let text = |currency: &str, minor: i64| {
                if currency == "JPY" { minor.to_string() } else { format!("{}.{:02}", minor / 100, minor % 100) }
            };
            let revenue: Vec<Value> = money
                .iter()
                .map(|(currency, (gross, refunded))| {
                    json!({"currency": currency, "gross": text(currency, *gross), "refunded": text(currency, *refunded)})
                })
                .collect();
            assert_eq!(answer["revenue"], json!(revenue), "{context}");
            let listeners: BTreeSet<&String> = entries.iter().filter_map(|entry| entry.listener.as_ref()).collect();
            let truth = listeners.len() as u64;
            assert_eq!(answer["listeners"], json!({"lower": truth, "upper": truth}), "{context}");
            compared += 1;
        }
    }
    assert!(compared >= 4, "{context}: {compared} entities");
}

/// Compares a timeline with the model, bucket by bucket, and its boundaries with the zone's clock.
async fn check_timeline(app: &App, model: &Model, random: &mut StdRng, context: &str) {
    let zone = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]
        [random.random_range(0..5)];
    let every = ["HOUR", "DAY", "WEEK", "MONTH"][random.random_range(0..4)];
    let from_ms = T0 - random.random_range(1..20 * 96) * QUARTER_MS;
    let query = format!(
        r#"{{ song(id: "song-1") {{ timeline(during: {{between: {{from: "{}", to: "{}"}}}}, every: {every}, timeZone: "{zone}") {{
            points {{ start end metrics {{ plays listeningTimeMs listeners {{ lower upper }} }} }} }} }} }}"#,
        rfc3339(from_ms),
        rfc3339(T0)
    );
    let data = app.ask(&query).await;
    let zone: Tz = zone.parse().unwrap();
    let points = data["song"]["timeline"]["points"].as_array().unwrap();
    let mut expected_start = from_ms;
    for point in points {
        let instant =
            |field: &str| DateTime::parse_from_rfc3339(point[field].as_str().unwrap()).unwrap().timestamp_millis();
        let (start, end) = (instant("start"), instant("end"));
        let context = format!("{context}: {every} in {zone}: {point:#}");
        assert_eq!(start, expected_start, "{context}");
        expected_start = end;
        if start != from_ms {
            let wall = zone.timestamp_millis_opt(start).unwrap();
            assert_eq!(wall.minute(), 0, "{context}");
            assert!(every == "HOUR" || wall.hour() == 0, "{context}");
        }
        let entries: Vec<&Entry> = model.within("song", "song-1", start, end).collect();
        for counter in ["plays", "listeningTimeMs"] {
            let sum: i64 = entries.iter().filter_map(|entry| entry.counts.get(counter)).sum();
            assert_eq!(point["metrics"][counter], sum, "{counter} of {context}");
        }
        let listeners: BTreeSet<&String> = entries.iter().filter_map(|entry| entry.listener.as_ref()).collect();
        let truth = listeners.len();
        assert_eq!(point["metrics"]["listeners"], json!({"lower": truth, "upper": truth}), "{context}");
    }
    assert_eq!(expected_start, T0, "{context}");
}

async fn send(app: &App, batch: &[Value]) -> Vec<&'static str> {
    let source: Arc<str> = "platform".into();
    let decoded = batch.iter().map(|event| decode::event(&event.to_string())).collect();
    let results = app.core.ingest.record(decoded, &source).await.unwrap();
    results.iter().map(|result| result.status.word()).collect()
}

async fn check_case(seed: u64, database: TestDatabase) {
    let context = format!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut events: Vec<Value> = (0..150).map(|number| random_event(&mut random, number)).collect();
    // Repeated as they are, under the same id with other content, and under the same id at another time.
    for _ in 0..40 {
        let mut again = events[random.random_range(0..events.len())].clone();
        match random.random_range(0..4) {
            0 => again["device"] = json!("another"),
            1 => again["occurredAt"] = json!(again["occurredAt"].as_i64().unwrap() - 1),
            _ => {}
        }
        events.push(again);
    }
    events.shuffle(&mut random);
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut model = Model::default();
    let mut rest = &events[..];
    let mut first_batch = Vec::new();
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(random.random_range(1..=rest.len().min(60)));
        rest = later;
        let expected: Vec<&str> = batch.iter().map(|event| model.send(event)).collect();
        assert_eq!(send(&app, batch).await, expected, "{context}");
        if first_batch.is_empty() {
            first_batch = batch.to_vec();
        }
        if random.random_range(0..3) == 0 {
            app.merge_audience().await;
        }
    }
    check_window(&app, &model, T0 - 5 * DAY_MS, T0 + QUARTER_MS, &context).await;
    // The same batch again changes nothing, which the windows below would show.
    let outcomes = send(&app, &first_batch).await;
    assert!(outcomes.iter().all(|outcome| ["DUPLICATE", "CONFLICT"].contains(outcome)), "{context}: {outcomes:?}");
    for _ in 0..6 {
        let unit = [QUARTER_MS, HOUR_MS, DAY_MS, 60_000][random.random_range(0..4)];
        let midnight = T0 - 12 * HOUR_MS;
        let from_ms = (midnight - random.random_range(0..=4 * DAY_MS / unit) * unit).max(T0 - 5 * DAY_MS);
        let to_ms = (from_ms + random.random_range(1..=4 * DAY_MS / unit) * unit).min(midnight + DAY_MS);
        check_window(&app, &model, from_ms, to_ms, &context).await;
    }
    check_timeline(&app, &model, &mut random, &context).await;
    check_timeline(&app, &model, &mut random, &context).await;
    let report = app.verify().await;
    assert_eq!(report.events, model.accepted.len() as u64, "{context}");
    app.stop().await;
    // A process that starts anew reads the same from the database alone.
    let app = App::start_with(&database, Options::at(T0)).await;
    check_window(&app, &model, T0 - 5 * DAY_MS, T0 + QUARTER_MS, &context).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_equal_a_plain_recount_on_sqlite() {
    for seed in 0..CASES {
        check_case(seed, TestDatabase::sqlite()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_equal_a_plain_recount_on_postgres() {
    for seed in 100..100 + CASES {
        let Some(database) = TestDatabase::postgres().await else { return };
        check_case(seed, database).await;
    }
}
