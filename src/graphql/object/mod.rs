//! The schema's types, a file per subject. They are ours, never database rows.

pub mod catalogue;
pub mod chart;
pub mod entity;
pub mod event;
pub mod explore;
pub mod metrics;
pub mod people;
pub mod platform;
pub mod ranking;
pub mod realtime;
pub mod release;
pub mod retention;
pub mod timeline;
pub mod trending;
pub mod viewer;
pub mod works;
