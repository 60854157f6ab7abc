//! `backbeat import`

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, block_on, database};
use crate::{
    app::{Core, CoreSettings},
    auth::DEFAULT_SOURCE,
    config::Settings,
    domain::{
        clock::{Clock, SystemClock},
        event::{NewEvent, Rejection},
        naming::hash128,
    },
    ingest::{Decoded, EventResult, EventStatus, IngestError, decode, fields},
};

/// Read events from a file: one JSON object a line, or CSV with a header line; `.gz` is unpacked.
///
/// A column whose name is an event's field (id, type, occurredAt, userId, songTitle, …) is that field;
/// --map renames columns; the rest become properties. Rows without an id get one made from their
/// content, so that running the same import again, or after it was cut off, counts nothing twice.
///
///   backbeat import plays.csv.gz --type track.played --map ended_at=occurredAt --map ms_played=playedMs
///
/// Refused rows are written to FILE.rejects.ndjson with their line and the reason. It can run beside a
/// serving process.
#[derive(Debug, clap::Args)]
pub struct ImportArguments {
    /// The file; NDJSON unless its name ends in .csv or .csv.gz.
    file: PathBuf,
    /// A CSV column that is an event's field under another name; repeat it for several.
    #[arg(long = "map", value_name = "COLUMN=FIELD", value_parser = mapping)]
    mappings: Vec<(String, String)>,
    /// The type of events that do not say their own.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// The namespace of the file's ids; the platform's own if left out.
    #[arg(long, default_value = DEFAULT_SOURCE, value_name = "NAME")]
    source: String,
    /// Check every row and store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where refused rows go.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let (column, field) = text.split_once('=').ok_or("write COLUMN=FIELD")?;
    if !fields::FIELDS.contains(&field) {
        return Err(format!("{field:?} is not a field of an event; the fields are {}", fields::FIELDS.join(", ")));
    }
    Ok((column.to_owned(), field.to_owned()))
}

pub fn run(config: Option<&Path>, arguments: ImportArguments) -> Result<ExitCode, Failure> {
    let settings = database::settings(config)?;
    block_on(import(settings, arguments))
}

#[derive(Default)]
struct Tally {
    accepted: u64,
    duplicates: u64,
    conflicts: u64,
    rejected: u64,
}

