//! Group-bys from the log, page by page, within budgets.

use std::{sync::Arc, time::Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::Value as Json;

use super::{
    Analytics, Catalogue, ExploreError, ExploreQuestion, Key, Measure, NumberOf,
    aggregate::{Addend, Crowd, Groups, KeyValue},
};
use crate::{
    analytics::log::LogReading,
    db::{
        DbError,
        queries::explore::{self, LogColumns, LogFilter},
    },
    domain::{
        counting::{Action, Counter, Effect, Occurrence, Part, action_of, effect},
        entity::{EntityKind, EntityRef},
        event::Event,
        event_filter::Named,
        merge::Merges,
        origin::Dimension,
        window::{Grain, Window, hour_of_day, weekday},
    },
};

/// What is left of the id of somebody who was erased begins so: they are still one person, but nobody by name.
const ERASED_PREFIX: char = '\u{1}';

/// Fills the groups from the events of the question's window and says how many were read.
pub async fn fill(
    analytics: &Analytics,
    question: &ExploreQuestion,
    catalogue: Option<&Catalogue>,
    groups: &mut Groups<'_>,
) -> Result<usize, ExploreError> {
    let started = Instant::now();
    let window = analytics.narrowed(question.window);
    let window =
        Window { from_ms: window.from_ms.max(question.window.from_ms), to_ms: window.to_ms.min(question.window.to_ms) };
    let stretches = stretches(analytics, question, window).await?;
    refuse_many(analytics, question, window, &stretches).await?;
    let mut judge = Judge::new(analytics, question, catalogue, groups);
    let (filter, columns) = (judge.filter(), judge.columns());
    let mut reading = LogReading::begin(analytics, started).await?;
    for stretch in stretches {
        reading.read(std::slice::from_ref(&filter), columns, stretch, |event| judge.take(event, groups)).await?;
    }
    Ok(reading.rows_read)
}

/// Where in the window there is anything: where types are asked for, the days that have events of them.
async fn stretches(analytics: &Analytics, question: &ExploreQuestion, window: Window) -> Result<Vec<Window>, DbError> {
    let Some(types) = &question.filter.types else { return Ok(vec![window]) };
    let types: Vec<Arc<str>> = types.iter().cloned().collect();
    let days = explore::list_days(analytics.database.reader(), &types, window).await?;
    let mut stretches: Vec<Window> = Vec::new();
    for day in days {
        let (from_ms, to_ms) = (day.max(window.from_ms), (day + Grain::Day.length_ms()).min(window.to_ms));
        match stretches.last_mut() {
            Some(last) if last.to_ms == from_ms => last.to_ms = to_ms,
            _ => stretches.push(Window { from_ms, to_ms }),
        }
    }
    Ok(stretches)
}

/// Refuses before anything is read what would take more rows than the budget. The counters tell, unless they count some
/// events as many: then so many keys are counted.
async fn refuse_many(
    analytics: &Analytics,
    question: &ExploreQuestion,
    window: Window,
    stretches: &[Window],
) -> Result<(), ExploreError> {
    let limit = analytics.explore_budget.rows_max;
    let types = question.filter.types.as_ref();
    let asked = analytics.counted_events(window, types).await?;
    if usize::try_from(asked).unwrap_or(0) <= limit {
        return Ok(());
    }
    let mut found = 0;
    for stretch in stretches {
        found += explore::count_up_to(analytics.database.reader(), types, *stretch, limit + 1 - found).await?;
        if found > limit {
            return Err(ExploreError::TooManyRows { asked, limit });
        }
    }
    Ok(())
}

/// Decides to which groups an event belongs, and what it adds to them.
struct Judge<'a> {
    analytics: &'a Analytics,
    question: &'a ExploreQuestion,
    catalogue: Option<&'a Catalogue>,
    /// The ids of the entity asked for.
    members: Vec<Arc<str>>,
    credited_kinds: Vec<EntityKind>,
    numbers_of: Vec<&'a NumberOf>,
    needs: Needs,
    /// Numbers that stand for people while this question is answered.
    users: FxHashMap<Arc<str>, u32>,
    anonymous: FxHashMap<Arc<str>, u32>,
    texts: FxHashSet<Arc<str>>,
    merged: Merged,
}

