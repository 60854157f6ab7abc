//! Published charts.

use std::sync::Arc;

use async_graphql::{Context, Enum, Object, SimpleObject};

use super::{measurable::Measurable, metrics::TimeSpan, ranking::PageInfo};
use crate::{
    charts::{self, HistoryKey},
    domain::{
        catalogue::CatalogueEntry,
        chart::{self, PLACES, Series, date_of},
        entity::{self, EntityRef},
        naming::hash128,
        origin::country_code,
        window::Window,
    },
    graphql::{
        context::ContextExt,
        error::ApiError,
        input::{Cadence, EntityKind, page_size},
        scalars::{CountryCode, Date, DateTime, Long},
    },
};

/// What became of an entity since the chart before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "chart::Movement")]
pub enum Movement {
    /// On this chart for the first time.
    New,
    /// Not on the chart before, and on an earlier one.
    ReEntry,
    /// At a better place than on the chart before.
    Up,
    /// At a worse place than on the chart before.
    Down,
    /// At the same place as on the chart before.
    Same,
    /// On the chart before and not on this one.
    Out,
}

pub struct Chart(pub Arc<charts::Chart>);

impl Chart {
    fn entry(&self, entry: &chart::Entry) -> ChartEntry {
        let entity = EntityRef { kind: self.0.chart.series.of, id: entry.id.clone() };
        ChartEntry { entity, period: self.0.chart.period, entry: entry.clone() }
    }

    /// What every cursor of this revision of this chart begins with.
    fn cursor_stem(&self) -> String {
        let charts::Chart { chart, .. } = &*self.0;
        let Series { of, cadence, genre, country } = &chart.series;
        let digest = hash128(&[
            of.word(),
            cadence.word(),
            genre.as_deref().unwrap_or_default(),
            country.as_deref().unwrap_or_default(),
            &chart.period.from_ms.to_string(),
            &chart.revision.to_string(),
        ]);
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The place that a cursor stands behind.
    fn place(&self, cursor: &str) -> Result<usize, ApiError> {
        let place = cursor.strip_prefix(&self.cursor_stem()).and_then(|rest| rest.strip_prefix('-'));
        let place = place.and_then(|place| place.parse().ok()).filter(|place| (1..=PLACES).contains(place));
        place.ok_or_else(|| {
            ApiError::invalid("after", "is not a cursor of this chart; after a correction begin with the first page")
        })
    }
}

/// A chart of a period that has ended: entities by their streams, at most 200, ties by listeners, then by the
/// place before, then by id. What is published never changes; a correction is a new revision.
#[Object]
impl Chart {
    /// Which kind of entity.
    async fn of(&self) -> EntityKind {
        self.0.chart.series.of.into()
    }

    /// How often these charts are published.
    async fn cadence(&self) -> Cadence {
        self.0.chart.series.cadence.into()
    }

    /// The period, whole UTC days.
    async fn span(&self) -> TimeSpan {
        self.0.chart.period.into()
    }

    /// Counts the corrections: 1 as first published.
    async fn revision(&self) -> i32 {
        self.0.chart.revision.into()
    }

    /// When this revision was counted.
    async fn published_at(&self) -> DateTime {
        DateTime::at(self.0.chart.published_at_ms)
    }

    /// The genre that its entities have; null for a chart of all.
    async fn genre(&self) -> Option<&str> {
        self.0.chart.series.genre.as_deref()
    }

    /// The country in which its streams were counted; null for a chart of everywhere.
    async fn country(&self) -> Option<CountryCode> {
        self.0.chart.series.country.as_deref().map(|country| CountryCode(country.to_owned()))
    }

    /// Its entries, the first place first.
    #[graphql(complexity = "5 + first.clamp(0, 200) as usize * child_complexity")]
    async fn entries(
        &self,
        #[graphql(desc = "How many, 1 to 200.", default = 50)] first: i32,
        #[graphql(desc = "The cursor that the page before ended with.")] after: Option<String>,
    ) -> Result<ChartEntryConnection, ApiError> {
        let first = page_size(first, PLACES)?;
        let from = after.map(|cursor| self.place(&cursor)).transpose()?.unwrap_or(0);
        let (entries, _) = self.0.split();
        let to = (from + first).min(entries.len());
        let stem = self.cursor_stem();
        let page = entries.get(from..to).unwrap_or_default();
        let edges: Vec<ChartEntryEdge> = (from + 1..)
            .zip(page)
            .map(|(place, entry)| ChartEntryEdge { cursor: format!("{stem}-{place}"), node: self.entry(entry) })
            .collect();
        let page_info = PageInfo {
            has_next_page: to < entries.len(),
            has_previous_page: from > 0,
            start_cursor: edges.first().map(|edge| edge.cursor.clone()),
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
        };
        let nodes = edges.iter().map(|edge| edge.node.clone()).collect();
        Ok(ChartEntryConnection { edges, nodes, page_info, total_count: Long::of(entries.len()) })
    }

