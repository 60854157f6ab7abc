//! One binary of tests; a file per feature. Each test has a database of its own: SQLite always,
//! PostgreSQL (plain, and hash-partitioned by the distribution columns) where `tests/run` started one.

mod support;

mod access;
mod auth;
mod clients;
mod examples;
mod faults;
mod http;
mod ingest;
mod live;
mod socket;
