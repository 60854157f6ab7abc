//! What the catalogue's owner says: entries that win over what events told, and which ids are one thing.
//!
//! Everything is stored first and then read back into what this process knows, by the same way on which it
//! learns of other processes' changes.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::Mutex;

use crate::{
    db::{
        Database, DbError, Transaction,
        queries::{catalogue, merges, notify, upserts, versions},
    },
    domain::{
        catalogue::{CatalogueVersion, EntryChange},
        clock::SharedClock,
        commit::{Changed, SharedObserver, Word},
        entity::{EntityKind, EntityRef},
        error::ErrorKind,
        event::{RejectCode, Rejection},
        merge::{Merge, Merges},
    },
};

/// The most entries of one request.
pub const ENTRIES_MAX: usize = 1_000;
/// The most ids that are merged into others, all kinds together: 100 bytes each in memory.
const MERGES_MAX: usize = 100_000;

/// Why nothing of a request was done.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    #[error("the request holds {count} entries, the limit is {ENTRIES_MAX}; send them in several requests")]
    TooManyEntries { count: usize },
    #[error("{message}")]
    Invalid { field: &'static str, message: String },
    #[error("the catalogue could not be stored")]
    Store(#[from] DbError),
}

impl CatalogueError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooManyEntries { .. } => ErrorKind::PayloadTooLarge,
            Self::Invalid { .. } => ErrorKind::InvalidInput,
            Self::Store(error) if error.is_transient() => ErrorKind::Unavailable,
            Self::Store(_) => ErrorKind::Internal,
        }
    }
}

/// What the catalogue works with.
pub struct CatalogueParts {
    pub database: Database,
    /// Raised with every change of entries or merges; whoever remembers what they say forgets it then.
    pub version: Arc<CatalogueVersion>,
    pub merges: Merges,
    pub observers: Vec<SharedObserver>,
    pub clock: SharedClock,
    pub id_length_max: usize,
}

/// The service that changes the catalogue. Cheap to clone.
#[derive(Clone)]
pub struct Catalogue {
    parts: Arc<CatalogueParts>,
    /// The state of the merges that is known; held while it is read, so that an older one never comes last.
    merges_version: Arc<Mutex<i64>>,
    /// Held while something is changed: changes of one kind wait for each other anyway, and each that waits in
    /// the database would keep one of the few connections that write from the committer.
    changing: Arc<Mutex<()>>,
}

impl Catalogue {
    /// Knows what is stored at this moment.
    pub async fn open(parts: CatalogueParts) -> Result<Self, DbError> {
        let catalogue = Self { parts: Arc::new(parts), merges_version: Arc::default(), changing: Arc::default() };
        catalogue.refresh().await?;
        Ok(catalogue)
    }

    /// Takes note of what was changed here or elsewhere.
    pub async fn refresh(&self) -> Result<(), DbError> {
        let reader = self.parts.database.reader();
        let mut known = self.merges_version.lock().await;
        let (version, merges_version) = versions::find(reader).await?;
        if *known < merges_version {
            self.parts.merges.replace(merges::list_all(reader).await?);
            *known = merges_version;
            self.tell(&Changed::Everything { within: None });
        }
        if self.parts.version.raise(version) {
            // No number has changed, but what belongs to whom.
            self.tell(&Changed::Entities(Default::default()));
        }
        Ok(())
    }

