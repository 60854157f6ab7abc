//! `backbeat serve`

use std::{net::SocketAddr, num::NonZero, path::Path, process::ExitCode, sync::Arc, time::Duration};

use rand::Rng;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, block_on};
use crate::{
    app::{self, App, Core, CoreSettings},
    auth::{self, Claims},
    charts::{self, Order},
    config::{self, KeyNeed, Settings},
    demo::{History, Instants, Live, Platform, Shape},
    domain::{
        chart::Cadence,
        clock::{Clock, SystemClock},
        entity::EntityKind,
        window::DAY_MS,
    },
    ingest::{Decoded, Ingest, decode},
    recommend::{QualityOrder, RunOrder},
    telemetry,
};

/// Run the server: GraphQL at /graphql, events to /v1/events, GraphiQL at /.
///
/// Pending migrations are applied first. SIGTERM or Ctrl-C: takes nothing new, finishes what is in
/// flight within SHUTDOWN_TIMEOUT, stores what is queued, and ends.
///
///   backbeat serve --demo            a platform full of life, in a throw-away database
///   JWT_SECRET=… backbeat serve      the real thing, in ./backbeat.db
#[derive(Debug, clap::Args)]
pub struct ServeArguments {
    /// Fill a new database with two months of a believable platform, keep a gentle stream of events
    /// coming, and print tokens to try. The database is thrown away at the end, unless DATABASE_URL
    /// names one that is to stay.
    #[arg(long)]
    demo: bool,
}

pub fn run(config: Option<&Path>, arguments: ServeArguments) -> Result<ExitCode, Failure> {
    let need = if arguments.demo { KeyNeed::Optional } else { KeyNeed::Required };
    let mut settings = config::load(config, need)?;
    telemetry::init_logs(&settings.log_level, settings.log_json);
    if settings.auth.secret.as_ref().is_some_and(|secret| secret.len() < 32) {
        tracing::warn!("JWT_SECRET has fewer than 32 bytes; a guessed secret opens everything");
    }
    // Lives until the end, then removes the demo's database.
    let mut _scratch = None;
    if arguments.demo {
        settings.is_development = true;
        if settings.auth.secret.is_none() {
            settings.auth.secret = Some(random_secret());
        }
        if settings.database.url == config::DEFAULT_DATABASE_URL {
            let scratch = tempfile::Builder::new().prefix("backbeat-demo-").tempdir()?;
            settings.database.url = format!("sqlite://{}", scratch.path().join("backbeat.db").display());
            _scratch = Some(scratch);
        }
    }
    block_on(serve(settings, arguments.demo))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings, is_demo: bool) -> Result<(), Failure> {
    let clock = Arc::new(SystemClock);
    let core = Core::start(CoreSettings::of(&settings, clock.clone())).await?;
    let verifier = settings.auth.verifier().map_err(Failure)?;
    let address = SocketAddr::new(settings.host, settings.port);
    let listener = app::listen(address).await?;
    let address = listener.local_addr()?;
    let ingest = core.ingest.clone();
    let mut stop = Box::pin(stop_signal()?);
    if is_demo {
        // A database that was kept has its past already.
        if core.watermark.newest_ms().is_none() {
            tokio::select! {
                filled = fill(&core, clock.now_ms()) => filled?,
                () = &mut stop => return Ok(core.stop().await?),
            }
        }
        let page = format!("http://{}:{}/", page_host(&address), address.port());
        print_welcome(&page, &settings, clock.now_ms());
        tokio::spawn(keep_alive(ingest));
    }
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    App::new(core, &settings, Arc::new(verifier)).serve(listener, stop).await;
    Ok(())
}

/// A host that a browser on this machine can open.
fn page_host(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        return "localhost".to_owned();
    }
    address.ip().to_string()
}

fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn random_secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The demo's past: 60 days, the same every time but for where they end.
const HISTORY_EVENTS: u64 = 60_000;
const HISTORY_DAYS: u32 = 60;
/// Numbers of live events begin here, so that a restart on a kept database repeats no id of the past.
const LIVE_PER_SECOND: f64 = 3.0;

fn platform(prefix: &str) -> Platform {
    Platform::new(Shape::DEMO).with_id_prefix(prefix)
}

async fn fill(core: &Core, now_ms: i64) -> Result<(), Failure> {
    let ingest = &core.ingest;
    let platform = platform(&format!("demo-{now_ms}"));
    let history = History { events: HISTORY_EVENTS, days: HISTORY_DAYS, ends_at_ms: now_ms, seed: 1 };
    let source = auth::DEFAULT_SOURCE.into();
    let mut batch: Vec<Decoded> = Vec::new();
    let mut text = String::new();
    for (number, at_ms) in (0..).zip(Instants::new(history)) {
        text.clear();
        platform.write_event(number, at_ms, &mut text);
        batch.push(decode::event(&text));
        if batch.len() == ingest.limits().request_events_max {
            ingest.record(std::mem::take(&mut batch), &source).await?;
        }
    }
    ingest.record(batch, &source).await?;
    // Weeks make a history; of days and months the newest will do.
    for of in charts::KINDS {
        let order = Order { of, cadence: Cadence::Weekly, from_ms: 0, to_ms: now_ms, recount: false };
        core.charts.run(&order, |_| {}).await?;
    }
    core.charts.look().await?;
    core.recommender.run(RunOrder { is_whole: true, threads: NonZero::<usize>::MIN }, |_| {}).await?;
    let split_ms = now_ms - i64::from(HISTORY_DAYS) * DAY_MS / 5;
    core.recommender.measure(QualityOrder { of: EntityKind::Song, split_ms }, |_| {}).await?;
    Ok(())
}

/// The demo's present: a few events a second, until the server stops.
async fn keep_alive(ingest: Ingest) {
    let clock = SystemClock;
    let source = auth::DEFAULT_SOURCE.into();
    let mut live = Live::new(platform(&format!("live-{}", clock.now_ms())), 0, LIVE_PER_SECOND);
    let mut text = String::new();
    loop {
        text.clear();
        let pause = live.write_next(clock.now_ms(), &mut text);
        if let Err(error) = ingest.record(vec![decode::event(&text)], &source).await {
            tracing::debug!(error = %error, "a demo event was not stored");
        }
        tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
    }
}

fn print_welcome(page: &str, settings: &Settings, now_ms: i64) {
    let token = |role: &str, artists: &[&str]| {
        let claims = Claims {
            sub: if role == "listener" { "listener-1".to_owned() } else { role.to_owned() },
            iss: settings.auth.issuer.clone(),
            aud: settings.auth.audience.clone(),
            exp: now_ms / 1_000 + 7 * 86_400,
            iat: now_ms / 1_000,
            role: role.to_owned(),
            artists: artists.iter().map(|id| (*id).to_owned()).collect(),
            source: None,
        };
        auth::sign(&claims, settings.auth.secret.as_deref().unwrap_or_default())
    };
    let admin = token("admin", &[]);
    println!(
        "\nBackbeat is running with two months of a demo platform, and it is alive.\n\n\
         GraphiQL, as an admin:\n  {page}#token={admin}\n\n\
         Tokens for a week (paste one into GraphiQL, or send it as `Authorization: Bearer …`):\n\
         \n  admin     {admin}\
         \n  artist    {} (artist-1)\
         \n  listener  {}\
         \n  service   {}\n",
        token("artist", &["artist-1"]),
        token("listener", &[]),
        token("service", &[]),
    );
}
