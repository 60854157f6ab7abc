//! The last hour in memory: for each entity the plays of each minute, and when each listener last played.
//!
//! A million active listeners start a play every three minutes: 1.7 million in five minutes, credited to
//! four entities and the platform: some 7 million pairs of entity and listener, of 9 bytes in tables that
//! are at least half as full as they may be: 70 to 140 MB. They play 20 million times an hour; with half a
//! million active entities that are some 10 million pairs of entity and minute, of 8 bytes in lists that are
//! at least half full: 80 to 160 MB. The entities themselves are some 250 bytes each: 125 MB. The test that
//! makes a million listen counts 315 MiB. [`BYTES_MAX`] is above all of these sums; whoever brings more makes
//! the memory forget its oldest, and the numbers say so.

use std::{
    collections::BTreeMap,
    hash::BuildHasher,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
};

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::domain::{
    entity::EntityRef,
    realtime::{LISTENERS_NOW_S, MINUTE_S, MINUTES, Play, PlaysOf, RealtimeNumbers, minute_of},
};

/// What all of it may take.
const BYTES_MAX: usize = 512 << 20;
/// After too much came, so many eighths stay, so that not every commit makes room.
const EIGHTHS_AFTER_FORGETTING: usize = 7;
/// Parts that are locked one by one, so that sweeping holds nobody up: a few milliseconds each.
pub const PARTS: usize = 64;
/// Listeners by clocks that are ahead of ours, 64 bytes each: 64 MB. Further ones are left out, and it is said.
const AHEAD_MAX: usize = 1_000_000;
/// Nobody's clock is ahead by more (`FUTURE_TOLERANCE` is minutes); so minutes are told apart by 16 bits.
const AHEAD_S_MAX: i64 = 86_400;

/// The plays of one minute in 8 bytes: the minute's last 16 bits, which repeat after 45 days, and 48 bits
/// of plays; 281 trillion in a minute stand for more.
#[derive(Debug, Clone, Copy)]
struct MinutePlays(u64);

impl MinutePlays {
    const PLAYS_MAX: u64 = (1 << 48) - 1;

    fn new(minute: i64, plays: u64) -> Self {
        Self(u64::from(minute as u16) << 48 | plays.min(Self::PLAYS_MAX))
    }

    fn is_of(self, minute: i64) -> bool {
        self.0 >> 48 == u64::from(minute as u16)
    }

    fn plays(self) -> u64 {
        self.0 & Self::PLAYS_MAX
    }

    /// How many minutes it lies before `minute`; negative where it lies ahead.
    fn age(self, minute: i64) -> i16 {
        (minute as u16).wrapping_sub((self.0 >> 48) as u16) as i16
    }
}

/// One entity's last hour. What is too old may still be there until it is swept out.
#[derive(Debug, Default)]
struct Recent {
    /// In no order; most are added to the newest, which tends to be the last.
    minutes: Vec<MinutePlays>,
    /// By listener, the second of their last play.
    listeners: FxHashMap<u32, u32>,
}

impl Recent {
    fn add_plays(&mut self, minute: i64, times: i64) {
        let times = u64::try_from(times).unwrap_or(0);
        match self.minutes.iter_mut().rev().find(|plays| plays.is_of(minute)) {
            Some(plays) => *plays = MinutePlays::new(minute, plays.plays().saturating_add(times)),
            None => self.minutes.push(MinutePlays::new(minute, times)),
        }
    }

    fn add_listener(&mut self, listener: u32, at_s: i64) {
        let Ok(at_s) = u32::try_from(at_s) else { return };
        let last = self.listeners.entry(listener).or_insert(at_s);
        *last = at_s.max(*last);
    }

    fn listeners_now(&self, now_s: i64) -> u64 {
        let is_now = |at_s: &&u32| (0..LISTENERS_NOW_S).contains(&(now_s - i64::from(**at_s)));
        self.listeners.values().filter(is_now).count() as u64
    }

    fn plays_per_minute(&self, now_s: i64) -> Vec<u64> {
        let mut plays_per_minute = vec![0; MINUTES];
        for plays in &self.minutes {
            let age = usize::try_from(plays.age(minute_of(now_s))).ok().filter(|age| *age < MINUTES);
            if let Some(age) = age {
                plays_per_minute[MINUTES - 1 - age] = plays.plays();
            }
        }
        plays_per_minute
    }

