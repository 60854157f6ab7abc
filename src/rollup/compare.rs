//! What differs between stored numbers and a recount of them.

use std::{collections::BTreeMap, sync::Arc};

use chrono::DateTime;

use super::recount::{CounterSums, MoneySums, People, date_text};
use crate::{
    audience::{
        day::{Cell, EntityDay, Person},
        fact::Sums,
        trail::{ObjectNumbers, Step, TrailPart},
    },
    db::queries::rollups::{MoneyRow, RollupRow},
    domain::{
        counting::{Counters, MoneyCounters, Part},
        entity::EntityRef,
        object::Heard,
        origin::{Dimension, SourceClass},
    },
};

/// Differences that are told one by one.
const SHOWN_MAX: usize = 20;

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub days: u64,
    pub differences: u64,
    /// Days before this one were left out: their events are no longer all there.
    pub left_out_before: Option<i64>,
    /// The first differences, in words.
    pub shown: Vec<String>,
}

impl Report {
    pub fn note(&mut self, difference: String) {
        self.differences += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(difference);
        }
    }
}

pub fn place(entity: &EntityRef, bucket: i64) -> String {
    let at = DateTime::from_timestamp_millis(bucket).unwrap_or_default();
    format!("{} {:?} at {at}", entity.kind.word(), &*entity.id)
}

pub fn compare_counters(report: &mut Report, recounted: CounterSums, stored: Vec<RollupRow>) {
    let key = |row: &RollupRow| (row.grain, row.bucket, row.entity.clone());
    let mut stored: BTreeMap<_, _> = stored.into_iter().map(|row| (key(&row), row.counters)).collect();
    for (key, recounted) in recounted {
        let counters = stored.remove(&key).unwrap_or_default();
        if counters != recounted {
            report.note(format!("{}: stored {counters:?}, events say {recounted:?}", place(&key.2, key.1)));
        }
    }
    for ((_, bucket, entity), counters) in stored.into_iter().filter(|(_, counters)| !counters.is_zero()) {
        report.note(format!("{}: stored {counters:?}, events say nothing", place(&entity, bucket)));
    }
}

pub fn compare_money(report: &mut Report, recounted: MoneySums, stored: Vec<MoneyRow>) {
    let key = |row: &MoneyRow| (row.grain, row.bucket, row.entity.clone(), row.currency.clone());
    let mut stored: BTreeMap<_, _> = stored.into_iter().map(|row| (key(&row), row.money)).collect();
    for (key, recounted) in recounted {
        let money = stored.remove(&key).unwrap_or_default();
        if money != recounted {
            report.note(format!("{}: stored {money:?}, events say {recounted:?}", place(&key.2, key.1)));
        }
    }
    for ((_, bucket, entity, _), money) in stored {
        report.note(format!("{}: stored {money:?}, events say nothing", place(&entity, bucket)));
    }
}

pub fn compare_people(report: &mut Report, day: i64, recounted: People, mut stored: People) {
    for (entity, entity_day) in recounted.days {
        let expected = told(entity_day);
        let found = stored.days.remove(&entity).map(told).unwrap_or_default();
        if found != expected {
            let differs = |of: &&CellOf| found.get(*of) != expected.get(*of);
            let cells: Vec<&CellOf> = found.keys().chain(expected.keys()).filter(differs).take(3).collect();
            report.note(format!("{} people: stored are not those of the events, from {cells:?}", place(&entity, day)));
        }
    }
    for (entity, entity_day) in stored.days {
        if !told(entity_day).is_empty() {
            report.note(format!("{} people: stored too many, events say nothing", place(&entity, day)));
        }
    }
    for (country, listeners) in recounted.markets {
        if stored.markets.remove(&country).unwrap_or_default() != listeners {
            report.note(format!("market {country:?} on {}: stored are not those of the events", date_text(day)));
        }
    }
    for (country, _) in stored.markets.into_iter().filter(|(_, listeners)| !listeners.is_empty()) {
        report.note(format!("market {country:?} on {}: stored too many, events say nothing", date_text(day)));
    }
}

/// Compares what users did, one step after the other.
pub fn compare_trails(
    report: &mut Report,
    day: i64,
    recounted: BTreeMap<u32, TrailPart>,
    mut stored: BTreeMap<u32, TrailPart>,
) {
    for (users, trail) in &recounted {
        if steps_told(trail) != steps_told(&stored.remove(users).unwrap_or_default()) {
            let what = "stored are not those of the events";
            report.note(format!("trails of block {users} of users on {}: {what}", date_text(day)));
        }
    }
    for (users, _) in stored.iter().filter(|(_, trail)| !trail.steps.is_empty()) {
        report.note(format!("trails of block {users} of users on {}: events say nothing", date_text(day)));
    }
}

/// A step's user, moment, whether it is a stream or several events, its texts, and what it was done to.
type StepTold<'a> = (u32, i64, (bool, bool), [Option<&'a Arc<str>>; 5], ObjectTold<'a>);

/// Names, how it was heard, and how often.
type ObjectTold<'a> = ([Option<&'a Arc<str>>; 2], Heard, u32);

/// Steps with texts instead of their numbers, in an order that does not depend on how they came about.
fn steps_told(trail: &TrailPart) -> Vec<StepTold<'_>> {
    let object = |object: &ObjectNumbers| -> ObjectTold<'_> {
        let names = [object.entity, object.playlist].map(|number| trail.names.text(number));
        (names, object.heard, object.times)
    };
    let told = |step: &Step| {
        let flags = (step.is_stream, step.is_several);
        (step.user, step.at_ms, flags, step.told(&trail.texts), object(&step.object))
    };
    let mut steps: Vec<_> = trail.steps.iter().map(told).collect();
    steps.sort_unstable();
    steps
}

/// Which cell of a day.
type CellOf = (Dimension, Option<Arc<str>>, SourceClass);

/// What a day tells, in a form that does not depend on how it came about.
fn told(mut entity_day: EntityDay) -> BTreeMap<CellOf, CellTold> {
    entity_day.settle();
    let cells = Dimension::ALL.into_iter().flat_map(|by| entity_day.cells(by).iter().map(move |cell| (by, cell)));
    cells
        .map(|(by, cell)| ((by, entity_day.text(cell).cloned(), cell.class), CellTold::of(cell, &entity_day)))
        .collect()
}

/// A cell with texts instead of their numbers.
#[derive(PartialEq)]
struct CellTold {
    total: SumsTold,
    quarters: BTreeMap<u8, SumsTold>,
    people: Vec<Vec<(Person, u128)>>,
}

type SumsTold = (Counters, BTreeMap<Option<Arc<str>>, MoneyCounters>);

impl CellTold {
    fn of(cell: &Cell, entity_day: &EntityDay) -> Self {
        let sums = |sums: &Sums| {
            let money = sums.money.iter().map(|(currency, money)| (entity_day.texts.text(*currency).cloned(), *money));
            (sums.counters, money.collect())
        };
        let people = |part| cell.people_by_quarters(part).map(|(person, quarters)| (*person, quarters)).collect();
        Self {
            total: sums(&cell.total),
            quarters: cell.quarters.iter().map(|(quarter, counted)| (*quarter, sums(counted))).collect(),
            people: Part::ALL.into_iter().map(people).collect(),
        }
    }
}
