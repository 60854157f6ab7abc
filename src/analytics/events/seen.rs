//! Events as who asks sees them: admins as they are; artists without people, and without what few people share.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::EventQuestion;
use crate::{
    analytics::{Analytics, OriginsQuestion},
    db::DbError,
    domain::{
        counting::Parts,
        entity::{EntityKind, EntityRef},
        event::{Event, EventKey},
        event_filter::{EventFilter, EventJudge, EventScope},
        folding::Foldable,
        origin::Dimension,
        pseudonym::{Pseudonyms, Purpose},
        window::{DAY_MS, Window},
    },
};

/// An event as somebody sees it: what they may not see is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenEvent {
    pub event: Event,
    /// Whether it is shown as it was sent.
    pub is_whole: bool,
    /// What stands for its person, where they are not shown.
    pub pseudonym: Option<String>,
}

/// Over so many days at most it is looked whether enough people share something.
const PEOPLE_DAYS: i64 = 28;

/// How somebody sees events over some time.
#[derive(Debug, Clone)]
pub struct Viewing {
    /// Of each artist who asks, what enough of their people share; `None` for who sees everything.
    shown: Option<HashMap<Arc<str>, Shown>>,
}

/// Countries, sources and devices that may be told, by [`Dimension`].
type Shown = [HashSet<Arc<str>>; Dimension::ALL.len()];

impl Analytics {
    /// What is shown to who asks, of the time that they ask about.
    pub async fn viewing(&self, question: &EventQuestion) -> Result<Viewing, Arc<DbError>> {
        let EventScope::Artists(artists) = &question.scope else { return Ok(Viewing { shown: None }) };
        let window = self.people_window(&question.filter);
        let mut questions = Vec::new();
        for artist in artists {
            for kind in [EntityKind::Artist, EntityKind::FeaturedArtist] {
                let entity = EntityRef::new(kind, artist.as_str());
                let ask = |by| OriginsQuestion { entity: entity.clone(), by, window, people: Parts::ALL };
                questions.extend(Dimension::ALL.map(ask));
            }
        }
        let answers = self.origins(&questions).await?;
        let mut shown: HashMap<Arc<str>, Shown> = HashMap::new();
        for artist in artists {
            shown.entry(artist.as_str().into()).or_default();
        }
        for (question, numbers) in answers {
            // One by one, and not as in a breakdown: what is left out of an event is no number to subtract from.
            let told = numbers.into_iter().filter(|origin| origin.people() >= self.shown_people_min());
            let told = told.filter_map(|origin| origin.value);
            shown.entry(question.entity.id).or_default()[question.by as usize].extend(told);
        }
        Ok(Viewing { shown: Some(shown) })
    }

    /// The last days of what is asked about, up to now.
    fn people_window(&self, filter: &EventFilter) -> Window {
        let now_ms = self.now_ms();
        let stretch = filter.stretch(now_ms, self.watermark.oldest_ms().unwrap_or(now_ms));
        let to_ms = stretch.end.min(now_ms + 1);
        let from_ms = stretch.start.max(to_ms - PEOPLE_DAYS * DAY_MS).min(to_ms);
        Window::snapped_outward(from_ms, to_ms)
    }
}

impl Viewing {
    /// Events that a judge admitted, as they are seen, in their order, with their keys. Who filters by what they do not
    /// see of an event does not see the event.
    pub async fn see(
        &self,
        analytics: &Analytics,
        judge: &EventJudge<'_>,
        events: Vec<Event>,
    ) -> Result<Vec<(EventKey, SeenEvent)>, DbError> {
        let Some(shown) = &self.shown else {
            let whole = |event: Event| (event.key, SeenEvent { event, is_whole: true, pseudonym: None });
            return Ok(events.into_iter().map(whole).collect());
        };
        let genres = genres_of(analytics, &events).await?;
        let mask = Mask { genres: &genres, pseudonyms: analytics.pseudonyms().await? };
        let filter = judge.filter;
        let seen = events.into_iter().filter_map(|event| {
            let (key, artist) = (event.key, judge.owner(&event)?);
            let seen = mask.of(artist, shown.get(artist)?, event);
            let is_told = |asked: &Option<Arc<str>>, told: &Option<String>| asked.is_none() || told.is_some();
            let is_seen = is_told(&filter.country, &seen.event.country) && is_told(&filter.genre, &seen.event.genre);
            is_seen.then_some((key, seen))
        });
        Ok(seen.collect())
    }
}

/// Takes from an event what an artist does not see.
struct Mask<'a> {
    genres: &'a HashMap<EntityRef, Vec<Arc<str>>>,
    pseudonyms: &'a Pseudonyms,
}

impl Mask<'_> {
    fn of(&self, artist: &str, shown: &Shown, event: Event) -> SeenEvent {
        let name = |purpose, id: &[u8]| self.pseudonyms.of(artist, purpose, id);
        let person = match (&event.user_id, &event.anonymous_id) {
            (Some(id), _) => Some(name(Purpose::User, id.as_bytes())),
            (None, Some(id)) => Some(name(Purpose::AnonymousUser, id.as_bytes())),
            (None, None) => None,
        };
        let is_shown = |by: Dimension, value: &String| shown[by as usize].contains(&**value);
        let known = work_of(&event).and_then(|work| self.genres.get(&work));
        let is_known = |genre: &String| known.is_some_and(|genres| genres.iter().any(|known| **known == **genre));
        let mut id = event.key.occurred_at_ms.to_be_bytes().to_vec();
        id.extend(event.key.hash);
        let event = Event {
            key: EventKey::first_at(event.key.occurred_at_ms),
            content_hash: 0,
            source: "".into(),
            event_id: name(Purpose::Event, &id),
            user_id: None,
            anonymous_id: None,
            properties: None,
            country: event.country.filter(|value| is_shown(Dimension::Country, value)),
            listening_source: event.listening_source.filter(|value| is_shown(Dimension::Source, value)),
            device: event.device.filter(|value| is_shown(Dimension::Device, value)),
            genre: event.genre.filter(is_known),
            ..event
        };
        SeenEvent { event, is_whole: false, pseudonym: person }
    }
}

/// The genres that the catalogue shows of what events are about, of those that name one: nothing else of a genre is
/// told to artists, since a sender may have put anything there.
async fn genres_of(analytics: &Analytics, events: &[Event]) -> Result<HashMap<EntityRef, Vec<Arc<str>>>, DbError> {
    let works: BTreeSet<EntityRef> = events.iter().filter(|event| event.genre.is_some()).filter_map(work_of).collect();
    if works.is_empty() {
        return Ok(HashMap::new());
    }
    let entries = analytics.entries(&works.into_iter().collect::<Vec<_>>()).await?;
    Ok(entries.into_iter().map(|(work, entry)| (work, entry.genres)).collect())
}

/// The song of an event, or its album.
fn work_of(event: &Event) -> Option<EntityRef> {
    let kinds = [EntityKind::Song, EntityKind::Album];
    kinds.into_iter().find_map(|kind| Some(EntityRef { kind, id: event.entity_id(kind)?.clone() }))
}
