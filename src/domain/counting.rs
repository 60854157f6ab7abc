//! Which counters an event moves, and for whom. The committer and `rebuild` both ask here, so that what
//! is counted at once and what is recounted later cannot differ.

use std::{
    ops::{Index, IndexMut},
    sync::Arc,
};

use super::{entity::EntityKind, event::Event};

/// The counters of a rollup row, in column order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Counter {
    Plays,
    Streams,
    Skips,
    ListeningMs,
    /// Plays of which at least 90 % was heard.
    CompletedPlays,
    /// Plays whose heard time and song length are both known: the divisor of the completion rate.
    MeasuredPlays,
    /// Streams played from this very album; `Streams` of an album are those of its songs, wherever played.
    DirectStreams,
    Likes,
    Unlikes,
    Shares,
    Saves,
    Unsaves,
    PlaylistAdds,
    Follows,
    Unfollows,
    Purchases,
    Refunds,
    /// Whatever happened, as often as it did; of types of events and of the platform.
    Events,
}

impl Counter {
    pub const COUNT: usize = 18;

    pub const ALL: [Counter; Self::COUNT] = [
        Self::Plays,
        Self::Streams,
        Self::Skips,
        Self::ListeningMs,
        Self::CompletedPlays,
        Self::MeasuredPlays,
        Self::DirectStreams,
        Self::Likes,
        Self::Unlikes,
        Self::Shares,
        Self::Saves,
        Self::Unsaves,
        Self::PlaylistAdds,
        Self::Follows,
        Self::Unfollows,
        Self::Purchases,
        Self::Refunds,
        Self::Events,
    ];

    /// Those that a play moves; most events are plays, and their rows need no other column.
    pub const OF_PLAYS: usize = 7;

    /// The column's name in `rollup`.
    pub const fn column(self) -> &'static str {
        match self {
            Self::Plays => "plays",
            Self::Streams => "streams",
            Self::Skips => "skips",
            Self::ListeningMs => "listening_ms",
            Self::CompletedPlays => "completed_plays",
            Self::MeasuredPlays => "measured_plays",
            Self::DirectStreams => "direct_streams",
            Self::Likes => "likes",
            Self::Unlikes => "unlikes",
            Self::Shares => "shares",
            Self::Saves => "saves",
            Self::Unsaves => "unsaves",
            Self::PlaylistAdds => "playlist_adds",
            Self::Follows => "follows",
            Self::Unfollows => "unfollows",
            Self::Purchases => "purchases",
            Self::Refunds => "refunds",
            Self::Events => "events",
        }
    }
}

/// One number per [`Counter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters([i64; Counter::COUNT]);

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            // Sums stay far below 2^63 (a single event adds less than 2^53); saturating keeps a
            // hostile back-fill from wrapping into small, plausible numbers.
            *mine = mine.saturating_add(theirs);
        }
    }

    /// Sets all but these to zero.
    pub fn keep_only(&mut self, kept: super::measure::CounterSet) {
        let mut only = Self::default();
        kept.iter().for_each(|counter| only[counter] = self[counter]);
        *self = only;
    }

    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Whether only counters of plays are set.
    pub fn is_plays_only(&self) -> bool {
        self.0[Counter::OF_PLAYS..].iter().all(|count| *count == 0)
    }

    pub fn values(&self) -> &[i64; Counter::COUNT] {
        &self.0
    }
}

impl Index<Counter> for Counters {
    type Output = i64;

    fn index(&self, counter: Counter) -> &i64 {
        &self.0[counter as usize]
    }
}

impl IndexMut<Counter> for Counters {
    fn index_mut(&mut self, counter: Counter) -> &mut i64 {
        &mut self.0[counter as usize]
    }
}

/// Money that an event moved, in minor units of its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoneyCounters {
    pub gross_minor: i64,
    pub refunded_minor: i64,
    /// How many payments the gross is the sum of.
    pub payments: i64,
}

impl MoneyCounters {
    fn paid(event: &Event) -> Self {
        let payments = event.amount_minor.map_or(0, |_| event.count.unwrap_or(1));
        Self { gross_minor: event.amount_minor.unwrap_or(0), payments, ..Self::default() }
    }

    fn refunded(event: &Event) -> Self {
        Self { refunded_minor: event.amount_minor.unwrap_or(0), ..Self::default() }
    }

    pub fn add(&mut self, other: &MoneyCounters) {
        self.gross_minor = self.gross_minor.saturating_add(other.gross_minor);
        self.refunded_minor = self.refunded_minor.saturating_add(other.refunded_minor);
        self.payments = self.payments.saturating_add(other.payments);
    }
}

