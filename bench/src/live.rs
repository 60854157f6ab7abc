//! `live`: how soon after its acknowledgement an event has reached everybody who watches.
//!
//! Each watcher is one task with one socket, and writes down when it heard which count. The sender has a
//! thread of its own, so that the moment of an acknowledgement is not read late because thousands of
//! watchers are being served. Who heard what when is compared only after the end.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

use crate::{
    demo::write_instant,
    error::BenchError,
    latency::{Latencies, Summary, round},
    now_ms, process, progress,
    query::read,
    socket::{Plan, Socket},
    target::{JSON, Target},
    traffic::{Counts, EVENTS_PATH, run_id},
};

const LIVE: &str = include_str!("../documents/live.graphql");

/// How many sockets are being opened at the same time; more would measure the listener's queue.
const OPENING_MAX: usize = 64;
const ATTEMPTS_MAX: u32 = 3;
const FIRST_STATE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long after the last event a message may still come before it counts as missed.
const GRACE: Duration = Duration::from_secs(3);
/// Lets what belongs to opening the sockets end before memory is read and events are sent.
const SETTLE: Duration = Duration::from_secs(1);

/// Measure live fan-out: many WebSockets watch one counter while an event is sent now and then.
///
/// Every watcher speaks graphql-transport-ws and subscribes to today's plays of artist-1. For each event
/// and watcher, the time from the acknowledgement of the event to the first message whose count includes it
/// is taken. Nobody else may send plays of artist-1 meanwhile. Client and server each need an open file a
/// watcher (`ulimit -n`); the client raises its own soft limit where the hard limit allows it.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// How many sockets to open. One client address has some 28,000 ports.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=28_000))]
    watchers: u32,

    /// For how long to send events.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// The mean time between two events. Each pause is up to a fifth longer or shorter, so that sending
    /// does not fall into step with a server that publishes at fixed intervals.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    every_ms: u64,

    /// The server's process, to read its memory before and after the sockets are open.
    #[arg(long)]
    pid: Option<u32>,

    /// Where GraphQL is served, over sockets and over HTTP.
    #[arg(long, default_value = "/graphql")]
    graphql_path: String,

    /// Subscribe to the document in this file instead.
    #[arg(long)]
    document: Option<PathBuf>,

    /// Where the count is in the document's data, as a JSON pointer.
    #[arg(long, default_value = "/metrics/metrics/plays")]
    counter: String,

    /// Instead of sending an event, post the GraphQL mutation in this file; it gets the variables `id` and
    /// `occurredAt`, and must raise the count by one.
    #[arg(long)]
    trigger: Option<PathBuf>,
}

