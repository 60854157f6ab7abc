//! Events in: counted once, whatever happens.

use serde_json::json;

use crate::{
    on_every_database,
    support::{App, T0, app::Options, play},
};

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