    /// Keeps so many seconds' listeners and so many minutes' plays; gives back what they do not need.
    fn sweep(&mut self, now_s: i64, keep: Keep) {
        self.listeners.retain(|_, at_s| now_s - i64::from(*at_s) < keep.listeners_s);
        if self.listeners.capacity() > 4 * self.listeners.len() {
            self.listeners.shrink_to_fit();
        }
        let minutes = i16::try_from(keep.minutes).unwrap_or(i16::MAX);
        self.minutes.retain(|plays| plays.age(minute_of(now_s)) < minutes);
        if self.minutes.capacity() > 2 * self.minutes.len() {
            self.minutes.shrink_to_fit();
        }
    }

    fn is_empty(&self) -> bool {
        self.minutes.is_empty() && self.listeners.is_empty()
    }

    /// What its list and its table take.
    fn size_bytes(&self) -> usize {
        // A table of a power of two of places, at most seven eighths full, with a byte beside each.
        let places = match self.listeners.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two(),
        };
        self.minutes.capacity() * size_of::<MinutePlays>() + places * (size_of::<(u32, u32)>() + 1)
    }
}

/// What an entity takes beside its list and its table: its place in a table that may be half full, and its id.
fn entity_bytes(entity: &EntityRef) -> usize {
    2 * size_of::<(EntityRef, Recent)>() + 16 + entity.id.len()
}

/// How much a sweep leaves.
#[derive(Debug, Clone, Copy)]
struct Keep {
    listeners_s: i64,
    minutes: usize,
}

impl Keep {
    const ALL: Keep = Keep { listeners_s: LISTENERS_NOW_S, minutes: MINUTES };

    /// Less and less: first of who listened, then of the minutes.
    const LESS: [Keep; 9] = {
        const fn keep(listeners_minutes: i64, minutes: usize) -> Keep {
            Keep { listeners_s: listeners_minutes * MINUTE_S, minutes }
        }
        [
            keep(4, 60),
            keep(3, 60),
            keep(2, 60),
            keep(1, 60),
            keep(0, 60),
            keep(0, 45),
            keep(0, 30),
            keep(0, 15),
            keep(0, 0),
        ]
    };

    /// Until when numbers miss what is swept out at `now_s`.
    fn missed_until_s(self, now_s: i64) -> i64 {
        let listeners = LISTENERS_NOW_S - self.listeners_s;
        let minutes = (MINUTES - self.minutes) as i64 * MINUTE_S;
        now_s + listeners.max(minutes)
    }
}

type Part = FxHashMap<EntityRef, Recent>;

/// By second, who will have played what in it; `None` is the platform.
type Ahead = BTreeMap<i64, Vec<(Option<EntityRef>, u32)>>;

/// Plays of the last hour and listeners of the last five minutes, of every entity and of the platform.
pub struct Memory {
    platform: Mutex<Recent>,
    parts: [Mutex<Part>; PARTS],
    /// Listeners whose second has not come, by it.
    ahead: Mutex<Ahead>,
    ahead_count: AtomicUsize,
    size_bytes: AtomicUsize,
    bytes_max: usize,
    /// Until when numbers miss what was forgotten or left out.
    missed_until_s: AtomicI64,
    /// Whether everything stored before this memory began has been read into it.
    pub is_recovered: AtomicBool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            platform: Mutex::default(),
            parts: std::array::from_fn(|_| Mutex::default()),
            ahead: Mutex::default(),
            ahead_count: AtomicUsize::new(0),
            size_bytes: AtomicUsize::new(0),
            bytes_max: BYTES_MAX,
            missed_until_s: AtomicI64::new(i64::MIN),
            is_recovered: AtomicBool::new(false),
        }
    }
}

impl Memory {
    /// Takes in what a commit brought; what is too old by now is left out.
    pub fn add(&self, plays: &[PlaysOf], now_s: i64) {
        for of in plays {
            self.change(of.entity.as_ref(), |recent| {
                for play in &of.plays {
                    self.add_play(recent, of.entity.as_ref(), play, now_s);
                }
            });
        }
        if self.size_bytes() > self.bytes_max {
            self.make_room(now_s);
        }
    }

    fn add_play(&self, recent: &mut Recent, entity: Option<&EntityRef>, play: &Play, now_s: i64) {
        let minute = minute_of(play.at_s);
        if minute <= minute_of(now_s) - MINUTES as i64 || play.at_s > now_s + AHEAD_S_MAX {
            return;
        }
        recent.add_plays(minute, play.times);
        match play.listener {
            Some(listener) if play.at_s > now_s => self.add_ahead(entity, listener, play.at_s),
            Some(listener) if play.at_s > now_s - LISTENERS_NOW_S => recent.add_listener(listener, play.at_s),
            _ => {}
        }
    }

