//! Sums of stored buckets over windows.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
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

/// Counters of one kind in one grain: by id, sorted by bucket.
#[derive(Default)]
struct Series(HashMap<String, Vec<(i64, Counters)>>);

impl Series {
    fn within(&self, id: &str, range: Range<i64>) -> impl Iterator<Item = &(i64, Counters)> {
        let points = self.0.get(id).map_or(&[][..], Vec::as_slice);
        let from = points.partition_point(|(bucket, _)| *bucket < range.start);
        points[from..].iter().take_while(move |(bucket, _)| *bucket < range.end)
    }
}

/// Whether a question's numbers are sums of buckets; those of one country are not kept as such.
fn is_summed(key: &MeasureKey) -> bool {
    key.country.is_none()
}

/// Days first, those that a window cuts included: of many entities, few have anything on such a day, and
/// only theirs of its quarter-hours are looked up.
pub async fn add_counters(database: &Database, answers: &mut Answers) -> Result<(), DbError> {
    for kind in EntityKind::STORED {
        let of_kind: Vec<&MeasureKey> = answers
            .keys()
            .filter(|key| is_summed(key) && key.entity.kind == kind && !key.need.counters.is_empty())
            .collect();
        let columns: CounterSet = of_kind.iter().flat_map(|key| key.need.counters.iter().collect::<Vec<_>>()).collect();
        let reading = Reading::of(of_kind.iter().map(|key| (&key.entity.id, touched_days(key))), Grain::Day);
        let days = list_series(database, kind, Grain::Day, reading, columns).await?;
        let has_something = |key: &&&MeasureKey| {
            cut_days(key).any(|day| days.within(&key.entity.id, day..day + Grain::Day.length_ms()).next().is_some())
        };
        let cut = of_kind.iter().filter(has_something);
        let reading =
            Reading::of(cut.map(|key| (&key.entity.id, key.window.buckets().quarters.to_vec())), Grain::Quarter);
        let quarters = list_series(database, kind, Grain::Quarter, reading, columns).await?;
        for (key, measures) in answers.iter_mut().filter(|(key, _)| is_summed(key) && key.entity.kind == kind) {
            for (series, grain) in [(&days, Grain::Day), (&quarters, Grain::Quarter)] {
                let points = ranges(key, grain).flat_map(|range| series.within(&key.entity.id, range));
                points.for_each(|(_, counters)| measures.counters.add(counters));
            }
            // Others of the same call may have had more columns read. What was not asked for stays empty, so
            // that an answer does not depend on which questions were answered together with it.
            measures.counters.keep_only(key.need.counters);
        }
    }
    Ok(())
}

async fn list_series(
    database: &Database,
    kind: EntityKind,
    grain: Grain,
    reading: Option<Reading>,
    columns: CounterSet,
) -> Result<Series, DbError> {
    let mut series = Series::default();
    if let Some(Reading { ids, buckets }) = reading {
        for (id, bucket, counters) in
            rollups::list_counters(database.reader(), grain, &buckets, kind, &ids, columns).await?
        {
            series.0.entry(id).or_default().push((bucket, counters));
        }
    }
    series.0.values_mut().for_each(|points| points.sort_unstable_by_key(|(bucket, _)| *bucket));
    Ok(series)
}

/// The days that a window holds or cuts.
fn touched_days(key: &MeasureKey) -> Vec<Range<i64>> {
    let cut = cut_days(key).map(|day| day..day + Grain::Day.length_ms());
    cut.chain([key.window.buckets().days]).collect()
}

fn cut_days(key: &MeasureKey) -> impl Iterator<Item = i64> {
    ranges(key, Grain::Quarter).filter(|range| !range.is_empty()).flat_map(|range| {
        let step = usize::try_from(Grain::Day.length_ms()).expect("a day is a small positive number");
        (Grain::Day.bucket_of(range.start)..range.end).step_by(step)
    })
}

pub async fn add_money(database: &Database, answers: &mut Answers) -> Result<(), DbError> {
    for (kind, grain) in EntityKind::STORED.into_iter().flat_map(|kind| [(kind, Grain::Day), (kind, Grain::Quarter)]) {
        let wanted = |key: &MeasureKey| is_summed(key) && key.entity.kind == kind && key.need.money;
        let keys = answers.keys().filter(|key| wanted(key));
        let reading = Reading::of(keys.map(|key| (&key.entity.id, ranges(key, grain).collect())), grain);
        let Some(reading) = reading else { continue };
        let rows = rollups::list_money(database.reader(), grain, &reading.buckets, kind, &reading.ids).await?;
        for (key, measures) in answers.iter_mut().filter(|(key, _)| wanted(key)) {
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

fn ranges(key: &MeasureKey, grain: Grain) -> impl Iterator<Item = Range<i64>> {
    let buckets = key.window.buckets();
    match grain {
        Grain::Day => [buckets.days, 0..0],
        Grain::Quarter => buckets.quarters,
    }
    .into_iter()
}

impl Reading {
    /// All ids in all buckets of a grain that anyone's ranges hold; `None` where that is nothing.
    fn of<'a>(wanted: impl Iterator<Item = (&'a Arc<str>, Vec<Range<i64>>)>, grain: Grain) -> Option<Self> {
        let step = usize::try_from(grain.length_ms()).expect("a bucket's length is a small positive number");
        let mut ids = BTreeSet::new();
        let mut known_ranges = BTreeSet::new();
        let mut buckets = BTreeSet::new();
        for (id, ranges) in wanted {
            ids.insert(id.clone());
            for range in ranges {
                // Most keys of a page share their windows.
                if known_ranges.insert((range.start, range.end)) {
                    buckets.extend(range.step_by(step));
                }
            }
        }
        (!buckets.is_empty()).then(|| Self { ids: ids.into_iter().collect(), buckets: buckets.into_iter().collect() })
    }
}
