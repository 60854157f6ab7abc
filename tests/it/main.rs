//! One binary of tests; a file per feature. Each test has a database of its own: SQLite always,
//! PostgreSQL (plain, and hash-partitioned by the distribution columns) where `tests/run` started one.

mod support;

mod access;
mod activity;
mod audience;
mod auth;
mod bad_input;
mod catalogue;
mod charts;
mod charts_by_country;
mod charts_of_merges;
mod charts_of_real_data;
mod clients;
mod definitions;
mod events;
mod events_live;
mod examples;
mod explore;
mod faults;
mod http;
mod import;
mod ingest;
mod journeys;
mod keeping;
mod live;
mod metrics;
mod people_of_real_data;
mod platform;
mod properties;
mod purge;
mod ranking;
mod ranking_recount;
mod real_data;
mod realtime;
mod recommendation_quality;
mod recommendations;
mod recommendations_of_little;
mod recount;
mod releases;
mod socket;
mod statements;
mod tidy;
mod trending;
mod users;