    /// Stores entries over what events told and over earlier entries of the same ids. Returns for each why it
    /// was not taken; the others are stored all together. Sent again it changes nothing.
    pub async fn upsert(&self, changes: Vec<EntryChange>) -> Result<Vec<Result<(), Rejection>>, CatalogueError> {
        if changes.len() > ENTRIES_MAX {
            return Err(CatalogueError::TooManyEntries { count: changes.len() });
        }
        let mut taken = Vec::with_capacity(changes.len());
        let mut seen = HashSet::new();
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            let judged = change.judge(self.parts.id_length_max, &self.parts.merges).and_then(|change| {
                if seen.insert(change.entity.clone()) { Ok(change) } else { Err(twice(&change.entity)) }
            });
            results.push(judged.map(|change| taken.push(change)));
        }
        if !taken.is_empty() {
            let _turn = self.changing.lock().await;
            let txn = self.begin(versions::CATALOGUE).await?;
            upserts::apply(&txn, &taken).await?;
            self.commit(txn).await?;
        }
        Ok(results)
    }

    /// From now on reads one id as another of the same kind. To say so again changes nothing.
    pub async fn merge(&self, kind: EntityKind, from_id: &str, into_id: &str) -> Result<(), CatalogueError> {
        let (from, into) = (EntityRef::new(kind, from_id), EntityRef::new(kind, into_id));
        if from == into {
            return Err(invalid("fromId", format!("is the same {} as intoId", kind.word())));
        }
        let _turn = self.changing.lock().await;
        let txn = self.begin(versions::MERGES).await?;
        let known = merges::list_all(&txn).await?;
        if known.iter().any(|merge| merge.from == from && *merge.into_id == *into_id) {
            return Ok(txn.rollback().await?);
        }
        require_known(&txn, &[("fromId", &from), ("intoId", &into)]).await?;
        check_flat(&known, &from, &into)?;
        let mut members = vec![into_id];
        members.extend(known.iter().filter(|merge| merge.is_into(&into)).map(|merge| &*merge.from.id));
        if kind == EntityKind::Artist {
            // Their counts would be added up though each of the two has the whole.
            if let Some(work) = catalogue::find_credited_to_both(&txn, &[from_id], &members).await? {
                let message = format!("the {} {:?} credits both; correct its credits first", work.kind.word(), work.id);
                return Err(invalid("fromId", message));
            }
        }
        merges::insert(&txn, &Merge { from, into_id: into.id }, self.parts.clock.now_ms()).await?;
        Ok(self.commit(txn).await?)
    }

    /// Reads an id as a thing of its own again. To say so of what is merged into nothing changes nothing.
    pub async fn unmerge(&self, kind: EntityKind, from_id: &str) -> Result<(), CatalogueError> {
        let from = EntityRef::new(kind, from_id);
        let _turn = self.changing.lock().await;
        let txn = self.begin(versions::MERGES).await?;
        require_known(&txn, &[("fromId", &from)]).await?;
        if !merges::delete(&txn, &from).await? {
            return Ok(txn.rollback().await?);
        }
        Ok(self.commit(txn).await?)
    }

    /// Begins a change; others of the same kind wait until it is done.
    async fn begin(&self, version: &str) -> Result<Transaction, DbError> {
        let txn = self.parts.database.begin_write().await?;
        versions::raise(&txn, version).await?;
        Ok(txn)
    }

    /// Makes a change durable and known, here before this returns, elsewhere soon.
    async fn commit(&self, txn: Transaction) -> Result<(), DbError> {
        // In nobody's name, so that this process hears it too: whoever made the change may be cut off before it looks.
        notify::notify(&txn, "catalogue", &[Word::of_catalogue()]).await?;
        txn.commit().await?;
        self.refresh().await
    }

    fn tell(&self, changed: &Changed) {
        self.parts.observers.iter().for_each(|observer| observer.committed(changed));
    }
}

/// What something is merged into is merged into nothing, and nothing is merged into what is merged: so there
/// are no rings, and one look finds the end.
fn check_flat(known: &[Merge], from: &EntityRef, into: &EntityRef) -> Result<(), CatalogueError> {
    let merged_into = |entity: &EntityRef| known.iter().find(|merge| merge.from == *entity).map(|merge| &merge.into_id);
    if let Some(other) = merged_into(from) {
        return Err(invalid("fromId", format!("is merged into {other:?} already; take that back first")));
    }
    if let Some(other) = merged_into(into) {
        return Err(invalid(
            "intoId",
            format!("is itself merged into {other:?}; merge into that, or take it back first"),
        ));
    }
    if let Some(merge) = known.iter().find(|merge| merge.is_into(from)) {
        return Err(invalid("fromId", format!("{:?} is merged into it; take that back first", merge.from.id)));
    }
    if known.len() >= MERGES_MAX {
        return Err(invalid("fromId", format!("{MERGES_MAX} ids are merged, which is the limit")));
    }
    Ok(())
}

/// Checks that the catalogue has heard of each.
async fn require_known(txn: &Transaction, entities: &[(&'static str, &EntityRef)]) -> Result<(), CatalogueError> {
    for (field, entity) in entities {
        if catalogue::list_by_ids(txn, entity.kind, std::slice::from_ref(&entity.id)).await?.is_empty() {
            return Err(invalid(field, format!("no {} has this id", entity.kind.word())));
        }
    }
    Ok(())
}

fn invalid(field: &'static str, message: String) -> CatalogueError {
    CatalogueError::Invalid { field, message }
}

fn twice(entity: &EntityRef) -> Rejection {
    let message = format!("this {} is in the request twice; the first one is taken", entity.kind.word());
    Rejection { id: Some(entity.id.to_string()), ..Rejection::new(RejectCode::InvalidValue, "id", message) }
}
