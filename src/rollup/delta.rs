//! Folds events into what they add to the rollups: one row a key, whatever the batch's size.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    db::queries::rollups::{MoneyRow, RollupRow},
    domain::{
        counting::{Counters, CountingRules, MoneyCounters, effect},
        entity::{EntityKind, EntityRef},
        event::Event,
        window::{Grain, HOUR_MS},
    },
};

/// Who of an entity's listeners listened in which hour.
pub type Listens = FxHashMap<EntityRef, Vec<(i64, Arc<str>)>>;

/// The sum of what a batch of events adds.
#[derive(Debug, Default)]
pub struct Deltas {
    /// By entity, then by quarter-hour. A batch holds few quarters and many entities.
    counters: FxHashMap<EntityRef, Vec<(i64, Counters)>>,
    money: FxHashMap<EntityRef, BTreeMap<(i64, Arc<str>), MoneyCounters>>,
    /// Identified people's streams: (start of the hour, user id).
    pub listens: Listens,
}

impl Deltas {
    pub fn add(&mut self, event: &Event, rules: &CountingRules) {
        let Some(effect) = effect(event, rules) else { return };
        let at_ms = event.key.occurred_at_ms;
        let quarter = Grain::Quarter.bucket_of(at_ms);
        for kind in EntityKind::ALL {
            let Some(id) = event.entity_id(kind).filter(|_| effect.credits(kind)) else { continue };
            let entity = EntityRef { kind, id: id.clone() };
            if let Some(user_id) = event.user_id.as_ref().filter(|_| effect.has_listener) {
                let hour = at_ms - at_ms.rem_euclid(HOUR_MS);
                self.listens.entry(entity.clone()).or_default().push((hour, user_id.clone()));
            }
            if let Some(currency) = event.currency.as_deref().filter(|_| effect.money != MoneyCounters::default()) {
                let by_bucket = self.money.entry(entity.clone()).or_default();
                by_bucket.entry((quarter, currency.into())).or_default().add(&effect.money);
            }
            let quarters = self.counters.entry(entity).or_default();
            // Batches are sorted by time, so the last quarter is nearly always the one.
            match quarters.iter_mut().rev().find(|(bucket, _)| *bucket == quarter) {
                Some((_, counters)) => counters.add(&effect.counters),
                None => quarters.push((quarter, effect.counters)),
            }
        }
    }

    pub fn entities(&self) -> impl Iterator<Item = &EntityRef> {
        self.counters.keys()
    }

    /// Counter rows of both grains, sorted by key.
    pub fn rollup_rows(&self) -> Vec<RollupRow> {
        let mut rows = Vec::with_capacity(self.counters.len() * 2);
        for (entity, quarters) in &self.counters {
            let mut days: Vec<(i64, Counters)> = Vec::with_capacity(1);
            for (quarter, counters) in quarters {
                let day = Grain::Day.bucket_of(*quarter);
                match days.iter_mut().find(|(bucket, _)| *bucket == day) {
                    Some((_, sum)) => sum.add(counters),
                    None => days.push((day, *counters)),
                }
            }
            let row = |grain| {
                move |(bucket, counters): &(i64, Counters)| RollupRow {
                    grain,
                    bucket: *bucket,
                    entity: entity.clone(),
                    counters: *counters,
                }
            };
            rows.extend(quarters.iter().map(row(Grain::Quarter)));
            rows.extend(days.iter().map(row(Grain::Day)));
        }
        rows.sort_unstable_by(|one, other| {
            (one.grain, one.bucket, &one.entity).cmp(&(other.grain, other.bucket, &other.entity))
        });
        rows
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
