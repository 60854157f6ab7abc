//! Rankings against a plain recount: random events, windows and filters.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, rfc3339},
};

const CASES: u64 = 6;
/// Questions are asked after each.
const BATCHES: usize = 4;
const DAY_MS: i64 = 24 * 3_600_000;
const QUARTER_MS: i64 = 15 * 60_000;

/// How much there is to rank.
#[derive(Clone, Copy)]
struct Shape {
    songs: usize,
    events: usize,
    questions: usize,
    page_max: i64,
    /// How many lead each day.
    leaders: usize,
}

/// Everything is added up.
const FEW: Shape = Shape { songs: 14, events: 160, questions: 24, page_max: 5, leaders: 1_000 };
/// The first of a window are told by those of its days; the others are still added up.
const MANY: Shape = Shape { songs: 500, events: 6_000, questions: 16, page_max: 70, leaders: 200 };

/// What is asked: of which kind, by which metric, of which genre, in which country.
#[derive(Debug, Clone, Copy)]
struct Question {
    of: &'static str,
    by: &'static str,
    genre: Option<&'static str>,
    country: Option<&'static str>,
}

/// Everybody in order, with what they are ranked by.
type Ranking = Vec<(String, i64)>;

fn random_event(random: &mut StdRng, shape: Shape, number: usize) -> Value {
    // Where there are many, some are far more popular than others.
    let popularity = if shape.songs == FEW.songs { 1 } else { 5 };
    let song = (random.random_range(0.0..1.0_f64).powi(popularity) * shape.songs as f64) as usize;
    let is_play = random.random_range(0..5) > 0;
    let mut event = json!({
        "id": format!("event-{number}"), "type": if is_play { "track.played" } else { "track.liked" },
        "occurredAt": T0 - random.random_range(0..6 * DAY_MS), "songId": format!("song-{song}"),
        "artistId": format!("artist-{}", song % 4), "albumId": format!("album-{}", song % 6),
        "genre": (["pop", "rock", "jazz"][song % 3]),
    });
    if random.random_range(0..3) > 0 {
        event["country"] = json!(["DE", "FR", "BR"][random.random_range(0..3)]);
    }
    if is_play && random.random_range(0..3) > 0 {
        event["playedMs"] = json!(random.random_range(0..90_000));
    }
    if random.random_range(0..6) > 0 {
        event["userId"] = json!(format!("user-{}", random.random_range(0..9)));
    }
    if random.random_range(0..12) == 0 {
        event["count"] = json!(random.random_range(1..4));
    }
    event
}

/// The definitions once more, as plainly as they can be written. `merged` is a song that is read as song-0.
fn recount(events: &[Value], merged: Option<&str>, question: Question, from_ms: i64, to_ms: i64) -> Ranking {
    let Question { of, by, genre, country } = question;
    let of = of.to_lowercase();
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    let mut people: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut genres: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for event in events {
        let named = event[format!("{of}Id")].as_str().unwrap();
        genres.entry(named).or_default().insert(event["genre"].as_str().unwrap());
        let id = if of == "song" && Some(named) == merged { "song-0" } else { named };
        let is_inside = (from_ms..to_ms).contains(&event["occurredAt"].as_i64().unwrap());
        if !is_inside || country.is_some_and(|country| event["country"] != country) {
            continue;
        }
        let is_play = event["type"] == "track.played";
        let is_stream = is_play && event["playedMs"].as_i64().is_none_or(|played| played >= 30_000);
        let counts_for = match by {
            "PLAYS" => is_play,
            "STREAMS" => is_stream,
            // An album has the likes of albums, not of its songs.
            "LIKES" => !is_play && of != "album",
            _ => false,
        };
        *counts.entry(id).or_default() += if counts_for { event["count"].as_i64().unwrap_or(1) } else { 0 };
        if let Some(user) = event["userId"].as_str().filter(|_| is_stream && event["count"].is_null()) {
            people.entry(id).or_default().insert(user);
        }
    }
    let listeners = |id: &str| people.get(id).map_or(0, |people| people.len() as i64);
    let value = |(id, count): (&str, i64)| (id.to_owned(), if by == "LISTENERS" { listeners(id) } else { count });
    let mut ranking: Ranking = counts.into_iter().map(value).collect();
    ranking.retain(|(id, value)| *value > 0 && genre.is_none_or(|genre| genres[id.as_str()].contains(genre)));
    ranking.sort_by_key(|(id, value)| (Reverse(*value), Reverse(listeners(id)), id.clone()));
    ranking
}

