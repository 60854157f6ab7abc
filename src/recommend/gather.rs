//! What every listener took to, from all that is on their trails.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Recommender, taste::Deeds, taste::KINDS, taste::Taste};
use crate::{
    analytics::{EVER, Walk},
    audience::{fact::Texts, trail::Step},
    db::{
        DbError,
        queries::{catalogue, recommendations},
    },
    domain::{
        counting::{Action, action_of},
        entity::{EntityKind, EntityRef},
        merge::Merges,
        object::read_name,
        window::DAY_MS,
    },
};

/// Rows that are read at once.
const ROWS_AT_ONCE: u32 = 20_000;
/// What is kept of a listener of each kind: of whoever took to more, what they took to most.
const ITEMS_MAX: usize = 5_000;

/// Where a kind's items are in a [`Taste`].
pub fn place_of(kind: EntityKind) -> usize {
    kind.public() as usize - 1
}

/// The UTC day of a moment, counted from 1970.
pub fn day_of(at_ms: i64) -> i32 {
    i32::try_from(at_ms.div_euclid(DAY_MS)).unwrap_or(i32::MAX)
}

/// Everything that listeners took to, numbered from 0.
#[derive(Default)]
pub struct Items {
    numbers: FxHashMap<EntityRef, u32>,
    list: Vec<EntityRef>,
    /// How many of them are stored.
    pub stored: usize,
}

impl Items {
    pub fn list(&self) -> &[EntityRef] {
        &self.list
    }

    fn number(&mut self, entity: EntityRef) -> u32 {
        if let Some(number) = self.numbers.get(&entity) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).expect("a platform has fewer things than that");
        self.list.push(entity.clone());
        self.numbers.insert(entity, number);
        number
    }
}

/// What songs and albums lead to: whoever took to one took to its album and its artists.
#[derive(Default)]
struct Works(FxHashMap<EntityRef, Box<[EntityRef]>>);

/// What one listener took to, before a moment and from it on.
pub struct Listened {
    pub listener: u32,
    pub settled: Taste,
    pub recent: Taste,
}

impl Recommender {
    /// Shows what each listener took to before a moment, and from it on, in the order of their numbers; returns the items
    /// by their numbers, new ones behind those that are stored. Source: the trails.
    pub(super) async fn gather(&self, before_ms: i64, mut see: impl FnMut(Listened)) -> Result<Items, DbError> {
        let items = self.stored_items().await?;
        let works = self.works().await?;
        let merges = self.analytics.merges();
        let mut gatherer = Gatherer { items, works, merges, before_ms, objects: Vec::new(), actions: Vec::new() };
        let walk = Walk { during: EVER, event_types: None, users: None, with_several: true };
        self.analytics
            .walk_with_objects(&walk, |steps, texts, names| {
                let listened = gatherer.taste(steps, texts, names);
                if listened.settled != Taste::default() || listened.recent != Taste::default() {
                    see(listened);
                }
            })
            .await?;
        Ok(gatherer.items)
    }

    async fn stored_items(&self) -> Result<Items, DbError> {
        let mut items = Items::default();
        loop {
            let from = items.list.len() as u32;
            let page = recommendations::list_items_from(self.database.scanner(), from, ROWS_AT_ONCE).await?;
            if page.is_empty() {
                items.stored = items.list.len();
                return Ok(items);
            }
            for (number, entity) in page {
                if items.number(entity) != number {
                    return Err(DbError::Corrupt("items are not numbered one after the other"));
                }
            }
        }
    }

    async fn works(&self) -> Result<Works, DbError> {
        let (conn, merges) = (self.database.scanner(), self.analytics.merges());
        let mut works = Works::default();
        for kind in [EntityKind::Song, EntityKind::Album] {
            let mut after: Arc<str> = "".into();
            loop {
                let page = catalogue::list_works_behind(conn, kind, &after, ROWS_AT_ONCE).await?;
                let Some(last) = page.last() else { break };
                after = last.entity.id.clone();
                let mut credits = FxHashMap::default();
                for some in page.chunks(4_096) {
                    let entities: Vec<&EntityRef> = some.iter().map(|work| &work.entity).collect();
                    credits.extend(catalogue::list_credits(conn, &entities).await?);
                }
                for work in page {
                    let named = |kind, id: Arc<str>| merges.canonical(&EntityRef { kind, id });
                    let mut leads_to: Vec<EntityRef> = match credits.remove(&work.entity) {
                        Some(credits) => {
                            let main = credits.into_iter().filter(|credit| credit.role.owns());
                            main.map(|credit| named(EntityKind::Artist, credit.artist_id)).collect()
                        }
                        None => work.artist_id.into_iter().map(|id| named(EntityKind::Artist, id)).collect(),
                    };
                    leads_to.extend(work.album_id.map(|id| named(EntityKind::Album, id)));
                    leads_to.sort_unstable();
                    leads_to.dedup();
                    works.0.insert(work.entity, leads_to.into());
                }
            }
        }
        Ok(works)
    }
}

