//! Two ids that are one thing.
//!
//! Events go on counting under the id they name; whoever reads adds up what is one. So taking a merge back
//! is forgetting it, and no event can undo it.

use std::sync::{Arc, PoisonError, RwLock};

use rustc_hash::FxHashMap;

use super::{
    commit::{Changed, CommitObserver, Extent, SharedObserver},
    entity::{EntityKind, EntityRef},
};

/// One id that is read as another of the same kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    pub from: EntityRef,
    pub into_id: Arc<str>,
}

impl Merge {
    pub fn is_into(&self, entity: &EntityRef) -> bool {
        self.from.kind == entity.kind && self.into_id == entity.id
    }
}

/// All merges, as this process knows them. Cheap to clone; all clones are one.
///
/// They are flat: what something is merged into is itself merged into nothing.
#[derive(Debug, Clone, Default)]
pub struct Merges(Arc<RwLock<Arc<Snapshot>>>);

#[derive(Debug, Default)]
struct Snapshot {
    into: FxHashMap<EntityRef, Arc<str>>,
    from: FxHashMap<EntityRef, Vec<Arc<str>>>,
}

impl Merges {
    pub fn replace(&self, merges: Vec<Merge>) {
        let mut snapshot = Snapshot::default();
        for Merge { from, into_id } in merges {
            let into = EntityRef { kind: from.kind, id: into_id.clone() };
            snapshot.from.entry(into).or_default().push(from.id.clone());
            snapshot.into.insert(from, into_id);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }

    /// The one that an entity is read as.
    pub fn canonical(&self, entity: &EntityRef) -> EntityRef {
        let snapshot = self.snapshot();
        EntityRef { kind: entity.kind, id: snapshot.canonical_id(entity) }
    }

    /// Everything that is read as this entity is: the one it is read as first, then what is merged into it.
    pub fn members(&self, entity: &EntityRef) -> Vec<EntityRef> {
        let snapshot = self.snapshot();
        let id = snapshot.canonical_id(entity);
        let merged = snapshot.from.get(&EntityRef { kind: entity.kind.public(), id: id.clone() });
        let ids = std::iter::once(&id).chain(merged.into_iter().flatten());
        ids.map(|id| EntityRef { kind: entity.kind, id: id.clone() }).collect()
    }

    /// Whether anything of this kind is merged.
    pub fn has(&self, kind: EntityKind) -> bool {
        self.snapshot().into.keys().any(|entity| entity.kind == kind.public())
    }

    /// Everything of a kind that something else is read as.
    pub fn list_united(&self, kind: EntityKind) -> Vec<EntityRef> {
        self.snapshot().from.keys().filter(|entity| entity.kind == kind).cloned().collect()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Snapshot {
    fn canonical_id(&self, entity: &EntityRef) -> Arc<str> {
        if self.into.is_empty() {
            return entity.id.clone();
        }
        let known = EntityRef { kind: entity.kind.public(), id: entity.id.clone() };
        self.into.get(&known).cloned().unwrap_or(known.id)
    }
}

/// Tells observers of a commit also about everything that is read as what changed.
pub struct WithMembers {
    pub merges: Merges,
    pub observers: Vec<SharedObserver>,
}

impl CommitObserver for WithMembers {
    fn committed(&self, changed: &Changed) {
        let widened = match changed {
            Changed::Entities(entities) if !self.merges.snapshot().into.is_empty() => {
                let members = |(entity, extent): (&EntityRef, &Extent)| {
                    let extent = *extent;
                    self.merges.members(entity).into_iter().map(move |member| (member, extent))
                };
                &Changed::Entities(entities.iter().flat_map(members).collect())
            }
            changed => changed,
        };
        self.observers.iter().for_each(|observer| observer.committed(widened));
    }

    fn purged(&self) {
        self.observers.iter().for_each(|observer| observer.purged());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_merged_is_read_as_one() {
        let artist = |id: &str| EntityRef::new(EntityKind::Artist, id);
        let merges = Merges::default();
        assert_eq!(merges.members(&artist("a")), [artist("a")]);
        assert!(!merges.has(EntityKind::Artist));
        merges.replace(vec![
            Merge { from: artist("a"), into_id: "c".into() },
            Merge { from: artist("b"), into_id: "c".into() },
        ]);
        for id in ["a", "b", "c"] {
            assert_eq!(merges.canonical(&artist(id)), artist("c"));
            assert_eq!(merges.members(&artist(id)), [artist("c"), artist("a"), artist("b")]);
        }
        let featured = EntityRef::new(EntityKind::FeaturedArtist, "a");
        assert_eq!(merges.canonical(&featured), EntityRef::new(EntityKind::FeaturedArtist, "c"));
        assert_eq!(merges.canonical(&EntityRef::new(EntityKind::Song, "a")), EntityRef::new(EntityKind::Song, "a"));
        assert!(merges.has(EntityKind::FeaturedArtist) && !merges.has(EntityKind::Song));
        assert_eq!(merges.list_united(EntityKind::Artist), [artist("c")]);
        merges.replace(Vec::new());
        assert_eq!(merges.canonical(&artist("a")), artist("a"));
    }
}
