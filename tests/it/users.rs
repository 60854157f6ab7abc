//! A user's own numbers, all that is known about them, and that it can be gone.

use std::collections::{BTreeMap, BTreeSet};

use backbeat::rollup::recount;
use chrono::{DateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{
        App, T0, TestDatabase,
        app::{Options, listener},
    },
};

const DAY_MS: i64 = 86_400_000;

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let event_type = ["track.played", "track.played", "track.played", "ui.clicked"][random.random_range(0..4)];
    let mut event = json!({
        "id": format!("event-{number}"), "type": event_type, "userId": format!("user-{}", random.random_range(0..3)),
        "occurredAt": T0 - 60_000 * random.random_range(0..12 * 1_440),
        "songId": format!("song-{}", random.random_range(0..4)), "artistId": format!("artist-{}", random.random_range(0..3)),
    });
    if random.random_range(0..3) > 0 {
        event["genre"] = json!(["jazz", "rock"][random.random_range(0..2)]);
    }
    if random.random_range(0..2) == 0 {
        event["playedMs"] = json!(random.random_range(0..120_000));
        event["durationMs"] = json!(90_000);
    }
    if random.random_range(0..8) == 0 {
        event["count"] = json!(5);
    }
    if random.random_range(0..2) == 0 {
        event["properties"] = json!({"email": "somebody@example.com", "plan": "free"});
    }
    event
}

fn at(event: &Value) -> i64 {
    event["occurredAt"].as_i64().unwrap()
}

fn ranked(counts: BTreeMap<Option<String>, u64>, first: usize) -> Vec<(String, u64)> {
    let mut list: Vec<(Option<String>, u64)> = counts.into_iter().collect();
    list.sort_by(|(one, more), (next, less)| less.cmp(more).then_with(|| one.cmp(next)));
    let named = |(name, count): (Option<String>, u64)| (name.unwrap_or_else(|| "UNKNOWN".to_owned()), count);
    list.into_iter().take(first).map(named).collect()
}

