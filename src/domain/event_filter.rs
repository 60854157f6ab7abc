//! Which events are asked for, and who asks: what a list and a subscription of events have in common.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use super::{
    counting::{Action, action_of},
    entity::{EntityKind, EntityRef},
    event::{ERASED, Event, EventKey},
    merge::Merges,
    property::PropertyMatch,
    window::{AskedWindow, Period},
};

/// Which events are asked for: those that are as each of these says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventFilter {
    /// Any of these; `None` for all.
    pub types: Option<BTreeSet<Arc<str>>>,
    pub user_id: Option<Arc<str>>,
    /// This, or what is read as it.
    pub entity: Option<EntityRef>,
    pub during: Option<AskedStretch>,
    pub genre: Option<Arc<str>>,
    pub country: Option<Arc<str>>,
    pub properties: Vec<PropertyMatch>,
}

/// Whose events are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventScope {
    Everything,
    /// Those that are credited to one of these artists.
    Artists(BTreeSet<String>),
}

/// A stretch of time as a client asks for it, to the millisecond: single events need no buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedStretch {
    Last(i64),
    Period(Period),
    Between { from_ms: i64, to_ms: i64 },
}

impl AskedStretch {
    fn resolve(self, now_ms: i64, oldest_ms: i64) -> Range<i64> {
        match self {
            // What happens at this very moment has happened.
            Self::Last(length_ms) => now_ms - length_ms..now_ms + 1,
            Self::Between { from_ms, to_ms } => from_ms..to_ms,
            Self::Period(period) => {
                let window = AskedWindow::Period(period).resolve(now_ms, chrono_tz::Tz::UTC, oldest_ms);
                window.from_ms..window.to_ms
            }
        }
    }
}

impl EventFilter {
    /// When what is asked for may have happened.
    pub fn stretch(&self, now_ms: i64, oldest_ms: i64) -> Range<i64> {
        self.during.map_or(i64::MIN..i64::MAX, |during| during.resolve(now_ms, oldest_ms))
    }
}

/// One of the artists who ask, with every id that is read as theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnArtist {
    /// As their token has it.
    pub id: Arc<str>,
    members: Vec<Arc<str>>,
}

/// Decides about single events.
#[derive(Debug, Clone)]
pub struct EventJudge<'a> {
    pub filter: &'a EventFilter,
    pub stretch: Range<i64>,
    /// What may stand for the entity that is asked for.
    entity: Option<Named>,
    /// `None` where everything is seen.
    artists: Option<Vec<OwnArtist>>,
}

/// Any of some ids of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub kind: EntityKind,
    pub ids: Vec<Arc<str>>,
}

impl Named {
    /// Everything that is read as this entity is.
    pub fn of(entity: &EntityRef, merges: &Merges) -> Self {
        Self { kind: entity.kind, ids: merges.members(entity).into_iter().map(|member| member.id).collect() }
    }

    /// Whether an event is about one of them.
    pub fn is_in(&self, event: &Event) -> bool {
        concerned(event, self.kind).any(|id| self.ids.contains(id))
    }
}

impl<'a> EventJudge<'a> {
    pub fn new(filter: &'a EventFilter, scope: &EventScope, stretch: Range<i64>, merges: &Merges) -> Self {
        let entity = filter.entity.as_ref().map(|entity| Named::of(entity, merges));
        let own = |id: &String| OwnArtist {
            id: id.as_str().into(),
            members: Named::of(&EntityRef::new(EntityKind::Artist, id.as_str()), merges).ids,
        };
        let artists = match scope {
            EventScope::Everything => None,
            EventScope::Artists(artists) => Some(artists.iter().map(own).collect()),
        };
        Self { filter, stretch, entity, artists }
    }

    /// What an event has to name: the entity that is asked for, and one of the artists who ask.
    pub fn named(&self) -> Vec<Named> {
        let artists = self.artists.iter().map(|artists| Named {
            kind: EntityKind::Artist,
            ids: artists.iter().flat_map(|artist| artist.members.iter().cloned()).collect(),
        });
        self.entity.iter().cloned().chain(artists).collect()
    }

    /// Whether an event is one of those asked for.
    pub fn admits(&self, event: &Event) -> bool {
        let filter = self.filter;
        let is_or_all =
            |asked: &Option<Arc<str>>, found: Option<&str>| asked.as_deref().is_none_or(|asked| found == Some(asked));
        self.stretch.contains(&event.key.occurred_at_ms)
            && !event.user_id.as_deref().is_some_and(|id| id.starts_with(ERASED))
            && filter.types.as_ref().is_none_or(|types| types.contains(event.event_type.as_str()))
            && is_or_all(&filter.user_id, event.user_id.as_deref())
            && is_or_all(&filter.genre, event.genre.as_deref())
            && is_or_all(&filter.country, event.country.as_deref())
            && self.entity.as_ref().is_none_or(|entity| entity.is_in(event))
            && (self.artists.is_none() || self.owner(event).is_some())
            && filter.properties.iter().all(|asked| asked.matches(event.properties.as_deref()))
    }

    /// Whose of the artists who ask an event is: the first in order, where it is several's.
    pub fn owner(&self, event: &Event) -> Option<&Arc<str>> {
        let is_of = |artist: &&OwnArtist| concerned(event, EntityKind::Artist).any(|id| artist.members.contains(id));
        self.artists.as_ref()?.iter().find(is_of).map(|artist| &artist.id)
    }
}

