//! Who belongs into a chart of the platform or of a genre, and in which order.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use super::{Charts, job::Run};
use crate::{
    db::{
        DbError,
        queries::{
            chart_totals::{self, Piece},
            rankings::Identity,
        },
    },
    domain::{
        chart::{self, Cadence, Candidate, PLACES, Series},
        counting::{Counter, Part},
        entity::{EntityKind, EntityRef},
        measure::{MeasureKey, Metric},
        window::Window,
    },
};

/// Day rows that the database adds up at once: some 40 MB of its memory.
const ROWS_AT_ONCE: usize = 500_000;
/// Entities whose listeners are read at once.
const TIED_AT_ONCE: usize = 500;

/// Who may enter the chart of each series, and with which sum.
pub(super) type Totals = HashMap<Series, Vec<(Arc<str>, i64)>>;

impl Charts {
    /// Everybody who may enter the charts of a period: of the whole platform and of each genre the highest sums,
    /// and whoever ties with the last place.
    ///
    /// Source: the day rows of the rollup, read once for all. What is merged is one.
    pub(super) async fn totals(
        &self,
        of: EntityKind,
        cadence: Cadence,
        period: Window,
        run: &mut Run,
    ) -> Result<Totals, DbError> {
        let (conn, days) = (self.database.scanner(), chart::days_of(period));
        let identity = if self.analytics.merges().has(of) { Identity::Merged } else { Identity::Plain };
        let question = chart_totals::Totals { of, identity, counter: Counter::Streams, days: &days, places: PLACES };
        let ranges = chart_totals::list_ranges(conn, &question, ROWS_AT_ONCE).await?;
        let merged = (identity == Identity::Merged).then_some(Piece::Merged);
        let mut totals = Totals::new();
        for piece in ranges.into_iter().map(Piece::Ids).chain(merged) {
            for (genre, id, value) in chart_totals::list_highest(conn, &question, &piece).await? {
                let series = Series { of, cadence, genre, country: None };
                totals.entry(series).or_default().push((id, value));
            }
            totals.values_mut().for_each(keep_highest);
            self.keep_lease(run).await?;
        }
        Ok(totals)
    }

    /// The first [`PLACES`] of those who may enter a chart, in their order. `places` are those of the chart
    /// before. Listeners are asked for where streams tie.
    pub(super) async fn rank(
        &self,
        series: &Series,
        period: Window,
        totals: Vec<(Arc<str>, i64)>,
        places: &HashMap<Arc<str>, i32>,
    ) -> Result<Vec<(Arc<str>, i64)>, DbError> {
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
            MeasureKey { entity, window: period, country: None, need: Metric::Listeners.need() }
        };
        let keys: Vec<MeasureKey> = candidates.iter().map(key).collect();
        let measures = self.analytics.measures(&keys).await?;
        let listeners = |key: &MeasureKey| measures.get(key).map_or(0, |measures| measures.people.of(Part::Listener));
        Ok(candidates
            .iter()
            .zip(&keys)
            .map(|(candidate, key)| Candidate {
                listeners: u64::try_from(listeners(key)).unwrap_or(0),
                ..candidate.clone()
            })
            .collect())
    }
}

/// Drops what cannot enter the chart any more.
fn keep_highest(sums: &mut Vec<(Arc<str>, i64)>) {
    sums.sort_unstable_by_key(|(_, value)| Reverse(*value));
    if let Some((_, last)) = sums.get(PLACES - 1) {
        let at_least = *last;
        sums.truncate(sums.partition_point(|(_, value)| *value >= at_least));
    }
}
