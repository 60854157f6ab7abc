//! What senders get wrong: each is one coded rejection, and its neighbours are counted.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, play},
};

const NOON: &str = "2026-06-15T10:00:00Z";
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// A good play with some members replaced; `null` removes one.
fn with(changes: Value) -> Value {
    let mut event = play("bad", NOON, "u1");
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(event.as_object_mut().unwrap().remove(name)),
            value => event[name] = value.clone(),
        }
    }
    event
}

fn order(amount: Value, currency: Value) -> Value {
    with(json!({"type": "order.paid", "playedMs": null, "amount": amount, "currency": currency}))
}

/// `{"a": {"a": … 1}}`, `depth` objects in all.
fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }))
}

/// Sends one event between two good ones, and demands that only it is refused.
async fn check_rejected(app: &App, number: usize, event: &str, code: &str, field: Option<&str>) {
    let good = |side: &str| play(&format!("good-{number}-{side}"), NOON, "u1");
    let (status, answer) = app.post_events(format!("[{},{event},{}]", good("before"), good("after"))).await;
    assert_eq!(status, 200, "{event}\n{answer:#}");
    let statuses: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["ACCEPTED", "REJECTED", "ACCEPTED"], "{event}\n{answer:#}");
    let result = &answer["results"][1];
    assert_eq!((result["code"].as_str(), result["field"].as_str()), (Some(code), field), "{event}\n{result:#}");
    assert!(!result["message"].as_str().unwrap().is_empty(), "{event}");
}