/// What of a kind an event is about. Artists and a played song's album are those whom it counts for: the catalogue's
/// word when it was committed, and otherwise the event's own. Featured artists are among them.
pub fn concerned(event: &Event, kind: EntityKind) -> impl Iterator<Item = &Arc<str>> {
    let (mut one, mut many, mut featured) = (event.entity_id(kind), &[][..], &[][..]);
    if let Some(credits) = &event.credits {
        let is_play = matches!(action_of(&event.event_type), Some((Action::Play, _)));
        match kind {
            EntityKind::Artist => {
                (many, featured) = (&*credits.artists, &*credits.featured);
                one = one.filter(|_| many.is_empty());
            }
            EntityKind::Album if is_play => one = credits.album.as_ref().or(one),
            _ => {}
        }
    }
    one.into_iter().chain(many).chain(featured)
}

/// Whether every event of this type that is about something of this kind counts for it: then no quarter-hour has such
/// an event but those in which it has counters.
pub fn always_counts(event_type: &str, kind: EntityKind) -> bool {
    use EntityKind::{Album, Artist, Playlist, Song};

    match (action_of(event_type), kind) {
        (None, _) => false,
        (Some((Action::Play, _)), _) => true,
        (Some((Action::PlaylistAdd, _)), kind) => kind != Album,
        // Of several things that an order names it counts for the first: that is the song wherever one is named.
        (Some((_, None)), kind) => kind == Song,
        (Some((_, Some(Playlist))), kind) => kind == Playlist,
        (Some((_, Some(subject))), kind) => kind == subject || kind == Artist,
    }
}

impl EventKey {
    /// Before every event of this moment.
    pub fn first_at(occurred_at_ms: i64) -> Self {
        Self { occurred_at_ms, hash: [0; 16] }
    }

    /// Behind every other event of this moment.
    pub fn last_at(occurred_at_ms: i64) -> Self {
        Self { occurred_at_ms, hash: [255; 16] }
    }

    /// The next key that there can be.
    pub fn successor(self) -> Self {
        match u128::from_be_bytes(self.hash).checked_add(1) {
            Some(hash) => Self { hash: hash.to_be_bytes(), ..self },
            None => Self::first_at(self.occurred_at_ms.saturating_add(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        counting::{CountingRules, effect},
        credit::Credits,
    };

    /// Events of a type that name all, none or one of everything, with all credits that the catalogue may say.
    fn events_of(event_type: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for named in 0..16_u8 {
            for credits in 0..5 {
                let id = |bit: u8, id: &str| (named & 1 << bit != 0).then(|| Arc::from(id));
                let list = |id: &str| vec![Arc::from(id)];
                let credits = match credits {
                    0 => None,
                    1 => Some(Credits { artists: list("credited"), ..Credits::default() }),
                    2 => Some(Credits { featured: list("featured"), ..Credits::default() }),
                    3 => Some(Credits { album: Some("credited".into()), ..Credits::default() }),
                    _ => Some(Credits { artists: list("credited"), featured: list("featured"), album: None }),
                };
                events.push(Event {
                    song_id: id(0, "named"),
                    album_id: id(1, "named"),
                    playlist_id: id(2, "named"),
                    artist_id: id(3, "named"),
                    amount_minor: Some(100),
                    // A skip: it leaves no direct stream with an album that is not the song's.
                    played_ms: Some(1),
                    credits: credits.map(Arc::new),
                    ..Event::bare(event_type, 0)
                });
            }
        }
        events
    }

    #[test]
    fn what_always_counts_has_counters_wherever_it_is_named() {
        let mut kept = 0;
        for event_type in [
            "track.played",
            "track.liked",
            "track.unsaved",
            "album.shared",
            "album.saved",
            "playlist.liked",
            "playlist.track_added",
            "artist.followed",
            "order.paid",
            "order.refunded",
            "ui.clicked",
            "track.cut",
        ] {
            for kind in EntityKind::ALL {
                let has_counters = |event: &Event, id: &Arc<str>| {
                    let effect = effect(event, &CountingRules::default());
                    effect.is_some_and(|effect| {
                        effect.credited(event).any(|credited| credited.kind.public() == kind && credited.id == id)
                    })
                };
                let events = events_of(event_type);
                // The catalogue's word is stored only with what it is about.
                let is_credited =
                    |event: &&Event| event.credits.is_none() || crate::domain::counting::credited_work(event).is_some();
                let mut possible = events.iter().filter(is_credited);
                let always = possible.all(|event| concerned(event, kind).all(|id| has_counters(event, id)));
                assert!(always || !always_counts(event_type, kind), "{event_type} of {kind:?}");
                kept += usize::from(always_counts(event_type, kind));
            }
        }
        assert!(kept > 15, "only {kept} types of events can be found by counters");
    }

    #[test]
    fn the_next_key_is_the_least_that_is_greater() {
        let key = |at, hash| EventKey { occurred_at_ms: at, hash };
        let mut next = [0; 16];
        next[15] = 1;
        assert_eq!(EventKey::first_at(5).successor(), key(5, next));
        assert_eq!(EventKey::last_at(5).successor(), EventKey::first_at(6));
    }
}
