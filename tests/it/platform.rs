//! The platform as a whole, against a plain recount: random events, windows and zones.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, rfc3339},
};

const CASES: u64 = 4;
const QUESTIONS: usize = 12;
const DAY_MS: i64 = 24 * 3_600_000;
const TYPES: [&str; 6] =
    ["track.played", "user.logged_in", "user.registered", "ui.clicked", "track.liked", "order.paid"];
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Los_Angeles"];

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let event_type = TYPES[random.random_range(0..TYPES.len())];
    let mut event = json!({
        "id": format!("event-{number}"), "type": event_type, "occurredAt": T0 - random.random_range(0..45 * DAY_MS),
    });
    if ["track.played", "track.liked"].contains(&event_type) {
        event["songId"] = json!(format!("song-{}", random.random_range(0..5)));
        event["artistId"] = json!("artist-1");
    }
    if event_type == "order.paid" {
        event["amount"] = json!(format!("{}.50", random.random_range(1..9)));
        event["currency"] = json!(["EUR", "USD"][random.random_range(0..2)]);
        event["artistId"] = json!("artist-1");
    }
    if event_type == "track.played" && random.random_range(0..2) == 0 {
        event["playedMs"] = json!(random.random_range(0..90_000));
    }
    if event_type != "track.played" || random.random_range(0..5) > 0 {
        event["userId"] = json!(format!("user-{}", random.random_range(0..12)));
    }
    if random.random_range(0..3) > 0 {
        event["country"] = json!(["DE", "FR"][random.random_range(0..2)]);
    }
    if random.random_range(0..3) > 0 {
        event["genre"] = json!(["Rock", "Jazz"][random.random_range(0..2)]);
    }
    if event_type != "order.paid" && random.random_range(0..10) == 0 {
        event["count"] = json!(random.random_range(1..5));
    }
    event
}

fn at(event: &Value) -> i64 {
    event["occurredAt"].as_i64().unwrap()
}

fn times(event: &Value) -> i64 {
    event["count"].as_i64().unwrap_or(1)
}

/// The user of an event that stands for one.
fn user(event: &Value) -> Option<&str> {
    event["userId"].as_str().filter(|_| event["count"].is_null())
}

fn users<'a>(events: impl Iterator<Item = &'a Value>) -> usize {
    events.filter_map(user).collect::<BTreeSet<_>>().len()
}

