//! Folds stored events as the committer folded them when they were new.

use std::collections::HashMap;

use super::delta::Deltas;
use crate::{
    db::{Connection, DbError, queries::listeners},
    domain::{counting::CountingRules, event::Event},
};

/// Adds events of the log to deltas.
pub async fn add_stored<C: Connection>(
    conn: &C,
    events: &[Event],
    rules: &CountingRules,
    deltas: &mut Deltas,
) -> Result<(), DbError> {
    let mut user_ids: Vec<&str> = events.iter().filter_map(|event| event.user_id.as_deref()).collect();
    user_ids.sort_unstable();
    user_ids.dedup();
    let numbers: HashMap<String, u32> = listeners::list_numbers(conn, &user_ids).await?.into_iter().collect();
    for event in events {
        // Somebody without a number can be in no set; a comparison of sets will say so.
        deltas.add(event, rules, |user_id| numbers.get(user_id).copied());
    }
    Ok(())
}
