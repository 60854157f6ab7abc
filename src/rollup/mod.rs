//! From events to numbers: folding a batch into deltas, recomputing everything from the log, and bringing
//! together what several writers counted.

pub mod compare;
pub mod delta;
pub mod fold;
pub mod recount;
pub mod replay;
