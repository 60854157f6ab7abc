//! What only the log tells of events: whether they are about something, and what their properties say.

use std::{cell::LazyCell, ops::Range, sync::Arc, time::Duration, time::Instant};

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::{EventMatch, FunnelQuestion};
use crate::{
    analytics::{
        Analytics,
        events::Places,
        log::{LogError, LogReading},
    },
    audience::{fact::Texts, trail::Step},
    db::{
        DbError,
        queries::explore::{LogColumns, LogFilter},
    },
    domain::{error::ErrorKind, event::Event, event_filter::Named, window::Window},
};

/// Into how many stretches the log is read. Where there are more, the shortest ways between them are read too: a
/// stretch costs a statement, however little there is in it.
const STRETCHES_MAX: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum FunnelError {
    #[error(
        "would read more than {limit} events, the budget of rows, to see which of them are about an entity or have \
         properties: ask for a shorter window, or in such steps also for an entity, country, source, device or genre"
    )]
    TooManyRows { limit: usize },
    #[error(
        "took longer than {limit:?}, the budget of time, to see which events are about an entity or have properties: \
         ask for a shorter window"
    )]
    TooSlow { limit: Duration },
    #[error("the numbers cannot be read")]
    Store(#[from] DbError),
}

impl FunnelError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooManyRows { .. } | Self::TooSlow { .. } => ErrorKind::BudgetExceeded,
            Self::Store(error) if error.is_transient() => ErrorKind::Unavailable,
            Self::Store(_) => ErrorKind::Internal,
        }
    }
}

impl From<LogError> for FunnelError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::TooManyRows { limit, .. } => Self::TooManyRows { limit },
            LogError::TooSlow { limit } => Self::TooSlow { limit },
            LogError::Store(error) => Self::Store(error),
        }
    }
}

/// What steps say, in the order of [`Step::told`].
type Saying = [Option<Arc<str>>; 5];

/// The events that meet what only the log tells.
#[derive(Default)]
pub struct Logged {
    sayings: FxHashMap<Saying, u32>,
    /// Sorted.
    found: Vec<Found>,
    /// The sayings of steps by the numbers of their texts, as far as they were met.
    known: FxHashMap<[u32; 5], Option<u32>>,
}

/// An event that meets some of the question's matches. So small, because a budget holds millions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    user: u32,
    at_ms: i64,
    saying: u32,
    /// Which of the steps, and then of what is excluded, it meets: a bit each.
    pub bits: u32,
}

impl Logged {
    /// Those that trails do not tell apart from this step; `texts` has to be the same for all steps.
    pub fn alike(&mut self, step: &Step, texts: &Texts) -> &[Found] {
        if self.found.is_empty() {
            return &[];
        }
        let [country, source, device] = step.origin;
        let numbers = [step.event_type, country, source, device, step.genre];
        let find = || self.sayings.get(&step.told(texts).map(|text| text.cloned())).copied();
        let Some(saying) = *self.known.entry(numbers).or_insert_with(find) else { return &[] };
        let key = |found: &Found| (found.user, found.at_ms, found.saying);
        let sought = (step.user, step.at_ms, saying);
        let start = self.found.partition_point(|found| key(found) < sought);
        let count = self.found[start..].iter().take_while(|found| key(found) == sought).count();
        &self.found[start..start + count]
    }
}

impl Analytics {
    /// The events of a stretch that meet what the question asks for beyond trails. Source: one snapshot of the log, where
    /// counters tell that there is something.
    pub(super) async fn logged(&self, question: &FunnelQuestion, during: &Range<i64>) -> Result<Logged, FunnelError> {
        let started = Instant::now();
        let asked = question.all().enumerate().filter(|(_, of)| of.is_of_log());
        let named = |of: &EventMatch| of.entity.as_ref().map(|entity| Named::of(entity, &self.merges));
        let asked: Vec<Asked> = asked.map(|(bit, of)| Asked { bit: 1 << bit, of, named: named(of) }).collect();
        if asked.is_empty() {
            return Ok(Logged::default());
        }
        let mut places = Vec::new();
        for Asked { of, named, .. } in &asked {
            places.extend(Places::list(self, &of.event_type, named.clone(), during.clone()).await?);
        }
        let filters: Vec<LogFilter> = asked.iter().map(Asked::filter).collect();
        let properties = asked.iter().any(|asked| !asked.of.properties.is_empty());
        let mut gathered = Gathered::default();
        let mut reading = LogReading::begin(self, started).await?;
        for stretch in united(places, STRETCHES_MAX) {
            let stretch = Window { from_ms: stretch.start, to_ms: stretch.end };
            let take = |event: &Event| {
                gathered.take(event, &asked);
                Ok::<(), LogError>(())
            };
            reading.read(&filters, LogColumns { people: true, properties }, stretch, take).await?;
        }
        let users: Vec<&str> = gathered.users.keys().map(|id| &**id).collect();
        let numbers = reading.numbers_of(&users).await?;
        Ok(gathered.into_logged(&numbers))
    }
}

