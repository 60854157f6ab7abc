//! Distinct listeners over windows: unions of stored sets and of what is still open.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use roaring::RoaringBitmap;

use crate::{
    audience::{first_hourly_day, hour_of_day, open::OpenAudience},
    db::{
        Database, DbError,
        queries::audience::{self, WHOLE_DAY, hour_segment},
    },
    domain::{
        entity::{EntityKind, EntityRef},
        measure::{MeasureKey, Measures, UniqueCount},
        merge::Merges,
        window::{DAY_MS, Grain, HOUR_MS, Window},
    },
};

/// How a window falls into listener sets: those that lie inside, and those that it cuts.
#[derive(Debug, Default, PartialEq, Eq)]
struct SetsOfWindow {
    days_inside: Vec<i64>,
    hours_inside: Vec<i64>,
    days_cut: Vec<i64>,
    hours_cut: Vec<i64>,
}

/// Adds listeners to the answers that need them. A window that cuts a set gets bounds: everybody in
/// the sets inside certainly listened, nobody outside the sets touched did.
pub async fn add_listeners(
    database: &Database,
    open: &OpenAudience,
    merges: &Merges,
    now_ms: i64,
    answers: &mut HashMap<MeasureKey, Measures>,
) -> Result<(), DbError> {
    let questions: Vec<(MeasureKey, SetsOfWindow)> = answers
        .keys()
        .filter(|key| key.need.listeners)
        .map(|key| (key.clone(), sets_of_window(key.window, now_ms)))
        .collect();
    if questions.is_empty() {
        return Ok(());
    }
    // Memory first, the database second: what is merged in between is then seen twice, not missed.
    let open_sets: Vec<(RoaringBitmap, RoaringBitmap)> = questions
        .iter()
        .map(|(key, _)| {
            let unite = |hours: Range<i64>| {
                let members = merges.members(&key.entity).into_iter();
                members.fold(RoaringBitmap::new(), |set, entity| set | open.listeners(&entity, hours.clone()))
            };
            let to_ms = open_end(key.window, now_ms);
            let inside = ceil(key.window.from_ms, HOUR_MS)..floor(to_ms, HOUR_MS);
            let touched = floor(key.window.from_ms, HOUR_MS)..ceil(to_ms, HOUR_MS);
            (unite(inside), unite(touched))
        })
        .collect();
    let stored = load(database, merges, &questions).await?;
    for ((key, sets), (mut inside, open_touched)) in questions.into_iter().zip(open_sets) {
        let unite = |set: &mut RoaringBitmap, days: &[i64], hours: &[i64]| {
            for entity in merges.members(&key.entity) {
                days.iter().filter_map(|day| stored.days.get(&(entity.clone(), *day))).for_each(|day| *set |= day);
                hours.iter().filter_map(|at| stored.hours.get(&(entity.clone(), *at))).for_each(|hour| *set |= hour);
            }
        };
        unite(&mut inside, &sets.days_inside, &sets.hours_inside);
        let mut touched = &inside | &open_touched;
        unite(&mut touched, &sets.days_cut, &sets.hours_cut);
        if let Some(measures) = answers.get_mut(&key) {
            measures.listeners = Some(UniqueCount { lower: inside.len(), upper: touched.len() });
        }
    }
    Ok(())
}

fn sets_of_window(window: Window, now_ms: i64) -> SetsOfWindow {
    let (from_ms, to_ms) = (window.from_ms, open_end(window, now_ms));
    let first_hourly_day = first_hourly_day(now_ms);
    let mut sets = SetsOfWindow::default();
    for day in (floor(from_ms, DAY_MS)..to_ms).step_by(step(DAY_MS)) {
        let piece = from_ms.max(day)..to_ms.min(day + DAY_MS);
        if piece == (day..day + DAY_MS) {
            sets.days_inside.push(day);
        } else if day < first_hourly_day {
            sets.days_cut.push(day);
        } else {
            for hour in (floor(piece.start, HOUR_MS)..piece.end).step_by(step(HOUR_MS)) {
                let is_inside = piece.start <= hour && hour + HOUR_MS <= piece.end;
                if is_inside { &mut sets.hours_inside } else { &mut sets.hours_cut }.push(hour);
            }
        }
    }
    sets
}

/// A window that is still open ends in a set that is still growing: nothing of today's set can lie
/// behind the window's end, so it counts as inside.
fn open_end(window: Window, now_ms: i64) -> i64 {
    if window.to_ms > now_ms { ceil(window.to_ms, DAY_MS) } else { window.to_ms }
}

#[derive(Default)]
struct StoredSets {
    days: HashMap<(EntityRef, i64), RoaringBitmap>,
    /// By the hour's start.
    hours: HashMap<(EntityRef, i64), RoaringBitmap>,
}

