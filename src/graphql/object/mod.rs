//! The schema's types, a file per subject. They are ours, never database rows.

pub mod activity;
pub mod catalogue;
pub mod chart;
pub mod conversion;
pub mod dashboard;
pub mod entity;
pub mod event;
pub mod event_list;
pub mod explore;
pub mod funnel;
pub mod measurable;
pub mod metrics;
pub mod people;
pub mod platform;
pub mod privacy;
pub mod ranking;
pub mod realtime;
pub mod recommendation;
pub mod release;
pub mod retention;
pub mod sessions;
pub mod timeline;
pub mod trending;
pub mod user;
pub mod viewer;
pub mod works;
