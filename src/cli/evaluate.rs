//! `backbeat job run recommend-evaluate`

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use flate2::read::MultiGzDecoder;

use super::Failure;
use crate::recommend::evaluate::{self, Quality, Row, Split};

/// Measure how well recommendations foretell what listeners turn to.
///
/// Two files tell what listeners did first, and what they turned to then: CSV with a heading, a listener, an item and how
/// often (once, if left out) in the first three columns; `.gz` is unpacked. Each listener is shown what they do not
/// know yet. The table compares what is served with other methods; EASE is left out past 10,000 items.
///
///   backbeat job run recommend-evaluate --train first.csv --test then.csv
#[derive(Debug, Args)]
pub struct EvaluateArguments {
    /// What recommendations are made from.
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// What they should foretell.
    #[arg(long, value_name = "FILE")]
    test: PathBuf,
}

pub fn run(arguments: &EvaluateArguments) -> Result<ExitCode, Failure> {
    let split = Split::new(&rows(&arguments.train)?, &rows(&arguments.test)?);
    if split.wanted_count.iter().all(|count| *count == 0) {
        return Err(Failure("no listener of --train turns to anything new in --test".to_owned()));
    }
    let unknown =
        split.wanted_count.iter().sum::<usize>() - split.wanted.iter().map(|wanted| wanted.len()).sum::<usize>();
    println!("{} listeners, {} items; {unknown} wanted that nobody can find", split.known.height(), split.items.len());
    println!("{:24} recall@20 ndcg@10 ndcg@100 coverage@10 of all novelty@10", "");
    evaluate::table(&split, true, |quality| println!("{}", line(quality)));
    Ok(ExitCode::SUCCESS)
}

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
    for (line, record) in (2..).zip(csv::Reader::from_reader(io::BufReader::new(reader)).into_records()) {
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
