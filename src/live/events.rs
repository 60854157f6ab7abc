//! Events as they are committed, handed to whoever watches them.
//!
//! What is kept for a watcher who is slow is bounded. Every event has a number, so whoever misses some knows how many.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustc_hash::FxHashSet;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    db::{
        Database, DbError,
        queries::event_list::{self, End},
    },
    domain::{
        clock::SharedClock,
        commit::Extent,
        event::{Event, EventKey},
    },
};

/// Hands committed events to watchers. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct EventFeed {
    shared: Arc<Shared>,
}

struct Shared {
    sender: broadcast::Sender<Arc<Batch>>,
    told: Mutex<Told>,
    clock: SharedClock,
}

/// Some events in a row.
#[derive(Debug, PartialEq)]
pub struct Batch {
    /// The number of the first one; a gap before it is what nobody was told.
    first: u64,
    pub events: Vec<Event>,
}

/// What watchers were told since there are any.
#[derive(Default)]
struct Told {
    /// The number of the next event.
    next: u64,
    recent: RecentKeys,
    /// Other processes' events that were received earlier are not told: perhaps they were.
    since_ms: i64,
    /// How many events others' words announced that were not found; below 0, how many were found before their word.
    missing: i64,
}

/// Events of one batch; what is kept for slow watchers is so many batches.
const BATCH_EVENTS_MAX: usize = 256;
/// Texts of one batch: a batch of the largest events is one of them, and so are all batches 32 MiB by default.
const BATCH_SIZE_BYTES_MAX: usize = 256 << 10;
/// The newest rows of another process's commit that are read.
const FOLLOWED_ROWS_MAX: usize = 5_000;
/// Some 80 bytes each.
const RECENT_KEYS_MAX: usize = 65_536;

impl EventFeed {
    /// Keeps about so many events for watchers who are slow.
    pub fn new(kept_events: usize, clock: SharedClock) -> Self {
        let (sender, _) = broadcast::channel(kept_events.div_ceil(BATCH_EVENTS_MAX));
        Self { shared: Arc::new(Shared { sender, told: Mutex::default(), clock }) }
    }

    /// Watches from now on.
    pub fn watch(&self) -> EventWatch {
        let mut told = self.lock();
        if !self.is_watched() {
            let next = told.next;
            *told = Told { next, since_ms: self.shared.clock.now_ms(), ..Told::default() };
        }
        EventWatch { receiver: self.shared.sender.subscribe(), expected: told.next }
    }

    /// Hands on what this process has committed. Costs nothing while nobody watches.
    pub fn publish(&self, events: &[&Event]) {
        if self.is_watched() {
            let mut told = self.lock();
            let fresh: Vec<Event> =
                events.iter().filter(|event| told.recent.insert(event)).map(|event| (*event).clone()).collect();
            // The others were taken for another process's between their commit and this.
            told.missing += length(events.len() - fresh.len());
            self.send(&mut told, fresh);
        }
    }

    /// Says that so many events may have been committed that nobody will be told.
    pub fn skip(&self, count: usize) {
        if self.is_watched() && count > 0 {
            let mut told = self.lock();
            told.next += count as u64;
            self.send_batch(&mut told, Vec::new());
        }
    }

    /// Looks for what another process has committed: `count` events of this extent, where it says so.
    pub async fn follow(
        &self,
        database: &Database,
        extent: Option<Extent>,
        count: Option<usize>,
    ) -> Result<(), DbError> {
        if !self.is_watched() {
            return Ok(());
        }
        let since_ms = self.lock().since_ms;
        let extent = extent.unwrap_or(Extent { oldest_ms: i64::MIN, newest_ms: i64::MAX - 1 });
        let stretch = EventKey::first_at(extent.oldest_ms)..EventKey::first_at(extent.newest_ms + 1);
        let found = event_list::find_step(database.reader(), &stretch, End::Newest, FOLLOWED_ROWS_MAX).await?;
        let mut events = Vec::new();
        if let Some((oldest, _)) = found {
            events = event_list::list_received(database.reader(), &(oldest..stretch.end), since_ms).await?;
            events.reverse();
        }
        self.take_in(events, count);
        Ok(())
    }