/// Two statements a kind: whole days, and hours of recent days.
async fn load(
    database: &Database,
    merges: &Merges,
    questions: &[(MeasureKey, SetsOfWindow)],
) -> Result<StoredSets, DbError> {
    let mut stored = StoredSets::default();
    for kind in EntityKind::STORED {
        let mut ids: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut days = BTreeSet::new();
        let mut hours = BTreeSet::new();
        for (key, sets) in questions.iter().filter(|(key, _)| key.entity.kind == kind) {
            ids.extend(merges.members(&key.entity).into_iter().map(|entity| entity.id));
            days.extend(sets.days_inside.iter().chain(&sets.days_cut).copied());
            hours.extend(sets.hours_inside.iter().chain(&sets.hours_cut).copied());
        }
        let ids: Vec<Arc<str>> = ids.into_iter().collect();
        if !days.is_empty() {
            let days: Vec<i64> = days.into_iter().collect();
            let segments = [WHOLE_DAY.to_owned()];
            for row in audience::list(database.reader(), &days, kind, &ids, &segments).await? {
                stored.days.insert((row.entity, row.day), row.listeners);
            }
        }
        if !hours.is_empty() {
            let days: BTreeSet<i64> = hours.iter().map(|hour| floor(*hour, DAY_MS)).collect();
            let days: Vec<i64> = days.into_iter().collect();
            let segments: BTreeSet<String> = hours.iter().map(|hour| hour_segment(hour_of_day(*hour))).collect();
            let segments: Vec<String> = segments.into_iter().collect();
            for row in audience::list(database.reader(), &days, kind, &ids, &segments).await? {
                if let Some(hour) = row.segment.strip_prefix('h').and_then(|hour| hour.parse::<i64>().ok()) {
                    stored.hours.insert((row.entity, row.day + hour * HOUR_MS), row.listeners);
                }
            }
        }
    }
    Ok(stored)
}

/// Days whose sets are read by one statement while ranking: bounds memory, not the window.
const DAYS_AT_ONCE: usize = 32;

/// Every entity of a kind with a whole-day or open set in the window, with the most listeners it can
/// have there; for rankings by listeners.
pub async fn list_upper_bounds(
    database: &Database,
    open: &OpenAudience,
    kind: EntityKind,
    window: Window,
    now_ms: i64,
) -> Result<Vec<(EntityRef, u64)>, DbError> {
    let to_ms = open_end(window, now_ms);
    let touched: Range<i64> = floor(window.from_ms, HOUR_MS)..ceil(to_ms, HOUR_MS);
    let mut sets: HashMap<EntityRef, RoaringBitmap> = HashMap::new();
    for entity in open.entities().into_iter().filter(|entity| entity.kind == kind) {
        let listeners = open.listeners(&entity, touched.clone());
        sets.insert(entity, listeners);
    }
    let days: Vec<i64> = (Grain::Day.bucket_of(window.from_ms)..to_ms).step_by(step(DAY_MS)).collect();
    for days in days.chunks(DAYS_AT_ONCE) {
        for row in audience::list_kind(database.reader(), days, kind, WHOLE_DAY).await? {
            *sets.entry(row.entity).or_default() |= row.listeners;
        }
    }
    Ok(sets.into_iter().map(|(entity, set)| (entity, set.len())).filter(|(_, count)| *count > 0).collect())
}

fn floor(at_ms: i64, unit_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(unit_ms)
}

fn ceil(at_ms: i64, unit_ms: i64) -> i64 {
    floor(at_ms + unit_ms - 1, unit_ms)
}

fn step(unit_ms: i64) -> usize {
    usize::try_from(unit_ms).expect("an hour and a day are small positive numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z
    const TODAY: i64 = NOW - 12 * HOUR_MS;

    #[test]
    fn whole_days_are_inside_and_old_edges_are_cut() {
        let window = Window { from_ms: TODAY - 10 * DAY_MS + HOUR_MS, to_ms: TODAY - 8 * DAY_MS };
        let sets = sets_of_window(window, NOW);
        assert_eq!(sets.days_inside, [TODAY - 9 * DAY_MS]);
        assert_eq!(sets.days_cut, [TODAY - 10 * DAY_MS]);
        assert!(sets.hours_inside.is_empty() && sets.hours_cut.is_empty());
    }

    #[test]
    fn recent_edges_fall_into_hours() {
        let window = Window { from_ms: TODAY + HOUR_MS / 2, to_ms: TODAY + 3 * HOUR_MS };
        let sets = sets_of_window(window, NOW);
        assert_eq!(sets.hours_cut, [TODAY]);
        assert_eq!(sets.hours_inside, [TODAY + HOUR_MS, TODAY + 2 * HOUR_MS]);
        assert!(sets.days_inside.is_empty() && sets.days_cut.is_empty());
    }

    #[test]
    fn a_window_that_is_still_open_takes_today_as_a_whole() {
        let window = Window { from_ms: TODAY - DAY_MS, to_ms: NOW + HOUR_MS / 4 };
        let sets = sets_of_window(window, NOW);
        assert_eq!(sets.days_inside, [TODAY - DAY_MS, TODAY]);
        assert_eq!(sets.hours_cut, Vec::<i64>::new());
    }
}
