//! Backbeat: the analytics API of a music platform.

pub mod analytics;
pub mod app;
pub mod audience;
pub mod auth;
pub mod catalogue;
pub mod charts;
pub mod cli;
pub mod config;
pub mod db;
pub mod demo;
pub mod domain;
pub mod graphql;
pub mod http;
pub mod ingest;
pub mod keeping;
pub mod live;
pub mod privacy;
pub mod realtime;
pub mod recommend;
pub mod rollup;
pub mod telemetry;