    fn take_in(&self, mut events: Vec<Event>, count: Option<usize>) {
        let mut told = self.lock();
        events.retain(|event| told.recent.insert(event));
        told.since_ms = told.since_ms.max(told.recent.forgotten_ms);
        if let Some(count) = count {
            told.missing += length(count) - length(events.len());
        }
        self.send(&mut told, events);
        let missing = std::mem::take(&mut told.missing);
        match usize::try_from(missing) {
            Ok(0) => {}
            Ok(skipped) => {
                told.next += skipped as u64;
                self.send_batch(&mut told, Vec::new());
            }
            Err(_) => told.missing = missing,
        }
    }

    fn send(&self, told: &mut Told, events: Vec<Event>) {
        let (mut batch, mut size_bytes) = (Vec::new(), 0);
        for event in events {
            size_bytes += event.properties.as_ref().map_or(0, String::len);
            batch.push(event);
            if batch.len() == BATCH_EVENTS_MAX || size_bytes > BATCH_SIZE_BYTES_MAX {
                self.send_batch(told, std::mem::take(&mut batch));
                size_bytes = 0;
            }
        }
        if !batch.is_empty() {
            self.send_batch(told, batch);
        }
    }

    fn send_batch(&self, told: &mut Told, events: Vec<Event>) {
        let first = told.next;
        told.next += events.len() as u64;
        // Nobody may be there any more.
        let _ = self.shared.sender.send(Arc::new(Batch { first, events }));
    }

