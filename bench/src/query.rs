//! `query`: how long the questions of a dashboard take.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use hyper::body::Bytes;
use rand::RngExt;
use rand_distr::Zipf;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    error::BenchError,
    latency::{Latencies, Summary, round},
    progress,
    target::{Answer, Connection, Target},
};

const DASHBOARD: &str = include_str!("../documents/dashboard.graphql");
const ARTIST: &str = include_str!("../documents/artist.graphql");
const ACTIVE_USERS: &str = include_str!("../documents/active-users.graphql");
const RETENTION: &str = include_str!("../documents/retention.graphql");
const FUNNEL: &str = include_str!("../documents/funnel.graphql");
const EXPLORE: &str = include_str!("../documents/explore.graphql");
const LISTENER: &str = include_str!("../documents/listener.graphql");
const ACTIVITY: &str = include_str!("../documents/activity.graphql");
const RECOMMENDATIONS: &str = include_str!("../documents/recommendations.graphql");
const SIMILAR: &str = include_str!("../documents/similar.graphql");
const ASSISTED_PLAYLIST: &str = include_str!("../documents/assisted-playlist.graphql");
const RANKING: &str = include_str!("../documents/ranking.graphql");
const PAGE: &str = include_str!("../documents/page.graphql");

const PAGE_ARTISTS: u32 = 50;
/// Prominent artists are looked at more often; their numbers are also the larger ones.
const RANK_EXPONENT: f64 = 0.8;
/// Requests drawn before the clock starts; they come around again when used up.
const REQUESTS: usize = 4_096;
/// Listeners asked about one after the other: the busiest, since the load draws the first ones more often.
const LISTENERS_SAMPLED: u32 = 1_000;
/// Recommendations are asked for by one in 50 of all listeners, and about one in ten of all songs.
const LISTENERS: u32 = 100_000;
const LISTENERS_APART: usize = 50;
const SONGS: u32 = 50_000;
const SONGS_APART: usize = 10;
const SAMPLE_BYTES: usize = 400;

/// Measure GraphQL queries: an artist's dashboard, their own page with audience and markets, a ranking, a page of
/// 50 artists, active users, retention, a funnel, any group-by, one listener's numbers, what a listener did, what they may like next, what is like a song, a playlist made
/// from seeds.
///
/// Every connection asks its next question as soon as the last one is answered. The ranking is asked once
/// before anything else has warmed the server (restart it for a truly cold number), then repeatedly. With
/// --document, any one document is measured instead, on any GraphQL server of this machine.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// How long to measure each question.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Ask for artist-1 up to this one, the first ones more often.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    artists_sampled: u32,

    /// Which questions to measure; all, if not given.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Question>,

    /// Where GraphQL is served.
    #[arg(long, default_value = "/graphql")]
    graphql_path: String,

    /// Measure the GraphQL document in this file instead.
    #[arg(long)]
    document: Option<PathBuf>,

    /// The document's variables: a JSON file with an object, or with an array of objects that take turns.
    #[arg(long, requires = "document")]
    variables: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Question {
    Ranking,
    Dashboard,
    Artist,
    Page,
    ActiveUsers,
    Retention,
    Funnel,
    Explore,
    Listener,
    Activity,
    Recommendations,
    Similar,
    AssistedPlaylist,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    requests_per_second: f64,
    /// Whole answers with neither an error in them nor a bad status.
    ok: u64,
    /// Answers that carry GraphQL errors.
    with_errors: u64,
    /// Answers by status.
    statuses: BTreeMap<u16, u64>,
    broken_requests: u64,
    first_failure: Option<String>,
    answer_bytes_mean: u64,
    request_ms: Summary,
    /// The beginning of one good answer, to see that it says something.
    sample: Option<String>,
}

