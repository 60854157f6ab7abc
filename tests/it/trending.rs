//! What is heard more than usual, against a plain recount.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options},
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const KINDS: [&str; 4] = ["SONG", "ALBUM", "PLAYLIST", "ARTIST"];
const LISTED_MAX: usize = 100;

/// Name, half-lives of the fast and the slow velocity in days, UTC days of the fast window before today.
const PERIODS: [(&str, f64, f64, i64); 3] = [("DAY", 0.5, 7.0, 1), ("WEEK", 1.0, 14.0, 2), ("MONTH", 4.0, 56.0, 8)];

/// A stream of a song of artist-1.
fn stream(number: usize, song: &str, at_ms: i64, user: &str) -> Value {
    json!({
        "id": format!("{song}-{number}"), "type": "track.played", "occurredAt": at_ms, "userId": user,
        "songId": song, "artistId": "artist-1",
    })
}

/// Streams of a song by so many people, one each, at one time.
fn streams(song: &str, at_ms: i64, people: usize) -> Vec<Value> {
    (0..people).map(|person| stream(person + at_ms as usize, song, at_ms, &format!("user-{person}"))).collect()
}

#[derive(Debug, Clone, Default)]
struct Question {
    of: &'static str,
    period: &'static str,
    genre: Option<&'static str>,
    country: Option<&'static str>,
}

/// One entry: id, score, times usual, listeners.
type Item = (String, f64, f64, i64);

async fn ask_as(app: &App, token: &str, question: &Question) -> Vec<Item> {
    let mut arguments = format!("of: {}, period: {}, first: {LISTED_MAX}", question.of, question.period);
    for (name, value) in [("genre", question.genre), ("country", question.country)] {
        if let Some(value) = value {
            arguments += &format!(", {name}: \"{value}\"");
        }
    }
    let query = format!("{{ trending({arguments}) {{ score timesUsual listeners node {{ id }} }} }}");
    let answer = app.graphql(Some(token), &query, json!({})).await;
    let items = answer["data"]["trending"].as_array().unwrap_or_else(|| panic!("{query}\n{answer:#}"));
    let item = |item: &Value| {
        let number = |field: &str| item[field].as_f64().unwrap();
        let id = item["node"]["id"].as_str().unwrap().to_owned();
        (id, number("score"), number("timesUsual"), item["listeners"].as_i64().unwrap())
    };
    items.iter().map(item).collect()
}

async fn ask(app: &App, question: &Question) -> Vec<Item> {
    ask_as(app, &app.admin(), question).await
}

async fn songs(app: &App) -> Vec<String> {
    let question = Question { of: "SONG", period: "WEEK", ..Question::default() };
    ask(app, &question).await.into_iter().map(|(id, ..)| id).collect()
}

