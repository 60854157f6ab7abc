//! How songs and albums took off, against a plain recount.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options},
};

const DAY_MS: i64 = 24 * 3_600_000;
const CURVE: &str =
    "node { id } firstStreamedOn points { day on isComplete streams directStreams listeners { value isProvisional } }";

/// A stream of a song of artist-1, so many days ago.
fn stream(song: &str, days_ago: i64, user: &str) -> Value {
    json!({
        "id": format!("{song}-{days_ago}-{user}"), "type": "track.played", "occurredAt": T0 - days_ago * DAY_MS,
        "userId": user, "songId": song, "artistId": "artist-1",
    })
}

fn date(day: i64) -> String {
    chrono::DateTime::from_timestamp_millis(day).unwrap().date_naive().to_string()
}

async fn ask(app: &App, kind: &str, id: &str, days: usize) -> Value {
    let query = format!(
        r#"{{ {kind}(id: "{id}") {{ releaseCurve(days: {days}) {{ curve {{ {CURVE} }} earlier {{ {CURVE} }} }} }} }}"#
    );
    app.ask(&query).await[kind]["releaseCurve"].clone()
}

async fn merge(app: &App, kind: &str, from: &str, into: &str) {
    let input = format!(r#"{{kind: {kind}, fromId: "{from}", intoId: "{into}"}}"#);
    app.ask(&format!("mutation {{ mergeEntities(input: {input}) {{ entity {{ id }} }} }}")).await;
}

/// Streams and listeners of a curve's points, and the day of the first.
fn numbers(curve: &Value) -> (String, Vec<(i64, i64)>) {
    let point = |point: &Value| (point["streams"].as_i64().unwrap(), point["listeners"]["value"].as_i64().unwrap());
    let first = curve["firstStreamedOn"].as_str().unwrap().to_owned();
    (first, curve["points"].as_array().unwrap().iter().map(point).collect())
}

/// One event's part: UTC day, streams, direct streams, listener.
type Told = (i64, i64, i64, Option<String>);

/// What events tell about each work of a kind, by the id that it is read as.
fn told(events: &[Value], kind: &str, read_as: &[(&str, &str)]) -> BTreeMap<String, Vec<Told>> {
    let mut works: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    for event in events {
        let Some(id) = event[format!("{kind}Id")].as_str() else { continue };
        if event["playedMs"].as_i64().is_some_and(|played| played < 30_000) {
            continue;
        }
        let id = read_as.iter().find(|(from, _)| *from == id).map_or(id, |(_, into)| into);
        let day = event["occurredAt"].as_i64().unwrap().div_euclid(DAY_MS) * DAY_MS;
        let streams = event["count"].as_i64().unwrap_or(1);
        let listener = event["userId"].as_str().filter(|_| event["count"].is_null()).map(str::to_owned);
        works.entry(id.to_owned()).or_default().push((day, streams, streams, listener));
    }
    works
}

/// The definition once more: the curve of one work.
fn curve(id: &str, told: &[Told], kind: &str, days: i64) -> Value {
    let today = T0.div_euclid(DAY_MS) * DAY_MS;
    let first_day = told.iter().map(|(day, ..)| *day).min().unwrap();
    let points: Vec<Value> = (0..days)
        .map(|number| (number, first_day + number * DAY_MS))
        .filter(|(_, day)| *day <= today)
        .map(|(number, day)| {
            let until = told.iter().filter(|(of, ..)| *of <= day);
            let streams: i64 = until.clone().map(|(_, streams, ..)| streams).sum();
            let direct: i64 = until.clone().map(|(_, _, direct, _)| direct).sum();
            let listeners: BTreeSet<&String> = until.filter_map(|(.., listener)| listener.as_ref()).collect();
            json!({
                "day": number, "on": date(day), "isComplete": day < today, "streams": streams,
                "directStreams": if kind == "album" { json!(direct) } else { Value::Null },
                "listeners": {"value": listeners.len(), "isProvisional": day == today},
            })
        })
        .collect();
    json!({"node": {"id": id}, "firstStreamedOn": date(first_day), "points": points})
}

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let song = random.random_range(0..10_i64);
    // Each began on a day of its own, some of them together.
    let age = random.random_range(0..=(song / 2) * 20 + 3);
    let mut event = stream(&format!("song-{song}"), age, &format!("user-{}", random.random_range(0..30)));
    event["id"] = json!(format!("event-{number}"));
    event["artistId"] = json!(format!("artist-{}", song % 2));
    event["albumId"] = json!(format!("album-{}", song / 2));
    match random.random_range(0..6) {
        0 => event["count"] = json!(7),
        1 => event["playedMs"] = json!(29_999),
        2 => drop(event.as_object_mut().unwrap().remove("userId")),
        _ => {}
    }
    event
}

