//! Folds events into what they add to the rollups: one row a key, whatever the batch's size.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    db::queries::rollups::{MoneyRow, RollupRow},
    domain::{
        counting::{Counter, Counters, CountingRules, Effect, MoneyCounters, effect},
        entity::{EntityKind, EntityRef},
        event::Event,
        realtime::{Play, PlaysOf},
        window::{Grain, HOUR_MS},
    },
};

/// Who of an entity's listeners, by number, listened in which hour.
pub type Listens = Vec<(i64, u32)>;

/// The sum of what a batch of events adds.
#[derive(Debug, Default)]
pub struct Deltas {
    of_entities: FxHashMap<EntityRef, EntityDelta>,
    money: FxHashMap<EntityRef, BTreeMap<(i64, Arc<str>), MoneyCounters>>,
    /// Since when plays are kept one by one; they are not where it is left out.
    plays_since_ms: Option<i64>,
    /// Such plays, each once, whomever they are credited to.
    platform_plays: Vec<Play>,
}

#[derive(Debug, Default)]
struct EntityDelta {
    /// By quarter-hour. A batch holds few quarters and many entities.
    quarters: Vec<(i64, Counters)>,
    listens: Listens,
    plays: Vec<Play>,
}

impl Deltas {
    /// Deltas that keep plays since a moment one by one, for [`Self::take_plays`].
    pub fn keeping_plays_since(from_ms: i64) -> Self {
        Self { plays_since_ms: Some(from_ms), ..Self::default() }
    }

    /// Adds an event; `number_of` gives identified people's numbers, of whom those without one are in no set.
    pub fn add(&mut self, event: &Event, rules: &CountingRules, number_of: impl Fn(&str) -> Option<u32>) {
        let Some(effect) = effect(event, rules) else { return };
        let at_ms = event.key.occurred_at_ms;
        let quarter = Grain::Quarter.bucket_of(at_ms);
        let hour = at_ms - at_ms.rem_euclid(HOUR_MS);
        let listener = event.user_id.as_deref().filter(|_| effect.has_listener).and_then(&number_of);
        let play = self.recent_play(event, &effect, &number_of);
        self.platform_plays.extend(play);
        for kind in EntityKind::ALL {
            let Some(id) = event.entity_id(kind).filter(|_| effect.credits(kind)) else { continue };
            let entity = EntityRef { kind, id: id.clone() };
            if let Some(currency) = event.currency.as_deref().filter(|_| effect.money != MoneyCounters::default()) {
                let by_bucket = self.money.entry(entity.clone()).or_default();
                by_bucket.entry((quarter, currency.into())).or_default().add(&effect.money);
            }
            let delta = self.of_entities.entry(entity).or_default();
            if let Some(listener) = listener {
                delta.listens.push((hour, listener));
            }
            delta.plays.extend(play);
            // Batches are sorted by time, so the last quarter is nearly always the one.
            match delta.quarters.iter_mut().rev().find(|(bucket, _)| *bucket == quarter) {
                Some((_, counters)) => counters.add(&effect.counters),
                None => {
                    // Most have one: without this a list begins with room for four.
                    delta.quarters.reserve_exact(1);
                    delta.quarters.push((quarter, effect.counters));
                }
            }
        }
    }

    /// An event's plays, where they are to be kept. Whoever is known by name listens to them, be it a stream or not.
    fn recent_play(&self, event: &Event, effect: &Effect, number_of: impl Fn(&str) -> Option<u32>) -> Option<Play> {
        let at_ms = event.key.occurred_at_ms;
        let times = effect.counters[Counter::Plays];
        if times == 0 || self.plays_since_ms.is_none_or(|since_ms| at_ms < since_ms) {
            return None;
        }
        let listener = event.user_id.as_deref().filter(|_| event.count.is_none()).and_then(number_of);
        Some(Play { at_s: at_ms.div_euclid(1_000), times, listener })
    }

    /// Takes out the plays that were kept one by one.
    pub fn take_plays(&mut self) -> Vec<PlaysOf> {
        let platform = PlaysOf { entity: None, plays: std::mem::take(&mut self.platform_plays) };
        if platform.plays.is_empty() {
            return Vec::new();
        }
        let of_entity = |(entity, delta): (&EntityRef, &mut EntityDelta)| PlaysOf {
            entity: Some(entity.clone()),
            plays: std::mem::take(&mut delta.plays),
        };
        let of_entities = self.of_entities.iter_mut().filter(|(_, delta)| !delta.plays.is_empty()).map(of_entity);
        [platform].into_iter().chain(of_entities).collect()
    }

    pub fn entities(&self) -> impl Iterator<Item = &EntityRef> {
        self.of_entities.keys()
    }

    /// Takes out who listened to what, in no particular order.
    pub fn take_listens(&mut self) -> impl Iterator<Item = (&EntityRef, Listens)> {
        let listens = self.of_entities.iter_mut().map(|(entity, delta)| (entity, std::mem::take(&mut delta.listens)));
        listens.filter(|(_, listens)| !listens.is_empty())
    }

    /// Counter rows of both grains, sorted by key.
    pub fn rollup_rows(&self) -> Vec<RollupRow> {
        let mut deltas: Vec<(&EntityRef, &EntityDelta)> = self.of_entities.iter().collect();
        deltas.sort_unstable_by_key(|(entity, _)| *entity);
        // Entities come in order, so that within a bucket their rows do, too.
        let mut rows: BTreeMap<(Grain, i64), Vec<RollupRow>> = BTreeMap::new();
        for (entity, delta) in deltas {
            for (quarter, counters) in &delta.quarters {
                for grain in [Grain::Quarter, Grain::Day] {
                    let bucket = grain.bucket_of(*quarter);
                    let rows = rows.entry((grain, bucket)).or_default();
                    match rows.last_mut() {
                        Some(last) if last.entity == *entity => last.counters.add(counters),
                        _ => rows.push(RollupRow { grain, bucket, entity: entity.clone(), counters: *counters }),
                    }
                }
            }
        }
        rows.into_values().flatten().collect()
    }

    /// Money rows of both grains, sorted by key.
    pub fn money_rows(&self) -> Vec<MoneyRow> {
        let mut sums: BTreeMap<(Grain, i64, EntityRef, Arc<str>), MoneyCounters> = BTreeMap::new();
        for (entity, by_bucket) in &self.money {
            for ((quarter, currency), money) in by_bucket {
                for grain in [Grain::Quarter, Grain::Day] {
                    let key = (grain, grain.bucket_of(*quarter), entity.clone(), currency.clone());
                    sums.entry(key).or_default().add(money);
                }
            }
        }
        sums.into_iter()
            .map(|((grain, bucket, entity, currency), money)| MoneyRow { grain, bucket, entity, currency, money })
            .collect()
    }
}
