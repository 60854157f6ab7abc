//! Who listened, from where, and how they are told apart: against a plain recount of random events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use backbeat::ingest::decode;
use chrono::DateTime;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, play, rfc3339},
};

const CASES: u64 = 6;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const QUARTER_MS: i64 = HOUR_MS / 4;
const ACTIVE: [&str; 4] = ["search", "library", "own_playlist", "artist_page"];

fn date(day_ms: i64) -> String {
    DateTime::from_timestamp_millis(day_ms).unwrap().date_naive().to_string()
}

fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS) * DAY_MS
}

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let pick = |random: &mut StdRng, words: &[&str]| words[random.random_range(0..words.len())].to_owned();
    let types = ["track.played", "track.played", "track.played", "track.played", "track.liked", "track.saved"];
    let others = ["track.shared", "playlist.track_added", "artist.followed", "artist.unfollowed", "order.paid"];
    let kind = if random.random_range(0..4) == 0 { pick(random, &others) } else { pick(random, &types) };
    // Most of it lately, some in the months before, a little years ago.
    let at_ms = T0
        - match random.random_range(0..6) {
            0..=2 => random.random_range(0..30 * DAY_MS),
            3 => random.random_range(0..4) * DAY_MS + random.random_range(0..4) * HOUR_MS,
            4 => random.random_range(28 * DAY_MS..140 * DAY_MS),
            _ => random.random_range(100 * DAY_MS..900 * DAY_MS),
        };
    let mut event = json!({"id": format!("event-{number}"), "type": kind, "occurredAt": at_ms,
        "songId": pick(random, &["song-1", "song-2", "song-3"]), "playlistId": "playlist-1",
        "artistId": pick(random, &["artist-1", "artist-1", "artist-2"])});
    for (field, words) in [
        ("country", &["DE", "DE", "FR", "US"][..]),
        ("source", &["search", "library", "own_playlist", "editorial_playlist", "radio", "elsewhere"]),
        ("device", &["phone", "speaker"]),
    ] {
        if random.random_range(0..6) > 0 {
            event[field] = json!(pick(random, words));
        }
    }
    match random.random_range(0..8) {
        0 => event["anonymousId"] = json!(format!("device-{}", random.random_range(0..5))),
        1 => {}
        _ => event["userId"] = json!(format!("user-{}", random.random_range(0..14))),
    }
    if kind == "track.played" && random.random_range(0..5) == 0 {
        event["playedMs"] = json!(random.random_range(0..60_000));
    }
    if kind == "order.paid" {
        event["amount"] = json!("3.50");
        event["currency"] = json!("EUR");
    }
    if random.random_range(0..25) == 0 {
        event["count"] = json!(random.random_range(2..20));
    }
    event
}

/// The events that are credited to one entity, as they were sent.
struct Model<'a> {
    events: Vec<&'a Value>,
}

fn text<'a>(event: &'a Value, field: &str) -> Option<&'a str> {
    event[field].as_str()
}

fn at(event: &Value) -> i64 {
    event["occurredAt"].as_i64().unwrap()
}

fn times(event: &Value) -> i64 {
    event["count"].as_i64().unwrap_or(1)
}

fn is_stream(event: &Value) -> bool {
    event["type"] == "track.played" && event["playedMs"].as_i64().is_none_or(|played| played >= 30_000)
}

fn is_active(event: &Value) -> bool {
    text(event, "source").is_some_and(|source| ACTIVE.contains(&source))
}

impl<'a> Model<'a> {
    fn of(events: &'a [Value], id: &str) -> Self {
        let is_credited = |event: &&Value| {
            let kind = event["type"].as_str().unwrap();
            let is_artist = id.starts_with("artist");
            (is_artist && event["artistId"] == id)
                || (!is_artist && event["songId"] == id && !kind.starts_with("artist."))
        };
        Self { events: events.iter().filter(is_credited).collect() }
    }