on_every_database!(curves_equal_a_plain_recount, |database| {
    let mut random = StdRng::seed_from_u64(13);
    let mut events: Vec<Value> = (0..600).map(|number| random_event(&mut random, number)).collect();
    events.shuffle(&mut random);
    let app = App::start_with(&database, Options::at(T0)).await;
    // Whose the albums are, of which both artists have songs, is the first event's word: it is told beforehand.
    let albums: Vec<Value> = (0..5)
        .map(|album| json!({"id": format!("album-{album}"), "credits": [{"artistId": "artist-0", "role": "MAIN"}]}))
        .collect();
    let document = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { rejected } }";
    let answer = app.graphql(Some(&app.admin()), document, json!({"input": {"albums": albums}})).await;
    assert_eq!(answer["data"]["upsertCatalog"]["rejected"], 0, "{answer}");
    app.record(&events[..400]).await;
    app.merge_audience().await;
    app.record(&events[400..]).await;
    for merged in [false, true] {
        let read_as: &[(&str, &str)] =
            if merged { &[("song-8", "song-2"), ("album-4", "album-0"), ("artist-1", "artist-0")] } else { &[] };
        if merged {
            merge(&app, "SONG", "song-8", "song-2").await;
            merge(&app, "ALBUM", "album-4", "album-0").await;
            merge(&app, "ARTIST", "artist-1", "artist-0").await;
        }
        for kind in ["song", "album"] {
            let works = told(&events, kind, read_as);
            let first_day = |id: &String| works[id].iter().map(|(day, ..)| *day).min().unwrap();
            let number = |id: &String| id.split_once('-').unwrap().1.parse::<i64>().unwrap();
            // Song 2, which song 8 is read as, is of the same artist.
            let artist_of = |id: &String| if merged || kind == "album" { 0 } else { number(id) % 2 };
            for (id, told) in &works {
                for days in [1, 28, 365] {
                    let mut earlier: Vec<&String> = works
                        .keys()
                        .filter(|other| artist_of(other) == artist_of(id) && first_day(other) < first_day(id))
                        .collect();
                    earlier.sort_by_key(|id| (-first_day(id), *id));
                    let expected = json!({
                        "curve": curve(id, told, kind, days),
                        "earlier": earlier.iter().take(5).map(|id| curve(id, &works[*id], kind, days)).collect::<Vec<_>>(),
                    });
                    let answer = ask(&app, kind, id, days as usize).await;
                    assert_eq!(answer, expected, "{id} merged: {merged}, {days} days");
                }
            }
        }
    }
    app.verify().await;
    app.stop().await;
});