    fn add_ahead(&self, entity: Option<&EntityRef>, listener: u32, at_s: i64) {
        if self.ahead_count.fetch_add(1, Ordering::Relaxed) >= AHEAD_MAX {
            self.ahead_count.fetch_sub(1, Ordering::Relaxed);
            self.missed_until_s.fetch_max(at_s + LISTENERS_NOW_S, Ordering::Relaxed);
            return;
        }
        lock(&self.ahead).entry(at_s).or_default().push((entity.cloned(), listener));
    }

    /// Lets those listen whose second has come.
    fn settle(&self, now_s: i64) {
        if self.ahead_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let due = {
            let mut ahead = lock(&self.ahead);
            let later = ahead.split_off(&(now_s + 1));
            std::mem::replace(&mut *ahead, later)
        };
        for (at_s, listeners) in due {
            self.ahead_count.fetch_sub(listeners.len(), Ordering::Relaxed);
            for (entity, listener) in listeners {
                self.change(entity.as_ref(), |recent| recent.add_listener(listener, at_s));
            }
        }
    }

    /// The present state of an entity, or of the platform.
    pub fn read(&self, of: Option<&EntityRef>, now_s: i64) -> RealtimeNumbers {
        self.settle(now_s);
        let numbers = |recent: &Recent| (recent.listeners_now(now_s), recent.plays_per_minute(now_s));
        let (listeners_now, plays_per_minute) = match of {
            None => numbers(&lock(&self.platform)),
            Some(entity) => lock(self.part(entity)).get(entity).map_or_else(|| (0, vec![0; MINUTES]), numbers),
        };
        let is_complete =
            self.is_recovered.load(Ordering::Acquire) && self.missed_until_s.load(Ordering::Relaxed) <= now_s;
        RealtimeNumbers { listeners_now, plays_per_minute, is_complete }
    }

    /// Sweeps what is too old out of one of [`PARTS`] parts.
    pub fn sweep_part(&self, part: usize, now_s: i64) {
        self.settle(now_s);
        self.sweep(part, now_s, Keep::ALL);
        if part == 0 {
            self.sweep_platform(now_s, Keep::ALL);
        }
    }

    /// What the memory takes, by its own account.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// Forgets the oldest until the rest is small enough.
    fn make_room(&self, now_s: i64) {
        for keep in [Keep::ALL].into_iter().chain(Keep::LESS) {
            self.sweep_platform(now_s, keep);
            (0..PARTS).for_each(|part| self.sweep(part, now_s, keep));
            self.missed_until_s.fetch_max(keep.missed_until_s(now_s), Ordering::Relaxed);
            if self.size_bytes() <= self.bytes_max / 8 * EIGHTHS_AFTER_FORGETTING {
                return;
            }
        }
    }

