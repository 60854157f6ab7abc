//! Folds stored events as the committer folded them when they were new.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::delta::Deltas;
use crate::{
    db::{Connection, DbError, queries::listeners},
    domain::{
        counting::{CountingRules, Part},
        event::Event,
    },
};

/// Adds events of the log to deltas.
pub async fn add_stored<C: Connection>(
    conn: &C,
    events: &[Event],
    rules: &CountingRules,
    deltas: &mut Deltas,
) -> Result<(), DbError> {
    let numbers = numbers_of(conn, events).await?;
    for event in events {
        // Somebody without a number can be in no set; a comparison of people will say so.
        deltas.add(event, rules, |event, part| numbers.get(&person(event, part)?).copied());
    }
    Ok(())
}

/// Which sort of person, and their id.
type PersonId = (listeners::People, Arc<str>);

fn person(event: &Event, part: Part) -> Option<PersonId> {
    match part {
        Part::AnonymousListener => Some((listeners::People::Anonymous, event.anonymous_id.clone()?)),
        _ => Some((listeners::People::Identified, event.user_id.clone()?)),
    }
}

async fn numbers_of<C: Connection>(conn: &C, events: &[Event]) -> Result<HashMap<PersonId, u32>, DbError> {
    let mut numbers = HashMap::new();
    for people in [listeners::People::Identified, listeners::People::Anonymous] {
        let ids: BTreeSet<&str> = events
            .iter()
            .filter_map(|event| match people {
                listeners::People::Identified => event.user_id.as_deref(),
                listeners::People::Anonymous => event.anonymous_id.as_deref(),
            })
            .collect();
        let ids: Vec<&str> = ids.into_iter().collect();
        let found = listeners::list_numbers(conn, people, &ids).await?;
        numbers.extend(found.into_iter().map(|(id, number)| ((people, Arc::from(id)), number)));
    }
    Ok(numbers)
}
