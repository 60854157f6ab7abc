//! Where an entity's numbers come from: its markets, and any metric by country, source or device.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use moka::future::Cache;
use roaring::RoaringBitmap;

use super::{
    Analytics,
    days::{Asked, Days, Piece, meet, pieces},
    people::size,
};
use crate::{
    audience::day::set_of,
    db::{DbError, queries::audience},
    domain::{
        counting::{Counter, Counters, Part, Parts},
        entity::EntityRef,
        folding::Foldable,
        measure::Metric,
        origin::Dimension,
        window::Window,
    },
};

/// Numbers of an entity by one dimension, over one window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OriginsQuestion {
    pub entity: EntityRef,
    pub by: Dimension,
    pub window: Window,
    /// Whom the answer has to know: everybody where small numbers are to be folded.
    pub people: Parts,
}

/// What came from one country, source or device; `None` where events did not say, and for what is folded.
#[derive(Debug, Clone, Default)]
pub struct OriginNumbers {
    pub value: Option<Arc<str>>,
    /// Whether several are folded into this one, because few people stand behind each.
    pub is_folded: bool,
    pub counters: Counters,
    people: [RoaringBitmap; Part::COUNT],
    known_streams: i64,
}

/// A market with its part of the artist's, and of the platform's, listeners.
#[derive(Debug, Clone, PartialEq)]
pub struct Market {
    /// `None` for plays that do not say, and for small markets that are folded.
    pub country: Option<Arc<str>>,
    pub is_folded: bool,
    pub listeners: u64,
    pub streams: i64,
    /// Of all listeners of the window; people who listened in two countries count in both.
    pub listener_share: Option<f64>,
    pub stream_share: Option<f64>,
    /// The listener share divided by the market's share of the platform's listeners on the days of the window.
    pub affinity: Option<f64>,
}

impl OriginNumbers {
    pub fn value_of(&self, metric: Metric) -> i64 {
        match metric {
            Metric::Counter(counter) => self.counters[counter],
            Metric::Listeners => i64::try_from(self.listeners().len()).unwrap_or(i64::MAX),
        }
    }

    /// The distinct listeners of all of them.
    pub fn everybody(numbers: &[OriginNumbers]) -> i64 {
        i64::try_from(union(numbers.iter().map(Self::listeners)).len()).unwrap_or(i64::MAX)
    }

    pub fn listeners(&self) -> &RoaringBitmap {
        &self.people[Part::Listener as usize]
    }
}

impl Foldable for OriginNumbers {
    fn people(&self) -> u64 {
        size(&self.people, self.counters[Counter::Streams], self.known_streams)
    }

    fn absorb(&mut self, other: Self) {
        self.is_folded = true;
        self.counters.add(&other.counters);
        self.known_streams += other.known_streams;
        for (mine, theirs) in self.people.iter_mut().zip(other.people) {
            *mine |= theirs;
        }
    }
}

impl Analytics {
    /// Every entity's numbers by the question's dimension, in no particular order. Source: the entities' days, as
    /// exact as any window's numbers; statements do not depend on how many questions there are.
    pub async fn origins(
        &self,
        questions: &[OriginsQuestion],
    ) -> Result<HashMap<OriginsQuestion, Vec<OriginNumbers>>, DbError> {
        let mut asked = Asked::default();
        for question in questions {
            asked.wanted.add(question.by, question.people);
            asked.ask_cells(&question.entity, self.narrowed(question.window));
        }
        let days = self.days(asked).await?;
        let answer = |question: &OriginsQuestion| by_origin(question, self.narrowed(question.window), &days);
        Ok(questions.iter().map(|question| (question.clone(), answer(question))).collect())
    }

