//! What is like what, and what a listener may like next: from who listened to what.

pub mod evaluate;
pub mod matrix;
pub mod neighbours;
pub mod taste;