/// What somebody did that makes them one of an entity's people. Who did it twice is still one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Part {
    /// Streamed, signed in.
    Listener,
    /// Streamed without being signed in; numbered apart from everybody else.
    AnonymousListener,
    Liker,
    Sharer,
    Saver,
    /// Added to a playlist.
    Adder,
    /// Did what a type of event is about.
    Actor,
}

impl Part {
    pub const COUNT: usize = 7;

    pub const ALL: [Part; Self::COUNT] =
        [Self::Listener, Self::AnonymousListener, Self::Liker, Self::Sharer, Self::Saver, Self::Adder, Self::Actor];
}

/// A set of [`Part`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Parts(u8);

impl Parts {
    pub const ALL: Parts = Parts((1 << Part::COUNT) - 1);

    pub fn of(parts: &[Part]) -> Self {
        Self(parts.iter().fold(0, |set, part| set | 1 << *part as u8))
    }

    pub fn contains(self, part: Part) -> bool {
        self.0 & 1 << part as u8 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn union(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }
}

/// The parts of the definitions that an operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountingRules {
    /// Whether a song shorter than 30 s counts as a stream when it was played to its end.
    pub short_songs_count: bool,
}

/// What a well-known event type does. Any other type moves no music counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Play,
    Like,
    Unlike,
    Share,
    Save,
    Unsave,
    PlaylistAdd,
    Follow,
    Unfollow,
    Purchase,
    Refund,
}

/// What an event's type says: the action, and the kind of thing it is done to (for orders: whatever
/// the event names).
pub fn action_of(event_type: &str) -> Option<(Action, Option<EntityKind>)> {
    let (subject, verb) = event_type.split_once('.')?;
    let kind = match subject {
        "track" => Some(EntityKind::Song),
        "album" => Some(EntityKind::Album),
        "playlist" => Some(EntityKind::Playlist),
        "artist" => Some(EntityKind::Artist),
        "order" => None,
        _ => return None,
    };
    let action = match (kind, verb) {
        (Some(EntityKind::Song), "played") => Action::Play,
        (Some(EntityKind::Song | EntityKind::Album | EntityKind::Playlist), _) => match verb {
            "liked" => Action::Like,
            "unliked" => Action::Unlike,
            "shared" => Action::Share,
            "saved" => Action::Save,
            "unsaved" => Action::Unsave,
            "track_added" if kind == Some(EntityKind::Playlist) => Action::PlaylistAdd,
            _ => return None,
        },
        (Some(EntityKind::Artist), "followed") => Action::Follow,
        (Some(EntityKind::Artist), "unfollowed") => Action::Unfollow,
        (None, "paid") => Action::Purchase,
        (None, "refunded") => Action::Refund,
        _ => return None,
    };
    Some((action, kind))
}

/// What an event does, and to which kind of thing: for orders, the first that it names.
pub fn deed_of(event: &Event) -> Option<(Action, Option<EntityKind>)> {
    let (action, kind) = action_of(&event.event_type)?;
    Some((action, kind.or_else(|| EntityKind::ALL.into_iter().find(|kind| event.entity_id(*kind).is_some()))))
}

/// What one event adds to every entity it is credited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    pub counters: Counters,
    pub money: MoneyCounters,
    /// What the event's person becomes by it; nothing where it names nobody, or stands for several events.
    pub part: Option<Part>,
    is_play: bool,
    credited: [bool; 4],
}

/// Something that an event counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credited<'a> {
    pub kind: EntityKind,
    pub id: &'a Arc<str>,
    pub counters: Counters,
    /// False for an album that a song was played from though the catalogue has the song on another: it gets
    /// the direct stream and nothing else, no listener either.
    pub is_whole: bool,
}

impl Effect {
    fn credits(&self, kind: EntityKind) -> bool {
        self.credited.get(kind as usize - 1).is_some_and(|is_credited| *is_credited)
    }

