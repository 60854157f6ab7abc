//! How far users get through some steps.
//!
//! Trails tell what each user did one after the other, and most of what a step can ask for. What they do not hold, what
//! an event is about and its properties, is read from the log first ([`logged`]); then each user's steps are shown once.

mod logged;
mod matching;

use std::{collections::HashMap, sync::Arc};

use rustc_hash::FxHashMap;

pub use self::logged::FunnelError;
use self::matching::{Deed, Matching};
use super::{Analytics, trails::Walk};
use crate::domain::{entity::EntityRef, origin::Dimension, property::PropertyMatch, window::Window};

/// Which events are meant. What is left out matches anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventMatch {
    pub event_type: String,
    /// By [`Dimension`].
    pub origin: [Option<String>; 3],
    pub genre: Option<String>,
    /// About this, or what is read as it.
    pub entity: Option<EntityRef>,
    pub properties: Vec<PropertyMatch>,
}

impl EventMatch {
    /// Whether only the log tells.
    fn is_of_log(&self) -> bool {
        self.entity.is_some() || !self.properties.is_empty()
    }
}

/// In which order the steps have to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunnelOrder {
    /// One after the other, whatever else happens in between.
    Sequential,
    /// One after the other, and nothing else in between.
    Strict,
    /// In whatever order.
    Any,
}

/// What a funnel is told apart by: what the event of an attempt's first step says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunnelBy {
    Origin(Dimension),
    Genre,
}

#[derive(Debug, Clone)]
pub struct FunnelQuestion {
    pub steps: Vec<EventMatch>,
    /// An attempt during which one of these happens ends there.
    pub exclude: Vec<EventMatch>,
    /// How long after its first step an attempt may take.
    pub within_ms: i64,
    pub order: FunnelOrder,
    /// When attempts begin.
    pub during: Window,
    pub by: Option<FunnelBy>,
}

impl FunnelQuestion {
    /// The steps, and then what is excluded.
    fn all(&self) -> impl Iterator<Item = &EventMatch> {
        self.steps.iter().chain(&self.exclude)
    }
}

/// Users who got to one step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reached {
    pub users: u64,
    /// The median of the time since the step before, and since the first; `None` where nobody got here.
    pub since_previous_ms: Option<i64>,
    pub since_first_ms: Option<i64>,
}

/// A funnel, and the same by what the first step's events say, most users first, then by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Funnel {
    pub steps: Vec<Reached>,
    pub parts: Vec<(Option<Arc<str>>, Vec<Reached>)>,
}

impl Analytics {
    /// How many users got how far in their best attempt: the one that gets furthest, and there first; where several
    /// ways lead there, the one whose steps lie closest behind each other.
    ///
    /// Attempts begin in the window, and may end behind it. Events of one moment are taken in the order of the steps.
    /// Source: trails, each event of a user once; for what is asked of an event's entity or properties, the log within
    /// the budgets of rows and time.
    pub async fn funnel(&self, question: &FunnelQuestion) -> Result<Funnel, FunnelError> {
        let FunnelQuestion { during, within_ms, order, by, .. } = question;
        let named = question.all().map(|step| step.event_type.clone());
        let event_types = (*order != FunnelOrder::Strict).then(|| named.collect());
        let until_ms = during.to_ms.saturating_add(*within_ms);
        let walk = Walk { during: during.from_ms..until_ms, event_types, ..Walk::default() };
        // First, so that nearly all of it is on trails by then: what is found, and not shown there yet, is no step.
        let logged = self.logged(question, &walk.during).await?;
        let mut matching = Matching::new(question, logged);
        let mut all = Times::new(question.steps.len());
        let mut parts: HashMap<u32, Times> = HashMap::new();
        let mut names: FxHashMap<u32, Option<Arc<str>>> = FxHashMap::default();
        let mut deeds = Vec::new();
        self.walk(&walk, |steps, texts| {
            matching.deeds_of(steps, texts, &mut deeds);
            let Some(attempt) = best_attempt(question, &deeds) else { return };
            all.add(&attempt);
            let Some(by) = by else { return };
            let first = &steps[attempt[0].step];
            let text = match by {
                FunnelBy::Origin(dimension) => first.origin[*dimension as usize],
                FunnelBy::Genre => first.genre,
            };
            names.entry(text).or_insert_with(|| texts.text(text).cloned());
            parts.entry(text).or_insert_with(|| Times::new(question.steps.len())).add(&attempt);
        })
        .await?;
        let mut parts: Vec<(Option<Arc<str>>, Vec<Reached>)> =
            parts.into_iter().map(|(text, times)| (names.remove(&text).flatten(), times.reached())).collect();
        parts.sort_by(|(one, reached), (next, next_reached)| {
            next_reached[0].users.cmp(&reached[0].users).then_with(|| one.cmp(next))
        });
        Ok(Funnel { steps: all.reached(), parts })
    }
}