async fn merge(app: &App, kind: &str, from: &str, into: &str) {
    let input = format!(r#"{{kind: {kind}, fromId: "{from}", intoId: "{into}"}}"#);
    app.ask(&format!("mutation {{ mergeEntities(input: {input}) {{ entity {{ id }} }} }}")).await;
}

/// What is left of a stream of a day, in streams a day, as the README says it.
fn velocity(day: i64, now_ms: i64, half_life_days: f64) -> f64 {
    let days = |ms: i64| ms as f64 / DAY_MS as f64;
    let (oldest, newest) = (days(now_ms - day), days((now_ms - day - DAY_MS).max(0)));
    let integral = |age: f64| -half_life_days / 2_f64.ln() * (-age / half_life_days).exp2();
    let mean = if oldest > newest { (integral(oldest) - integral(newest)) / (oldest - newest) } else { 1.0 };
    mean * 2_f64.ln() / half_life_days
}

/// The definition once more, from the events.
fn recount(events: &[Value], question: &Question, now_ms: i64, read_as: &[(&str, &str)]) -> Vec<Item> {
    let &(_, fast_days, slow_days, window_days) = PERIODS.iter().find(|(name, ..)| *name == question.period).unwrap();
    let field = format!("{}Id", question.of.to_lowercase());
    let day_of = |at_ms: i64| at_ms.div_euclid(DAY_MS) * DAY_MS;
    let today = day_of(now_ms);
    let mut times: BTreeMap<(String, i64), BTreeMap<String, i64>> = BTreeMap::new();
    let mut listeners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut genres: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in events {
        let Some(id) = event[&field].as_str() else { continue };
        // Under the id that the event names: what is read as another has that one's.
        if let Some(genre) = event["genre"].as_str() {
            genres.entry(id.to_owned()).or_default().insert(genre.to_owned());
        }
        let id = read_as.iter().find(|(from, _)| *from == id).map_or(id, |(_, into)| into).to_owned();
        let is_there = question.country.is_none() || event["country"].as_str() == question.country;
        let is_stream = event["playedMs"].as_i64().is_none_or(|played| played >= 30_000);
        if !event["count"].is_null() || !is_stream || !is_there {
            continue;
        }
        let day = day_of(event["occurredAt"].as_i64().unwrap());
        let person = match (event["userId"].as_str(), event["anonymousId"].as_str()) {
            (Some(user), _) => {
                if day >= today - window_days * DAY_MS {
                    listeners.entry(id.clone()).or_default().insert(user.to_owned());
                }
                user.to_owned()
            }
            (None, Some(anonymous)) => format!("anonymous {anonymous}"),
            (None, None) => continue,
        };
        *times.entry((id, day)).or_default().entry(person).or_default() += 1;
    }
    let mut velocities: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for ((id, day), times) in times {
        let streams: i64 = times.values().map(|times| (*times).min(3)).sum();
        let add = |half_life: f64| {
            let is_kept = day >= day_of(now_ms - (8.0 * half_life * DAY_MS as f64) as i64);
            if is_kept { streams as f64 * velocity(day, now_ms, half_life) } else { 0.0 }
        };
        let sums = velocities.entry(id).or_default();
        *sums = (sums.0 + add(fast_days), sums.1 + add(slow_days));
    }
    let has = |id: &String, genre: &str| genres.get(id).is_some_and(|genres| genres.contains(genre));
    let mut items: Vec<Item> = velocities
        .into_iter()
        .filter(|(id, _)| question.genre.is_none_or(|genre| has(id, genre)))
        .map(|(id, (fast, slow))| {
            let times_usual = (fast + 5.0) / (slow + 5.0);
            let listeners = listeners.get(&id).map_or(0, BTreeSet::len) as i64;
            (id, times_usual.log2(), times_usual, listeners)
        })
        .filter(|(_, score, _, listeners)| *score > 0.0 && *listeners >= 5)
        .collect();
    items.sort_by(|one, other| other.1.total_cmp(&one.1));
    items
}

/// Compares an answer with the recount; returns how many entries there were.
async fn check(app: &App, events: &[Value], question: &Question, now_ms: i64, read_as: &[(&str, &str)]) -> usize {
    let (listed, expected) = (ask(app, question).await, recount(events, question, now_ms, read_as));
    let context = format!("{question:?}\nlisted {listed:#?}\nexpected {expected:#?}");
    assert_eq!(listed.len(), expected.len().min(LISTED_MAX), "{context}");
    let is_close = |one: f64, other: f64| (one - other).abs() <= 1e-9 * other.abs().max(1e-3);
    for (place, (id, score, times_usual, listeners)) in listed.iter().enumerate() {
        // By place for the order, by id for the numbers: among equals rounding may decide otherwise.
        assert!(is_close(*score, expected[place].1), "place {place} of {context}");
        let own = expected.iter().find(|own| own.0 == *id).unwrap_or_else(|| panic!("{id} of {context}"));
        assert!(is_close(*score, own.1) && is_close(*times_usual, own.2), "{id} of {context}");
        assert_eq!(*listeners, own.3, "{id} of {context}");
    }
    let keys: Vec<(f64, i64, &String)> = listed.iter().map(|item| (-item.1, -item.3, &item.0)).collect();
    assert!(keys.is_sorted(), "{context}");
    listed.len()
}

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let days = [3, 3, 30, 120][random.random_range(0..4)];
    let song = random.random_range(1..=8);
    let genre = ["pop", "jazz"][song % 2];
    let mut event = json!({
        "id": format!("event-{number}"), "type": "track.played", "songId": format!("song-{song}"),
        "occurredAt": T0 - random.random_range(0..days * DAY_MS), "artistId": format!("artist-{}", song % 3),
        "genre": genre,
    });
    match random.random_range(0..12) {
        0 => {}
        1 | 2 => event["anonymousId"] = json!(format!("user-{}", random.random_range(0..12))),
        _ => event["userId"] = json!(format!("user-{}", random.random_range(0..12))),
    }
    match random.random_range(0..12) {
        0 => event["count"] = json!(500),
        1 => event["playedMs"] = json!(29_999),
        _ => {}
    }
    for (field, some) in [("albumId", ["album-1", "album-2"]), ("playlistId", ["playlist-1", "playlist-2"])] {
        if random.random_range(0..3) > 0 {
            event[field] = json!(some[random.random_range(0..2)]);
        }
    }
    if random.random_range(0..4) > 0 {
        event["country"] = json!(["DE", "FR"][random.random_range(0..2)]);
    }
    event
}

