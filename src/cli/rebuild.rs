//! `backbeat rebuild`

use std::{path::Path, process::ExitCode};

use indicatif::ProgressBar;

use super::{Failure, block_on, database};
use crate::{
    domain::clock::SystemClock,
    rollup::recount::{self, Days, RebuildError},
};

/// Recompute every number from the events and swap the result in, day by day.
///
/// Each day is one transaction: readers see the old numbers or the new ones, writers wait for a moment.
/// Cut off at any point it leaves right numbers behind, and can simply be run again. Days whose events are no longer
/// kept cannot be rebuilt: where there are any, nothing is done unless it is told to leave them as they are.
#[derive(Debug, clap::Args)]
pub struct RebuildArguments {
    /// Leave days alone whose events are no longer kept, and rebuild the others.
    #[arg(long)]
    kept_only: bool,
}

pub fn run(config: Option<&Path>, arguments: RebuildArguments) -> Result<ExitCode, Failure> {
    let settings = database::settings(config)?;
    block_on(async {
        let database = database::connect(&settings).await?;
        database.migrate_up().await?;
        let progress = ProgressBar::new_spinner();
        let which = if arguments.kept_only { Days::Kept } else { Days::All };
        let rebuilt = recount::rebuild(&database, &settings.counting, &SystemClock, which, |day| {
            progress.set_message(day);
            progress.tick();
        });
        let rebuilt = rebuilt.await;
        progress.finish_and_clear();
        let days = rebuilt.map_err(|error| match error {
            RebuildError::Sealed { is_any_kept: true, .. } => Failure(format!(
                "{error}; `backbeat rebuild --kept-only` leaves them as they are and rebuilds the others"
            )),
            error => error.into(),
        })?;
        println!("{days} days rebuilt");
        database.close().await?;
        Ok(ExitCode::SUCCESS)
    })
}
