//! Events in: counted once, whatever happens.

use std::collections::BTreeMap;

use backbeat::auth::{self, Claims};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{
        App, T0, TestDatabase,
        app::{Options, SECRET},
        eventually, play,
    },
};

fn statuses(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect()
}

on_every_database!(the_same_event_again_is_a_duplicate_and_other_content_a_conflict, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let first = play("1", "2026-06-15T10:00:00Z", "u1");
    app.record(std::slice::from_ref(&first)).await;
    let mut other = first.clone();
    other["playedMs"] = json!(1);
    let (status, answer) = app.post_events(json!([first, other]).to_string()).await;
    assert_eq!(status, 200);
    assert_eq!(answer["results"][0]["status"], "DUPLICATE");
    assert_eq!(answer["results"][1]["status"], "CONFLICT");
    let data = app.ask(r#"{ song(id: "song-1") { metrics(during: {period: TODAY}) { plays streams listeners { value isExact } } } }"#).await;
    assert_eq!(data["song"]["metrics"], json!({"plays": 1, "streams": 1, "listeners": {"value": 1, "isExact": true}}));
    assert_eq!(app.verify().await.events, 1);
    app.stop().await;
});

on_every_database!(an_id_twice_in_one_request_counts_once, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let first = play("1", "2026-06-15T10:00:00Z", "u1");
    let mut spaced = first.clone();
    // Only the order of members and white space differ: the same content.
    spaced["properties"] = json!({"a": 1, "b": 2});
    let text = spaced.to_string().replace(r#"{"a":1,"b":2}"#, r#"{ "b": 2, "a": 1 }"#);
    let mut other = first.clone();
    other["userId"] = json!("u2");
    let second = play("2", "2026-06-15T10:00:00Z", "u1");
    let body = format!("[{first},{first},{other},{second}]");
    let (_, answer) = app.post_events(body).await;
    assert_eq!(statuses(&answer), ["ACCEPTED", "DUPLICATE", "CONFLICT", "ACCEPTED"]);
    spaced["id"] = json!("3");
    let text = text.replace(r#""id":"1""#, r#""id":"3""#);
    let (_, answer) = app.post_events(format!("[{spaced},{text}]")).await;
    assert_eq!(statuses(&answer), ["ACCEPTED", "DUPLICATE"], "{answer:#}");
    assert_eq!(app.verify().await.events, 3);
    app.stop().await;
});

on_every_database!(an_id_sent_by_sixteen_clients_at_once_is_accepted_once, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    for round in 0..3 {
        let event = play(&format!("round-{round}"), "2026-06-15T10:00:00Z", "u1").to_string();
        let answers = futures_util::future::join_all((0..16).map(|_| app.post_events(event.clone()))).await;
        let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
        for (status, answer) in answers {
            assert_eq!(status, 200, "{answer:#}");
            *outcomes.entry(statuses(&answer)[0].to_owned()).or_default() += 1;
        }
        assert_eq!(outcomes, BTreeMap::from([("ACCEPTED".to_owned(), 1), ("DUPLICATE".to_owned(), 15)]));
    }
    assert_eq!(app.verify().await.events, 3);
    app.stop().await;
});

on_every_database!(the_same_id_from_two_sources_is_two_events, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let event = play("1", "2026-06-15T10:00:00Z", "u1").to_string();
    for source in ["web", "partner"] {
        let now_s = chrono::Utc::now().timestamp();
        let claims = Claims {
            sub: source.to_owned(),
            iss: "backbeat".to_owned(),
            aud: "backbeat".to_owned(),
            exp: now_s + 600,
            iat: now_s,
            role: "service".to_owned(),
            artists: Vec::new(),
            source: Some(source.to_owned()),
        };
        for expected in ["ACCEPTED", "DUPLICATE"] {
            let request = app.client.post(format!("{}/v1/events", app.base));
            let request = request.bearer_auth(auth::sign(&claims, SECRET)).body(event.clone());
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(statuses(&answer), [expected], "{source}");
        }
    }
    let data = app.ask(r#"{ song(id: "song-1") { metrics { plays } } }"#).await;
    assert_eq!(data["song"]["metrics"]["plays"], 2);
    assert_eq!(app.verify().await.events, 2);
    app.stop().await;
});

on_every_database!(lines_are_events_and_a_broken_one_leaves_the_others_alone, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let (first, last) = (play("1", "2026-06-15T10:00:00Z", "u1"), play("3", "2026-06-15T10:00:00Z", "u2"));
    let body = format!("{first}\n{{\"id\": \"2\", \"type\":\r\n\n{last}\r\n");
    let (status, answer) = app.post_events(body).await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(statuses(&answer), ["ACCEPTED", "REJECTED", "ACCEPTED"]);
    assert_eq!(answer["results"][1]["code"], "MALFORMED");
    assert_eq!(app.verify().await.events, 2);
    app.stop().await;
});

