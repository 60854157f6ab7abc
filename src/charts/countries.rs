//! Who belongs into the chart of each country, and in which order.

use std::{collections::HashMap, sync::Arc};

use super::{Charts, count::Totals, job::Run};
use crate::{
    analytics::InCountry,
    db::{
        DbError,
        queries::{chart_totals, rankings::Identity},
    },
    domain::{
        chart::{self, Cadence, Candidate, PLACES, Series},
        counting::Counter,
        entity::EntityKind,
        window::Window,
    },
};

/// Day rows that are read for one piece of the ids: each is some hundred bytes, of what many hear up to megabytes.
const ROWS_AT_ONCE: usize = 50_000;
/// Entities that are read apart at once.
const APART_AT_ONCE: usize = 500;

/// The chart of one country as far as it is known.
struct Standing {
    /// The places of the chart before.
    places: HashMap<Arc<str>, i32>,
    /// The first [`PLACES`], in their order.
    candidates: Vec<Candidate>,
}

impl Charts {
    /// The first [`PLACES`] of every country in their order, with their streams. Those behind whose streams few people
    /// stand are left out, and countries in which nobody else is.
    ///
    /// Source: the days of the entities, since the rollup knows no countries. Of all entities and countries only those
    /// of one piece of the ids are there at once, and what may still enter a chart.
    pub(super) async fn totals_by_country(
        &self,
        of: EntityKind,
        cadence: Cadence,
        period: Window,
        run: &mut Run,
    ) -> Result<Totals, DbError> {
        let days = chart::days_of(period);
        let pass = self.analytics.country_pass(of, &days);
        let question = chart_totals::Totals {
            of,
            identity: Identity::Plain,
            counter: Counter::Streams,
            days: &days,
            places: PLACES,
        };
        let mut standings: HashMap<Series, Standing> = HashMap::new();
        for range in chart_totals::list_ranges(self.database.scanner(), &question, ROWS_AT_ONCE).await? {
            let found = self.analytics.in_countries(&pass, &range).await?;
            self.enter(&mut standings, (of, cadence), period, found).await?;
            self.keep_lease(run).await?;
        }
        for some in pass.apart.chunks(APART_AT_ONCE) {
            let found = self.analytics.apart_in_countries(&pass, some).await?;
            self.enter(&mut standings, (of, cadence), period, found).await?;
            self.keep_lease(run).await?;
        }
        let ranked = |standing: Standing| {
            standing.candidates.into_iter().map(|candidate| (candidate.id, candidate.value)).collect()
        };
        standings.retain(|_, standing| !standing.candidates.is_empty());
        Ok(standings.into_iter().map(|(series, standing)| (series, ranked(standing))).collect())
    }

    /// Puts entities into the charts of their countries, as far as they belong there.
    async fn enter(
        &self,
        standings: &mut HashMap<Series, Standing>,
        (of, cadence): (EntityKind, Cadence),
        period: Window,
        found: Vec<InCountry>,
    ) -> Result<(), DbError> {
        let mut countries: HashMap<Arc<str>, Vec<InCountry>> = HashMap::new();
        for entity in found.into_iter().filter(|entity| entity.streams > 0) {
            countries.entry(entity.country.clone()).or_default().push(entity);
        }
        for (country, entities) in countries {
            let series = Series { of, cadence, genre: None, country: Some(country) };
            if !standings.contains_key(&series) {
                let places = self.past(&series, period).await?.places();
                standings.insert(series.clone(), Standing { places, candidates: Vec::new() });
            }
            let standing = standings.get_mut(&series).expect("it was put there if it was not");
            standing.enter(&entities, self.analytics.shown_people_min());
        }
        Ok(())
    }
}

impl Standing {
    fn enter(&mut self, entities: &[InCountry], people_min: u64) {
        let at_least = self.candidates.get(PLACES - 1).map_or(0, |last| last.value);
        for entity in entities.iter().filter(|entity| entity.streams >= at_least) {
            let (listeners, size) = entity.listeners_and_size();
            if size >= people_min {
                let (id, previous) = (entity.id.clone(), self.places.get(&entity.id).copied());
                self.candidates.push(Candidate { id, value: entity.streams, listeners, previous });
            }
        }
        chart::sort(&mut self.candidates);
        self.candidates.truncate(PLACES);
    }
}