on_every_database!(trends_equal_a_plain_recount, |database| {
    let mut random = StdRng::seed_from_u64(27);
    let events: Vec<Value> = (0..1_500).map(|number| random_event(&mut random, number)).collect();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events[..700]).await;
    app.merge_audience().await;
    app.record(&events[700..]).await;
    merge(&app, "SONG", "song-3", "song-4").await;
    merge(&app, "ARTIST", "artist-1", "artist-2").await;
    let read_as = [("song-3", "song-4"), ("artist-1", "artist-2")];
    let mut listed = 0;
    for of in KINDS {
        for (period, ..) in PERIODS {
            for genre in [None, Some("pop"), Some("folk")] {
                for country in [None, Some("DE"), Some("IT")] {
                    if genre.is_some() && of == "PLAYLIST" {
                        continue;
                    }
                    let question = Question { of, period, genre, country };
                    listed += check(&app, &events, &question, T0, &read_as).await;
                }
            }
        }
    }
    assert!(listed > 50, "{listed} entries");
    app.stop().await;
    // Three days later, from what is stored alone.
    let later = T0 + 3 * DAY_MS - 5 * HOUR_MS;
    let app = App::start_with(&database, Options::at(later)).await;
    app.merge_audience().await;
    for (period, ..) in PERIODS {
        let question = Question { of: "SONG", period, ..Question::default() };
        check(&app, &events, &question, later, &read_as).await;
    }
    app.stop().await;
});

on_every_database!(the_best_hundred_of_many_are_listed_whatever_their_past, |database| {
    let mut random = StdRng::seed_from_u64(7);
    let mut events = Vec::new();
    for song in 0..230 {
        for person in 0..random.random_range(5..9) {
            events.push(stream(person, &format!("song-{song}"), T0 - HOUR_MS, &format!("user-{person}")));
        }
        // Some have a past that the recent days do not show.
        for person in 0..random.random_range(0..20) {
            let at_ms = T0 - random.random_range(10..40) * DAY_MS;
            events.push(stream(100 + person, &format!("song-{song}"), at_ms, &format!("user-{person}")));
        }
    }
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events).await;
    app.merge_audience().await;
    for (period, ..) in PERIODS {
        let question = Question { of: "SONG", period, ..Question::default() };
        assert_eq!(check(&app, &events, &question, T0, &[]).await, LISTED_MAX, "{period}");
    }
    app.stop().await;
});

on_every_database!(a_burst_trends_over_what_is_always_heard, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    for day in 0..30 {
        app.record(&streams("steady", T0 - day * DAY_MS - HOUR_MS, 60)).await;
    }
    app.record(&streams("rising", T0 - HOUR_MS, 20)).await;
    assert_eq!(songs(&app).await, ["rising", "steady"], "open");
    app.merge_audience().await;
    let question = Question { of: "SONG", period: "WEEK", ..Question::default() };
    let merged = ask(&app, &question).await;
    assert_eq!(merged[0].3, 20, "{merged:?}");
    // One more acknowledged stream moves it.
    app.record(&[stream(1, "rising", T0, "somebody-new")]).await;
    let moved = ask(&app, &question).await;
    assert!(moved[0].0 == "rising" && moved[0].1 > merged[0].1 && moved[0].3 == 21, "{merged:?}\n{moved:?}");
    // Its artist is found under the same arguments, with what the catalogue knows.
    let data = app.ask(r#"{ trending(of: ARTIST) { node { __typename id } } }"#).await;
    assert_eq!(data["trending"], json!([{"node": {"__typename": "Artist", "id": "artist-1"}}]));
    app.stop().await;
    let mut last = moved[0].1;
    for days in 1..=2 {
        let app = App::start_with(&database, Options::at(T0 + days * DAY_MS)).await;
        let later = ask(&app, &question).await;
        assert!(later[0].0 == "rising" && later[0].1 < last, "{later:?}");
        last = later[0].1;
        app.stop().await;
    }
    let app = App::start_with(&database, Options::at(T0 + 3 * DAY_MS)).await;
    assert!(songs(&app).await.is_empty(), "nobody has listened for three days");
    app.stop().await;
});