impl Works {
    /// An entity and what it leads to; of a merged one what the one leads to that it is read as.
    fn of(&self, entity: EntityRef, merges: &Merges) -> Vec<EntityRef> {
        let read_as = merges.canonical(&entity);
        let mut all = vec![read_as];
        all.extend(self.0.get(&all[0]).or_else(|| self.0.get(&entity)).into_iter().flatten().cloned());
        all
    }
}

/// Kinds and items.
type Objects = Box<[(usize, u32)]>;

struct Gatherer<'a> {
    items: Items,
    works: Works,
    merges: &'a Merges,
    before_ms: i64,
    /// What names stand for, and what that leads to, by their numbers.
    objects: Vec<Option<Objects>>,
    /// What types of events do, by the numbers of their texts; nothing yet where one was not met.
    actions: Vec<Option<Option<Action>>>,
}

impl Gatherer<'_> {
    fn taste(&mut self, steps: &[Step], texts: &Texts, names: &Texts) -> Listened {
        let (mut settled, mut recent) = (Taste::default(), Taste::default());
        for step in steps {
            let Some(action) = self.action(step.event_type, texts) else { continue };
            let Some(deeds) = Deeds::of(action, &step.object, day_of(step.at_ms)) else { continue };
            let taste = if step.at_ms < self.before_ms { &mut settled } else { &mut recent };
            self.object(step.object.entity, names).iter().for_each(|(kind, item)| taste.0[*kind].push((*item, deeds)));
            if action == Action::Play {
                let playlist = self.object(step.object.playlist, names);
                playlist.iter().for_each(|(kind, item)| taste.0[*kind].push((*item, deeds)));
            }
        }
        settled.settle();
        recent.settle();
        limit(&mut settled, &mut recent);
        Listened { listener: steps[0].user, settled, recent }
    }

    fn action(&mut self, number: u32, texts: &Texts) -> Option<Action> {
        let at = number as usize;
        if self.actions.len() <= at {
            self.actions.resize(at + 1, None);
        }
        *self.actions[at].get_or_insert_with(|| Some(action_of(texts.text(number)?)?.0))
    }

    fn object(&mut self, number: u32, names: &Texts) -> &[(usize, u32)] {
        let at = number as usize;
        if self.objects.len() <= at {
            self.objects.resize(at + 1, None);
        }
        let (works, merges, items) = (&self.works, self.merges, &mut self.items);
        self.objects[at].get_or_insert_with(|| {
            let Some(entity) = names.text(number).and_then(|name| read_name(name)) else { return Objects::default() };
            let all = works.of(entity, merges).into_iter();
            all.map(|entity| (place_of(entity.kind), items.number(entity))).collect()
        })
    }
}

/// Leaves of each kind what most was taken to.
fn limit(settled: &mut Taste, recent: &mut Taste) {
    for kind in 0..KINDS {
        if settled.0[kind].len() + recent.0[kind].len() <= ITEMS_MAX {
            continue;
        }
        let mut all = Taste::default();
        all.0[kind].extend(&settled.0[kind]);
        all.0[kind].extend(&recent.0[kind]);
        all.settle();
        let kept = strongest(&all.0[kind], ITEMS_MAX);
        let is_kept = |(item, _): &(u32, Deeds)| kept.binary_search_by_key(item, |(item, _)| *item).is_ok();
        settled.0[kind].retain(is_kept);
        recent.0[kind].retain(is_kept);
    }
}

/// The items with the most points, by number.
pub fn strongest(list: &[(u32, Deeds)], count: usize) -> Vec<(u32, Deeds)> {
    let mut kept = list.to_vec();
    if kept.len() > count {
        kept.select_nth_unstable_by(count, |(one, deeds), (other, others)| {
            others.points().total_cmp(&deeds.points()).then(one.cmp(other))
        });
        kept.truncate(count);
        kept.sort_unstable_by_key(|(item, _)| *item);
    }
    kept
}