    /// Whom the event counts for, each once, by what the catalogue said when it was committed and otherwise
    /// by what the event names. Every main artist gets the whole count, featured ones under their own role.
    pub fn credited<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = Credited<'a>> {
        let whole = |kind, id| Credited { kind, id, counters: self.counters, is_whole: true };
        let named = |kind| event.entity_id(kind).filter(|_| self.credits(kind));
        let credits = event.credits.as_deref().filter(|_| self.credits(EntityKind::Artist));
        let (main, featured) = credits.map_or((&[][..], &[][..]), |credits| (&*credits.artists, &*credits.featured));
        let named_artist = named(EntityKind::Artist).filter(|_| main.is_empty());
        let works =
            [EntityKind::Song, EntityKind::Playlist].into_iter().filter_map(move |kind| Some((kind, named(kind)?)));
        works
            .map(move |(kind, id)| whole(kind, id))
            .chain(self.albums(event))
            .chain(named_artist.into_iter().chain(main).map(move |id| whole(EntityKind::Artist, id)))
            .chain(featured.iter().map(move |id| whole(EntityKind::FeaturedArtist, id)))
    }

    /// The song's album has all of its plays, wherever played; the album it was played from has direct streams.
    fn albums<'a>(&self, event: &'a Event) -> impl Iterator<Item = Credited<'a>> + use<'a> {
        let named = event.album_id.as_ref().filter(|_| self.credits(EntityKind::Album));
        let credited = event.credits.as_ref().and_then(|credits| credits.album.as_ref()).filter(|_| self.is_play);
        let own = credited.or(named);
        let album = |id, counters, is_whole| Credited { kind: EntityKind::Album, id, counters, is_whole };
        let mut direct = Counters::default();
        direct[Counter::DirectStreams] = self.counters[Counter::Streams];
        let mut counters = self.counters;
        if own == named {
            counters.add(&direct);
        }
        let other = named.filter(|_| own != named && !direct.is_zero());
        own.map(|id| album(id, counters, true)).into_iter().chain(other.map(|id| album(id, direct, false)))
    }
}

/// The effect of a stored event; `None` where it moves no music counter.
///
/// A play is credited to the song, album, playlist and artist it names; a like, share, save, or order to
/// the thing itself and its artist; a playlist addition to song, playlist and artist; a follow to the artist.
/// Where the catalogue says whose a song or an album is, its word counts: [`Effect::credited`].
pub fn effect(event: &Event, rules: &CountingRules) -> Option<Effect> {
    let (action, subject) = deed_of(event)?;
    let times = event.count.unwrap_or(1);
    let mut effect = Effect::default();
    let counted = match action {
        Action::Play => {
            count_play(event, rules, times, &mut effect);
            effect.credited = [true; 4];
            effect.is_play = true;
            return Some(effect);
        }
        Action::Like => Counter::Likes,
        Action::Unlike => Counter::Unlikes,
        Action::Share => Counter::Shares,
        Action::Save => Counter::Saves,
        Action::Unsave => Counter::Unsaves,
        Action::PlaylistAdd => {
            effect.credited[EntityKind::Song as usize - 1] = true;
            Counter::PlaylistAdds
        }
        Action::Follow => Counter::Follows,
        Action::Unfollow => Counter::Unfollows,
        Action::Purchase => {
            effect.money = MoneyCounters::paid(event);
            Counter::Purchases
        }
        Action::Refund => {
            effect.money = MoneyCounters::refunded(event);
            Counter::Refunds
        }
    };
    effect.counters[counted] = times;
    effect.part = part_of(action).filter(|_| event.user_id.is_some() && event.count.is_none());
    if let Some(subject) = subject {
        effect.credited[subject as usize - 1] = true;
    }
    // A playlist is not its songs' artist's: only an addition of a song concerns both.
    if subject != Some(EntityKind::Playlist) || action == Action::PlaylistAdd {
        effect.credited[EntityKind::Artist as usize - 1] = true;
    }
    Some(effect)
}

/// What every event adds to its type, whatever that is; and its part of the platform's numbers beside [`Effect`].
pub struct Occurrence {
    pub counters: Counters,
    /// The amount that it names.
    pub money: MoneyCounters,
    /// Nothing where it names nobody, or stands for several events.
    pub part: Option<Part>,
}

impl Occurrence {
    pub fn of(event: &Event) -> Self {
        let mut counters = Counters::default();
        counters[Counter::Events] = event.count.unwrap_or(1);
        let is_refund = matches!(action_of(&event.event_type), Some((Action::Refund, _)));
        Self {
            counters,
            money: if is_refund { MoneyCounters::refunded(event) } else { MoneyCounters::paid(event) },
            part: Some(Part::Actor).filter(|_| event.user_id.is_some() && event.count.is_none()),
        }
    }
}

fn part_of(action: Action) -> Option<Part> {
    match action {
        Action::Like => Some(Part::Liker),
        Action::Share => Some(Part::Sharer),
        Action::Save => Some(Part::Saver),
        Action::PlaylistAdd => Some(Part::Adder),
        _ => None,
    }
}

