//! `inside`: what of the database's own speed the write path keeps, without HTTP in between.

use std::{sync::Arc, time::Instant};

use backbeat::{
    app::{Core, CoreSettings},
    config::{self, KeyNeed},
    db::{Database, DatabaseSettings, queries::events},
    domain::{clock::SystemClock, event::AcceptedEvent},
    ingest::{Decoded, decode},
};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{error::BenchError, latency::round, now_ms, progress, traffic::PlatformOptions};

/// Compare storing events with everything derived from them to storing the bare log.
///
/// Three ways to store the same events, one after the other, each in a database of its own: rows into the
/// event table in the committer's transactions and nothing else; on PostgreSQL, COPY into the same table;
/// and the whole service without HTTP: judged, counted, listeners and rollups included. Nothing needs to
/// run but the database.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Where databases may be made and dropped: a postgres:// address of a server's maintenance database;
    /// a new SQLite file in the temporary directory, if not given.
    #[arg(long)]
    #[serde(skip)]
    server: Option<String>,

    /// How many events.
    #[arg(long, default_value_t = 400_000)]
    events: u64,

    /// Events in one commit.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    batch: u32,

    /// Batches that wait for their commit at the same time; the committer takes what waits at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    in_flight: u8,

    #[command(flatten)]
    #[serde(flatten)]
    platform: PlatformOptions,
}

pub async fn run(options: &Options) -> Result<Value, BenchError> {
    let platform = options.platform.platform();
    let ends_at_ms = now_ms();
    let mut batches: Vec<Vec<Decoded>> = Vec::new();
    let mut text = String::new();
    for number in 0..options.events {
        if number % u64::from(options.batch) == 0 {
            batches.push(Vec::new());
        }
        text.clear();
        // Live traffic: the events of the last two minutes.
        let age_ms = i64::try_from(120_000 * (options.events - number) / options.events).unwrap_or(0);
        platform.write_event(number, ends_at_ms - age_ms, &mut text);
        if let Some(batch) = batches.last_mut() {
            batch.push(decode::event(&text));
        }
    }
    let log_only = log_only(options, &batches).await?;
    let copy = match &options.server {
        Some(server) => Some(copy(server, &batches).await?),
        None => None,
    };
    let whole = whole(options, batches).await?;
    Ok(json!({
        "logOnlyEventsPerSecond": round(log_only),
        "copyEventsPerSecond": copy.map(round),
        "wholeEventsPerSecond": round(whole),
        "wholeOfLogOnly": whole / log_only,
        "wholeOfCopy": copy.map(|copy| whole / copy),
    }))
}

fn accepted(batch: &[Decoded]) -> Vec<AcceptedEvent> {
    let source = Arc::from("bench");
    let rules = settings("sqlite://unused.db").ingest.accept;
    let now_ms = now_ms();
    let judged = batch.iter().cloned().filter_map(Result::ok).map(|event| event.accept(&source, now_ms, &rules));
    let mut events: Vec<AcceptedEvent> = judged.filter_map(Result::ok).collect();
    events.sort_by_key(|event| event.event.key);
    events
}

fn settings(url: &str) -> config::Settings {
    let variables = [("DATABASE_URL".to_owned(), url.to_owned())].into();
    config::parse(variables, None, KeyNeed::Optional).expect("the defaults are fine")
}

async fn log_only(options: &Options, batches: &[Vec<Decoded>]) -> Result<f64, BenchError> {
    progress::say("the bare log");
    let judged: Vec<Vec<AcceptedEvent>> = batches.iter().map(|batch| accepted(batch)).collect();
    on_new_database(options, async |url| {
        let database = Database::connect(&DatabaseSettings::new(url), None).await?;
        database.migrate_up().await?;
        make_partitions(&database).await?;
        let began = Instant::now();
        for batch in &judged {
            let rows: Vec<_> = batch.iter().map(|event| &event.event).collect();
            let txn = database.begin_write().await?;
            events::insert(&txn, &rows).await?;
            txn.commit().await?;
        }
        let rate = options.events as f64 / began.elapsed().as_secs_f64();
        database.close().await?;
        Ok(rate)
    })
    .await
}

async fn make_partitions(database: &Database) -> Result<(), BenchError> {
    if !database.is_sqlite() {
        let txn = database.begin_write().await?;
        events::create_partition(&txn, "event_all", 0, now_ms() * 2).await?;
        txn.commit().await?;
    }
    Ok(())
}