async fn check_summary(app: &App, events: &[Value], random: &mut StdRng) {
    let user = format!("user-{}", random.random_range(0..3));
    let zone_name = ["UTC", "Asia/Kathmandu", "America/Los_Angeles"][random.random_range(0..3)];
    let zone: Tz = zone_name.parse().unwrap();
    let from_ms = T0 - random.random_range(0..12 * 96) * 900_000;
    let to_ms = from_ms + random.random_range(1..6 * 96) * 900_000;
    let text = |ms| DateTime::<Utc>::from_timestamp_millis(ms).unwrap().to_rfc3339();
    let query = format!(
        r#"{{ user(id: "{user}") {{ id summary(during: {{between: {{from: "{}", to: "{}"}}}}, timeZone: "{zone_name}") {{
            streams listeningTimeMs byHourOfDay streakDays sessions averageSessionMs
            topSongs(first: 3) {{ position value song {{ id }} }} topArtists(first: 3) {{ position value artist {{ id }} }}
            topGenres {{ key value }} }} }} }}"#,
        text(from_ms),
        text(to_ms),
    );
    let data = app.ask(&query).await;
    let told = &data["user"]["summary"];
    let own: Vec<&Value> = events.iter().filter(|event| event["userId"] == user && event["count"].is_null()).collect();
    let inside = own.iter().filter(|event| (from_ms..to_ms).contains(&at(event)));
    let plays: Vec<&&Value> = inside.filter(|event| event["type"] == "track.played").collect();
    let is_stream = |event: &Value| event["playedMs"].as_i64().is_none_or(|played| played >= 30_000);
    let streams: Vec<&&&Value> = plays.iter().filter(|event| is_stream(event)).collect();
    let heard: i64 = plays.iter().map(|event| event["playedMs"].as_i64().unwrap_or(0).min(90_000)).sum();
    let local = |ms: i64| zone.timestamp_millis_opt(ms).unwrap();
    let mut hours = [0; 24];
    streams.iter().for_each(|event| hours[local(at(event)).hour() as usize] += 1);
    let days: Vec<_> = own
        .iter()
        .filter(|event| event["type"] == "track.played" && is_stream(event) && at(event) < to_ms)
        .map(|event| local(at(event)).date_naive())
        .collect();
    let mut day = local(to_ms - 1).date_naive();
    if to_ms > T0 && !days.contains(&day) {
        day = day.pred_opt().unwrap();
    }
    let mut streak = 0;
    while days.contains(&day) {
        streak += 1;
        day = day.pred_opt().unwrap();
    }
    let mut times: Vec<i64> = own.iter().map(|event| at(event)).collect();
    times.sort_unstable();
    let sessions: Vec<&[i64]> = times
        .chunk_by(|one, next| next - one < 1_800_000)
        .filter(|session| (from_ms..to_ms).contains(&session[0]))
        .collect();
    let length: i64 = sessions.iter().map(|session| session[session.len() - 1] - session[0]).sum();
    let average = (!sessions.is_empty()).then(|| length as f64 / sessions.len() as f64);
    let top = |field: &str| {
        let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
        streams.iter().for_each(|event| *counts.entry(event[field].as_str().map(str::to_owned)).or_default() += 1);
        ranked(counts, 3)
    };
    let list = |field: &str, name: &str| -> Value {
        let ranked = |(place, (id, count)): (usize, (String, u64))| json!({"position": place + 1, "value": count as f64, name: {"id": id}});
        top(field).into_iter().enumerate().map(ranked).collect()
    };
    let genres: Value =
        top("genre").into_iter().map(|(key, count)| json!({"key": key, "value": count as f64})).collect();
    for (field, expected) in [
        ("streams", json!(streams.len())),
        ("listeningTimeMs", json!(heard)),
        ("byHourOfDay", json!(hours)),
        ("streakDays", json!(streak)),
        ("sessions", json!(sessions.len())),
        ("topSongs", list("songId", "song")),
        ("topArtists", list("artistId", "artist")),
        ("topGenres", genres),
    ] {
        assert_eq!(told[field], expected, "{field} of {query}");
    }
    assert!(told["averageSessionMs"].as_f64().zip(average).is_none_or(|(told, mean)| (told - mean).abs() < 1e-6));
    assert_eq!(told["averageSessionMs"].is_null(), average.is_none());
}

on_every_database!(summaries_equal_a_plain_recount, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut random = StdRng::seed_from_u64(7);
    let events: Vec<Value> = (0..240).map(|number| random_event(&mut random, number)).collect();
    for (batch, number) in events.chunks(60).zip(1..) {
        app.record(batch).await;
        if number % 2 == 0 {
            app.merge_audience().await;
        }
        for _ in 0..15 {
            check_summary(&app, &events[..60 * number], &mut random).await;
        }
    }
    app.stop().await;
});

/// Everything that has to stay what it is when a user goes.
const TOTALS: &str = r#"{
    platform {
        metrics(during: {period: ALL_TIME}) { plays streams listeners { value } }
        activeUsersTimeline(during: {last: "P14D"}) { users { value } weekly { value } }
        retention(cohortBy: DAY, during: {last: "P12D"}, periods: 5) { cohorts { size { value } cells { users } } }
        sessions(during: {last: "P14D"}) { sessions users { value } averageMs }
        funnel(steps: [{type: "ui.clicked"}, {type: "track.played"}], during: {last: "P14D"}) { steps { users medianMs } }
        breakdown(by: SOURCE, during: {last: "P14D"}) { key value }
    }
    song(id: "song-1") { metrics(during: {period: ALL_TIME}) { streams listeners { value } } }
    artist(id: "artist-1") { audience { total { value } active { value } } }
}"#;

async fn erase(app: &App, token: &str, id: &str) -> Value {
    let query = "mutation($id: ID!) { eraseUser(id: $id) { id status events } }";
    let answer = app.graphql(Some(token), query, json!({"id": id})).await;
    assert!(answer["errors"].is_null(), "{answer}");
    answer["data"]["eraseUser"].clone()
}

