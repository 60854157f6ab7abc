//! Takes what is best out of what could be recommended, and leaves out what is not wanted.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rustc_hash::FxHashMap;

use super::{
    Failed, ReasonKind, Recommendation, Recommender,
    dismissals::Dismissed,
    history::Telling,
    neighbours::{self, Neighbour, first, rarity, share},
    popular::Popular,
};
use crate::{
    db::{DbError, queries::recommendations},
    domain::{
        catalogue::CatalogueEntry,
        entity::{EntityKind, EntityRef},
        ranking::Among,
    },
};

/// What may be taken.
#[derive(Debug, Default)]
pub struct Rules {
    /// Only what has one of these genres; anything where there are none.
    pub genres: Vec<Arc<str>>,
    pub dismissed: Dismissed,
    /// Neither these nor, of an artist or an album, what is theirs or on it.
    pub excluded: HashSet<EntityRef>,
    /// What the listener knows and does not want again.
    pub known: HashSet<EntityRef>,
    /// At most so many of one artist; of what has several, of each.
    pub per_artist_max: Option<usize>,
    /// At most so much altogether, and only what says how long it is.
    pub duration_max_ms: Option<i64>,
}

/// Which rule kept something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Excluded,
    Known,
    Dismissed,
    ArtistIsFull,
    TooLong,
    /// Nobody said how long it is.
    OfUnknownLength,
}

/// Takes one entry after the other, as the rules allow.
#[derive(Debug, Default)]
pub struct Picker {
    pub rules: Rules,
    pub duration_ms: i64,
    taken: HashSet<EntityRef>,
    refused: HashMap<EntityRef, Refusal>,
    per_artist: HashMap<Arc<str>, usize>,
}

impl Picker {
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Whether an entry is taken; it is then counted.
    pub fn takes(&mut self, entry: &CatalogueEntry) -> bool {
        let genres = &self.rules.genres;
        let is_of_genre = genres.is_empty() || entry.genres.iter().any(|genre| genres.contains(genre));
        if !is_of_genre || self.taken.contains(&entry.entity) {
            return false;
        }
        if let Some(refusal) = self.refusal(entry) {
            self.refused.insert(entry.entity.clone(), refusal);
            return false;
        }
        self.duration_ms = self.duration_ms.saturating_add(entry.duration_ms.unwrap_or(0));
        self.taken.insert(entry.entity.clone());
        owners(entry).for_each(|artist| *self.per_artist.entry(artist.clone()).or_default() += 1);
        true
    }

    fn refusal(&self, entry: &CatalogueEntry) -> Option<Refusal> {
        let rules = &self.rules;
        let is_full = |artist: &Arc<str>| {
            rules.per_artist_max.is_some_and(|most| self.per_artist.get(artist).is_some_and(|count| *count >= most))
        };
        if leads_to(entry).any(|entity| rules.excluded.contains(&entity)) {
            return Some(Refusal::Excluded);
        }
        if rules.known.contains(&entry.entity) {
            return Some(Refusal::Known);
        }
        if rules.dismissed.has(entry) {
            return Some(Refusal::Dismissed);
        }
        if owners(entry).any(is_full) {
            return Some(Refusal::ArtistIsFull);
        }
        match (rules.duration_max_ms, entry.duration_ms) {
            (Some(_), None) => Some(Refusal::OfUnknownLength),
            (Some(most), Some(length)) if self.duration_ms.saturating_add(length) > most => Some(Refusal::TooLong),
            _ => None,
        }
    }

    /// How many a rule kept out.
    pub fn refused(&self, by: Refusal) -> usize {
        self.refused.values().filter(|refusal| **refusal == by).count()
    }
}

/// The artists whose it is.
pub fn owners(entry: &CatalogueEntry) -> impl Iterator<Item = &Arc<str>> {
    entry.credits.iter().filter(|credit| credit.role.owns()).map(|credit| &credit.artist_id)
}

