//! What earlier charts say of the entities of a new one. Ids that are merged are one thing, also where they were
//! charted apart.

use std::sync::Arc;

use super::Charts;
use crate::{
    db::{DbError, queries::charts},
    domain::{
        chart::{self, Entry, Past, Series},
        entity::EntityRef,
        window::Window,
    },
};

impl Charts {
    pub(super) fn canonical_id(&self, series: &Series, id: &Arc<str>) -> Arc<str> {
        self.analytics.merges().canonical(&EntityRef { kind: series.of, id: id.clone() }).id
    }

    /// What the chart immediately before says.
    pub(super) async fn past(&self, series: &Series, period: Window) -> Result<Past, DbError> {
        let conn = self.database.scanner();
        let before = self.settings.calendar.before(series.cadence, period);
        let newest = charts::find_newest(conn, series, before.from_ms).await?;
        let Some(chart) = newest.filter(|chart| chart.period == before) else { return Ok(Past::default()) };
        let mut past = Past::default();
        for entry in charts::list_entries(conn, &chart).await? {
            let id = self.canonical_id(series, &entry.id);
            if entry.position.is_none() || past.previous.iter().any(|known| known.id == id) {
                continue;
            }
            past.previous.push(self.united(series, period, &id).await?.unwrap_or(entry));
        }
        Ok(past)
    }

    /// An entity's last entry before a period.
    pub(super) async fn last_entry(
        &self,
        series: &Series,
        period: Window,
        id: &Arc<str>,
    ) -> Result<Option<Entry>, DbError> {
        match self.united(series, period, id).await? {
            Some(entry) => Ok(Some(entry)),
            None => charts::find_last_entry(self.database.scanner(), series, period.from_ms, id).await,
        }
    }

    /// The last entry of what something is merged into, from all entries of all of it; none where nothing is.
    async fn united(&self, series: &Series, period: Window, id: &Arc<str>) -> Result<Option<Entry>, DbError> {
        let members = self.analytics.merges().members(&EntityRef { kind: series.of, id: id.clone() });
        if members.len() == 1 {
            return Ok(None);
        }
        let ids: Vec<Arc<str>> = members.into_iter().map(|member| member.id).collect();
        let conn = self.database.scanner();
        let history = charts::list_history(conn, series, &ids, period.from_ms, u32::MAX).await?;
        Ok(chart::united(id, &history))
    }
}
