//! Which items the same listeners took to, and what follows from that for one listener.

use super::matrix::Matrix;
use crate::audience::bytes::{Reader, Unreadable, write_number};

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
    /// Listeners that it has itself.
    pub listeners: u32,
}

/// Who took to what, as likeness is told from it.
pub struct Space {
    likeness: Likeness,
    by_listener: Matrix,
    by_item: Matrix,
    /// By item.
    lengths: Vec<f32>,
}

impl Space {
    /// Of weights by listener and item.
    pub fn new(likeness: Likeness, by_listener: Matrix) -> Self {
        let by_item = by_listener.transposed();
        let length = |item| by_item.row(item).map(|(_, weight)| weight * weight).sum::<f32>().sqrt();
        let lengths = (0..by_item.height() as u32).map(length).collect();
        Self { likeness, by_listener, by_item, lengths }
    }

    /// How many items there are, those that nobody took to among them.
    pub fn items(&self) -> u32 {
        self.by_item.height() as u32
    }

    pub fn listeners_of(&self, item: u32) -> u32 {
        self.by_item.row_len(item) as u32
    }

    /// Whether it is anybody's neighbour. What one listener alone took to is not: it would tell who that is, and foretells
    /// nothing.
    fn is_shared(&self, item: u32) -> bool {
        self.by_item.row_len(item) >= LISTENERS_MIN
    }
}

/// Finds neighbours; its memory is used again for each item.
pub struct Finder<'a> {
    space: &'a Space,
    products: Vec<f32>,
    supports: Vec<u32>,
    met: Vec<u32>,
}

impl<'a> Finder<'a> {
    pub fn new(space: &'a Space) -> Self {
        let items = space.items() as usize;
        Self { space, products: vec![0.0; items], supports: vec![0; items], met: Vec::new() }
    }

    /// The nearest items of an item, nearest first; of equals the one of the lower number.
    pub fn nearest(&mut self, item: u32) -> Vec<Neighbour> {
        let mut neighbours = self.met(item);
        neighbours.retain(|neighbour| self.space.is_shared(neighbour.item));
        first(&mut neighbours, self.space.likeness.kept, |one, other| {
            other.score.total_cmp(&one.score).then(one.item.cmp(&other.item))
        });
        neighbours
    }

    /// All other items that any of its listeners took to, in no particular order.
    fn met(&mut self, item: u32) -> Vec<Neighbour> {
        let Space { likeness, by_listener, by_item, lengths } = self.space;
        for (listener, own) in by_item.row(item) {
            for (other, weight) in by_listener.row(listener) {
                if self.supports[other as usize] == 0 {
                    self.met.push(other);
                }
                self.products[other as usize] += own * weight;
                self.supports[other as usize] += 1;
            }
        }
        let own = lengths[item as usize];
        let mut neighbours: Vec<Neighbour> = Vec::with_capacity(self.met.len());
        for other in self.met.drain(..) {
            let at = other as usize;
            let (product, support) = (self.products[at], self.supports[at]);
            (self.products[at], self.supports[at]) = (0.0, 0);
            if other != item {
                let score = product / (own * lengths[at] + likeness.shrinkage);
                let listeners = by_item.row_len(other) as u32;
                neighbours.push(Neighbour { item: other, score, support, listeners });
            }
        }
        neighbours
    }
}

/// Which items' neighbours are to be found anew: those that changed, and those that a changed one was or becomes a
/// neighbour of.
pub struct Affected {
    is_changed: Vec<bool>,
    is_due: Vec<bool>,
    /// What a new neighbour has to score to be kept, of each item, as it is stored.
    thresholds: Vec<u16>,
}

impl Affected {
    /// By what changed, of all items.
    pub fn new(is_changed: Vec<bool>) -> Self {
        Self { thresholds: vec![0; is_changed.len()], is_due: is_changed.clone(), is_changed }
    }

    /// Takes note of an item's neighbours before the change; what had none is not noted.
    pub fn note(&mut self, space: &Space, item: u32, neighbours: impl Iterator<Item = Neighbour>) {
        let (mut count, mut last) = (0, None);
        for neighbour in neighbours {
            self.is_due[item as usize] |= self.is_changed[neighbour.item as usize];
            count += 1;
            last = Some(neighbour);
        }
        if let Some(last) = last.filter(|_| count == space.likeness.kept) {
            self.thresholds[item as usize] = rounded(last.score);
        }
    }

    /// The items that a changed one becomes a neighbour of.
    pub fn entered(&self, finder: &mut Finder<'_>, changed: u32) -> Vec<u32> {
        if !finder.space.is_shared(changed) {
            return Vec::new();
        }
        // A likeness is the same both ways.
        let met = finder.met(changed).into_iter();
        let enters = |other: &Neighbour| rounded(other.score) >= self.thresholds[other.item as usize];
        met.filter(enters).map(|other| other.item).collect()
    }

    /// Whether it changed, or has a neighbour that did.
    pub fn is_due(&self, item: u32) -> bool {
        self.is_due[item as usize]
    }
}

/// A score as it is stored: in 65,535 steps, which leaves its order.
pub fn rounded(score: f32) -> u16 {
    (score.clamp(0.0, 1.0) * f32::from(u16::MAX)).round() as u16
}