async fn import(settings: Settings, arguments: ImportArguments) -> Result<ExitCode, Failure> {
    let size_bytes = std::fs::metadata(&arguments.file)
        .map_err(|error| Failure(format!("{} cannot be read: {error}", arguments.file.display())))?
        .len();
    let progress = ProgressBar::new(size_bytes)
        .with_style(ProgressStyle::with_template("{bar:40} {percent}% {msg}, {elapsed} elapsed, {eta} left")?);
    let rows = open_rows(&arguments, &progress)?;
    let sink = if arguments.dry_run {
        Sink::DryRun(settings.ingest.accept)
    } else {
        Sink::Core(Box::new(Core::start(CoreSettings::of(&settings, Arc::new(SystemClock))).await?))
    };
    let mut rejects = Rejects::new(&arguments);
    let source: Arc<str> = arguments.source.as_str().into();
    let mut tally = Tally::default();
    let began = std::time::Instant::now();
    let mut batch = Vec::new();
    let mut rows = rows.peekable();
    while let Some(row) = rows.next() {
        batch.push(row?);
        if batch.len() < BATCH_ROWS && rows.peek().is_some() {
            continue;
        }
        let (lines, decoded): (Vec<u64>, Vec<Decoded>) = std::mem::take(&mut batch).into_iter().unzip();
        let results = sink.record(decoded, &source).await?;
        tally.add(&results);
        for (line, result) in lines.iter().zip(&results) {
            rejects.note(*line, result)?;
        }
        let rate = tally.total() as f64 / began.elapsed().as_secs_f64().max(0.001);
        progress.set_message(format!("{} events, {rate:.0}/s", tally.total()));
    }
    progress.finish_and_clear();
    if let Sink::Core(core) = sink {
        core.stop().await?;
    }
    let Tally { accepted, duplicates, conflicts, rejected } = tally;
    let stored = if arguments.dry_run { "acceptable" } else { "accepted" };
    println!("{accepted} {stored}, {duplicates} duplicates, {conflicts} conflicts, {rejected} rejected");
    if let Some(path) = rejects.finish()? {
        println!("refused rows are in {}", path.display());
    }
    Ok(if conflicts + rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One commit takes about so many; larger batches gain little.
const BATCH_ROWS: usize = 5_000;

enum Sink {
    Core(Box<Core>),
    DryRun(crate::domain::event::AcceptRules),
}

impl Sink {
    async fn record(&self, decoded: Vec<Decoded>, source: &Arc<str>) -> Result<Vec<EventResult>, Failure> {
        match self {
            Self::Core(core) => loop {
                // Only a database that is away is worth waiting for; the ids make it safe.
                match core.ingest.record(decoded.clone(), source).await {
                    Err(IngestError::DatabaseAway) => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
                    outcome => return Ok(outcome?),
                }
            },
            Self::DryRun(rules) => {
                let now_ms = SystemClock.now_ms();
                Ok(decoded
                    .into_iter()
                    .map(|decoded| EventResult::judged(decoded.and_then(|event| event.accept(source, now_ms, rules))))
                    .collect())
            }
        }
    }
}

impl Tally {
    fn add(&mut self, results: &[EventResult]) {
        for result in results {
            *match result.status {
                EventStatus::Accepted => &mut self.accepted,
                EventStatus::Duplicate => &mut self.duplicates,
                EventStatus::Conflict => &mut self.conflicts,
                EventStatus::Rejected => &mut self.rejected,
            } += 1;
        }
    }

    fn total(&self) -> u64 {
        self.accepted + self.duplicates + self.conflicts + self.rejected
    }
}

/// The file of refused rows; made when there is a first one.
struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Rejects {
    fn new(arguments: &ImportArguments) -> Self {
        let path = arguments.rejects.clone().unwrap_or_else(|| {
            let mut name = arguments.file.file_name().unwrap_or_default().to_owned();
            name.push(".rejects.ndjson");
            // Beside the work, not beside the data, which may not be ours to write to.
            PathBuf::from(name)
        });
        Self { path, file: None }
    }

    fn note(&mut self, line: u64, result: &EventResult) -> Result<(), Failure> {
        if !matches!(result.status, EventStatus::Rejected | EventStatus::Conflict) {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(&self.path)?)),
        };
        let reject = serde_json::json!({
            "line": line,
            "id": result.id,
            "status": result.status.word(),
            "code": result.code,
            "field": result.field,
            "message": result.message,
        });
        writeln!(file, "{reject}")?;
        Ok(())
    }

    fn finish(self) -> Result<Option<PathBuf>, Failure> {
        let Some(mut file) = self.file else { return Ok(None) };
        file.flush()?;
        Ok(Some(self.path))
    }
}

type Row = Result<(u64, Decoded), Failure>;

fn open_rows(arguments: &ImportArguments, progress: &ProgressBar) -> Result<Box<dyn Iterator<Item = Row>>, Failure> {
    let file = progress.wrap_read(File::open(&arguments.file)?);
    let name = arguments.file.to_string_lossy().to_ascii_lowercase();
    let is_packed = name.ends_with(".gz");
    let reader: Box<dyn Read> =
        if is_packed { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(file) };
    let event_type = arguments.event_type.clone();
    if name.trim_end_matches(".gz").ends_with(".csv") {
        return csv_rows(reader, &arguments.mappings, event_type);
    }
    if !arguments.mappings.is_empty() {
        return Err(Failure("--map is for CSV files; NDJSON has the fields' own names".to_owned()));
    }
    let lines = BufReader::new(reader).split(b'\n');
    let mut seen = Copies::default();
    Ok(Box::new((1..).zip(lines).filter_map(move |(line, bytes)| match bytes {
        Ok(bytes) if bytes.trim_ascii().is_empty() => None,
        Ok(bytes) => Some(Ok((line, json_row(&bytes, event_type.as_deref(), &mut seen)))),
        Err(error) => Some(Err(error.into())),
    })))
}

