//! Bad luck: the process is killed, the database goes away, the queue is full. What was acknowledged is
//! there, once.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::RngExt;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement, TryGetable};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    on_every_database,
    support::{
        App, T0, TestDatabase,
        app::{self, Options},
        cluster::Cluster,
        eventually, play,
        service::{Service, verify},
    },
};

/// Senders that keep what they sent until it is acknowledged.
struct Load {
    shared: Arc<Shared>,
    /// Where the service is to be found now.
    base: watch::Sender<String>,
    senders: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    acknowledged: Mutex<HashSet<String>>,
    acknowledged_count: AtomicUsize,
    /// Answers that told to try again later.
    refused_count: AtomicUsize,
    is_ending: AtomicBool,
    /// Set where unacknowledged batches are to be left alone.
    is_cut_off: AtomicBool,
}

const SENDERS: usize = 4;
const BATCH: usize = 20;

impl Load {
    fn start(base: &str) -> Self {
        let (base, at) = watch::channel(base.to_owned());
        let shared = Arc::new(Shared::default());
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(send(sender, shared.clone(), at.clone()));
        }
        Self { shared, base, senders }
    }

    fn count(&self) -> usize {
        self.shared.acknowledged_count.load(Ordering::SeqCst)
    }

    fn refused(&self) -> usize {
        self.shared.refused_count.load(Ordering::SeqCst)
    }

    /// Waits until so many more are acknowledged.
    async fn more(&self, count: usize) {
        let wanted = self.count() + count;
        eventually("more is acknowledged", async || match self.count() {
            seen if seen >= wanted => Ok(()),
            seen => Err(format!("{seen} of {wanted}")),
        })
        .await;
    }

    /// Lets every sender bring its last batch home; returns what was acknowledged.
    async fn end(self) -> HashSet<String> {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        self.join().await
    }

    /// Lets every sender give up what is not acknowledged; returns what was.
    async fn cut_off(self) -> HashSet<String> {
        self.shared.is_cut_off.store(true, Ordering::SeqCst);
        self.join().await
    }

    async fn join(mut self) -> HashSet<String> {
        while let Some(ended) = self.senders.join_next().await {
            ended.unwrap();
        }
        self.shared.acknowledged.lock().unwrap().clone()
    }
}

async fn send(sender: usize, shared: Arc<Shared>, base: watch::Receiver<String>) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let token = app::token("service", &[], "loader", 3_600);
    for batch in 0.. {
        if shared.is_ending.load(Ordering::SeqCst) {
            return;
        }
        let events = batch_of(sender, batch);
        loop {
            if shared.is_cut_off.load(Ordering::SeqCst) {
                return;
            }
            let url = format!("{}/v1/events", *base.borrow());
            let sent = client.post(url).bearer_auth(&token).body(events.to_string()).send().await;
            let Ok(answer) = sent else {
                // What a client does that cannot reach its server.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            match answer.status().as_u16() {
                200 => {
                    // An answer that was cut off is none.
                    let Ok(answer) = answer.json::<Value>().await else { continue };
                    shared.acknowledge(&events, &answer);
                    break;
                }
                429 | 503 => {
                    assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                    shared.refused_count.fetch_add(1, Ordering::SeqCst);
                }
                other => panic!("answered {other}: {}", answer.text().await.unwrap_or_default()),
            }
        }
    }
}

impl Shared {
    fn acknowledge(&self, events: &Value, answer: &Value) {
        let results = answer["results"].as_array().unwrap();
        assert_eq!(results.len(), events.as_array().unwrap().len());
        let mut acknowledged = self.acknowledged.lock().unwrap();
        for result in results {
            assert!(["ACCEPTED", "DUPLICATE"].contains(&result["status"].as_str().unwrap()), "{result}");
            acknowledged.insert(result["id"].as_str().unwrap().to_owned());
        }
        self.acknowledged_count.store(acknowledged.len(), Ordering::SeqCst);
    }
}