    fn within(&self, from_ms: i64, to_ms: i64) -> Model<'a> {
        Model { events: self.events.iter().copied().filter(|event| (from_ms..to_ms).contains(&at(event))).collect() }
    }

    fn with(&self, field: &str, value: Option<&str>) -> Model<'a> {
        Model { events: self.events.iter().copied().filter(|event| text(event, field) == value).collect() }
    }

    fn sum(&self, is_counted: impl Fn(&Value) -> bool) -> i64 {
        self.events.iter().filter(|event| is_counted(event)).map(|event| times(event)).sum()
    }

    fn streams(&self) -> i64 {
        self.sum(is_stream)
    }

    fn people(&self, field: &str, is_meant: impl Fn(&Value) -> bool) -> BTreeSet<&'a str> {
        let meant = self.events.iter().filter(|event| event["count"].is_null() && is_meant(event));
        meant.filter_map(|event| text(event, field)).collect()
    }

    fn listeners(&self) -> BTreeSet<&'a str> {
        self.people("userId", is_stream)
    }

    /// Distinct values of a field, nothing among them.
    fn values(&self, field: &str) -> BTreeSet<Option<&'a str>> {
        self.events.iter().map(|event| text(event, field)).collect()
    }
}

fn close(one: &Value, other: Option<f64>) -> bool {
    match (one.as_f64(), other) {
        (None, None) => true,
        (Some(one), Some(other)) => (one - other).abs() < 1e-9,
        _ => false,
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Compares people, rates, countries, breakdowns and markets over one window.
async fn check_window(app: &App, events: &[Value], id: &str, from_ms: i64, to_ms: i64, context: &str) {
    let during = format!(r#"during: {{between: {{from: "{}", to: "{}"}}}}"#, rfc3339(from_ms), rfc3339(to_ms));
    let counts = "streams likes saves shares playlistAdds revenue { gross } listeners { value isExact }";
    let kind = id.split('-').next().unwrap();
    let query = format!(
        r#"{{ {kind}(id: "{id}") {{
            metrics({during}) {{ {counts} anonymousListeners {{ value }} likers {{ value }} savers {{ value }} sharers {{ value }}
                playlistAdders {{ value }} saveRate shareRate intentRate averageDailyListeners netFollows streamsPerListener }}
            germany: metrics({during}, country: "DE") {{ {counts} likers {{ value }} }}
            nowhere: metrics({during}, country: "JP") {{ {counts} }}
            hours: timeline({during}, every: DAY, timeZone: "Asia/Kathmandu", country: "FR") {{
                columns(of: [STREAMS, LISTENERS]) {{ starts series {{ values total }} }} }}
            countries: breakdown(by: COUNTRY, of: STREAMS, {during}, first: 300) {{ key value share }}
            people: breakdown(by: COUNTRY, of: LISTENERS, {during}, first: 300) {{ key value share }}
            sources: breakdown(by: SOURCE, of: STREAMS, {during}, first: 300) {{ key value }}
            devices: breakdown(by: DEVICE, of: LIKES, {during}, first: 300) {{ key value }}
            topMarkets({during}, first: 300) {{ country listeners {{ value }} streams listenerShare streamShare affinity }} }} }}"#
    );
    let data = app.ask(&query).await;
    let (from_ms, to_ms) = (from_ms.div_euclid(QUARTER_MS) * QUARTER_MS, -(-to_ms).div_euclid(QUARTER_MS) * QUARTER_MS);
    let whole = Model::of(events, id).within(from_ms, to_ms);
    let answer = &data[kind];
    if answer.is_null() {
        assert!(Model::of(events, id).events.is_empty(), "{context}");
        return;
    }
    let context = format!("{context}: {id} {} to {}\n{answer:#}", rfc3339(from_ms), rfc3339(to_ms));
    let is = |kind: &'static str| move |event: &Value| event["type"] == kind;
    let part = |model: &Model<'_>, kind: &'static str| model.people("userId", is(kind)).len();
    let germany = whole.with("country", Some("DE"));
    for (name, model) in [("metrics", &whole), ("germany", &germany), ("nowhere", &whole.with("country", Some("JP")))] {
        let answer = &answer[name];
        assert_eq!(answer["streams"], model.streams(), "{name} of {context}");
        assert_eq!(answer["likes"], model.sum(is("track.liked")), "{name} of {context}");
        assert_eq!(answer["saves"], model.sum(is("track.saved")), "{name} of {context}");
        let paid = model.events.iter().filter(|event| event["type"] == "order.paid").count();
        let gross = answer["revenue"][0]["gross"].as_str().unwrap_or("0").parse::<f64>().unwrap();
        assert!((gross - 3.5 * paid as f64).abs() < 1e-6, "{name} of {context}");
        assert_eq!(
            answer["listeners"],
            json!({"value": model.listeners().len(), "isExact": true}),
            "{name} of {context}"
        );
    }
    let answer_of = &answer["metrics"];
    let listeners = whole.listeners();
    for (field, kind) in [
        ("likers", "track.liked"),
        ("savers", "track.saved"),
        ("sharers", "track.shared"),
        ("playlistAdders", "playlist.track_added"),
    ] {
        assert_eq!(answer_of[field]["value"], part(&whole, kind), "{field} of {context}");
    }
    assert_eq!(answer["germany"]["likers"]["value"], part(&germany, "track.liked"), "{context}");
    let is_nobody = |event: &Value| is_stream(event) && event["userId"].is_null();
    assert_eq!(answer_of["anonymousListeners"]["value"], whole.people("anonymousId", is_nobody).len(), "{context}");
    let intending =
        whole.people("userId", |event| event["type"] == "track.saved" || event["type"] == "playlist.track_added").len();
    assert!(close(&answer_of["saveRate"], ratio(part(&whole, "track.saved"), listeners.len())), "{context}");
    assert!(close(&answer_of["shareRate"], ratio(part(&whole, "track.shared"), listeners.len())), "{context}");
    assert!(close(&answer_of["intentRate"], ratio(intending, listeners.len())), "{context}");
    let flow = whole.sum(is("artist.followed")) - whole.sum(is("artist.unfollowed"));
    assert_eq!(answer_of["netFollows"], if kind == "artist" { flow } else { 0 }, "{context}");
    let days: Vec<i64> = (day_of(from_ms)..to_ms.min(T0)).step_by(usize::try_from(DAY_MS).unwrap()).collect();
    let daily: usize = days.iter().map(|day| whole.within(*day, day + DAY_MS).listeners().len()).sum();
    assert!(close(&answer_of["averageDailyListeners"], ratio(daily, days.len())), "{daily} in {days:?}: {context}");

    // Days of a zone a quarter-hour off, of one country.
    let columns = &answer["hours"]["columns"];
    let starts: Vec<i64> = columns["starts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|start| DateTime::parse_from_rfc3339(start.as_str().unwrap()).unwrap().timestamp_millis())
        .collect();
    let france = whole.with("country", Some("FR"));
    for (index, start) in starts.iter().enumerate() {
        let bucket = france.within(*start, starts.get(index + 1).copied().unwrap_or(to_ms));
        assert_eq!(columns["series"][0]["values"][index], bucket.streams() as f64, "{context}");
        assert_eq!(columns["series"][1]["values"][index], bucket.listeners().len() as f64, "{context}");
    }
    assert_eq!(columns["series"][1]["total"], france.listeners().len() as f64, "{context}");

    let check = |name: &str, field: &str, value: &dyn Fn(&Model<'_>) -> usize, total: Option<usize>| {
        let mut expected: BTreeMap<String, usize> = BTreeMap::new();
        for key in whole.values(field) {
            let value = value(&whole.with(field, key));
            if value > 0 {
                expected.insert(key.unwrap_or("UNKNOWN").to_owned(), value);
            }
        }
        let answer = answer[name].as_array().unwrap();
        let told: BTreeMap<String, usize> = answer
            .iter()
            .map(|share| (share["key"].as_str().unwrap().to_owned(), share["value"].as_f64().unwrap() as usize))
            .collect();
        assert_eq!(told, expected, "{name} of {context}");
        let values: Vec<f64> = answer
            .iter()
            .filter(|share| share["key"] != "UNKNOWN")
            .map(|share| share["value"].as_f64().unwrap())
            .collect();
        assert!(values.is_sorted_by(|one, next| one >= next), "{name} of {context}");
        if let Some(total) = total {
            for share in answer {
                let value = share["value"].as_f64().unwrap();
                assert!(close(&share["share"], Some(value / total as f64)), "{name} of {context}");
            }
        }
    };
    let streams = |model: &Model<'_>| usize::try_from(model.streams()).unwrap();
    check("countries", "country", &streams, Some(streams(&whole)));
    check("people", "country", &|model| model.listeners().len(), Some(listeners.len()));
    check("sources", "source", &streams, None);
    check("devices", "device", &|model| usize::try_from(model.sum(is("track.liked"))).unwrap(), None);

    let platform = Model { events: events.iter().collect() }.within(day_of(from_ms), day_of(to_ms - 1) + DAY_MS);
    for market in answer["topMarkets"].as_array().unwrap() {
        let country = market["country"].as_str();
        let here = whole.with("country", country);
        assert_eq!(market["listeners"]["value"], here.listeners().len(), "{context}");
        assert_eq!(market["streams"], here.streams(), "{context}");
        let share = ratio(here.listeners().len(), listeners.len());
        assert!(close(&market["listenerShare"], share), "{context}");
        assert!(close(&market["streamShare"], ratio(streams(&here), streams(&whole))), "{context}");
        let of_platform = ratio(platform.with("country", country).listeners().len(), platform.listeners().len());
        let affinity =
            country.and_then(|_| share.zip(of_platform.filter(|share| *share > 0.0))).map(|(mine, all)| mine / all);
        assert!(close(&market["affinity"], affinity), "{affinity:?} in {country:?}: {context}");
    }
}

