//! `backbeat job`

use std::{num::NonZero, path::Path, process::ExitCode, sync::Arc, time::Duration};

use chrono::{Datelike, NaiveDate};
use clap::{Args, Subcommand, builder::PossibleValuesParser};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, block_on, database, evaluate};
use crate::{
    app::{Core, CoreSettings},
    charts::{KINDS, Order, Report},
    config::Settings,
    db::DbError,
    domain::{
        chart::{Cadence, date_of, midnight},
        clock::{Clock, SystemClock},
        entity::EntityKind,
        window::{DAY_MS, Window},
    },
    keeping,
    recommend::{self, Progress, RunOrder},
};

/// Run a job by hand that a serving process runs by itself.
///
/// It can run beside serving processes: of several, one does the work at a time.
#[derive(Debug, Args)]
pub struct JobArguments {
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Run a job now.
    #[command(subcommand)]
    Run(Job),
}

#[derive(Debug, Subcommand)]
enum Job {
    Charts(ChartsArguments),
    Retention(RetentionArguments),
    Recommend(RecommendArguments),
    RecommendEvaluate(evaluate::EvaluateArguments),
}

/// Publish the charts of past periods.
///
/// Charts that are there stay as they are, so that a run that was cut off can be repeated. Periods that have
/// not ended, and those in which nothing was streamed, get no chart.
///
///   backbeat job run charts --from 2017-01-01 --to 2017-12-31 --cadence weekly
#[derive(Debug, Args)]
struct ChartsArguments {
    /// The first UTC day; charts of every period that holds it or a later day.
    #[arg(long, value_name = "DAY", value_parser = day)]
    from: NaiveDate,
    /// The last UTC day; today if left out.
    #[arg(long, value_name = "DAY", value_parser = day)]
    to: Option<NaiveDate>,
    /// Which charts; all three if left out. Repeat it for several.
    #[arg(long, value_parser = PossibleValuesParser::new(Cadence::ALL.map(Cadence::word)))]
    cadence: Vec<String>,
    /// Charts of what; all three if left out. Repeat it for several.
    #[arg(long, value_parser = PossibleValuesParser::new(KINDS.map(EntityKind::word)))]
    of: Vec<String>,
    /// Count charts that are there again, and publish a new revision of those whose numbers have changed.
    #[arg(long)]
    revise: bool,
}

/// Let go of what need not be kept any more: events, and quarter-hours of counters.
///
/// How long they are kept say EVENT_RETENTION_DAYS and QUARTER_RETENTION_DAYS. Events of a day are removed two minutes
/// after every process was told not to accept any more of that day. A run that was cut off can be repeated.
#[derive(Debug, Args)]
struct RetentionArguments {}

/// Bring what recommendations are told from up to date: neighbours of what changed, and what each listener took to.
///
/// A run that was cut off can be repeated.
#[derive(Debug, Args)]
struct RecommendArguments {
    /// Find all neighbours anew, also those of what did not change.
    #[arg(long)]
    all: bool,
}

pub(super) fn day(text: &str) -> Result<NaiveDate, String> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    // No event happened outside of these years.
    day.filter(|day| (1900..=9999).contains(&day.year())).ok_or_else(|| "write a day as 2026-11-22".to_owned())
}

pub fn run(
    config: Option<&Path>,
    JobArguments { command: JobCommand::Run(job) }: JobArguments,
) -> Result<ExitCode, Failure> {
    let settings = || database::settings(config);
    match job {
        Job::Charts(arguments) => block_on(charts(settings()?, arguments)),
        Job::Retention(_) => block_on(retention(settings()?)),
        Job::Recommend(arguments) => block_on(recommend(settings()?, arguments)),
        Job::RecommendEvaluate(arguments) => evaluate::run(&arguments, settings),
    }
}

async fn charts(settings: Settings, arguments: ChartsArguments) -> Result<ExitCode, Failure> {
    let core = Core::start(CoreSettings::of(&settings, Arc::new(SystemClock))).await?;
    let done = publish(&core, &orders(&arguments)).await;
    core.stop().await?;
    let Report { periods, published, revised } = done?;
    println!("{periods} periods, {published} charts published, {revised} revised");
    Ok(ExitCode::SUCCESS)
}

/// One order for each chosen kind and cadence.
fn orders(arguments: &ChartsArguments) -> Vec<Order> {
    let is_chosen = |chosen: &[String], word: &str| chosen.is_empty() || chosen.iter().any(|one| one == word);
    let kinds = KINDS.into_iter().filter(|kind| is_chosen(&arguments.of, kind.word()));
    let pairs = kinds.flat_map(|of| Cadence::ALL.map(|cadence| (of, cadence)));
    pairs
        .filter(|(_, cadence)| is_chosen(&arguments.cadence, cadence.word()))
        .map(|(of, cadence)| Order {
            of,
            cadence,
            from_ms: midnight(arguments.from),
            to_ms: arguments.to.map_or(i64::MAX, |day| midnight(day) + DAY_MS),
            recount: arguments.revise,
        })
        .collect()
}

