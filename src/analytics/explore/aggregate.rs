//! Groups as they are filled, and the rows that they become.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::{ExploreError, ExploreQuestion, Key, Measure, NumberOf, OrderBy, Statistic};
use crate::domain::{
    counting::Counters,
    folding::{self, Foldable},
    money,
};

/// What a group has in common in one dimension. In order: false before true before numbers before texts before nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyValue {
    Flag(bool),
    Number(Sortable),
    Text(Arc<str>),
    /// Events do not say.
    Unknown,
}

/// A float by its bits, so that it can be looked up and put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sortable(i64);

impl Sortable {
    pub fn new(number: f64) -> Self {
        // Zero is zero, whatever its sign.
        Self(Self::turned((number + 0.0).to_bits().cast_signed()))
    }

    pub fn value(self) -> f64 {
        f64::from_bits(Self::turned(self.0).cast_unsigned())
    }

    /// The larger a negative float's bits are, the smaller is the float. Its own inverse.
    fn turned(bits: i64) -> i64 {
        bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
    }
}

impl KeyValue {
    pub fn text(text: Option<&Arc<str>>) -> Self {
        text.map_or(Self::Unknown, |text| Self::Text(text.clone()))
    }

    pub fn number(number: impl Into<f64>) -> Self {
        Self::Number(Sortable::new(number.into()))
    }

    /// The group of what few people stand behind each.
    fn folded() -> Self {
        Self::Text("OTHER".into())
    }
}

/// A measure's value; `Nothing` where there was nothing to make it of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Count(i64),
    Decimal(f64),
    Nothing,
}

/// A group's line in the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The place of its time bucket.
    pub bucket: usize,
    pub keys: Vec<KeyValue>,
    pub values: Vec<Value>,
}

/// Numbers that a group's events have in one place.
#[derive(Debug, Clone, Default)]
struct Numbers {
    count: i64,
    sum: f64,
    min: f64,
    max: f64,
    /// All of them, where a percentile is asked for.
    list: Vec<f64>,
    /// Of amounts.
    currency: Option<Arc<str>>,
}

impl Numbers {
    fn add(&mut self, other: Numbers) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.list.extend(other.list);
    }

    fn value(&mut self, statistic: Statistic) -> Value {
        if let Statistic::Numbers = statistic {
            return Value::Count(self.count);
        }
        if self.count == 0 {
            return Value::Nothing;
        }
        let value = match statistic {
            Statistic::Numbers => unreachable!("told above"),
            Statistic::Sum => self.sum,
            Statistic::Mean => self.sum / self.count as f64,
            Statistic::Min => self.min,
            Statistic::Max => self.max,
            Statistic::Percentile(part) => {
                let last = self.list.len() - 1;
                // 0.07 of a hundred is the seventh, though as floats it is a little more.
                let rank = (part * self.list.len() as f64 - 1e-6).ceil() as usize;
                *self.list.select_nth_unstable_by(rank.saturating_sub(1).min(last), f64::total_cmp).1
            }
        };
        // Amounts are added up in minor units, so that they are exact.
        let value = self.currency.as_ref().map_or(value, |currency| value / money::minor_units_of_one(currency));
        if value.is_finite() { Value::Decimal(value) } else { Value::Nothing }
    }
}

/// Who stands behind a group at least: as where an entity's numbers are broken down, see [`Foldable`].
#[derive(Debug, Clone, Default)]
pub struct Crowd {
    pub identified: RoaringBitmap,
    pub anonymous: RoaringBitmap,
    /// Streams of which nobody is known are somebody's each.
    pub unknown_streams: i64,
}

/// What one event, or one stored sum, adds to a group.
#[derive(Debug, Default)]
pub struct Addend<'a> {
    pub counters: Counters,
    /// The number that stands for the user.
    pub user: Option<u32>,
    pub users: Option<&'a RoaringBitmap>,
    /// By the place in [`Groups::numbers_of`]; amounts in minor units.
    pub numbers: &'a [Option<f64>],
    pub currency: Option<&'a Arc<str>>,
    pub crowd: Option<&'a Crowd>,
}

#[derive(Debug, Clone, Default)]
struct Group {
    counters: Counters,
    users: RoaringBitmap,
    numbers: Vec<Numbers>,
    crowd: Crowd,
}

/// All groups of a question.
pub struct Groups<'a> {
    question: &'a ExploreQuestion,
    /// The places of numbers that are measured, each once, and whether all of them are kept.
    numbers_of: Vec<(&'a NumberOf, bool)>,
    groups: FxHashMap<(usize, Vec<KeyValue>), Group>,
    groups_max: usize,
}

