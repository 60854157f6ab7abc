//! What the numbers mean, asked as a client asks: by GraphQL.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, at, play},
};

const ALL_COUNTERS: [&str; 14] = [
    "plays",
    "streams",
    "skips",
    "listeningTimeMs",
    "likes",
    "unlikes",
    "shares",
    "saves",
    "unsaves",
    "playlistAdds",
    "follows",
    "unfollows",
    "purchases",
    "refunds",
];
const KINDS: [&str; 4] = ["song", "album", "playlist", "artist"];

/// The counters of an entity that are not 0, over all time.
async fn counted(app: &App, kind: &str) -> Value {
    let fields = ALL_COUNTERS.join(" ");
    let query = format!(r#"{{ {kind}(id: "{kind}-x") {{ metrics(during: {{period: ALL_TIME}}) {{ {fields} }} }} }}"#);
    let mut metrics = app.ask(&query).await[kind]["metrics"].take();
    if let Some(metrics) = metrics.as_object_mut() {
        metrics.retain(|_, count| *count != 0);
    }
    metrics
}

on_every_database!(every_well_known_type_moves_its_counters_of_every_entity_it_names, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    // The event, and what it adds to song, album, playlist and artist.
    type Added<'a> = &'a [(&'a str, i64)];
    let rows: Vec<(Value, [Added; 4])> = {
        let stream: &[(&str, i64)] = &[("plays", 1), ("streams", 1), ("listeningTimeMs", 60_000)];
        let skip: &[(&str, i64)] = &[("plays", 1), ("skips", 1), ("listeningTimeMs", 29_999)];
        let lost: &[(&str, i64)] = &[("plays", 1), ("listeningTimeMs", 29_999)];
        let scrobble: &[(&str, i64)] = &[("plays", 1), ("streams", 1)];
        let capped: &[(&str, i64)] = &[("plays", 1), ("streams", 1), ("listeningTimeMs", 180_000)];
        let back_filled: &[(&str, i64)] = &[("plays", 7), ("streams", 7), ("listeningTimeMs", 420_000)];
        vec![
            (json!({"type": "track.played", "playedMs": 60_000}), [stream; 4]),
            (json!({"type": "track.played", "playedMs": 29_999}), [skip; 4]),
            (json!({"type": "track.played", "playedMs": 29_999, "endedByUser": false}), [lost; 4]),
            (json!({"type": "track.played"}), [scrobble; 4]),
            (json!({"type": "track.played", "playedMs": 999_000, "durationMs": 180_000}), [capped; 4]),
            (json!({"type": "track.played", "playedMs": 60_000, "count": 7}), [back_filled; 4]),
            (json!({"type": "track.liked"}), [&[("likes", 1)], &[], &[], &[("likes", 1)]]),
            (json!({"type": "track.liked", "count": 40}), [&[("likes", 40)], &[], &[], &[("likes", 40)]]),
            (json!({"type": "track.unliked"}), [&[("unlikes", 1)], &[], &[], &[("unlikes", 1)]]),
            (json!({"type": "track.shared"}), [&[("shares", 1)], &[], &[], &[("shares", 1)]]),
            (json!({"type": "track.saved"}), [&[("saves", 1)], &[], &[], &[("saves", 1)]]),
            (json!({"type": "track.unsaved"}), [&[("unsaves", 1)], &[], &[], &[("unsaves", 1)]]),
            (json!({"type": "album.liked"}), [&[], &[("likes", 1)], &[], &[("likes", 1)]]),
            (json!({"type": "album.unliked"}), [&[], &[("unlikes", 1)], &[], &[("unlikes", 1)]]),
            (json!({"type": "album.shared"}), [&[], &[("shares", 1)], &[], &[("shares", 1)]]),
            (json!({"type": "album.saved"}), [&[], &[("saves", 1)], &[], &[("saves", 1)]]),
            (json!({"type": "album.unsaved"}), [&[], &[("unsaves", 1)], &[], &[("unsaves", 1)]]),
            (json!({"type": "playlist.liked"}), [&[], &[], &[("likes", 1)], &[]]),
            (json!({"type": "playlist.unliked"}), [&[], &[], &[("unlikes", 1)], &[]]),
            (json!({"type": "playlist.shared"}), [&[], &[], &[("shares", 1)], &[]]),
            (json!({"type": "playlist.saved"}), [&[], &[], &[("saves", 1)], &[]]),
            (json!({"type": "playlist.unsaved"}), [&[], &[], &[("unsaves", 1)], &[]]),
            (
                json!({"type": "playlist.track_added"}),
                [&[("playlistAdds", 1)], &[], &[("playlistAdds", 1)], &[("playlistAdds", 1)]],
            ),
            (json!({"type": "artist.followed"}), [&[], &[], &[], &[("follows", 1)]]),
            (json!({"type": "artist.unfollowed"}), [&[], &[], &[], &[("unfollows", 1)]]),
            (
                json!({"type": "order.paid", "amount": "1", "currency": "EUR"}),
                [&[("purchases", 1)], &[], &[], &[("purchases", 1)]],
            ),
            (
                json!({"type": "order.refunded", "amount": "1", "currency": "EUR"}),
                [&[("refunds", 1)], &[], &[], &[("refunds", 1)]],
            ),
            (json!({"type": "sale.completed"}), [&[]; 4]),
            (json!({"type": "artist.hummed"}), [&[]; 4]),
            (json!({"type": "nodot"}), [&[]; 4]),
        ]
    };
    let mut expected: [serde_json::Map<String, Value>; 4] = Default::default();
    for (number, (mut event, added)) in rows.into_iter().enumerate() {
        event["id"] = json!(number.to_string());
        event["occurredAt"] = json!("2026-06-15T10:00:00Z");
        event["userId"] = json!("u1");
        for kind in KINDS {
            event[format!("{kind}Id")] = json!(format!("{kind}-x"));
        }
        app.record(std::slice::from_ref(&event)).await;
        for ((kind, sums), added) in KINDS.iter().zip(&mut expected).zip(added) {
            for (counter, count) in added {
                let sum = sums.get(*counter).and_then(Value::as_i64).unwrap_or(0) + count;
                sums.insert((*counter).to_owned(), json!(sum));
            }
            assert_eq!(counted(&app, kind).await, json!(sums), "{kind} after {event}");
        }
    }
    app.verify().await;
    app.stop().await;
});

on_every_database!(money_is_kept_by_currency_and_rates_are_null_without_a_divisor, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let order = |id: &str, kind: &str, amount: &str, currency: &str| {
        json!({"id": id, "type": kind, "occurredAt": "2026-06-15T10:00:00Z", "userId": "u1", "artistId": "artist-1",
               "albumId": "album-1", "amount": amount, "currency": currency})
    };
    app.record(&[
        order("1", "order.paid", "9.99", "EUR"),
        order("2", "order.paid", "0.01", "EUR"),
        order("3", "order.refunded", "9.99", "EUR"),
        order("4", "order.paid", "5", "USD"),
        order("5", "order.refunded", "7.50", "USD"),
        order("6", "order.paid", "1200", "JPY"),
        // Nothing was paid: an order, and no money.
        order("7", "order.paid", "0", "GBP"),
    ])
    .await;
    let fields =
        "purchases refunds revenue { currency amount gross refunded } skipRate completionRate streamsPerListener";
    for entity in [r#"artist(id: "artist-1")"#, r#"album(id: "album-1")"#] {
        let data =
            app.ask(&format!("{{ it: {entity} {{ metrics(during: {{period: TODAY}}) {{ {fields} }} }} }}")).await;
        assert_eq!(
            data["it"]["metrics"],
            json!({
                "purchases": 5,
                "refunds": 2,
                "revenue": [
                    {"currency": "EUR", "amount": "0.01", "gross": "10.00", "refunded": "9.99"},
                    {"currency": "JPY", "amount": "1200", "gross": "1200", "refunded": "0"},
                    {"currency": "USD", "amount": "-2.50", "gross": "5.00", "refunded": "7.50"},
                ],
                "skipRate": null, "completionRate": null, "streamsPerListener": null,
            })
        );
    }
    let plays = [(60_000, Some(60_000)), (20_000, Some(200_000)), (90_000, None), (1_000, None)];
    for (number, (played_ms, duration_ms)) in plays.into_iter().enumerate() {
        let mut event = play(&format!("play-{number}"), "2026-06-15T10:00:00Z", "u1");
        event["playedMs"] = json!(played_ms);
        event["durationMs"] = json!(duration_ms);
        app.record(&[event]).await;
    }
    let data = app
        .ask(&format!(r#"{{ artist(id: "artist-1") {{ metrics(during: {{period: TODAY}}) {{ {fields} }} }} }}"#))
        .await;
    let metrics = &data["artist"]["metrics"];
    assert_eq!(
        [&metrics["skipRate"], &metrics["completionRate"], &metrics["streamsPerListener"]],
        [&json!(0.5), &json!(0.5), &json!(2.0)]
    );
    app.verify().await;
    app.stop().await;
});

on_every_database!(a_name_alone_gives_a_stable_id_and_the_platforms_own_id_wins, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let named = |id: &str, artist: &str, title: &str| {
        json!({"id": id, "type": "track.played", "occurredAt": "2026-06-15T10:00:00Z", "userId": id,
               "artistName": artist, "songTitle": title, "albumTitle": "Album"})
    };
    app.record(&[
        named("1", "Beyonc\u{e9}", "Halo"),
        named("2", "  Beyonce\u{301} ", "Halo"),
        named("3", "Beyonc\u{e9}", " Halo\u{a0}"),
        // Case is kept, so this is another artist.
        named("4", "BEYONC\u{c9}", "Halo"),
    ])
    .await;
    let nodes = "title metrics(during: {period: TODAY}) { plays listeners { value } }";
    let data = app
        .ask(&format!(
            "{{ artists: ranking(of: ARTIST, by: PLAYS) {{ nodes {{ {nodes} }} }}
                songs: ranking(of: SONG, by: PLAYS) {{ nodes {{ {nodes} ... on Song {{ artist {{ title }} album {{ title }} }} }} }}
                albums: ranking(of: ALBUM, by: PLAYS) {{ totalCount }} }}"
        ))
        .await;
    let metrics = |plays: i64| json!({"plays": plays, "listeners": {"value": plays}});
    assert_eq!(
        data["artists"]["nodes"],
        json!([{"title": "Beyonc\u{e9}", "metrics": metrics(3)}, {"title": "BEYONC\u{c9}", "metrics": metrics(1)}])
    );
    let song = |plays: i64, artist: &str| json!({"title": "Halo", "metrics": metrics(plays), "artist": {"title": artist}, "album": {"title": "Album"}});
    assert_eq!(data["songs"]["nodes"], json!([song(3, "Beyonc\u{e9}"), song(1, "BEYONC\u{c9}")]));
    assert_eq!(data["albums"]["totalCount"], 2);
    // With an id of its own, the title is only what the catalogue shows.
    let mut own = named("5", "Beyonc\u{e9}", "Halo  (Live)");
    own["songId"] = json!("song-9");
    own["artistId"] = json!("artist-9");
    app.record(&[own]).await;
    let data = app.ask(r#"{ song(id: "song-9") { id title artist { id title } } }"#).await;
    assert_eq!(
        data["song"],
        json!({"id": "song-9", "title": "Halo (Live)", "artist": {"id": "artist-9", "title": "Beyonc\u{e9}"}})
    );
    let unknown = app.ask(r#"{ song(id: "nobody") { id } songs(ids: ["song-9", "nobody", "song-9"]) { id } }"#).await;
    assert_eq!(unknown, json!({"song": null, "songs": [{"id": "song-9"}, null, {"id": "song-9"}]}));
    app.stop().await;
});

on_every_database!(windows_snap_outward_and_say_what_was_counted, |database| {
    let app = App::start_with(&database, Options::at(at("2026-06-15T12:07:00Z"))).await;
    app.record(&[
        play("1", "2026-06-15T09:44:59.999Z", "u1"),
        play("2", "2026-06-15T09:45:00Z", "u2"),
        play("3", "2026-06-15T10:14:59Z", "u3"),
        play("4", "2026-06-15T10:15:00Z", "u4"),
        // A late play: it happened yesterday.
        play("5", "2026-06-14T23:59:59.999Z", "u5"),
    ])
    .await;
    let metrics = "plays span { from to } freshness { asOf isProvisional } previous { plays span { from to } }";
    for (during, zone, plays, from, to, is_provisional, before) in [
        (
            r#"{between: {from: "2026-06-15T09:50:00Z", to: "2026-06-15T10:01:00Z"}}"#,
            "UTC",
            2,
            "2026-06-15T09:45:00.000Z",
            "2026-06-15T10:15:00.000Z",
            false,
            1,
        ),
        (
            r#"{between: {from: "2026-06-15T10:15:00Z", to: "2026-06-15T10:15:00.001Z"}}"#,
            "UTC",
            1,
            "2026-06-15T10:15:00.000Z",
            "2026-06-15T10:30:00.000Z",
            false,
            1,
        ),
        (r#"{last: "PT2H"}"#, "UTC", 2, "2026-06-15T10:00:00.000Z", "2026-06-15T12:15:00.000Z", true, 2),
        (r#"{period: TODAY}"#, "UTC", 4, "2026-06-15T00:00:00.000Z", "2026-06-16T00:00:00.000Z", true, 1),
        (r#"{period: YESTERDAY}"#, "UTC", 1, "2026-06-14T00:00:00.000Z", "2026-06-15T00:00:00.000Z", false, 0),
        // In Berlin the late play is today's.
        (r#"{period: TODAY}"#, "Europe/Berlin", 5, "2026-06-14T22:00:00.000Z", "2026-06-15T22:00:00.000Z", true, 0),
        (r#"{period: TODAY}"#, "Asia/Kolkata", 5, "2026-06-14T18:30:00.000Z", "2026-06-15T18:30:00.000Z", true, 0),
        (r#"{period: TODAY}"#, "Asia/Kathmandu", 5, "2026-06-14T18:15:00.000Z", "2026-06-15T18:15:00.000Z", true, 0),
        (r#"{period: THIS_WEEK}"#, "UTC", 4, "2026-06-15T00:00:00.000Z", "2026-06-22T00:00:00.000Z", true, 1),
        (r#"{period: LAST_WEEK}"#, "UTC", 1, "2026-06-08T00:00:00.000Z", "2026-06-15T00:00:00.000Z", false, 0),
        (r#"{period: THIS_MONTH}"#, "UTC", 5, "2026-06-01T00:00:00.000Z", "2026-07-01T00:00:00.000Z", true, 0),
        (r#"{period: LAST_MONTH}"#, "UTC", 0, "2026-05-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z", false, 0),
        (r#"{period: THIS_YEAR}"#, "UTC", 5, "2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z", true, 0),
        (r#"{period: LAST_YEAR}"#, "UTC", 0, "2025-01-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z", false, 0),
        (r#"{period: ALL_TIME}"#, "UTC", 5, "2026-06-14T23:45:00.000Z", "2026-06-15T12:15:00.000Z", true, 0),
    ] {
        let query =
            format!(r#"{{ song(id: "song-1") {{ metrics(during: {during}, timeZone: "{zone}") {{ {metrics} }} }} }}"#);
        let answer = app.ask(&query).await["song"]["metrics"].take();
        let shown = format!("{during} {zone}\n{answer:#}");
        assert_eq!((&answer["plays"], &answer["span"]), (&json!(plays), &json!({"from": from, "to": to})), "{shown}");
        let freshness = json!({"asOf": "2026-06-15T10:15:00.000Z", "isProvisional": is_provisional});
        assert_eq!(answer["freshness"], freshness, "{shown}");
        assert_eq!(
            (&answer["previous"]["plays"], &answer["previous"]["span"]["to"]),
            (&json!(before), &json!(from)),
            "{shown}"
        );
        let length = at(to) - at(from);
        assert_eq!(at(answer["previous"]["span"]["from"].as_str().unwrap()), at(from) - length, "{shown}");
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_anything_is_counted_the_freshness_has_no_time() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let data = app.ask("{ ranking(of: SONG) { totalCount edges { position } freshness { asOf } } }").await;
    assert_eq!(data["ranking"], json!({"totalCount": 0, "edges": [], "freshness": {"asOf": null}}));
    app.stop().await;
}

on_every_database!(late_play_lands_in_its_own_day, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play("1", "2026-06-15T10:00:00Z", "u1")]).await;
    app.merge_audience().await;
    app.record(&[play("2", "2026-06-05T23:59:59.999Z", "u2"), play("3", "2026-06-06T00:00:00Z", "u3")]).await;
    let columns = |data: &Value| data["song"]["timeline"]["columns"]["series"].clone();
    let query = r#"{ song(id: "song-1") { timeline(during: {between: {from: "2026-06-04T00:00:00Z", to: "2026-06-08T00:00:00Z"}}) {
        columns(of: [PLAYS, LISTENERS]) { series { values total } } } } }"#;
    let expected =
        json!([{"values": [0.0, 1.0, 1.0, 0.0], "total": 2.0}, {"values": [0.0, 1.0, 1.0, 0.0], "total": 2.0}]);
    assert_eq!(columns(&app.ask(query).await), expected);
    app.merge_audience().await;
    assert_eq!(columns(&app.ask(query).await), expected);
    app.verify().await;
    app.stop().await;
});

on_every_database!(a_timeline_is_zero_filled_and_adds_up_across_clock_changes, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    // One play an hour around three clock changes.
    let spans = ["2025-10-25T00:00:00Z", "2026-03-28T00:00:00Z", "2026-04-03T00:00:00Z"];
    let mut events = Vec::new();
    for start in spans {
        for hour in 0..96 {
            let occurred_at = chrono::DateTime::from_timestamp_millis(at(start) + hour * 3_600_000 + 60_000).unwrap();
            events.push(play(&format!("{start}-{hour}"), &occurred_at.to_rfc3339(), &format!("u{}", hour % 24)));
        }
    }
    app.record(&events).await;
    app.merge_audience().await;
    for (from, to, zone, every, expected) in [
        ("2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z", "Europe/Berlin", "DAY", &[23, 23, 24][..]),
        ("2025-10-24T22:00:00Z", "2025-10-27T23:00:00Z", "Europe/Berlin", "DAY", &[22, 25, 24]),
        ("2026-04-03T13:00:00Z", "2026-04-06T13:30:00Z", "Australia/Lord_Howe", "DAY", &[24, 25, 24]),
        ("2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", "Asia/Kolkata", "DAY", &[19, 24, 24, 5]),
        ("2026-03-28T00:30:00Z", "2026-03-29T00:00:00Z", "Asia/Kathmandu", "DAY", &[18, 5]),
        ("2026-03-26T00:00:00Z", "2026-03-29T00:00:00Z", "UTC", "DAY", &[0, 0, 24]),
        ("2026-03-16T00:00:00Z", "2026-04-06T00:00:00Z", "UTC", "WEEK", &[0, 48, 48 + 72]),
        ("2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z", "UTC", "MONTH", &[96, 72 + 24]),
        ("2025-06-01T00:00:00Z", "2026-06-01T00:00:00Z", "UTC", "YEAR", &[96, 192]),
    ] {
        let query = format!(
            r#"{{ song(id: "song-1") {{
                metrics(during: {{between: {{from: "{from}", to: "{to}"}}}}) {{ plays listeners {{ lower upper }} }}
                timeline(during: {{between: {{from: "{from}", to: "{to}"}}}}, every: {every}, timeZone: "{zone}") {{
                    every timeZone
                    points {{ start end isComplete metrics {{ plays }} }}
                    columns(of: [PLAYS, STREAMS, LIKES]) {{ starts series {{ metric values total }} }} }} }} }}"#
        );
        let data = app.ask(&query).await;
        let shown = format!("{from} {zone} {every}\n{data:#}");
        let timeline = &data["song"]["timeline"];
        let points = timeline["points"].as_array().unwrap();
        let plays: Vec<i64> = points.iter().map(|point| point["metrics"]["plays"].as_i64().unwrap()).collect();
        assert_eq!(plays, expected, "{shown}");
        let sum: i64 = plays.iter().sum();
        assert_eq!(data["song"]["metrics"]["plays"], sum, "{shown}");
        // Without a gap, from one end of the window to the other.
        assert_eq!(at(points[0]["start"].as_str().unwrap()), at(from), "{shown}");
        assert_eq!(at(points[points.len() - 1]["end"].as_str().unwrap()), at(to), "{shown}");
        assert!(points.windows(2).all(|pair| pair[0]["end"] == pair[1]["start"]), "{shown}");
        let columns = &timeline["columns"];
        let starts: Vec<&Value> = points.iter().map(|point| &point["start"]).collect();
        assert_eq!(columns["starts"], json!(starts), "{shown}");
        let values: Vec<f64> = plays.iter().map(|plays| *plays as f64).collect();
        let column = |metric: &str, values: &[f64]| json!({"metric": metric, "values": values, "total": values.iter().sum::<f64>()});
        let nothing = vec![0.0; plays.len()];
        assert_eq!(
            columns["series"],
            json!([column("PLAYS", &values), column("STREAMS", &values), column("LIKES", &nothing)]),
            "{shown}"
        );
        assert_eq!((&timeline["every"], &timeline["timeZone"]), (&json!(every), &json!(zone)), "{shown}");
    }
    // The hours of days that are 23, 25 and 24.5 hours long.
    for (from, to, zone, hours) in [
        ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "Europe/Berlin", 23),
        ("2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z", "Europe/Berlin", 25),
        ("2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z", "Australia/Lord_Howe", 24),
        ("2026-03-28T18:30:00Z", "2026-03-29T18:30:00Z", "Asia/Kolkata", 24),
    ] {
        let query = format!(
            r#"{{ song(id: "song-1") {{ timeline(during: {{between: {{from: "{from}", to: "{to}"}}}}, every: HOUR, timeZone: "{zone}") {{
                points {{ isComplete metrics {{ plays }} }} }} }} }}"#
        );
        let data = app.ask(&query).await;
        let points = data["song"]["timeline"]["points"].as_array().unwrap();
        assert_eq!(points.len(), hours, "{zone} {from}");
        assert!(points.iter().all(|point| point["isComplete"] == true), "{zone} {from}");
        let plays: i64 = points.iter().map(|point| point["metrics"]["plays"].as_i64().unwrap()).sum();
        assert_eq!(plays, (at(to) - at(from) + 1_800_000) / 3_600_000, "{zone} {from}");
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_complete_when_it_is_whole_and_over() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play("1", "2026-06-15T10:00:00Z", "u1")]).await;
    let data = app
        .ask(
            r#"{ song(id: "song-1") { timeline(during: {between: {from: "2026-06-13T06:00:00Z", to: "2026-06-16T00:00:00Z"}}) {
                points { isComplete metrics { freshness { isProvisional } } } } } }"#,
        )
        .await;
    let point = |is_complete: bool, is_provisional: bool| json!({"isComplete": is_complete, "metrics": {"freshness": {"isProvisional": is_provisional}}});
    let expected = [point(false, false), point(true, false), point(false, true)];
    assert_eq!(data["song"]["timeline"]["points"], json!(expected));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_buckets_are_bad_input() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play("1", "2026-06-15T10:00:00Z", "u1")]).await;
    for (hours, is_answered) in [(10_000_i64, true), (10_001, false)] {
        let from = chrono::DateTime::from_timestamp_millis(T0 - hours * 3_600_000).unwrap().to_rfc3339();
        let query = format!(
            r#"{{ song(id: "song-1") {{ timeline(during: {{between: {{from: "{from}", to: "2026-06-15T12:00:00Z"}}}}, every: HOUR) {{
                columns(of: [PLAYS]) {{ starts series {{ total }} }} }} }} }}"#
        );
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        if is_answered {
            let columns = &answer["data"]["song"]["timeline"]["columns"];
            assert_eq!(columns["starts"].as_array().map(Vec::len), Some(10_000), "{answer:#}");
            assert_eq!(columns["series"][0]["total"], 1.0);
        } else {
            let extensions = &answer["errors"][0]["extensions"];
            assert_eq!(
                (&extensions["code"], &extensions["field"]),
                (&json!("BAD_USER_INPUT"), &json!("every")),
                "{answer:#}"
            );
        }
    }
    app.stop().await;
}