/// What has to be known of each event.
#[derive(Debug, Clone, Copy)]
struct Needs {
    music: bool,
    users: bool,
    crowd: bool,
    /// Whether who did anything is behind a group, and not only who moved a counter of music.
    crowd_of_events: bool,
    properties: bool,
}

/// Whether anything of a kind is merged, which few things are.
#[derive(Debug, Clone, Copy)]
struct Merged {
    songs: bool,
    albums: bool,
    artists: bool,
}

impl<'a> Judge<'a> {
    fn new(
        analytics: &'a Analytics,
        question: &'a ExploreQuestion,
        catalogue: Option<&'a Catalogue>,
        groups: &Groups<'a>,
    ) -> Self {
        let numbers_of: Vec<&NumberOf> = groups.numbers_of().collect();
        let crowd = question.is_folded && !question.origins().is_empty();
        let by_property = question.by.iter().any(|key| matches!(key, Key::Property(_)));
        let of_property = numbers_of.iter().any(|of| matches!(of, NumberOf::Property(_)));
        let needs = Needs {
            music: crowd || question.needs(Measure::is_music),
            users: question.needs(|measure| *measure == Measure::UniqueUsers),
            crowd,
            crowd_of_events: question.needs(|measure| !measure.is_music()),
            properties: by_property || of_property || !question.filter.properties.is_empty(),
        };
        let members = question.filter.entity.as_ref().map(|entity| analytics.merges.members(entity));
        let has = |kind| analytics.merges.has(kind);
        Self {
            analytics,
            question,
            catalogue,
            members: members.into_iter().flatten().map(|member| member.id).collect(),
            credited_kinds: question.credited_kinds().into_iter().collect(),
            numbers_of,
            needs,
            users: FxHashMap::default(),
            anonymous: FxHashMap::default(),
            texts: FxHashSet::default(),
            merged: Merged {
                songs: has(EntityKind::Song),
                albums: has(EntityKind::Album),
                artists: has(EntityKind::Artist),
            },
        }
    }

    /// What the database can tell of which events are wanted.
    fn filter(&self) -> LogFilter {
        let filter = &self.question.filter;
        let artists = self.catalogue.filter(|_| self.question.is_of_credited()).map(|catalogue| Named {
            kind: EntityKind::Artist,
            ids: catalogue.artists.iter().flat_map(|id| self.members_of(EntityKind::Artist, id)).collect(),
        });
        let entity = filter.entity.as_ref().map(|entity| Named { kind: entity.kind, ids: self.members.clone() });
        LogFilter {
            types: filter.types.iter().flatten().cloned().collect(),
            country: filter.country.clone(),
            source: filter.source.clone(),
            device: filter.device.clone(),
            genre: filter.genre.clone(),
            user_id: filter.user_id.clone(),
            currency: filter.currency.clone(),
            named: artists.into_iter().chain(entity).collect(),
            ..LogFilter::default()
        }
    }

    fn members_of(&self, kind: EntityKind, id: &Arc<str>) -> impl Iterator<Item = Arc<str>> + use<> {
        self.analytics.merges.members(&EntityRef { kind, id: id.clone() }).into_iter().map(|member| member.id)
    }

    fn columns(&self) -> LogColumns {
        LogColumns {
            people: self.needs.users || self.needs.crowd || self.question.by.contains(&Key::User),
            properties: self.needs.properties,
        }
    }

    fn take(&mut self, event: &Event, groups: &mut Groups<'_>) -> Result<(), ExploreError> {
        let at_ms = event.key.occurred_at_ms;
        let place = match &self.question.buckets {
            None => 0,
            Some(buckets) => buckets.partition_point(|bucket| bucket.from_ms <= at_ms).saturating_sub(1),
        };
        if !self.is_of_entity(event) || !self.is_of_catalogue(event) {
            return Ok(());
        }
        let properties: Option<Json> = match &event.properties {
            Some(text) if self.needs.properties => serde_json::from_str(text).ok(),
            _ => None,
        };
        let properties = properties.unwrap_or(Json::Null);
        if !self.question.filter.properties.iter().all(|asked| asked.is_in(&properties)) {
            return Ok(());
        }
        let groupings = self.groupings(event, &properties);
        if groupings.is_empty() {
            return Ok(());
        }
        let effect = self.effect(event);
        let occurrence = Occurrence::of(event);
        let mut counters = effect.as_ref().map(|effect| effect.counters).unwrap_or_default();
        counters.add(&occurrence.counters);
        let numbers: Vec<Option<f64>> = self.numbers_of.iter().map(|of| number(of, event, &properties)).collect();
        let crowd = self.needs.crowd.then(|| self.crowd(event, effect.as_ref()));
        let currency = event.currency.as_deref().map(Arc::from);
        let addend = Addend {
            counters,
            user: occurrence
                .part
                .filter(|_| self.needs.users)
                .and(event.user_id.as_ref())
                .map(|id| number_of(&mut self.users, id)),
            users: None,
            numbers: &numbers,
            currency: currency.as_ref(),
            crowd: crowd.as_ref(),
        };
        groupings.into_iter().try_for_each(|keys| groups.add(place, keys, &addend))
    }