on_every_database!(what_one_process_stores_another_shows, |database| {
    let one = App::start_with(&database, Options::at(T0)).await;
    let other = App::start_with(&database, Options::at(T0)).await;
    // Both write the same day's rows, as two servers do; each sees its own at once.
    for (app, id) in [(&one, "1"), (&other, "2")] {
        app.record(&[play(id, "2026-06-15T10:00:00Z", id)]).await;
    }
    for app in [&one, &other] {
        eventually("two plays by two people", async || {
            let data = app.ask(r#"{ song(id: "song-1") { metrics { plays listeners { value } } } }"#).await;
            let expected = json!({"plays": 2, "listeners": {"value": 2}});
            if data["song"]["metrics"] == expected { Ok(()) } else { Err(data.to_string()) }
        })
        .await;
        assert!(app.core.analytics.newest_event_ms().is_some());
    }
    // Merged by one, in memory of the other: nobody is counted twice or lost.
    one.merge_audience().await;
    let data = other.ask(r#"{ song(id: "song-1") { metrics { listeners { value } } } }"#).await;
    assert_eq!(data["song"]["metrics"]["listeners"]["value"], 2);
    other.stop().await;
    one.verify().await;
    one.stop().await;
});

/// An id that carries its time is recognised however late the retry comes; one that does not is a new event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_a_time_has_that_of_its_id() {
    const MS: u128 = T0 as u128;
    let v7 = |ms: u128| {
        let hex = format!("{:032x}", (ms << 80) | (7 << 76) | (2 << 62) | 0x1234_5678);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    };
    let ulid = |ms: u64| {
        let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let time: String = (0..10).rev().map(|place| digits[(ms >> (5 * place)) as usize & 31] as char).collect();
        format!("{time}0123456789ABCDEF")
    };
    let database = TestDatabase::sqlite();
    let hour = 3_600_000;
    let event = |id: &str| {
        let mut event = play(id, "", "u1");
        event.as_object_mut().unwrap().remove("occurredAt");
        event
    };
    let events = [
        event(&v7(MS - hour)),
        event(&ulid(T0 as u64 - hour as u64)),
        event("no time in here"),
        // A hash whose digits look like a UUIDv7 of the year 6429, and a version 4: neither carries a time.
        event("7fffffffffff7fffbfffffffffffffff"),
        event("1b4e28ba-2fa1-41d2-883f-0016d3cca427"),
    ];
    let rows: [(i64, [&str; 5]); 2] =
        [(T0, ["ACCEPTED"; 5]), (T0 + 2 * hour as i64, ["DUPLICATE", "DUPLICATE", "ACCEPTED", "ACCEPTED", "ACCEPTED"])];
    for (now_ms, expected) in rows {
        let app = App::start_with(&database, Options::at(now_ms)).await;
        let (_, answer) = app.post_events(json!(events).to_string()).await;
        assert_eq!(statuses(&answer), expected, "{answer:#}");
        app.stop().await;
    }
    let app = App::start_with(&database, Options::at(T0 + 2 * hour as i64)).await;
    let data = app
        .ask(
            r#"{ song(id: "song-1") {
                ids: metrics(during: {between: {from: "2026-06-15T11:00:00Z", to: "2026-06-15T11:15:00Z"}}) { plays }
                first: metrics(during: {between: {from: "2026-06-15T12:00:00Z", to: "2026-06-15T12:15:00Z"}}) { plays }
                again: metrics(during: {between: {from: "2026-06-15T14:00:00Z", to: "2026-06-15T14:15:00Z"}}) { plays }
            } }"#,
        )
        .await;
    assert_eq!(data["song"], json!({"ids": {"plays": 2}, "first": {"plays": 3}, "again": {"plays": 3}}));
    app.stop().await;
}

/// What `/metrics` says under a name, summed over its labels.
async fn metric(app: &App, name: &str) -> u64 {
    let page = app.client.get(format!("{}/metrics", app.base)).send().await.unwrap().text().await.unwrap();
    let values = page.lines().filter(|line| {
        let series = line.split([' ', '{']).next().unwrap_or_default();
        series == format!("backbeat_{name}_total")
    });
    values.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_received_event_has_an_outcome_in_the_metrics() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0).set("REQUEST_EVENTS_MAX", 4)).await;
    let first = play("1", "2026-06-15T10:00:00Z", "u1");
    let mut other = first.clone();
    other["userId"] = json!("u2");
    let broken = json!({"id": "2"});
    app.post_events(json!([first, first, other, broken]).to_string()).await;
    let (status, _) = app.post_events(json!([first, first, first, first, first]).to_string()).await;
    assert_eq!(status, 413);
    let mutation = r#"mutation { recordEvents(input: [{id: "3", type: "ui.clicked"}]) { accepted } }"#;
    assert_eq!(app.ask(mutation).await["recordEvents"]["accepted"], 1);
    let page = app.client.get(format!("{}/metrics", app.base)).send().await.unwrap().text().await.unwrap();
    for (outcome, count) in [("ACCEPTED", 2), ("DUPLICATE", 1), ("CONFLICT", 1), ("REJECTED", 1)] {
        let line = format!("backbeat_ingest_outcomes_total{{outcome=\"{outcome}\"}} {count}");
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    let (received, refused) = (metric(&app, "ingest_received").await, metric(&app, "ingest_refused").await);
    assert_eq!((received, refused), (10, 5));
    assert_eq!(received, metric(&app, "ingest_outcomes").await + refused);
    app.stop().await;
}
