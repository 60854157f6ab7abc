//! Years of two people's listening, imported as the README shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use chrono::{DateTime, Months, TimeDelta, Utc};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::{
    import::{backbeat, text},
    support::{App, TestDatabase, data::shared_file},
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

async fn check_import(database: TestDatabase) {
    let Some(file) = shared_file("listening_events.csv.gz") else { return };
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
    let streams = streams_of(&file);
    assert_eq!(streams.len(), 46_333);
    check_months(&app, &streams).await;
    check_listeners(&app, &streams).await;
    app.stop().await;
}

/// A row of the file that is a stream.
struct Listen {
    at: DateTime<Utc>,
    user: String,
    artist: String,
    track: String,
}

/// The streams of the file, read once more, without anything of ours.
fn streams_of(file: &Path) -> Vec<Listen> {
    let mut rows = csv::Reader::from_reader(GzDecoder::new(std::fs::File::open(file).unwrap()));
    let one_spaced = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let listens = rows.records().map(Result::unwrap).filter(|row| row[5].parse::<u64>().unwrap() >= 30_000);
    listens
        .map(|row| Listen {
            at: row[2].parse().unwrap(),
            user: row[1].to_owned(),
            artist: one_spaced(&row[3]),
            track: one_spaced(&row[4]),
        })
        .collect()
}

/// Streams and distinct people by what they listened to.
fn counted<'a, K: Ord>(
    listens: impl Iterator<Item = &'a Listen>,
    key: impl Fn(&'a Listen) -> K,
) -> BTreeMap<K, (usize, usize)> {
    let mut people: BTreeMap<K, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for listen in listens {
        let (streams, who) = people.entry(key(listen)).or_default();
        *streams += 1;
        who.insert(&listen.user);
    }
    people.into_iter().map(|(key, (streams, who))| (key, (streams, who.len()))).collect()
}

fn span(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    format!(r#"{{between: {{from: "{}", to: "{}"}}}}"#, from.to_rfc3339(), to.to_rfc3339())
}

/// The top 20 songs of each month. Among equal streams and listeners the order is ours, so what is compared is
/// that each place has the streams and listeners that it must have, and each song those that it has in the file.
async fn check_months(app: &App, listens: &[Listen]) {
    let mut from: DateTime<Utc> = "2021-12-01T00:00:00Z".parse().unwrap();
    let (mut months, last) = (0, listens.iter().map(|listen| listen.at).max().unwrap());
    while from <= last {
        let to = from.checked_add_months(Months::new(1)).unwrap();
        let inside = listens.iter().filter(|listen| (from..to).contains(&listen.at));
        let songs = counted(inside, |listen| (&*listen.artist, &*listen.track));
        let mut places: Vec<(usize, usize)> = songs.values().copied().collect();
        places.sort_unstable_by(|one, other| other.cmp(one));
        places.truncate(20);
        let during = span(from, to);
        let query = format!(
            "{{ ranking(of: SONG, by: STREAMS, during: {during}, first: 20) {{ nodes {{
                ... on Song {{ title artist {{ title }} metrics(during: {during}) {{ streams listeners {{ value }} }} }} }} }} }}"
        );
        let data = app.ask(&query).await;
        let mut listed = BTreeSet::new();
        let mut told = Vec::new();
        for song in data["ranking"]["nodes"].as_array().unwrap() {
            let count = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
            let numbers = (count(&song["metrics"]["streams"]), count(&song["metrics"]["listeners"]["value"]));
            let name = (song["artist"]["title"].as_str().unwrap(), song["title"].as_str().unwrap());
            assert_eq!(songs.get(&name), Some(&numbers), "{name:?} in the month from {from}");
            assert!(listed.insert(name), "{name:?} is there twice in the month from {from}");
            told.push(numbers);
        }
        assert_eq!(told, places, "the month from {from}");
        months += 1;
        from = to;
    }
    assert_eq!(months, 22);
}

/// Every artist's listeners in every stretch of 28 days, one after the other.
async fn check_listeners(app: &App, listens: &[Listen]) {
    let mut from: DateTime<Utc> = "2021-12-03T00:00:00Z".parse().unwrap();
    let (mut compared, last) = (0, listens.iter().map(|listen| listen.at).max().unwrap());
    while from <= last {
        let to = from + TimeDelta::days(28);
        let inside = listens.iter().filter(|listen| (from..to).contains(&listen.at));
        let expected = counted(inside, |listen| listen.artist.clone());
        let mut told = BTreeMap::new();
        let (mut after, mut has_next) = (json!(null), true);
        while has_next {
            let query = format!(
                "query ($after: String) {{ ranking(of: ARTIST, by: LISTENERS, during: {}, first: 200, after: $after) {{
                    pageInfo {{ hasNextPage endCursor }} edges {{ value node {{ title }} }} }} }}",
                span(from, to)
            );
            let answer = app.graphql(Some(&app.admin()), &query, json!({ "after": after })).await;
            let page = &answer["data"]["ranking"];
            for edge in page["edges"].as_array().unwrap_or_else(|| panic!("{answer:#}")) {
                let title = edge["node"]["title"].as_str().unwrap().to_owned();
                assert!(told.insert(title, edge["value"].as_f64().unwrap()).is_none(), "{edge} from {from}");
            }
            has_next = page["pageInfo"]["hasNextPage"] == true;
            after = page["pageInfo"]["endCursor"].clone();
        }
        let expected: BTreeMap<String, f64> =
            expected.into_iter().map(|(artist, (_, listeners))| (artist, listeners as f64)).collect();
        assert_eq!(told, expected, "28 days from {from}");
        compared += told.len();
        from = to;
    }
    assert!(compared > 5_000, "{compared} artists in all windows");
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
