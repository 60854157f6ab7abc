//! `start`: how soon a server is ready, and what it costs while nobody asks anything.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    error::BenchError,
    latency::{Latencies, round},
    process, progress,
    target::Target,
};

const PAUSE: Duration = Duration::from_millis(2);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Start a server several times: time until it is ready, memory and processor share while idle.
///
/// The database must already be migrated, and the server must listen where --url says. Each time the
/// server is started, asked for --ready-path until that answers 200, left alone, and stopped with SIGTERM.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// The program to start.
    #[arg(long)]
    binary: PathBuf,

    /// An argument for it; may be given several times, and replaces the default.
    #[arg(long = "arg", default_value = "serve", allow_hyphen_values = true)]
    args: Vec<String>,

    /// A variable of its environment, KEY=VALUE; may be given several times. The rest is inherited.
    #[arg(long = "env", value_parser = key_value)]
    #[serde(serialize_with = "names_only")]
    env: Vec<(String, String)>,

    /// How often to start it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,

    /// How long to leave it alone once it is ready.
    #[arg(long, default_value_t = 5)]
    idle_seconds: u64,

    /// How long to wait until it is ready.
    #[arg(long, default_value_t = 30)]
    ready_seconds_max: u64,

    /// What answers 200 when the server is ready.
    #[arg(long, default_value = "/readyz")]
    ready_path: String,

    /// Where the server's output goes; nowhere, if not given.
    #[arg(long)]
    log: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    ready_ms: f64,
    /// Processor time from the start until the server is ready.
    ready_processor_ms: u64,
    idle_resident_bytes: u64,
    /// Of one processor.
    idle_processor_percent: f64,
    stop_ms: f64,
    exit: String,
}

pub async fn run(target: &Target, options: &Options) -> Result<Value, BenchError> {
    if target.connection().get(&options.ready_path).await.is_ok() {
        let message = format!("something answers at {} already; stop it first", target.authority());
        return Err(BenchError::Option(message));
    }
    let mut runs = Vec::new();
    for number in 1..=options.runs {
        let run = run_once(target, options).await?;
        progress::say(&format!("start: {number} of {}, ready after {} ms", options.runs, run.ready_ms));
        runs.push(run);
    }
    let mut ready = Latencies::default();
    runs.iter().for_each(|run| ready.record(Duration::from_secs_f64(run.ready_ms / 1_000.0)));
    Ok(json!({ "readyMs": ready.summary(), "runs": runs }))
}

async fn run_once(target: &Target, options: &Options) -> Result<Run, BenchError> {
    let started = Instant::now();
    let mut server = Server::start(options)?;
    wait_until_ready(target, options, &mut server, started).await?;
    let ready_ms = started.elapsed().as_secs_f64() * 1_000.0;
    let pid = server.0.id();
    let ready_time = process::processor_time(pid)?;
    // The first second still belongs to the start: what begins on time does so now.
    sleep(Duration::from_secs(1)).await;
    let (before, idle_since) = (process::processor_time(pid)?, Instant::now());
    sleep(Duration::from_secs(options.idle_seconds.max(1))).await;
    let used = process::processor_time(pid)?.saturating_sub(before);
    let idle_processor_percent = used.as_secs_f64() / idle_since.elapsed().as_secs_f64() * 100.0;
    let idle_resident_bytes = process::resident_bytes(pid)?;
    let stopped = Instant::now();
    let exit = server.stop().await?;
    Ok(Run {
        ready_ms: round(ready_ms),
        ready_processor_ms: u64::try_from(ready_time.as_millis()).unwrap_or(u64::MAX),
        idle_resident_bytes,
        idle_processor_percent: round(idle_processor_percent),
        stop_ms: round(stopped.elapsed().as_secs_f64() * 1_000.0),
        exit: exit.to_string(),
    })
}

async fn wait_until_ready(
    target: &Target,
    options: &Options,
    server: &mut Server,
    started: Instant,
) -> Result<(), BenchError> {
    let patience = Duration::from_secs(options.ready_seconds_max);
    let mut connection = target.connection();
    while started.elapsed() < patience {
        // Refused connections and early answers are what is being waited out.
        if connection.get(&options.ready_path).await.is_ok_and(|answer| answer.status == 200) {
            return Ok(());
        }
        if let Some(status) = server.exit_status()? {
            return Err(BenchError::Ended { status: status.to_string() });
        }
        sleep(PAUSE).await;
    }
    Err(BenchError::Timeout { seconds: options.ready_seconds_max })
}

/// A server that this command has started; it does not outlive the command.
struct Server(Child);

impl Server {
    fn start(options: &Options) -> Result<Self, BenchError> {
        let failed = |source| BenchError::Spawn { path: options.binary.clone(), source };
        let (out, err) = match &options.log {
            None => (Stdio::null(), Stdio::null()),
            Some(path) => {
                let unwritable = |source| BenchError::Write { path: path.clone(), source };
                let log = File::options().create(true).append(true).open(path).map_err(unwritable)?;
                (log.try_clone().map_err(unwritable)?.into(), log.into())
            }
        };
        let mut command = Command::new(&options.binary);
        command.args(&options.args).envs(options.env.iter().cloned());
        command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map(Self).map_err(failed)
    }

    fn exit_status(&mut self) -> Result<Option<ExitStatus>, BenchError> {
        self.0.try_wait().map_err(|source| BenchError::Process { pid: self.0.id(), source })
    }

    async fn stop(&mut self) -> Result<ExitStatus, BenchError> {
        let pid = self.0.id();
        let asked = Instant::now();
        // The shell's own `kill`, because the standard library knows only SIGKILL.
        let term = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid.to_string()]).status();
        term.map_err(|source| BenchError::Process { pid, source })?;
        while asked.elapsed() < STOP_PATIENCE {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            sleep(PAUSE).await;
        }
        Err(BenchError::Timeout { seconds: STOP_PATIENCE.as_secs() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where the server has ended by itself, which is what they are for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| "write KEY=VALUE".to_owned())?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Values may be secrets, such as a database's address; reports are kept and passed around.
fn names_only<S: serde::Serializer>(env: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(env.iter().map(|(key, _)| key))
}
