//! What is asked about an entity over a window, and what is answered.

use std::sync::Arc;

use super::{
    counting::{Counter, Counters, MoneyCounters, Part, Parts},
    entity::EntityRef,
    window::Window,
};

/// The parts of an answer that a client selected; only these are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Need {
    pub counters: CounterSet,
    pub money: bool,
    /// Whose distinct people are counted.
    pub parts: Parts,
    pub crowd: Crowd,
}

/// Further numbers of people, each of which takes sets that the parts alone do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Crowd {
    /// Who saved or added to a playlist.
    pub intending: bool,
    /// The listeners of each UTC day.
    pub daily: bool,
    /// How many people stand behind the counters at least.
    pub size: bool,
}

impl Need {
    pub fn union(self, other: Need) -> Need {
        Need {
            counters: CounterSet(self.counters.0 | other.counters.0),
            money: self.money || other.money,
            parts: self.parts.union(other.parts),
            crowd: Crowd {
                intending: self.crowd.intending || other.crowd.intending,
                daily: self.crowd.daily || other.crowd.daily,
                size: self.crowd.size || other.crowd.size,
            },
        }
    }
}

/// A set of [`Counter`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CounterSet(u32);

impl CounterSet {
    pub fn insert(&mut self, counter: Counter) {
        self.0 |= 1 << counter as u32;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Counter> {
        Counter::ALL.into_iter().filter(move |counter| self.0 & (1 << *counter as u32) != 0)
    }
}

impl FromIterator<Counter> for CounterSet {
    fn from_iter<I: IntoIterator<Item = Counter>>(counters: I) -> Self {
        let mut set = CounterSet::default();
        counters.into_iter().for_each(|counter| set.insert(counter));
        set
    }
}

/// One question: an entity, a window, and what of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MeasureKey {
    pub entity: EntityRef,
    pub window: Window,
    /// Only what happened in this country.
    pub country: Option<Arc<str>>,
    pub need: Need,
}

/// The answer to a [`MeasureKey`]; parts that were not asked for are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures {
    pub counters: Counters,
    /// By currency code, in alphabetical order.
    pub money: Vec<(String, MoneyCounters)>,
    pub people: PeopleCounts,
}

impl Measures {
    /// Whether nothing happened, as far as was asked.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another's counters and money. People cannot be added: whoever took part in both is one person.
    pub fn add_sums(&mut self, other: &Measures) {
        self.counters.add(&other.counters);
        for (currency, money) in &other.money {
            match self.money.binary_search_by(|(known, _)| known.cmp(currency)) {
                Ok(at) => self.money[at].1.add(money),
                Err(at) => self.money.insert(at, (currency.clone(), *money)),
            }
        }
    }
}

/// Numbers of distinct people. Never sums over windows: sizes of unions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeopleCounts {
    parts: [u64; Part::COUNT],
    pub intending: u64,
    /// The listeners of each UTC day, added up.
    pub daily_listeners: u64,
    /// How many people stand behind the counters at least: known ones, and streams of which nobody is known.
    pub size: u64,
}

impl PeopleCounts {
    pub fn set(&mut self, part: Part, count: u64) {
        self.parts[part as usize] = count;
    }

    pub fn of(&self, part: Part) -> i64 {
        i64::try_from(self.parts[part as usize]).unwrap_or(i64::MAX)
    }
}

/// What entities can be ranked by, and what a timeline has columns for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    Counter(Counter),
    Listeners,
}

impl Metric {
    /// Whether the platform shows it to every listener. The rest is the artist's own business.
    pub fn is_public(self) -> bool {
        match self {
            Self::Listeners => true,
            Self::Counter(counter) => matches!(
                counter,
                Counter::Plays
                    | Counter::Streams
                    | Counter::Likes
                    | Counter::Shares
                    | Counter::Saves
                    | Counter::PlaylistAdds
                    | Counter::Follows
            ),
        }
    }

    pub fn need(self) -> Need {
        match self {
            Self::Counter(counter) => Need { counters: [counter].into_iter().collect(), ..Need::default() },
            Self::Listeners => Need { parts: Parts::of(&[Part::Listener]), ..Need::default() },
        }
    }
}
