//! Events as they are committed: by this process and by others, to whom they are told, and what is not.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, Socket, T0, TestDatabase, app::Options},
};

fn event(id: &str, event_type: &str) -> Value {
    json!({"id": id, "type": event_type, "occurredAt": "2026-06-15T11:30:00Z", "userId": "anna", "songId": "song-1",
        "artistId": "artist-1"})
}

/// Watches, and waits until what is committed is told.
async fn watch(socket: &mut Socket, id: &str, arguments: &str, selection: &str) {
    socket
        .subscribe(id, &format!("subscription {{ events{arguments} {{ at skipped events {{ {selection} }} }} }}"))
        .await;
    let begun = &socket.next(id).await["events"];
    assert_eq!((&begun["skipped"], &begun["events"]), (&json!(0), &json!([])), "{begun}");
    assert!(begun["at"].as_str().is_some_and(|at| at.starts_with("2026-06-15T12:00:00.")), "{begun}");
}

/// The ids of so many events, in the order told, and how many were skipped until the last of them.
async fn told(socket: &mut Socket, id: &str, count: usize) -> (Vec<String>, u64) {
    let (mut ids, mut skipped) = (Vec::new(), 0);
    while ids.len() < count {
        let data = socket.next(id).await;
        let events = data["events"]["events"].as_array().unwrap();
        assert!(events.len() <= 100, "{} events in one message", events.len());
        ids.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        skipped += data["events"]["skipped"].as_u64().unwrap();
    }
    (ids, skipped)
}

on_every_database!(what_is_committed_is_told_once_to_those_whom_it_fits, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[event("before", "a.b")]).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    watch(&mut socket, "all", "", "id").await;
    watch(&mut socket, "likes", r#"(where: {types: ["track.liked"], propertyEquals: [{path: "n", value: 2}]})"#, "id")
        .await;
    let mut like = event("like-2", "track.liked");
    like["properties"] = json!({"n": 2});
    app.record(&[event("one", "a.b"), event("like-1", "track.liked"), like]).await;
    let (mut all, skipped) = told(&mut socket, "all", 3).await;
    all.sort();
    assert_eq!((all, skipped), (["like-1", "like-2", "one"].map(str::to_owned).to_vec(), 0));
    // Again the same: duplicates are no news.
    app.post_events(json!([event("one", "a.b")]).to_string()).await;
    app.record(&[event("two", "a.b")]).await;
    assert_eq!(told(&mut socket, "all", 1).await, (vec!["two".to_owned()], 0));
    assert_eq!(told(&mut socket, "likes", 1).await, (vec!["like-2".to_owned()], 0));
    app.stop().await;
});

