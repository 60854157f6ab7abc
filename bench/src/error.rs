//! What can keep a measurement from being one.

use std::{error::Error, io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("the address {url} is not of the form http://HOST:PORT")]
    Url { url: String },
    #[error("{host} is not this machine; only loopback addresses are measured")]
    NotLoopback { host: String },
    #[error("could not look up {host}")]
    Lookup { host: String, source: io::Error },
    #[error("could not start the client's threads")]
    Runtime(#[source] io::Error),
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is not JSON", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{0}")]
    Option(String),
    #[error("the database refused a statement")]
    Database(#[from] backbeat::db::DbError),
    #[error("the database cannot be reached or refused a statement")]
    Postgres(#[from] sqlx::Error),
    #[error("the service could not start")]
    Start(#[from] backbeat::app::StartError),
    #[error("events were not stored")]
    Ingest(#[from] backbeat::ingest::IngestError),

    #[error("could not connect")]
    Connect(#[source] io::Error),
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    #[error("the request could not be written")]
    Request(#[from] hyper::http::Error),
    #[error("no answer within {seconds} s")]
    Timeout { seconds: u64 },
    #[error("the server answered {status}: {body}")]
    Refused { status: u16, body: String },
    #[error("the answer is not what was expected: {body}")]
    Answer { body: String, source: serde_json::Error },
    #[error("gave up after {attempts} attempts; the last answer: {last}")]
    Exhausted { attempts: u32, last: String },

    #[error("the socket broke")]
    Socket(#[source] Box<tokio_tungstenite::tungstenite::Error>),
    #[error("the socket answered unexpectedly: {message}")]
    Protocol { message: String },
    #[error("this needs {needed} open files, the limit is {limit}; raise it with `ulimit -Hn`")]
    OpenFiles { needed: u64, limit: u64 },
    #[error("could not run {}", path.display())]
    Spawn { path: PathBuf, source: io::Error },
    #[error("the server ended before it was ready ({status}); see --log")]
    Ended { status: String },
    #[error("process {pid} cannot be observed")]
    Process { pid: u32, source: io::Error },
}

impl BenchError {
    /// What went wrong and why, on one line.
    pub fn chain(&self) -> String {
        let causes = std::iter::successors(self.source(), |cause: &&dyn Error| (*cause).source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

impl From<tokio_tungstenite::tungstenite::Error> for BenchError {
    fn from(error: tokio_tungstenite::tungstenite::Error) -> Self {
        // Boxed: the library's error is large, and every result would carry its size.
        Self::Socket(Box::new(error))
    }
}
