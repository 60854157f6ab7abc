//! Years of two people's listening, imported as the README shows it.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    import::{backbeat, text},
    support::{App, TestDatabase, left_out},
};

const IMPORT: [&str; 14] = [
    "--type",
    "track.played",
    "--map",
    "event_id=id",
    "--map",
    "user_id=userId",
    "--map",
    "ended_at=occurredAt",
    "--map",
    "artist=artistName",
    "--map",
    "track=songTitle",
    "--map",
    "ms_played=playedMs",
];

fn file() -> Option<PathBuf> {
    let directory = std::env::var_os("BACKBEAT_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let file = directory.join("listening_events.csv.gz");
    if !file.exists() {
        left_out("the import of real data; set BACKBEAT_SHARED_DATA to the directory of listening_events.csv.gz");
        return None;
    }
    Some(file)
}

async fn check_import(database: TestDatabase) {
    let Some(file) = file() else { return };
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = backbeat(directory.path(), &[("DATABASE_URL", &database.url)], arguments);
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    let import = [&["import", file.to_str().unwrap()][..], &IMPORT].concat();
    assert_eq!(run(&import), "57109 accepted, 0 duplicates, 0 conflicts, 0 rejected\n");
    assert_eq!(run(&import), "0 accepted, 57109 duplicates, 0 conflicts, 0 rejected\n");
    let verified = run(&["verify"]);
    assert!(verified.starts_with("57109 events in ") && verified.ends_with(" days, 0 differences\n"), "{verified}");

    let app = App::start(&database).await;
    app.merge_audience().await;
    let data = app
        .ask(
            r#"{ artists: ranking(of: ARTIST, by: PLAYS, during: {period: ALL_TIME}, first: 2) {
                    totalCount edges { position value node { title } } }
                songs: ranking(of: SONG, by: PLAYS, during: {period: ALL_TIME}, first: 1) { totalCount }
                heard: ranking(of: ARTIST, by: LISTENERS, during: {period: ALL_TIME}, first: 1) { edges { value } } }"#,
        )
        .await;
    let artist = |position: i64, plays: f64, title: &str| json!({"position": position, "value": plays, "node": {"title": title}});
    let first = [artist(1, 1_940.0, "Bad Omens"), artist(2, 1_883.0, "Linkin Park")];
    assert_eq!(data["artists"], json!({"totalCount": 1_812, "edges": first}));
    assert_eq!(data["songs"]["totalCount"], 5_212);
    assert_eq!(data["heard"]["edges"], json!([{"value": 2.0}]));

    // Streams and time of all artists together, page by page.
    let (mut after, mut artists, mut plays, mut streams, mut listening_ms) = (json!(null), 0, 0, 0, 0);
    while !after.is_null() || artists == 0 {
        let query = "query ($after: String) { ranking(of: ARTIST, by: PLAYS, during: {period: ALL_TIME}, first: 200, after: $after) {
            pageInfo { hasNextPage endCursor }
            nodes { metrics(during: {period: ALL_TIME}) { plays streams listeningTimeMs } } } }";
        let answer = app.graphql(Some(&app.admin()), query, json!({ "after": after })).await;
        let page = &answer["data"]["ranking"];
        for node in page["nodes"].as_array().unwrap_or_else(|| panic!("{answer:#}")) {
            let count = |counter: &str| node["metrics"][counter].as_i64().unwrap();
            artists += 1;
            plays += count("plays");
            streams += count("streams");
            listening_ms += count("listeningTimeMs");
        }
        let has_next = page["pageInfo"]["hasNextPage"] == true;
        after = if has_next { page["pageInfo"]["endCursor"].clone() } else { json!(null) };
    }
    assert_eq!([artists, plays, streams, listening_ms], [1_812, 57_109, 46_333, 9_515_246_892]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_of_listening_are_counted_on_sqlite() {
    check_import(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_of_listening_are_counted_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_import(database).await;
    }
}