/// An entry itself, its album and its artists.
pub fn leads_to(entry: &CatalogueEntry) -> impl Iterator<Item = EntityRef> + '_ {
    let of = |kind| move |id: &Arc<str>| EntityRef { kind, id: id.clone() };
    let album = entry.album_id.iter().map(of(EntityKind::Album));
    std::iter::once(entry.entity.clone()).chain(album).chain(owners(entry).map(of(EntityKind::Artist)))
}

/// Something that what was taken to tells, with how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub item: u32,
    pub score: f32,
}

/// What candidates come from: what was taken to, and its neighbours.
pub struct Told {
    telling: Vec<Telling>,
    lists: FxHashMap<u32, Vec<u8>>,
    /// How many neighbours of each are looked at.
    depth: usize,
    /// Neighbours with fewer listeners in common tell nothing.
    support_min: u32,
    /// The best first; of equals the one of the lower number.
    pub candidates: Vec<Candidate>,
}

/// What is known to somebody already.
pub struct Mix<F> {
    /// Which part of what is taken it is, as far as there are enough of both; all or nothing is meant without exception.
    /// As it comes where it is left out.
    pub known_share: Option<f64>,
    pub is_known: F,
}

/// What was looked up for one answer.
#[derive(Default)]
pub struct Looked {
    entries: HashMap<u32, CatalogueEntry>,
    /// What items are named as where they tell something; themselves where they are not in it.
    stand_for: HashMap<u32, CatalogueEntry>,
    /// What told candidates.
    because: FxHashMap<u32, Vec<Because>>,
    popular: HashMap<(EntityKind, Among), Vec<CatalogueEntry>>,
}

impl Looked {
    /// Nothing yet, but what some items are named as where they tell something.
    pub fn naming(stand_for: HashMap<u32, CatalogueEntry>) -> Self {
        Self { stand_for, ..Self::default() }
    }

    /// What the catalogue says of an item, if it was asked.
    pub fn entry(&self, item: u32) -> Option<&CatalogueEntry> {
        self.entries.get(&item)
    }

    /// What an item is named as where it tells something.
    fn reason(&self, item: u32) -> Option<&CatalogueEntry> {
        self.stand_for.get(&item).or_else(|| self.entry(item))
    }
}

/// So many candidates are looked at, at most.
const CANDIDATES_MAX: usize = 3_000;
/// So many neighbours are looked at: the nearest of each of many things tell as much as all of a few.
const NEIGHBOURS_MAX: usize = 20_000;
/// So many reasons are named.
const BECAUSE_MAX: usize = 3;

/// So many candidates are looked at first, to take so many.
pub fn at_first(most: usize) -> usize {
    (2 * most).max(20)
}

impl Recommender {
    /// What some things tell, by neighbours with so many listeners in common; `discovery` goes from what many know to what
    /// few do.
    pub(super) async fn told(&self, telling: Vec<Telling>, discovery: f32, support_min: u32) -> Result<Told, DbError> {
        let items: Vec<u32> = telling.iter().map(|telling| telling.item).collect();
        let lists = recommendations::list_neighbours(self.database.reader(), &items).await?.into_iter().collect();
        let depth = NEIGHBOURS_MAX / telling.len().max(1);
        let mut told = Told { telling, lists, depth, support_min, candidates: Vec::new() };
        let mut scores: FxHashMap<u32, (f32, u32)> = FxHashMap::default();
        scores.reserve(NEIGHBOURS_MAX);
        // In their order, so that sums of fractions come out the same every time.
        for (telling, neighbour) in told.neighbours() {
            let sum = scores.entry(neighbour.item).or_insert((0.0, neighbour.listeners));
            sum.0 += share(telling.strength, neighbour.score);
        }
        let scored = scores.into_iter();
        let scored = scored.map(|(item, (score, listeners))| (item, score * rarity(discovery, listeners)));
        told.candidates = scored.map(|(item, score)| Candidate { item, score }).collect();
        first(&mut told.candidates, CANDIDATES_MAX, |one, other| {
            other.score.total_cmp(&one.score).then(one.item.cmp(&other.item))
        });
        Ok(told)
    }

