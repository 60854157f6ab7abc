//! What clients ask: one chart, and the charts that entities were on.

use std::{collections::HashMap, sync::Arc};

use super::Charts;
use crate::{
    db::{
        DbError,
        queries::charts::{self, ChartRow},
    },
    domain::{
        chart::{Cadence, Entry, Series},
        entity::{EntityKind, EntityRef},
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

/// The newest charts of the whole platform that one entity was on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HistoryKey {
    pub entity: EntityRef,
    pub cadence: Cadence,
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

    /// For each entity its newest entries with their periods. A statement for each kind and cadence.
    pub async fn histories(
        &self,
        keys: &[HistoryKey],
    ) -> Result<HashMap<HistoryKey, Arc<Vec<(Window, Entry)>>>, DbError> {
        let mut histories = HashMap::new();
        let questions = EntityKind::ALL.into_iter().flat_map(|kind| Cadence::ALL.map(|cadence| (kind, cadence)));
        for (kind, cadence) in questions {
            let asked = || keys.iter().filter(|key| key.entity.kind == kind && key.cadence == cadence);
            let ids: Vec<Arc<str>> = asked().map(|key| key.entity.id.clone()).collect();
            let Some(first) = asked().map(|key| key.first).max() else { continue };
            let mut entries: HashMap<Arc<str>, Vec<(Window, Entry)>> = HashMap::new();
            for (period, entry) in charts::list_history(self.database.reader(), kind, cadence, &ids, first).await? {
                entries.entry(entry.id.clone()).or_default().push((period, entry));
            }
            for key in asked() {
                let mut newest = entries.get(&key.entity.id).cloned().unwrap_or_default();
                newest.truncate(key.first as usize);
                histories.insert(key.clone(), Arc::new(newest));
            }
        }
        Ok(histories)
    }
}
