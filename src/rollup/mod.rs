//! From events to numbers: folding a batch into deltas, and recomputing everything from the log.

pub mod delta;
pub mod recount;