    fn is_watched(&self) -> bool {
        self.shared.sender.receiver_count() > 0
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.shared.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The newest keys that were told.
#[derive(Default)]
struct RecentKeys {
    keys: FxHashSet<EventKey>,
    order: VecDeque<(EventKey, i64)>,
    /// From when on what was received is known here.
    forgotten_ms: i64,
}

impl RecentKeys {
    /// Whether it was not there.
    fn insert(&mut self, event: &Event) -> bool {
        if !self.keys.insert(event.key) {
            return false;
        }
        self.order.push_back((event.key, event.received_at_ms));
        if self.order.len() > RECENT_KEYS_MAX
            && let Some((key, received_at_ms)) = self.order.pop_front()
        {
            self.keys.remove(&key);
            self.forgotten_ms = self.forgotten_ms.max(received_at_ms + 1);
        }
        true
    }
}

/// One watcher's place among the events.
pub struct EventWatch {
    receiver: broadcast::Receiver<Arc<Batch>>,
    /// The number of the next event that it has not been told.
    expected: u64,
}

impl EventWatch {
    /// The next events, and how many before them this watcher was not told. Once the process ends, none ever come.
    pub async fn next(&mut self) -> (Arc<Batch>, u64) {
        loop {
            match self.receiver.recv().await {
                Ok(batch) => return self.told(batch),
                // The numbers tell how many events that were.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// The same, of what is there already.
    pub fn try_next(&mut self) -> Option<(Arc<Batch>, u64)> {
        loop {
            match self.receiver.try_recv() {
                Ok(batch) => return Some(self.told(batch)),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }

    fn told(&mut self, batch: Arc<Batch>) -> (Arc<Batch>, u64) {
        let skipped = batch.first - self.expected;
        self.expected = batch.first + batch.events.len() as u64;
        (batch, skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::ManualClock;

    fn feed(kept_events: usize) -> EventFeed {
        EventFeed::new(kept_events, Arc::new(ManualClock::at(1_000)))
    }

    fn events(numbers: std::ops::Range<u64>) -> Vec<Event> {
        let event = |number: u64| {
            let mut event = Event::bare("a.b", 1_000);
            event.key.hash[8..].copy_from_slice(&number.to_be_bytes());
            event
        };
        numbers.map(event).collect()
    }

    fn publish(feed: &EventFeed, numbers: std::ops::Range<u64>) {
        let events = events(numbers);
        feed.publish(&events.iter().collect::<Vec<_>>());
    }

    /// All that is there: how many events, and how many were skipped.
    fn told(watch: &mut EventWatch) -> (usize, u64) {
        std::iter::from_fn(|| watch.try_next())
            .fold((0, 0), |(count, skipped), (batch, more)| (count + batch.events.len(), skipped + more))
    }

    #[test]
    fn watchers_are_told_everything_since_they_began() {
        let feed = feed(10_000);
        publish(&feed, 0..5);
        let mut early = feed.watch();
        publish(&feed, 5..1_000);
        let mut late = feed.watch();
        publish(&feed, 1_000..1_007);
        assert_eq!((told(&mut early), told(&mut late)), ((1_002, 0), (7, 0)));
        assert_eq!(told(&mut early), (0, 0));
    }

    #[test]
    fn who_is_slow_is_told_how_much_they_missed() {
        let feed = feed(2 * BATCH_EVENTS_MAX);
        let mut watch = feed.watch();
        publish(&feed, 0..5);
        publish(&feed, 5..6 + 4 * BATCH_EVENTS_MAX as u64);
        // Two batches are kept: a full one and the single last event.
        assert_eq!(told(&mut watch), (BATCH_EVENTS_MAX + 1, 5 + 3 * BATCH_EVENTS_MAX as u64));
        feed.skip(3);
        assert_eq!(told(&mut watch), (0, 3));
    }

    #[test]
    fn large_events_are_kept_in_small_batches() {
        let feed = feed(10_000);
        let mut watch = feed.watch();
        let mut large = events(0..10);
        large.iter_mut().for_each(|event| event.properties = Some("x".repeat(100 << 10)));
        feed.publish(&large.iter().collect::<Vec<_>>());
        let sizes: Vec<usize> = std::iter::from_fn(|| watch.try_next()).map(|(batch, _)| batch.events.len()).collect();
        assert_eq!(sizes, [3, 3, 3, 1]);
    }

    #[test]
    fn what_others_commit_is_told_once_and_what_is_not_found_is_told_as_skipped() {
        let feed = feed(10_000);
        let mut watch = feed.watch();
        publish(&feed, 0..2);
        assert_eq!(told(&mut watch), (2, 0));
        // A look finds our own again, another's, and one that its word is still to come for.
        feed.take_in(events(0..4), Some(1));
        assert_eq!(told(&mut watch), (2, 0));
        feed.take_in(events(0..4), Some(1));
        assert_eq!(told(&mut watch), (0, 0));
        // Of ten announced ones two are found.
        feed.take_in(events(2..6), Some(10));
        assert_eq!(told(&mut watch), (2, 8));
        // Our own, which a look found before we said so.
        feed.take_in(events(6..7), Some(0));
        publish(&feed, 6..7);
        feed.take_in(Vec::new(), Some(1));
        assert_eq!(told(&mut watch), (1, 1));
        // Nothing is announced on SQLite.
        feed.take_in(events(7..9), None);
        assert_eq!(told(&mut watch), (2, 0));
    }

    #[test]
    fn what_may_have_been_forgotten_is_not_told_again() {
        let feed = feed(10_000);
        let _watch = feed.watch();
        assert_eq!(feed.lock().since_ms, 1_000);
        let count = RECENT_KEYS_MAX as u64;
        publish(&feed, 0..count);
        feed.take_in(Vec::new(), None);
        assert_eq!(feed.lock().since_ms, 1_000);
        publish(&feed, count..count + 1);
        feed.take_in(Vec::new(), None);
        assert_eq!(feed.lock().since_ms, 1_001);
    }
}