/// Ids for rows that have none, made from their content. The second of two equal rows is another event,
/// and stays it on every run.
#[derive(Default)]
struct Copies(HashMap<[u8; 16], u64>);

impl Copies {
    fn id(&mut self, cells: &[&str]) -> String {
        let content = hash128(cells);
        let copies = self.0.entry(content).or_insert(0);
        *copies += 1;
        format!("row-{}", hex(&hash128(&[&hex(&content), &copies.to_string()])))
    }
}

fn json_row(bytes: &[u8], event_type: Option<&str>, seen: &mut Copies) -> Decoded {
    let text = std::str::from_utf8(bytes).map_err(|_| Rejection::malformed("the line is not UTF-8"))?;
    let mut event = decode::event(text)?;
    complete(&mut event, event_type, || seen.id(&[text.trim()]));
    Ok(event)
}

/// A column, and what becomes of it.
enum Column {
    Field(&'static str),
    Property(String),
}

fn csv_rows(
    reader: Box<dyn Read>,
    mappings: &[(String, String)],
    event_type: Option<String>,
) -> Result<Box<dyn Iterator<Item = Row>>, Failure> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(reader);
    let headers: Vec<String> = reader.headers()?.iter().map(|name| name.trim().to_owned()).collect();
    for (column, _) in mappings {
        if !headers.contains(column) {
            return Err(Failure(format!("the file has no column {column:?}; it has {}", headers.join(", "))));
        }
    }
    let field = |name: &str| fields::FIELDS.into_iter().find(|field| *field == name);
    let columns: Vec<Column> = headers
        .into_iter()
        .map(|name| {
            let mapped = mappings.iter().find(|(column, _)| *column == name).map(|(_, field)| field.as_str());
            field(mapped.unwrap_or(&name)).map_or(Column::Property(name), Column::Field)
        })
        .collect();
    let mut seen = Copies::default();
    Ok(Box::new(reader.into_byte_records().map(move |record| {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        Ok((line, csv_row(&record, &columns, event_type.as_deref(), &mut seen)))
    })))
}

fn csv_row(record: &csv::ByteRecord, columns: &[Column], event_type: Option<&str>, seen: &mut Copies) -> Decoded {
    if record.len() != columns.len() {
        let message = format!("the row has {} cells, the header {}", record.len(), columns.len());
        return Err(Rejection::malformed(message));
    }
    let cells: Vec<&str> = record
        .iter()
        .map(std::str::from_utf8)
        .collect::<Result<_, _>>()
        .map_err(|_| Rejection::malformed("the row is not UTF-8"))?;
    let mut event = NewEvent::default();
    let mut properties = serde_json::Map::new();
    for (column, cell) in columns.iter().zip(&cells) {
        match column {
            Column::Field(field) => fields::set_field(&mut event, field, cell)
                .map_err(|rejection| Rejection { id: event.id.clone(), ..rejection })?,
            Column::Property(name) if !cell.is_empty() => {
                properties.insert(name.clone(), (*cell).into());
            }
            Column::Property(_) => {}
        }
    }
    if event.properties.is_none() && !properties.is_empty() {
        event.properties = Some(serde_json::Value::Object(properties).to_string());
    }
    event.size_bytes = event.texts_size_bytes();
    complete(&mut event, event_type, || seen.id(&cells));
    Ok(event)
}

fn complete(event: &mut NewEvent, event_type: Option<&str>, id: impl FnOnce() -> String) {
    if event.event_type.is_none() {
        event.event_type = event_type.map(str::to_owned);
    }
    if event.id.is_none() {
        event.id = Some(id());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
