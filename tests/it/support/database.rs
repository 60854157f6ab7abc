//! Throw-away databases: a file for SQLite; for PostgreSQL a copy of a template that ran the real migrations.

use std::{
    io::Write,
    sync::atomic::{AtomicU32, Ordering},
};

use backbeat::db::{Database, DatabaseSettings};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::sync::OnceCell;

/// A database that is gone when the test is.
pub struct TestDatabase {
    pub url: String,
    _directory: Option<tempfile::TempDir>,
    /// The server and name of a PostgreSQL database to drop.
    dropped: Option<(String, String)>,
}

const URL_VARIABLE: &str = "BACKBEAT_TEST_POSTGRES_URL";

/// Says, past the test runner's capture, what a run leaves out.
pub fn left_out(what: &str) {
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {what}");
}

impl TestDatabase {
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        Self { url, _directory: Some(directory), dropped: None }
    }

    /// `None`, said loudly, where no PostgreSQL was started.
    pub async fn postgres() -> Option<Self> {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let server = server()?;
        let template = TEMPLATE.get_or_init(|| make_template(&server, "plain", false)).await;
        Some(Self::copy(&server, template).await)
    }

    /// A PostgreSQL whose tables are hash-partitioned by the columns that Citus would distribute them by.
    pub async fn postgres_partitioned() -> Option<Self> {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let server = server()?;
        let template = TEMPLATE.get_or_init(|| make_template(&server, "partitioned", true)).await;
        Some(Self::copy(&server, template).await)
    }

    async fn copy(server: &str, template: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("bb_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = connect(server).await;
        execute(&admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        admin.close().await.unwrap();
        Self { url: url_of(server, &name), _directory: None, dropped: Some((server.to_owned(), name)) }
    }

    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite")
    }

    /// A connection beside the service's, to look and to tamper.
    pub async fn connect(&self) -> DatabaseConnection {
        connect(&self.url).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some((server, name)) = self.dropped.take() else { return };
        // The test's runtime cannot be waited for from here; a thread has its own.
        let dropper = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = connect(&server).await;
                let _ = admin.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        let _ = dropper.join();
    }
}

fn server() -> Option<String> {
    let server = std::env::var(URL_VARIABLE).ok();
    if server.is_none() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| left_out("tests on PostgreSQL; run tests/run to have one started"));
    }
    server
}

async fn make_template(server: &str, name: &str, is_partitioned: bool) -> String {
    let name = format!("bb_template_{name}_{}", std::process::id());
    let admin = connect(server).await;
    execute(&admin, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
    execute(&admin, &format!("CREATE DATABASE {name}")).await;
    admin.close().await.unwrap();
    let url = url_of(server, &name);
    let database = Database::connect(&DatabaseSettings::new(&url), None).await.unwrap();
    database.migrate_up().await.unwrap();
    database.close().await.unwrap();
    if is_partitioned {
        let connection = connect(&url).await;
        for (table, column) in migration::DISTRIBUTION {
            // PostgreSQL takes the key over only if it holds the column: the rule that Citus has too.
            for sql in [
                format!("CREATE TABLE hashed (LIKE {table} INCLUDING ALL) PARTITION BY HASH ({column})"),
                format!("CREATE TABLE {table}_h0 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 0)"),
                format!("CREATE TABLE {table}_h1 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 1)"),
                format!("CREATE TABLE {table}_h2 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 2)"),
                format!("DROP TABLE {table}"),
                format!("ALTER TABLE hashed RENAME TO {table}"),
            ] {
                execute(&connection, &sql).await;
            }
        }
        connection.close().await.unwrap();
    }
    name
}

async fn connect(url: &str) -> DatabaseConnection {
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    sea_orm::Database::connect(options).await.unwrap()
}

async fn execute(connection: &DatabaseConnection, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn url_of(server: &str, database: &str) -> String {
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{database}")
}