    /// What an event does to the music counters, of everything that the question is about.
    fn effect(&self, event: &Event) -> Option<Effect> {
        let effect = effect(event, &self.analytics.counting).filter(|_| self.needs.music)?;
        let counts_for = |kind: &EntityKind| effect.credited(event).any(|one| one.kind == *kind && one.is_whole);
        self.credited_kinds.iter().all(counts_for).then_some(effect)
    }

    fn is_of_entity(&self, event: &Event) -> bool {
        let Some(entity) = &self.question.filter.entity else { return true };
        let named = match entity.kind {
            EntityKind::Album => album_of(event),
            kind => event.entity_id(kind),
        };
        named.is_some_and(|id| self.members.contains(id))
    }

    fn is_of_catalogue(&self, event: &Event) -> bool {
        let Some(catalogue) = self.catalogue else { return true };
        let is_own = |kind, id: Option<&Arc<str>>, own: &FxHashSet<Arc<str>>| {
            !self.question.groups_by(kind) || id.is_some_and(|id| own.contains(&self.canonical(kind, id)))
        };
        let is_credited =
            || artists_of(event).any(|id| catalogue.artists.contains(&self.canonical(EntityKind::Artist, id)));
        is_own(EntityKind::Song, event.song_id.as_ref(), &catalogue.songs)
            && is_own(EntityKind::Album, album_of(event), &catalogue.albums)
            && (!self.question.is_of_credited() || is_credited())
    }

    fn canonical(&self, kind: EntityKind, id: &Arc<str>) -> Arc<str> {
        let is_merged = match kind {
            EntityKind::Song => self.merged.songs,
            EntityKind::Album => self.merged.albums,
            _ => self.merged.artists,
        };
        if is_merged { self.merges().canonical(&EntityRef { kind, id: id.clone() }).id } else { id.clone() }
    }

    fn merges(&self) -> &Merges {
        &self.analytics.merges
    }

    /// The groups of an event: one, unless it is grouped by artists, of which it may have none or several.
    fn groupings(&mut self, event: &Event, properties: &Json) -> Vec<Vec<KeyValue>> {
        let question = self.question;
        let mut groupings = vec![Vec::with_capacity(question.by.len())];
        for key in &question.by {
            if *key == Key::Entity(EntityKind::Artist) {
                let artists: Vec<KeyValue> = self.artist_values(event);
                let with = |grouping: Vec<KeyValue>| {
                    artists
                        .iter()
                        .map(move |artist| [&grouping[..], std::slice::from_ref(artist)].concat())
                        .collect::<Vec<_>>()
                };
                groupings = groupings.into_iter().flat_map(with).collect();
            } else {
                let value = self.value(key, event, properties);
                groupings.iter_mut().for_each(|grouping| grouping.push(value.clone()));
            }
        }
        groupings
    }

    /// Whom an event is credited to, each once for every id; nobody is a group too, but of nobody's catalogue.
    fn artist_values(&self, event: &Event) -> Vec<KeyValue> {
        let artists = artists_of(event).map(|id| self.canonical(EntityKind::Artist, id));
        let values: Vec<KeyValue> = match self.catalogue {
            None => artists.map(KeyValue::Text).collect(),
            Some(catalogue) => artists.filter(|id| catalogue.artists.contains(id)).map(KeyValue::Text).collect(),
        };
        if values.is_empty() && self.catalogue.is_none() { vec![KeyValue::Unknown] } else { values }
    }

