//! `load`: fills the target with a history.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    demo::{History, Instants, Platform},
    error::BenchError,
    latency::{Latencies, Summary, round},
    now_ms, progress,
    target::{Answer, Connection, NDJSON, Target},
    traffic::{Batch, Counts, EVENTS_MAX, EVENTS_PATH, PlatformOptions, next_batch},
};

/// Tries of one request, the first included. With a second's pause each, a restart of the server is bridged.
const ATTEMPTS_MAX: u32 = 120;
const PAUSE: Duration = Duration::from_secs(1);

/// Fill the target with a history that ends now.
///
/// Events are sent oldest first as NDJSON to POST /v1/events. A request that is answered 429 or 503, or
/// whose connection breaks, is sent again as it was: the server knows each event by its id.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// How many events to send.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,

    /// How many days the history spans.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,

    /// When the history ends, in ms since 1970; now, if not given. With the same end and the same other
    /// options, every event of a second run is a duplicate.
    #[arg(long)]
    ends_at_ms: Option<i64>,

    /// Events in one request.
    #[arg(long, default_value_t = EVENTS_MAX, value_parser = clap::value_parser!(u32).range(1..=i64::from(EVENTS_MAX)))]
    batch: u32,

    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    #[command(flatten)]
    #[serde(flatten)]
    platform: PlatformOptions,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Results {
    starts_at_ms: i64,
    ends_at_ms: i64,
    seconds: f64,
    events: u64,
    events_per_second: f64,
    bytes: u64,
    requests: usize,
    retries: u64,
    #[serde(flatten)]
    counts: Counts,
    first_refusal: Option<Value>,
    request_ms: Summary,
}

pub async fn run(target: &Target, options: &Options) -> Result<Value, BenchError> {
    let ends_at_ms = options.ends_at_ms.unwrap_or_else(now_ms);
    let seed = options.platform.seed;
    let history = History { events: options.events, days: options.days, ends_at_ms, seed };
    let supply = Arc::new(Supply {
        platform: options.platform.platform().with_id_prefix(format!("load-{seed:x}-{ends_at_ms:x}-")),
        instants: Mutex::new((0..).zip(Instants::new(history))),
        batch: options.batch,
    });
    let tally = Arc::new(Mutex::new(Tally::default()));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..options.connections {
        tasks.spawn(send_all(target.connection(), supply.clone(), tally.clone(), options.events, started));
    }
    while let Some(finished) = tasks.join_next().await {
        finished.expect("a sender does not panic")?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    let request_ms = tally.latencies.summary();
    Ok(json!(Results {
        starts_at_ms: ends_at_ms - i64::from(options.days) * 24 * 3_600_000,
        ends_at_ms,
        seconds: round(seconds),
        events: tally.events,
        events_per_second: (tally.events as f64 / seconds).round(),
        bytes: tally.bytes,
        requests: request_ms.count,
        retries: tally.retries,
        counts: tally.counts,
        first_refusal: tally.first_refusal,
        request_ms,
    }))
}

/// Where all connections get their next request from, in the order of time.
struct Supply<I> {
    platform: Platform,
    instants: Mutex<I>,
    batch: u32,
}

impl<I: Iterator<Item = (u64, i64)>> Supply<I> {
    fn next(&self) -> Option<Batch> {
        let mut instants = self.instants.lock().unwrap_or_else(PoisonError::into_inner);
        next_batch(&self.platform, &mut *instants, self.batch)
    }
}

#[derive(Default)]
struct Tally {
    events: u64,
    bytes: u64,
    retries: u64,
    counts: Counts,
    first_refusal: Option<Value>,
    latencies: Latencies,
}

async fn send_all<I: Iterator<Item = (u64, i64)>>(
    mut connection: Connection,
    supply: Arc<Supply<I>>,
    tally: Arc<Mutex<Tally>>,
    events: u64,
    started: Instant,
) -> Result<(), BenchError> {
    while let Some(batch) = supply.next() {
        let sent = Instant::now();
        let (answer, retries) = deliver(&mut connection, &batch.body).await?;
        let took = sent.elapsed();
        let counts = Counts::read(&answer)?;
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.events += batch.events;
        tally.bytes += batch.body.len() as u64;
        tally.retries += u64::from(retries);
        tally.counts += counts;
        tally.latencies.record(took);
        if tally.first_refusal.is_none() {
            tally.first_refusal = counts.first_refusal(&answer);
        }
        progress::tick(|| {
            let per_second = tally.events as f64 / started.elapsed().as_secs_f64();
            format!("load: {} of {events} events, {per_second:.0} a second", tally.events)
        });
    }
    Ok(())
}

/// Sends the body until it is taken. Any answer but "later" ends the run.
async fn deliver(connection: &mut Connection, body: &hyper::body::Bytes) -> Result<(Answer, u32), BenchError> {
    let mut last = String::new();
    for retries in 0..ATTEMPTS_MAX {
        let pause = match connection.post(EVENTS_PATH, NDJSON, body.clone()).await {
            Ok(answer) if answer.is_success() => return Ok((answer, retries)),
            Ok(answer) if matches!(answer.status, 429 | 503) => {
                last = answer.excerpt();
                answer.retry_after.unwrap_or(PAUSE)
            }
            Ok(answer) => return Err(BenchError::Refused { status: answer.status, body: answer.excerpt() }),
            Err(error) => {
                last = error.chain();
                PAUSE
            }
        };
        progress::tick(|| format!("load: waiting {} s: {last}", pause.as_secs()));
        sleep(pause).await;
    }
    Err(BenchError::Exhausted { attempts: ATTEMPTS_MAX, last })
}
