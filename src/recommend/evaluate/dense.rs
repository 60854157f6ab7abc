//! Methods that need linear algebra: tried beside what is served, and not served.

use faer::{Mat, Scale, Side, linalg::solvers::DenseSolveCore, prelude::Solve};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Method, listeners_of};
use crate::recommend::matrix::Matrix;

/// How many items EASE is tried with: it inverts a matrix of their pairs.
pub const EASE_ITEMS_MAX: usize = 10_000;
/// Chosen on `lastfm2k`.
const EASE_PENALTY: f32 = 200.0;

/// EASE: the weights by which known items foretell each item best, all at once, none foretelling itself.
pub struct Ease {
    weights: Mat<f32>,
    /// The row and column of each item that at least two listeners know; of the others nothing can be learnt.
    places: Vec<Option<usize>>,
}

impl Ease {
    /// Nothing where the items are too many.
    pub fn new(known: &Matrix) -> Option<Self> {
        let mut count = 0;
        let place = |listeners: u32| {
            (listeners >= 2).then(|| {
                count += 1;
                count - 1
            })
        };
        let places: Vec<Option<usize>> = listeners_of(known).into_iter().map(place).collect();
        if count > EASE_ITEMS_MAX {
            return None;
        }
        let mut gram = Mat::<f32>::zeros(count, count);
        for listener in 0..known.height() as u32 {
            let row: Vec<usize> = known.row(listener).filter_map(|(item, _)| places[item as usize]).collect();
            for one in &row {
                row.iter().for_each(|other| gram[(*one, *other)] += 1.0);
            }
        }
        (0..count).for_each(|item| gram[(item, item)] += EASE_PENALTY);
        let inverse = gram.llt(Side::Lower).ok()?.inverse();
        let weight =
            |row, column| if row == column { 0.0 } else { -inverse[(row, column)] / inverse[(column, column)] };
        Some(Self { weights: Mat::from_fn(count, count, weight), places })
    }
}

impl Method for Ease {
    fn name(&self) -> &'static str {
        "EASE"
    }

    fn score(&mut self, _: u32, known: &[(u32, f32)], scores: &mut [f32]) {
        let rows: Vec<usize> = known.iter().filter_map(|(item, _)| self.places[*item as usize]).collect();
        for (score, place) in scores.iter_mut().zip(&self.places) {
            if let Some(column) = place {
                *score = rows.iter().map(|row| self.weights[(*row, *column)]).sum();
            }
        }
    }
}

const FACTORS: usize = 64;
const ROUNDS: usize = 10;
const ALS_PENALTY: f32 = 10.0;
/// How much more a known item counts than an unknown one.
const CONFIDENCE: f32 = 20.0;

/// Implicit ALS: a few factors for each listener and item, fitted by turns.
pub struct Als {
    listeners: Mat<f32>,
    items: Mat<f32>,
}

impl Als {
    pub fn new(known: &Matrix) -> Self {
        let by_item = known.transposed();
        let mut random = StdRng::seed_from_u64(1);
        let mut items = Mat::from_fn(FACTORS, known.width(), |_, _| random.random_range(-0.1_f32..0.1));
        let mut listeners = Mat::zeros(FACTORS, known.height());
        for _ in 0..ROUNDS {
            fit(known, &items, &mut listeners);
            fit(&by_item, &listeners, &mut items);
        }
        Self { listeners, items }
    }
}

/// The factors of rows that suit those of their columns best.
fn fit(rows: &Matrix, columns: &Mat<f32>, factors: &mut Mat<f32>) {
    let mut all = columns * columns.transpose();
    (0..FACTORS).for_each(|factor| all[(factor, factor)] += ALS_PENALTY);
    for row in 0..rows.height() as u32 {
        let known: Vec<usize> = rows.row(row).map(|(column, _)| column as usize).collect();
        let known = Mat::from_fn(FACTORS, known.len(), |factor, column| columns[(factor, known[column])]);
        let wanted = Mat::from_fn(known.ncols(), 1, |_, _| 1.0 + CONFIDENCE);
        let own = &all + Scale(CONFIDENCE) * (&known * known.transpose());
        // With its penalty the matrix is positive definite.
        if let Ok(solver) = own.llt(Side::Lower) {
            let solution = solver.solve(&known * wanted);
            (0..FACTORS).for_each(|factor| factors[(factor, row as usize)] = solution[(factor, 0)]);
        }
    }
}

impl Method for Als {
    fn name(&self) -> &'static str {
        "implicit ALS"
    }

    fn score(&mut self, listener: u32, _: &[(u32, f32)], scores: &mut [f32]) {
        let own = self.listeners.col(listener as usize);
        for (item, score) in scores.iter_mut().enumerate() {
            let theirs = self.items.col(item);
            *score = (0..FACTORS).map(|factor| own[factor] * theirs[factor]).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tastes that share nothing; the last listener of each lacks one item of theirs.
    fn known() -> Matrix {
        let mut known = Matrix::new(6);
        for _ in 0..5 {
            known.push([(0, 1.0), (1, 1.0), (2, 1.0)]);
            known.push([(3, 1.0), (4, 1.0), (5, 1.0)]);
        }
        known.push([(0, 1.0), (1, 1.0)]);
        known.push([(3, 1.0), (4, 1.0)]);
        known
    }

    #[test]
    fn both_find_what_a_taste_lacks() {
        let known = known();
        let methods: [Box<dyn Method>; 2] = [Box::new(Ease::new(&known).unwrap()), Box::new(Als::new(&known))];
        for mut method in methods {
            for (listener, lacked, others) in [(10, 2, [3, 4, 5]), (11, 5, [0, 1, 2])] {
                let mut scores = vec![0.0; known.width()];
                method.score(listener, &known.row(listener).collect::<Vec<_>>(), &mut scores);
                let better = others.iter().filter(|other| scores[**other] >= scores[lacked]).count();
                assert_eq!(better, 0, "{} {listener}: {scores:?}", method.name());
            }
        }
    }
}
