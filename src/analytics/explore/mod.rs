//! Any group-by over events and music counters. Answered from stored sums where these suffice, and otherwise from the
//! log, within budgets.
//!
//! Both ways fill the same [`Groups`], so they differ in nothing but what they read; a test compares them.

mod aggregate;
mod error;
mod events;
mod rollups;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono_tz::Tz;
use rustc_hash::FxHashSet;

pub use aggregate::{KeyValue, Row, Value};
pub use error::ExploreError;

use self::aggregate::Groups;
use super::Analytics;
use crate::{
    db::{DbError, queries::catalogue},
    domain::{
        counting::Counter,
        entity::{EntityKind, EntityRef},
        origin::Dimension,
        property::{PropertyMatch, PropertyPath},
        window::Window,
    },
};

/// What one answer may take at most.
#[derive(Debug, Clone, Copy)]
pub struct ExploreBudget {
    /// Events that are read.
    pub rows_max: usize,
    /// Groups that are kept in memory, before the first of them are handed out.
    pub groups_max: usize,
    pub time_max: Duration,
}

/// A number of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    Counter(Counter),
    /// Distinct users; whoever is behind an event that stands for several is nobody.
    UniqueUsers,
    Statistic(Statistic, NumberOf),
}

/// What is made of the numbers that a group's events have in one place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// How many there are.
    Numbers,
    Sum,
    Mean,
    Min,
    Max,
    /// The nearest rank of 0 to 1: a number that is there.
    Percentile(f64),
}

/// Where an event has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NumberOf {
    PlayedMs,
    DurationMs,
    /// In units of the currency, not minor ones.
    Amount,
    Property(PropertyPath),
}

/// What events are grouped by, apart from time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    Type,
    /// A song, album or artist; an event of several artists is in the group of each.
    Entity(EntityKind),
    Origin(Dimension),
    Genre,
    User,
    HourOfDay,
    Weekday,
    Currency,
    Property(PropertyPath),
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExploreFilter {
    pub types: Option<BTreeSet<Arc<str>>>,
    /// This song, album or playlist.
    pub entity: Option<EntityRef>,
    pub country: Option<Arc<str>>,
    pub source: Option<Arc<str>>,
    pub device: Option<Arc<str>>,
    pub genre: Option<Arc<str>>,
    pub user_id: Option<Arc<str>>,
    pub currency: Option<Arc<str>>,
    pub properties: Vec<PropertyMatch>,
}

/// By what rows are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderBy {
    Time,
    /// The place in [`ExploreQuestion::by`].
    Key(usize),
    /// The place in [`ExploreQuestion::measures`].
    Measure(usize),
}

/// A group-by.
#[derive(Debug, Clone)]
pub struct ExploreQuestion {
    /// At least one.
    pub measures: Vec<Measure>,
    pub by: Vec<Key>,
    /// The time buckets, which add up to the window; `None` where time is no column.
    pub buckets: Option<Vec<Window>>,
    pub zone: Tz,
    pub filter: ExploreFilter,
    pub window: Window,
    /// Only the catalogue of these artists. Grouped by song or album, that is their works with all that was counted for
    /// these; otherwise what is credited to the artists themselves.
    pub artists: Option<BTreeSet<Arc<str>>>,
    /// The columns by which rows are ordered, and whether the highest come first.
    pub order: Vec<(OrderBy, bool)>,
    pub first: usize,
    /// Whether numbers of few people of one country, source or device are told together, as they are to artists.
    pub is_folded: bool,
}

/// Where an answer may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExploreFrom {
    /// Stored sums if they suffice.
    Cheapest,
    Events,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExploreSource {
    Rollup,
    Events,
}

#[derive(Debug, Clone)]
pub struct ExploreAnswer {
    pub rows: Vec<Row>,
    pub source: ExploreSource,
    /// Stored rows of sums, or events, that were read.
    pub rows_read: usize,
}

/// Works of one artist, or of all whose catalogue is asked for, that are told apart.
const WORKS_MAX: usize = 5_000;

/// The catalogue that a question is limited to; ids are those that things are read as.
struct Catalogue {
    artists: BTreeSet<Arc<str>>,
    /// Of the kinds that are grouped by.
    songs: FxHashSet<Arc<str>>,
    albums: FxHashSet<Arc<str>>,
}

impl ExploreQuestion {
    fn groups_by(&self, kind: EntityKind) -> bool {
        self.by.contains(&Key::Entity(kind))
    }

    /// Whether events have to be credited to one of the artists asked for: works in the question say whose it is.
    fn is_of_credited(&self) -> bool {
        let has_works = self.by.iter().any(|key| matches!(key, Key::Entity(_)));
        self.artists.is_some() && !has_works && self.filter.entity.is_none()
    }