    /// What was on the chart before and is not on this one, by the place before.
    #[graphql(complexity = "5 + 50 * child_complexity")]
    async fn drop_outs(&self) -> Vec<ChartEntry> {
        let (_, drop_outs) = self.0.split();
        drop_outs.iter().map(|entry| self.entry(entry)).collect()
    }
}

/// A page of a chart.
#[derive(SimpleObject)]
pub struct ChartEntryConnection {
    /// The page's entries with their cursors.
    pub edges: Vec<ChartEntryEdge>,
    /// The page's entries alone.
    pub nodes: Vec<ChartEntry>,
    /// Where the page lies.
    pub page_info: PageInfo,
    /// How many entries the whole chart has, at most 200.
    pub total_count: Long,
}

/// An entry of a chart with its cursor.
#[derive(SimpleObject)]
pub struct ChartEntryEdge {
    /// Where the next page goes on, given as `after`.
    pub cursor: String,
    /// The entry.
    pub node: ChartEntry,
}

#[derive(Clone)]
pub struct ChartEntry {
    entity: EntityRef,
    period: Window,
    entry: chart::Entry,
}

/// An entity on a chart, with what the charts before it say. They are those of the same kind, cadence, genre
/// and country.
#[Object]
impl ChartEntry {
    /// Its place, from 1; null for a drop-out.
    async fn position(&self) -> Option<i32> {
        self.entry.position
    }

    /// Its place on the chart of the period immediately before; null if it was not on it.
    async fn previous_position(&self) -> Option<i32> {
        self.entry.previous
    }

    /// By how many places it has risen since the chart before, below 0 if it has fallen; null where either place
    /// is.
    async fn change(&self) -> Option<i32> {
        Some(self.entry.previous? - self.entry.position?)
    }

    /// Its best place up to this chart.
    async fn peak_position(&self) -> i32 {
        self.entry.peak
    }

    /// The first day of the period in which it first had its best place.
    async fn peak_on(&self) -> Date {
        Date(date_of(self.entry.peak_at_ms))
    }

    /// On how many charts it has been, up to this one.
    async fn periods_on_chart(&self) -> i32 {
        self.entry.periods
    }

    /// On how many charts in a row it has been, up to this one; 0 for a drop-out.
    async fn streak(&self) -> i32 {
        self.entry.streak
    }

    /// What became of it since the chart before.
    async fn movement(&self) -> Movement {
        self.entry.movement.into()
    }

    /// Its streams in the period; a drop-out's in the period before.
    async fn value(&self) -> Long {
        Long::of(self.entry.value)
    }

    /// The period of the chart that the entry belongs to.
    async fn span(&self) -> TimeSpan {
        self.period.into()
    }

    /// The entity.
    async fn node(&self, ctx: &Context<'_>) -> Result<Measurable, ApiError> {
        let entry = ctx.loader().load_one(self.entity.clone()).await?;
        Ok(entry.unwrap_or_else(|| CatalogueEntry::bare(self.entity.clone())).into())
    }
}

/// The newest charts that an entity was on.
pub async fn history(
    ctx: &Context<'_>,
    entity: &EntityRef,
    cadence: Cadence,
    genre: Option<String>,
    country: Option<CountryCode>,
    first: i32,
) -> Result<Vec<ChartEntry>, ApiError> {
    let first = u32::try_from(page_size(first, PLACES)?).expect("a page is short");
    let Some(series) = series(entity.kind, cadence, genre, country) else { return Ok(Vec::new()) };
    let key = HistoryKey { entity: entity.clone(), series, first };
    let history = ctx.loader().load_one(key).await?.unwrap_or_default();
    let entry = |(period, entry): &(Window, chart::Entry)| ChartEntry {
        entity: entity.clone(),
        period: *period,
        entry: entry.clone(),
    };
    Ok(history.iter().map(entry).collect())
}

/// The charts that arguments name; none if they can name none.
pub fn series(
    of: entity::EntityKind,
    cadence: Cadence,
    genre: Option<String>,
    country: Option<CountryCode>,
) -> Option<Series> {
    // No genre has an empty name, and no country one that is no code: that is how charts of all are stored.
    let country = match country {
        Some(CountryCode(code)) => Some(country_code(&code)?.into()),
        None => None,
    };
    let genre = genre.map(Arc::from);
    (genre.as_deref() != Some("")).then(|| Series { of, cadence: cadence.into(), genre, country })
}
