//! The command line: arguments in, exit code out; a file per command.

mod database;
mod evaluate;
mod healthcheck;
mod import;
mod job;
mod migrate;
mod rebuild;
mod schema;
mod serve;
mod token;
mod verify;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::ingest::committer::error_chain;

/// Analytics of a music platform: events in, GraphQL with live subscriptions out.
///
/// Try it: `backbeat serve --demo`, then open the address that it prints.
///
/// Settings come from environment variables, over an optional TOML file whose names are the variables'
/// in lower case: DATABASE_URL, HOST, PORT, JWT_SECRET, CORS_ORIGINS, LOG_LEVEL, SHUTDOWN_TIMEOUT and
/// more; the README lists them all.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Settings file; `backbeat.toml` in this directory where it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArguments),
    Import(import::ImportArguments),
    Migrate(migrate::MigrateArguments),
    Token(token::TokenArguments),
    Schema(schema::SchemaArguments),
    Verify(verify::VerifyArguments),
    Rebuild(rebuild::RebuildArguments),
    Job(job::JobArguments),
    Healthcheck(healthcheck::HealthcheckArguments),
}

/// What a command ends with where it did not do its work; the text is for the person at the terminal.
#[derive(Debug)]
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error_chain(&error))
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = arguments.config.as_deref();
    let outcome = match arguments.command {
        Command::Serve(arguments) => serve::run(config, arguments),
        Command::Import(arguments) => import::run(config, arguments),
        Command::Migrate(arguments) => migrate::run(config, arguments),
        Command::Token(arguments) => token::run(config, arguments),
        Command::Schema(arguments) => schema::run(arguments),
        Command::Verify(arguments) => verify::run(config, arguments),
        Command::Rebuild(arguments) => rebuild::run(config, arguments),
        Command::Job(arguments) => job::run(config, arguments),
        Command::Healthcheck(arguments) => healthcheck::run(config, arguments),
    };
    outcome.unwrap_or_else(|Failure(message)| {
        eprintln!("backbeat: {}", message.trim_end());
        ExitCode::FAILURE
    })
}

/// Runs a command's asynchronous part to its end.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}
