//! A running service for each test, on a database of its own.

pub mod app;
pub mod cluster;
pub mod data;
pub mod database;
pub mod service;
pub mod socket;

pub use app::{App, T0, at, play, rfc3339};
pub use database::{TestDatabase, left_out};
pub use socket::Socket;

/// Defines a test once for every database: `on_every_database!(name, |database| { … })` becomes
/// `name::sqlite`, `name::postgres` and `name::postgres_partitioned`.
#[macro_export]
macro_rules! on_every_database {
    ($name:ident, |$database:ident| $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn run($database: $crate::support::TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                run($crate::support::TestDatabase::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                if let Some(database) = $crate::support::TestDatabase::postgres().await {
                    run(database).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres_partitioned() {
                if let Some(database) = $crate::support::TestDatabase::postgres_partitioned().await {
                    run(database).await;
                }
            }
        }
    };
}

/// Waits for a value, with a limit and a last word on what was seen.
pub async fn eventually<T, F>(what: &str, mut look: F) -> T
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if std::time::Instant::now() > deadline => panic!("{what}: not within 30 s; last seen: {seen}"),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
}
