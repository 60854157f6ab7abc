//! `ingest`: how many events a second the target makes durable, by how many come in one request.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    demo::Platform,
    error::BenchError,
    latency::{Latencies, Summary, round},
    now_ms, progress,
    target::{Connection, NDJSON, Target},
    traffic::{Batch, Counts, EVENTS_MAX, EVENTS_PATH, PlatformOptions, next_batch, run_id},
};

/// Events to have ready for each second: more than a server on the same machine has been seen to take, at
/// about 300 bytes each.
const EVENTS_PER_SECOND: u64 = 200_000;
const REQUESTS_PER_SECOND: u64 = 30_000;
/// Events pretend to have happened this long ago at most, as those of players on slow networks do.
const AGE_MS: i64 = 100_000;
/// Lets the server finish what it does behind its answers before the next size begins.
const PAUSE: Duration = Duration::from_secs(1);

/// Measure durable events a second over POST /v1/events, for several request sizes.
///
/// Every connection sends its next request as soon as the last one is answered; all bodies are made before
/// the clock starts. An event counts when the answer says that it was accepted.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Events in one request; each size is measured on its own.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,100,1000",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(EVENTS_MAX))
    )]
    per_request: Vec<u32>,

    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// How long to measure each size.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// Events to have ready for each size, at about 300 bytes of memory; by default enough for a fast
    /// server. When they are used up, the measurement ends early and says so.
    #[arg(long)]
    events: Option<u64>,

    #[command(flatten)]
    #[serde(flatten)]
    platform: PlatformOptions,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Results {
    per_request: u32,
    seconds: f64,
    /// Accepted events only.
    events_per_second: f64,
    requests_per_second: f64,
    #[serde(flatten)]
    counts: Counts,
    /// Answers by status, the good ones included.
    statuses: BTreeMap<u16, u64>,
    broken_requests: u64,
    first_failure: Option<String>,
    ran_out_of_events: bool,
    request_ms: Summary,
}

pub async fn run(target: &Target, options: &Options) -> Result<Value, BenchError> {
    let platform = options.platform.platform();
    let run = run_id();
    let mut results = Vec::new();
    for per_request in &options.per_request {
        if !results.is_empty() {
            sleep(PAUSE).await;
        }
        results.push(measure(target, options, &platform, &run, *per_request).await?);
    }
    Ok(json!({ "run": run, "sizes": results }))
}

async fn measure(
    target: &Target,
    options: &Options,
    platform: &Platform,
    run: &str,
    per_request: u32,
) -> Result<Results, BenchError> {
    progress::say(&format!("ingest: making events, {per_request} a request"));
    let batches: Arc<[Batch]> = batches(options, platform, run, per_request).into();
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        let mut connection = target.connection();
        connection.open().await?;
        connections.push(connection);
    }
    progress::say(&format!("ingest: measuring for {} s, {per_request} a request", options.seconds));
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let ends = started + Duration::from_secs(options.seconds);
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(send_until(ends, connection, batches.clone(), next.clone()));
    }
    let mut tally = Tally::default();
    while let Some(finished) = tasks.join_next().await {
        tally.append(finished.expect("a sender does not panic"));
    }
    let elapsed = started.elapsed();
    let seconds = elapsed.as_secs_f64();
    let request_ms = tally.latencies.summary();
    let results = Results {
        per_request,
        seconds: round(seconds),
        events_per_second: (tally.counts.accepted as f64 / seconds).round(),
        requests_per_second: (request_ms.count as f64 / seconds).round(),
        counts: tally.counts,
        statuses: tally.statuses,
        broken_requests: tally.broken,
        first_failure: tally.first_failure,
        ran_out_of_events: next.load(Ordering::Relaxed) > batches.len(),
        request_ms,
    };
    progress::say(&format!("ingest: {} events a second, {per_request} a request", results.events_per_second));
    Ok(results)
}

/// Requests whose events have ids of their own and happened just now.
fn batches(options: &Options, platform: &Platform, run: &str, per_request: u32) -> Vec<Batch> {
    let per_second = EVENTS_PER_SECOND.min(REQUESTS_PER_SECOND * u64::from(per_request));
    let events = options.events.unwrap_or(per_second * options.seconds).max(1);
    let platform = platform.clone().with_id_prefix(format!("bench-{run}-{per_request}-"));
    let starts_at_ms = now_ms() - AGE_MS;
    let at_ms = |number: u64| starts_at_ms + (number as f64 / events as f64 * AGE_MS as f64) as i64;
    let mut instants = (0..events).map(|number| (number, at_ms(number)));
    std::iter::from_fn(|| next_batch(&platform, &mut instants, per_request)).collect()
}

#[derive(Default)]
struct Tally {
    counts: Counts,
    latencies: Latencies,
    statuses: BTreeMap<u16, u64>,
    broken: u64,
    first_failure: Option<String>,
}

impl Tally {
    fn append(&mut self, other: Tally) {
        self.counts += other.counts;
        self.latencies.append(other.latencies);
        other.statuses.into_iter().for_each(|(status, count)| *self.statuses.entry(status).or_default() += count);
        self.broken += other.broken;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }
}

async fn send_until(ends: Instant, mut connection: Connection, batches: Arc<[Batch]>, next: Arc<AtomicUsize>) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < ends {
        let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
        let sent = Instant::now();
        let failure = match connection.post(EVENTS_PATH, NDJSON, batch.body.clone()).await {
            Ok(answer) => {
                tally.latencies.record(sent.elapsed());
                *tally.statuses.entry(answer.status).or_default() += 1;
                match Counts::read(&answer) {
                    Ok(counts) if answer.is_success() => {
                        tally.counts += counts;
                        counts.first_refusal(&answer).map(|refusal| refusal.to_string())
                    }
                    _ => {
                        // Not sent again, so that a refused request is neither counted nor hidden.
                        let pause = answer.retry_after.unwrap_or_default();
                        sleep(pause.min(ends.saturating_duration_since(Instant::now()))).await;
                        Some(answer.excerpt())
                    }
                }
            }
            Err(error) => {
                tally.broken += 1;
                // A server that is gone should not be asked a million times a second whether it is back.
                sleep(Duration::from_millis(100)).await;
                Some(error.chain())
            }
        };
        tally.first_failure = tally.first_failure.or(failure);
    }
    tally
}
