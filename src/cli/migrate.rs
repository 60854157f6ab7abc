//! `backbeat migrate`

use std::{path::Path, process::ExitCode};

use clap::Subcommand;

use super::{Failure, block_on, database};

/// Bring the database's shape up to date, or take steps back.
///
/// `serve` and `import` apply what is pending by themselves; this is for doing it ahead of them.
#[derive(Debug, clap::Args)]
pub struct MigrateArguments {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Apply every pending migration.
    Up,
    /// Undo the newest migrations. Tables are dropped with what is in them.
    Down {
        /// How many.
        #[arg(long, default_value_t = 1)]
        steps: u32,
    },
    /// List the migrations and whether each is applied; fails while one is pending.
    Status,
}

pub fn run(config: Option<&Path>, arguments: MigrateArguments) -> Result<ExitCode, Failure> {
    let settings = database::settings(config)?;
    block_on(async {
        let database = database::connect(&settings).await?;
        match arguments.direction {
            Direction::Up => database.migrate_up().await?,
            Direction::Down { steps } => database.migrate_down(steps).await?,
            Direction::Status => {}
        }
        let migrations = database.migration_status().await?;
        for (name, is_applied) in &migrations {
            println!("{}  {name}", if *is_applied { "applied" } else { "pending" });
        }
        let is_pending = migrations.iter().any(|(_, is_applied)| !is_applied);
        database.close().await?;
        let is_failure = is_pending && matches!(arguments.direction, Direction::Status);
        Ok(if is_failure { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}
