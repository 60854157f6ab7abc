//! The words of the service: events, entities, windows, counting rules, roles. Pure, no I/O.

pub mod catalogue;
pub mod chart;
pub mod clock;
pub mod commit;
pub mod counting;
pub mod credit;
pub mod entity;
pub mod error;
pub mod event;
pub mod event_filter;
pub mod folding;
pub mod keeping;
pub mod measure;
pub mod merge;
pub mod money;
pub mod naming;
pub mod object;
pub mod origin;
pub mod property;
pub mod pseudonym;
pub mod ranking;
pub mod realtime;
pub mod trend;
pub mod upsert;
pub mod viewer;
pub mod window;
