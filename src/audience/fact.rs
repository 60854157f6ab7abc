//! The atoms of which the audience is made: what happened to one entity in one quarter-hour from one origin.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::bytes::{Reader, Unreadable, write_number, write_signed};
use crate::domain::counting::{Counter, Counters, MoneyCounters, Part};

/// Texts by number, from 1; 0 stands for none.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    numbers: FxHashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
}

impl Texts {
    /// A text's number, a new one if need be.
    pub fn number(&mut self, text: Option<&str>) -> u32 {
        let Some(text) = text else { return 0 };
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.push(text.into())
    }

    fn push(&mut self, text: Arc<str>) -> u32 {
        self.list.push(text.clone());
        let number = u32::try_from(self.list.len()).expect("a batch or a day holds far fewer texts");
        self.numbers.insert(text, number);
        number
    }

    pub fn text(&self, number: u32) -> Option<&Arc<str>> {
        self.list.get((number as usize).checked_sub(1)?)
    }

    /// All of them, from number 1.
    pub fn list(&self) -> &[Arc<str>] {
        &self.list
    }

    /// The same origin as another's texts number it.
    pub fn translated(&mut self, theirs: &Texts, origin: OriginNumbers) -> OriginNumbers {
        origin.map(|number| self.number(theirs.text(number).map(|text| &**text)))
    }

    pub fn write(&self, bytes: &mut Vec<u8>) {
        write_number(bytes, self.list.len() as u64);
        self.list.iter().for_each(|text| super::bytes::write_text(bytes, text));
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mut texts = Self::default();
        for _ in 0..reader.count()? {
            texts.push(reader.text()?.into());
        }
        Ok(texts)
    }
}

/// Country, source and device by the numbers of their texts.
pub type OriginNumbers = [u32; 3];

/// Bits of a mask beside those of counters, which begin at the second.
const MONEY: u64 = 1 << 40;
/// As it was written before payments were counted.
const MONEY_WITHOUT_PAYMENTS: u64 = 1;

/// What was counted: counters, and money by the number of its currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    pub counters: Counters,
    pub money: Vec<(u32, MoneyCounters)>,
}

impl Sums {
    /// Adds another's, whose currencies have the same numbers.
    pub fn add(&mut self, other: &Sums) {
        self.counters.add(&other.counters);
        for (currency, money) in &other.money {
            self.add_money(*currency, money);
        }
    }

    pub fn add_money(&mut self, currency: u32, added: &MoneyCounters) {
        match self.money.iter_mut().find(|(known, _)| *known == currency) {
            Some((_, money)) => money.add(added),
            None => self.money.push((currency, *added)),
        }
    }

    /// The same in another's texts.
    pub fn translated(&self, texts: &mut Texts, own: &Texts) -> Sums {
        let translate =
            |(currency, money): &(u32, MoneyCounters)| (texts.number(own.text(*currency).map(|text| &**text)), *money);
        Sums { counters: self.counters, money: self.money.iter().map(translate).collect() }
    }

    /// A mask of what is there, then only that.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let values = self.counters.values();
        let is_there = |index: &usize| values[*index] != 0;
        let money = if self.money.is_empty() { 0 } else { MONEY };
        let mask = (0..Counter::COUNT).filter(is_there).fold(money, |mask, index| mask | 2 << index);
        write_number(bytes, mask);
        (0..Counter::COUNT).filter(is_there).for_each(|index| write_signed(bytes, values[index]));
        if !self.money.is_empty() {
            write_number(bytes, self.money.len() as u64);
            for (currency, money) in &self.money {
                write_number(bytes, u64::from(*currency));
                [money.gross_minor, money.refunded_minor, money.payments]
                    .iter()
                    .for_each(|sum| write_signed(bytes, *sum));
            }
        }
    }

    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let mask = reader.number()?;
        let mut sums = Self::default();
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            if mask & 2 << index != 0 {
                sums.counters[counter] = reader.signed()?;
            }
        }
        if mask & (MONEY | MONEY_WITHOUT_PAYMENTS) != 0 {
            for _ in 0..reader.count()? {
                let currency = reader.small()?;
                let (gross_minor, refunded_minor) = (reader.signed()?, reader.signed()?);
                let payments = if mask & MONEY == 0 { 0 } else { reader.signed()? };
                sums.money.push((currency, MoneyCounters { gross_minor, refunded_minor, payments }));
            }
        }
        Ok(sums)
    }
}

/// One person's part in a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartTaken {
    pub part: Part,
    /// The number that stands for the person.
    pub person: u32,
    /// How often.
    pub times: u32,
}

/// What happened to one entity in one quarter-hour from one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The quarter-hour's start in epoch milliseconds.
    pub quarter_ms: i64,
    pub origin: OriginNumbers,
    pub sums: Sums,
    /// Whoever is there twice did it the sum of times.
    pub people: Vec<PartTaken>,
}

/// Of more people nobody is sought: they come together when a day is settled.
const PEOPLE_SOUGHT_MAX: usize = 32;

impl Fact {
    /// Adds another fact of the same quarter and origin.
    pub fn add(&mut self, counters: &Counters, money: Option<(u32, MoneyCounters)>, part: Option<PartTaken>) {
        self.sums.counters.add(counters);
        if let Some((currency, money)) = money {
            self.sums.add_money(currency, &money);
        }
        let Some(taken) = part else { return };
        if self.people.len() > PEOPLE_SOUGHT_MAX {
            self.people.push(taken);
        } else {
            match self.people.iter_mut().find(|known| known.part == taken.part && known.person == taken.person) {
                Some(known) => known.times = known.times.saturating_add(taken.times),
                None => self.people.push(taken),
            }
        }
    }
}