/// A user's best attempt, step by step; `None` where the first step was never done in the window.
fn best_attempt(question: &FunnelQuestion, deeds: &[Deed]) -> Option<Vec<Deed>> {
    let best = match question.order {
        FunnelOrder::Any => in_any_order(question, deeds),
        FunnelOrder::Sequential | FunnelOrder::Strict => in_order(question, deeds),
    };
    Some(best).filter(|best| !best.is_empty())
}

/// Of the attempts that have got to a step, the one that began last has the most time left: it alone goes on.
fn in_order(question: &FunnelQuestion, deeds: &[Deed]) -> Vec<Deed> {
    let count = question.steps.len();
    let is_strict = question.order == FunnelOrder::Strict;
    let mut under_way: Vec<Vec<Deed>> = vec![Vec::new(); count];
    let mut best = Vec::new();
    for deed in deeds {
        let before = is_strict.then(|| std::mem::replace(&mut under_way, vec![Vec::new(); count]));
        if deed.is_excluded && deed.mask == 0 {
            under_way.iter_mut().for_each(Vec::clear);
            continue;
        }
        // From the last step on, so that one event is not two steps.
        for step in (0..count).rev().filter(|step| deed.mask & 1 << step != 0) {
            let attempt = match step.checked_sub(1) {
                None if question.during.from_ms <= deed.at_ms && deed.at_ms < question.during.to_ms => vec![*deed],
                None => continue,
                Some(previous) => {
                    let previous = &before.as_ref().unwrap_or(&under_way)[previous];
                    let in_time = |first: &Deed| deed.at_ms - first.at_ms <= question.within_ms;
                    if !previous.first().is_some_and(in_time) {
                        continue;
                    }
                    previous.iter().chain([deed]).copied().collect()
                }
            };
            if attempt.len() > best.len() {
                best.clone_from(&attempt);
            }
            under_way[step] = attempt;
        }
        if best.len() == count {
            break;
        }
    }
    best
}

/// From each event on: an event is the first step that it may be and that is not done yet.
fn in_any_order(question: &FunnelQuestion, deeds: &[Deed]) -> Vec<Deed> {
    let all = (1 << question.steps.len()) - 1;
    // More than these nobody can do here.
    let possible = (deeds.iter().fold(0, |mask, deed| mask | deed.mask) & all).count_ones() as usize;
    let mut best: Vec<Deed> = Vec::new();
    let mut best_end_ms = i64::MAX;
    let begins = |deed: &Deed| deed.mask != 0 && (question.during.from_ms..question.during.to_ms).contains(&deed.at_ms);
    for (begin, first) in deeds.iter().enumerate().filter(|(_, deed)| begins(deed)) {
        let (mut done, mut attempt) = (0_u32, Vec::new());
        for deed in &deeds[begin..] {
            let is_over = deed.at_ms - first.at_ms > question.within_ms || deed.is_excluded && deed.mask == 0;
            if is_over {
                break;
            }
            let open = deed.mask & !done;
            if open != 0 {
                done |= 1 << open.trailing_zeros();
                attempt.push(*deed);
            }
        }
        let end_ms = attempt.last().map_or(i64::MAX, |deed| deed.at_ms);
        if attempt.len() > best.len() || attempt.len() == best.len() && end_ms <= best_end_ms {
            (best, best_end_ms) = (attempt, end_ms);
        }
        if best.len() >= possible && first.at_ms > best_end_ms {
            break;
        }
    }
    best
}

/// How long attempts took.
struct Times {
    /// By step: since the step before, and since the first.
    steps: Vec<(Vec<i64>, Vec<i64>)>,
}

impl Times {
    fn new(steps: usize) -> Self {
        Self { steps: vec![Default::default(); steps] }
    }

    fn add(&mut self, attempt: &[Deed]) {
        let mut previous_ms = attempt[0].at_ms;
        for (deed, (since_previous, since_first)) in attempt.iter().zip(&mut self.steps) {
            since_previous.push(deed.at_ms - previous_ms);
            since_first.push(deed.at_ms - attempt[0].at_ms);
            previous_ms = deed.at_ms;
        }
    }

    fn reached(self) -> Vec<Reached> {
        let reached = |(since_previous, since_first): (Vec<i64>, Vec<i64>)| Reached {
            users: since_first.len() as u64,
            since_previous_ms: median(since_previous),
            since_first_ms: median(since_first),
        };
        self.steps.into_iter().map(reached).collect()
    }
}

/// The middle one; of an even number the mean of the two in the middle, rounded down.
pub fn median(mut values: Vec<i64>) -> Option<i64> {
    let middle = values.len() / 2;
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = (!values.is_empty()).then(|| values.select_nth_unstable(middle))?;
    let upper = *upper;
    let lower = below.iter().max().copied().filter(|_| is_even).unwrap_or(upper);
    Some(lower + (upper - lower) / 2)
}