/// A match that trails cannot decide about.
struct Asked<'a> {
    bit: u32,
    of: &'a EventMatch,
    named: Option<Named>,
}

impl Asked<'_> {
    /// What the database can tell of which events are meant.
    fn filter(&self) -> LogFilter {
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        let [country, source, device] = self.of.origin.each_ref().map(text);
        LogFilter {
            types: vec![self.of.event_type.as_str().into()],
            country,
            source,
            device,
            genre: text(&self.of.genre),
            named: self.named.iter().cloned().collect(),
            of_users: true,
            ..LogFilter::default()
        }
    }

    fn is_met(&self, event: &Event, properties: &impl std::ops::Deref<Target = Value>) -> bool {
        let EventMatch { event_type, origin, genre, properties: asked, .. } = self.of;
        let said = [&event.country, &event.listening_source, &event.device];
        *event_type == event.event_type
            && (genre.is_none() || *genre == event.genre)
            && origin.iter().zip(said).all(|(asked, said)| asked.is_none() || asked == said)
            && self.named.as_ref().is_none_or(|named| named.is_in(event))
            && asked.iter().all(|asked| asked.is_in(properties))
    }
}

/// What was found so far; users have numbers of its own.
#[derive(Default)]
struct Gathered {
    users: FxHashMap<Arc<str>, u32>,
    sayings: FxHashMap<Saying, u32>,
    found: Vec<Found>,
}

impl Gathered {
    fn take(&mut self, event: &Event, asked: &[Asked<'_>]) {
        let Some(user) = &event.user_id else { return };
        let properties = LazyCell::new(|| {
            let properties = event.properties.as_deref().and_then(|text| serde_json::from_str(text).ok());
            properties.unwrap_or(Value::Null)
        });
        let met = asked.iter().filter(|asked| asked.is_met(event, &properties));
        let bits = met.fold(0, |bits, asked| bits | asked.bit);
        if bits == 0 {
            return;
        }
        let text = |text: &Option<String>| text.as_deref().map(Arc::from);
        let [country, source, device, genre] =
            [&event.country, &event.listening_source, &event.device, &event.genre].map(text);
        let saying = [Some(event.event_type.as_str().into()), country, source, device, genre];
        self.found.push(Found {
            user: number_of(&mut self.users, user.clone()),
            at_ms: event.key.occurred_at_ms,
            saying: number_of(&mut self.sayings, saying),
            bits,
        });
    }

    /// With the numbers that trails have for users.
    fn into_logged(self, numbers: &[(String, u32)]) -> Logged {
        let mut of_trails = vec![None; self.users.len()];
        for (id, number) in numbers {
            if let Some(own) = self.users.get(id.as_str()) {
                of_trails[*own as usize] = Some(*number);
            }
        }
        let numbered = |found: Found| Some(Found { user: of_trails[found.user as usize]?, ..found });
        let mut found: Vec<Found> = self.found.into_iter().filter_map(numbered).collect();
        found.sort_unstable();
        Logged { sayings: self.sayings, found, known: FxHashMap::default() }
    }
}

fn number_of<K: std::hash::Hash + Eq>(numbers: &mut FxHashMap<K, u32>, key: K) -> u32 {
    let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    *numbers.entry(key).or_insert(next)
}

/// Stretches that hold all of some, in order and apart: at most so many, with the shortest gaps closed.
fn united(mut stretches: Vec<Range<i64>>, most: usize) -> Vec<Range<i64>> {
    stretches.sort_unstable_by_key(|stretch| stretch.start);
    let mut apart: Vec<Range<i64>> = Vec::new();
    for stretch in stretches {
        match apart.last_mut() {
            Some(last) if stretch.start <= last.end => last.end = last.end.max(stretch.end),
            _ => apart.push(stretch),
        }
    }
    let gap = |pair: &[Range<i64>]| pair[1].start - pair[0].end;
    let mut gaps: Vec<i64> = apart.windows(2).map(gap).collect();
    gaps.sort_unstable();
    // Gaps as long as the longest that has to go are closed too.
    let Some(closed) = gaps.len().checked_sub(most).map(|place| gaps[place]) else { return apart };
    let mut united: Vec<Range<i64>> = Vec::new();
    for stretch in apart {
        match united.last_mut() {
            Some(last) if stretch.start - last.end <= closed => last.end = stretch.end,
            _ => united.push(stretch),
        }
    }
    united
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_united_where_they_meet_and_where_there_are_too_many() {
        let stretches = vec![40..50, 0..10, 5..20, 20..25, 27..30, 90..95];
        for (most, expected) in [
            (9, vec![0..25, 27..30, 40..50, 90..95]),
            (4, vec![0..25, 27..30, 40..50, 90..95]),
            (3, vec![0..30, 40..50, 90..95]),
            (2, vec![0..50, 90..95]),
            (1, vec![Range { start: 0, end: 95 }]),
        ] {
            assert_eq!(united(stretches.clone(), most), expected, "at most {most}");
        }
        assert_eq!(united(Vec::new(), 1), []);
    }
}