impl Options {
    /// A socket each, and what the program itself needs.
    pub fn open_files(&self) -> u64 {
        u64::from(self.watchers) + 100
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Results {
    open_watchers: usize,
    failed_watchers: u32,
    first_failure: Option<String>,
    /// Sockets that broke while they were watched.
    broken_watchers: usize,
    open_seconds: f64,
    events_sent: usize,
    messages: usize,
    /// Pairs of event and watcher.
    missed: usize,
    /// Messages that were there before the acknowledgement; they count as 0 ms.
    before_acknowledgement: usize,
    from_acknowledgement_ms: Summary,
    from_sending_ms: Summary,
    acknowledgement_ms: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_memory: Option<Memory>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    before_bytes: u64,
    open_bytes: u64,
    after_bytes: u64,
    per_watcher_bytes: f64,
}

pub async fn run(target: &Target, options: &Options) -> Result<Value, BenchError> {
    let resident = || options.pid.map(process::resident_bytes).transpose();
    let before_bytes = resident()?;
    let opened = Instant::now();
    let mut audience = Audience::open(target, options).await?;
    let open_seconds = opened.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    let open_bytes = resident()?;

    progress::say(&format!("live: {} watch, sending for {} s", audience.size, options.seconds));
    let sender = Sender::new(target, options)?;
    let sending = tokio::task::spawn_blocking(move || sender.run());
    let sent = sending.await.expect("the sender does not panic")?;
    sleep(GRACE).await;
    let after_bytes = resident()?;
    let heard = audience.leave().await;

    let compared = compare(audience.count, &sent, &heard);
    let mut acknowledgement = Latencies::default();
    sent.iter().for_each(|sent| acknowledgement.record(sent.acknowledged_at - sent.sent_at));
    let server_memory = before_bytes.zip(open_bytes).zip(after_bytes).map(|((before, open), after)| Memory {
        before_bytes: before,
        open_bytes: open,
        after_bytes: after,
        per_watcher_bytes: round((after.max(open) as f64 - before as f64) / audience.size as f64),
    });
    Ok(json!(Results {
        open_watchers: audience.size,
        failed_watchers: audience.failed,
        first_failure: audience.first_failure,
        broken_watchers: heard.iter().filter(|heard| heard.is_broken).count(),
        open_seconds: round(open_seconds),
        events_sent: sent.len(),
        messages: heard.iter().map(|heard| heard.counts.len()).sum(),
        missed: compared.missed,
        before_acknowledgement: compared.early,
        from_acknowledgement_ms: compared.from_acknowledgement.summary(),
        from_sending_ms: compared.from_sending.summary(),
        acknowledgement_ms: acknowledgement.summary(),
        server_memory,
    }))
}

/// What one watcher heard, in order.
#[derive(Debug, Default)]
struct Heard {
    counts: Vec<(i64, Instant)>,
    is_broken: bool,
}

/// Those who watch.
struct Audience {
    watchers: JoinSet<Option<Heard>>,
    leave: watch::Sender<bool>,
    size: usize,
    failed: u32,
    first_failure: Option<String>,
    /// The count before any event was sent.
    count: i64,
}

impl Audience {
    async fn open(target: &Target, options: &Options) -> Result<Self, BenchError> {
        let document = options.document.as_deref().map(read).transpose()?;
        let plan =
            Arc::new(Plan::new(target, &options.graphql_path, document.as_deref().unwrap_or(LIVE), &options.counter));
        let doors = Arc::new(Semaphore::new(OPENING_MAX));
        let (ready, mut readies) = mpsc::unbounded_channel();
        let (leave, left) = watch::channel(false);
        let mut watchers = JoinSet::new();
        for _ in 0..options.watchers {
            watchers.spawn(watch(plan.clone(), doors.clone(), ready.clone(), left.clone()));
        }
        drop(ready);
        let mut audience = Self { watchers, leave, size: 0, failed: 0, first_failure: None, count: 0 };
        let mut last_failure = None;
        while let Some(opened) = readies.recv().await {
            match opened {
                Ok(count) => {
                    audience.size += 1;
                    audience.count = audience.count.max(count);
                }
                Err(error) => {
                    audience.failed += 1;
                    audience.first_failure.get_or_insert(error.chain());
                    last_failure = Some(error);
                }
            }
            progress::tick(|| format!("live: {} of {} watch", audience.size, options.watchers));
            // The watchers keep their ends of the channel for as long as they watch.
            if audience.size as u64 + u64::from(audience.failed) == u64::from(options.watchers) {
                break;
            }
        }
        match last_failure {
            Some(error) if audience.size == 0 => Err(error),
            _ => Ok(audience),
        }
    }

    async fn leave(&mut self) -> Vec<Heard> {
        self.leave.send_replace(true);
        let mut heard = Vec::with_capacity(self.size);
        while let Some(watcher) = self.watchers.join_next().await {
            heard.extend(watcher.expect("a watcher does not panic"));
        }
        heard
    }
}

type Ready = mpsc::UnboundedSender<Result<i64, BenchError>>;

async fn watch(plan: Arc<Plan>, doors: Arc<Semaphore>, ready: Ready, mut left: watch::Receiver<bool>) -> Option<Heard> {
    let opened = {
        let _door = doors.acquire().await.expect("the semaphore is never closed");
        open(&plan).await
    };
    let (socket, opened) = match opened {
        Ok((socket, count)) => (Some(socket), Ok(count)),
        Err(error) => (None, Err(error)),
    };
    // Nobody listens any more only where the command has failed already.
    let _ = ready.send(opened);
    let mut socket = socket?;
    let mut heard = Heard::default();
    loop {
        tokio::select! {
            count = socket.next_count() => match count {
                Ok(count) => heard.counts.push((count, Instant::now())),
                Err(_) => {
                    heard.is_broken = true;
                    break;
                }
            },
            _ = left.changed() => break,
        }
    }
    Some(heard)
}

/// A subscribed socket, and the count that its first message gave.
async fn open(plan: &Arc<Plan>) -> Result<(Socket, i64), BenchError> {
    let mut attempt = 1;
    loop {
        let opened = timeout(FIRST_STATE_TIMEOUT, Socket::open(plan)).await;
        match opened.unwrap_or(Err(BenchError::Timeout { seconds: FIRST_STATE_TIMEOUT.as_secs() })) {
            // A full queue at the listener is no news; it empties.
            Err(BenchError::Connect(_)) if attempt < ATTEMPTS_MAX => sleep(Duration::from_millis(200)).await,
            opened => return opened,
        }
        attempt += 1;
    }
}

struct Sent {
    sent_at: Instant,
    acknowledged_at: Instant,
}

/// Who makes the count rise.
struct Sender {
    target: Target,
    graphql_path: String,
    trigger: Option<String>,
    run: String,
    events: u64,
    pause: Duration,
}

impl Sender {
    fn new(target: &Target, options: &Options) -> Result<Self, BenchError> {
        Ok(Self {
            target: target.clone(),
            graphql_path: options.graphql_path.clone(),
            trigger: options.trigger.as_deref().map(read).transpose()?,
            run: run_id(),
            events: (options.seconds * 1_000 / options.every_ms).max(1),
            pause: Duration::from_millis(options.every_ms),
        })
    }

    /// Sends on the thread it is called on.
    fn run(self) -> Result<Vec<Sent>, BenchError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Runtime)?;
        runtime.block_on(async {
            let mut connection = self.target.connection();
            connection.open().await?;
            let mut all = Vec::new();
            let mut due = tokio::time::Instant::now();
            for number in 0..self.events {
                sleep_until(due).await;
                due += self.pause.mul_f64(rand::rng().random_range(0.8..1.2));
                let (path, content_type, body) = self.request(number);
                let sent_at = Instant::now();
                let answer = connection.post(path, content_type, body.into()).await?;
                let acknowledged_at = Instant::now();
                let is_taken = answer.is_success()
                    && (self.trigger.is_some() || Counts::read(&answer).is_ok_and(|counts| counts.accepted == 1));
                if !is_taken {
                    return Err(BenchError::Refused { status: answer.status, body: answer.excerpt() });
                }
                all.push(Sent { sent_at, acknowledged_at });
            }
            Ok(all)
        })
    }