on_every_database!(every_broken_event_is_refused_with_its_code_and_leaves_its_neighbours_alone, |database| {
    let app = App::start_with(&database, Options::at(T0).set("ACCEPT_HORIZON_DAYS", 30)).await;
    let long = "ä".repeat(201);
    let values = [
        (json!([1]), "MALFORMED", None),
        (json!("text"), "MALFORMED", None),
        (with(json!({"playedMs": "long"})), "INVALID_VALUE", Some("playedMs")),
        (with(json!({"playedMs": 1.5})), "INVALID_VALUE", Some("playedMs")),
        (with(json!({"playedMs": -1})), "INVALID_VALUE", Some("playedMs")),
        (with(json!({"durationMs": 30 * DAY_MS + 1})), "INVALID_VALUE", Some("durationMs")),
        (with(json!({"endedByUser": "yes"})), "INVALID_VALUE", Some("endedByUser")),
        (with(json!({"id": 17})), "INVALID_VALUE", Some("id")),
        (with(json!({"id": ""})), "INVALID_VALUE", Some("id")),
        (with(json!({"id": long})), "TOO_LONG", Some("id")),
        (with(json!({"userId": long})), "TOO_LONG", Some("userId")),
        (with(json!({"songTitle": "x".repeat(1_001)})), "TOO_LONG", Some("songTitle")),
        (with(json!({"songTitle": " \t "})), "INVALID_VALUE", Some("songTitle")),
        (with(json!({"playdMs": 1})), "UNKNOWN_FIELD", Some("playdMs")),
        (with(json!({"entity": {"kind": "BAND", "id": "x"}})), "INVALID_VALUE", Some("entity")),
        (with(json!({"entity": {"kind": "SONG", "id": "song-2"}})), "INVALID_VALUE", Some("entity")),
        (with(json!({"country": "XX"})), "INVALID_VALUE", Some("country")),
        (with(json!({"id": "a\u{0}b"})), "INVALID_CHARACTER", Some("id")),
        (with(json!({"properties": {"a": [{"b": "x\u{0}"}]}})), "INVALID_CHARACTER", Some("properties")),
        (with(json!({"properties": {"a": {"b\u{0}": 1}}})), "INVALID_CHARACTER", Some("properties")),
        (with(json!({"properties": [1]})), "INVALID_VALUE", Some("properties")),
        (with(json!({"properties": nested(17)})), "TOO_DEEP", Some("properties")),
        (with(json!({"occurredAt": "soon"})), "INVALID_VALUE", Some("occurredAt")),
        (with(json!({"occurredAt": "2026-06-15T10:00:00"})), "INVALID_VALUE", Some("occurredAt")),
        (with(json!({"occurredAt": "2027-02-29T00:00:00Z"})), "INVALID_VALUE", Some("occurredAt")),
        (with(json!({"occurredAt": 12_345})), "INVALID_VALUE", Some("occurredAt")),
        (with(json!({"occurredAt": true})), "INVALID_VALUE", Some("occurredAt")),
        (with(json!({"occurredAt": T0 + 5 * MINUTE_MS + 1_000})), "IN_FUTURE", Some("occurredAt")),
        (with(json!({"occurredAt": T0 - 30 * DAY_MS - 1})), "TOO_OLD", Some("occurredAt")),
        (with(json!({"count": 0})), "INVALID_VALUE", Some("count")),
        (with(json!({"count": 1_000_000_000_001_i64})), "INVALID_VALUE", Some("count")),
        (order(json!("9.99"), Value::Null), "MISSING_FIELD", Some("currency")),
        (order(Value::Null, json!("EUR")), "MISSING_FIELD", Some("amount")),
        (order(Value::Null, Value::Null), "MISSING_FIELD", Some("amount")),
        (order(json!("9.999"), json!("EUR")), "INVALID_VALUE", Some("amount")),
        (order(json!("1.5"), json!("JPY")), "INVALID_VALUE", Some("amount")),
        (order(json!("-1"), json!("EUR")), "INVALID_VALUE", Some("amount")),
        (order(json!("much"), json!("EUR")), "INVALID_VALUE", Some("amount")),
        (order(json!([1]), json!("EUR")), "INVALID_VALUE", Some("amount")),
        (order(json!("1"), json!("XXZ")), "INVALID_VALUE", Some("currency")),
        (with(json!({"id": null})), "MISSING_FIELD", Some("id")),
        (with(json!({"type": null})), "MISSING_FIELD", Some("type")),
        (with(json!({"songId": null})), "MISSING_FIELD", Some("songId")),
        (with(json!({"songId": null, "artistId": null, "songTitle": "Intro"})), "MISSING_FIELD", Some("artistName")),
        (with(json!({"type": "track.liked", "songId": null})), "MISSING_FIELD", Some("songId")),
        (with(json!({"type": "album.saved"})), "MISSING_FIELD", Some("albumId")),
        (with(json!({"type": "playlist.liked"})), "MISSING_FIELD", Some("playlistId")),
        (with(json!({"type": "playlist.track_added"})), "MISSING_FIELD", Some("playlistId")),
        (
            with(json!({"type": "playlist.track_added", "playlistId": "p", "songId": null})),
            "MISSING_FIELD",
            Some("songId"),
        ),
        (with(json!({"type": "artist.followed", "artistId": null})), "MISSING_FIELD", Some("artistId")),
        (with(json!({"type": "order.refunded"})), "MISSING_FIELD", Some("amount")),
        (with(json!({"type": "user.logged_in", "userId": null})), "MISSING_FIELD", Some("userId")),
    ];
    let mut number = 0;
    for (event, code, field) in &values {
        check_rejected(&app, number, &event.to_string(), code, *field).await;
        number += 1;
    }
    // What serde_json's own values cannot say: escapes that are no characters, a field given twice, depth past any parser.
    let texts = [
        (r#"{"id":"1","type":"a.b","userId":"\ud800"}"#.to_owned(), "MALFORMED", None),
        (r#"{"id":"1","type":"a.b","properties":{"a":"\udfff"}}"#.to_owned(), "INVALID_VALUE", Some("properties")),
        (r#"{"id":"1","id":"2","type":"a.b"}"#.to_owned(), "MALFORMED", None),
        ("17".to_owned(), "MALFORMED", None),
        ("null".to_owned(), "MALFORMED", None),
        (
            format!(r#"{{"id":"1","type":"a.b","properties":{}1{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200)),
            "TOO_DEEP",
            Some("properties"),
        ),
    ];
    for (event, code, field) in &texts {
        check_rejected(&app, number, event, code, *field).await;
        number += 1;
    }
    let data = app.ask(r#"{ song(id: "song-1") { metrics { plays } } }"#).await;
    assert_eq!(data["song"]["metrics"]["plays"], 2 * number);
    assert_eq!(app.verify().await.events, 2 * number as u64);
    app.stop().await;
});

on_every_database!(values_just_inside_each_boundary_are_taken, |database| {
    let app = App::start_with(&database, Options::at(T0).set("ACCEPT_HORIZON_DAYS", 30)).await;
    let events = [
        // Characters are counted, not bytes.
        with(json!({"id": "ä".repeat(200)})),
        with(json!({"id": "1", "songTitle": "x".repeat(1_000)})),
        with(json!({"id": "2", "occurredAt": T0 + 5 * MINUTE_MS - 1_000})),
        with(json!({"id": "3", "occurredAt": T0 - 30 * DAY_MS})),
        with(json!({"id": "4", "properties": nested(16)})),
        with(json!({"id": "5", "properties": {"emoji": "\u{1f3b5}", "newline": "\n"}})),
        with(json!({"id": "6", "playedMs": 0, "durationMs": 30 * DAY_MS})),
        with(json!({"id": "7", "playedMs": null, "count": 1_000_000_000_000_i64})),
        with(json!({"id": "8", "entity": {"kind": "song", "id": "song-1"}})),
        with(json!({"id": "9", "songId": null, "entity": {"kind": "SONG", "id": "song-1"}})),
        with(json!({"id": "10", "country": "de"})),
        with(json!({"id": "11", "amount": null, "properties": null})),
    ];
    app.record(&events).await;
    app.verify().await;
    app.stop().await;
});

on_every_database!(times_are_taken_in_every_form_and_land_in_their_bucket, |database| {
    // 2028-03-01T12:00:00Z: the day after a leap day.
    let app = App::start_with(&database, Options::at(1_835_524_800_000)).await;
    for (number, sent) in [
        json!("2028-02-29T10:00:00Z"),
        json!("2028-02-29T15:30:00.000+05:30"),
        json!(1_835_431_200),
        json!(1_835_431_200_000_i64),
        json!("1835431200"),
    ]
    .into_iter()
    .enumerate()
    {
        app.record(&[with(json!({"id": number.to_string(), "occurredAt": sent}))]).await;
    }
    let data = app
        .ask(
            r#"{ song(id: "song-1") {
                exact: metrics(during: {between: {from: "2028-02-29T10:00:00Z", to: "2028-02-29T10:15:00Z"}}) { plays }
                seconds: metrics(during: {between: {from: 1835431200, to: 1835432100}}) { plays }
                leapDay: metrics(during: {period: YESTERDAY}) { plays }
                today: metrics(during: {period: TODAY}) { plays }
            } }"#,
        )
        .await;
    let plays = |name: &str| data["song"][name]["plays"].as_i64().unwrap();
    assert_eq!([plays("exact"), plays("seconds"), plays("leapDay"), plays("today")], [5, 5, 5, 0]);
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_json_is_a_problem_with_a_code() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let huge = format!("[\"{}\"]", "x".repeat(10 << 20));
    for (body, status, code) in [
        (&b"{\"id\":"[..], 400, "BAD_USER_INPUT"),
        (b"[{\"id\":\"1\"},", 400, "BAD_USER_INPUT"),
        (b"[{\"id\":\"1\"} {\"id\":\"2\"}]", 400, "BAD_USER_INPUT"),
        (b"", 400, "BAD_USER_INPUT"),
        (b"  \n ", 400, "BAD_USER_INPUT"),
        (b"[]", 400, "BAD_USER_INPUT"),
        (b"\xff\xfe", 400, "BAD_USER_INPUT"),
        // Twice what is allowed, many times, because a server that hangs up early is seen only now and then.
        (huge.as_bytes(), 413, "PAYLOAD_TOO_LARGE"),
        (huge.as_bytes(), 413, "PAYLOAD_TOO_LARGE"),
        (huge.as_bytes(), 413, "PAYLOAD_TOO_LARGE"),
        (huge.as_bytes(), 413, "PAYLOAD_TOO_LARGE"),
    ] {
        let (answered, problem) = app.post_events(body.to_vec()).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]);
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{shown}: {problem:#}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{shown}: {problem:#}");
    }
    assert_eq!(app.verify().await.events, 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sizes_of_events_and_requests_end_where_they_say() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let sized = |size_bytes: usize| {
        let empty = with(json!({"id": size_bytes.to_string(), "properties": {"a": ""}})).to_string().len();
        let event = with(json!({"id": size_bytes.to_string(), "properties": {"a": "x".repeat(size_bytes - empty)}}));
        assert_eq!(event.to_string().len(), size_bytes);
        event
    };
    for (size_bytes, status, code) in [(32 << 10, "ACCEPTED", None), ((32 << 10) + 1, "REJECTED", Some("TOO_LARGE"))] {
        let (_, answer) = app.post_events(sized(size_bytes).to_string()).await;
        let result = &answer["results"][0];
        assert_eq!((result["status"].as_str(), result["code"].as_str()), (Some(status), code), "{result:#}");
    }
    let events = |count: usize| -> String {
        let events: Vec<Value> = (0..count).map(|number| play(&format!("many-{number}"), NOON, "u1")).collect();
        json!(events).to_string()
    };
    let (status, problem) = app.post_events(events(5_001)).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("PAYLOAD_TOO_LARGE")), "{problem:#}");
    let (status, answer) = app.post_events(events(5_000)).await;
    assert_eq!((status, answer["accepted"].as_u64()), (200, Some(5_000)));
    assert_eq!(app.verify().await.events, 5_001);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_horizon_of_nothing_takes_events_of_any_age() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[with(json!({"occurredAt": "1900-01-01T00:00:00Z"}))]).await;
    let data =
        app.ask(r#"{ song(id: "song-1") { metrics(during: {period: ALL_TIME}) { plays span { from } } } }"#).await;
    assert_eq!(data["song"]["metrics"], json!({"plays": 1, "span": {"from": "1900-01-01T00:00:00.000Z"}}));
    // All that can be asked for, with one play in it.
    for during in ["{period: ALL_TIME}", r#"{between: {from: "1900-01-01T00:00:00Z", to: "2099-12-31T23:59:59Z"}}"#] {
        for by in ["PLAYS", "LISTENERS"] {
            let ranking = format!("ranking(of: SONG, by: {by}, during: {during}) {{ totalCount nodes {{ id }} }}");
            let song =
                format!(r#"song(id: "song-1") {{ metrics(during: {during}) {{ plays listeners {{ value }} }} }}"#);
            let data = app.ask(&format!("{{ {ranking} {song} }}")).await;
            assert_eq!(data["ranking"], json!({"totalCount": 1, "nodes": [{"id": "song-1"}]}), "{by} {during}");
            assert_eq!(data["song"]["metrics"], json!({"plays": 1, "listeners": {"value": 1}}), "{during}");
        }
    }
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_make_no_sense_are_bad_input() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play("1", NOON, "u1")]).await;
    for (during, code) in [
        (r#"{between: {from: "2026-01-02T00:00:00Z", to: "2026-01-02T00:00:00Z"}}"#, "BAD_USER_INPUT"),
        (r#"{between: {from: "2026-01-02T00:00:00Z", to: "2026-01-01T00:00:00Z"}}"#, "BAD_USER_INPUT"),
        (r#"{between: {from: "soon", to: "2026-01-01T00:00:00Z"}}"#, "BAD_USER_INPUT"),
        (r#"{between: {from: "1900-01-01T00:00:00Z", to: "9999-01-01T00:00:00Z"}}"#, "BAD_USER_INPUT"),
        (r#"{last: "P1D", period: TODAY}"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{}"#, "GRAPHQL_VALIDATION_FAILED"),
        (r#"{last: "P1M"}"#, "BAD_USER_INPUT"),
        (r#"{last: "PT0S"}"#, "BAD_USER_INPUT"),
        (r#"{last: 7}"#, "BAD_USER_INPUT"),
        (r#"{period: FORTNIGHT}"#, "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let query = format!(r#"{{ song(id: "song-1") {{ metrics(during: {during}) {{ plays }} }} }}"#);
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{during}\n{answer:#}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphql_refuses_broken_events_one_by_one_too() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let mutation = "mutation ($input: [EventInput!]!) { recordEvents(input: $input) { \
                    accepted duplicates conflicts rejected results { index id status code field message } } }";
    let event = |id: &str, changes: Value| {
        let mut event = with(changes);
        event["id"] = json!(id);
        event
    };
    let input = json!([
        event("1", json!({})),
        event("2", json!({"occurredAt": "soon"})),
        event("3", json!({"userId": "a\u{0}b"})),
        event("4", json!({"songId": null})),
        event("5", json!({"properties": nested(17)})),
        event("6", json!({"properties": {"a": "x".repeat(33 << 10)}})),
        event("7", json!({"country": "XX"})),
        event("8", json!({"type": "order.paid", "amount": "1.999", "currency": "EUR"})),
        event("1", json!({})),
        event("1", json!({"userId": "u2"})),
        event("9", json!({})),
    ]);
    let answer = app.graphql(Some(&app.admin()), mutation, json!({ "input": input })).await;
    assert!(answer.get("errors").is_none(), "{answer:#}");
    let payload = &answer["data"]["recordEvents"];
    let results: Vec<(&str, Option<&str>, Option<&str>)> = payload["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| (result["status"].as_str().unwrap(), result["code"].as_str(), result["field"].as_str()))
        .collect();
    assert_eq!(
        results,
        [
            ("ACCEPTED", None, None),
            ("REJECTED", Some("INVALID_VALUE"), Some("occurredAt")),
            ("REJECTED", Some("INVALID_CHARACTER"), Some("userId")),
            ("REJECTED", Some("MISSING_FIELD"), Some("songId")),
            ("REJECTED", Some("TOO_DEEP"), Some("properties")),
            ("REJECTED", Some("TOO_LARGE"), None),
            ("REJECTED", Some("INVALID_VALUE"), Some("country")),
            ("REJECTED", Some("INVALID_VALUE"), Some("amount")),
            ("DUPLICATE", None, None),
            ("CONFLICT", Some("CONFLICT"), Some("id")),
            ("ACCEPTED", None, None),
        ]
    );
    assert_eq!(
        [&payload["accepted"], &payload["duplicates"], &payload["conflicts"], &payload["rejected"]],
        [&json!(2), &json!(1), &json!(1), &json!(7)]
    );
    assert_eq!(payload["results"][1]["id"], "2");
    // What the schema itself knows to be wrong fails as a whole, before anything is stored.
    for changes in [json!({"playedMs": "long"}), json!({"entity": {"kind": "BAND", "id": "x"}}), json!({"playdMs": 1})]
    {
        let answer = app.graphql(Some(&app.admin()), mutation, json!({"input": [event("10", changes.clone())]})).await;
        let code = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or_default();
        assert!(["BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"].contains(&code), "{changes}: {answer:#}");
    }
    assert_eq!(app.verify().await.events, 2);
    app.stop().await;
}
