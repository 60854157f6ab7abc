//! What a listener took to, up to this moment: what the last run noted, and what happened since.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Recommender,
    gather::{day_of, place_of},
    pick::leads_to,
    taste::{Deeds, Taste, recency, strengths, tells},
};
use crate::{
    analytics::{EVER, KnownUser, Walk},
    db::{DbError, queries::recommendations},
    domain::{
        counting::{Action, action_of},
        entity::{EntityKind, EntityRef},
        object::read_name,
        window::DAY_MS,
    },
};

/// Of a listener's history so much tells what they may like next: what is strongest.
const TELLING_MAX: usize = 200;

/// What a listener took to of one kind.
#[derive(Debug, Default)]
pub struct History {
    /// By item.
    pub items: Vec<(u32, Deeds)>,
    /// What there was no item of at the last run.
    pub others: HashSet<EntityRef>,
}

/// Something that tells what may be liked next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Telling {
    pub item: u32,
    pub strength: f32,
    /// Whether the listener said so.
    pub is_said: bool,
}

impl History {
    pub fn has(&self, item: u32) -> bool {
        self.items.binary_search_by_key(&item, |(item, _)| *item).is_ok()
    }

    /// What tells most what may be liked next, the strongest first; of equals the one of the lower number.
    pub fn telling(&self, now_ms: i64) -> Vec<Telling> {
        let liked: Vec<&(u32, Deeds)> = self.items.iter().filter(|(_, deeds)| tells(deeds.points())).collect();
        let points: Vec<f32> = liked.iter().map(|(_, deeds)| deeds.points()).collect();
        let today = day_of(now_ms);
        let mut telling: Vec<Telling> = liked
            .into_iter()
            .zip(strengths(&points))
            .map(|((item, deeds), strength)| {
                let strength = strength * recency(today - deeds.last_day);
                Telling { item: *item, strength, is_said: deeds.is_said() }
            })
            .collect();
        super::neighbours::first(&mut telling, TELLING_MAX, |one, other| {
            other.strength.total_cmp(&one.strength).then(one.item.cmp(&other.item))
        });
        telling
    }
}

impl Recommender {
    /// What a listener took to of one kind. What happened on earlier days than the last run, and came after it, is in
    /// the next run.
    pub(super) async fn history(&self, user: &KnownUser, of: EntityKind) -> Result<History, DbError> {
        let reader = self.database.reader();
        let listeners = [user.number];
        let (run, rows) =
            tokio::try_join!(recommendations::find_run(reader), recommendations::list_tastes(reader, &listeners))?;
        let row = rows.into_iter().next();
        let settled_ms = row.as_ref().map(|row| row.before_ms).max(run.map(|run| run.before_ms));
        let mut taste = match &row {
            Some(row) => Taste::read(&row.settled, Some(place_of(of))).map_err(|_| DbError::Corrupt("a taste"))?,
            None => Taste::default(),
        };
        let since = self.deeds_since(user, settled_ms.unwrap_or(EVER.start)).await?;
        let since = self.leading_to(since, of).await?;
        let entities: Vec<EntityRef> = since.keys().cloned().collect();
        let numbers = recommendations::list_item_numbers(reader, &entities).await?;
        let mut history = History::default();
        for (entity, deeds) in since {
            match numbers.get(&entity) {
                Some(number) => taste.0[place_of(of)].push((*number, deeds)),
                None => {
                    history.others.insert(entity);
                }
            }
        }
        taste.settle();
        history.items = std::mem::take(&mut taste.0[place_of(of)]);
        Ok(history)
    }

    /// What a listener did from a moment on, each as often as it was done.
    async fn deeds_since(&self, user: &KnownUser, from_ms: i64) -> Result<Vec<(EntityRef, Deeds)>, DbError> {
        let mut done = Vec::new();
        let walk = Walk { during: from_ms..EVER.end, event_types: None, users: Some(user.set()), with_several: true };
        self.analytics
            .walk_with_objects(&walk, |steps, texts, names| {
                for step in steps {
                    let action = texts.text(step.event_type).and_then(|name| action_of(name));
                    let Some((action, _)) = action else { continue };
                    let Some(deeds) = Deeds::of(action, &step.object, day_of(step.at_ms)) else { continue };
                    let playlist = Some(step.object.playlist).filter(|_| action == Action::Play);
                    for name in [Some(step.object.entity), playlist].into_iter().flatten() {
                        let entity = names.text(name).and_then(|name| read_name(name));
                        done.extend(entity.map(|entity| (self.analytics.merges().canonical(&entity), deeds)));
                    }
                }
            })
            .await?;
        Ok(done)
    }

    /// What deeds come to for a kind: whoever took to a song took to its album and its artists.
    async fn leading_to(
        &self,
        done: Vec<(EntityRef, Deeds)>,
        of: EntityKind,
    ) -> Result<HashMap<EntityRef, Deeds>, DbError> {
        let leads = |kind| match of {
            EntityKind::Album => kind == EntityKind::Song,
            EntityKind::Artist => matches!(kind, EntityKind::Song | EntityKind::Album),
            _ => false,
        };
        let works: HashSet<EntityRef> =
            done.iter().map(|(entity, _)| entity).filter(|entity| leads(entity.kind)).cloned().collect();
        let entries = self.analytics.entries(&Vec::from_iter(works)).await?;
        let mut all: HashMap<EntityRef, Deeds> = HashMap::new();
        for (entity, deeds) in done {
            let led_to = match entries.get(&entity) {
                Some(entry) => leads_to(entry).collect(),
                None => vec![entity],
            };
            for entity in led_to.into_iter().filter(|entity| entity.kind == of) {
                all.entry(entity).or_default().add(&deeds);
            }
        }
        Ok(all)
    }

    /// The country in which a listener last did anything in four weeks; `None` where no event said.
    pub(super) async fn last_country(&self, user: &KnownUser) -> Result<Option<Arc<str>>, DbError> {
        let mut country = None;
        let during = self.clock.now_ms() - 28 * DAY_MS..EVER.end;
        let walk = Walk { during, event_types: None, users: Some(user.set()), with_several: true };
        self.analytics
            .walk_with_objects(&walk, |steps, texts, _| {
                country = steps.iter().rev().find_map(|step| texts.text(step.origin[0])).cloned();
            })
            .await?;
        Ok(country)
    }
}