/// The song or album whose credits in the catalogue say whom an event counts for.
pub fn credited_work(event: &Event) -> Option<(EntityKind, &Arc<str>)> {
    let kind = match deed_of(event)? {
        (Action::PlaylistAdd, _) => EntityKind::Song,
        (_, Some(kind @ (EntityKind::Song | EntityKind::Album))) => kind,
        _ => return None,
    };
    Some((kind, event.entity_id(kind)?))
}

fn count_play(event: &Event, rules: &CountingRules, times: i64, effect: &mut Effect) {
    const STREAM_MS: i64 = 30_000;

    let counters = &mut effect.counters;
    counters[Counter::Plays] = times;
    let to_the_end = event.played_ms.zip(event.duration_ms).is_some_and(|(played, duration)| played >= duration);
    let is_stream = match event.played_ms {
        // A report that does not say how long it was is a scrobble or a total of an older system:
        // the sender has already applied its own threshold.
        None => true,
        Some(played) if played >= STREAM_MS => true,
        Some(_) => rules.short_songs_count && to_the_end,
    };
    if is_stream {
        counters[Counter::Streams] = times;
        effect.part = match (&event.user_id, &event.anonymous_id) {
            _ if event.count.is_some() => None,
            (Some(_), _) => Some(Part::Listener),
            (None, Some(_)) => Some(Part::AnonymousListener),
            (None, None) => None,
        };
    } else if event.ended_by_user.unwrap_or(!to_the_end) {
        counters[Counter::Skips] = times;
    }
    if let Some(played) = event.played_ms {
        let heard = event.duration_ms.map_or(played, |duration| played.min(duration));
        counters[Counter::ListeningMs] = heard.saturating_mul(times);
        if let Some(duration) = event.duration_ms.filter(|duration| *duration > 0) {
            counters[Counter::MeasuredPlays] = times;
            // 90 % heard, in whole numbers.
            if heard.saturating_mul(10) >= duration.saturating_mul(9) {
                counters[Counter::CompletedPlays] = times;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(played_ms: Option<i64>, duration_ms: Option<i64>) -> Event {
        Event { played_ms, duration_ms, user_id: Some("u".into()), ..Event::bare("track.played", 0) }
    }

    #[test]
    fn plays_become_streams_and_skips_by_their_length() {
        let rules = CountingRules::default();
        for (played, duration, streams, skips, listening_ms, completed, measured) in [
            (Some(29_999), None, 0, 1, 29_999, 0, 0),
            (Some(30_000), None, 1, 0, 30_000, 0, 0),
            (None, None, 1, 0, 0, 0, 0),
            (None, Some(180_000), 1, 0, 0, 0, 0),
            (Some(0), Some(180_000), 0, 1, 0, 0, 1),
            (Some(161_999), Some(180_000), 1, 0, 161_999, 0, 1),
            (Some(162_000), Some(180_000), 1, 0, 162_000, 1, 1),
            (Some(999_000), Some(180_000), 1, 0, 180_000, 1, 1),
            // A short song played to its end is neither a stream nor a skip.
            (Some(20_000), Some(20_000), 0, 0, 20_000, 1, 1),
        ] {
            let counters = effect(&play(played, duration), &rules).unwrap().counters;
            let of = |counter| counters[counter];
            assert_eq!(
                [
                    of(Counter::Plays),
                    of(Counter::Streams),
                    of(Counter::Skips),
                    of(Counter::ListeningMs),
                    of(Counter::CompletedPlays),
                    of(Counter::MeasuredPlays)
                ],
                [1, streams, skips, listening_ms, completed, measured],
                "{played:?} of {duration:?}"
            );
        }
    }

    #[test]
    fn short_songs_count_only_where_enabled_and_heard_to_the_end() {
        let rules = CountingRules { short_songs_count: true };
        let streams = |played, duration| effect(&play(played, duration), &rules).unwrap().counters[Counter::Streams];
        assert_eq!(streams(Some(20_000), Some(20_000)), 1);
        assert_eq!(streams(Some(19_999), Some(20_000)), 0);
        assert_eq!(streams(Some(19_999), None), 0);
    }

    #[test]
    fn a_count_multiplies_counters_and_never_adds_a_listener() {
        let event = Event { count: Some(7), ..play(Some(60_000), None) };
        let effect = effect(&event, &CountingRules::default()).unwrap();
        assert_eq!(effect.counters[Counter::Streams], 7);
        assert_eq!(effect.counters[Counter::ListeningMs], 420_000);
        assert_eq!(effect.part, None);
    }

    #[test]
    fn every_well_known_type_moves_its_counter_and_credits_its_entities() {
        use EntityKind::*;
        for (event_type, counter, credited) in [
            ("track.liked", Counter::Likes, vec![Song, Artist]),
            ("track.unliked", Counter::Unlikes, vec![Song, Artist]),
            ("track.shared", Counter::Shares, vec![Song, Artist]),
            ("track.saved", Counter::Saves, vec![Song, Artist]),
            ("track.unsaved", Counter::Unsaves, vec![Song, Artist]),
            ("album.liked", Counter::Likes, vec![Album, Artist]),
            ("album.saved", Counter::Saves, vec![Album, Artist]),
            ("playlist.liked", Counter::Likes, vec![Playlist]),
            ("playlist.saved", Counter::Saves, vec![Playlist]),
            ("playlist.track_added", Counter::PlaylistAdds, vec![Song, Playlist, Artist]),
            ("artist.followed", Counter::Follows, vec![Artist]),
            ("artist.unfollowed", Counter::Unfollows, vec![Artist]),
            ("order.paid", Counter::Purchases, vec![Song, Artist]),
            ("order.refunded", Counter::Refunds, vec![Song, Artist]),
            ("track.played", Counter::Plays, vec![Song, Album, Playlist, Artist]),
        ] {
            let event = Event { song_id: Some("s".into()), ..Event::bare(event_type, 0) };
            let effect = effect(&event, &CountingRules::default()).unwrap();
            assert_eq!(effect.counters[counter], 1, "{event_type}");
            let kinds: Vec<_> = EntityKind::ALL.into_iter().filter(|kind| effect.credits(*kind)).collect();
            assert_eq!(kinds, credited, "{event_type}");
        }
        for custom in ["track.hummed", "ui.clicked", "nodot", "user.logged_in", "sale.completed", "artist.liked"] {
            assert!(effect(&Event::bare(custom, 0), &CountingRules::default()).is_none(), "{custom}");
        }
    }

    #[test]
    fn the_catalogues_word_decides_whom_an_event_counts_for() {
        use EntityKind::*;
        let id = |id: &str| Some(Arc::from(id));
        let credits = |artists: &[&str], featured: &[&str], album: Option<&str>| {
            let ids = |ids: &[&str]| ids.iter().map(|id| Arc::from(*id)).collect();
            let album = album.map(Arc::from);
            Some(Arc::new(crate::domain::credit::Credits { artists: ids(artists), featured: ids(featured), album }))
        };
        let told = credits(&["x", "y"], &["z"], Some("own"));
        for (event_type, credits, expected) in [
            (
                "track.played",
                None,
                vec![(Song, "s", 1, 0), (Playlist, "p", 1, 0), (Album, "named", 1, 1), (Artist, "a", 1, 0)],
            ),
            (
                "track.played",
                told.clone(),
                vec![
                    (Song, "s", 1, 0),
                    (Playlist, "p", 1, 0),
                    (Album, "own", 1, 0),
                    (Album, "named", 0, 1),
                    (Artist, "x", 1, 0),
                    (Artist, "y", 1, 0),
                    (FeaturedArtist, "z", 1, 0),
                ],
            ),
            // The catalogue knows the album only: it was played from there.
            (
                "track.played",
                credits(&[], &[], Some("named")),
                vec![(Song, "s", 1, 0), (Playlist, "p", 1, 0), (Album, "named", 1, 1), (Artist, "a", 1, 0)],
            ),
            (
                "track.liked",
                told.clone(),
                vec![(Song, "s", 0, 0), (Artist, "x", 0, 0), (Artist, "y", 0, 0), (FeaturedArtist, "z", 0, 0)],
            ),
            ("playlist.liked", None, vec![(Playlist, "p", 0, 0)]),
            ("artist.followed", None, vec![(Artist, "a", 0, 0)]),
        ] {
            let event = Event {
                song_id: id("s"),
                album_id: id("named"),
                playlist_id: id("p"),
                artist_id: id("a"),
                credits,
                ..Event::bare(event_type, 0)
            };
            let effect = effect(&event, &CountingRules::default()).unwrap();
            let streams = |counters: &Counters| (counters[Counter::Streams], counters[Counter::DirectStreams]);
            let found: Vec<_> = effect
                .credited(&event)
                .map(|one| (one.kind, &**one.id, streams(&one.counters).0, streams(&one.counters).1))
                .collect();
            assert_eq!(found, expected, "{event_type}");
        }
    }
}