    fn request(&self, number: u64) -> (&str, &'static str, String) {
        let id = format!("live-{}-{number}", self.run);
        let mut occurred_at = String::new();
        write_instant(now_ms(), &mut occurred_at);
        match &self.trigger {
            Some(document) => {
                let variables = json!({ "id": id, "occurredAt": occurred_at });
                (&self.graphql_path, JSON, json!({ "query": document, "variables": variables }).to_string())
            }
            None => {
                let event = json!({
                    "id": id, "type": "track.played", "occurredAt": occurred_at, "userId": "listener-1",
                    "songId": "song-1", "artistId": "artist-1", "playedMs": 60_000
                });
                (EVENTS_PATH, crate::target::NDJSON, format!("{event}\n"))
            }
        }
    }
}

#[derive(Default)]
struct Compared {
    missed: usize,
    early: usize,
    from_acknowledgement: Latencies,
    from_sending: Latencies,
}

/// For each event and watcher, how long it took until the watcher's count included the event. Several
/// events may arrive in one message, as the server sends the newest state and not each change.
fn compare(count_before: i64, sent: &[Sent], heard: &[Heard]) -> Compared {
    let mut compared = Compared::default();
    for heard in heard {
        let mut counts = heard.counts.iter().peekable();
        for (count, sent) in (count_before + 1..).zip(sent) {
            while counts.next_if(|(heard, _)| *heard < count).is_some() {}
            let Some((_, at)) = counts.peek() else {
                compared.missed += 1;
                continue;
            };
            compared.early += usize::from(*at < sent.acknowledged_at);
            compared.from_acknowledgement.record(at.saturating_duration_since(sent.acknowledged_at));
            compared.from_sending.record(at.saturating_duration_since(sent.sent_at));
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_may_carry_several_events_or_none() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let sent: Vec<_> =
            [0, 100, 200].map(|ms| Sent { sent_at: at(ms), acknowledged_at: at(ms + 10) }).into_iter().collect();
        let heard = |counts: &[(i64, u64)]| Heard {
            counts: counts.iter().map(|(count, ms)| (*count, at(*ms))).collect(),
            is_broken: false,
        };
        for (counts, missed, early, slowest_ms) in [
            (&[(51, 15), (52, 115), (53, 215)][..], 0, 0, 5.0),
            (&[(50, 5), (52, 130), (53, 230)], 0, 0, 120.0),
            (&[(51, 5), (51, 20), (53, 230)], 0, 1, 120.0),
            (&[(51, 15)], 2, 0, 5.0),
            (&[], 3, 0, 0.0),
        ] {
            let compared = compare(50, &sent, &[heard(counts)]);
            assert_eq!((compared.missed, compared.early), (missed, early), "{counts:?}");
            assert_eq!(compared.from_acknowledgement.summary().max, slowest_ms, "{counts:?}");
        }
    }
}