async fn copy(server: &str, batches: &[Vec<Decoded>]) -> Result<f64, BenchError> {
    progress::say("COPY");
    let mut count = 0;
    let texts: Vec<String> = batches
        .iter()
        .map(|batch| {
            let mut text = String::new();
            for event in accepted(batch) {
                count += 1;
                copy_line(&event, &mut text);
            }
            text
        })
        .collect();
    on_new_postgres(server, async |url| {
        let database = Database::connect(&DatabaseSettings::new(url), None).await?;
        database.migrate_up().await?;
        make_partitions(&database).await?;
        database.close().await?;
        let mut connection = PgConnection::connect(url).await?;
        let began = Instant::now();
        for text in &texts {
            let mut copy = connection.copy_in_raw("COPY event FROM STDIN").await?;
            copy.send(text.as_bytes()).await?;
            copy.finish().await?;
        }
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        connection.close().await?;
        Ok(rate)
    })
    .await
}

fn copy_line(event: &AcceptedEvent, text: &mut String) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let escaped = |field: &str| field.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n");
    let optional = |field: Option<&str>| field.map_or("\\N".to_owned(), escaped);
    let number = |field: Option<i64>| field.map_or("\\N".to_owned(), |number| number.to_string());
    let event = &event.event;
    let columns = [
        event.key.occurred_at_ms.to_string(),
        format!("\\\\x{}", hex(&event.key.hash)),
        event.content_hash.to_string(),
        event.received_at_ms.to_string(),
        escaped(&event.source),
        escaped(&event.event_id),
        escaped(&event.event_type),
        optional(event.user_id.as_deref()),
        optional(event.anonymous_id.as_deref()),
        optional(event.song_id.as_deref()),
        optional(event.album_id.as_deref()),
        optional(event.playlist_id.as_deref()),
        optional(event.artist_id.as_deref()),
        optional(event.genre.as_deref()),
        optional(event.country.as_deref()),
        optional(event.listening_source.as_deref()),
        optional(event.device.as_deref()),
        number(event.played_ms),
        number(event.duration_ms),
        number(event.ended_by_user.map(i64::from)),
        number(event.count),
        number(event.amount_minor),
        optional(event.currency.as_deref()),
        optional(event.properties.as_deref()),
    ];
    text.push_str(&columns.join("\t"));
    text.push('\n');
}

async fn whole(options: &Options, batches: Vec<Vec<Decoded>>) -> Result<f64, BenchError> {
    progress::say("the whole service");
    let in_flight = usize::from(options.in_flight);
    on_new_database(options, async move |url| {
        let settings = settings(url);
        let core = Core::start(CoreSettings::of(&settings, Arc::new(SystemClock))).await?;
        let source = Arc::from("bench");
        let began = Instant::now();
        let mut waiting = tokio::task::JoinSet::new();
        for batch in batches {
            if waiting.len() == in_flight
                && let Some(done) = waiting.join_next().await
            {
                done.map_err(|error| BenchError::Option(error.to_string()))??;
            }
            let (ingest, source) = (core.ingest.clone(), Arc::clone(&source));
            waiting.spawn(async move { ingest.record(batch, &source).await });
        }
        while let Some(done) = waiting.join_next().await {
            done.map_err(|error| BenchError::Option(error.to_string()))??;
        }
        let rate = options.events as f64 / began.elapsed().as_secs_f64();
        core.stop().await?;
        Ok(rate)
    })
    .await
}

async fn on_new_database<F>(options: &Options, work: F) -> Result<f64, BenchError>
where
    F: AsyncFnOnce(&str) -> Result<f64, BenchError>,
{
    match &options.server {
        Some(server) => on_new_postgres(server, work).await,
        None => {
            let directory = tempfile::tempdir().map_err(BenchError::Runtime)?;
            work(&format!("sqlite://{}", directory.path().join("bench.db").display())).await
        }
    }
}

async fn on_new_postgres<F>(server: &str, work: F) -> Result<f64, BenchError>
where
    F: AsyncFnOnce(&str) -> Result<f64, BenchError>,
{
    let name = format!("backbeat_bench_{}", std::process::id());
    let mut admin = PgConnection::connect(server).await?;
    for sql in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
        admin.execute(AssertSqlSafe(sql)).await?;
    }
    let (base, _) = server.rsplit_once('/').unwrap_or((server, ""));
    let outcome = work(&format!("{base}/{name}")).await;
    // What was written is brought to the disk before the next way is measured.
    admin.execute("CHECKPOINT").await?;
    admin.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
    outcome
}
