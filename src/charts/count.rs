//! Who belongs into a chart, and in which order.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::Charts;
use crate::{
    db::{DbError, queries::chart_totals},
    domain::{
        chart::{self, Candidate, PLACES, Series},
        counting::Counter,
        entity::EntityRef,
        measure::{MeasureKey, Metric},
        window::Window,
    },
};

/// Day rows that the database adds up at once: some 40 MB of its memory.
const ROWS_AT_ONCE: usize = 500_000;
/// Entities whose listeners are read at once.
const TIED_AT_ONCE: usize = 500;

impl Charts {
    /// The first [`PLACES`] entities of a period in their order, with their streams.
    ///
    /// `places` are those of the chart before. Source: the day rows of the rollup; listeners where streams tie.
    pub(super) async fn count(
        &self,
        series: &Series,
        period: Window,
        places: &HashMap<Arc<str>, i32>,
    ) -> Result<Vec<(Arc<str>, i64)>, DbError> {
        let totals = self.totals(series, period).await?;
        let candidates = totals.into_iter().map(|(id, value)| {
            let previous = places.get(&id).copied();
            Candidate { id, value, listeners: 0, previous }
        });
        let mut candidates: Vec<Candidate> = candidates.collect();
        // Ties stand together, in the order in which they stay where nobody's listeners decide.
        chart::sort(&mut candidates);
        let mut ranked = Vec::with_capacity(PLACES.min(candidates.len()));
        for tied in candidates.chunk_by(|one, next| one.value == next.value) {
            ranked.extend(self.untie(series, period, tied, PLACES - ranked.len()).await?);
        }
        Ok(ranked.into_iter().map(|candidate| (candidate.id, candidate.value)).collect())
    }

    /// Everybody who may enter the chart: the highest sums, and whoever ties with the last place.
    ///
    /// The one place where charts get their numbers, one way for each kind of series.
    async fn totals(&self, series: &Series, period: Window) -> Result<Vec<(Arc<str>, i64)>, DbError> {
        let (conn, days) = (self.database.reader(), chart::days_of(period));
        let totals = chart_totals::Totals { of: series.of, counter: Counter::Streams, days: &days, places: PLACES };
        if let Some(genre) = &series.genre {
            return chart_totals::list_highest_of_genre(conn, &totals, genre).await;
        }
        let (mut highest, mut at_least) = (Vec::new(), 1);
        for piece in chart_totals::list_pieces(conn, &totals, ROWS_AT_ONCE).await? {
            highest.extend(chart_totals::list_highest(conn, &totals, &piece, at_least).await?);
            highest.sort_unstable_by_key(|(_, value)| Reverse(*value));
            if let Some((_, last)) = highest.get(PLACES - 1) {
                at_least = *last;
                highest.truncate(highest.partition_point(|(_, value)| *value >= at_least));
            }
        }
        Ok(highest)
    }

    /// The first `room` of entities that tie in streams. They come in the order of their places before and ids.
    async fn untie(
        &self,
        series: &Series,
        period: Window,
        tied: &[Candidate],
        room: usize,
    ) -> Result<Vec<Candidate>, DbError> {
        if room == 0 || tied.len() == 1 {
            return Ok(tied[..room.min(tied.len())].to_vec());
        }
        let mut known: Vec<Candidate> = Vec::new();
        for some in tied.chunks(TIED_AT_ONCE) {
            known.extend(self.with_listeners(series, period, some).await?);
            chart::sort(&mut known);
            known.truncate(room);
            // Nobody has more listeners than streams: who is left cannot come before these.
            let most = u64::try_from(tied[0].value).unwrap_or(0);
            if known.len() == room && known.last().is_some_and(|last| last.listeners >= most) {
                break;
            }
        }
        Ok(known)
    }

    async fn with_listeners(
        &self,
        series: &Series,
        period: Window,
        candidates: &[Candidate],
    ) -> Result<Vec<Candidate>, DbError> {
        let key = |candidate: &Candidate| {
            let entity = EntityRef { kind: series.of, id: candidate.id.clone() };
            MeasureKey { entity, window: period, need: Metric::Listeners.need() }
        };
        let keys: Vec<MeasureKey> = candidates.iter().map(key).collect();
        let measures = self.analytics.measures(&keys).await?;
        let listeners = |key: &MeasureKey| measures.get(key).and_then(|measures| measures.listeners);
        Ok(candidates
            .iter()
            .zip(&keys)
            .map(|(candidate, key)| Candidate {
                listeners: listeners(key).map_or(0, |listeners| listeners.lower),
                ..candidate.clone()
            })
            .collect())
    }
}
