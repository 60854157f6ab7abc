//! What is measured: what we serve, and the plain methods that it has to beat.

use rustc_hash::FxHasher;
use std::hash::Hasher;

use super::{Method, listeners_of};
use crate::recommend::{
    matrix::Matrix,
    neighbours::{Finder, LIKENESS, Likeness, Neighbour, Space, rarity, share},
    taste,
};

/// The same for everybody: what most listeners know.
pub struct ByListeners(Vec<f32>);

impl ByListeners {
    pub fn new(known: &Matrix) -> Self {
        Self(listeners_of(known).into_iter().map(|listeners| listeners as f32).collect())
    }
}

impl Method for ByListeners {
    fn name(&self) -> &'static str {
        "popularity by listeners"
    }

    fn score(&mut self, _: u32, _: &[(u32, f32)], scores: &mut [f32]) {
        scores.copy_from_slice(&self.0);
    }
}

/// The same for everybody: what was played most.
pub struct ByPlays(Vec<f32>);

impl ByPlays {
    pub fn new(known: &Matrix) -> Self {
        let by_item = known.transposed();
        let plays = |item| by_item.row(item).map(|(_, points)| f64::from(points)).sum::<f64>() as f32;
        Self((0..by_item.height() as u32).map(plays).collect())
    }
}

impl Method for ByPlays {
    fn name(&self) -> &'static str {
        "popularity by plays"
    }

    fn score(&mut self, _: u32, _: &[(u32, f32)], scores: &mut [f32]) {
        scores.copy_from_slice(&self.0);
    }
}

/// Anything, in an order that follows from the listener and the item.
pub struct Random;

impl Method for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn score(&mut self, listener: u32, _: &[(u32, f32)], scores: &mut [f32]) {
        for (item, score) in (0_u64..).zip(scores) {
            let mut hasher = FxHasher::default();
            hasher.write_u64(u64::from(listener) << 32 | item);
            *score = (hasher.finish() >> 40) as f32;
        }
    }
}

/// Neighbours of what the listener knows, by the plain cosine: every item that they know counts once.
pub struct PlainNeighbours(Vec<Vec<Neighbour>>);

impl PlainNeighbours {
    pub fn new(known: &Matrix) -> Self {
        Self(neighbours(Likeness { shrinkage: 10.0, kept: 300 }, known.map(|_| 1.0)))
    }
}

impl Method for PlainNeighbours {
    fn name(&self) -> &'static str {
        "item-kNN, plain"
    }

    fn score(&mut self, _: u32, known: &[(u32, f32)], scores: &mut [f32]) {
        for neighbour in known.iter().flat_map(|(item, _)| &self.0[*item as usize]) {
            scores[neighbour.item as usize] += neighbour.score;
        }
    }
}

/// What is served, with the middle of `discovery`.
pub struct Served {
    neighbours: Vec<Vec<Neighbour>>,
    rarities: Vec<f32>,
}

impl Served {
    pub fn new(known: &Matrix) -> Self {
        Self {
            neighbours: neighbours(LIKENESS, known.map(taste::weight)),
            rarities: listeners_of(known).into_iter().map(|listeners| rarity(0.5, listeners)).collect(),
        }
    }
}

impl Method for Served {
    fn name(&self) -> &'static str {
        "item-kNN, as served"
    }

    fn score(&mut self, _: u32, known: &[(u32, f32)], scores: &mut [f32]) {
        let known: Vec<&(u32, f32)> = known.iter().filter(|(_, points)| taste::tells(*points)).collect();
        let points: Vec<f32> = known.iter().map(|(_, points)| *points).collect();
        for ((item, _), strength) in known.iter().zip(taste::strengths(&points)) {
            for neighbour in &self.neighbours[*item as usize] {
                scores[neighbour.item as usize] += share(strength, neighbour.score);
            }
        }
        scores.iter_mut().zip(&self.rarities).for_each(|(score, rarity)| *score *= rarity);
    }
}

fn neighbours(likeness: Likeness, by_listener: Matrix) -> Vec<Vec<Neighbour>> {
    let space = Space::new(likeness, by_listener);
    let mut finder = Finder::new(&space);
    (0..space.items()).map(|item| finder.nearest(item)).collect()
}