impl<'a> Groups<'a> {
    pub fn new(question: &'a ExploreQuestion, groups_max: usize) -> Self {
        let mut numbers_of: Vec<(&NumberOf, bool)> = Vec::new();
        for measure in &question.measures {
            let Measure::Statistic(statistic, of) = measure else { continue };
            let is_kept = matches!(statistic, Statistic::Percentile(_));
            match numbers_of.iter_mut().find(|(known, _)| *known == of) {
                Some((_, known)) => *known |= is_kept,
                None => numbers_of.push((of, is_kept)),
            }
        }
        Self { question, numbers_of, groups: FxHashMap::default(), groups_max }
    }

    /// Where numbers are measured, each place once.
    pub fn numbers_of(&self) -> impl Iterator<Item = &'a NumberOf> {
        self.numbers_of.iter().map(|(of, _)| *of)
    }

    pub fn add(&mut self, bucket: usize, keys: Vec<KeyValue>, addend: &Addend<'_>) -> Result<(), ExploreError> {
        let group = self.groups.entry((bucket, keys)).or_default();
        group.counters.add(&addend.counters);
        group.users.extend(addend.user);
        addend.users.into_iter().for_each(|users| group.users |= users);
        if let Some(crowd) = addend.crowd {
            group.crowd.add(crowd);
        }
        group.numbers.resize_with(self.numbers_of.len(), Numbers::default);
        for ((number, numbers), (of, is_kept)) in addend.numbers.iter().zip(&mut group.numbers).zip(&self.numbers_of) {
            let Some(number) = *number else { continue };
            let currency = addend.currency.filter(|_| **of == NumberOf::Amount);
            if let (Some(known), Some(other)) = (&numbers.currency, currency)
                && known != other
            {
                let mut currencies = [known.clone(), other.clone()];
                currencies.sort();
                return Err(ExploreError::MixedCurrencies { currencies });
            }
            let list = if *is_kept { vec![number] } else { Vec::new() };
            let currency = currency.cloned();
            numbers.add(Numbers { count: 1, sum: number, min: number, max: number, list, currency });
        }
        if self.groups.len() > self.groups_max {
            return Err(ExploreError::TooManyGroups { limit: self.groups_max });
        }
        Ok(())
    }

    /// The rows in their order. Folded, rows of few people of one origin are told together, and where the question is
    /// about one origin they are not told at all.
    pub fn finish(mut self, people_min: u64) -> Vec<Row> {
        let question = self.question;
        let is_whole = question.by.is_empty() && question.buckets.is_none();
        if is_whole {
            let whole = self.groups.entry((0, Vec::new())).or_default();
            whole.numbers.resize_with(self.numbers_of.len(), Numbers::default);
        }
        let mut groups: Vec<_> = self.groups.drain().filter(|(_, group)| is_whole || group.says(question)).collect();
        if question.is_folded && !question.origins().is_empty() {
            groups = fold(question, groups, people_min);
        }
        let places: Vec<&NumberOf> = self.numbers_of().collect();
        let row = |((bucket, keys), mut group): ((usize, Vec<KeyValue>), Group)| {
            let values = question.measures.iter().map(|measure| group.value(measure, &places)).collect();
            Row { bucket, keys, values }
        };
        let mut rows: Vec<Row> = groups.into_iter().map(row).collect();
        rows.sort_unstable_by(|one, other| one.compare(other, question));
        rows.truncate(question.first);
        rows
    }
}

impl Crowd {
    fn add(&mut self, other: &Crowd) {
        self.identified |= &other.identified;
        self.anonymous |= &other.anonymous;
        self.unknown_streams += other.unknown_streams;
    }
}

impl Group {
    /// Whether anything that is measured happened in it.
    fn says(&self, question: &ExploreQuestion) -> bool {
        let has_numbers = self.numbers.iter().any(|numbers| numbers.count > 0);
        question.measures.iter().any(|measure| match measure {
            Measure::Counter(counter) => self.counters[*counter] != 0,
            Measure::UniqueUsers => !self.users.is_empty(),
            Measure::Statistic(..) => has_numbers,
        })
    }

    fn value(&mut self, measure: &Measure, places: &[&NumberOf]) -> Value {
        match measure {
            Measure::Counter(counter) => Value::Count(self.counters[*counter]),
            Measure::UniqueUsers => Value::Count(i64::try_from(self.users.len()).unwrap_or(i64::MAX)),
            Measure::Statistic(statistic, of) => {
                let place = places.iter().position(|place| *place == of);
                place.and_then(|place| self.numbers.get_mut(place)).map_or(Value::Nothing, |it| it.value(*statistic))
            }
        }
    }
}

