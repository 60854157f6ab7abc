//! How well what is recommended foretells what listeners turn to: the same measures for every method.

pub mod dense;
pub mod methods;

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use super::{matrix::Matrix, neighbours::first};

/// What listeners did first, and what they turned to then.
#[derive(Debug)]
pub struct Split {
    /// The first part: for each listener the items' points. Of equal scores the item of the lower number comes first.
    pub known: Matrix,
    /// The second part: for each listener what of it occurs in the first part at all.
    pub wanted: Vec<FxHashSet<u32>>,
    /// How many items the second part has of each listener; those that occur nowhere in the first can be found by nobody.
    pub wanted_count: Vec<usize>,
}

/// A listener, an item, and how often.
pub type Row = (Arc<str>, Arc<str>, f32);

impl Split {
    /// Listeners are those of the first part. Items are ordered by the length of their ids, then by these: numbers by
    /// their value.
    pub fn new(first: &[Row], second: &[Row]) -> Self {
        let mut items: Vec<Arc<str>> = first.iter().map(|(_, item, _)| item.clone()).collect();
        items.sort_unstable_by(|one, other| (one.len(), one).cmp(&(other.len(), other)));
        items.dedup();
        let numbers: FxHashMap<&str, u32> = (0..).zip(&items).map(|(number, item)| (&**item, number)).collect();
        let mut listeners: FxHashMap<&str, usize> = FxHashMap::default();
        let mut rows: Vec<FxHashMap<u32, f32>> = Vec::new();
        for (listener, item, points) in first {
            let row = *listeners.entry(listener).or_insert(rows.len());
            if row == rows.len() {
                rows.push(FxHashMap::default());
            }
            *rows[row].entry(numbers[&**item]).or_default() += points;
        }
        let mut wanted = vec![FxHashSet::default(); rows.len()];
        let mut named = vec![FxHashSet::default(); rows.len()];
        for (listener, item, _) in second {
            let Some(row) = listeners.get(&**listener) else { continue };
            let number = numbers.get(&**item);
            // What they know already is nothing to find.
            if number.is_none_or(|number| !rows[*row].contains_key(number)) {
                wanted[*row].extend(number);
                named[*row].insert(&**item);
            }
        }
        let wanted_count = named.iter().map(FxHashSet::len).collect();
        let mut known = Matrix::new(items.len());
        for row in rows {
            let mut row: Vec<(u32, f32)> = row.into_iter().collect();
            row.sort_unstable_by_key(|(item, _)| *item);
            known.push(row);
        }
        Self { known, wanted, wanted_count }
    }

    /// Of items by any numbers, and of at most so many listeners who turned to anything new, spread evenly over all.
    pub fn numbered(known: &[Vec<(u32, f32)>], turned_to: &[Vec<u32>], listeners_max: usize) -> Self {
        let mut items: Vec<u32> = known.iter().flatten().map(|(item, _)| *item).collect();
        items.sort_unstable();
        items.dedup();
        let place = |item: &u32| items.binary_search(item).ok().and_then(|place| u32::try_from(place).ok());
        let is_known = |row: &[(u32, f32)], item: &u32| row.iter().any(|(known, _)| known == item);
        let named: Vec<Vec<u32>> = known
            .iter()
            .zip(turned_to)
            .map(|(row, turned_to)| turned_to.iter().copied().filter(|item| !is_known(row, item)).collect())
            .collect();
        let all = named.iter().filter(|named| !named.is_empty()).count();
        let (mut matrix, mut wanted, mut wanted_count) = (Matrix::new(items.len()), Vec::new(), Vec::new());
        let mut count = 0;
        for (row, named) in known.iter().zip(&named) {
            matrix.push(row.iter().filter_map(|(item, points)| Some((place(item)?, *points))));
            // Every so-manieth.
            let is_measured = !named.is_empty() && {
                count += 1;
                count * listeners_max / all.max(listeners_max) > (count - 1) * listeners_max / all.max(listeners_max)
            };
            let named = if is_measured { &named[..] } else { &[] };
            wanted.push(named.iter().filter_map(place).collect());
            wanted_count.push(named.len());
        }
        Self { known: matrix, wanted, wanted_count }
    }
}