    /// Takes the first candidates that the rules allow, `most` at most.
    pub(super) async fn take(
        &self,
        told: &Told,
        looked: &mut Looked,
        picker: &mut Picker,
        mix: Mix<impl Fn(u32) -> bool>,
        most: usize,
    ) -> Result<Vec<Candidate>, DbError> {
        let is_known = |candidate: &Candidate| mix.known_share.is_some() && (mix.is_known)(candidate.item);
        let (known, others) = told.candidates.iter().copied().partition(is_known);
        let (mut known, mut others) = (Queue::new(known, most), Queue::new(others, most));
        let (mut taken, mut known_count) = (Vec::with_capacity(most), 0.0);
        while taken.len() < most {
            let share = mix.known_share.unwrap_or(0.0);
            let is_known_next = known_count < (share * (taken.len() + 1) as f64).round();
            let mut next = if is_known_next { known.next() } else { others.next() };
            if next.is_none() && 0.0 < share && share < 1.0 {
                next = if is_known_next { others.next() } else { known.next() };
            }
            let Some((candidate, some)) = next else { break };
            if !some.is_empty() {
                // What tells them is named with them.
                let because = told.because(&some);
                let reasons = because.values().flatten().map(|reason| reason.item);
                let reasons = reasons.filter(|item| !looked.stand_for.contains_key(item));
                let items = some.iter().map(|candidate| candidate.item).chain(reasons).collect();
                self.look_up(looked, items).await?;
                looked.because.extend(because);
            }
            if looked.entry(candidate.item).is_some_and(|entry| picker.takes(entry)) {
                known_count += if is_known(&candidate) { 1.0 } else { 0.0 };
                taken.push(candidate);
            }
        }
        Ok(taken)
    }

    /// Looks up what the catalogue says of items, each by what it is read as.
    pub(super) async fn look_up(&self, looked: &mut Looked, items: Vec<u32>) -> Result<(), DbError> {
        let unknown: HashSet<u32> = items.into_iter().filter(|item| !looked.entries.contains_key(item)).collect();
        let entities = self.entities_of(&Vec::from_iter(unknown)).await?;
        let (items, entities): (Vec<u32>, Vec<EntityRef>) = entities.into_iter().unzip();
        looked.entries.extend(items.into_iter().zip(self.catalogue_entries(&entities).await?));
        Ok(())
    }

    /// What items are read as.
    pub(super) async fn entities_of(&self, numbers: &[u32]) -> Result<HashMap<u32, EntityRef>, DbError> {
        if numbers.is_empty() {
            return Ok(HashMap::new());
        }
        let mut items = recommendations::list_items(self.database.reader(), numbers).await?;
        items.values_mut().for_each(|entity| *entity = self.analytics.merges().canonical(entity));
        Ok(items)
    }

    /// What the catalogue says of entities, in their order.
    pub(super) async fn catalogue_entries(&self, entities: &[EntityRef]) -> Result<Vec<CatalogueEntry>, DbError> {
        let known = self.analytics.entries(entities).await?;
        let entry =
            |entity: &EntityRef| known.get(entity).cloned().unwrap_or_else(|| CatalogueEntry::bare(entity.clone()));
        Ok(entities.iter().map(entry).collect())
    }

    /// Recommends what was taken: each with what told it, unless that was dismissed, and its part of the best score.
    pub(super) fn explained(&self, looked: &Looked, picker: &Picker, taken: &[Candidate]) -> Vec<Recommendation> {
        let best = taken.iter().map(|candidate| candidate.score).fold(f32::MIN_POSITIVE, f32::max);
        let few = u32::try_from(self.analytics.shown_people_min()).unwrap_or(u32::MAX);
        let recommend = |candidate: &Candidate| {
            let because = looked.because.get(&candidate.item).map_or(&[][..], Vec::as_slice);
            let strongest = because.first();
            let is_said = strongest.is_some_and(|reason| reason.is_said);
            let mut seen = HashSet::new();
            let named = because.iter().filter_map(|reason| looked.reason(reason.item));
            let named = named.filter(|entry| !picker.rules.dismissed.has(entry));
            Some(Recommendation {
                entry: looked.entry(candidate.item)?.clone(),
                score: f64::from(candidate.score / best),
                support: strongest.map(|reason| reason.support).filter(|support| *support >= few).unwrap_or(0),
                reason: if is_said { ReasonKind::LikedSimilar } else { ReasonKind::ListenedTogether },
                because: named.filter(|entry| seen.insert(&entry.entity)).cloned().collect(),
            })
        };
        taken.iter().filter_map(recommend).collect()
    }