on_every_database!(a_late_event_moves_the_first_day, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[stream("song-1", 2, "anna"), stream("song-1", 1, "bert"), stream("song-1", 0, "anna")]).await;
    let curve = ask(&app, "song", "song-1", 28).await["curve"].clone();
    assert_eq!(numbers(&curve), ("2026-06-13".to_owned(), vec![(1, 1), (2, 2), (3, 2)]));
    let is_complete = |day: usize| &curve["points"][day]["isComplete"];
    assert_eq!([is_complete(1), is_complete(2)], [&json!(true), &json!(false)]);
    app.merge_audience().await;
    // What is no stream does not begin a release.
    let mut liked = stream("song-1", 9, "carl");
    liked["type"] = json!("track.liked");
    let mut skipped = stream("song-1", 8, "carl");
    skipped["playedMs"] = json!(1_000);
    app.record(&[liked, skipped]).await;
    assert_eq!(ask(&app, "song", "song-1", 28).await["curve"], curve);
    app.record(&[stream("song-1", 4, "carl")]).await;
    for stage in ["open", "merged"] {
        let curve = ask(&app, "song", "song-1", 4).await["curve"].clone();
        assert_eq!(numbers(&curve), ("2026-06-11".to_owned(), vec![(1, 1), (1, 1), (2, 2), (3, 3)]), "{stage}");
        app.merge_audience().await;
    }
    // Its date as the catalogue says it does not matter; what is found by another's token is the same.
    let query = r#"{ song(id: "song-1") { releaseCurve(days: 1) { curve { points { streams } } } } }"#;
    let answer = app.graphql(Some(&app.token("listener", &[])), query, json!({})).await;
    assert_eq!(answer["data"]["song"]["releaseCurve"], json!({"curve": {"points": [{"streams": 1}]}}), "{answer}");
    app.stop().await;
});

on_every_database!(an_albums_streams_are_of_its_songs_and_direct_ones_of_itself, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let input = json!({"songs": [{"id": "song-1", "albumId": "album-1"}]});
    let document = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { rejected } }";
    app.graphql(Some(&app.admin()), document, json!({ "input": input })).await;
    let mut elsewhere = stream("song-1", 1, "bert");
    elsewhere["albumId"] = json!("best-of");
    let mut direct = stream("song-1", 0, "anna");
    direct["albumId"] = json!("album-1");
    app.record(&[elsewhere, direct]).await;
    let points = ask(&app, "album", "album-1", 28).await["curve"]["points"].clone();
    let of_day = |day: usize| (&points[day]["streams"], &points[day]["directStreams"]);
    assert_eq!([of_day(0), of_day(1)], [(&json!(1), &json!(0)), (&json!(2), &json!(1))]);
    // Nothing was streamed of the other one: its song is another's.
    assert_eq!(ask(&app, "album", "best-of", 28).await, Value::Null);
    app.stop().await;
});

on_every_database!(a_page_of_curves_costs_as_many_statements_as_one, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let songs = (0..40).flat_map(|song| (0..3).map(move |day| (song, day)));
    let events: Vec<Value> = songs
        .map(|(song, day)| {
            let mut event = stream(&format!("song-{song}"), song + 3 * day, "anna");
            event["artistId"] = json!(format!("artist-{}", song % 4));
            event
        })
        .collect();
    app.record(&events).await;
    app.merge_audience().await;
    let statements_of = async |count: usize| {
        let ids: Vec<String> = (0..count).map(|song| format!("song-{song}")).collect();
        let query = format!("{{ songs(ids: {}) {{ releaseCurve {{ earlier {{ {CURVE} }} }} }} }}", json!(ids));
        let before = app.statements.load(Ordering::SeqCst);
        app.ask(&query).await;
        app.statements.load(Ordering::SeqCst) - before
    };
    let (few, many) = (statements_of(2).await, statements_of(40).await);
    assert!(few == many && many < 15, "{few} for 2, {many} for 40");
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_named() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[stream("song-1", 0, "anna")]).await;
    for days in [0, -1, 366] {
        let query =
            format!(r#"{{ song(id: "song-1") {{ releaseCurve(days: {days}) {{ curve {{ firstStreamedOn }} }} }} }}"#);
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{answer:#}");
        assert_eq!(answer["errors"][0]["extensions"]["field"], "days", "{answer:#}");
    }
    app.stop().await;
}