/// Says how much each listener may like each item.
pub trait Method {
    fn name(&self) -> &'static str;

    /// Writes a score for every item, given what a listener took to; the higher the better.
    fn score(&mut self, listener: u32, known: &[(u32, f32)], scores: &mut [f32]);
}

/// How well a method did. All are means over the listeners who turned to anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    pub method: String,
    /// What was found of what they turned to, in the first 20.
    pub recall_20: f64,
    /// What the first 10 and 100 gain, discounted by place, of the most that they could.
    pub ndcg_10: f64,
    pub ndcg_100: f64,
    /// Of the items that at least two listeners know, the part that is among anybody's first 10.
    pub coverage_10: f64,
    /// The same of all items, also those of which nothing is known but that one listener has them.
    pub catalogue_10: f64,
    /// How little known the first 10 are: the mean of -log2 of the part of listeners who know each.
    pub novelty_10: f64,
}

/// Measures what is served, then what it is compared with, the methods that need linear algebra among them if asked.
/// A method that such a split is too large for is left out.
pub fn table(split: &Split, with_dense: bool, mut on_method: impl FnMut(&Quality)) -> Vec<Quality> {
    let known = &split.known;
    let dense = |method: &dyn Fn() -> Option<Box<dyn Method>>| if with_dense { method() } else { None };
    let methods: [&dyn Fn() -> Option<Box<dyn Method>>; 7] = [
        &|| Some(Box::new(methods::Served::new(known))),
        &|| Some(Box::new(methods::PlainNeighbours::new(known))),
        &|| dense(&|| Some(Box::new(dense::Ease::new(known)?))),
        &|| dense(&|| Some(Box::new(dense::Als::new(known)))),
        &|| Some(Box::new(methods::ByListeners::new(known))),
        &|| Some(Box::new(methods::ByPlays::new(known))),
        &|| Some(Box::new(methods::Random)),
    ];
    // One after the other, for what some learn is large.
    let measured = methods.into_iter().filter_map(|method| Some(measure(split, &mut *method()?)));
    measured.inspect(|quality| on_method(quality)).collect()
}

/// What depth is looked at.
const DEPTH: usize = 100;

/// Measures a method: each listener is shown what they do not know yet.
pub fn measure(split: &Split, method: &mut dyn Method) -> Quality {
    let listeners_of = listeners_of(&split.known);
    let listeners = split.known.height();
    let mut scores = vec![0.0; split.known.width()];
    let mut shown: FxHashSet<u32> = FxHashSet::default();
    let (mut recall, mut ndcg_10, mut ndcg_100, mut novelty, mut count) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for listener in 0..listeners as u32 {
        let (wanted, wanted_count) = (&split.wanted[listener as usize], split.wanted_count[listener as usize]);
        if wanted_count == 0 {
            continue;
        }
        let known: Vec<(u32, f32)> = split.known.row(listener).collect();
        scores.fill(0.0);
        method.score(listener, &known, &mut scores);
        known.iter().for_each(|(item, _)| scores[*item as usize] = f32::NEG_INFINITY);
        let mut best: Vec<u32> = (0..scores.len() as u32).collect();
        first(&mut best, DEPTH, |one, other| {
            scores[*other as usize].total_cmp(&scores[*one as usize]).then(one.cmp(other))
        });
        best.retain(|item| scores[*item as usize] > f32::NEG_INFINITY);
        let hits: Vec<bool> = best.iter().map(|item| wanted.contains(item)).collect();
        recall += hits.iter().take(20).filter(|hit| **hit).count() as f64 / wanted_count as f64;
        ndcg_10 += gain(&hits, 10) / ideal(wanted_count, 10);
        ndcg_100 += gain(&hits, DEPTH) / ideal(wanted_count, DEPTH);
        let first_ten = &best[..best.len().min(10)];
        let rare = |item: &u32| -(f64::from(listeners_of[*item as usize]) / listeners as f64).log2();
        novelty += first_ten.iter().map(rare).sum::<f64>() / first_ten.len().max(1) as f64;
        shown.extend(first_ten);
        count += 1.0;
    }
    let is_shared = |item: &&u32| listeners_of[**item as usize] >= 2;
    let shared = listeners_of.iter().filter(|listeners| **listeners >= 2).count();
    Quality {
        method: method.name().to_owned(),
        recall_20: recall / count,
        ndcg_10: ndcg_10 / count,
        ndcg_100: ndcg_100 / count,
        coverage_10: shown.iter().filter(is_shared).count() as f64 / shared.max(1) as f64,
        catalogue_10: shown.len() as f64 / split.known.width() as f64,
        novelty_10: novelty / count,
    }
}

