//! What an event was done to, as far as that tells a person's taste.

use std::sync::Arc;

use super::{
    counting::{Action, Counter, Effect, deed_of},
    entity::{EntityKind, EntityRef},
    event::Event,
};

/// How a play was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Heard {
    /// It was no play, or is not known to be a stream or a skip.
    #[default]
    Unknown,
    Streamed,
    /// To its end, or nearly so.
    Completed,
    Skipped,
}

impl Heard {
    pub const ALL: [Heard; 4] = [Self::Unknown, Self::Streamed, Self::Completed, Self::Skipped];
}

/// What a well-known event was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Of a play the song, or else the album, or else the artist; of an addition to a playlist the song.
    pub entity: Option<(EntityKind, &'a Arc<str>)>,
    /// The playlist that it was played from, or that something was added to.
    pub playlist: Option<&'a Arc<str>>,
    pub heard: Heard,
    pub times: u32,
}

/// The object of an event with this effect; nothing where it names none.
pub fn object_of<'a>(event: &'a Event, effect: &Effect) -> Option<Object<'a>> {
    let (action, kind) = deed_of(event)?;
    let named = |kind| Some((kind, event.entity_id(kind)?));
    let (entity, playlist) = match action {
        Action::Play => {
            let works = [EntityKind::Song, EntityKind::Album, EntityKind::Artist];
            (works.into_iter().find_map(named), event.playlist_id.as_ref())
        }
        Action::PlaylistAdd => (named(EntityKind::Song), event.playlist_id.as_ref()),
        _ => (kind.and_then(named), None),
    };
    let counted = |counter| effect.counters[counter] > 0;
    let heard = match action {
        Action::Play if counted(Counter::CompletedPlays) => Heard::Completed,
        Action::Play if counted(Counter::Streams) => Heard::Streamed,
        Action::Play if counted(Counter::Skips) => Heard::Skipped,
        _ => Heard::Unknown,
    };
    let times = u32::try_from(event.count.unwrap_or(1)).unwrap_or(u32::MAX);
    (entity.is_some() || playlist.is_some()).then_some(Object { entity, playlist, heard, times })
}

/// An entity as one text: its kind's digit, then its id.
pub fn write_name(kind: EntityKind, id: &str, name: &mut String) {
    name.clear();
    name.push(char::from(b'0' + kind.code() as u8));
    name.push_str(id);
}

/// What [`write_name`] wrote.
pub fn read_name(name: &str) -> Option<EntityRef> {
    let kind = name.bytes().next()?.checked_sub(b'0')?;
    Some(EntityRef::new(EntityKind::from_code(i16::from(kind))?, &name[1..]))
}
