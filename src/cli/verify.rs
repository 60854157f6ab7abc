//! `backbeat verify`

use std::{path::Path, process::ExitCode};

use indicatif::ProgressBar;

use super::{Failure, block_on, database};
use crate::rollup::recount;

/// Recompute every number from the events and compare; the exit code says whether all agree.
///
/// Reads one unchanging state of the database, so it can run beside a serving process. Days whose events are no longer
/// kept are left out.
#[derive(Debug, clap::Args)]
pub struct VerifyArguments {}

pub fn run(config: Option<&Path>, _: VerifyArguments) -> Result<ExitCode, Failure> {
    let settings = database::settings(config)?;
    block_on(async {
        let database = database::connect(&settings).await?;
        let progress = ProgressBar::new_spinner();
        let report = recount::verify(&database, &settings.counting, |day| {
            progress.set_message(day);
            progress.tick();
        })
        .await?;
        progress.finish_and_clear();
        for difference in &report.shown {
            println!("{difference}");
        }
        if let Some(before) = report.left_out_before {
            println!("days before {} are left out: their events are no longer kept", recount::date_text(before));
        }
        println!("{} events in {} days, {} differences", report.events, report.days, report.differences);
        database.close().await?;
        Ok(if report.differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
