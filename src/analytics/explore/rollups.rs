//! Group-bys that stored sums and sets answer: which ones these are, and what is read for them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use roaring::RoaringBitmap;

use super::{
    Analytics, Catalogue, ExploreError, ExploreQuestion, Key, Measure, OrderBy, WORKS_MAX,
    aggregate::{Addend, Crowd, Groups, KeyValue},
};
use crate::{
    analytics::{
        Who,
        days::{Asked, Piece, pieces},
    },
    audience::day::{Cell, mask},
    db::{
        DbError,
        queries::{
            rankings::{self, Identity, Ranked},
            rollups,
        },
    },
    domain::{
        counting::{Counter, Counters, Part, Parts},
        entity::{EntityKind, EntityRef},
        measure::CounterSet,
        origin::Dimension,
        window::{Buckets, Grain, Window, hour_of_day, weekday},
    },
};

/// Types whose sets of users are united.
const TYPES_UNITED_MAX: usize = 200;
/// Single rows that are sought: each is a step down a key.
const SOUGHT_MAX: usize = 500_000;

/// Sums of some entities of one kind that are part of an answer.
struct Sums {
    kind: EntityKind,
    /// Those that things are read as.
    ids: Vec<Arc<str>>,
    counters: CounterSet,
}

/// Fills the groups from stored sums and sets and says how many rows these were; `None` where they do not suffice.
pub async fn fill(
    analytics: &Analytics,
    question: &ExploreQuestion,
    catalogue: Option<&Catalogue>,
    groups: &mut Groups<'_>,
) -> Result<Option<usize>, ExploreError> {
    let origins = question.origins();
    if !is_told(question) || origins.len() > 1 {
        return Ok(None);
    }
    let reading = Reading { analytics, question };
    let Some(sums) = reading.sums(catalogue).await? else { return Ok(None) };
    match origins.first() {
        Some(origin) => reading.fill_from_cells(*origin, sums, groups).await,
        None => {
            let Some(rows) = reading.fill_from_counters(sums, groups).await? else { return Ok(None) };
            let Some(sets) = reading.fill_users(groups).await? else { return Ok(None) };
            Ok(Some(rows + sets))
        }
    }
}

/// Whether the question's measures, groups and filters are of the kinds that sums are kept by.
fn is_told(question: &ExploreQuestion) -> bool {
    let filter = &question.filter;
    let of_log = filter.genre.is_some()
        || filter.user_id.is_some()
        || filter.currency.is_some()
        || !filter.properties.is_empty()
        || question.by.iter().any(|key| matches!(key, Key::Genre | Key::User | Key::Currency | Key::Property(_)))
        || question.needs(|measure| matches!(measure, Measure::Statistic(..)));
    let subjects = question.by.iter().filter(|key| matches!(key, Key::Type | Key::Entity(_))).count();
    let by_time = question.by.iter().any(|key| matches!(key, Key::HourOfDay | Key::Weekday));
    let is_of_origin = !question.origins().is_empty();
    let has_users = question.needs(|measure| *measure == Measure::UniqueUsers);
    // Events as such, and their users, are counted by type and of the platform alone.
    let of_events = question.needs(|measure| !measure.is_music());
    let of_platform = question.filter.entity.is_none() && question.artists.is_none();
    let is_kept = match () {
        () if of_log || subjects > 1 => false,
        // Where it came from is known of one subject, people of types without where they came from.
        () if is_of_origin && (subjects > 0 || by_time || has_users) => false,
        () if has_users && by_time => false,
        () if of_events && !of_platform => false,
        () if of_events && question.by.iter().any(|key| matches!(key, Key::Entity(_))) => false,
        () => true,
    };
    is_kept && is_music_told(question)
}

/// Whether the types of events that are asked for are no part of what moves the music counters, or all of it.
fn is_music_told(question: &ExploreQuestion) -> bool {
    if !question.needs(Measure::is_music) {
        return true;
    }
    let is_of_plays = |measure: &Measure| {
        let of_plays = &Counter::ALL[..Counter::OF_PLAYS];
        matches!(measure, Measure::Counter(counter) if of_plays.contains(counter))
    };
    let all_of_plays = !question.needs(|measure| measure.is_music() && !is_of_plays(measure));
    let types_suffice = match &question.filter.types {
        None => true,
        // Cells say who took any part, not who played.
        Some(types) => types.contains("track.played") && all_of_plays && !question.is_folded,
    };
    types_suffice && !question.by.contains(&Key::Type)
}