pub async fn run(target: &Target, options: &Options) -> Result<Value, BenchError> {
    if let Some(document) = &options.document {
        let bodies = document_bodies(document, options.variables.as_deref())?;
        return Ok(json!({ "document": measure(target, options, "document", bodies).await? }));
    }
    let mut results = json!({});
    let wants = |question| options.only.is_empty() || options.only.contains(&question);
    // First, while nothing has been asked yet.
    if wants(Question::Ranking) {
        let first = first_rankings(target, options).await?;
        let repeated = measure(target, options, "ranking", vec![ranking_body("STREAMS", "P7D")]).await?;
        let anew = rankings_anew(target, options).await?;
        results["ranking"] = json!({ "firstMs": first[0].ms, "first": first, "anew": anew, "repeated": repeated });
    }
    if wants(Question::Dashboard) {
        let bodies = artist_bodies(DASHBOARD, options.artists_sampled);
        results["dashboard"] = json!(measure(target, options, "dashboard", bodies).await?);
    }
    if wants(Question::Artist) {
        let bodies = artist_bodies(ARTIST, options.artists_sampled);
        results["artist"] = json!(measure(target, options, "artist", bodies).await?);
    }
    for (question, name, document) in [
        (Question::ActiveUsers, "activeUsers", ACTIVE_USERS),
        (Question::Retention, "retention", RETENTION),
        (Question::Funnel, "funnel", FUNNEL),
        (Question::Explore, "explore", EXPLORE),
        (Question::Listener, "listener", LISTENER),
    ] {
        if wants(question) {
            results[name] = json!(measure(target, options, name, vec![body(document, &json!({}))]).await?);
        }
    }
    for (question, name, bodies) in [
        (Question::Activity, "activity", activity_bodies as fn() -> Vec<Bytes>),
        (Question::Recommendations, "recommendations", recommendations_bodies),
        (Question::Similar, "similar", similar_bodies),
        (Question::AssistedPlaylist, "assistedPlaylist", assisted_playlist_bodies),
    ] {
        if wants(question) {
            results[name] = json!(measure(target, options, name, bodies()).await?);
        }
    }
    if wants(Question::Page) {
        let bodies = page_bodies(options.artists_sampled);
        results["page"] = json!(measure(target, options, "page", bodies).await?);
    }
    Ok(results)
}

#[derive(Serialize)]
struct First {
    by: &'static str,
    last: &'static str,
    ms: f64,
    failure: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Anew {
    request_ms: Summary,
    first_failure: Option<String>,
}

/// Rankings that nobody has asked for before, one after the other. The first one is the one that is later
/// repeated; the others differ by one argument, so that no cache of answers can help them.
async fn first_rankings(target: &Target, options: &Options) -> Result<Vec<First>, BenchError> {
    let mut connection = target.connection();
    connection.open().await?;
    let mut rankings = Vec::new();
    for (by, last) in [
        ("STREAMS", "P7D"),
        ("PLAYS", "P7D"),
        ("LIKES", "P7D"),
        ("SAVES", "P7D"),
        ("STREAMS", "P1D"),
        ("STREAMS", "P14D"),
        ("STREAMS", "P28D"),
    ] {
        progress::say(&format!("query: ranking by {by} of {last}, for the first time"));
        let asked = Instant::now();
        let answer = connection.ask(&options.graphql_path, ranking_body(by, last)).await?;
        rankings.push(First {
            by,
            last,
            ms: round(asked.elapsed().as_secs_f64() * 1_000.0),
            failure: failure(&answer),
        });
    }
    Ok(rankings)
}

/// Rankings of some seven days, each over a window of its own, one after the other: no cache of answers can help them, only
/// what the server keeps of days.
async fn rankings_anew(target: &Target, options: &Options) -> Result<Anew, BenchError> {
    const QUARTERS_OF_A_WEEK: u32 = 7 * 96;
    const WINDOWS: u32 = 90;

    let mut connection = target.connection();
    connection.open().await?;
    let mut latencies = Latencies::default();
    let mut first_failure = None;
    for fewer in 1..=WINDOWS {
        let last = format!("PT{}M", (QUARTERS_OF_A_WEEK - fewer) * 15);
        let asked = Instant::now();
        let answer = connection.ask(&options.graphql_path, ranking_body("STREAMS", &last)).await?;
        latencies.record(asked.elapsed());
        first_failure = first_failure.or_else(|| failure(&answer));
    }
    Ok(Anew { request_ms: latencies.summary(), first_failure })
}

async fn measure(target: &Target, options: &Options, name: &str, bodies: Vec<Bytes>) -> Result<Measured, BenchError> {
    let bodies: Arc<[Bytes]> = bodies.into();
    let path: Arc<str> = options.graphql_path.as_str().into();
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        let mut connection = target.connection();
        connection.open().await?;
        connections.push(connection);
    }
    progress::say(&format!("query: {name}, measuring for {} s", options.seconds));
    let started = Instant::now();
    let ends = started + Duration::from_secs(options.seconds);
    let mut tasks = JoinSet::new();
    for (place, connection) in connections.into_iter().enumerate() {
        // Each connection begins somewhere else, so that they do not ask the same thing at the same time.
        let first = place * bodies.len() / usize::from(options.connections);
        tasks.spawn(ask_until(ends, connection, path.clone(), bodies.clone(), first));
    }
    let mut tally = Tally::default();
    while let Some(finished) = tasks.join_next().await {
        tally.append(finished.expect("an asker does not panic"));
    }
    let seconds = started.elapsed().as_secs_f64();
    let request_ms = tally.latencies.summary();
    let measured = Measured {
        requests_per_second: (request_ms.count as f64 / seconds).round(),
        ok: tally.ok,
        with_errors: tally.with_errors,
        statuses: tally.statuses,
        broken_requests: tally.broken,
        first_failure: tally.first_failure,
        answer_bytes_mean: tally.bytes.checked_div(request_ms.count as u64).unwrap_or(0),
        request_ms,
        sample: tally.sample,
    };
    progress::say(&format!("query: {name}, p99 {} ms", measured.request_ms.p99));
    Ok(measured)
}

