//! SeaORM entities, a file per table. Tables on the hot path are written in bulk by `queries` instead.

pub mod album;
pub mod artist;
pub mod keeping;
pub mod lease;
pub mod playlist;
pub mod sequence_block;
pub mod song;
