//! What this process remembers of the catalogue's word about whom events count for.

use std::{collections::BTreeSet, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    db::{Connection, DbError, queries::upserts},
    domain::{counting::credited_work, credit::Credits, entity::EntityRef, event::Event, merge::Merges},
};

/// Songs and albums whose credits are known, also where there are none. Bounded: it starts anew when it is full.
#[derive(Default)]
pub struct KnownCredits {
    known: FxHashMap<EntityRef, Option<Arc<Credits>>>,
}

/// About 100 bytes each, several times that where the catalogue says something: some 50 MB when full.
const WORKS_MAX: usize = 200_000;

impl KnownCredits {
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Makes sure that the credits of what these events are about are known; asks for what is not, at once.
    pub async fn learn<'a, C: Connection>(
        &mut self,
        conn: &C,
        events: impl Iterator<Item = &'a Event>,
        merges: &Merges,
    ) -> Result<(), DbError> {
        let works = events.filter_map(|event| work(event, merges));
        let unknown: BTreeSet<EntityRef> = works.filter(|work| !self.known.contains_key(work)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if self.known.len() + unknown.len() > WORKS_MAX {
            self.known.clear();
        }
        let mut found = upserts::list_counted_for(conn, &unknown.iter().collect::<Vec<_>>()).await?;
        self.known.extend(unknown.into_iter().map(|work| {
            let credits = found.remove(&work).map(Arc::new);
            (work, credits)
        }));
        Ok(())
    }

    /// What the catalogue says about whom an event counts for; `None` where the event itself names the same.
    pub fn of(&self, event: &Event, merges: &Merges) -> Option<Arc<Credits>> {
        let credits = self.known.get(&work(event, merges)?)?.as_ref()?;
        (!credits.are_named_by(event)).then(|| credits.clone())
    }
}

/// What is merged is looked up as what it is read as: its credits are the ones that clients see.
fn work(event: &Event, merges: &Merges) -> Option<EntityRef> {
    let (kind, id) = credited_work(event)?;
    Some(merges.canonical(&EntityRef { kind, id: id.clone() }))
}