fn within(events: &[Value], from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Value> {
    events.iter().filter(move |event| (from_ms..to_ms).contains(&at(event)))
}

fn midnight(day: NaiveDate, zone: Tz) -> i64 {
    zone.from_local_datetime(&day.and_hms_opt(0, 0, 0).unwrap()).earliest().unwrap().timestamp_millis()
}

/// Active users of a local day and of the stretches that end with it: of a day, 7, 28; the mean of 28 days by these.
fn active(events: &[Value], day: NaiveDate, zone: Tz) -> ([usize; 3], Option<f64>) {
    let after = day + Days::new(1);
    let of = |days: u64| users(within(events, midnight(after - Days::new(days), zone), midnight(after, zone)));
    let daily = |day: NaiveDate| users(within(events, midnight(day, zone), midnight(day + Days::new(1), zone)));
    let sum: usize = (0..28).map(|before| daily(day - Days::new(before))).sum();
    let monthly = of(28);
    ([of(1), of(7), monthly], (monthly > 0).then(|| sum as f64 / 28.0 / monthly as f64))
}

fn assert_close(found: &Value, expected: Option<f64>, context: &str) {
    match (found.as_f64(), expected) {
        (Some(found), Some(expected)) => assert!((found - expected).abs() < 1e-9, "{context}: {found}, not {expected}"),
        (found, expected) => assert_eq!(found, expected, "{context}"),
    }
}

async fn check_active_users(app: &App, events: &[Value], random: &mut StdRng, context: &str) {
    let zone_name = ZONES[random.random_range(0..ZONES.len())];
    let zone: Tz = zone_name.parse().unwrap();
    let last = DateTime::<Utc>::from_timestamp_millis(T0).unwrap().date_naive();
    let day = last - Days::new(random.random_range(0..50));
    let first = day - Days::new(random.random_range(0..20));
    let during = format!(
        r#"{{between: {{from: "{}", to: "{}"}}}}"#,
        rfc3339(midnight(first, zone) + random.random_range(0..8) * 900_000),
        rfc3339(midnight(day, zone) + random.random_range(1..90) * 900_000)
    );
    let context = format!("{context}, {zone_name}, {during}, {day}");
    let query = format!(
        r#"{{ platform {{
            activeUsers(on: "{day}") {{ on daily {{ value }} weekly {{ value }} monthly {{ value }} stickiness }}
            activeUsersTimeline(during: {during}, timeZone: "{zone_name}") {{
                start users {{ value }} weekly {{ value }} monthly {{ value }} stickiness }}
            weeks: activeUsersTimeline(during: {during}, every: WEEK, timeZone: "{zone_name}") {{
                start end users {{ value }} monthly {{ value }} }}
        }} }}"#
    );
    let data = app.ask(&query).await;
    let told = &data["platform"]["activeUsers"];
    let (expected, stickiness) = active(events, day, Tz::UTC);
    let found =
        [&told["daily"], &told["weekly"], &told["monthly"]].map(|count| count["value"].as_u64().unwrap() as usize);
    assert_eq!(found, expected, "{context}");
    assert_close(&told["stickiness"], stickiness, &context);
    let points = data["platform"]["activeUsersTimeline"].as_array().unwrap();
    let days: Vec<NaiveDate> = first.iter_days().take_while(|one| *one <= day).collect();
    assert_eq!(points.len(), days.len(), "{context}");
    for (point, day) in points.iter().zip(days) {
        assert_eq!(point["start"], rfc3339(midnight(day, zone)), "{context}");
        let (expected, stickiness) = active(events, day, zone);
        let counts = [&point["users"], &point["weekly"], &point["monthly"]];
        assert_eq!(counts.map(|count| count["value"].as_u64().unwrap() as usize), expected, "{context}: {point}");
        assert_close(&point["stickiness"], stickiness, &context);
    }
    for week in data["platform"]["weeks"].as_array().unwrap() {
        let ms = |field: &str| DateTime::parse_from_rfc3339(week[field].as_str().unwrap()).unwrap().timestamp_millis();
        assert_eq!(week["users"]["value"], users(within(events, ms("start"), ms("end"))), "{context}: {week}");
        let last = zone.timestamp_millis_opt(ms("end") - 1).unwrap().date_naive();
        assert_eq!(week["monthly"]["value"], active(events, last, zone).0[2], "{context}: {week}");
    }
}

