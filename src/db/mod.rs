//! The database: connections, statements, and the sorting of errors. The only room that knows SQL.

use std::{sync::Arc, time::Duration};

use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, DatabaseBackend, DatabaseConnection, IsolationLevel, SqlErr,
    Statement, TransactionOptions, TransactionTrait,
    sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous},
};

mod bulk;
pub mod entities;
pub mod queries;
mod transaction;

use migration::MigratorTrait;
/// Anything that statements can be run on: a pool or a transaction.
pub use sea_orm::ConnectionTrait as Connection;
/// A transaction that only reads.
pub use sea_orm::DatabaseTransaction as Snapshot;
pub use transaction::Transaction;

/// A statement failed. Its text never reaches a client.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("a database statement failed")]
    Statement(#[from] sea_orm::DbErr),
    #[error("the database holds something unreadable: {0}")]
    Corrupt(&'static str),
    #[error("another process holds the lease {0:?}")]
    LeaseHeld(&'static str),
    #[error("the database did not answer in time")]
    TimedOut,
}

impl DbError {
    /// Whether the same work may succeed when it is tried again: the database is away, overloaded or
    /// two writers met. Everything else is the work's own fault.
    pub fn is_transient(&self) -> bool {
        use sea_orm::{DbErr, RuntimeErr, sqlx};
        let Self::Statement(error) = self else { return matches!(self, Self::TimedOut) };
        let runtime = match error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => return true,
            DbErr::Exec(runtime) | DbErr::Query(runtime) => runtime,
            _ => return false,
        };
        let RuntimeErr::SqlxError(error) = runtime else { return true };
        match &**error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                // PostgreSQL: connection (08), insufficient resources (53), operator intervention (57),
                // serialization failure and dead-lock (40). SQLite: busy (5), locked (6), full (13),
                // I/O error (10) with their extended codes.
                ["08", "53", "57", "40"].iter().any(|class| code.len() == 5 && code.starts_with(class))
                    || code.parse::<i32>().is_ok_and(|code| code < 10_000 && [5, 6, 10, 13].contains(&(code & 0xff)))
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        }
    }

    /// Whether a row with the same key is there.
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Statement(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))))
    }
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    pub url: String,
    /// Connections for readers; writers have their own.
    pub read_connections: u32,
    /// SQLite's page cache of the writer, in MiB.
    pub sqlite_cache_mib: u32,
    /// How long a reader waits for a free connection before the request fails.
    pub acquire_timeout: Duration,
}

impl DatabaseSettings {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), read_connections: 4, sqlite_cache_mib: 128, acquire_timeout: Duration::from_secs(3) }
    }
}

/// Prepared statements that a connection keeps: the bulk inserts' few lengths and the readers' few forms.
const STATEMENTS_MAX: usize = 512;

/// Sees every statement that is run through one of the pools; for tests that count them.
pub type StatementObserver = Arc<dyn Fn(&str) + Send + Sync>;

/// One database, with a pool to read from, one to write through, and a connection for jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    read: DatabaseConnection,
    scan: DatabaseConnection,
    write: DatabaseConnection,
}

impl Database {
    /// Connects lazily: a database that is away is met by the first statement, not here.
    pub async fn connect(settings: &DatabaseSettings, observer: Option<StatementObserver>) -> Result<Self, DbError> {
        let (read, scan, write) =
            if is_sqlite(&settings.url) { sqlite_options(settings) } else { postgres_options(settings) };
        let mut read = sea_orm::Database::connect(read).await?;
        let scan = sea_orm::Database::connect(scan).await?;
        let write = sea_orm::Database::connect(write).await?;
        if let Some(observer) = observer {
            read.set_metric_callback(move |info| observer(&info.statement.sql));
        }
        Ok(Self { read, scan, write })
    }

    pub fn is_sqlite(&self) -> bool {
        self.read.get_database_backend() == DatabaseBackend::Sqlite
    }