/// A group among those that differ in where events came from alone.
#[derive(Default)]
struct Cell {
    /// `None` where several are told together.
    keys: Option<Vec<KeyValue>>,
    group: Group,
}

impl Foldable for Cell {
    fn people(&self) -> u64 {
        let Crowd { identified, anonymous, unknown_streams } = &self.group.crowd;
        identified.len() + anonymous.len() + u64::try_from(*unknown_streams).unwrap_or(0)
    }

    fn absorb(&mut self, other: Self) {
        self.group.counters.add(&other.group.counters);
        self.group.users |= &other.group.users;
        self.group.numbers.resize_with(other.group.numbers.len(), Numbers::default);
        for (mine, theirs) in self.group.numbers.iter_mut().zip(other.group.numbers) {
            mine.add(theirs);
        }
        self.group.crowd.add(&other.group.crowd);
    }
}

type Grouped = ((usize, Vec<KeyValue>), Group);

fn fold(question: &ExploreQuestion, groups: Vec<Grouped>, people_min: u64) -> Vec<Grouped> {
    let is_origin: Vec<bool> = question.by.iter().map(|key| matches!(key, Key::Origin(_))).collect();
    let is_of_one = question.origins().iter().any(|origin| question.filter.origin(*origin).is_some());
    // By what they share, with their origins left out.
    let mut shared: BTreeMap<(usize, Vec<KeyValue>), Vec<Cell>> = BTreeMap::new();
    for ((bucket, keys), group) in groups {
        let mut common = keys.clone();
        for (value, _) in common.iter_mut().zip(&is_origin).filter(|(_, is_origin)| **is_origin) {
            *value = KeyValue::folded();
        }
        shared.entry((bucket, common)).or_default().push(Cell { keys: Some(keys), group });
    }
    let mut shown = Vec::new();
    for ((bucket, common), mut cells) in shared {
        // Which of several equals is folded does not depend on the order in which they were met.
        cells.sort_unstable_by(|one, other| one.keys.cmp(&other.keys));
        for cell in folding::fold(cells, people_min) {
            if !is_of_one || cell.people() >= people_min {
                shown.push(((bucket, cell.keys.unwrap_or_else(|| common.clone())), cell.group));
            }
        }
    }
    shown
}

impl Row {
    /// By the question's order, then time, then keys; what is unknown or nothing comes last either way.
    fn compare(&self, other: &Row, question: &ExploreQuestion) -> Ordering {
        let ordered = question.order.iter().map(|(by, is_descending)| {
            let turned = |order: Ordering| if *is_descending { order.reverse() } else { order };
            match by {
                OrderBy::Time => turned(self.bucket.cmp(&other.bucket)),
                OrderBy::Key(place) => match (&self.keys[*place], &other.keys[*place]) {
                    (KeyValue::Unknown, _) | (_, KeyValue::Unknown) => self.keys[*place].cmp(&other.keys[*place]),
                    (one, other) => turned(one.cmp(other)),
                },
                OrderBy::Measure(place) => match (self.values[*place], other.values[*place]) {
                    (Value::Count(one), Value::Count(other)) => turned(one.cmp(&other)),
                    (Value::Decimal(one), Value::Decimal(other)) => turned(one.total_cmp(&other)),
                    (one, other) => (one == Value::Nothing).cmp(&(other == Value::Nothing)),
                },
            }
        });
        ordered
            .fold(Ordering::Equal, Ordering::then)
            .then_with(|| self.bucket.cmp(&other.bucket))
            .then_with(|| self.keys.cmp(&other.keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_in_order_and_come_back() {
        let numbers = [f64::MIN, -2.5, -1.0, -0.0, 0.5, 1.0, 1e300];
        for pair in numbers.windows(2) {
            assert!(Sortable::new(pair[0]) < Sortable::new(pair[1]), "{pair:?}");
        }
        numbers.iter().for_each(|number| assert_eq!(Sortable::new(*number).value(), *number));
        assert_eq!(Sortable::new(-0.0), Sortable::new(0.0));
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let list: Vec<f64> = [15.0, 20.0, 35.0, 40.0, 50.0].to_vec();
        for (part, expected) in
            [(0.0, 15.0), (0.05, 15.0), (0.3, 20.0), (0.4, 20.0), (0.5, 35.0), (0.81, 50.0), (1.0, 50.0)]
        {
            let mut numbers = Numbers { count: 5, list: list.clone(), ..Numbers::default() };
            assert_eq!(numbers.value(Statistic::Percentile(part)), Value::Decimal(expected), "{part}");
        }
    }
}
