//! Who listened, exactly: when, and from which country, source and device.
//!
//! A commit appends one [`segment::Segment`] with the [`fact::Fact`]s of its events. Every process keeps what is not
//! merged yet in [`open::OpenAudience`]; the merger folds it into stored [`day::EntityDay`]s. A stored day says up to
//! which [`segment::Mark`] of each writer it holds everything, so a reader adds just the open facts beyond that,
//! and a merge that was cut off or is done twice adds nothing twice.

pub mod bytes;
pub mod day;
pub mod fact;
pub mod merge;
pub mod open;
pub mod segment;
pub mod trail;
