//! Sums of stored buckets over windows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    db::{Database, DbError, queries::rollups},
    domain::{
        counting::{Counters, MoneyCounters},
        entity::EntityKind,
        measure::{CounterSet, MeasureKey, Measures},
        window::Grain,
    },
};

type Answers = HashMap<MeasureKey, Measures>;

/// What one kind's part of a question reads: the ids, and the buckets of one grain.
struct Reading {
    ids: Vec<Arc<str>>,
    buckets: Vec<i64>,
}

pub async fn add_counters(database: &Database, answers: &mut Answers) -> Result<(), DbError> {
    for (kind, grain) in kinds_and_grains() {
        let wanted = |key: &MeasureKey| !key.need.counters.is_empty();
        let Some(reading) = reading(answers, kind, grain, wanted) else { continue };
        let columns: CounterSet = answers
            .keys()
            .filter(|key| key.entity.kind == kind)
            .flat_map(|key| key.need.counters.iter().collect::<Vec<_>>())
            .collect();
        let rows =
            rollups::list_counters(database.reader(), grain, &reading.buckets, kind, &reading.ids, columns).await?;
        let mut series: HashMap<String, Vec<(i64, Counters)>> = HashMap::new();
        for (id, bucket, counters) in rows {
            series.entry(id).or_default().push((bucket, counters));
        }
        series.values_mut().for_each(|points| points.sort_unstable_by_key(|(bucket, _)| *bucket));
        for (key, measures) in answers.iter_mut().filter(|(key, _)| key.entity.kind == kind && wanted(key)) {
            let Some(points) = series.get(&*key.entity.id) else { continue };
            for range in ranges(key, grain) {
                let from = points.partition_point(|(bucket, _)| *bucket < range.start);
                for (bucket, counters) in &points[from..] {
                    if *bucket >= range.end {
                        break;
                    }
                    measures.counters.add(counters);
                }
            }
            // Others of the same call may have had more columns read. What was not asked for stays empty, so
            // that an answer does not depend on which questions were answered together with it.
            measures.counters.keep_only(key.need.counters);
        }
    }
    Ok(())
}

pub async fn add_money(database: &Database, answers: &mut Answers) -> Result<(), DbError> {
    for (kind, grain) in kinds_and_grains() {
        let wanted = |key: &MeasureKey| key.need.money;
        let Some(reading) = reading(answers, kind, grain, wanted) else { continue };
        let rows = rollups::list_money(database.reader(), grain, &reading.buckets, kind, &reading.ids).await?;
        for (key, measures) in answers.iter_mut().filter(|(key, _)| key.entity.kind == kind && wanted(key)) {
            let mut sums: BTreeMap<String, MoneyCounters> = std::mem::take(&mut measures.money).into_iter().collect();
            for (id, bucket, currency, money) in &rows {
                if **id == *key.entity.id && ranges(key, grain).any(|range| range.contains(bucket)) {
                    sums.entry(currency.clone()).or_default().add(money);
                }
            }
            measures.money = sums.into_iter().collect();
        }
    }
    Ok(())
}

fn kinds_and_grains() -> impl Iterator<Item = (EntityKind, Grain)> {
    EntityKind::ALL.into_iter().flat_map(|kind| [(kind, Grain::Day), (kind, Grain::Quarter)])
}

fn ranges(key: &MeasureKey, grain: Grain) -> impl Iterator<Item = std::ops::Range<i64>> {
    let buckets = key.window.buckets();
    match grain {
        Grain::Day => [buckets.days, 0..0],
        Grain::Quarter => buckets.quarters,
    }
    .into_iter()
}

fn reading(answers: &Answers, kind: EntityKind, grain: Grain, wanted: impl Fn(&MeasureKey) -> bool) -> Option<Reading> {
    let mut ids = BTreeSet::new();
    let mut windows = BTreeSet::new();
    for key in answers.keys().filter(|key| key.entity.kind == kind && wanted(key)) {
        ids.insert(key.entity.id.clone());
        windows.insert(key.window);
    }
    let buckets: BTreeSet<i64> = windows.iter().flat_map(|window| window.buckets().starts(grain)).collect();
    (!buckets.is_empty()).then(|| Reading { ids: ids.into_iter().collect(), buckets: buckets.into_iter().collect() })
}