#[derive(Default)]
struct Tally {
    latencies: Latencies,
    ok: u64,
    with_errors: u64,
    statuses: BTreeMap<u16, u64>,
    broken: u64,
    bytes: u64,
    first_failure: Option<String>,
    sample: Option<String>,
}

impl Tally {
    fn append(&mut self, other: Tally) {
        self.latencies.append(other.latencies);
        self.ok += other.ok;
        self.with_errors += other.with_errors;
        other.statuses.into_iter().for_each(|(status, count)| *self.statuses.entry(status).or_default() += count);
        self.broken += other.broken;
        self.bytes += other.bytes;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.sample = self.sample.take().or(other.sample);
    }

    fn add(&mut self, answer: &Answer) {
        *self.statuses.entry(answer.status).or_default() += 1;
        self.bytes += answer.body.len() as u64;
        match failure(answer) {
            None => {
                self.ok += 1;
                self.sample.get_or_insert_with(|| {
                    String::from_utf8_lossy(&answer.body[..answer.body.len().min(SAMPLE_BYTES)]).into_owned()
                });
            }
            Some(failure) => {
                self.with_errors += u64::from(answer.is_success());
                self.first_failure.get_or_insert(failure);
            }
        }
    }
}

async fn ask_until(
    ends: Instant,
    mut connection: Connection,
    path: Arc<str>,
    bodies: Arc<[Bytes]>,
    first: usize,
) -> Tally {
    let mut tally = Tally::default();
    for body in bodies.iter().cycle().skip(first) {
        let asked = Instant::now();
        if asked >= ends {
            break;
        }
        match connection.ask(&path, body.clone()).await {
            Ok(answer) => {
                tally.latencies.record(asked.elapsed());
                tally.add(&answer);
            }
            Err(error) => {
                tally.broken += 1;
                tally.first_failure.get_or_insert(error.chain());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tally
}

/// What is wrong with an answer: its status, its errors, or its form.
fn failure(answer: &Answer) -> Option<String> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        errors: Option<&'a serde_json::value::RawValue>,
    }
    if !answer.is_success() {
        return Some(answer.excerpt());
    }
    match serde_json::from_slice::<Envelope>(&answer.body) {
        Ok(envelope) => envelope.errors.map(|errors| errors.get().chars().take(SAMPLE_BYTES).collect()),
        Err(_) => Some(answer.excerpt()),
    }
}

fn body(document: &str, variables: &Value) -> Bytes {
    json!({ "query": document, "variables": variables }).to_string().into()
}

fn ranking_body(by: &str, last: &str) -> Bytes {
    body(RANKING, &json!({ "by": by, "last": last }))
}

fn artist_bodies(document: &str, artists: u32) -> Vec<Bytes> {
    let ranks = Zipf::new(f64::from(artists), RANK_EXPONENT).expect("at least one artist is asked for");
    let mut dice = rand::rng();
    (0..REQUESTS).map(|_| body(document, &json!({ "id": format!("artist-{}", dice.sample(ranks)) }))).collect()
}

fn activity_bodies() -> Vec<Bytes> {
    (1..=LISTENERS_SAMPLED).map(|number| body(ACTIVITY, &json!({ "listener": format!("listener-{number}") }))).collect()
}

fn recommendations_bodies() -> Vec<Bytes> {
    let listeners = (1..=LISTENERS).step_by(LISTENERS_APART);
    listeners.map(|number| body(RECOMMENDATIONS, &json!({ "listener": format!("listener-{number}") }))).collect()
}

fn similar_bodies() -> Vec<Bytes> {
    songs().map(|number| body(SIMILAR, &json!({ "song": format!("song-{number}") }))).collect()
}

fn assisted_playlist_bodies() -> Vec<Bytes> {
    let seeds = songs().map(|number| json!([format!("song-{number}"), format!("song-{}", number / 3 + 1), "artist-7"]));
    seeds.map(|seeds| body(ASSISTED_PLAYLIST, &json!({ "seeds": seeds }))).collect()
}

fn songs() -> impl Iterator<Item = u32> {
    (1..=SONGS).step_by(SONGS_APART)
}

fn page_bodies(artists: u32) -> Vec<Bytes> {
    (1..=artists)
        .step_by(PAGE_ARTISTS as usize)
        .map(|first| {
            let last = artists.min(first + PAGE_ARTISTS - 1);
            let ids: Vec<_> = (first..=last).map(|number| format!("artist-{number}")).collect();
            body(PAGE, &json!({ "ids": ids }))
        })
        .collect()
}

fn document_bodies(document: &Path, variables: Option<&Path>) -> Result<Vec<Bytes>, BenchError> {
    let document = read(document)?;
    let variables = match variables {
        None => json!({}),
        Some(path) => {
            serde_json::from_str(&read(path)?).map_err(|source| BenchError::Json { path: path.to_owned(), source })?
        }
    };
    let turns = match variables {
        Value::Array(turns) if turns.is_empty() => {
            return Err(BenchError::Option("the array of variables is empty".into()));
        }
        Value::Array(turns) => turns,
        one => vec![one],
    };
    Ok(turns.iter().map(|turn| body(&document, turn)).collect())
}

pub fn read(path: &Path) -> Result<String, BenchError> {
    std::fs::read_to_string(path).map_err(|source| BenchError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(body: &Bytes) -> Value {
        serde_json::from_slice::<Value>(body).unwrap()["variables"].clone()
    }

    #[test]
    fn pages_hold_fifty_artists_and_the_last_one_the_rest() {
        let sizes = |artists| -> Vec<usize> {
            page_bodies(artists).iter().map(|body| variables(body)["ids"].as_array().unwrap().len()).collect()
        };
        assert_eq!(sizes(200), [50, 50, 50, 50]);
        assert_eq!(sizes(51), [50, 1]);
        assert_eq!(sizes(7), [7]);
    }

    #[test]
    fn dashboards_are_asked_for_by_rank() {
        let ids: Vec<_> = artist_bodies(DASHBOARD, 20).iter().map(|body| variables(body)["id"].clone()).collect();
        let asked = |number| ids.iter().filter(|id| **id == format!("artist-{number}")).count();
        assert_eq!((1..=20).map(asked).sum::<usize>(), REQUESTS);
        assert!(asked(1) > 3 * asked(20));
    }

    #[test]
    fn an_answer_fails_by_status_errors_or_form() {
        let answer = |status, body: &str| Answer { status, retry_after: None, body: body.to_owned().into() };
        assert_eq!(failure(&answer(200, r#"{"data":{"errors":1}}"#)), None);
        assert_eq!(failure(&answer(200, r#"{"data":null,"errors":null}"#)), None);
        assert!(failure(&answer(200, r#"{"data":null,"errors":[{"message":"no"}]}"#)).unwrap().contains("no"));
        assert!(failure(&answer(503, r#"{"data":{}}"#)).is_some());
        assert!(failure(&answer(200, "<html>")).is_some());
    }
}
