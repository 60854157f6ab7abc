//! What clients ask: one chart, and the charts that entities were on.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::Charts;
use crate::{
    db::{
        DbError,
        queries::charts::{self, ChartRow},
    },
    domain::{
        chart::{Entry, Series},
        entity::EntityRef,
        window::Window,
    },
};

/// A published chart with all its entries, drop-outs behind.
#[derive(Debug, Clone)]
pub struct Chart {
    pub chart: ChartRow,
    pub entries: Vec<Entry>,
}

impl Chart {
    /// The entries that have a place, and the drop-outs.
    pub fn split(&self) -> (&[Entry], &[Entry]) {
        self.entries.split_at(self.entries.partition_point(|entry| entry.position.is_some()))
    }
}

/// The newest charts of a series that one entity was on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HistoryKey {
    pub entity: EntityRef,
    pub series: Series,
    pub first: u32,
}

impl Charts {
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// The chart of the period that holds an instant, in its last revision; the newest without one. Two statements.
    pub async fn find(&self, series: &Series, on_ms: Option<i64>) -> Result<Option<Chart>, DbError> {
        let conn = self.database.reader();
        let newest = charts::find_newest(conn, series, on_ms.unwrap_or(i64::MAX)).await?;
        let holds_it = |chart: &ChartRow| on_ms.is_none_or(|on_ms| on_ms < chart.period.to_ms);
        let Some(chart) = newest.filter(holds_it) else { return Ok(None) };
        let entries = charts::list_entries(conn, &chart).await?;
        Ok(Some(Chart { chart, entries }))
    }

    /// For each entity its newest entries with their periods, those under ids that are merged included. A statement
    /// for each series.
    pub async fn histories(
        &self,
        keys: &[HistoryKey],
    ) -> Result<HashMap<HistoryKey, Arc<Vec<(Window, Entry)>>>, DbError> {
        let mut histories = HashMap::new();
        for series in keys.iter().map(|key| &key.series).collect::<BTreeSet<_>>() {
            let asked = || keys.iter().filter(|key| key.series == *series);
            let members = |key: &HistoryKey| self.analytics.merges().members(&key.entity);
            let ids: BTreeSet<Arc<str>> = asked().flat_map(members).map(|member| member.id).collect();
            let (ids, first) = (Vec::from_iter(ids), asked().map(|key| key.first).max().unwrap_or(0));
            let mut entries: HashMap<Arc<str>, Vec<(Window, Entry)>> = HashMap::new();
            for (period, entry) in charts::list_history(self.database.reader(), series, &ids, i64::MAX, first).await? {
                entries.entry(self.canonical_id(series, &entry.id)).or_default().push((period, entry));
            }
            for newest in entries.values_mut() {
                // Of a chart that several were on, which are one now, the best place.
                newest.sort_by_key(|(period, entry)| (Reverse(period.from_ms), entry.position));
                newest.dedup_by_key(|(period, _)| *period);
            }
            for key in asked() {
                let id = self.canonical_id(series, &key.entity.id);
                let mut newest = entries.get(&id).cloned().unwrap_or_default();
                newest.truncate(key.first as usize);
                histories.insert(key.clone(), Arc::new(newest));
            }
        }
        Ok(histories)
    }
}