    /// What an entity's numbers by country say of its markets: by listeners, then streams, then code, the folded and
    /// the unknown last.
    pub async fn markets(&self, mut numbers: Vec<OriginNumbers>, window: Window) -> Result<Vec<Market>, Arc<DbError>> {
        let platform = self.platform_markets(window).await?;
        numbers.sort_by_key(|market| {
            let rank = (Reverse(market.listeners().len()), Reverse(market.counters[Counter::Streams]));
            (market.value.is_none(), rank, market.value.clone())
        });
        let everybody = union(numbers.iter().map(OriginNumbers::listeners)).len();
        let streams: i64 = numbers.iter().map(|market| market.counters[Counter::Streams]).sum();
        Ok(numbers
            .into_iter()
            .map(|market| {
                let listener_share = part(market.listeners().len(), everybody);
                let of_platform = market.value.as_ref().and_then(|_| platform.listeners.get(&market.value));
                let platform_share = of_platform.and_then(|listeners| part(*listeners, platform.everybody));
                Market {
                    listeners: market.listeners().len(),
                    streams: market.counters[Counter::Streams],
                    stream_share: part(market.counters[Counter::Streams], streams),
                    affinity: listener_share.zip(platform_share).map(|(mine, all)| mine / all),
                    listener_share,
                    is_folded: market.is_folded,
                    country: market.value,
                }
            })
            .collect())
    }

    /// The platform's listeners by country, on the UTC days that a window touches; kept for a minute, because every
    /// artist's page compares with the same.
    async fn platform_markets(&self, window: Window) -> Result<Arc<PlatformMarkets>, Arc<DbError>> {
        let days: Vec<i64> = pieces(self.narrowed(window)).map(|(day, _)| day).collect();
        let Some((first, last)) = days.first().zip(days.last()) else { return Ok(Arc::default()) };
        let compute = async {
            let markets = self.listeners_by_country(&days).await?;
            let everybody = union(markets.values()).len();
            let listeners = markets.into_iter().map(|(country, set)| (country, set.len())).collect();
            Ok(Arc::new(PlatformMarkets { listeners, everybody }))
        };
        self.platform_markets.try_get_with((*first, *last), compute).await
    }

    /// The platform's listeners by country on some UTC days in a row.
    pub(super) async fn listeners_by_country(
        &self,
        days: &[i64],
    ) -> Result<HashMap<Option<Arc<str>>, RoaringBitmap>, DbError> {
        let Some((first, last)) = days.first().zip(days.last()) else { return Ok(HashMap::new()) };
        let mut markets = self.open_audience.markets(*first..*last + 1);
        for row in audience::list_markets(self.database.reader(), days).await? {
            *markets.entry(row.country).or_default() |= row.listeners;
        }
        Ok(markets)
    }
}

/// The platform's listeners by country, and all together.
#[derive(Debug, Default)]
pub struct PlatformMarkets {
    listeners: HashMap<Option<Arc<str>>, u64>,
    everybody: u64,
}

/// By the first and the last day.
pub type PlatformMarketsCache = Cache<(i64, i64), Arc<PlatformMarkets>>;

pub fn platform_markets_cache() -> PlatformMarketsCache {
    // A few hundred numbers each.
    Cache::builder().max_capacity(1_000).time_to_live(Duration::from_secs(60)).build()
}

/// Everybody who took a part, as often as they were met.
type Met = [Vec<u32>; Part::COUNT];

fn by_origin(question: &OriginsQuestion, window: Window, days: &Days) -> Vec<OriginNumbers> {
    let mut origins: BTreeMap<Option<Arc<str>>, (OriginNumbers, Met)> = BTreeMap::new();
    for (day, piece) in pieces(window) {
        let Some(entity_day) = days.of_piece(&(question.entity.clone(), day), &piece) else { continue };
        for cell in entity_day.cells(question.by) {
            let (numbers, met) = origins.entry(entity_day.text(cell).cloned()).or_default();
            match &piece {
                Piece::Whole => numbers.counters.add(&cell.total.counters),
                Piece::Cut(quarters) => numbers.counters.add(&cell.within(quarters).counters),
            }
            for part in Part::ALL {
                let times = meet(&mut met[part as usize], cell, part, &piece);
                if matches!(part, Part::Listener | Part::AnonymousListener) {
                    numbers.known_streams += times;
                }
            }
        }
    }
    origins
        .into_iter()
        .map(|(value, (numbers, met))| OriginNumbers { value, people: met.map(set_of), ..numbers })
        .filter(|numbers| !numbers.counters.is_zero())
        .collect()
}

fn union<'a>(sets: impl Iterator<Item = &'a RoaringBitmap>) -> RoaringBitmap {
    sets.fold(RoaringBitmap::new(), |union, set| union | set)
}

fn part<T: TryInto<i64>>(part: T, whole: T) -> Option<f64> {
    let (part, whole) = (part.try_into().ok()?, whole.try_into().ok()?);
    (whole != 0).then(|| part as f64 / whole as f64)
}