on_every_database!(a_few_people_make_no_trend_however_often_they_listen, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let often = |song: &str, people: usize, times: usize| -> Vec<Value> {
        let numbers = (0..people).flat_map(|person| (0..times).map(move |time| (person, time)));
        let one = |(person, time)| stream(person * times + time, song, T0 - HOUR_MS, &format!("user-{person}"));
        numbers.map(one).collect()
    };
    app.record(&often("of-one-fan", 1, 1_000)).await;
    app.record(&often("of-four", 4, 10)).await;
    app.record(&often("of-five", 5, 3)).await;
    app.record(&often("of-five-often", 5, 50)).await;
    let mut anonymous = streams("of-nobody-signed-in", T0 - HOUR_MS, 20);
    for event in &mut anonymous {
        let person = event.as_object_mut().unwrap().remove("userId").unwrap();
        event["anonymousId"] = person;
    }
    app.record(&anonymous).await;
    let total =
        json!({"id": "total", "type": "track.played", "occurredAt": T0, "songId": "of-a-total", "count": 9_000});
    app.record(&[total]).await;
    assert_eq!(songs(&app).await, ["of-five", "of-five-often"]);
    let items = ask(&app, &Question { of: "SONG", period: "DAY", ..Question::default() }).await;
    assert_eq!((items[0].1, items[0].3), (items[1].1, 5), "what is over three streams a day does not count");
    app.stop().await;
});

on_every_database!(small_numbers_of_a_country_are_for_admins, |database| {
    let options = Options::at(T0).set("SHOWN_PEOPLE_MIN", 8);
    let app = App::start_with(&database, options).await;
    let mut events = [streams("heard-by-six", T0 - HOUR_MS, 6), streams("heard-by-eight", T0 - HOUR_MS, 8)].concat();
    events.iter_mut().for_each(|event| event["country"] = json!("DE"));
    app.record(&events).await;
    let question = |country| Question { of: "SONG", period: "WEEK", country, genre: None };
    for (asker, country, expected) in [
        (app.admin(), Some("DE"), &["heard-by-eight", "heard-by-six"][..]),
        (app.token("listener", &[]), Some("DE"), &["heard-by-eight"]),
        (app.token("artist", &["artist-1"]), Some("DE"), &["heard-by-eight"]),
        (app.token("listener", &[]), Some("FR"), &[]),
        (app.token("listener", &[]), None, &["heard-by-eight", "heard-by-six"]),
    ] {
        let ids: Vec<String> = ask_as(&app, &asker, &question(country)).await.into_iter().map(|item| item.0).collect();
        assert_eq!(ids, expected, "{country:?}");
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_named() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    for (arguments, field) in [
        ("first: 0", Some("first")),
        ("first: 101", Some("first")),
        (r#"country: "Germany""#, Some("country")),
        ("period: HOUR", None),
        ("period: YEAR", None),
    ] {
        let query = format!("{{ trending({arguments}) {{ score }} }}");
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert!(answer["errors"][0]["message"].is_string(), "{query}\n{answer:#}");
        if let Some(field) = field {
            assert_eq!(extensions, &json!({"code": "BAD_USER_INPUT", "field": field}), "{query}\n{answer:#}");
        } else {
            assert!(answer.to_string().contains("period"), "{query}\n{answer:#}");
        }
    }
    for arguments in [r#"genre: "none such""#, r#"genre: """#, "of: PLAYLIST", r#"of: PLAYLIST, genre: "pop""#] {
        let data = app.ask(&format!("{{ trending({arguments}) {{ score }} }}")).await;
        assert_eq!(data["trending"], json!([]), "{arguments}");
    }
    app.stop().await;
}
