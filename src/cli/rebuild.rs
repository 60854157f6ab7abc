//! `backbeat rebuild`

use std::{path::Path, process::ExitCode};

use indicatif::ProgressBar;

use super::{Failure, block_on, database};
use crate::{domain::clock::SystemClock, rollup::recount};

/// Recompute every number from the events and swap the result in, day by day.
///
/// Each day is one transaction: readers see the old numbers or the new ones, writers wait for a moment.
/// Cut off at any point it leaves right numbers behind, and can simply be run again.
#[derive(Debug, clap::Args)]
pub struct RebuildArguments {}

pub fn run(config: Option<&Path>, _: RebuildArguments) -> Result<ExitCode, Failure> {
    let settings = database::settings(config)?;
    block_on(async {
        let database = database::connect(&settings).await?;
        database.migrate_up().await?;
        let progress = ProgressBar::new_spinner();
        let days = recount::rebuild(&database, &settings.counting, &SystemClock, |day| {
            progress.set_message(day);
            progress.tick();
        })
        .await?;
        progress.finish_and_clear();
        println!("{days} days rebuilt");
        database.close().await?;
        Ok(ExitCode::SUCCESS)
    })
}
