//! One binary of tests; a file per feature. Each test has a database of its own: SQLite always,
//! PostgreSQL (plain, and hash-partitioned by the distribution columns) where `tests/run` started one.

mod support;

mod bad_input;
mod import;
mod ingest;
mod metrics;
mod properties;
mod ranking;
mod real_data;
mod recount;
mod statements;
mod tidy;