/// Compares the audience, monthly listeners and followers at the end of one day.
async fn check_day(app: &App, events: &[Value], id: &str, day: i64, context: &str) {
    let kind = id.split('-').next().unwrap();
    let numbers = "total { value } active { value } previouslyActive { value } programmed { value }
        superListeners { value } moderate { value } light { value } newListeners { value } returning { value } reactivated { value }";
    let on = date(day);
    let followers = if kind == "artist" { format!(r#"followers(on: "{on}")"#) } else { String::new() };
    let data = app
        .ask(&format!(
            r#"{{ {kind}(id: "{id}") {{ audience(on: "{on}") {{ {numbers} thresholds {{ moderateMin superMin }} }}
                germany: audience(on: "{on}", country: "DE") {{ {numbers} }}
                monthlyListeners(on: "{on}") {{ value isProvisional }} {followers} }} }}"#
        ))
        .await;
    let answer = &data[kind];
    let end = day + DAY_MS;
    let whole = Model::of(events, id);
    if answer.is_null() {
        assert!(whole.events.is_empty(), "{context}");
        return;
    }
    let context = format!("{context}: {id} on {on}\n{answer:#}");
    assert_eq!(answer["audience"]["thresholds"], json!({"moderateMin": 2, "superMin": 4}));
    for (name, model) in [("audience", &whole), ("germany", &whole.with("country", Some("DE")))] {
        let answer = &answer[name];
        let audience = model.within(end - 730 * DAY_MS, end);
        let recent = model.within(end - 28 * DAY_MS, end);
        let actives = |model: &Model<'_>| -> BTreeSet<String> {
            model
                .people("userId", |event| is_stream(event) && is_active(event))
                .into_iter()
                .map(str::to_owned)
                .collect()
        };
        let (total, active, ever) = (audience.listeners(), actives(&recent), actives(&audience));
        let often = |who: &str| {
            let counted = |event: &Value| is_stream(event) && is_active(event) && event["userId"] == *who;
            recent.events.iter().filter(|event| event["count"].is_null() && counted(event)).count()
        };
        let between =
            |least: usize, most: usize| active.iter().filter(|who| (least..=most).contains(&often(who))).count();
        let before = model.within(0, end - 28 * DAY_MS);
        let (now, known) = (recent.listeners(), before.listeners());
        let is_back = |who: &&&str| {
            let mut days: Vec<i64> = model
                .within(0, end)
                .events
                .iter()
                .filter(|event| is_stream(event) && event["count"].is_null() && event["userId"] == ***who)
                .map(|event| day_of(at(event)))
                .collect();
            days.sort_unstable();
            let first = days.iter().position(|day| *day >= end - 28 * DAY_MS).unwrap();
            first > 0 && days[first] - days[first - 1] >= 90 * DAY_MS
        };
        for (field, expected) in [
            ("total", total.len()),
            ("active", active.len()),
            ("previouslyActive", ever.difference(&active).count()),
            ("programmed", total.len() - ever.len()),
            ("superListeners", between(4, usize::MAX)),
            ("moderate", between(2, 3)),
            ("light", between(1, 1)),
            ("newListeners", now.difference(&known).count()),
            ("returning", now.intersection(&known).count()),
            ("reactivated", now.iter().filter(is_back).count()),
        ] {
            assert_eq!(answer[field]["value"], expected, "{name} {field} of {context}");
        }
    }
    let month = whole.within(end - 28 * DAY_MS, end).listeners().len();
    assert_eq!(answer["monthlyListeners"], json!({"value": month, "isProvisional": end > T0}), "{context}");
    if kind == "artist" {
        let until = whole.within(0, end);
        let flow = until.sum(|event| event["type"] == "artist.followed")
            - until.sum(|event| event["type"] == "artist.unfollowed");
        assert_eq!(answer["followers"], flow, "{context}");
    }
}