    /// The kinds of which an event has to count for something to move a music counter.
    fn credited_kinds(&self) -> BTreeSet<EntityKind> {
        let kinds = self.by.iter().filter_map(|key| if let Key::Entity(kind) = key { Some(*kind) } else { None });
        let filtered = self.filter.entity.as_ref().map(|entity| entity.kind);
        kinds.chain(filtered).chain(self.is_of_credited().then_some(EntityKind::Artist)).collect()
    }

    /// The countries, sources or devices by which it is grouped or filtered.
    fn origins(&self) -> BTreeSet<Dimension> {
        let grouped = self.by.iter().filter_map(|key| if let Key::Origin(origin) = key { Some(*origin) } else { None });
        grouped.chain(Dimension::ALL.into_iter().filter(|origin| self.filter.origin(*origin).is_some())).collect()
    }

    fn needs(&self, is_needed: impl Fn(&Measure) -> bool) -> bool {
        self.measures.iter().any(is_needed)
    }
}

impl ExploreFilter {
    fn origin(&self, origin: Dimension) -> Option<&Arc<str>> {
        match origin {
            Dimension::Country => self.country.as_ref(),
            Dimension::Source => self.source.as_ref(),
            Dimension::Device => self.device.as_ref(),
        }
    }
}

impl Measure {
    /// Whether it is a counter of music, which not every event moves.
    fn is_music(&self) -> bool {
        matches!(self, Self::Counter(counter) if *counter != Counter::Events)
    }
}

impl Analytics {
    /// The rows of a group-by.
    ///
    /// Shape: at most `first` rows, in a total order; groups of which nothing that is measured is known are left out,
    /// but a question without groups has its one row. Source: sums and sets where they suffice, otherwise one snapshot
    /// of the log. Errors: what would take more than the budget is refused, if that can be told before anything is
    /// read.
    pub async fn explore(&self, question: &ExploreQuestion, from: ExploreFrom) -> Result<ExploreAnswer, ExploreError> {
        let catalogue = self.explored_catalogue(question).await?;
        let mut groups = Groups::new(question, self.explore_budget.groups_max);
        if from == ExploreFrom::Cheapest
            && let Some(rows_read) = rollups::fill(self, question, catalogue.as_ref(), &mut groups).await?
        {
            let rows = groups.finish(self.shown_people_min);
            return Ok(ExploreAnswer { rows, source: ExploreSource::Rollup, rows_read });
        }
        // What stored sums told halfway is told again.
        let mut groups = Groups::new(question, self.explore_budget.groups_max);
        let rows_read = events::fill(self, question, catalogue.as_ref(), &mut groups).await?;
        let rows = groups.finish(self.shown_people_min);
        Ok(ExploreAnswer { rows, source: ExploreSource::Events, rows_read })
    }

    async fn explored_catalogue(&self, question: &ExploreQuestion) -> Result<Option<Catalogue>, ExploreError> {
        let Some(artists) = &question.artists else { return Ok(None) };
        let artist = |id: &Arc<str>| EntityRef::new(EntityKind::Artist, id.clone());
        Ok(Some(Catalogue {
            artists: artists.iter().map(|id| self.merges.canonical(&artist(id)).id).collect(),
            songs: self.explored_works(question, artists, EntityKind::Song).await?,
            albums: self.explored_works(question, artists, EntityKind::Album).await?,
        }))
    }

    async fn explored_works(
        &self,
        question: &ExploreQuestion,
        artists: &BTreeSet<Arc<str>>,
        kind: EntityKind,
    ) -> Result<FxHashSet<Arc<str>>, ExploreError> {
        if !question.groups_by(kind) {
            return Ok(FxHashSet::default());
        }
        let of = |id: &Arc<str>| self.merges.members(&EntityRef::new(EntityKind::Artist, id.clone()));
        let members: Vec<EntityRef> = artists.iter().flat_map(of).collect();
        let ids: Vec<&str> = members.iter().map(|artist| &*artist.id).collect();
        let works = catalogue::list_works_of(self.database.reader(), kind, &ids, WORKS_MAX as u64 + 1).await?;
        if works.len() > WORKS_MAX {
            return Err(ExploreError::TooManyWorks { limit: WORKS_MAX });
        }
        Ok(works.iter().map(|work| self.merges.canonical(work).id).collect())
    }

    /// What all types, or some, have as events in a window; one with `count` is so many.
    async fn counted_events(&self, window: Window, types: Option<&BTreeSet<Arc<str>>>) -> Result<i64, DbError> {
        let of = |entity| super::MeasureKey {
            entity,
            window,
            country: None,
            need: crate::domain::measure::Metric::Counter(Counter::Events).need(),
        };
        let keys: Vec<_> = match types {
            None => vec![of(EntityRef::platform())],
            Some(types) => types.iter().map(|name| of(EntityRef::event_type(name))).collect(),
        };
        Ok(self.measures(&keys).await?.values().map(|measures| measures.counters[Counter::Events]).sum())
    }
}
