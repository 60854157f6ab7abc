//! Live numbers: the state first, then the newest, however fast they change and however slow a client is.

use std::{sync::atomic::Ordering, time::Instant};

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, Socket, T0, TestDatabase, app::Options, eventually, play},
};

/// A listen to song-1 by artist-1, at [`T0`]'s day.
fn listen(number: usize) -> Value {
    play(&format!("listen-{number}"), "2026-06-15T11:30:00Z", &format!("user-{number}"))
}

fn listen_to(song: &str, number: usize) -> Value {
    let mut event = listen(number);
    event["songId"] = json!(song);
    event["id"] = json!(format!("{song}-{number}"));
    event
}

fn watch(song: &str, min_interval: &str, selection: &str) -> String {
    format!(
        r#"subscription {{ metrics(of: {{kind: SONG, id: "{song}"}}, minInterval: "{min_interval}") {{ sequence metrics {{ {selection} }} }} }}"#
    )
}

async fn start() -> (TestDatabase, App) {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    (database, app)
}

on_every_database!(the_first_message_is_the_state_and_then_comes_each_newer_one, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[listen(1)]).await;
    let mut socket = Socket::connect(&app, Some(&app.token("listener", &[]))).await;
    let document = r#"subscription { metrics(of: {kind: ARTIST, id: "artist-1"}, minInterval: "PT0.1S") {
        sequence at metrics { plays streams listeners { value isExact } likes span { from to } }
    } }"#;
    socket.subscribe("1", document).await;
    for count in 1..=3 {
        if count > 1 {
            app.record(&[listen(count)]).await;
        }
        let expected = json!({
            "sequence": count, "at": "2026-06-15T12:00:00.000Z",
            "metrics": {
                "plays": count, "streams": count, "listeners": {"value": count, "isExact": true}, "likes": 0,
                "span": {"from": "2026-06-15T00:00:00.000Z", "to": "2026-06-16T00:00:00.000Z"},
            },
        });
        assert_eq!(socket.next("1").await["metrics"], expected);
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_are_one_message_an_interval() {
    let (_database, app) = start().await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    let began = Instant::now();
    socket.subscribe("1", &watch("song-1", "PT1S", "plays")).await;
    assert_eq!(socket.next("1").await["metrics"]["metrics"]["plays"], 0);
    let mut before = 1;
    for number in 1..=200 {
        app.record(&[listen(number)]).await;
    }
    let mut count = 0;
    loop {
        let data = socket.next("1").await;
        count += 1;
        let sequence = data["metrics"]["sequence"].as_u64().unwrap();
        assert!(sequence > before, "{data} after {before}");
        before = sequence;
        if data["metrics"]["metrics"]["plays"] == 200 {
            break;
        }
    }
    // An upper bound by the time that did pass, so that a slow machine is held to the same rule.
    let intervals = began.elapsed().as_secs() + 1;
    assert!(count <= intervals, "{count} messages in {intervals} intervals of a second");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_hear_of_what_they_selected_and_of_nothing_else() {
    let (_database, app) = start().await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    socket.subscribe("plays", &watch("song-1", "PT0.1S", "plays")).await;
    socket.subscribe("likes", &watch("song-1", "PT0.1S", "likes")).await;
    assert_eq!(socket.next("plays").await["metrics"], json!({"sequence": 1, "metrics": {"plays": 0}}));
    assert_eq!(socket.next("likes").await["metrics"], json!({"sequence": 1, "metrics": {"likes": 0}}));
    let mut like = listen(1);
    like["type"] = json!("track.liked");
    like.as_object_mut().unwrap().remove("playedMs");
    app.record(&[like]).await;
    assert_eq!(socket.next("likes").await["metrics"], json!({"sequence": 2, "metrics": {"likes": 1}}));
    // Had the like woken the watcher of plays, its next state would be the third.
    app.record(&[listen(2)]).await;
    assert_eq!(socket.next("plays").await["metrics"], json!({"sequence": 2, "metrics": {"plays": 1}}));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_another_entity_costs_a_watcher_nothing() {
    let (_database, app) = start().await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    socket.subscribe("1", &watch("song-2", "PT0.1S", "plays listeners { value }")).await;
    socket.next("1").await;
    let before = app.statements.load(Ordering::SeqCst);
    for number in 1..=50 {
        app.record(&[listen(number)]).await;
    }
    assert_eq!(app.statements.load(Ordering::SeqCst), before, "statements were run for a song that nobody watches");
    app.record(&[listen_to("song-2", 1)]).await;
    let expected = json!({"sequence": 2, "metrics": {"plays": 1, "listeners": {"value": 1}}});
    assert_eq!(socket.next("1").await["metrics"], expected);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_question_has_an_answer_for_each_scope() {
    let (_database, app) = start().await;
    let mut skip = listen(1);
    skip["playedMs"] = json!(1_000);
    app.record(&[skip]).await;
    let document = watch("song-1", "PT0.1S", "plays skips");
    let askers = [
        (app.token("listener", &[]), false),
        (app.admin(), true),
        (app.token("artist", &["artist-2"]), false),
        (app.token("artist", &["artist-1"]), true),
        (app.token("listener", &[]), false),
    ];
    let mut sockets = Vec::new();
    for (token, is_allowed) in askers {
        let mut socket = Socket::connect(&app, Some(&token)).await;
        socket.subscribe("1", &document).await;
        sockets.push((socket, is_allowed));
    }
    let mut allowed = Vec::new();
    for (mut socket, is_allowed) in sockets {
        if is_allowed {
            let metrics = json!({"sequence": 1, "metrics": {"plays": 1, "skips": 1}});
            assert_eq!(socket.next("1").await, json!({ "metrics": metrics }));
            allowed.push(socket);
        } else {
            let message = socket.receive_of("1").await;
            assert_eq!(message["type"], "error", "{message}");
            assert_eq!(message["payload"][0]["extensions"]["code"], "FORBIDDEN", "{message}");
        }
    }
    let mut skip = listen(2);
    skip["playedMs"] = json!(1_000);
    app.record(&[skip]).await;
    for mut socket in allowed {
        let metrics = json!({"sequence": 2, "metrics": {"plays": 2, "skips": 2}});
        assert_eq!(socket.next("1").await, json!({ "metrics": metrics }));
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_skips_to_the_newest_state_and_slows_nobody() {
    const SONGS: usize = 60;
    const CHANGES: usize = 40;
    let (_database, app) = start().await;
    let songs: Vec<Value> = (0..SONGS)
        .map(|number| {
            let mut event = listen_to(&format!("song-{number}"), 0);
            event["songTitle"] = json!("x".repeat(190));
            event
        })
        .collect();
    app.record(&songs).await;
    // States of more than a megabyte: what the network holds for a client that does not read is soon full.
    let titles: String = (0..150).map(|number| format!("t{number}: title ")).collect();
    let ranking = |selection: &str| {
        format!(
            r#"subscription {{ ranking(of: SONG, by: PLAYS, first: {SONGS}, minInterval: "PT0.1S") {{ sequence edges {{ value {selection} }} }} }}"#
        )
    };
    let mut slow = Socket::connect(&app, Some(&app.admin())).await;
    slow.subscribe("1", &ranking(&format!("node {{ {titles} }}"))).await;
    let mut fast = Socket::connect(&app, Some(&app.admin())).await;
    fast.subscribe("1", &ranking("")).await;
    fast.next("1").await;
    for number in 1..=CHANGES {
        app.record(&[listen_to("song-0", number)]).await;
        fast.next_where("1", |data| data["ranking"]["edges"][0]["value"] == json!((number + 1) as f64)).await;
    }
    let newest = json!((CHANGES + 1) as f64);
    let (data, count) = slow.next_where("1", |data| data["ranking"]["edges"][0]["value"] == newest).await;
    assert!(count < CHANGES / 2, "{count} states were kept for a client that did not read");
    assert!(data["ranking"]["sequence"].as_u64().unwrap() > count as u64, "the gap does not show in {data}");
    app.stop().await;
}

on_every_database!(a_watched_ranking_follows_the_counts, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[listen_to("song-1", 1), listen_to("song-1", 2), listen_to("song-2", 1)]).await;
    let mut socket = Socket::connect(&app, Some(&app.token("listener", &[]))).await;
    let document = r#"subscription { ranking(of: SONG, during: {period: TODAY}, first: 2, minInterval: "PT0.1S") {
        sequence edges { position value node { id } }
    } }"#;
    socket.subscribe("1", document).await;
    let edge = |position: u32, value: f64, id: &str| json!({"position": position, "value": value, "node": {"id": id}});
    let expected = json!({"sequence": 1, "edges": [edge(1, 2.0, "song-1"), edge(2, 1.0, "song-2")]});
    assert_eq!(socket.next("1").await["ranking"], expected);
    app.record(&[listen_to("song-3", 1), listen_to("song-3", 2), listen_to("song-3", 3)]).await;
    let expected = json!({"sequence": 2, "edges": [edge(1, 3.0, "song-3"), edge(2, 2.0, "song-1")]});
    assert_eq!(socket.next("1").await["ranking"], expected);
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_watchers_of_one_question_cost_as_much_as_one() {
    let (_database, app) = start().await;
    let document = watch("song-1", "PT0.1S", "plays listeners { value } previous { plays }");
    let mut sockets = Vec::new();
    for _ in 0..20 {
        let mut socket = Socket::connect(&app, Some(&app.token("listener", &[]))).await;
        for operation in 0..10 {
            socket.subscribe(&operation.to_string(), &document).await;
        }
        for operation in 0..10 {
            assert_eq!(socket.next(&operation.to_string()).await["metrics"]["sequence"], 1);
        }
        sockets.push(socket);
    }
    let before = app.statements.load(Ordering::SeqCst);
    for change in 1..=3_usize {
        app.record(&[listen(change)]).await;
        for socket in &mut sockets {
            for operation in 0..10 {
                let data = socket.next(&operation.to_string()).await;
                assert_eq!(data["metrics"]["metrics"]["plays"], change, "{data}");
            }
        }
    }
    let statements = app.statements.load(Ordering::SeqCst) - before;
    // Counters, stored listeners and the previous window, for each of three changes.
    assert!(statements <= 3 * 6, "{statements} statements for three changes");
    drop(sockets);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_commits_is_seen_at_once() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let (here, there) =
        (App::start_with(&database, Options::at(T0)).await, App::start_with(&database, Options::at(T0)).await);
    here.record(&[listen(1)]).await;
    let mut socket = Socket::connect(&here, Some(&here.token("listener", &[]))).await;
    socket.subscribe("metrics", &watch("song-1", "PT0.1S", "plays listeners { value }")).await;
    socket.next("metrics").await;
    let ranking = r#"subscription { ranking(of: SONG, minInterval: "PT0.1S") { edges { value node { id } } } }"#;
    socket.subscribe("ranking", ranking).await;
    socket.next("ranking").await;
    // The other process is heard from now on, at the latest; it may be heard already.
    for number in 2..=5_usize {
        there.record(&[listen(number)]).await;
        let is_newest =
            |data: &Value| data["metrics"]["metrics"] == json!({"plays": number, "listeners": {"value": number}});
        socket.next_where("metrics", is_newest).await;
        let edge = json!([{"value": number as f64, "node": {"id": "song-1"}}]);
        socket.next_where("ranking", |data| data["ranking"]["edges"] == edge).await;
        let query = r#"{ song(id: "song-1") { metrics(during: {period: TODAY}) { plays listeners { value } } } }"#;
        let answer = here.ask(query).await;
        assert_eq!(answer["song"]["metrics"], json!({"plays": number, "listeners": {"value": number}}));
    }
    let mut late = listen(6);
    late["occurredAt"] = json!("2026-06-15T11:59:00Z");
    there.record(&[late]).await;
    eventually("the first process knows the newest event", async || {
        let answer = here.ask(r#"{ song(id: "song-1") { metrics { freshness { asOf } } } }"#).await;
        let as_of = answer["song"]["metrics"]["freshness"]["asOf"].clone();
        if as_of == "2026-06-15T11:59:00.000Z" { Ok(()) } else { Err(as_of.to_string()) }
    })
    .await;
    here.verify().await;
    here.stop().await;
    there.stop().await;
}
