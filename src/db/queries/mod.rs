//! Statements, a file per subject. Each takes any connection: the caller decides on the transaction.

pub mod audience;
pub mod catalogue;
pub mod chart_totals;
pub mod charts;
pub mod dismissals;
pub mod event_list;
pub mod events;
pub mod explore;
pub mod keeping;
pub mod leases;
pub mod listeners;
pub mod merges;
pub mod notify;
pub mod purge;
pub mod rankings;
pub mod recommendations;
pub mod rollups;
pub mod secrets;
pub mod trails;
pub mod upserts;
pub mod versions;
