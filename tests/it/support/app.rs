//! The service as a client meets it: on a port, with tokens.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backbeat::{
    app::{self, Core, CoreSettings},
    auth::{self, Claims},
    config::{self, KeyNeed, Settings},
    domain::clock::{Clock, ManualClock, SharedClock, SystemClock},
};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};

use super::TestDatabase;

pub const SECRET: &str = "a secret for tests, longer than thirty-two bytes";

/// 2026-06-15T12:00:00Z, a Monday: the moment at which tests with a clock of their own take place.
pub const T0: i64 = 1_781_524_800_000;

/// Epoch milliseconds of an RFC 3339 text.
pub fn at(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis()
}

/// RFC 3339 of epoch milliseconds, as the service tells them.
pub fn rfc3339(at_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(at_ms).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A stream of song-1 by artist-1, by listener `user`.
pub fn play(id: &str, occurred_at: &str, user: &str) -> Value {
    json!({
        "id": id, "type": "track.played", "occurredAt": occurred_at, "userId": user,
        "songId": "song-1", "artistId": "artist-1", "playedMs": 60_000,
    })
}

/// A running service.
pub struct App {
    pub base: String,
    pub client: reqwest::Client,
    pub core: CoreHandles,
    /// Statements that readers ran, apart from the look-out for other processes.
    pub statements: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

/// What tests reach for behind the edge.
pub struct CoreHandles {
    pub database: backbeat::db::Database,
    pub ingest: backbeat::ingest::Ingest,
    pub analytics: backbeat::analytics::Analytics,
    pub charts: backbeat::charts::Charts,
    pub keeper: backbeat::keeping::Keeper,
    pub recommender: backbeat::recommend::Recommender,
    pub open_audience: Arc<backbeat::audience::open::OpenAudience>,
    pub clock: SharedClock,
    /// The same clock, where it moves only when it is told to.
    pub manual_clock: Option<Arc<ManualClock>>,
}

/// What a test may choose.
#[derive(Default)]
pub struct Options {
    /// Settings by the names that operators use.
    pub settings: BTreeMap<String, String>,
    /// A clock that stands at this moment; the machine's if left out.
    pub now_ms: Option<i64>,
}

impl Options {
    pub fn at(now_ms: i64) -> Self {
        Self { now_ms: Some(now_ms), ..Self::default() }
    }

    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }
}

impl App {
    /// With the machine's clock and default settings.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, Options::default()).await
    }

    pub async fn start_with(database: &TestDatabase, options: Options) -> Self {
        let mut variables = options.settings;
        variables.insert("DATABASE_URL".to_owned(), database.url.clone());
        variables.entry("JWT_SECRET".to_owned()).or_insert_with(|| SECRET.to_owned());
        // No answer is given twice: tests ask right after they send.
        for cache in ["CACHE_FOR", "TRENDING_CACHE_FOR"] {
            variables.entry(cache.to_owned()).or_insert_with(|| "0".to_owned());
        }
        // Merging is for tests to call, so that they know on which side of it they are.
        variables.entry("AUDIENCE_MERGE_INTERVAL".to_owned()).or_insert_with(|| "3600".to_owned());
        let settings: Settings = config::parse(variables, None, KeyNeed::Required).unwrap();
        let manual_clock = options.now_ms.map(|now_ms| Arc::new(ManualClock::at(now_ms)));
        let clock: SharedClock = match &manual_clock {
            Some(clock) => clock.clone(),
            None => Arc::new(SystemClock),
        };
        let statements = Arc::new(AtomicUsize::new(0));
        let counter = statements.clone();
        let mut core_settings = CoreSettings::of(&settings, clock.clone());
        core_settings.observer = Some(Arc::new(move |sql: &str| {
            // Looking for other processes' commits, and reading the last hour after a start, go on by
            // themselves, whatever is asked. No question reads the log, or people's numbers.
            let by_itself =
                ["audience_segment", "sequence_block", "keeping", "FROM event", "FROM listener", "pg_current_snapshot"];
            if !by_itself.iter().any(|part| sql.contains(part)) {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        }));
        let core = Core::start(core_settings).await.unwrap();
        let handles = CoreHandles {
            database: core.database.clone(),
            ingest: core.ingest.clone(),
            analytics: core.analytics.clone(),
            charts: core.charts.clone(),
            keeper: core.keeper.clone(),
            recommender: core.recommender.clone(),
            open_audience: core.open_audience.clone(),
            clock,
            manual_clock,
        };
        let verifier = Arc::new(settings.auth.verifier().unwrap());
        let listener = app::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let app = app::App::new(core, &settings, verifier);
        let server = tokio::spawn(app.serve(listener, async move {
            let _ = stopped.await;
        }));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { base, client, core: handles, statements, stop: Some(stop), server: Some(server) }
    }

    /// Stops as on SIGTERM, and waits until everything is stored and closed.
    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        self.server.take().unwrap().await.unwrap();
    }

    /// A token; `artists` only matter for the role artist.
    pub fn token(&self, role: &str, artists: &[&str]) -> String {
        token(role, artists, role, 3_600)
    }

    pub fn admin(&self) -> String {
        self.token("admin", &[])
    }

    /// Asks as an admin; panics on any error.
    pub async fn ask(&self, query: &str) -> Value {
        let answer = self.graphql(Some(&self.admin()), query, json!({})).await;
        assert!(answer.get("errors").is_none(), "{query}\n{answer:#}");
        answer["data"].clone()
    }

    /// The whole GraphQL answer, errors included.
    pub async fn graphql(&self, token: Option<&str>, query: &str, variables: Value) -> Value {
        let mut request =
            self.client.post(format!("{}/graphql", self.base)).json(&json!({ "query": query, "variables": variables }));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Sends a body to `POST /v1/events` as a service.
    pub async fn post_events(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self
            .client
            .post(format!("{}/v1/events", self.base))
            .bearer_auth(self.token("service", &[]))
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Sends events that must all be accepted.
    pub async fn record(&self, events: &[Value]) {
        for chunk in events.chunks(5_000) {
            let (status, answer) = self.post_events(json!(chunk).to_string()).await;
            assert_eq!(status, 200, "{answer:#}");
            assert_eq!(answer["accepted"], chunk.len(), "{answer:#}");
        }
    }

    /// Sets a clock that moves only when it is told to.
    pub fn set_clock(&self, now_ms: i64) {
        self.core.manual_clock.as_ref().expect("the test began with a clock of its own").set(now_ms);
    }

    /// Merges open listener sets now.
    pub async fn merge_audience(&self) {
        let now_ms = self.core.clock.now_ms();
        backbeat::audience::merge::merge(&self.core.database, &self.core.open_audience, "test", now_ms).await.unwrap();
    }

    /// Recounts everything from the events and demands that it agrees.
    pub async fn verify(&self) -> backbeat::rollup::compare::Report {
        let rules = Default::default();
        let report = backbeat::rollup::recount::verify(&self.core.database, &rules, |_| {}).await.unwrap();
        assert_eq!(report.differences, 0, "{:#?}", report.shown);
        report
    }
}

/// The token of a listener.
pub fn listener(id: &str) -> String {
    token("listener", &[], id, 3_600)
}

/// A token that is good for `ttl_s` seconds. Tokens are always checked against the machine's clock.
pub fn token(role: &str, artists: &[&str], subject: &str, ttl_s: i64) -> String {
    let now_s = SystemClock.now_ms() / 1_000;
    let claims = Claims {
        sub: subject.to_owned(),
        iss: "backbeat".to_owned(),
        aud: "backbeat".to_owned(),
        exp: now_s + ttl_s,
        iat: now_s,
        role: role.to_owned(),
        artists: artists.iter().map(|id| (*id).to_owned()).collect(),
        source: None,
    };
    auth::sign(&claims, SECRET)
}