struct Reading<'a> {
    analytics: &'a Analytics,
    question: &'a ExploreQuestion,
}

impl Reading<'_> {
    /// What the counters asked for are of.
    async fn sums(&self, catalogue: Option<&Catalogue>) -> Result<Option<Vec<Sums>>, DbError> {
        let mut sums = Vec::new();
        if self.question.needs(|measure| *measure == Measure::Counter(Counter::Events)) {
            let is_by_type = self.question.by.contains(&Key::Type) || self.question.filter.types.is_some();
            let ids = if is_by_type { self.types().await? } else { Some(vec![EntityRef::platform().id]) };
            let Some(ids) = ids else { return Ok(None) };
            let kind = if is_by_type { EntityKind::EventType } else { EntityKind::Platform };
            sums.push(Sums { kind, ids, counters: [Counter::Events].into_iter().collect() });
        }
        let music = self.question.measures.iter().filter(|measure| measure.is_music());
        let music: CounterSet =
            music.filter_map(|it| if let Measure::Counter(counter) = it { Some(*counter) } else { None }).collect();
        if !music.is_empty() {
            let Some((kind, ids)) = self.subjects(catalogue, music).await? else { return Ok(None) };
            sums.push(Sums { kind, ids, counters: music });
        }
        Ok(Some(sums))
    }

    /// The types of events asked for that there are.
    async fn types(&self) -> Result<Option<Vec<Arc<str>>>, DbError> {
        if let Some(types) = &self.question.filter.types {
            return Ok(Some(types.iter().cloned().collect()));
        }
        let types = self.analytics.event_types(self.question.window, WORKS_MAX + 1).await?;
        Ok((types.len() <= WORKS_MAX).then(|| types.into_iter().map(|event_type| event_type.id).collect()))
    }

    /// What the music counters asked for are of; `None` where these are too many, or several that share events.
    async fn subjects(
        &self,
        catalogue: Option<&Catalogue>,
        music: CounterSet,
    ) -> Result<Option<(EntityKind, Vec<Arc<str>>)>, DbError> {
        let question = self.question;
        let grouped = question.by.iter().find_map(|key| if let Key::Entity(kind) = key { Some(*kind) } else { None });
        if let Some(entity) = &question.filter.entity {
            let one = (entity.kind, vec![self.analytics.merges.canonical(entity).id]);
            return Ok(Some(one).filter(|_| grouped.is_none()));
        }
        let Some(kind) = grouped else {
            return Ok(match catalogue {
                None => Some((EntityKind::Platform, vec![EntityRef::platform().id])),
                Some(of) if of.artists.len() == 1 => Some((EntityKind::Artist, of.artists.iter().cloned().collect())),
                // An event of several of them counts once.
                Some(_) => None,
            });
        };
        let ids = match (catalogue, kind) {
            (None, _) => self.first_of(kind, music).await?,
            (Some(of), EntityKind::Song) => Some(of.songs.iter().cloned().collect()),
            (Some(of), EntityKind::Album) => Some(of.albums.iter().cloned().collect()),
            (Some(of), _) => Some(of.artists.iter().cloned().collect()),
        };
        Ok(ids.map(|ids| (kind, ids)))
    }

    /// All entities of a kind that have any of these counters, or, where the highest of one of them come first, so many
    /// as are asked for.
    async fn first_of(&self, kind: EntityKind, music: CounterSet) -> Result<Option<Vec<Arc<str>>>, DbError> {
        let question = self.question;
        let leading = match question.order.first() {
            Some((OrderBy::Measure(place), true)) if question.order.len() == 1 && question.by.len() == 1 => {
                Some(&question.measures[*place]).filter(|_| question.buckets.is_none())
            }
            _ => None,
        };
        if let Some(Measure::Counter(counter)) = leading {
            let first = self.list(kind, *counter, question.first).await?;
            if first.len() == question.first {
                return Ok(Some(first));
            }
        }
        let mut all = BTreeSet::new();
        for counter in music.iter() {
            all.extend(self.list(kind, counter, WORKS_MAX + 1).await?);
        }
        Ok((all.len() <= WORKS_MAX).then(|| all.into_iter().collect()))
    }

    async fn list(&self, kind: EntityKind, counter: Counter, limit: usize) -> Result<Vec<Arc<str>>, DbError> {
        let merges = &self.analytics.merges;
        let identity = if merges.has(kind) { Identity::Merged } else { Identity::Plain };
        let buckets = self.analytics.narrowed(self.question.window).buckets();
        let ranked = Ranked { kind, identity, counter, buckets: &buckets, genre: None };
        let rows = rankings::list(self.analytics.database.reader(), ranked, limit).await?;
        Ok(rows.into_iter().map(|(id, _)| id.into()).collect())
    }

    /// The time buckets as far as there are events, each with its place.
    fn stretches(&self) -> impl Iterator<Item = (usize, Window)> {
        let whole = std::slice::from_ref(&self.question.window);
        let buckets = self.question.buckets.as_deref().unwrap_or(whole);
        buckets.iter().map(|bucket| self.analytics.narrowed(*bucket)).enumerate()
    }

    async fn fill_from_counters(
        &self,
        sums: Vec<Sums>,
        groups: &mut Groups<'_>,
    ) -> Result<Option<usize>, ExploreError> {
        let by_time = self.question.by.iter().any(|key| matches!(key, Key::HourOfDay | Key::Weekday));
        // What is read, and the time bucket that it is part of.
        let [mut quarters, mut days] = [BTreeMap::new(), BTreeMap::new()];
        for (place, stretch) in self.stretches() {
            let mut buckets = stretch.buckets();
            if by_time {
                buckets = Buckets { days: 0..0, quarters: [stretch.from_ms..stretch.to_ms, 0..0] };
            }
            let placed = |range, grain| starts(range, grain).map(move |start| (start, place));
            days.extend(placed(&buckets.days, Grain::Day));
            quarters.extend(buckets.quarters.iter().flat_map(|range| placed(range, Grain::Quarter)));
        }
        let subjects: usize = sums.iter().map(|sums| sums.ids.len()).sum();
        if subjects.saturating_mul(quarters.len()) > SOUGHT_MAX {
            return Ok(None);
        }
        let mut rows_read = 0;
        for sums in sums {
            for (grain, buckets) in [(Grain::Day, &days), (Grain::Quarter, &quarters)] {
                let starts: Vec<i64> = buckets.keys().copied().collect();
                for (id, bucket, counters) in self.list_counters(&sums, grain, &starts).await? {
                    // Perhaps days between those asked for are among them.
                    let Some(place) = buckets.get(&bucket) else { continue };
                    rows_read += 1;
                    groups.add(*place, self.keys(&id, bucket), &Addend { counters, ..Addend::default() })?;
                }
            }
        }
        Ok(Some(rows_read))
    }

    /// Rows of sums, under the ids that things are read as.
    async fn list_counters(
        &self,
        sums: &Sums,
        grain: Grain,
        buckets: &[i64],
    ) -> Result<Vec<(Arc<str>, i64, Counters)>, DbError> {
        let mut read_as: HashMap<Arc<str>, Arc<str>> = HashMap::with_capacity(sums.ids.len());
        for id in &sums.ids {
            let members = self.analytics.merges.members(&EntityRef { kind: sums.kind, id: id.clone() });
            read_as.extend(members.into_iter().map(|member| (member.id, id.clone())));
        }
        let ids: Vec<Arc<str>> = read_as.keys().cloned().collect();
        if ids.is_empty() || buckets.is_empty() {
            return Ok(Vec::new());
        }
        let reader = self.analytics.database.reader();
        let mut rows = Vec::new();
        for ids in ids.chunks(WORKS_MAX) {
            let found = rollups::list_counters(reader, grain, buckets, sums.kind, ids, sums.counters).await?;
            rows.extend(found.into_iter().map(|(id, bucket, counters)| (read_as[&*id].clone(), bucket, counters)));
        }
        Ok(rows)
    }

    fn keys(&self, id: &Arc<str>, at_ms: i64) -> Vec<KeyValue> {
        let zone = self.question.zone;
        let key = |key: &Key| match key {
            Key::HourOfDay => KeyValue::number(hour_of_day(at_ms, zone)),
            Key::Weekday => KeyValue::number(weekday(at_ms, zone)),
            _ => KeyValue::Text(id.clone()),
        };
        self.question.by.iter().map(key).collect()
    }

    /// Distinct users, from the sets by type of event.
    async fn fill_users(&self, groups: &mut Groups<'_>) -> Result<Option<usize>, ExploreError> {
        if !self.question.needs(|measure| *measure == Measure::UniqueUsers) {
            return Ok(Some(0));
        }
        let Some(types) = self.types().await?.filter(|types| types.len() <= TYPES_UNITED_MAX) else { return Ok(None) };
        let windows: Vec<Window> = match &self.question.buckets {
            Some(buckets) => buckets.clone(),
            None => vec![self.question.window],
        };
        let mut sets_read = 0;
        for event_type in types {
            let sets = self.analytics.people_within(&windows, &Who::Did(event_type.to_string())).await?;
            for (place, users) in sets.iter().enumerate().filter(|(_, users)| !users.is_empty()) {
                sets_read += 1;
                let keys = self.question.by.iter().map(|_| KeyValue::Text(event_type.clone())).collect();
                groups.add(place, keys, &Addend { users: Some(users), ..Addend::default() })?;
            }
        }
        Ok(Some(sets_read))
    }

    /// From the days of one entity, by where things came from.
    async fn fill_from_cells(
        &self,
        origin: Dimension,
        sums: Vec<Sums>,
        groups: &mut Groups<'_>,
    ) -> Result<Option<usize>, ExploreError> {
        let analytics = self.analytics;
        let mut asked = Asked::by(origin, if self.question.is_folded { Parts::ALL } else { Parts::default() });
        let stretches: Vec<(usize, Window)> = self.stretches().collect();
        let entities: Vec<(EntityRef, CounterSet)> = sums
            .into_iter()
            .flat_map(|Sums { kind, ids, counters }| {
                ids.into_iter().map(move |id| (EntityRef { kind, id }, counters)).collect::<Vec<_>>()
            })
            .collect();
        for (entity, _) in &entities {
            stretches.iter().for_each(|(_, stretch)| asked.ask_cells(entity, *stretch));
        }
        let days = analytics.days(asked).await?;
        for (entity, counters) in &entities {
            for (place, stretch) in &stretches {
                for (day, piece) in pieces(*stretch) {
                    let Some(found) = days.of_piece(&(entity.clone(), day), &piece) else { continue };
                    for cell in found.cells(origin) {
                        let value = found.text(cell);
                        if self.question.filter.origin(origin).is_some_and(|wanted| Some(wanted) != value) {
                            continue;
                        }
                        let Some((mut sums, crowd)) = part_of(cell, &piece, self.question.is_folded) else {
                            return Ok(None);
                        };
                        sums.keep_only(*counters);
                        let keys = self.question.by.iter().map(|_| KeyValue::text(value)).collect();
                        let addend = Addend { counters: sums, crowd: Some(&crowd), ..Addend::default() };
                        groups.add(*place, keys, &addend)?;
                    }
                }
            }
        }
        Ok(Some(days.cells.len() + days.detail.len()))
    }
}

