//! `backbeat job run recommend-evaluate`

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use chrono::NaiveDate;
use clap::{Args, builder::PossibleValuesParser};
use flate2::read::MultiGzDecoder;

use super::{Failure, block_on, job::day};
use crate::{
    app::{Core, CoreSettings},
    config::Settings,
    domain::{
        chart::{date_of, midnight},
        clock::SystemClock,
        entity::EntityKind,
        window::Grain,
    },
    recommend::{
        QualityOrder,
        evaluate::{self, Quality, Row, Split},
    },
};

/// Measure how well recommendations foretell what listeners turn to.
///
/// Of what listeners did on this platform, what happened before a day has to foretell what they turned to from then on;
/// the result is kept, and `recommendationQuality` shows the newest. Or of two files, which tell what listeners did
/// first, and what they turned to then: CSV with a heading, a listener, an item and how often (once, if left out) in the
/// first three columns; `.gz` is unpacked. Each listener is shown what they do not know yet. The table compares what is
/// served with other methods; EASE is left out past 10,000 items.
///
///   backbeat job run recommend-evaluate --of artist --split 2026-11-01
///
///   backbeat job run recommend-evaluate --train first.csv --test then.csv
#[derive(Debug, Args)]
pub struct EvaluateArguments {
    /// Recommendations of what, if not of files.
    #[arg(long, value_parser = PossibleValuesParser::new(EntityKind::ALL.map(EntityKind::word)), default_value = "song")]
    of: String,
    /// The first UTC day that is to be foretold; if left out, the last fifth of the time in which there are events is.
    #[arg(long, value_name = "DAY", value_parser = day, conflicts_with = "train")]
    split: Option<NaiveDate>,
    /// What recommendations are made from.
    #[arg(long, value_name = "FILE", requires = "test")]
    train: Option<PathBuf>,
    /// What they should foretell.
    #[arg(long, value_name = "FILE", requires = "train")]
    test: Option<PathBuf>,
}

pub fn run(
    arguments: &EvaluateArguments,
    settings: impl FnOnce() -> Result<Settings, Failure>,
) -> Result<ExitCode, Failure> {
    match (&arguments.train, &arguments.test) {
        // On files alone: there is no database to it.
        (Some(train), Some(test)) => of_files(train, test),
        _ => block_on(of_platform(settings()?, arguments)),
    }
}

async fn of_platform(settings: Settings, arguments: &EvaluateArguments) -> Result<ExitCode, Failure> {
    let of = EntityKind::ALL.into_iter().find(|kind| kind.word() == arguments.of).expect("clap knows the words");
    let core = Core::start(CoreSettings::of(&settings, Arc::new(SystemClock))).await?;
    let (Some(oldest_ms), Some(newest_ms)) = (core.watermark.oldest_ms(), core.watermark.newest_ms()) else {
        core.stop().await?;
        return Err(Failure("there are no events in the database that DATABASE_URL names".to_owned()));
    };
    let last_fifth = Grain::Day.bucket_of(newest_ms - (newest_ms - oldest_ms) / 5);
    let split_ms = arguments.split.map_or(last_fifth, midnight);
    println!("{}s, what happened before {} foretells the rest", of.word(), date_of(split_ms));
    println!("{HEADING}");
    let measured =
        core.recommender.measure(QualityOrder { of, split_ms }, |quality| println!("{}", line(quality))).await;
    core.stop().await?;
    let Some(measured) = measured? else {
        return Err(Failure("nobody turned to anything new from that day on; choose an earlier --split".to_owned()));
    };
    println!("{} listeners who turned to something new, {} items", measured.listeners, measured.items);
    Ok(ExitCode::SUCCESS)
}

fn of_files(train: &Path, test: &Path) -> Result<ExitCode, Failure> {
    let split = Split::new(&rows(train)?, &rows(test)?);
    if split.wanted_count.iter().all(|count| *count == 0) {
        return Err(Failure("no listener of --train turns to anything new in --test".to_owned()));
    }
    let unknown =
        split.wanted_count.iter().sum::<usize>() - split.wanted.iter().map(|wanted| wanted.len()).sum::<usize>();
    println!(
        "{} listeners, {} items; {unknown} wanted that nobody can find",
        split.known.height(),
        split.known.width()
    );
    println!("{HEADING}");
    evaluate::table(&split, true, |quality| println!("{}", line(quality)));
    Ok(ExitCode::SUCCESS)
}

const HEADING: &str = "                         recall@20 ndcg@10 ndcg@100 coverage@10 of all novelty@10";

fn line(quality: &Quality) -> String {
    let Quality { method, recall_20, ndcg_10, ndcg_100, coverage_10, catalogue_10, novelty_10 } = quality;
    format!(
        "{method:24} {recall_20:9.4} {ndcg_10:7.4} {ndcg_100:8.4} {coverage_10:11.4} {catalogue_10:6.4} {novelty_10:10.2}"
    )
}

fn rows(path: &Path) -> Result<Vec<Row>, Failure> {
    let wrong = |what: String| Failure(format!("{}: {what}", path.display()));
    let file = File::open(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let is_packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if is_packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut rows = Vec::new();
    for (line, record) in
        (2..).zip(csv::ReaderBuilder::new().flexible(true).from_reader(io::BufReader::new(reader)).into_records())
    {
        let record = record.map_err(|error| wrong(error.to_string()))?;
        let (Some(listener), Some(item)) = (record.get(0), record.get(1)) else {
            return Err(wrong(format!("line {line} needs a listener and an item")));
        };
        let often = record.get(2).map_or(Ok(1.0), str::parse);
        let often = often.ok().filter(|often: &f32| often.is_finite() && *often > 0.0);
        let often = often.ok_or_else(|| wrong(format!("line {line}: how often is a number above 0")))?;
        rows.push((listener.into(), item.into(), often));
    }
    Ok(rows)
}