on_every_database!(an_artist_is_told_of_their_own_and_not_who_it_was, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut plays: Vec<Value> = (0..6)
        .map(|number| {
            let mut play = event(&format!("play-{number}"), "track.played");
            play["userId"] = json!(format!("user-{number}"));
            play["country"] = json!("DE");
            play
        })
        .collect();
    app.record(&plays).await;
    let mut socket = Socket::connect(&app, Some(&app.token("artist", &["artist-1"]))).await;
    watch(&mut socket, "1", "", "id userId pseudonym country properties source song { id }").await;
    plays.iter_mut().for_each(|play| play["id"] = json!(format!("again-{}", play["id"])));
    let mut rare = event("rare", "track.played");
    rare["country"] = json!("IS");
    let mut other = event("other", "track.played");
    other["artistId"] = json!("artist-2");
    app.record(&[other, rare, plays[0].clone()]).await;
    let mut countries = Vec::new();
    while countries.len() < 2 {
        for event in socket.next("1").await["events"]["events"].as_array().unwrap() {
            assert_eq!(event["song"]["id"], "song-1");
            assert!(event["pseudonym"].is_string() && !event.to_string().contains("user-"), "{event}");
            let private = ["userId", "properties", "source"].iter().all(|field| event[field].is_null());
            assert!(private && event["id"].as_str().unwrap().len() == 32, "{event}");
            countries.push(event["country"].as_str().map(str::to_owned));
        }
    }
    countries.sort();
    assert_eq!(countries, [None, Some("DE".to_owned())]);
    for (arguments, token) in [
        (r#"(where: {userId: "anna"})"#, app.token("artist", &["artist-1"])),
        (r#"(where: {entity: {kind: SONG, id: "song-1"}})"#, app.token("artist", &["artist-2"])),
        ("", app.token("listener", &[])),
        ("", app.token("service", &[])),
    ] {
        let mut socket = Socket::connect(&app, Some(&token)).await;
        socket.subscribe("1", &format!("subscription {{ events{arguments} {{ skipped }} }}")).await;
        let refused = socket.receive_of("1").await;
        assert_eq!(refused["payload"][0]["extensions"]["code"], "FORBIDDEN", "{arguments} {refused}");
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_learns_how_much_it_missed() {
    const COMMITS: usize = 40;
    const EVENTS: usize = 500;
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0).set("LIVE_EVENTS_KEPT", 2_000)).await;
    let mut slow = Socket::connect(&app, Some(&app.admin())).await;
    watch(&mut slow, "1", "", "id properties").await;
    let mut fast = Socket::connect(&app, Some(&app.admin())).await;
    watch(&mut fast, "1", "", "id").await;
    for commit in 0..COMMITS {
        let events: Vec<Value> = (0..EVENTS)
            .map(|number| {
                let mut event = event(&format!("{commit}-{number}"), "a.b");
                // More than the network holds for a client that does not read.
                event["properties"] = json!({"text": "x".repeat(2_000)});
                event
            })
            .collect();
        app.record(&events).await;
        // Who reads has missed nothing.
        assert_eq!(told(&mut fast, "1", EVENTS).await.1, 0);
    }
    let (mut count, mut skipped) = (0, 0);
    while count + skipped < COMMITS * EVENTS {
        let data = slow.next("1").await;
        count += data["events"]["events"].as_array().unwrap().len();
        skipped += usize::try_from(data["events"]["skipped"].as_u64().unwrap()).unwrap();
    }
    assert_eq!(count + skipped, COMMITS * EVENTS);
    assert!(skipped > 0 && count > 0, "{count} told, {skipped} skipped");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_commits_is_told_once() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let (here, there) =
        (App::start_with(&database, Options::at(T0)).await, App::start_with(&database, Options::at(T0)).await);
    there.record(&[event("before", "a.b")]).await;
    here.record(&[event("before, here", "a.b")]).await;
    // What was received before somebody watched is no news, even if it is read again.
    here.set_clock(T0 + 1);
    there.set_clock(T0 + 1);
    let mut socket = Socket::connect(&here, Some(&here.admin())).await;
    watch(&mut socket, "1", "", "id").await;
    // The same moment again and again: each look at it finds all that were told before.
    let mut expected = Vec::new();
    for number in 0..5 {
        let (mine, theirs) = (format!("here-{number}"), format!("there-{number}"));
        there.record(&[event(&theirs, "a.b")]).await;
        here.record(&[event(&mine, "a.b")]).await;
        expected.extend([mine, theirs]);
    }
    let (mut ids, skipped) = told(&mut socket, "1", 10).await;
    ids.sort();
    expected.sort();
    // What the other process committed just before may have been heard of only now, and is not told.
    assert!(skipped <= 1, "{skipped} skipped");
    assert_eq!(ids, expected);
    there.record(&[event("last", "a.b")]).await;
    assert_eq!(told(&mut socket, "1", 1).await, (vec!["last".to_owned()], 0));
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_large_commit_of_another_process_the_newest_are_told_and_the_rest_is_counted() {
    let Some(database) = TestDatabase::postgres().await else { return };
    let (here, there) =
        (App::start_with(&database, Options::at(T0)).await, App::start_with(&database, Options::at(T0)).await);
    let mut socket = Socket::connect(&here, Some(&here.admin())).await;
    watch(&mut socket, "1", "", "id").await;
    // Several requests of one commit, or of several: either way more than one look reads.
    let many: Vec<Value> = (0..4_999)
        .map(|number| {
            let mut event = event(&format!("{number}"), "a.b");
            event["occurredAt"] = json!(T0 - number);
            event
        })
        .collect();
    let mut more = many.clone();
    more.iter_mut().for_each(|event| event["id"] = json!(format!("more-{}", event["id"])));
    tokio::join!(there.record(&many), there.record(&more));
    let (mut count, mut skipped) = (0, 0);
    while count + skipped < 9_998 {
        let data = socket.next("1").await;
        count += data["events"]["events"].as_array().unwrap().len();
        skipped += usize::try_from(data["events"]["skipped"].as_u64().unwrap()).unwrap();
    }
    assert_eq!(count + skipped, 9_998);
    assert!(count >= 5_000, "{count} told, {skipped} skipped");
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_imported_beside_a_server_on_sqlite_is_told() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    watch(&mut socket, "1", "", "id").await;
    let import = App::start_with(&database, Options::at(T0)).await;
    import.record(&[event("imported", "a.b")]).await;
    import.stop().await;
    assert_eq!(told(&mut socket, "1", 1).await, (vec!["imported".to_owned()], 0));
    app.stop().await;
}