async fn check_overlap(app: &App, events: &[Value], from_ms: i64, to_ms: i64, context: &str) {
    let data = app
        .ask(&format!(
            r#"{{ artist(id: "artist-1") {{ audienceOverlap(with: "artist-2", during: {{between: {{from: "{}", to: "{}"}}}}) {{
                shared {{ value }} shareOfThis shareOfThat }} }} }}"#,
            rfc3339(from_ms),
            rfc3339(to_ms)
        ))
        .await;
    let answer = &data["artist"]["audienceOverlap"];
    let (from_ms, to_ms) = (from_ms.div_euclid(QUARTER_MS) * QUARTER_MS, -(-to_ms).div_euclid(QUARTER_MS) * QUARTER_MS);
    let [these, those] = ["artist-1", "artist-2"].map(|id| Model::of(events, id).within(from_ms, to_ms));
    let (these, those) = (these.listeners(), those.listeners());
    let shared = these.intersection(&those).count();
    assert_eq!(answer["shared"]["value"], shared, "{context}: {answer}");
    assert!(close(&answer["shareOfThis"], ratio(shared, these.len())), "{context}: {answer}");
    assert!(close(&answer["shareOfThat"], ratio(shared, those.len())), "{context}: {answer}");
}

async fn check_case(seed: u64, database: TestDatabase) {
    let context = format!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let events: Vec<Value> = (0..260).map(|number| random_event(&mut random, number)).collect();
    let settings = Options::at(T0).set("AUDIENCE_MODERATE_MIN", 2).set("AUDIENCE_SUPER_MIN", 4);
    let app = App::start_with(&database, settings).await;
    let source: Arc<str> = "platform".into();
    let mut rest = &events[..];
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(random.random_range(1..=rest.len().min(90)));
        rest = later;
        let decoded = batch.iter().map(|event| decode::event(&event.to_string())).collect();
        let results = app.core.ingest.record(decoded, &source).await.unwrap();
        assert!(results.iter().all(|result| result.status.word() == "ACCEPTED"), "{results:?}");
        if random.random_range(0..3) == 0 {
            app.merge_audience().await;
        }
    }
    for round in 0..4 {
        let to_ms = T0 - random.random_range(0..40 * 96) * QUARTER_MS / if round == 0 { 1_000_000 } else { 1 };
        let from_ms = to_ms - random.random_range(1..60 * DAY_MS);
        for id in ["artist-1", "song-2"] {
            check_window(&app, &events, id, from_ms, to_ms, &context).await;
            let day = day_of(T0) - random.random_range(0..if round == 0 { 1 } else { 60 }) * DAY_MS;
            check_day(&app, &events, id, day, &context).await;
        }
        check_overlap(&app, &events, from_ms, to_ms, &context).await;
    }
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_origins_equal_a_plain_recount_on_sqlite() {
    for seed in 0..CASES {
        check_case(seed, TestDatabase::sqlite()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_and_origins_equal_a_plain_recount_on_postgres() {
    for seed in CASES..CASES + 2 {
        let Some(database) = TestDatabase::postgres().await else { return };
        check_case(seed, database).await;
        let Some(database) = TestDatabase::postgres_partitioned().await else { return };
        check_case(seed, database).await;
    }
}

/// Plays of one song of artist-1 by so many people of a country.
fn plays_in(country: &str, people: std::ops::Range<usize>) -> Vec<Value> {
    people
        .map(|who| {
            let mut event = play(&format!("{country}-{who}"), "2026-06-14T10:00:00Z", &format!("{country}-{who}"));
            event["country"] = json!(country);
            event["source"] = json!("search");
            event
        })
        .collect()
}

on_every_database!(artists_are_not_shown_what_few_people_stand_behind, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    for (country, people) in [("DE", 20), ("FR", 8), ("LI", 3), ("MC", 1)] {
        app.record(&plays_in(country, 0..people)).await;
    }
    // Totals of an older system: nobody is known, many stand behind them.
    app.record(&[
        json!({"id": "total", "type": "track.played", "occurredAt": "2026-06-14T10:00:00Z", "songId": "song-1",
                        "artistId": "artist-1", "country": "SE", "count": 1_000}),
    ])
    .await;
    let owner = app.token("artist", &["artist-1"]);
    let ask = async |token: &str, field: &str| {
        let query = format!(r#"{{ artist(id: "artist-1") {{ {field} }} }}"#);
        let answer = app.graphql(Some(token), &query, json!({})).await;
        assert!(answer.get("errors").is_none(), "{answer:#}");
        answer["data"]["artist"].clone()
    };
    let keys = |shares: &Value| -> Vec<(String, f64)> {
        let shares = shares.as_array().unwrap().iter();
        shares.map(|share| (share["key"].as_str().unwrap().to_owned(), share["value"].as_f64().unwrap())).collect()
    };
    let breakdown = "breakdown(by: COUNTRY, of: LISTENERS) { key value }";
    let all = keys(&ask(&app.admin(), breakdown).await["breakdown"]);
    assert_eq!(all, [("DE", 20.0), ("FR", 8.0), ("LI", 3.0), ("MC", 1.0)].map(|(key, value)| (key.to_owned(), value)));
    // Three and one are still too few: the next larger market goes with them.
    let shown = keys(&ask(&owner, breakdown).await["breakdown"]);
    assert_eq!(shown, [("DE".to_owned(), 20.0), ("OTHER".to_owned(), 12.0)]);
    let markets =
        ask(&owner, "topMarkets { country isFolded listeners { value } streams }").await["topMarkets"].clone();
    assert_eq!(
        markets,
        json!([{"country": "DE", "isFolded": false, "listeners": {"value": 20}, "streams": 20},
               {"country": "SE", "isFolded": false, "listeners": {"value": 0}, "streams": 1_000},
               {"country": null, "isFolded": true, "listeners": {"value": 12}, "streams": 12}])
    );
    for (country, is_withheld, plays) in
        [("DE", false, 20), ("FR", false, 8), ("LI", true, 0), ("MC", true, 0), ("JP", false, 0), ("SE", false, 1_000)]
    {
        let fields = format!(
            r#"metrics(country: "{country}") {{ plays isWithheld listeners {{ value }} }}
               timeline(during: {{last: "P3D"}}, country: "{country}") {{ columns(of: [PLAYS]) {{ series {{ values total }} }} }}
               audience(country: "{country}") {{ total {{ value }} }}"#
        );
        let answer = ask(&owner, &fields).await;
        assert_eq!(answer["metrics"]["isWithheld"], is_withheld, "{country}: {answer}");
        assert_eq!(answer["metrics"]["plays"], plays, "{country}: {answer}");
        let series = &answer["timeline"]["columns"]["series"][0];
        assert_eq!(series["total"], plays as f64, "{country}: {answer}");
        assert_eq!(series["values"].as_array().unwrap().iter().any(Value::is_null), is_withheld, "{country}: {answer}");
        assert_eq!(answer["audience"].is_null(), is_withheld || ["JP", "SE"].contains(&country), "{country}: {answer}");
        let all = ask(&app.admin(), &fields).await;
        assert_eq!(all["metrics"]["isWithheld"], false, "{country}: {all}");
        assert!(!all["audience"].is_null(), "{country}: {all}");
    }
    app.stop().await;
});

on_every_database!(what_is_asked_badly_is_refused_and_what_is_unknown_is_null, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&plays_in("DE", 0..6)).await;
    for (field, argument) in [
        (r#"topMarkets(first: 0) { streams }"#, "first"),
        (r#"topMarkets(first: 301) { streams }"#, "first"),
        (r#"breakdown(by: DEVICE, first: 0) { key }"#, "first"),
        (
            r#"breakdown(by: DEVICE, during: {between: {from: "2026-06-15T00:00:00Z", to: "2026-06-14T00:00:00Z"}}) { key }"#,
            "between",
        ),
        (r#"metrics(country: "XX") { plays }"#, "country"),
        (r#"metrics(country: "") { plays }"#, "country"),
        (r#"audience(on: "2026-06-16") { total { value } }"#, "on"),
        (r#"monthlyListeners(on: "9999-12-31") { value }"#, "on"),
        (r#"followers(on: "2026-07-01")"#, "on"),
    ] {
        let query = format!(r#"{{ artist(id: "artist-1") {{ {field} }} }}"#);
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{field}: {answer}");
        assert_eq!(error["extensions"]["field"], argument, "{field}: {answer}");
    }
    // Windows and days long before anything happened are empty, not wrong.
    let data = app
        .ask(
            r#"{ artist(id: "artist-1") {
                audience(on: "1970-01-01") { total { value } }
                old: topMarkets(during: {between: {from: "1999-01-01T00:00:00Z", to: "1999-02-01T00:00:00Z"}}) { streams }
                ahead: metrics(during: {between: {from: "2030-01-01T00:00:00Z", to: "2030-02-01T00:00:00Z"}}, country: "de") { plays averageDailyListeners }
                audienceOverlap(with: "nobody") { shareOfThis }
                germany: metrics(country: "de") { plays } } }"#,
        )
        .await;
    assert_eq!(
        data["artist"],
        json!({"audience": {"total": {"value": 0}}, "old": [], "ahead": {"plays": 0, "averageDailyListeners": null},
               "audienceOverlap": null, "germany": {"plays": 6}})
    );
    app.stop().await;
});