on_every_database!(listeners_are_unions_before_and_after_a_merge, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut anonymous = play("anonymous", "2026-06-15T10:00:00Z", "x");
    anonymous.as_object_mut().unwrap().remove("userId");
    anonymous["anonymousId"] = json!("device-1");
    let mut skipped = play("skipped", "2026-06-15T10:00:00Z", "skipper");
    skipped["playedMs"] = json!(29_999);
    let mut counted = play("counted", "2026-06-15T10:00:00Z", "nobody in particular");
    counted["count"] = json!(50);
    app.record(&[
        // u1 on every day, u2 on two, u3 on one.
        play("1", "2026-06-01T10:00:00Z", "u1"),
        play("2", "2026-06-02T10:00:00Z", "u1"),
        play("3", "2026-06-02T20:00:00Z", "u2"),
        play("4", "2026-06-03T00:00:00Z", "u2"),
        play("5", "2026-06-03T23:59:59Z", "u3"),
        play("6", "2026-06-14T08:30:00Z", "u4"),
        play("7", "2026-06-14T09:00:00Z", "u5"),
        play("8", "2026-06-15T10:59:59.999Z", "u6"),
        anonymous,
        skipped,
        counted,
    ])
    .await;
    for stage in ["open", "merged", "merged twice"] {
        if stage != "open" {
            app.merge_audience().await;
        }
        for (from, to, value) in [
            ("2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z", 1),
            ("2026-06-02T00:00:00Z", "2026-06-03T00:00:00Z", 2),
            ("2026-06-03T00:00:00Z", "2026-06-04T00:00:00Z", 2),
            // A union, not 1 + 2 + 2.
            ("2026-06-01T00:00:00Z", "2026-06-04T00:00:00Z", 3),
            ("2026-05-01T00:00:00Z", "2026-06-16T00:00:00Z", 6),
            ("2026-06-14T09:00:00Z", "2026-06-14T10:00:00Z", 1),
            ("2026-06-14T08:00:00Z", "2026-06-14T09:00:00Z", 1),
            ("2026-06-14T08:00:00Z", "2026-06-15T11:00:00Z", 3),
            ("2026-06-14T09:00:00Z", "2026-06-15T10:00:00Z", 1),
            // From one quarter-hour to another.
            ("2026-06-14T08:15:00Z", "2026-06-14T10:00:00Z", 2),
            ("2026-06-10T00:00:00Z", "2026-06-11T00:00:00Z", 0),
            // And through days long past.
            ("2026-06-01T12:00:00Z", "2026-06-03T12:00:00Z", 2),
            ("2026-06-02T12:00:00Z", "2026-06-02T21:00:00Z", 1),
            ("2026-06-02T12:00:00Z", "2026-06-04T00:00:00Z", 2),
        ] {
            let listeners = listeners(&app, from, to).await;
            let expected = json!({"value": value, "lower": value, "upper": value, "isExact": true});
            assert_eq!(listeners, expected, "{stage}: {from} to {to}");
        }
    }
    app.verify().await;
    app.stop().await;
});

async fn listeners(app: &App, from: &str, to: &str) -> Value {
    let query = format!(
        r#"{{ song(id: "song-1") {{ metrics(during: {{between: {{from: "{from}", to: "{to}"}}}}) {{
            listeners {{ value lower upper isExact }} }} }} }}"#
    );
    app.ask(&query).await["song"]["metrics"]["listeners"].take()
}