    fn sweep(&self, part: usize, now_s: i64, keep: Keep) {
        let mut part = lock(&self.parts[part]);
        let mut freed = 0;
        part.retain(|entity, recent| {
            let before = recent.size_bytes();
            recent.sweep(now_s, keep);
            freed += before - recent.size_bytes();
            if recent.is_empty() {
                freed += entity_bytes(entity);
            }
            !recent.is_empty()
        });
        if part.capacity() > 4 * part.len() {
            part.shrink_to_fit();
        }
        self.size_bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    fn sweep_platform(&self, now_s: i64, keep: Keep) {
        let mut platform = lock(&self.platform);
        let before = platform.size_bytes();
        platform.sweep(now_s, keep);
        self.size_bytes.fetch_sub(before - platform.size_bytes(), Ordering::Relaxed);
    }

    /// Changes an entity's part, and keeps account of what it takes.
    fn change(&self, of: Option<&EntityRef>, change: impl FnOnce(&mut Recent)) {
        let Some(entity) = of else {
            let mut platform = lock(&self.platform);
            let before = platform.size_bytes();
            change(&mut platform);
            self.size_bytes.fetch_add(platform.size_bytes() - before, Ordering::Relaxed);
            return;
        };
        let mut part = lock(self.part(entity));
        let is_known = part.contains_key(entity);
        let recent = part.entry(entity.clone()).or_default();
        let before = recent.size_bytes();
        change(recent);
        let grown = recent.size_bytes() - before;
        let entity_bytes = if is_known { 0 } else { entity_bytes(entity) };
        self.size_bytes.fetch_add(grown + entity_bytes, Ordering::Relaxed);
    }

    fn part(&self, entity: &EntityRef) -> &Mutex<Part> {
        // Other bits of the hash than those that the part's own table goes by.
        &self.parts[(FxBuildHasher.hash_one(entity) >> 32) as usize % PARTS]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entity::EntityKind;

    const NOW_S: i64 = 1_781_524_800; // a whole minute

    fn song(number: u32) -> EntityRef {
        EntityRef::new(EntityKind::Song, format!("song-{number}"))
    }

    fn play(at_s: i64, listener: u32) -> Play {
        Play { at_s, times: 1, listener: Some(listener) }
    }

    fn add(memory: &Memory, now_s: i64, plays: Vec<Play>) {
        memory.add(&[PlaysOf { entity: Some(song(1)), plays }], now_s);
    }

    fn last_minutes(numbers: &RealtimeNumbers) -> &[u64] {
        &numbers.plays_per_minute[MINUTES - 3..]
    }

    #[test]
    fn listeners_are_those_of_the_last_five_minutes_each_once() {
        let memory = Memory::default();
        let plays = [-300, -299, -299, -1, 0, 1].map(|offset| play(NOW_S + offset, (offset + 300) as u32));
        add(&memory, NOW_S, plays.to_vec());
        for (later, expected) in [(0, 3), (1, 3), (2, 3), (298, 3), (299, 2), (300, 1), (301, 0)] {
            assert_eq!(memory.read(Some(&song(1)), NOW_S + later).listeners_now, expected, "{later}");
        }
        assert_eq!(memory.read(Some(&song(2)), NOW_S).listeners_now, 0);
    }

    #[test]
    fn a_late_play_takes_nobody_back() {
        let memory = Memory::default();
        add(&memory, NOW_S, vec![play(NOW_S, 1), play(NOW_S - 200, 1), play(NOW_S + 10, 1)]);
        for (later, expected) in [(0, 1), (150, 1), (299, 1), (309, 1), (310, 0)] {
            assert_eq!(memory.read(Some(&song(1)), NOW_S + later).listeners_now, expected, "{later}");
        }
    }

    #[test]
    fn each_minute_has_its_plays_until_it_is_an_hour_old() {
        let memory = Memory::default();
        let counted = |at_s, times| Play { at_s, times, listener: None };
        let plays = vec![
            counted(NOW_S - 3_541, 7), // the minute before the first of sixty
            counted(NOW_S - 3_540, 1),
            counted(NOW_S - 1, 2),
            counted(NOW_S, 10),
            counted(NOW_S + 59, 5),
            counted(NOW_S + 60, 1_000_000_000_000),
        ];
        add(&memory, NOW_S, plays);
        let numbers = memory.read(Some(&song(1)), NOW_S);
        assert_eq!(numbers.plays_per_minute.len(), 60);
        assert_eq!(numbers.plays_per_minute[0], 1);
        assert_eq!(last_minutes(&numbers), [0, 2, 15]);
        assert_eq!(numbers.plays_per_minute.iter().sum::<u64>(), 18);
        let later = memory.read(Some(&song(1)), NOW_S + 60);
        assert_eq!((later.plays_per_minute[0], last_minutes(&later)), (0, &[2, 15, 1_000_000_000_000][..]));
        for age in 0..200 {
            let numbers = memory.read(Some(&song(1)), NOW_S + age * 60);
            let expected = [1, 2, 15, 1_000_000_000_000];
            let expected: u64 = (0..4)
                .zip([-59, -1, 0, 1])
                .map(|(at, minute)| if (0..60).contains(&(age - minute)) { expected[at] } else { 0 })
                .sum();
            assert_eq!(numbers.plays_per_minute.iter().sum::<u64>(), expected, "{age} minutes later");
        }
    }

    #[test]
    fn what_is_old_is_swept_out_to_the_last_byte() {
        let memory = Memory::default();
        let plays: Vec<Play> = (0..1_000).map(|number| play(NOW_S - number % 240, number as u32)).collect();
        memory.add(&[PlaysOf { entity: None, plays: plays.clone() }], NOW_S);
        add(&memory, NOW_S, plays);
        let sweep = |now_s| (0..PARTS).for_each(|part| memory.sweep_part(part, now_s));
        let full = memory.size_bytes();
        sweep(NOW_S);
        assert_eq!(memory.read(None, NOW_S).listeners_now, 1_000);
        sweep(NOW_S + 600);
        assert!((1..full / 10).contains(&memory.size_bytes()), "{} of {full}", memory.size_bytes());
        assert_eq!(memory.read(None, NOW_S + 600).plays_per_minute.iter().sum::<u64>(), 1_000);
        sweep(NOW_S + 3_600);
        assert_eq!(memory.size_bytes(), 0);
    }

    #[test]
    fn a_million_active_listeners_fit() {
        const LISTENERS: u32 = 1_000_000;
        const PLAYS: u32 = 1_700_000;
        let memory = Memory::default();
        memory.is_recovered.store(true, Ordering::Release);
        // The square makes the first of half a million songs a thousand times as popular as the last.
        let song_of = |number: u32| {
            let place = f64::from(number.wrapping_mul(2_654_435_761)) / f64::from(u32::MAX);
            (place * place * 500_000.0) as u32
        };
        let add = |kind: Option<EntityKind>, count: usize, place_of: &dyn Fn(u32) -> u32| {
            let mut plays_of = vec![Vec::new(); count];
            for number in 0..PLAYS {
                let now = play(NOW_S - i64::from(number % 299), number % LISTENERS);
                plays_of[place_of(number) as usize].push(now);
            }
            // The rest of the hour: each has something in every fifth minute.
            for (place, plays) in (0_i64..).zip(&mut plays_of).filter(|_| kind.is_some()) {
                let minutes = (5..60).filter(|minute| minute % 5 == place % 5);
                plays.extend(minutes.map(|minute| Play { at_s: NOW_S - minute * 60, times: 12, listener: None }));
            }
            let id = |place: usize| format!("an id as long as most: {place:012}");
            let entity = |place| kind.map(|kind| EntityRef::new(kind, id(place)));
            let of = |(place, plays)| PlaysOf { entity: entity(place), plays };
            memory.add(&plays_of.into_iter().enumerate().map(of).collect::<Vec<_>>(), NOW_S);
        };
        add(None, 1, &|_| 0);
        add(Some(EntityKind::Song), 500_001, &song_of);
        add(Some(EntityKind::Album), 100_001, &|number| song_of(number) / 5);
        add(Some(EntityKind::Artist), 50_001, &|number| song_of(number) / 10);
        add(Some(EntityKind::Playlist), 10_000, &|number| number % 10_000);
        let numbers = memory.read(None, NOW_S);
        assert_eq!((numbers.listeners_now, numbers.is_complete), (u64::from(LISTENERS), true));
        assert_eq!(numbers.plays_per_minute.iter().sum::<u64>(), u64::from(PLAYS));
        let mib = memory.size_bytes() >> 20;
        println!("{mib} MiB for a million active listeners");
        assert!((100..400).contains(&mib), "{mib} MiB");
    }

    #[test]
    fn too_much_makes_it_forget_the_oldest_and_say_so() {
        const BYTES_MAX: usize = 4 << 20;
        let memory = Memory { bytes_max: BYTES_MAX, ..Memory::default() };
        memory.is_recovered.store(true, Ordering::Release);
        let of = |number: u32| PlaysOf { entity: Some(song(number)), plays: vec![play(NOW_S - 280, number)] };
        let add = |numbers: std::ops::Range<u32>| memory.add(&numbers.map(of).collect::<Vec<_>>(), NOW_S);
        let mut number = 0;
        while memory.read(None, NOW_S).is_complete {
            add(number..number + 1_000);
            number += 1_000;
            assert!(memory.size_bytes() <= BYTES_MAX);
        }
        // Listeners of five minutes ago went first; the plays of that minute are all there.
        let first = memory.read(Some(&song(0)), NOW_S);
        assert_eq!((first.listeners_now, first.plays_per_minute.iter().sum::<u64>()), (0, 1));
        assert!(!memory.read(None, NOW_S + 59).is_complete);
        assert!(memory.read(None, NOW_S + 60).is_complete);
        // Where even that is too much, plays go too.
        add(number..number + 50_000);
        assert!(memory.size_bytes() <= BYTES_MAX);
        assert_eq!(memory.read(Some(&song(0)), NOW_S).plays_per_minute.iter().sum::<u64>(), 0);
        assert!(!memory.read(None, NOW_S + 3_599).is_complete);
        assert!(memory.read(None, NOW_S + 3_600).is_complete);
    }
}
