//! Which items the same listeners took to, and what follows from that for one listener.

use super::matrix::Matrix;

/// How the likeness of two items is told from their listeners.
#[derive(Debug, Clone, Copy)]
pub struct Likeness {
    /// Added to the divisor of the cosine: what few listeners say counts less.
    pub shrinkage: f32,
    /// How many neighbours of an item are kept.
    pub kept: usize,
}

/// Chosen on `lastfm2k`; the table is in ARCHITECTURE.
pub const LIKENESS: Likeness = Likeness { shrinkage: 4.0, kept: 300 };

/// Listeners that an item has at least that is anybody's neighbour.
const LISTENERS_MIN: usize = 2;

/// An item that is like another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    pub item: u32,
    /// The shrunk cosine, above 0 and at most 1.
    pub score: f32,
    /// Listeners that both have.
    pub support: u32,
}

/// Finds neighbours; its memory is used again for each item.
pub struct Finder<'a> {
    likeness: Likeness,
    by_listener: &'a Matrix,
    by_item: &'a Matrix,
    /// By item; nothing of items that one listener alone took to: who likes them is not to be told, and they foretell nothing.
    lengths: Vec<Option<f32>>,
    products: Vec<f32>,
    supports: Vec<u32>,
    met: Vec<u32>,
}

impl<'a> Finder<'a> {
    /// `by_item` is `by_listener` transposed.
    pub fn new(likeness: Likeness, by_listener: &'a Matrix, by_item: &'a Matrix) -> Self {
        let items = by_item.height();
        let length = |item| {
            let squares: f32 = by_item.row(item).map(|(_, weight)| weight * weight).sum();
            (by_item.row_len(item) >= LISTENERS_MIN).then(|| squares.sqrt())
        };
        Self {
            likeness,
            by_listener,
            by_item,
            lengths: (0..items as u32).map(length).collect(),
            products: vec![0.0; items],
            supports: vec![0; items],
            met: Vec::new(),
        }
    }

    /// The nearest items of an item, nearest first; of equals the one of the lower number.
    pub fn nearest(&mut self, item: u32) -> Vec<Neighbour> {
        for (listener, own) in self.by_item.row(item) {
            for (other, weight) in self.by_listener.row(listener) {
                if self.supports[other as usize] == 0 {
                    self.met.push(other);
                }
                self.products[other as usize] += own * weight;
                self.supports[other as usize] += 1;
            }
        }
        let own = self.by_item.row(item).map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
        let mut neighbours: Vec<Neighbour> = Vec::with_capacity(self.met.len());
        for other in self.met.drain(..) {
            let at = other as usize;
            let (product, support) = (self.products[at], self.supports[at]);
            (self.products[at], self.supports[at]) = (0.0, 0);
            if let Some(length) = self.lengths[at].filter(|_| other != item) {
                let score = product / (own * length + self.likeness.shrinkage);
                neighbours.push(Neighbour { item: other, score, support });
            }
        }
        first(&mut neighbours, self.likeness.kept, |one, other| {
            other.score.total_cmp(&one.score).then(one.item.cmp(&other.item))
        });
        neighbours
    }
}

/// Keeps the first so many in an order, and puts them in it.
pub fn first<T>(list: &mut Vec<T>, kept: usize, order: impl Fn(&T, &T) -> std::cmp::Ordering) {
    if kept < list.len() {
        list.select_nth_unstable_by(kept, &order);
        list.truncate(kept);
    }
    list.sort_unstable_by(order);
}

/// What a neighbour's score counts for a listener: less steep than the score, so that many faint likenesses say more
/// than a single strong one.
const STEEPNESS: f32 = 0.7;

/// What a neighbour of something that a listener took to adds for them.
pub fn share(strength: f32, score: f32) -> f32 {
    strength * score.powf(STEEPNESS)
}

/// Which power of its listeners an item's score is divided by; `discovery` goes from 0, what many know, to 1, what few do.
/// The middle is what ranks best.
pub fn rarity(discovery: f32, listeners: u32) -> f32 {
    (listeners.max(1) as f32).powf(-(0.15 + 0.4 * (discovery - 0.5)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn neighbours_are_those_of_a_comparison_of_all_pairs(
            rows in prop::collection::vec(prop::collection::btree_map(0..8_u32, 1..9_u32, 0..6), 0..9),
            kept in 1..9_usize,
        ) {
            let mut by_listener = Matrix::new(8);
            let weight = |weight: &u32| *weight as f32 / 8.0;
            rows.iter().for_each(|row| by_listener.push(row.iter().map(|(item, points)| (*item, weight(points)))));
            let by_item = by_listener.transposed();
            let of = |item: u32| -> Vec<f32> { rows.iter().map(|row| row.get(&item).map_or(0.0, weight)).collect() };
            let likeness = Likeness { shrinkage: 4.0, kept };
            let mut finder = Finder::new(likeness, &by_listener, &by_item);
            for item in 0..8 {
                let own = of(item);
                let length = |weights: &[f32]| weights.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
                let mut expected = Vec::new();
                for other in (0..8).filter(|other| *other != item) {
                    let theirs = of(other);
                    let support = own.iter().zip(&theirs).filter(|(own, theirs)| **own * **theirs > 0.0).count() as u32;
                    let product: f32 = own.iter().zip(&theirs).map(|(own, theirs)| own * theirs).sum();
                    if support > 0 && theirs.iter().filter(|weight| **weight > 0.0).count() >= LISTENERS_MIN {
                        let score = product / (length(&own) * length(&theirs) + 4.0);
                        expected.push(Neighbour { item: other, score, support });
                    }
                }
                first(&mut expected, kept, |one, other| {
                    other.score.total_cmp(&one.score).then(one.item.cmp(&other.item))
                });
                let found = finder.nearest(item);
                prop_assert!(found.iter().all(|neighbour| 0.0 < neighbour.score && neighbour.score <= 1.0));
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn the_middle_between_known_and_rare_is_what_is_measured() {
        let shares = [0.0, 0.5, 1.0].map(|discovery| rarity(discovery, 100) / rarity(discovery, 10));
        assert!(shares[0] > 1.0 && shares[1] < 1.0 && shares[2] < shares[1], "{shares:?}");
    }
}
