//! Beginning anew.

use sea_orm::ConnectionTrait;

use crate::db::{DbError, Transaction};

/// Events, and what follows from them; what people said about it.
const COUNTED: &[&str] = &[
    "rollup",
    "money_rollup",
    "audience_segment",
    "audience_day",
    "market_day",
    "trail",
    "chart_entry",
    "chart",
    "chart_period",
    "listener",
    "anonymous_listener",
    "item",
    "neighbours",
    "taste",
    "recommendation_run",
    "recommendation_quality",
    "dismissal",
];
/// What is known about entities, from whomever.
const CATALOGUE: &[&str] =
    &["song", "album", "playlist", "artist", "credit", "playlist_song", "entity_genre", "entity_merge"];
/// What is nobody's data: who works, which numbers are given out, how the past is kept.
const OF_PROCESSES: &[&str] = &["lease", "sequence_block", "keeping", "secret"];

/// Every table but that of migrations.
pub fn tables() -> impl Iterator<Item = &'static str> {
    ["event"].iter().chain(COUNTED).chain(CATALOGUE).chain(OF_PROCESSES).copied()
}

/// Removes all events and what follows from them, and the catalogue if asked; returns how many events there were.
pub async fn delete_all(txn: &Transaction, and_catalogue: bool) -> Result<u64, DbError> {
    let events = txn.execute_unprepared("DELETE FROM event").await?.rows_affected();
    let catalogue = if and_catalogue { CATALOGUE } else { &[] };
    for table in COUNTED.iter().chain(catalogue) {
        txn.execute_unprepared(&format!("DELETE FROM {table}")).await?;
    }
    Ok(events)
}
