//! Folds events into what they add to the rollups: one row a key, whatever the batch's size.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    db::queries::rollups::{MoneyRow, RollupRow},
    domain::{
        counting::{Counters, CountingRules, MoneyCounters, effect},
        entity::EntityRef,
        event::Event,
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
}

#[derive(Debug, Default)]
struct EntityDelta {
    /// By quarter-hour. A batch holds few quarters and many entities.
    quarters: Vec<(i64, Counters)>,
    listens: Listens,
}

impl Deltas {
    /// Adds an event; `number_of` gives identified people's numbers, of whom those without one are in no set.
    pub fn add(&mut self, event: &Event, rules: &CountingRules, number_of: impl Fn(&str) -> Option<u32>) {
        let Some(effect) = effect(event, rules) else { return };
        let at_ms = event.key.occurred_at_ms;
        let quarter = Grain::Quarter.bucket_of(at_ms);
        let hour = at_ms - at_ms.rem_euclid(HOUR_MS);
        let listener = event.user_id.as_deref().filter(|_| effect.has_listener).and_then(number_of);
        for credited in effect.credited(event) {
            let entity = EntityRef { kind: credited.kind, id: credited.id.clone() };
            if let Some(currency) = event.currency.as_deref().filter(|_| effect.money != MoneyCounters::default()) {
                let by_bucket = self.money.entry(entity.clone()).or_default();
                by_bucket.entry((quarter, currency.into())).or_default().add(&effect.money);
            }
            let delta = self.of_entities.entry(entity).or_default();
            if let Some(listener) = listener.filter(|_| credited.is_whole) {
                delta.listens.push((hour, listener));
            }
            // Batches are sorted by time, so the last quarter is nearly always the one.
            match delta.quarters.iter_mut().rev().find(|(bucket, _)| *bucket == quarter) {
                Some((_, counters)) => counters.add(&credited.counters),
                None => {
                    // Most have one: without this a list begins with room for four.
                    delta.quarters.reserve_exact(1);
                    delta.quarters.push((quarter, credited.counters));
                }
            }
        }
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
