//! The present: who listens now, what was played in each of the last sixty minutes, and how both move on.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, Socket, T0, TestDatabase, app::Options, eventually, play, rfc3339},
};

/// RFC 3339 of so many seconds after [`T0`].
fn at(offset_s: f64) -> String {
    rfc3339(T0 + (offset_s * 1_000.0) as i64)
}

fn play_at(id: &str, offset_s: f64, user: &str) -> Value {
    play(id, &at(offset_s), user)
}

const REALTIME: &str = "realtime { listenersNow playsPerMinute isComplete }";

/// `Kind.id` or `platform`, as an admin sees it once the last hour is known.
async fn realtime(app: &App, of: &str) -> (u64, Vec<u64>) {
    let query = match of.split_once(' ') {
        Some((kind, id)) => format!(r#"{{ of: {kind}(id: "{id}") {{ {REALTIME} }} }}"#),
        None => format!("{{ of: platform {{ {REALTIME} }} }}"),
    };
    eventually("the last hour is known", async || {
        let realtime = app.ask(&query).await["of"]["realtime"].clone();
        if realtime["isComplete"] == true { Ok(numbers(&realtime)) } else { Err(realtime.to_string()) }
    })
    .await
}

fn numbers(realtime: &Value) -> (u64, Vec<u64>) {
    let plays: Vec<u64> =
        realtime["playsPerMinute"].as_array().unwrap().iter().map(|plays| plays.as_u64().unwrap()).collect();
    assert_eq!(plays.len(), 60, "{realtime}");
    (realtime["listenersNow"].as_u64().unwrap(), plays)
}

/// Sixty minutes with these plays, by how many minutes before the last.
fn minutes(plays: &[(usize, u64)]) -> Vec<u64> {
    let mut minutes = vec![0; 60];
    plays.iter().for_each(|(before, plays)| minutes[59 - before] = *plays);
    minutes
}

on_every_database!(plays_and_listeners_fall_out_at_their_edges, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let plays = [
        // Too old for any of both, the oldest minute's first moment, and both sides of five minutes.
        play_at("1", -3_540.001, "a"),
        play_at("2", -3_540.0, "a"),
        play_at("3", -300.0, "b"),
        play_at("4", -299.0, "c"),
        play_at("5", -1.0, "d"),
        play_at("6", 0.0, "d"),
    ];
    app.record(&plays).await;
    assert_eq!(realtime(&app, "song song-1").await, (2, minutes(&[(59, 1), (5, 2), (1, 1), (0, 1)])));
    for (now_s, listeners, plays) in [
        (0.999, 2, &[(59, 1), (5, 2), (1, 1), (0, 1)][..]),
        (1.0, 1, &[(59, 1), (5, 2), (1, 1), (0, 1)]),
        (59.999, 1, &[(59, 1), (5, 2), (1, 1), (0, 1)]),
        (60.0, 1, &[(6, 2), (2, 1), (1, 1)]),
        (299.999, 1, &[(9, 2), (5, 1), (4, 1)]),
        (300.0, 0, &[(10, 2), (6, 1), (5, 1)]),
        (3_599.999, 0, &[(59, 1)]),
        (3_600.0, 0, &[]),
    ] {
        app.set_clock(T0 + (now_s * 1_000.0) as i64);
        for of in ["song song-1", "artist artist-1", "platform"] {
            assert_eq!(realtime(&app, of).await, (listeners, minutes(plays)), "{of} after {now_s} s");
        }
    }
    app.stop().await;
});

