//! How many SQL statements a page costs: a number that does not grow with the page.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::{
    on_every_database,
    support::{App, T0, app::Options, play},
};

/// The most statements that a whole dashboard page may cost.
const STATEMENTS_MAX: usize = 25;

async fn statements_of(app: &App, query: &str) -> usize {
    let before = app.statements.load(Ordering::SeqCst);
    app.ask(query).await;
    app.statements.load(Ordering::SeqCst) - before
}

on_every_database!(a_page_of_fifty_artists_costs_as_many_statements_as_one_of_five, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = Vec::new();
    for artist in 0..50 {
        for day in [1, 10, 14] {
            let mut event = play(&format!("{artist}-{day}"), &format!("2026-06-{day:02}T10:00:00Z"), "u1");
            event["artistId"] = json!(format!("artist-{artist}"));
            event["songId"] = json!(format!("song-{artist}"));
            events.push(event);
        }
    }
    app.record(&events).await;
    app.merge_audience().await;
    let parts = r#"id title
        metrics(during: {last: "P7D"}) { plays streams revenue { amount } listeners { value } previous { plays listeners { value } } }
        timeline(during: {last: "P7D"}) { points { start metrics { plays listeners { value } } } columns(of: [STREAMS]) { series { total } } }"#;
    let by_ids = |count: usize| {
        let ids: Vec<String> = (0..count).map(|artist| format!("artist-{artist}")).collect();
        format!("{{ artists(ids: {}) {{ {parts} }} }}", json!(ids))
    };
    let by_rank = |count: usize| format!("{{ ranking(of: ARTIST, first: {count}) {{ nodes {{ {parts} }} }} }}");
    let works = |count: usize| {
        let ids: Vec<String> = (0..count).map(|song| format!("song-{song}")).collect();
        format!("{{ songs(ids: {}) {{ {parts} artist {{ {parts} }} }} }}", json!(ids))
    };
    for (name, small, large) in [
        ("artists by id", by_ids(5), by_ids(50)),
        ("artists by rank", by_rank(5), by_rank(50)),
        ("songs with their artists", works(2), works(20)),
    ] {
        // A ranking is computed once for all pages; what the pages themselves cost is counted after that.
        app.ask(&small).await;
        let (few, many) = (statements_of(&app, &small).await, statements_of(&app, &large).await);
        println!("{name}: {few} statements for the small page, {many} for the large one");
        assert_eq!(few, many, "{name}");
        assert!((1..STATEMENTS_MAX).contains(&many), "{name}: {many}");
    }
    app.stop().await;
});

on_every_database!(a_dashboard_is_one_look_however_much_happened, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let query = r#"{ dashboard {
        today { plays streams listeners { value } revenue { amount } } yesterday { plays listeners { value } }
        activeUsers { daily { value } weekly { value } monthly { value } }
        topSongs { position value song { id title } } eventTypes { type events }
        ingest { accepted duplicates rejected newestEvent lagMs } } }"#;
    let events: Vec<_> = (0..60)
        .map(|number| {
            let day = 15 - number % 3;
            let at = format!("2026-06-{day:02}T08:{number:02}:00Z");
            let mut event = play(&number.to_string(), &at, &format!("u{}", number % 7));
            event["songId"] = json!(format!("song-{}", number % 20));
            event
        })
        .collect();
    // One of each day.
    app.record(&events[..3]).await;
    app.merge_audience().await;
    app.ask(query).await;
    let few = statements_of(&app, query).await;
    let (_, answer) = app.post_events(json!(events).to_string()).await;
    assert_eq!(answer["duplicates"], 3, "{answer}");
    app.merge_audience().await;
    let data = app.ask(query).await;
    let dashboard = &data["dashboard"];
    assert_eq!((&dashboard["today"]["plays"], &dashboard["yesterday"]["plays"]), (&json!(20), &json!(20)), "{data}");
    assert_eq!(dashboard["activeUsers"]["monthly"]["value"], 7);
    assert_eq!(dashboard["topSongs"].as_array().unwrap().len(), 10);
    assert_eq!(dashboard["eventTypes"], json!([{"type": "track.played", "events": 60}]));
    assert_eq!((&dashboard["ingest"]["accepted"], &dashboard["ingest"]["duplicates"]), (&json!(60), &json!(3)));
    // What is asked for at the same time is one batch most often, and sometimes two.
    let many = statements_of(&app, query).await;
    assert!((1..=few + 3).contains(&many), "{few}, then {many}");
    app.stop().await;
});
