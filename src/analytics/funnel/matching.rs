//! Which of a user's events may be which steps.

use super::{EventMatch, FunnelQuestion, logged::Logged};
use crate::audience::{fact::Texts, trail::Step};

/// What one event of a user means to the funnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deed {
    pub at_ms: i64,
    /// Which steps it may be, a bit each.
    pub mask: u32,
    pub is_excluded: bool,
    /// Its place among the user's steps.
    pub step: usize,
}

/// Which events are which steps.
pub struct Matching<'a> {
    matchers: Vec<Matcher<'a>>,
    /// How many of them are steps; the others exclude.
    steps: usize,
    logged: Logged,
    /// Which of them the events of one moment meet that say the same; here to be used again.
    met: Vec<u32>,
}

/// The numbers that a match's texts have, as far as they were met.
struct Matcher<'a> {
    of: &'a EventMatch,
    event_type: Option<u32>,
    origin: [Option<u32>; 3],
    genre: Option<u32>,
    /// How many texts had been looked through.
    texts: usize,
}

impl<'a> Matching<'a> {
    pub fn new(question: &'a FunnelQuestion, logged: Logged) -> Self {
        let matchers = question.all().map(Matcher::new).collect();
        Self { matchers, steps: question.steps.len(), logged, met: Vec::new() }
    }

    /// What a user's steps mean. Trails do not tell apart what was done at one moment and says the same, so of such
    /// steps as many are about an entity as the log has events there that are; which ones makes no difference.
    pub fn deeds_of(&mut self, steps: &[Step], texts: &Texts, deeds: &mut Vec<Deed>) {
        self.matchers.iter_mut().for_each(|matcher| matcher.learn(texts));
        deeds.clear();
        let of_steps = (1 << self.steps) - 1;
        for alike in steps.chunk_by(is_alike) {
            let is_met = |matcher: &Matcher| !matcher.of.is_of_log() && matcher.is_met(&alike[0]);
            let bits = self.matchers.iter().enumerate().filter(|(_, matcher)| is_met(matcher));
            let met = bits.fold(0, |bits, (bit, _)| bits | 1 << bit);
            self.met.clear();
            self.met.extend(self.logged.alike(&alike[0], texts).iter().map(|found| met | found.bits));
            self.met.resize(alike.len(), met);
            // Who may be less comes first, so that it does not take the place of who may be more.
            self.met.sort_unstable_by_key(|met| met & of_steps);
            for met in &self.met {
                let (mask, is_excluded) = (met & of_steps, met & !of_steps != 0);
                deeds.push(Deed { at_ms: alike[0].at_ms, mask, is_excluded, step: deeds.len() });
            }
        }
        // What is no step comes last of its moment.
        deeds.sort_by_key(|deed| (deed.at_ms, deed.mask.trailing_zeros()));
    }
}

/// Whether trails tell two steps of a user apart by nothing but their order.
fn is_alike(one: &Step, next: &Step) -> bool {
    let said = |step: &Step| (step.at_ms, step.event_type, step.origin, step.genre);
    said(one) == said(next)
}

impl<'a> Matcher<'a> {
    fn new(of: &'a EventMatch) -> Self {
        Self { of, event_type: None, origin: [None; 3], genre: None, texts: 0 }
    }

    /// Looks for its texts among those that are new.
    fn learn(&mut self, texts: &Texts) {
        let list = texts.list();
        for (number, text) in (1..).zip(list).skip(self.texts) {
            let learn = |wanted: Option<&String>, known: &mut Option<u32>| {
                if wanted.is_some_and(|wanted| **wanted == **text) {
                    *known = Some(number);
                }
            };
            learn(Some(&self.of.event_type), &mut self.event_type);
            learn(self.of.genre.as_ref(), &mut self.genre);
            for (wanted, known) in self.of.origin.iter().zip(&mut self.origin) {
                learn(wanted.as_ref(), known);
            }
        }
        self.texts = list.len();
    }

    fn is_met(&self, step: &Step) -> bool {
        let is_said = |wanted: &Option<String>, known: Option<u32>, said: u32| wanted.is_none() || known == Some(said);
        self.event_type == Some(step.event_type)
            && is_said(&self.of.genre, self.genre, step.genre)
            && (0..3).all(|index| is_said(&self.of.origin[index], self.origin[index], step.origin[index]))
    }
}