on_every_database!(plays_count_for_whom_the_event_names_and_once_for_the_platform, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let with = |mut event: Value, more: Value| {
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        event
    };
    let whole = json!({"albumId": "album-1", "playlistId": "playlist-1"});
    let anonymous = json!({"userId": null, "anonymousId": "x"});
    app.record(&[
        with(play_at("1", -10.0, "anna"), whole),
        // A skip is a play, too; nobody is two listeners.
        with(play_at("2", -20.0, "anna"), json!({"playedMs": 1_000})),
        with(play_at("3", -30.0, "ben"), json!({"songId": "song-2"})),
        with(play_at("4", -30.0, ""), anonymous),
        with(play_at("5", -90.0, "total"), json!({"count": 1_000})),
        with(play_at("6", -5.0, "carl"), json!({"type": "track.liked", "playedMs": null})),
    ])
    .await;
    for (of, expected) in [
        ("song song-1", (1, minutes(&[(2, 1_000), (1, 3)]))),
        ("song song-2", (1, minutes(&[(1, 1)]))),
        ("album album-1", (1, minutes(&[(1, 1)]))),
        ("playlist playlist-1", (1, minutes(&[(1, 1)]))),
        ("artist artist-1", (2, minutes(&[(2, 1_000), (1, 4)]))),
        ("platform", (2, minutes(&[(2, 1_000), (1, 4)]))),
    ] {
        assert_eq!(realtime(&app, of).await, expected, "{of}");
    }
    // The same events again are duplicates, and count no second time.
    let (_, answer) = app.post_events(json!([play_at("2", -20.0, "anna")]).to_string()).await;
    assert_eq!(answer["accepted"], 0, "{answer}");
    assert_eq!(realtime(&app, "platform").await, (2, minutes(&[(2, 1_000), (1, 4)])));
    app.stop().await;
});

on_every_database!(late_plays_land_in_their_minute_and_early_ones_wait_for_it, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play_at("now", 0.0, "a")]).await;
    app.record(&[play_at("late", -1_800.0, "b"), play_at("a little late", -200.0, "b")]).await;
    app.record(&[play_at("early", 90.0, "c"), play_at("early too", 30.0, "d"), play_at("old", -4_000.0, "e")]).await;
    for (now_s, listeners, plays) in [
        (0, 2, &[(30, 1), (4, 1), (0, 2)][..]),
        (29, 2, &[(30, 1), (4, 1), (0, 2)]),
        (30, 3, &[(30, 1), (4, 1), (0, 2)]),
        (59, 3, &[(30, 1), (4, 1), (0, 2)]),
        // The minute of the early play runs; its listener comes with the second.
        (60, 3, &[(31, 1), (5, 1), (1, 2), (0, 1)]),
        (89, 3, &[(31, 1), (5, 1), (1, 2), (0, 1)]),
        (90, 4, &[(31, 1), (5, 1), (1, 2), (0, 1)]),
        (389, 1, &[(36, 1), (10, 1), (6, 2), (5, 1)]),
        (390, 0, &[(36, 1), (10, 1), (6, 2), (5, 1)]),
    ] {
        app.set_clock(T0 + now_s * 1_000);
        assert_eq!(realtime(&app, "platform").await, (listeners, minutes(plays)), "after {now_s} s");
    }
    app.stop().await;
});