/// An edge whose share is given in millionths: on the way through text its last digit can change.
fn rounded(edge: &Value) -> Value {
    let mut edge = edge.clone();
    edge["share"] = json!(edge["share"].as_f64().map(|share| (share * 1e6).round()));
    edge
}

fn place(ranking: &Ranking, id: &str) -> Option<i64> {
    ranking.iter().position(|(ranked, _)| ranked == id).map(|place| place as i64 + 1)
}

async fn check(app: &App, shape: Shape, events: &[Value], merged: Option<&str>, random: &mut StdRng, context: &str) {
    let pick = |random: &mut StdRng, some: &[&'static str]| some[random.random_range(0..some.len())];
    let any = Question {
        of: pick(random, &["SONG", "SONG", "ALBUM", "ARTIST"]),
        by: pick(random, &["PLAYS", "STREAMS", "LIKES", "LISTENERS"]),
        genre: (random.random_range(0..3) == 0).then(|| pick(random, &["pop", "rock", "polka"])),
        country: (random.random_range(0..3) == 0).then(|| pick(random, &["DE", "FR", "JP"])),
    };
    // Leaders tell of songs without filters; the rest is asked for all the same.
    let told = Question { of: "SONG", by: pick(random, &["PLAYS", "STREAMS"]), genre: None, country: None };
    let question = if shape.leaders < shape.songs && random.random_range(0..3) > 0 { told } else { any };
    let unit = [QUARTER_MS, DAY_MS][random.random_range(0..2)];
    let midnight = T0 - 12 * 3_600_000;
    let from_ms = midnight - random.random_range(0..5 * DAY_MS / unit) * unit;
    let to_ms = from_ms + random.random_range(1..=3 * DAY_MS / unit) * unit;
    let context = format!("{context}: {question:?} from {} to {}", rfc3339(from_ms), rfc3339(to_ms));
    let during = format!(r#"during: {{between: {{from: "{}", to: "{}"}}}}"#, rfc3339(from_ms), rfc3339(to_ms));
    let mut filter = String::new();
    for (name, value) in [("genre", question.genre), ("country", question.country)] {
        filter.extend(value.map(|value| format!(r#", {name}: "{value}""#)));
    }
    let Question { of, by, .. } = question;
    let size = random.random_range(1..=shape.page_max);
    let now = recount(events, merged, question, from_ms, to_ms);
    let before = recount(events, merged, question, 2 * from_ms - to_ms, from_ms);
    let sum: i64 = now.iter().map(|(_, value)| value).sum();
    let mut listed = Vec::new();
    let mut after = String::new();
    loop {
        let query = format!(
            "{{ ranking(of: {of}, by: {by}, {during}{filter}, first: {size}{after}) {{ totalCount pageInfo {{ hasNextPage endCursor }}
                edges {{ position value share previousPosition change node {{ id }} }} }} }}"
        );
        let data = app.ask(&query).await;
        let page = &data["ranking"];
        assert_eq!(page["totalCount"], now.len(), "{context}");
        listed.extend(page["edges"].as_array().unwrap().iter().map(rounded));
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = format!(", after: {}", page["pageInfo"]["endCursor"]);
    }
    let expected: Vec<Value> = (1..)
        .zip(&now)
        .map(|(position, (id, value))| {
            let previous = place(&before, id);
            let share = (by != "LISTENERS").then(|| *value as f64 / sum as f64);
            rounded(&json!({"position": position, "value": *value as f64, "share": share, "previousPosition": previous,
                "change": previous.map(|previous| previous - position), "node": {"id": id}}))
        })
        .collect();
    assert_eq!(listed, expected, "{context}");
    if filter.is_empty() {
        let field = format!("{}s", of.to_lowercase());
        let ids: Vec<String> =
            (0..shape.songs.min(100)).map(|number| format!("{}-{number}", of.to_lowercase())).collect();
        let query = format!(
            "{{ {field}(ids: {ids:?}) {{ id rank(by: {by}, {during}) {{ position previousPosition of percentile }} }} }}"
        );
        for entity in app.ask(&query).await[field].as_array().unwrap().iter().filter(|entity| !entity.is_null()) {
            let position = place(&now, entity["id"].as_str().unwrap());
            let of = now.len() as i64;
            let percentile = position.map(|position| 100.0 * (of - position + 1) as f64 / of as f64);
            let told = &entity["rank"];
            let whole = json!([told["position"], told["previousPosition"], told["of"]]);
            let previous = place(&before, entity["id"].as_str().unwrap());
            assert_eq!(whole, json!([position, previous, of]), "{context}: {entity}");
            let difference = told["percentile"].as_f64().unwrap_or(-1.0) - percentile.unwrap_or(-1.0);
            assert!(difference.abs() < 1e-9, "{context}: {entity} instead of {percentile:?}");
        }
    }
}

async fn check_case(seed: u64, shape: Shape, database: TestDatabase) {
    let mut random = StdRng::seed_from_u64(seed);
    let events: Vec<Value> = (0..shape.events).map(|number| random_event(&mut random, shape, number)).collect();
    let app = App::start_with(&database, Options::at(T0).set("DAY_LEADERS", shape.leaders)).await;
    // Read as one with another of its own genre: what it is read as has the genres.
    let merged = seed.is_multiple_of(2).then_some("song-3");
    for (batch, number) in events.chunks(shape.events / BATCHES).zip(1..) {
        app.record(batch).await;
        if random.random_range(0..2) == 0 {
            app.merge_audience().await;
        }
        if let Some(from) = merged.filter(|_| number == 1) {
            let input = format!(r#"{{kind: SONG, fromId: "{from}", intoId: "song-0"}}"#);
            app.ask(&format!("mutation {{ mergeEntities(input: {input}) {{ entity {{ id }} }} }}")).await;
        }
        let events = &events[..number * batch.len()];
        for _ in 0..shape.questions / BATCHES {
            check(&app, shape, events, merged, &mut random, &format!("seed {seed}, batch {number}")).await;
        }
    }
    app.stop().await;
}

on_every_database!(who_leads_on_no_day_can_lead_over_several, |database| {
    let app = App::start_with(&database, Options::at(T0).set("DAY_LEADERS", 100)).await;
    let (monday, tuesday) = (T0 - 3 * DAY_MS, T0 - 2 * DAY_MS);
    let plays = |song: String, day: i64, count: i64| {
        let id = format!("{song} on {day}");
        json!({"id": id, "type": "track.played", "occurredAt": day, "songId": song, "count": count})
    };
    let mut events: Vec<Value> = Vec::new();
    for number in 0..100 {
        events.push(plays(format!("of-monday-{number}"), monday, 8));
        events.push(plays(format!("of-tuesday-{number}"), tuesday, 8));
    }
    for (number, day) in [(1, monday), (1, tuesday), (2, monday), (2, tuesday)] {
        events.push(plays(format!("steady-{number}"), day, 5));
    }
    app.record(&events).await;
    let query = format!(
        r#"{{ ranking(of: SONG, by: PLAYS, during: {{between: {{from: "{}", to: "{}"}}}}, first: 3) {{ edges {{ value node {{ id }} }} }} }}"#,
        rfc3339(monday - monday.rem_euclid(DAY_MS)),
        rfc3339(tuesday - tuesday.rem_euclid(DAY_MS) + DAY_MS)
    );
    let edge = |id: &str, value: f64| json!({"value": value, "node": {"id": id}});
    let expected = json!([edge("steady-1", 10.0), edge("steady-2", 10.0), edge("of-monday-0", 8.0)]);
    assert_eq!(app.ask(&query).await["ranking"]["edges"], expected);
    // What is new is known among the leaders, with less than those who lead nowhere.
    let late: Vec<Value> = (0..10).map(|number| plays(format!("late-{number}"), monday, 1)).collect();
    app.record(&late).await;
    assert_eq!(app.ask(&query).await["ranking"]["edges"], expected);
    app.stop().await;
});

async fn check_cases(first_seed: u64, shape: Shape, database: impl AsyncFn() -> Option<TestDatabase>) {
    for seed in first_seed..first_seed + CASES {
        let Some(database) = database().await else { return };
        check_case(seed, shape, database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rankings_equal_a_plain_recount_on_sqlite() {
    check_cases(0, FEW, async || Some(TestDatabase::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rankings_equal_a_plain_recount_on_postgres() {
    check_cases(100, FEW, TestDatabase::postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rankings_told_by_the_leaders_of_days_equal_a_plain_recount_on_sqlite() {
    check_cases(200, MANY, async || Some(TestDatabase::sqlite())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rankings_told_by_the_leaders_of_days_equal_a_plain_recount_on_postgres() {
    check_cases(300, MANY, TestDatabase::postgres).await;
}
