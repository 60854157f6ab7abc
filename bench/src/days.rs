//! `days`: how many bytes an artist's day takes.

use backbeat::{
    audience::{
        day::EntityDay,
        fact::{Fact, PartTaken, Sums, Texts},
    },
    domain::{
        counting::{Counter, Part},
        origin::Dimension,
        window::{DAY_MS, QUARTER_MS},
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::BenchError;

/// Work out how many bytes a day of an artist takes, by how many people listen.
///
/// Each listener streams once to five times, from a country of their own and now and then from another source or
/// device. Nothing needs to run.
#[derive(Debug, clap::Args, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Listeners of the day, one day for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000, 1_000_000])]
    listeners: Vec<u32>,

    /// How many people have a number, for each listener of the day.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    people_for_each: u32,
}

const COUNTRIES: usize = 40;
const SOURCES: usize = 9;
const DEVICES: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Day {
    listeners: u32,
    streams: u64,
    cells: usize,
    /// Read for numbers of listeners.
    sets_bytes: usize,
    /// Read for markets, sources, devices, the audience.
    cells_bytes: usize,
    /// Read for days that a window cuts.
    detail_bytes: usize,
    bytes: usize,
    bytes_per_listener: f64,
}

pub fn run(options: &Options) -> Result<Value, BenchError> {
    let days: Vec<Day> = options.listeners.iter().map(|listeners| day(*listeners, options.people_for_each)).collect();
    Ok(json!({ "days": days }))
}

fn day(listeners: u32, people_for_each: u32) -> Day {
    let dice = &mut StdRng::seed_from_u64(1);
    let mut texts = Texts::default();
    let mut numbers = |stem: &str, count: usize| -> Vec<u32> {
        (0..count).map(|number| texts.number(Some(&format!("{stem}{number}")))).collect()
    };
    let (countries, sources, devices) =
        (numbers("c", COUNTRIES), numbers("source-", SOURCES), numbers("device-", DEVICES));
    // Few countries have most of the people.
    let one_of =
        |from: &[u32], dice: &mut StdRng| from[dice.random_range(0..from.len()).min(dice.random_range(0..from.len()))];
    let mut entity_day = EntityDay::default();
    let mut streams = 0;
    for listener in 0..listeners {
        let person = listener * people_for_each + dice.random_range(0..people_for_each);
        let (country, device) = (one_of(&countries, dice), one_of(&devices, dice));
        for _ in 0..dice.random_range(1..=3_u32) + dice.random_range(0..=2_u32) {
            let mut sums = Sums::default();
            for (counter, count) in [
                (Counter::Plays, 1),
                (Counter::Streams, 1),
                (Counter::ListeningMs, dice.random_range(30_000..240_000)),
                (Counter::MeasuredPlays, 1),
                (Counter::CompletedPlays, i64::from(dice.random_bool(0.7))),
            ] {
                sums.counters[counter] = count;
            }
            let quarter = dice.random_range(0..DAY_MS / QUARTER_MS).max(dice.random_range(0..DAY_MS / QUARTER_MS));
            let origin = [country, one_of(&sources, dice), device];
            let people = vec![PartTaken { part: Part::Listener, person, times: 1 }];
            entity_day.fold(&Fact { quarter_ms: quarter * QUARTER_MS, origin, sums, people }, &texts);
            streams += 1;
        }
    }
    entity_day.settle();
    let sets_bytes = entity_day.listeners().serialized_size() + entity_day.active().serialized_size();
    let (cells, detail) = (entity_day.write_cells(), entity_day.write_detail());
    let bytes = sets_bytes + cells.len() + detail.len();
    Day {
        listeners,
        streams,
        cells: Dimension::ALL.into_iter().map(|by| entity_day.cells(by).len()).sum(),
        sets_bytes,
        cells_bytes: cells.len(),
        detail_bytes: detail.len(),
        bytes,
        bytes_per_listener: (bytes as f64 / f64::from(listeners) * 10.0).round() / 10.0,
    }
}