/// How often it is tried while another process does the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs a job as soon as no other process does; until then the progress says that one does.
async fn in_turn<T>(
    progress: &ProgressBar,
    waiting: &'static str,
    mut run: impl AsyncFnMut() -> Result<T, DbError>,
) -> Result<T, DbError> {
    loop {
        match run().await {
            Err(DbError::LeaseHeld(_)) => {
                progress.set_message(waiting);
                tokio::time::sleep(PATIENCE).await;
            }
            done => return done,
        }
    }
}

async fn publish(core: &Core, orders: &[Order]) -> Result<Report, Failure> {
    let mut periods = 0;
    for order in orders {
        periods += core.charts.periods(order).await?.len();
    }
    let progress = ProgressBar::new(periods as u64)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {elapsed} elapsed, {eta} left")?);
    let mut report = Report::default();
    for order in orders {
        let on_period = |period: Window| {
            let (cadence, kind) = (order.cadence.word(), order.of.word());
            progress.set_message(format!("{cadence} {kind}s from {}", date_of(period.from_ms)));
            progress.inc(1);
        };
        let begins_at = report.periods;
        report += in_turn(&progress, "another process writes charts, waiting", async || {
            progress.set_position(begins_at);
            core.charts.run(order, on_period).await
        })
        .await?;
    }
    progress.finish_and_clear();
    Ok(report)
}

async fn retention(settings: Settings) -> Result<ExitCode, Failure> {
    let core = Core::start(CoreSettings::of(&settings, Arc::new(SystemClock))).await?;
    if core.keeper.is_idle() {
        core.stop().await?;
        return Err(Failure("everything is kept: set EVENT_RETENTION_DAYS or QUARTER_RETENTION_DAYS".to_owned()));
    }
    let done = let_go(&core).await;
    core.stop().await?;
    let keeping::Report { events, months, rows, .. } = done?;
    println!(
        "{events} events and {months} whole months of events removed, {rows} rows of quarter-hours folded into hours"
    );
    Ok(ExitCode::SUCCESS)
}

async fn let_go(core: &Core) -> Result<keeping::Report, Failure> {
    let progress = ProgressBar::new_spinner();
    let mut report = keeping::Report::default();
    loop {
        let on_step = |step: &keeping::Report| {
            progress.set_message(format!("{} events removed, {} rows folded", step.events, step.rows));
            progress.tick();
        };
        let waiting = "another process lets go of the past, waiting";
        report += in_turn(&progress, waiting, async || core.keeper.look(on_step).await).await?;
        let Some(resumes_at_ms) = report.resumes_at_ms else { break };
        progress.set_message("waiting until every process knows what is removed");
        let pause_ms = u64::try_from(resumes_at_ms - SystemClock.now_ms()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
    progress.finish_and_clear();
    Ok(report)
}

async fn recommend(settings: Settings, arguments: RecommendArguments) -> Result<ExitCode, Failure> {
    let core = Core::start(CoreSettings::of(&settings, Arc::new(SystemClock))).await?;
    let done = recommend_anew(&core, arguments.all).await;
    core.stop().await?;
    let recommend::Report { listeners, items, renewed_items, changed_listeners } = done?;
    println!(
        "{listeners} listeners, {items} items; found neighbours of {renewed_items} items anew, the taste of \
         {changed_listeners} listeners changed"
    );
    Ok(ExitCode::SUCCESS)
}

async fn recommend_anew(core: &Core, is_whole: bool) -> Result<recommend::Report, Failure> {
    let order = RunOrder { is_whole, threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN) };
    let progress = ProgressBar::no_length();
    let known = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {elapsed} elapsed")?;
    let unknown = ProgressStyle::with_template("{spinner} {msg}, {elapsed} elapsed")?;
    progress.enable_steady_tick(Duration::from_millis(200));
    let tell = |Progress { doing, done, of }: Progress| {
        progress.set_style(if of > 0 { known.clone() } else { unknown.clone() });
        progress.set_length(of as u64);
        progress.set_position(done as u64);
        progress.set_message(doing);
    };
    let waiting = "another process does it, waiting";
    let report = in_turn(&progress, waiting, async || core.recommender.run(order, tell).await).await?;
    progress.finish_and_clear();
    Ok(report)
}