async fn export(app: &App, token: &str, id: &str, first: usize) -> Vec<Value> {
    let query = "query($id: ID!, $first: Int!, $after: String) {
        exportUser(id: $id, first: $first, after: $after) { ndjson events hasNextPage endCursor } }";
    let (mut lines, mut after) = (Vec::new(), Value::Null);
    loop {
        let answer = app.graphql(Some(token), query, json!({"id": id, "first": first, "after": after})).await;
        let part = &answer["data"]["exportUser"];
        let text = part["ndjson"].as_str().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(text.lines().count() as u64, part["events"].as_u64().unwrap());
        lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        if part["hasNextPage"] == false {
            return lines;
        }
        after = part["endCursor"].clone();
    }
}

on_every_database!(a_user_takes_everything_along_and_is_gone, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut random = StdRng::seed_from_u64(11);
    let events: Vec<Value> = (0..160).map(|number| random_event(&mut random, number)).collect();
    app.record(&events[..120]).await;
    app.merge_audience().await;
    app.record(&events[120..]).await;
    let own: Vec<&Value> = events.iter().filter(|event| event["userId"] == "user-1").collect();
    let me = listener("user-1");

    let mut expected: Vec<(i64, String)> =
        own.iter().map(|event| (at(event), event["id"].as_str().unwrap().to_owned())).collect();
    expected.sort();
    for first in [1_000, 7] {
        let mut exported: Vec<(i64, String)> = export(&app, &me, "user-1", first)
            .await
            .iter()
            .map(|line| {
                let at = DateTime::parse_from_rfc3339(line["occurredAt"].as_str().unwrap()).unwrap();
                (at.timestamp_millis(), line["id"].as_str().unwrap().to_owned())
            })
            .collect();
        assert!(exported.is_sorted_by_key(|(at, _)| *at));
        exported.sort();
        assert_eq!(exported, expected, "{first}");
    }
    let line = export(&app, &me, "user-1", 1_000).await.remove(0);
    let sent = own.iter().find(|event| event["id"] == line["id"]).unwrap();
    for field in ["type", "songId", "artistId", "genre", "playedMs", "durationMs", "count", "properties", "userId"] {
        assert_eq!(line[field], sent[field], "{field}");
    }

    let before = app.ask(TOTALS).await;
    assert_eq!(erase(&app, &me, "user-1").await, json!({"id": "user-1", "status": "ERASED", "events": own.len()}));
    assert_eq!(app.ask(TOTALS).await, before);
    for again in ["user-1", "nobody"] {
        let told = json!({"id": again, "status": "UNKNOWN", "events": 0});
        assert_eq!(erase(&app, &app.admin(), again).await, told);
        assert_eq!(app.ask(&format!(r#"{{ user(id: "{again}") {{ id }} }}"#)).await, json!({"user": null}));
        assert_eq!(export(&app, &app.admin(), again, 10).await, Vec::<Value>::new());
    }
    app.verify().await;
    app.merge_audience().await;
    assert_eq!(app.ask(TOTALS).await, before);
    app.verify().await;

    // What is sent again is known; what is new is somebody new.
    let (_, answer) = app.post_events(json!(own).to_string()).await;
    assert_eq!(answer["duplicates"], own.len(), "{answer}");
    assert_eq!(app.ask(TOTALS).await, before);
    let users = app.ask("{ platform { metrics(during: {period: ALL_TIME}) { listeners { value } } } }").await;
    app.record(&[
        json!({"id": "new", "type": "track.played", "userId": "user-1", "songId": "song-1", "occurredAt": T0}),
    ])
    .await;
    let after = app.ask("{ platform { metrics(during: {period: ALL_TIME}) { listeners { value } } } }").await;
    let count = |data: &Value| data["platform"]["metrics"]["listeners"]["value"].as_i64().unwrap();
    assert_eq!(count(&after), count(&users) + 1);
    assert_eq!(export(&app, &me, "user-1", 10).await.len(), 1);
    app.verify().await;
    erase(&app, &me, "user-1").await;
    app.stop().await;
    let connection = sea_orm::Database::connect(&database.url).await.unwrap();
    let rows = async |sql: &str| {
        connection.query_all_raw(Statement::from_string(connection.get_database_backend(), sql)).await.unwrap()
    };
    let of_user = |text: &str| text.contains("user-1") || text.contains("somebody@example.com");
    for row in rows("SELECT user_id, event_id, COALESCE(properties, ''), user_id FROM event WHERE user_id <> 'user-0' AND user_id <> 'user-2'").await {
        for column in 0..4 {
            let text: String = row.try_get_by_index(column).unwrap();
            assert!(!of_user(&text), "{text}");
        }
    }
    for row in rows("SELECT user_id FROM listener").await {
        assert!(!of_user(&row.try_get_by_index::<String>(0).unwrap()));
    }
    connection.close().await.unwrap();
    let app = App::start_with(&database, Options::at(T0)).await;
    recount::rebuild(&app.core.database, &Default::default(), &*app.core.clock, recount::Days::All, |_| {})
        .await
        .unwrap();
    app.verify().await;
    app.stop().await;
});

on_every_database!(only_a_user_and_admins_may_ask_about_the_user, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[
        json!({"id": "1", "type": "track.played", "userId": "user-1", "songId": "song-1", "occurredAt": T0 - 1}),
    ])
    .await;
    let documents = [
        r#"{ user(id: "user-1") { id summary { streams } } }"#,
        r#"{ exportUser(id: "user-1") { ndjson } }"#,
        r#"mutation { eraseUser(id: "user-1") { status } }"#,
    ];
    let strangers = [listener("user-2"), app.token("artist", &["artist-1"]), app.token("service", &[])];
    for document in documents {
        for token in &strangers {
            let answer = app.graphql(Some(token), document, json!({})).await;
            assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{document}: {answer}");
        }
        let answer = app.graphql(None, document, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{document}: {answer}");
    }
    let me = r#"{ viewer { user { id summary { streams } } } }"#;
    let answer = app.graphql(Some(&listener("user-1")), me, json!({})).await;
    assert_eq!(answer["data"]["viewer"]["user"], json!({"id": "user-1", "summary": {"streams": 1}}), "{answer}");
    for token in [listener("user-9"), app.admin()] {
        let answer = app.graphql(Some(&token), me, json!({})).await;
        assert_eq!(answer["data"]["viewer"], json!({"user": null}), "{answer}");
    }
    for (field, told) in [
        (r#"exportUser(id: "user-1", first: 0) { events }"#, "first"),
        (r#"exportUser(id: "user-1", first: 5001) { events }"#, "first"),
        (r#"exportUser(id: "user-1", after: "5-x") { events }"#, "after"),
        (r#"user(id: "user-1") { summary { topSongs(first: 0) { position } } }"#, "first"),
    ] {
        let answer = app.graphql(Some(&app.admin()), &format!("{{ {field} }}"), json!({})).await;
        let error = &answer["errors"][0]["extensions"];
        assert_eq!(json!([error["code"], error["field"]]), json!(["BAD_USER_INPUT", told]), "{answer}");
    }
    let (_, answer) = app
        .post_events(json!([{"id": "2", "type": "ui.clicked", "userId": "\u{1}x", "occurredAt": T0 - 1}]).to_string())
        .await;
    assert_eq!(
        json!([answer["results"][0]["code"], answer["results"][0]["field"]]),
        json!(["INVALID_CHARACTER", "userId"])
    );
    app.stop().await;
});

on_every_database!(a_user_downloads_everything, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    // More than one part, several events in a moment, somebody else's in between.
    let event = |number: usize| {
        json!({"id": format!("e{number}"), "type": "track.played", "userId": if number % 41 == 40 { "b" } else { "a/1" },
            "songId": "song-1", "artistId": "artist-1", "occurredAt": T0 - 1_000 * (number as i64 / 3), "playedMs": number})
    };
    let events: Vec<Value> = (0..5_300).map(event).collect();
    app.record(&events).await;
    let download = async |token: Option<&str>, id: &str| {
        let mut request = app.client.get(format!("{}/v1/users/{id}/export", app.base));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (status, headers, response.text().await.unwrap())
    };
    let me = listener("a/1");
    let (status, headers, text) = download(Some(&me), "a%2F1").await;
    assert_eq!((status, &headers["content-type"]), (200, &"application/x-ndjson".parse().unwrap()), "{text}");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"events.ndjson\"");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 5_000 && lines == export(&app, &me, "a/1", 1_000).await);
    let ids = |events: &[Value]| -> BTreeSet<String> { events.iter().map(|event| event["id"].to_string()).collect() };
    let own: Vec<Value> = events.iter().filter(|event| event["userId"] == "a/1").cloned().collect();
    assert_eq!((lines.len(), ids(&lines)), (own.len(), ids(&own)));

    let (status, _, text) = download(Some(&app.admin()), "b").await;
    assert_eq!((status, text.lines().count()), (200, events.len() - own.len()));
    let (status, _, text) = download(Some(&app.admin()), "nobody").await;
    assert_eq!((status, &*text), (200, ""));
    let strangers = [listener("b"), app.token("artist", &["artist-1"]), app.token("service", &[])];
    for (token, status, code) in strangers
        .iter()
        .map(|token| (Some(&**token), 403, "FORBIDDEN"))
        .chain([(None, 401, "UNAUTHENTICATED"), (Some("x"), 401, "UNAUTHENTICATED")])
    {
        let (refused, headers, text) = download(token, "a%2F1").await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((refused, &problem["code"]), (status, &json!(code)), "{problem}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    erase(&app, &me, "a/1").await;
    let (status, _, text) = download(Some(&me), "a%2F1").await;
    assert_eq!((status, &*text), (200, ""));
    app.stop().await;
});

/// Processes that know a user's number go on sending while the user is erased again and again.
async fn check_erasing_beside_ingest(database: &TestDatabase, processes: usize) {
    let mut apps = Vec::new();
    for _ in 0..processes {
        apps.push(App::start_with(database, Options::at(T0)).await);
    }
    let send = async |app: &App, process: usize| {
        for batch in 0..40 {
            let event = |number: usize| {
                json!({
                    "id": format!("{process}-{batch}-{number}"), "type": "track.played", "songId": "song-1",
                    "userId": format!("user-{}", number % 2), "occurredAt": T0 - (batch % 7) * DAY_MS - number as i64,
                })
            };
            app.record(&(0..10).map(event).collect::<Vec<_>>()).await;
        }
    };
    let erase_often = async {
        let mut erased = 0;
        for _ in 0..12 {
            erased += erase(&apps[0], &apps[0].admin(), "user-1").await["events"].as_u64().unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(15)).await;
        }
        erased
    };
    let sending = futures_util::future::join_all(apps.iter().enumerate().map(|(process, app)| send(app, process)));
    let (_, mut erased) = futures_util::join!(sending, erase_often);
    erased += erase(&apps[0], &apps[0].admin(), "user-1").await["events"].as_u64().unwrap();
    assert_eq!(erased, processes as u64 * 40 * 5);
    assert_eq!(apps[0].verify().await.events, processes as u64 * 400);
    apps[0].merge_audience().await;
    apps[0].verify().await;
    for app in apps {
        app.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_erased_beside_a_stream_of_events_on_sqlite() {
    check_erasing_beside_ingest(&TestDatabase::sqlite(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_erased_beside_a_stream_of_events_of_two_processes_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_erasing_beside_ingest(&database, 2).await;
    }
}