    fn value(&mut self, key: &Key, event: &Event, properties: &Json) -> KeyValue {
        let (at_ms, zone) = (event.key.occurred_at_ms, self.question.zone);
        match key {
            Key::Type => self.text(Some(&event.event_type)),
            Key::Entity(EntityKind::Album) => self.entity(EntityKind::Album, album_of(event)),
            Key::Entity(kind) => self.entity(*kind, event.entity_id(*kind)),
            Key::Origin(Dimension::Country) => self.text(event.country.as_deref()),
            Key::Origin(Dimension::Source) => self.text(event.listening_source.as_deref()),
            Key::Origin(Dimension::Device) => self.text(event.device.as_deref()),
            Key::Genre => self.text(event.genre.as_deref()),
            Key::User => KeyValue::text(event.user_id.as_ref().filter(|id| !id.starts_with(ERASED_PREFIX))),
            Key::HourOfDay => KeyValue::number(hour_of_day(at_ms, zone)),
            Key::Weekday => KeyValue::number(weekday(at_ms, zone)),
            Key::Currency => self.text(event.currency.as_deref()),
            Key::Property(path) => match path.find(properties) {
                Some(Json::Bool(flag)) => KeyValue::Flag(*flag),
                Some(Json::String(text)) => self.text(Some(text)),
                Some(Json::Number(number)) => number.as_f64().map_or(KeyValue::Unknown, KeyValue::number),
                _ => KeyValue::Unknown,
            },
        }
    }

    fn entity(&self, kind: EntityKind, id: Option<&Arc<str>>) -> KeyValue {
        id.map_or(KeyValue::Unknown, |id| KeyValue::Text(self.canonical(kind, id)))
    }

    /// A text that many events have, kept once.
    fn text(&mut self, text: Option<&str>) -> KeyValue {
        let Some(text) = text else { return KeyValue::Unknown };
        if let Some(known) = self.texts.get(text) {
            return KeyValue::Text(known.clone());
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        KeyValue::Text(text)
    }

    /// Who stands behind an event.
    fn crowd(&mut self, event: &Event, effect: Option<&Effect>) -> Crowd {
        let mut crowd = Crowd::default();
        let part = effect.and_then(|effect| effect.part);
        let of_events = Occurrence::of(event).part.filter(|_| self.needs.crowd_of_events);
        match (part, &event.anonymous_id) {
            (Some(Part::AnonymousListener), Some(id)) => {
                crowd.anonymous.insert(number_of(&mut self.anonymous, id));
            }
            _ => crowd
                .identified
                .extend(part.or(of_events).and(event.user_id.as_ref()).map(|id| number_of(&mut self.users, id))),
        }
        let is_known = matches!(part, Some(Part::Listener | Part::AnonymousListener));
        let streams = effect.map_or(0, |effect| effect.counters[Counter::Streams]);
        crowd.unknown_streams = if is_known { 0 } else { streams };
        crowd
    }
}

fn number_of(numbers: &mut FxHashMap<Arc<str>, u32>, id: &Arc<str>) -> u32 {
    if let Some(number) = numbers.get(id) {
        return *number;
    }
    let number = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    numbers.insert(id.clone(), number);
    number
}

/// The album that an event is about: of a play, the one that the catalogue has the song on.
fn album_of(event: &Event) -> Option<&Arc<str>> {
    let is_play = || matches!(action_of(&event.event_type), Some((Action::Play, _)));
    let told = event.credits.as_ref().and_then(|credits| credits.album.as_ref()).filter(|_| is_play());
    told.or(event.album_id.as_ref())
}

/// The main artists and remixers by the catalogue's word at the commit, and otherwise whom the event names.
fn artists_of(event: &Event) -> impl Iterator<Item = &Arc<str>> {
    let told = event.credits.as_ref().map_or(&[][..], |credits| &credits.artists[..]);
    told.iter().chain(event.artist_id.as_ref().filter(|_| told.is_empty()))
}

/// The number that an event has in a place; of money in minor units.
fn number(of: &NumberOf, event: &Event, properties: &Json) -> Option<f64> {
    match of {
        NumberOf::PlayedMs => event.played_ms.map(|ms| ms as f64),
        NumberOf::DurationMs => event.duration_ms.map(|ms| ms as f64),
        NumberOf::Amount => event.amount_minor.map(|minor| minor as f64),
        NumberOf::Property(path) => path.find(properties)?.as_f64(),
    }
}