on_every_database!(a_restart_reads_the_hour_again_and_counts_nothing_twice, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let plays: Vec<Value> = (0..500)
        .map(|number| play_at(&format!("{number}"), -f64::from(number) * 7.2, &format!("user-{}", number % 90)))
        .collect();
    app.record(&plays).await;
    app.record(&[play_at("early", 100.0, "early")]).await;
    let before = realtime(&app, "song song-1").await;
    assert!(before.0 > 20 && before.1.iter().sum::<u64>() > 480, "{before:?}");
    app.stop().await;

    let app = App::start_with(&database, Options::at(T0)).await;
    // While the log may still be read, more comes in.
    for number in 0..20 {
        app.record(&[play_at(&format!("meanwhile {number}"), 0.0, "user-0")]).await;
    }
    let after = realtime(&app, "song song-1").await;
    let mut plays = before.1.clone();
    plays[59] += 20;
    assert_eq!(after, (before.0, plays));
    assert_eq!(realtime(&app, "platform").await, after);
    app.set_clock(T0 + 100_000);
    // Whoever was early is remembered, too.
    let (listeners, plays) = realtime(&app, "platform").await;
    assert_eq!(plays[59], 1);
    assert!(listeners > 1);
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_commits_is_taken_in_once() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let here = App::start_with(&database, Options::at(T0)).await;
    here.record(&[play_at("first", -60.0, "a")]).await;
    let there = App::start_with(&database, Options::at(T0)).await;
    let is = async |app: &App, expected: (u64, Vec<u64>)| {
        eventually("both processes know what either was told", async || {
            let seen = realtime(app, "song song-1").await;
            if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
        })
        .await;
    };
    is(&there, (1, minutes(&[(1, 1)]))).await;
    let mut socket = Socket::connect(&here, Some(&here.admin())).await;
    let document = r#"subscription { realtime(of: {kind: SONG, id: "song-1"}, minInterval: "PT0.1S") {
        realtime { listenersNow playsPerMinute } } }"#;
    socket.subscribe("1", document).await;
    for number in 1..=5 {
        // A thousand plays are more than one notification holds.
        let plays: Vec<Value> = (0..200)
            .map(|user| play_at(&format!("there {number} {user}"), -f64::from(user), &format!("user {user}")))
            .collect();
        there.record(&plays).await;
        here.record(&[play_at(&format!("here {number}"), 0.0, "a")]).await;
        let plays = [(4, 20), (3, 60), (2, 60), (1, 60)].map(|(minute, plays): (usize, u64)| (minute, plays * number));
        let mut expected = minutes(&plays);
        // Second 0 is of the minute that runs, and with it 1 to 60 of the one before.
        (expected[59], expected[58], expected[55]) = (2 * number, 60 * number + 1, 19 * number);
        for app in [&here, &there] {
            is(app, (201, expected.clone())).await;
        }
        let is_newest = |data: &Value| numbers(&data["realtime"]["realtime"]) == (201, expected.clone());
        socket.next_where("1", is_newest).await;
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_beside_a_server_on_sqlite_is_seen() {
    let database = TestDatabase::sqlite();
    let here = App::start_with(&database, Options::at(T0)).await;
    here.record(&[play_at("here", -60.0, "a")]).await;
    assert_eq!(realtime(&here, "platform").await.0, 1);
    let import = App::start_with(&database, Options::at(T0)).await;
    import.record(&[play_at("there", -120.0, "b")]).await;
    import.stop().await;
    eventually("the server has read the hour again", async || {
        let seen = realtime(&here, "platform").await;
        if seen == (2, minutes(&[(2, 1), (1, 1)])) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    here.stop().await;
}

on_every_database!(watchers_see_the_present_rise_with_plays_and_fall_with_the_clock, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play_at("1", 0.0, "a")]).await;
    realtime(&app, "platform").await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    let selection = "sequence at realtime { listenersNow playsPerMinute asOf isComplete }";
    let of = r#"of: {kind: SONG, id: "song-1"}, minInterval: "PT0.1S""#;
    socket.subscribe("song", &format!("subscription {{ realtime({of}) {{ {selection} }} }}")).await;
    socket
        .subscribe("platform", &format!(r#"subscription {{ realtime(minInterval: "PT0.1S") {{ {selection} }} }}"#))
        .await;
    let in_metrics = format!("subscription {{ metrics({of}) {{ {selection} metrics {{ plays }} }} }}");
    socket.subscribe("metrics", &in_metrics).await;
    let mut expect = async |now_s: i64, listeners: u64, plays: &[(usize, u64)], all_plays: u64| {
        for (id, field) in [("song", "realtime"), ("platform", "realtime"), ("metrics", "metrics")] {
            let is_it = |data: &Value| {
                let state = &data[field];
                let is_now = numbers(&state["realtime"]) == (listeners, minutes(plays));
                is_now && (id != "metrics" || state["metrics"]["plays"] == all_plays)
            };
            let (data, _) = socket.next_where(id, is_it).await;
            assert_eq!(data[field]["realtime"]["asOf"], at(now_s as f64), "{data}");
            assert_eq!(data[field]["at"], data[field]["realtime"]["asOf"]);
            assert!(data[field]["sequence"].as_u64().is_some_and(|sequence| sequence > 0), "{data}");
        }
    };
    expect(0, 1, &[(0, 1)], 1).await;
    app.record(&[play_at("2", -70.0, "b")]).await;
    expect(0, 2, &[(2, 1), (0, 1)], 2).await;
    // Nothing is committed from here on.
    for (now_s, listeners, plays) in
        [(230, 1, &[(5, 1), (3, 1)][..]), (300, 0, &[(7, 1), (5, 1)]), (3_540, 0, &[(59, 1)]), (3_600, 0, &[])]
    {
        app.set_clock(T0 + now_s * 1_000);
        expect(now_s, listeners, plays, 2).await;
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_of_counters_alone_is_not_woken_by_the_clock() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play_at("1", 0.0, "a")]).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    let of = r#"of: {kind: SONG, id: "song-1"}, minInterval: "PT0.1S""#;
    socket.subscribe("counters", &format!("subscription {{ metrics({of}) {{ sequence metrics {{ plays }} }} }}")).await;
    socket.subscribe("now", &format!("subscription {{ realtime({of}) {{ realtime {{ listenersNow }} }} }}")).await;
    assert_eq!(socket.next("counters").await["metrics"]["sequence"], 1);
    app.set_clock(T0 + 300_000);
    socket.next_where("now", |data| data["realtime"]["realtime"]["listenersNow"] == 0).await;
    app.record(&[play_at("2", 300.0, "a")]).await;
    assert_eq!(socket.next("counters").await["metrics"], json!({"sequence": 2, "metrics": {"plays": 2}}));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_now_is_the_artists_business_and_the_platform_is_the_admins() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play_at("1", 0.0, "a")]).await;
    let song = r#"song(id: "song-1")"#;
    let watched = r#"of: {kind: SONG, id: "song-1"}"#;
    // Listener, another artist, the artist, admin.
    let askers = [
        app.token("listener", &[]),
        app.token("artist", &["artist-2"]),
        app.token("artist", &["artist-1"]),
        app.admin(),
    ];
    for (document, allowed) in [
        (format!("query {{ {song} {{ realtime {{ playsPerMinute asOf isComplete }} }} }}"), [true, true, true, true]),
        (format!("query {{ {song} {{ realtime {{ listenersNow }} }} }}"), [false, false, true, true]),
        (
            format!("query {{ {song} {{ ... on Measurable {{ realtime {{ plays: listenersNow }} }} }} }}"),
            [false, false, true, true],
        ),
        (format!("subscription {{ realtime({watched}) {{ realtime {{ asOf }} }} }}"), [true, true, true, true]),
        (
            format!("subscription {{ realtime({watched}) {{ realtime {{ listenersNow }} }} }}"),
            [false, false, true, true],
        ),
        (
            format!("subscription {{ metrics({watched}) {{ realtime {{ listenersNow }} }} }}"),
            [false, false, true, true],
        ),
        ("subscription { realtime { realtime { asOf } } }".to_owned(), [false, false, false, true]),
        ("query { platform { realtime { asOf } } }".to_owned(), [false, false, false, true]),
    ] {
        for (token, is_allowed) in askers.iter().zip(allowed) {
            let mut socket = Socket::connect(&app, Some(token)).await;
            socket.subscribe("1", &document).await;
            let message = socket.receive_of("1").await;
            let is_refused = message.to_string().contains("FORBIDDEN");
            assert_eq!(is_refused, !is_allowed, "{document}: {message}");
        }
    }
    app.stop().await;
}