    /// For single statements that only read.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.read
    }

    /// For jobs that read whole days: one connection of their own, so that they keep no reader waiting.
    pub fn scanner(&self) -> &DatabaseConnection {
        &self.scan
    }

    /// For single statements that write.
    pub fn writer(&self) -> &DatabaseConnection {
        &self.write
    }

    /// A transaction that writes. On SQLite it is the only one until it ends.
    pub async fn begin_write(&self) -> Result<Transaction, DbError> {
        let pool = self.write.clone();
        to_the_end(async move { Transaction::begin(&pool).await }).await
    }

    /// A transaction that reads one unchanging state, however long it takes.
    pub async fn begin_snapshot(&self) -> Result<Snapshot, DbError> {
        let options = if self.is_sqlite() {
            TransactionOptions::default()
        } else {
            TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                ..TransactionOptions::default()
            }
        };
        let pool = self.read.clone();
        to_the_end(async move { Ok(pool.begin_with_options(options).await?) }).await
    }

    pub async fn migrate_up(&self) -> Result<(), DbError> {
        Ok(migration::Migrator::up(&self.write, None).await?)
    }

    pub async fn migrate_down(&self, steps: u32) -> Result<(), DbError> {
        Ok(migration::Migrator::down(&self.write, Some(steps)).await?)
    }

    /// The migrations in order, and whether each is applied.
    pub async fn migration_status(&self) -> Result<Vec<(String, bool)>, DbError> {
        let applied = migration::Migrator::get_migration_with_status(&self.write).await?;
        Ok(applied
            .iter()
            .map(|migration| (migration.name().to_owned(), migration.status().to_string() == "Applied"))
            .collect())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), DbError> {
        Ok(self.read.ping().await?)
    }

    /// Brings SQLite's write-ahead log home as far as readers allow, without stopping the writer.
    pub async fn checkpoint(&self) -> Result<(), DbError> {
        if self.is_sqlite() {
            self.write.execute_unprepared("PRAGMA wal_checkpoint(PASSIVE)").await?;
        }
        Ok(())
    }

    /// Closes both pools; SQLite leaves one plain file behind.
    pub async fn close(self) -> Result<(), DbError> {
        self.read.close().await?;
        self.scan.close().await?;
        if self.write.get_database_backend() == DatabaseBackend::Sqlite {
            self.write.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Ok(self.write.close().await?)
    }
}

/// Begins a transaction also where nobody waits for it any more, and then rolls it back: sqlx (0.9.0, PostgreSQL) gives a
/// connection whose BEGIN was dropped halfway to the next one as it is, inside a transaction that nobody ends.
async fn to_the_end<T: Send + 'static>(
    begin: impl Future<Output = Result<T, DbError>> + Send + 'static,
) -> Result<T, DbError> {
    // Cut off only where the runtime ends.
    tokio::spawn(begin).await.unwrap_or(Err(DbError::TimedOut))
}

pub fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

fn sqlite_options(settings: &DatabaseSettings) -> (ConnectOptions, ConnectOptions, ConnectOptions) {
    let cache_kib = i64::from(settings.sqlite_cache_mib) * 1_024;
    let base = move |read_only: bool, mapped_bytes: &'static str, cache_kib: i64| {
        move |options: sea_orm::sqlx::sqlite::SqliteConnectOptions| {
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // Acknowledged means on the disk: every commit is synced, on every connection.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(10))
                .pragma("cache_size", format!("-{cache_kib}"))
                .pragma("temp_store", "MEMORY")
                // Readers touch many pages once: they look into the file instead of copying from it.
                .pragma("mmap_size", mapped_bytes)
                // About 256 MiB of log between checkpoints: fewer, larger ones cost less.
                .pragma("wal_autocheckpoint", "65536")
                .pragma("query_only", if read_only { "ON" } else { "OFF" })
                .statement_cache_capacity(STATEMENTS_MAX)
        }
    };
    let mut write = ConnectOptions::new(&settings.url);
    write.max_connections(1).acquire_timeout(Duration::from_secs(30)).sqlx_logging(false);
    write.map_sqlx_sqlite_opts(base(false, "0", cache_kib)).idle_timeout(None).max_lifetime(None);
    let mut read = ConnectOptions::new(&settings.url);
    read.max_connections(settings.read_connections).acquire_timeout(settings.acquire_timeout).sqlx_logging(false);
    read.map_sqlx_sqlite_opts(base(true, "1073741824", 16 * 1_024)).connect_lazy(true);
    let mut scan = ConnectOptions::new(&settings.url);
    scan.max_connections(1).acquire_timeout(Duration::from_secs(30)).sqlx_logging(false);
    // Not mapped: a job goes through more than memory holds, and what it has seen is to be let go.
    scan.map_sqlx_sqlite_opts(base(true, "0", 64 * 1_024)).connect_lazy(true);
    (read, scan, write)
}

fn postgres_options(settings: &DatabaseSettings) -> (ConnectOptions, ConnectOptions, ConnectOptions) {
    let mut write = ConnectOptions::new(&settings.url);
    // The committer, the audience merger, a lease's heartbeat, one to spare.
    write.max_connections(4).acquire_timeout(Duration::from_secs(5)).sqlx_logging(false).connect_lazy(true);
    write.test_before_acquire(true).set_application_name("backbeat");
    write.map_sqlx_postgres_opts(|options| options.statement_cache_capacity(STATEMENTS_MAX));
    let mut read = ConnectOptions::new(&settings.url);
    read.max_connections(settings.read_connections).acquire_timeout(settings.acquire_timeout).sqlx_logging(false);
    read.connect_lazy(true).set_application_name("backbeat");
    let mut scan = ConnectOptions::new(&settings.url);
    scan.max_connections(1).acquire_timeout(Duration::from_secs(30)).sqlx_logging(false);
    scan.connect_lazy(true).set_application_name("backbeat");
    (read, scan, write)
}

/// A statement with bound values for this connection's database.
fn statement<C: ConnectionTrait>(conn: &C, sql: impl Into<String>, values: Vec<sea_orm::Value>) -> Statement {
    Statement::from_sql_and_values(conn.get_database_backend(), sql, values)
}