/// How many listeners each item has.
pub fn listeners_of(known: &Matrix) -> Vec<u32> {
    let by_item = known.transposed();
    (0..by_item.height() as u32).map(|item| by_item.row_len(item) as u32).collect()
}

fn discount(place: usize) -> f64 {
    1.0 / (place as f64 + 2.0).log2()
}

fn gain(hits: &[bool], depth: usize) -> f64 {
    hits.iter().take(depth).enumerate().filter(|(_, hit)| **hit).map(|(place, _)| discount(place)).sum()
}

fn ideal(wanted: usize, depth: usize) -> f64 {
    (0..wanted.min(depth)).map(discount).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, &str)]) -> Vec<Row> {
        rows.iter().map(|(listener, item)| (Arc::from(*listener), Arc::from(*item), 1.0)).collect()
    }

    /// Ranks items by their number, the last one first.
    struct Backwards;

    impl Method for Backwards {
        fn name(&self) -> &'static str {
            "backwards"
        }

        fn score(&mut self, _: u32, _: &[(u32, f32)], scores: &mut [f32]) {
            (0_u16..).zip(scores).for_each(|(number, score)| *score = f32::from(number));
        }
    }

    #[test]
    fn measures_are_worked_out_by_hand() {
        let first = rows(&[("a", "1"), ("a", "2"), ("b", "2"), ("b", "10"), ("c", "9")]);
        // a turns to the item that is shown first and to one that nobody can find; b to the one shown second.
        let second = rows(&[("a", "10"), ("a", "77"), ("a", "2"), ("b", "1"), ("nobody", "1")]);
        let split = Split::new(&first, &second);
        assert_eq!(split.known.width(), 4);
        assert_eq!(split.wanted_count, [2, 1, 0]);
        let quality = measure(&split, &mut Backwards);
        let second_place = 1.0 / 3_f64.log2();
        let close = |one: f64, other: f64| assert!((one - other).abs() < 1e-9, "{one} {other}");
        close(quality.recall_20, (0.5 + 1.0) / 2.0);
        close(quality.ndcg_10, (1.0 / (1.0 + second_place) + second_place) / 2.0);
        close(quality.ndcg_100, quality.ndcg_10);
        // Of 10, 9 and 1, which are shown, and 2, two listeners know 2 alone.
        close(quality.coverage_10, 0.0);
        close(quality.catalogue_10, 0.75);
        close(quality.novelty_10, 3_f64.log2());
    }

    #[test]
    fn what_nobody_shares_covers_nothing() {
        let split = Split::new(&rows(&[("a", "1"), ("b", "2")]), &rows(&[("a", "2")]));
        let quality = measure(&split, &mut Backwards);
        assert_eq!((quality.recall_20, quality.coverage_10), (1.0, 0.0));
    }
}
