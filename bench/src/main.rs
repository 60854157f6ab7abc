//! Measures a running server: how fast it takes events, answers queries, reaches live watchers and starts.
//!
//! One file per command; `target` speaks HTTP and `socket` subscriptions, `traffic` makes events, `latency` and
//! `process` read what the commands report. Each command prints one JSON object on standard output and its
//! progress on standard error.

use std::{process::ExitCode, time::SystemTime};

use clap::{Parser, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};

use target::Target;

use backbeat::demo;

mod days;
mod error;
mod ingest;
mod inside;
mod latency;
mod live;
mod load;
mod process;
mod progress;
mod query;
mod socket;
mod start;
mod target;
mod traffic;

/// The server's own allocator, so that `inside` measures what the server does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures a running Backbeat server on this machine.
///
/// Each command prints one JSON object on standard output (parameters, results, what the server counted) and
/// its progress on standard error. Servers on other machines are refused: this tool is for finding out what a
/// build can do, and its loops do not hold back.
#[derive(Debug, Parser)]
#[command(
    name = "backbeat-bench",
    version,
    after_help = "\
A first tour, with a server at the default address:
  backbeat-bench load --events 1000000 --days 60     fill it
  backbeat-bench query                               dashboards, rankings, pages
  backbeat-bench ingest                              durable events a second, by request size
  backbeat-bench live --watchers 1000                from acknowledgement to watcher
  backbeat-bench start --binary target/release/backbeat

The client shares the machine with the server, so compare numbers of one run with each other, not
across machines. See bench/README.md."
)]
struct Cli {
    /// Where the server is; a path in it is put before every path that is asked for.
    #[arg(long, global = true, help_heading = "Of all commands", default_value = "http://127.0.0.1:8080")]
    url: String,

    /// The bearer token to send; without it no Authorization header is sent.
    #[arg(long, global = true, help_heading = "Of all commands")]
    token: Option<String>,

    /// The client's threads. One leaves the other processors to the server.
    #[arg(
        long,
        global = true,
        help_heading = "Of all commands",
        default_value_t = 1,
        value_parser = clap::value_parser!(u8).range(1..=64)
    )]
    threads: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Load(load::Options),
    Ingest(ingest::Options),
    Inside(inside::Options),
    Query(query::Options),
    Live(live::Options),
    Start(start::Options),
    Days(days::Options),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    command: &'a str,
    version: &'a str,
    started_at_ms: i64,
    url: &'a str,
    processors: usize,
    client_threads: u8,
    parameters: Value,
    results: Value,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(report) => {
            println!("{report:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            progress::end();
            eprintln!("error: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<Value, error::BenchError> {
    if let Command::Live(options) = &cli.command {
        process::raise_open_files(options.open_files())?;
    }
    let target = Target::parse(&cli.url, cli.token.as_deref())?;
    let started_at_ms = now_ms();
    let runtime = runtime(cli.threads)?;
    let (command, parameters, results) = match &cli.command {
        Command::Load(options) => ("load", json!(options), runtime.block_on(load::run(&target, options))?),
        Command::Ingest(options) => ("ingest", json!(options), runtime.block_on(ingest::run(&target, options))?),
        Command::Inside(options) => ("inside", json!(options), runtime.block_on(inside::run(options))?),
        Command::Query(options) => ("query", json!(options), runtime.block_on(query::run(&target, options))?),
        Command::Live(options) => ("live", json!(options), runtime.block_on(live::run(&target, options))?),
        Command::Start(options) => ("start", json!(options), runtime.block_on(start::run(&target, options))?),
        Command::Days(options) => ("days", json!(options), days::run(options)?),
    };
    progress::end();
    let report = Report {
        command,
        version: env!("CARGO_PKG_VERSION"),
        started_at_ms,
        url: &cli.url,
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        client_threads: cli.threads,
        parameters,
        results,
    };
    Ok(json!(report))
}

fn runtime(threads: u8) -> Result<tokio::runtime::Runtime, error::BenchError> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads.into());
    }
    builder.enable_all().build().map_err(error::BenchError::Runtime)
}

/// Milliseconds since 1970 by this machine's clock, which is the server's too.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shared_options_may_follow_the_command() {
        let cli =
            Cli::parse_from(["backbeat-bench", "load", "--events", "5", "--token", "t", "--url", "http://[::1]:1"]);
        assert_eq!((cli.token.as_deref(), cli.url.as_str()), (Some("t"), "http://[::1]:1"));
    }
}
