//! What one user did: how much, when, and what of.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use chrono::{Duration, NaiveDate, Timelike};
use chrono_tz::Tz;
use roaring::RoaringBitmap;

use super::{
    Analytics,
    trails::{EVER, Walk},
};
use crate::{
    audience::trail::Step,
    db::{
        DbError,
        queries::{
            events,
            listeners::{self, People},
        },
    },
    domain::{
        counting::{Counter, effect},
        entity::{EntityKind, EntityRef},
        event::Event,
        window::{Window, local},
    },
};

pub(super) const PLAYED: &str = "track.played";

/// Somebody with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownUser {
    pub id: Arc<str>,
    pub number: u32,
}

impl KnownUser {
    pub fn set(&self) -> RoaringBitmap {
        std::iter::once(self.number).collect()
    }
}

/// When a user streamed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamTimes {
    pub streams: u64,
    /// By hour of the local day.
    pub by_hour: [u64; 24],
}

/// What a user streamed: each with its streams, the most first, then by id or name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tastes {
    pub listening_ms: i64,
    pub songs: Vec<(EntityRef, u64)>,
    pub artists: Vec<(EntityRef, u64)>,
    /// `None` where the events did not say.
    pub genres: Vec<(Option<String>, u64)>,
}

impl Analytics {
    /// The user of an id, if any event named them.
    pub async fn find_user(&self, id: &str) -> Result<Option<KnownUser>, DbError> {
        let found = listeners::list_numbers(self.database.reader(), People::Identified, &[id]).await?;
        Ok(found.into_iter().next().map(|(id, number)| KnownUser { id: id.into(), number }))
    }

    /// Shows everything that happened in a stretch and names a user, in order, also what stands for several.
    ///
    /// Source: the user's trail. What other processes have committed is known once it is followed.
    pub async fn trail_of(
        &self,
        user: &KnownUser,
        during: Range<i64>,
        mut see: impl FnMut(&Step),
    ) -> Result<(), DbError> {
        let walk = Walk { during, event_types: None, users: Some(user.set()), with_several: true };
        self.walk(&walk, |steps, _| steps.iter().for_each(&mut see)).await
    }

    /// When anything ever happened that names a user; each moment once.
    pub async fn moments_of(&self, user: &KnownUser) -> Result<Vec<i64>, DbError> {
        let mut moments = Vec::new();
        self.trail_of(user, EVER, |step| moments.push(step.at_ms)).await?;
        moments.dedup();
        Ok(moments)
    }

    /// How much a user streamed, and at which hours. Source: the user's trail.
    pub async fn stream_times(&self, user: &KnownUser, window: Window, zone: Tz) -> Result<StreamTimes, DbError> {
        let mut times = StreamTimes::default();
        self.walk(&plays_of(user, window), |steps, _| {
            for step in steps.iter().filter(|step| step.is_stream) {
                times.streams += 1;
                times.by_hour[local(step.at_ms, zone).hour() as usize] += 1;
            }
        })
        .await?;
        Ok(times)
    }

    /// On how many days in a row, up to the one before `to_ms`, a user streamed. If that day has not ended yet, it may
    /// still be without a stream. Source: the user's trail.
    pub async fn streak_days(&self, user: &KnownUser, to_ms: i64, zone: Tz) -> Result<u32, DbError> {
        let mut days: Vec<NaiveDate> = Vec::new();
        self.walk(&plays_of(user, Window { from_ms: EVER.start, to_ms }), |steps, _| {
            days.extend(steps.iter().filter(|step| step.is_stream).map(|step| local(step.at_ms, zone).date()));
        })
        .await?;
        days.dedup();
        let mut last = local(to_ms - 1, zone).date();
        if to_ms > self.now_ms() && days.last() != Some(&last) {
            last -= Duration::days(1);
        }
        let in_a_row = days.iter().rev().zip(0..).take_while(|(day, back)| **day == last - Duration::days(*back));
        Ok(u32::try_from(in_a_row.count()).unwrap_or(u32::MAX))
    }

    /// What a user streamed, and for how long they listened. Source: the user's events, found by their trail.
    pub async fn tastes(&self, user: &KnownUser, window: Window) -> Result<Tastes, DbError> {
        let mut tastes = Tastes::default();
        let (mut songs, mut artists) = (HashMap::new(), HashMap::new());
        let mut genres: HashMap<Option<String>, u64> = HashMap::new();
        for event in self.plays(user, window).await? {
            let Some(effect) = effect(&event, &self.counting) else { continue };
            tastes.listening_ms += effect.counters[Counter::ListeningMs];
            if effect.counters[Counter::Streams] == 0 {
                continue;
            }
            let one = |kind, id: &Arc<str>| self.merges.canonical(&EntityRef { kind, id: id.clone() });
            event.song_id.iter().for_each(|id| *songs.entry(one(EntityKind::Song, id)).or_default() += 1);
            let credited = effect.credited(&event).filter(|credited| credited.kind == EntityKind::Artist);
            // Two that are merged are one.
            let credited: BTreeSet<EntityRef> = credited.map(|credited| one(EntityKind::Artist, credited.id)).collect();
            credited.into_iter().for_each(|artist| *artists.entry(artist).or_default() += 1);
            *genres.entry(event.genre).or_default() += 1;
        }
        tastes.songs = ranked(songs);
        tastes.artists = ranked(artists);
        tastes.genres = ranked(genres);
        Ok(tastes)
    }

    /// A user's plays.
    async fn plays(&self, user: &KnownUser, window: Window) -> Result<Vec<Event>, DbError> {
        let mut moments = Vec::new();
        self.walk(&plays_of(user, window), |steps, _| moments.extend(steps.iter().map(|step| step.at_ms))).await?;
        moments.dedup();
        let mut events = events::list_of_user(self.database.reader(), &user.id, &moments).await?;
        // Others may have happened at the same moments.
        events.retain(|event| event.event_type == PLAYED && event.count.is_none());
        Ok(events)
    }
}

fn ranked<K: Ord>(counts: HashMap<K, u64>) -> Vec<(K, u64)> {
    let mut list: Vec<(K, u64)> = counts.into_iter().collect();
    list.sort_unstable_by(|(one, streams), (next, next_streams)| next_streams.cmp(streams).then_with(|| one.cmp(next)));
    list
}

fn plays_of(user: &KnownUser, window: Window) -> Walk {
    let event_types = Some(vec![PLAYED.to_owned()]);
    Walk { during: window.from_ms..window.to_ms, event_types, users: Some(user.set()), with_several: false }
}