fn starts(range: &Range<i64>, grain: Grain) -> impl Iterator<Item = i64> + use<> {
    let step = usize::try_from(grain.length_ms()).expect("a bucket's length is a small positive number");
    range.clone().step_by(step)
}

/// A cell's counters, and who stands behind them, in a piece of its day; `None` where that is not known: streams of
/// nobody are kept by day alone.
fn part_of(cell: &Cell, piece: &Piece, with_crowd: bool) -> Option<(Counters, Crowd)> {
    let (counters, mask) = match piece {
        Piece::Whole => (cell.total.counters, None),
        Piece::Cut(quarters) => (cell.within(quarters).counters, Some(mask(quarters))),
    };
    if !with_crowd {
        return Some((counters, Crowd::default()));
    }
    let people = |part: Part| -> RoaringBitmap {
        match mask {
            None => cell.people(part).iter().map(|who| who.number).collect(),
            Some(mask) => cell.people_in(part, mask).map(|who| who.number).collect(),
        }
    };
    let identified = Part::ALL.into_iter().filter(|part| *part != Part::AnonymousListener).map(people);
    let listeners = [Part::Listener, Part::AnonymousListener].into_iter().flat_map(|part| cell.people(part));
    let of_day = cell.total.counters[Counter::Streams] - listeners.map(|who| i64::from(who.times)).sum::<i64>();
    let unknown_streams = match piece {
        Piece::Whole => of_day,
        Piece::Cut(_) if of_day == 0 || counters[Counter::Streams] == 0 => 0,
        Piece::Cut(_) => return None,
    };
    let identified = identified.fold(RoaringBitmap::new(), |all, some| all | some);
    Some((counters, Crowd { identified, anonymous: people(Part::AnonymousListener), unknown_streams }))
}
