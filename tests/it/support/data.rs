//! The real public data that some tests run on. It is not part of the repository: where it is absent they say so.

use std::{collections::HashMap, path::PathBuf};

use flate2::read::GzDecoder;

use super::left_out;

/// One row; each cell by its column.
pub type Row = HashMap<String, String>;

/// A file of the shared data.
pub fn shared_file(name: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("BACKBEAT_SHARED_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let file = directory.join(name);
    if !file.exists() {
        left_out(&format!("a test of real data; set BACKBEAT_SHARED_DATA to the directory of {name}"));
        return None;
    }
    Some(file)
}

/// The rows of a packed CSV file of the shared data.
pub fn shared_rows(name: &str) -> Option<Vec<Row>> {
    let file = std::fs::File::open(shared_file(name)?).unwrap();
    Some(csv::Reader::from_reader(GzDecoder::new(file)).into_deserialize().map(Result::unwrap).collect())
}