async fn check_usage(app: &App, events: &[Value], random: &mut StdRng, context: &str) {
    let unit = [900_000, DAY_MS][random.random_range(0..2)];
    let midnight = T0 - T0.rem_euclid(DAY_MS);
    let from_ms = midnight - random.random_range(1..40 * DAY_MS / unit) * unit;
    let to_ms = from_ms + random.random_range(1..30 * DAY_MS / unit) * unit;
    let during = format!(r#"{{between: {{from: "{}", to: "{}"}}}}"#, rfc3339(from_ms), rfc3339(to_ms));
    let context = format!("{context}, {during}");
    let query = format!(
        "{{ platform {{
            featureUsage(during: {during}) {{ type events users {{ value }} share }}
            logins(during: {during}, every: WEEK) {{ logins users {{ value }} frequency points {{ start end events users {{ value }} }} }}
            registrations(during: {during}, every: MONTH) {{ start end events users {{ value }} }}
            metrics(during: {during}) {{ plays streams likes purchases listeners {{ value }} likers {{ value }} revenue {{ currency gross }} }}
            breakdown(by: COUNTRY, of: PLAYS, during: {during}) {{ key value }}
        }} }}"
    );
    let platform = app.ask(&query).await["platform"].clone();
    let inside: Vec<&Value> = within(events, from_ms, to_ms).collect();
    let count = |keep: &dyn Fn(&Value) -> bool| -> i64 {
        inside.iter().filter(|event| keep(event)).map(|event| times(event)).sum()
    };
    let all = count(&|_| true);
    let mut expected: Vec<(i64, &str)> = TYPES
        .iter()
        .map(|name| (-count(&|event| event["type"] == *name), *name))
        .filter(|(count, _)| *count != 0)
        .collect();
    expected.sort_unstable();
    let usage = platform["featureUsage"].as_array().unwrap();
    assert_eq!(usage.len(), expected.len(), "{context}: {usage:?}");
    for (told, (negative, name)) in usage.iter().zip(&expected) {
        let of_type = inside.iter().copied().filter(|event| event["type"] == *name);
        let whole = json!([told["type"], told["events"], told["users"]["value"]]);
        assert_eq!(whole, json!([name, -negative, users(of_type)]), "{context}");
        assert_close(&told["share"], Some(-*negative as f64 / all as f64), &context);
    }
    let logins = &platform["logins"];
    let of_type = |name: &'static str| inside.iter().copied().filter(move |event| event["type"] == name);
    let (events_in, users_in) = (count(&|event| event["type"] == "user.logged_in"), users(of_type("user.logged_in")));
    assert_eq!(json!([logins["logins"], logins["users"]["value"]]), json!([events_in, users_in]), "{context}");
    assert_close(&logins["frequency"], (users_in > 0).then(|| events_in as f64 / users_in as f64), &context);
    for (points, name) in [(&logins["points"], "user.logged_in"), (&platform["registrations"], "user.registered")] {
        let mut sum = 0;
        for point in points.as_array().unwrap() {
            let ms =
                |field: &str| DateTime::parse_from_rfc3339(point[field].as_str().unwrap()).unwrap().timestamp_millis();
            let inside: Vec<&Value> =
                within(events, ms("start"), ms("end")).filter(|event| event["type"] == name).collect();
            let counted: i64 = inside.iter().map(|event| times(event)).sum();
            sum += counted;
            let told = json!([point["events"], point["users"]["value"]]);
            assert_eq!(told, json!([counted, users(inside.into_iter())]), "{context}: {point}");
        }
        assert_eq!(sum, count(&|event| event["type"] == name), "{context}: {name}");
    }
    let metrics = &platform["metrics"];
    let is_play = |event: &Value| event["type"] == "track.played";
    let is_stream = |event: &Value| is_play(event) && event["playedMs"].as_i64().is_none_or(|played| played >= 30_000);
    let mut gross: BTreeMap<&str, i64> = BTreeMap::new();
    for event in of_type("order.paid") {
        // In halves of a unit: "3.50" is 7.
        let amount = (event["amount"].as_str().unwrap().parse::<f64>().unwrap() * 2.0) as i64;
        *gross.entry(event["currency"].as_str().unwrap()).or_default() += amount;
    }
    let told: BTreeMap<&str, i64> = metrics["revenue"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| {
            (part["currency"].as_str().unwrap(), (part["gross"].as_str().unwrap().parse::<f64>().unwrap() * 2.0) as i64)
        })
        .collect();
    assert_eq!(told, gross, "{context}");
    let told = json!([
        metrics["plays"],
        metrics["streams"],
        metrics["likes"],
        metrics["purchases"],
        metrics["listeners"]["value"],
        metrics["likers"]["value"]
    ]);
    let expected = json!([
        count(&is_play),
        count(&is_stream),
        count(&|event| event["type"] == "track.liked"),
        count(&|event| event["type"] == "order.paid"),
        users(inside.iter().copied().filter(|event| is_stream(event))),
        users(of_type("track.liked")),
    ]);
    assert_eq!(told, expected, "{context}");
    let mut countries: BTreeMap<String, i64> = BTreeMap::new();
    for event in inside.iter().filter(|event| is_play(event)) {
        *countries.entry(event["country"].as_str().unwrap_or("UNKNOWN").to_owned()).or_default() += times(event);
    }
    let parts = platform["breakdown"].as_array().unwrap().iter();
    let told: BTreeMap<String, i64> =
        parts.map(|part| (part["key"].as_str().unwrap().to_owned(), part["value"].as_f64().unwrap() as i64)).collect();
    assert_eq!(told, countries, "{context}");
}

/// The first instant of the period that holds a local day, and of the one after it.
fn period(day: NaiveDate, every: &str, zone: Tz) -> (i64, i64) {
    let (first, next) = match every {
        "DAY" => (day, day + Days::new(1)),
        "WEEK" => {
            let monday = day - Days::new(u64::from(day.weekday().num_days_from_monday()));
            (monday, monday + Days::new(7))
        }
        _ => {
            let first = day.with_day(1).unwrap();
            (first, first + chrono::Months::new(1))
        }
    };
    (midnight(first, zone), midnight(next, zone))
}