/// The same events for the same numbers, whenever they are sent.
fn batch_of(sender: usize, batch: usize) -> Value {
    let event = |place: usize| {
        let number = batch * BATCH + place;
        json!({
            "id": format!("{sender}-{number}"), "type": "track.played",
            "occurredAt": format!("2025-03-{:02}T{:02}:30:00Z", 1 + number % 28, number % 24),
            "userId": format!("user-{}", number % 97), "songId": format!("song-{}", number % 13),
            "artistId": format!("artist-{}", number % 5), "playedMs": 60_000,
        })
    };
    (0..BATCH).map(event).collect()
}

/// One column of all rows.
async fn column<T: TryGetable>(connection: &DatabaseConnection, sql: &str) -> Vec<T> {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let rows = connection.query_all_raw(statement).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

async fn stored_ids(database: &TestDatabase) -> Vec<String> {
    column(&database.connect().await, "SELECT event_id FROM event").await
}

async fn check_killed_twenty_times(database: TestDatabase) {
    let mut service = Service::start(&database.url, &[]).await;
    let load = Load::start(&service.base);
    for _ in 0..20 {
        let (count, delay_us) = {
            let mut dice = rand::rng();
            (dice.random_range(1..200), dice.random_range(0..20_000))
        };
        load.more(count).await;
        // Chance decides where in its work the service is hit; nothing is waited for.
        tokio::time::sleep(Duration::from_micros(delay_us)).await;
        service.kill().await;
        service = Service::start(&database.url, &[]).await;
        load.base.send_replace(service.base.clone());
    }
    load.more(1).await;
    let acknowledged = load.end().await;
    service.terminate();
    assert!(service.ended().await.success());
    // Every batch was brought home in the end, so that the log is what was acknowledged, each once.
    let stored = stored_ids(&database).await;
    assert_eq!(stored.len(), acknowledged.len());
    assert_eq!(stored.into_iter().collect::<HashSet<_>>(), acknowledged);
    verify(&database.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_twenty_times_loses_nothing_and_counts_nothing_twice_on_sqlite() {
    check_killed_twenty_times(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_twenty_times_loses_nothing_and_counts_nothing_twice_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_killed_twenty_times(database).await;
    }
}

on_every_database!(a_transaction_whose_beginning_is_cut_off_does_not_stay_open, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    for pause in 0..200 {
        let database = app.core.database.clone();
        let beginning = tokio::spawn(async move { drop(database.begin_write().await) });
        for _ in 0..pause % 20 {
            tokio::task::yield_now().await;
        }
        beginning.abort();
    }
    if !database.is_sqlite() {
        let connection = database.connect().await;
        eventually("no transaction is open", async || {
            let sql =
                "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'";
            match column::<String>(&connection, sql).await {
                open if open.is_empty() => Ok(()),
                open => Err(format!("{open:?}")),
            }
        })
        .await;
    }
    // And somebody else may write.
    app.record(&[play("1", "2026-06-15T10:00:00Z", "anna")]).await;
    app.stop().await;
});

on_every_database!(a_service_told_to_stop_under_load_keeps_what_it_acknowledged, |database| {
    let mut service = Service::start(&database.url, &[("SHUTDOWN_TIMEOUT", "8")]).await;
    let load = Load::start(&service.base);
    load.more(200).await;
    service.terminate();
    assert_eq!(service.ended().await.code(), Some(0));
    let acknowledged = load.cut_off().await;
    let stored = stored_ids(&database).await;
    let distinct: HashSet<String> = stored.iter().cloned().collect();
    assert_eq!(distinct.len(), stored.len());
    assert!(acknowledged.is_subset(&distinct), "{:?} are lost", acknowledged.difference(&distinct));
    verify(&database.url).await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_said_with_503_and_recovered_from() {
    let Some(cluster) = Cluster::start("a database that goes away") else { return };
    let mut service = Service::start(&cluster.url, &[]).await;
    let load = Load::start(&service.base);
    load.more(200).await;
    cluster.stop_at_once();

    // Each refusal comes after a few seconds of trying: the database is away for ten and more.
    let refused = load.refused();
    eventually("senders are told to come back", async || match load.refused() {
        seen if seen >= refused + 2 * SENDERS => Ok(()),
        seen => Err(format!("{seen} refusals")),
    })
    .await;
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let token = app::token("admin", &[], "admin", 3_600);
        let request = client.post(format!("{}{path}", service.base)).bearer_auth(token).json(&body);
        request.send().await.unwrap()
    };
    let answer = post("/v1/events", batch_of(SENDERS, 0)).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "2"));
    assert_eq!(answer.json::<Value>().await.unwrap()["code"], "SERVICE_UNAVAILABLE");
    for query in [
        r#"{ song(id: "song-1") { metrics { plays } } }"#,
        "{ ranking(of: SONG, during: {period: ALL_TIME}) { nodes { id } } }",
        r#"mutation { recordEvents(input: [{id: "1", type: "a.b"}]) { accepted } }"#,
    ] {
        let answer = post("/graphql", json!({ "query": query })).await.json::<Value>().await.unwrap();
        let extensions = json!({"code": "SERVICE_UNAVAILABLE", "retryAfterMs": 2_000});
        assert_eq!(answer["errors"][0]["extensions"], extensions, "{query}: {answer}");
    }
    let status = async |path: &str| client.get(format!("{}{path}", service.base)).send().await.unwrap().status();
    assert_eq!((status("/readyz").await.as_u16(), status("/livez").await.as_u16()), (503, 200));

    cluster.start_again();
    load.more(200).await;
    eventually("the service is ready again", async || match status("/readyz").await.as_u16() {
        200 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    let acknowledged = load.end().await;
    service.terminate();
    assert!(service.ended().await.success());
    let connection = sea_orm::Database::connect(&cluster.url).await.unwrap();
    let stored: Vec<String> = column(&connection, "SELECT event_id FROM event").await;
    connection.close().await.unwrap();
    let distinct: HashSet<String> = stored.iter().cloned().collect();
    assert_eq!(distinct.len(), stored.len());
    assert!(acknowledged.is_subset(&distinct), "{:?} are lost", acknowledged.difference(&distinct));
    verify(&cluster.url).await;
}

/// An event that fills most of what one may.
fn large(number: usize) -> Value {
    let mut event = play(&number.to_string(), "2025-03-01T10:00:00Z", "u1");
    event["properties"] = json!({ "padding": "x".repeat(30_000) });
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_said_with_429_and_takes_no_memory() {
    let database = TestDatabase::sqlite();
    let settings = [
        ("QUEUE_SIZE_MAX", "8388608"),
        ("REQUEST_EVENTS_MAX", "100"),
        ("SQLITE_CACHE_MIB", "8"),
        ("COMMIT_WAIT", "60"),
    ];
    let mut service = Service::start(&database.url, &settings).await;
    let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build().unwrap();
    let post = |from: usize| {
        let events: Value = (from..from + 100).map(large).collect();
        let token = app::token("service", &[], "loader", 3_600);
        let request = client.post(format!("{}/v1/events", service.base)).bearer_auth(token).body(events.to_string());
        async move {
            let answer = request.send().await.unwrap();
            let has_retry = answer.headers().contains_key("retry-after");
            (answer.status().as_u16(), has_retry, answer.json::<Value>().await.unwrap())
        }
    };
    // Who else writes holds the database.
    let other = database.connect().await;
    other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
    let waiting: Vec<_> = [0, 100].into_iter().map(|from| tokio::spawn(post(from))).collect();
    let page = async || client.get(format!("{}/metrics", service.base)).send().await.unwrap().text().await.unwrap();
    eventually("two requests wait", async || {
        let page = page().await;
        let is_waiting = page.lines().any(|line| line == "backbeat_ingest_queue_events 200");
        if is_waiting { Ok(()) } else { Err(page) }
    })
    .await;
    let before = service.peak_kib();
    // A hundred and twenty megabytes are offered, of which none has room.
    for number in 2..42 {
        let (status, has_retry, answer) = post(number * 100).await;
        assert_eq!((status, has_retry, &answer["code"]), (429, true, &json!("RATE_LIMITED")), "{answer}");
    }
    if let (Some(before), Some(after)) = (before, service.peak_kib()) {
        assert!(after < before + 60 * 1_024, "{before} KiB before, {after} KiB after");
    }
    other.execute_unprepared("ROLLBACK").await.unwrap();
    for waiting in waiting {
        // On a machine that took long the database was given up; either way it may be sent again.
        let (status, _, answer) = waiting.await.unwrap();
        assert!(status == 200 || status == 503, "{status}: {answer}");
    }
    for from in [0, 100, 200] {
        let (status, _, answer) = post(from).await;
        let stored = [&answer["accepted"], &answer["duplicates"]].map(|count| count.as_u64().unwrap_or_default());
        assert_eq!((status, stored[0] + stored[1]), (200, 100), "{answer}");
    }
    service.terminate();
    assert!(service.ended().await.success());
    assert_eq!(stored_ids(&database).await.len(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packed_bomb_takes_no_memory() {
    let database = TestDatabase::sqlite();
    let service = Service::start(&database.url, &[("SQLITE_CACHE_MIB", "8")]).await;
    let client = reqwest::Client::new();
    for encoding in ["gzip", "zstd"] {
        let request = client.post(format!("{}/v1/events", service.base)).header("content-encoding", encoding);
        let token = app::token("service", &[], "loader", 3_600);
        let answer = request.bearer_auth(token).body(crate::http::bomb(encoding)).send().await.unwrap();
        assert_eq!(answer.status(), 413, "{encoding}");
    }
    let peak_kib = service.peak_kib().unwrap_or_default();
    // It would be more than three gigabytes.
    assert!(peak_kib < 256 * 1_024, "{peak_kib} KiB");
}

on_every_database!(a_submission_that_the_database_refuses_fails_alone, |database| {
    let app = App::start_with(&database, Options::at(T0).set("COMMIT_WAIT", "60")).await;
    let event = |id: &str| play(id, "2026-06-15T10:00:00Z", id).to_string();
    app.post_events(event("before")).await;
    let other = database.connect().await;
    let (refuse, lock, release) = if database.is_sqlite() {
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.event_id = 'bad' \
                      BEGIN SELECT RAISE(ABORT, 'refused'); END";
        (refuse, "BEGIN IMMEDIATE", "ROLLBACK")
    } else {
        let refuse = "ALTER TABLE event ADD CONSTRAINT refuse CHECK (event_id <> 'bad')";
        (refuse, "BEGIN; LOCK TABLE rollup IN ACCESS EXCLUSIVE MODE", "ROLLBACK")
    };
    other.execute_unprepared(refuse).await.unwrap();
    // Held, so that all wait together and are tried in one transaction.
    other.execute_unprepared(lock).await.unwrap();
    let app = Arc::new(app);
    let submit = |id: &'static str| {
        let (app, event) = (app.clone(), event(id));
        tokio::spawn(async move { (id, app.post_events(event).await) })
    };
    let waiting = async |count: usize| {
        eventually("all wait", async || {
            let page = app.client.get(format!("{}/metrics", app.base)).send().await.unwrap().text().await.unwrap();
            let is_waiting = page.lines().any(|line| line == format!("backbeat_ingest_queue_events {count}"));
            if is_waiting { Ok(()) } else { Err(page) }
        })
        .await;
    };
    // One that holds the committer up comes before the bad one, which may be refused before it meets the lock.
    let mut submissions = vec![submit("first")];
    waiting(1).await;
    submissions.extend(["one", "bad", "two"].map(submit));
    waiting(4).await;
    other.execute_unprepared(release).await.unwrap();
    for submission in submissions {
        let (id, (status, answer)) = submission.await.unwrap();
        if id == "bad" {
            assert_eq!((status, &answer["code"]), (500, &json!("INTERNAL_SERVER_ERROR")), "{answer}");
        } else {
            assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{id}: {answer}");
        }
    }
    assert_eq!(app.verify().await.events, 4);
    other.close().await.unwrap();
    Arc::into_inner(app).unwrap().stop().await;
});
