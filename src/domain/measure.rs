//! What is asked about an entity over a window, and what is answered.

use super::{
    counting::{Counter, Counters, MoneyCounters},
    entity::EntityRef,
    window::Window,
};

/// The parts of an answer that a client selected; only these are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Need {
    pub counters: CounterSet,
    pub money: bool,
    pub listeners: bool,
}

impl Need {
    pub fn union(self, other: Need) -> Need {
        Need {
            counters: CounterSet(self.counters.0 | other.counters.0),
            money: self.money || other.money,
            listeners: self.listeners || other.listeners,
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
    pub need: Need,
}

/// The answer to a [`MeasureKey`]; parts that were not asked for are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measures {
    pub counters: Counters,
    /// By currency code, in alphabetical order.
    pub money: Vec<(String, MoneyCounters)>,
    pub listeners: Option<UniqueCount>,
}

impl Measures {
    /// Adds another's counters and money. Listeners cannot be added: whoever listened to both is one person.
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

/// A number of distinct people, with the bounds it is known within.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UniqueCount {
    pub lower: u64,
    pub upper: u64,
}

impl UniqueCount {
    pub fn is_exact(self) -> bool {
        self.lower == self.upper
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
            Self::Listeners => Need { listeners: true, ..Need::default() },
        }
    }
}
