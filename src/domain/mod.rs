//! The words of the service: events, entities, windows, counting rules, roles. Pure, no I/O.

pub mod catalogue;
pub mod clock;
pub mod commit;
pub mod counting;
pub mod entity;
pub mod error;
pub mod event;
pub mod measure;
pub mod money;
pub mod naming;
pub mod realtime;
pub mod viewer;
pub mod window;