/// The durable form of an item's neighbours, nearest first.
pub fn write(neighbours: &[Neighbour]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(neighbours.len() * 8);
    let mut last = u16::MAX;
    for neighbour in neighbours {
        let score = rounded(neighbour.score);
        write_number(&mut bytes, neighbour.item.into());
        write_number(&mut bytes, u64::from(last - score));
        write_number(&mut bytes, neighbour.support.into());
        write_number(&mut bytes, neighbour.listeners.into());
        last = score;
    }
    bytes
}

/// What [`write`] wrote; what cannot be read ends it.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Neighbour> + '_ {
    let mut reader = Reader(bytes);
    let mut last = u16::MAX;
    let mut next = move || -> Result<Neighbour, Unreadable> {
        let (item, step) = (reader.small()?, reader.number()?);
        last = u16::try_from(step).ok().and_then(|step| last.checked_sub(step)).ok_or(Unreadable)?;
        let score = f32::from(last) / f32::from(u16::MAX);
        Ok(Neighbour { item, score, support: reader.small()?, listeners: reader.small()? })
    };
    std::iter::from_fn(move || next().ok())
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
            let of = |item: u32| -> Vec<f32> { rows.iter().map(|row| row.get(&item).map_or(0.0, weight)).collect() };
            let likeness = Likeness { shrinkage: 4.0, kept };
            let space = Space::new(likeness, by_listener);
            let mut finder = Finder::new(&space);
            for item in 0..8 {
                let own = of(item);
                let length = |weights: &[f32]| weights.iter().map(|weight| weight * weight).sum::<f32>().sqrt();
                let mut expected = Vec::new();
                for other in (0..8).filter(|other| *other != item) {
                    let theirs = of(other);
                    let support = own.iter().zip(&theirs).filter(|(own, theirs)| **own * **theirs > 0.0).count() as u32;
                    let product: f32 = own.iter().zip(&theirs).map(|(own, theirs)| own * theirs).sum();
                    let listeners = theirs.iter().filter(|weight| **weight > 0.0).count();
                    if support > 0 && listeners >= LISTENERS_MIN {
                        let score = product / (length(&own) * length(&theirs) + 4.0);
                        expected.push(Neighbour { item: other, score, support, listeners: listeners as u32 });
                    }
                }
                first(&mut expected, kept, |one, other| {
                    other.score.total_cmp(&one.score).then(one.item.cmp(&other.item))
                });
                let found = finder.nearest(item);
                prop_assert!(found.iter().all(|neighbour| 0.0 < neighbour.score && neighbour.score <= 1.0));
                prop_assert_eq!(&found, &expected);
                let stored: Vec<Neighbour> = read(&write(&found)).collect();
                let as_stored = |neighbour: &Neighbour| {
                    Neighbour { score: f32::from(rounded(neighbour.score)) / f32::from(u16::MAX), ..*neighbour }
                };
                prop_assert_eq!(stored, found.iter().map(as_stored).collect::<Vec<_>>());
            }
        }
    }

    /// Of every listener the items with their weights.
    type Rows = Vec<std::collections::BTreeMap<u32, u32>>;

    fn rows() -> impl Strategy<Value = Rows> {
        prop::collection::vec(prop::collection::btree_map(0..9_u32, 1..5_u32, 0..5), 6)
    }

    fn space_of(rows: &Rows, kept: usize) -> Space {
        let mut by_listener = Matrix::new(9);
        rows.iter().for_each(|row| by_listener.push(row.iter().map(|(item, weight)| (*item, *weight as f32 / 4.0))));
        Space::new(Likeness { shrinkage: 4.0, kept }, by_listener)
    }

    proptest! {
        #[test]
        fn what_is_not_affected_by_a_change_is_as_it_would_be_found_anew(
            before in rows(), others in rows(), changing in 0..3_usize, kept in 1..4_usize,
        ) {
            let mut now = before.clone();
            now[..changing].clone_from_slice(&others[..changing]);
            let (old, new) = (space_of(&before, kept), space_of(&now, kept));
            let is_changed = |item: u32| (0..6).any(|listener| before[listener].get(&item) != now[listener].get(&item));
            let mut affected = Affected::new((0..9).map(is_changed).collect());
            let mut finder = Finder::new(&old);
            let lists: Vec<Vec<Neighbour>> = (0..9).map(|item| finder.nearest(item)).collect();
            lists.iter().zip(0..).for_each(|(list, item)| affected.note(&new, item, list.iter().copied()));
            let mut finder = Finder::new(&new);
            let changed = (0..9).filter(|item| is_changed(*item));
            let entered: Vec<u32> = changed.flat_map(|changed| affected.entered(&mut finder, changed)).collect();
            for item in (0..9).filter(|item| !affected.is_due(*item) && !entered.contains(item)) {
                prop_assert_eq!(&finder.nearest(item), &lists[item as usize], "{}", item);
            }
        }
    }

    #[test]
    fn the_middle_between_known_and_rare_is_what_is_measured() {
        let shares = [0.0, 0.5, 1.0].map(|discovery| rarity(discovery, 100) / rarity(discovery, 10));
        assert!(shares[0] > 1.0 && shares[1] < 1.0 && shares[2] < shares[1], "{shares:?}");
    }
}