    /// Fills up with what is popular, as the rules allow: of each genre, in the country, then anywhere.
    pub(super) async fn fill_up(
        &self,
        popular: &Popular,
        looked: &mut Looked,
        picker: &mut Picker,
        recommended: &mut Vec<Recommendation>,
        most: usize,
    ) -> Result<(), Failed> {
        for (among, because) in popular.steps() {
            if recommended.len() >= most {
                break;
            }
            let key = (popular.of, among);
            if !looked.popular.contains_key(&key) {
                let entities = self.popular(&key).await?;
                looked.popular.insert(key.clone(), self.catalogue_entries(&entities).await?);
            }
            for entry in &looked.popular[&key] {
                if recommended.len() < most && picker.takes(entry) {
                    let reason = if because.is_some() { ReasonKind::SameGenre } else { ReasonKind::Popular };
                    let because = because.into_iter().cloned().collect();
                    recommended.push(Recommendation { entry: entry.clone(), score: 0.0, support: 0, reason, because });
                }
            }
        }
        Ok(())
    }
}

/// Candidates that are looked up in growing steps.
struct Queue {
    rest: std::vec::IntoIter<Candidate>,
    /// How many of the rest were looked up.
    looked_up: usize,
    step: usize,
}

impl Queue {
    fn new(candidates: Vec<Candidate>, most: usize) -> Self {
        Self { rest: candidates.into_iter(), looked_up: 0, step: at_first(most) }
    }

    /// The next one, with those that are to be looked up now, it among them.
    fn next(&mut self) -> Option<(Candidate, Vec<Candidate>)> {
        let mut some = Vec::new();
        if self.looked_up == 0 {
            some.extend(self.rest.as_slice().iter().take(self.step).copied());
            (self.looked_up, self.step) = (some.len(), self.step * 2);
        }
        let candidate = self.rest.next()?;
        self.looked_up -= 1;
        Some((candidate, some))
    }
}

/// What told a candidate.
struct Because {
    item: u32,
    share: f32,
    support: u32,
    is_said: bool,
}

impl Told {
    /// Each telling thing with its nearest neighbours, in their order.
    fn neighbours(&self) -> impl Iterator<Item = (&Telling, Neighbour)> {
        self.telling.iter().flat_map(|telling| {
            let list = self.lists.get(&telling.item).into_iter().flat_map(|list| neighbours::read(list));
            let list = list.filter(|neighbour| neighbour.support >= self.support_min);
            list.take(self.depth).map(move |neighbour| (telling, neighbour))
        })
    }

    /// What told each of these most, the strongest first.
    fn because(&self, candidates: &[Candidate]) -> FxHashMap<u32, Vec<Because>> {
        let mut because: FxHashMap<u32, Vec<Because>> =
            candidates.iter().map(|candidate| (candidate.item, Vec::new())).collect();
        for (Telling { item, strength, is_said }, neighbour) in self.neighbours() {
            if let Some(reasons) = because.get_mut(&neighbour.item) {
                let share = share(*strength, neighbour.score);
                reasons.push(Because { item: *item, share, support: neighbour.support, is_said: *is_said });
            }
        }
        for reasons in because.values_mut() {
            first(reasons, BECAUSE_MAX, |one, other| other.share.total_cmp(&one.share).then(one.item.cmp(&other.item)));
        }
        because
    }
}