async fn check_retention(app: &App, events: &[Value], random: &mut StdRng, context: &str) {
    let zone_name = ZONES[random.random_range(0..ZONES.len())];
    let zone: Tz = zone_name.parse().unwrap();
    let pick = |random: &mut StdRng, some: &[&'static str]| some[random.random_range(0..some.len())];
    let every = pick(random, &["DAY", "WEEK", "WEEK", "MONTH"]);
    let (mode, song) = (pick(random, &["ON_PERIOD", "ROLLING"]), random.random_range(0..3) == 0);
    let events_of = |random: &mut StdRng| {
        if song { None } else { [None, Some("user.registered"), Some("track.liked")][random.random_range(0..3)] }
    };
    let (start, back) = (events_of(random), events_of(random));
    let from_ms = T0 - random.random_range(1..45 * DAY_MS);
    let to_ms = from_ms + random.random_range(1..30 * DAY_MS);
    let mut arguments = format!(
        r#"cohortBy: {every}, mode: {mode}, periods: 6, timeZone: "{zone_name}", during: {{between: {{from: "{}", to: "{}"}}}}"#,
        rfc3339(from_ms),
        rfc3339(to_ms)
    );
    for (name, event_type) in [("startEvent", start), ("returnEvent", back)] {
        arguments.extend(event_type.map(|event_type| format!(r#", {name}: "{event_type}""#)));
    }
    // How people began.
    let (country, genre) = match random.random_range(0..6) {
        0 => (Some("DE"), None),
        1 => (None, Some("Rock")),
        2 => (Some("FR"), Some("Jazz")),
        _ => (None, None),
    };
    let is_filtered = country.is_some() || genre.is_some();
    if is_filtered {
        let given = [("country", country), ("genre", genre)]
            .map(|(name, value)| value.map(|value| format!(r#"{name}: "{value}""#)));
        arguments
            .push_str(&format!(", firstStream: {{{}}}", given.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    let of = if song { r#"song(id: "song-1")"# } else { "platform" };
    let context = format!("{context}: {of} {arguments}");
    let query = format!(
        "{{ {of} {{ retention({arguments}) {{ cohorts {{ start end size {{ value }} cells {{ period users rate }} }} }} }} }}"
    );
    let answer = app.ask(&query).await;
    let field = if song { "song" } else { "platform" };
    if answer[field].is_null() {
        return;
    }
    let is_stream = |event: &Value| {
        let is_play = event["type"] == "track.played" && (!song || event["songId"] == "song-1");
        is_play && event["playedMs"].as_i64().is_none_or(|played| played >= 30_000)
    };
    let did = |event: &Value, event_type: Option<&str>| match event_type {
        _ if song => is_stream(event),
        Some(event_type) => event["type"] == event_type,
        None => true,
    };
    let local = |at_ms: i64| zone.timestamp_millis_opt(at_ms).unwrap().date_naive();
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for (user, event) in events.iter().filter(|event| did(event, start)).filter_map(|event| Some((user(event)?, event)))
    {
        let began = first.entry(user).or_insert(i64::MAX);
        *began = (*began).min(at(event));
    }
    if is_filtered {
        let mut streams: Vec<&Value> = events.iter().filter(|event| is_stream(event)).collect();
        // Missing before any text, as in the order of texts that may be missing.
        streams.sort_by_key(|event| (at(event), event["country"].as_str(), event["genre"].as_str()));
        let mut told: BTreeMap<&str, &Value> = BTreeMap::new();
        streams.into_iter().filter_map(|event| Some((user(event)?, event))).for_each(|(user, event)| {
            told.entry(user).or_insert(event);
        });
        first.retain(|user, _| {
            let is_it = |event: &&Value| {
                country.is_none_or(|country| event["country"] == country)
                    && genre.is_none_or(|genre| event["genre"] == genre)
            };
            told.get(user).is_some_and(is_it)
        });
    }
    let cohorts = answer[field]["retention"]["cohorts"].as_array().unwrap();
    let mut expected_start = period(local(from_ms.div_euclid(900_000) * 900_000), every, zone).0;
    for cohort in cohorts {
        let ms =
            |field: &str| DateTime::parse_from_rfc3339(cohort[field].as_str().unwrap()).unwrap().timestamp_millis();
        let (start_ms, end_ms) = (ms("start"), ms("end"));
        assert_eq!((start_ms, end_ms), period(local(expected_start), every, zone), "{context}");
        expected_start = end_ms;
        let members: BTreeSet<&str> =
            first.iter().filter(|(_, began)| (start_ms..end_ms).contains(*began)).map(|(user, _)| *user).collect();
        assert_eq!(cohort["size"]["value"], members.len(), "{context}: {cohort}");
        let (mut cell_start, mut cell_end) = (start_ms, end_ms);
        for (cell, number) in cohort["cells"].as_array().unwrap().iter().zip(0..) {
            let to_ms = if mode == "ROLLING" { i64::MAX } else { cell_end };
            let returned = within(events, cell_start, to_ms).filter(|event| did(event, back)).filter_map(user);
            let returned = returned.filter(|user| members.contains(user)).collect::<BTreeSet<_>>().len();
            let users = (cell_end <= T0).then_some(returned);
            assert_eq!(json!([cell["period"], cell["users"]]), json!([number, users]), "{context}: {cohort}");
            let rate = users.filter(|_| !members.is_empty()).map(|users| users as f64 / members.len() as f64);
            assert_close(&cell["rate"], rate, &context);
            (cell_start, cell_end) = period(local(cell_end), every, zone);
        }
        assert_eq!(cohort["cells"].as_array().unwrap().len(), 7, "{context}");
    }
    assert!(!cohorts.is_empty(), "{context}");
}

async fn check_cases(first_seed: u64, database: impl AsyncFn() -> Option<TestDatabase>) {
    for seed in first_seed..first_seed + CASES {
        let Some(database) = database().await else { return };
        let mut random = StdRng::seed_from_u64(seed);
        let events: Vec<Value> = (0..240).map(|number| random_event(&mut random, number)).collect();
        let app = App::start_with(&database, Options::at(T0)).await;
        for (batch, number) in events.chunks(80).zip(1..) {
            app.record(batch).await;
            // Answers do not depend on what is merged.
            if random.random_range(0..2) == 0 {
                app.merge_audience().await;
            }
            let events = &events[..80 * number];
            for _ in 0..QUESTIONS / 3 {
                let context = format!("seed {seed}, batch {number}");
                check_active_users(&app, events, &mut random, &context).await;
                check_usage(&app, events, &mut random, &context).await;
                check_retention(&app, events, &mut random, &context).await;
                check_retention(&app, events, &mut random, &context).await;
            }
        }
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platforms_numbers_equal_a_plain_recount_on_sqlite() {
    check_cases(0, async || Some(TestDatabase::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platforms_numbers_equal_a_plain_recount_on_postgres() {
    check_cases(100, TestDatabase::postgres).await;
}

on_every_database!(an_operator_chooses_what_makes_a_user_active, |database| {
    let options = Options::at(T0).set("ACTIVE_EVENT_TYPES", "track.played, user.logged_in");
    let app = App::start_with(&database, options).await;
    let event = |id: &str, event_type: &str, user: &str| json!({"id": id, "type": event_type, "occurredAt": T0 - 1_000, "userId": user, "songId": "song-1"});
    app.record(&[
        event("1", "track.played", "u1"),
        event("2", "user.logged_in", "u2"),
        event("3", "ui.clicked", "u3"),
        event("4", "user.logged_in", "u1"),
    ])
    .await;
    for _ in 0..2 {
        let data = app.ask("{ platform { activeUsers { daily { value isExact isProvisional } } } }").await;
        let expected = json!({"value": 2, "isExact": true, "isProvisional": true});
        assert_eq!(data["platform"]["activeUsers"]["daily"], expected);
        app.merge_audience().await;
    }
    app.stop().await;
});

on_every_database!(an_empty_platform_has_zeros_and_bad_questions_are_refused, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let data = app
        .ask(
            "{ platform { activeUsers { daily { value } stickiness } featureUsage { type } logins { frequency }
                activeUsersTimeline(during: {last: \"P2D\"}) { users { value } } } }",
        )
        .await;
    let platform = &data["platform"];
    assert_eq!(platform["activeUsers"], json!({"daily": {"value": 0}, "stickiness": null}));
    assert_eq!(platform["featureUsage"], json!([]));
    assert_eq!(platform["logins"]["frequency"], json!(null));
    assert!(platform["activeUsersTimeline"].as_array().unwrap().iter().all(|point| point["users"]["value"] == 0));
    for (field, told) in [
        ("activeUsersTimeline(every: HOUR) { start }", "every"),
        ("activeUsers(on: \"2200-01-01\") { on }", "on"),
        ("featureUsage(first: 0) { type }", "first"),
        ("featureUsage(first: 201) { type }", "first"),
        ("activeUsersTimeline(during: {last: \"P30000D\"}) { start }", "during"),
        ("logins(during: {last: \"P30000D\"}, every: HOUR) { logins }", "every"),
        ("breakdown(by: COUNTRY, first: 301) { key }", "first"),
        ("retention(cohortBy: HOUR) { mode }", "cohortBy"),
        ("retention(periods: 0) { mode }", "periods"),
        ("retention(periods: 101) { mode }", "periods"),
    ] {
        let answer = app.graphql(Some(&app.admin()), &format!("{{ platform {{ {field} }} }}"), json!({})).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{field}: {answer}");
        assert_eq!(error["extensions"]["field"], told, "{field}: {answer}");
    }
    app.stop().await;
});

on_every_database!(listeners_are_told_apart_by_their_first_stream_of_a_song, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let day = T0 - 3 * DAY_MS - T0 % DAY_MS;
    let mut events: Vec<Value> = Vec::new();
    let mut play = |user: &str, song: &str, at_ms: i64, country: &str| {
        events.push(json!({
            "id": format!("first-{}", events.len()), "type": "track.played", "userId": user, "songId": song, "artistId": "artist-1",
            "occurredAt": at_ms, "country": country,
        }));
    };
    for number in 0..6 {
        // The day begins with something else, from elsewhere; all of it is within a quarter of an hour.
        let user = format!("user-{number}");
        play(&user, "song-2", day + number, "FR");
        play(&user, "song-1", day + 1_000 + number, if number < 5 { "DE" } else { "FR" });
        play(&user, "song-1", day + 2_000 + number, "DE");
        play(&user, "song-1", day + DAY_MS, "FR");
    }
    app.record(&events).await;
    let query = |of: &str, country: &str| {
        format!(
            r#"{{ {of} {{ retention(cohortBy: DAY, during: {{last: "P4D"}}, periods: 1, firstStream: {{country: "{country}"}}) {{ cohorts {{ size {{ value }} cells {{ users }} }} }} }} }}"#
        )
    };
    let sizes = |data: &Value, of: &str| -> Vec<i64> {
        let cohorts = data[of]["retention"]["cohorts"].as_array().unwrap();
        cohorts.iter().map(|cohort| cohort["size"]["value"].as_i64().unwrap()).filter(|size| *size > 0).collect()
    };
    for merged in [false, true] {
        if merged {
            app.merge_audience().await;
        }
        for (of, country, expected) in [
            (r#"song(id: "song-1")"#, "DE", vec![5]),
            (r#"song(id: "song-1")"#, "FR", vec![1]),
            (r#"song(id: "song-1")"#, "US", vec![]),
            ("platform", "FR", vec![6]),
            ("platform", "DE", vec![]),
        ] {
            let data = app.ask(&query(of, country)).await;
            assert_eq!(sizes(&data, of.split('(').next().unwrap()), expected, "{of} {country}, merged: {merged}");
        }
    }
    // Whom few are, is not told to the artist.
    let artist = app.token("artist", &["artist-1"]);
    for (country, expected) in [("DE", vec![5]), ("FR", vec![])] {
        let answer = app.graphql(Some(&artist), &query(r#"artist(id: "artist-1")"#, country), json!({})).await;
        let expected_of_artist = if country == "FR" { vec![6] } else { vec![] };
        assert_eq!(sizes(&answer["data"], "artist"), expected_of_artist, "{answer}");
        let answer = app.graphql(Some(&artist), &query(r#"song(id: "song-1")"#, country), json!({})).await;
        assert_eq!(sizes(&answer["data"], "song"), expected, "{answer}");
    }
    let answer = app.graphql(Some(&app.admin()), &query("platform", "Germany"), json!({})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{answer}");
    app.stop().await;
});
