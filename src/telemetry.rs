//! Logs and Prometheus metrics: one registry, named here and nowhere else.

use std::{
    collections::HashSet,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tracing_subscriber::EnvFilter;

use crate::ingest::{EventResult, EventStatus};

/// Starts logging to stderr. `level` is a level or a filter such as `info,backbeat=debug`.
pub fn init_logs(level: &str, json: bool) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call (a test, a command that starts another) keeps the first subscriber.
    let _ = if json { logs.json().flatten_event(true).try_init() } else { logs.try_init() };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabels {
    pub code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    pub method: String,
    pub route: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabels {
    pub kind: &'static str,
    pub operation: String,
    pub outcome: &'static str,
}

/// Everything that is counted about the service itself.
pub struct Metrics {
    registry: Registry,
    pub ingest_received: Counter,
    pub ingest_outcomes: Family<OutcomeLabels, Counter>,
    pub ingest_rejected: Family<CodeLabels, Counter>,
    /// Events of requests that were turned away as a whole.
    pub ingest_refused: Counter,
    pub batch_events: Histogram,
    pub commit_seconds: Histogram,
    pub commit_retries: Counter,
    pub queue_events: Gauge,
    pub merge_seconds: Histogram,
    pub http_requests: Family<HttpLabels, Counter>,
    pub http_seconds: Histogram,
    pub graphql_operations: Family<OperationLabels, Counter>,
    pub graphql_seconds: Histogram,
    pub live_sockets: Gauge,
    pub live_watchers: Gauge,
    pub live_questions: Gauge,
    pub realtime_bytes: Gauge,
    operation_names: Mutex<HashSet<String>>,
}

/// Clients choose operation names; past this many different ones, the rest are one.
const OPERATION_NAMES_MAX: usize = 200;

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::with_prefix("backbeat"),
            ingest_received: Counter::default(),
            ingest_outcomes: Family::default(),
            ingest_rejected: Family::default(),
            ingest_refused: Counter::default(),
            batch_events: Histogram::new(exponential_buckets(1.0, 2.0, 16)),
            commit_seconds: seconds(),
            commit_retries: Counter::default(),
            queue_events: Gauge::default(),
            merge_seconds: seconds(),
            http_requests: Family::default(),
            http_seconds: seconds(),
            graphql_operations: Family::default(),
            graphql_seconds: seconds(),
            live_sockets: Gauge::default(),
            live_watchers: Gauge::default(),
            live_questions: Gauge::default(),
            realtime_bytes: Gauge::default(),
            operation_names: Mutex::default(),
        };
        metrics.register();
        // Series that exist from the start, so that a first increase is seen as one.
        for status in EventStatus::ALL {
            let _ = metrics.ingest_outcomes.get_or_create(&OutcomeLabels { outcome: status.word() });
        }
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let seconds = Unit::Seconds;
        registry.register(
            "ingest_received",
            "Events received by any door; equals the sum of ingest_outcomes and ingest_refused",
            self.ingest_received.clone(),
        );
        registry.register("ingest_outcomes", "Events answered, by outcome", self.ingest_outcomes.clone());
        registry.register("ingest_rejected", "Events rejected, by code", self.ingest_rejected.clone());
        registry.register("ingest_refused", "Events of requests refused as a whole", self.ingest_refused.clone());
        registry.register("ingest_batch_events", "Events in one commit", self.batch_events.clone());
        registry.register_with_unit(
            "ingest_commit",
            "Time from taking a batch to its commit, retries included",
            seconds.clone(),
            self.commit_seconds.clone(),
        );
        registry.register("ingest_commit_retries", "Commits tried again", self.commit_retries.clone());
        registry.register("ingest_queue_events", "Events waiting for their commit", self.queue_events.clone());
        registry.register_with_unit(
            "audience_merge",
            "Time of one merge of listener segments",
            seconds.clone(),
            self.merge_seconds.clone(),
        );
        registry.register("http_requests", "HTTP requests by route and status", self.http_requests.clone());
        registry.register_with_unit(
            "http_request",
            "Time to answer a request",
            seconds.clone(),
            self.http_seconds.clone(),
        );
        registry.register(
            "graphql_operations",
            "GraphQL operations by kind, name and outcome",
            self.graphql_operations.clone(),
        );
        registry.register_with_unit("graphql_operation", "Time to execute", seconds, self.graphql_seconds.clone());
        registry.register("live_sockets", "Open WebSockets", self.live_sockets.clone());
        registry.register("live_watchers", "Running subscriptions", self.live_watchers.clone());
        registry.register("live_questions", "Different questions being watched", self.live_questions.clone());
        let realtime = self.realtime_bytes.clone();
        registry.register_with_unit("realtime_memory", "What the last hour of plays takes", Unit::Bytes, realtime);
    }

    pub fn count_outcomes(&self, results: &[EventResult]) {
        for status in EventStatus::ALL {
            let count = results.iter().filter(|result| result.status == status).count();
            self.ingest_outcomes.get_or_create(&OutcomeLabels { outcome: status.word() }).inc_by(count as u64);
        }
        for result in results.iter().filter(|result| result.status == EventStatus::Rejected) {
            self.ingest_rejected.get_or_create(&CodeLabels { code: result.code.unwrap_or_default() }).inc();
        }
    }

    /// How many events had this outcome.
    pub fn outcomes(&self, status: EventStatus) -> u64 {
        self.ingest_outcomes.get_or_create(&OutcomeLabels { outcome: status.word() }).get()
    }

    pub fn count_operation(&self, kind: &'static str, name: Option<&str>, is_ok: bool, seconds: f64) {
        let operation = self.bounded_name(name.unwrap_or("anonymous"));
        let outcome = if is_ok { "ok" } else { "error" };
        self.graphql_operations.get_or_create(&OperationLabels { kind, operation, outcome }).inc();
        self.graphql_seconds.observe(seconds);
    }

    fn bounded_name(&self, name: &str) -> String {
        let mut names = self.operation_names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name) || (names.len() < OPERATION_NAMES_MAX && name.len() <= 80) {
            names.insert(name.to_owned());
            return name.to_owned();
        }
        "other".to_owned()
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}
