//! Live answers: one computation per question that anybody watches, however many watch it.
//!
//! A commit marks the questions that it touches. The hub answers all marked questions that are due in
//! one call, and publishes each answer through a latest-wins channel: a slow watcher skips to the
//! newest state, never queues, and never slows others.

mod events;

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use self::events::{Batch, EventFeed, EventWatch};

use crate::{
    domain::{
        commit::{Changed, CommitObserver},
        entity::{EntityKind, EntityRef},
        measure::{Measures, Metric, Need},
        ranking::Among,
        realtime::RealtimeNumbers,
        window::{AskedWindow, QUARTER_MS, Window},
    },
    telemetry::Metrics,
};

/// What can be watched. Equal questions are one computation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    Metrics {
        entity: EntityRef,
        window: AskedWindow,
        zone: chrono_tz::Tz,
        need: Need,
    },
    Ranking {
        of: EntityKind,
        by: Metric,
        window: AskedWindow,
        among: Among,
        first: usize,
    },
    /// What happens right now, for an entity or for the whole platform.
    Realtime {
        of: Option<EntityRef>,
    },
}

impl Question {
    /// Whether the answer changes with every second that passes, and not only with commits.
    fn follows_the_clock(&self) -> bool {
        matches!(self, Self::Realtime { .. })
    }
}

/// The state of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Metrics { window: Window, measures: Box<Measures> },
    Ranking { window: Window, list: Vec<(EntityRef, i64)> },
    Realtime(RealtimeNumbers),
}

/// A published state. `sequence` counts a question's states since somebody began to watch it, so that
/// a watcher sees how many it skipped.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub sequence: u64,
    pub at_ms: i64,
    pub answer: Answer,
}

/// Answers questions; the read side, as far as the hub knows it.
pub trait Answers: Send + Sync + 'static {
    fn now_ms(&self) -> i64;

    /// The states of all these questions, in order; `None` where the database could not be asked.
    fn answer<'a>(
        &'a self,
        questions: &'a [Question],
    ) -> Pin<Box<dyn Future<Output = Option<Vec<Answer>>> + Send + 'a>>;
}

type Latest = watch::Sender<Option<Arc<State>>>;

/// One watched question.
struct Watched {
    latest: Latest,
    /// The shortest interval that a watcher asked for.
    interval: Duration,
    is_marked: bool,
    /// When it may be answered again where it is marked.
    due: Instant,
    /// When it is answered again even where it is not marked, because time has passed.
    ticks_at: Option<Instant>,
}

/// Fans states out to watchers. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    questions: Mutex<HashMap<Question, Watched>>,
    /// Wakes the loop when a question is marked or new.
    wake: Notify,
    metrics: Arc<Metrics>,
}

/// How long an unanswerable question waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a question that follows the clock is answered while nothing is committed.
const TICK: Duration = Duration::from_secs(1);

impl Hub {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { shared: Arc::new(Shared { questions: Mutex::default(), wake: Notify::new(), metrics }) }
    }

    /// Watches a question. The channel holds nothing until the first state is known, then the newest.
    pub fn watch(&self, question: Question, interval: Duration) -> watch::Receiver<Option<Arc<State>>> {
        let mut questions = self.lock();
        let watched = questions.entry(question).or_insert_with(|| Watched {
            latest: watch::Sender::new(None),
            interval,
            is_marked: true,
            due: Instant::now(),
            ticks_at: None,
        });
        watched.interval = watched.interval.min(interval);
        let receiver = watched.latest.subscribe();
        self.shared.metrics.live_questions.set(i64::try_from(questions.len()).unwrap_or(i64::MAX));
        drop(questions);
        self.shared.wake.notify_one();
        receiver
    }

    /// Runs until the process stops.
    pub async fn run(self, answers: Arc<dyn Answers>) {
        loop {
            let next = self.next_due(answers.now_ms());
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.shared.wake.notified() => {}
            }
            self.answer_due(&*answers).await;
        }
    }

    /// When the next marked question is due; at the latest when windows move on.
    fn next_due(&self, now_ms: i64) -> Instant {
        let to_next_quarter = QUARTER_MS - now_ms.rem_euclid(QUARTER_MS);
        let window_moves = Instant::now() + Duration::from_millis(u64::try_from(to_next_quarter).unwrap_or(0));
        let questions = self.lock();
        let marked = questions.values().filter(|watched| watched.is_marked).map(|watched| watched.due);
        let ticks = questions.values().filter_map(|watched| watched.ticks_at);
        marked.chain(ticks).chain([window_moves]).min().unwrap_or(window_moves)
    }

    async fn answer_due(&self, answers: &dyn Answers) {
        let due = self.take_due(answers.now_ms());
        if due.is_empty() {
            return;
        }
        let answered = answers.answer(&due).await;
        let at_ms = answers.now_ms();
        let mut questions = self.lock();
        let Some(answered) = answered else {
            for question in &due {
                if let Some(watched) = questions.get_mut(question) {
                    watched.is_marked = true;
                    watched.due = Instant::now() + RETRY;
                }
            }
            return;
        };
        for (question, answer) in due.iter().zip(answered) {
            if let Some(watched) = questions.get(question) {
                publish(&watched.latest, at_ms, answer);
            }
        }
    }

    /// Unmarks and returns what is to be answered now; forgets what nobody watches any more.
    fn take_due(&self, now_ms: i64) -> Vec<Question> {
        let now = Instant::now();
        let mut questions = self.lock();
        questions.retain(|_, watched| watched.latest.receiver_count() > 0);
        self.shared.metrics.live_questions.set(i64::try_from(questions.len()).unwrap_or(i64::MAX));
        let quarter = now_ms - now_ms.rem_euclid(QUARTER_MS);
        let mut due = Vec::new();
        for (question, watched) in questions.iter_mut() {
            let is_of_old_quarter = watched.latest.borrow().as_ref().is_some_and(|state| state.at_ms < quarter);
            let ticks = watched.ticks_at.is_some_and(|at| at <= now);
            if (watched.is_marked && watched.due <= now) || ticks || is_of_old_quarter {
                watched.is_marked = false;
                watched.due = now + watched.interval;
                watched.ticks_at = question.follows_the_clock().then(|| now + TICK.max(watched.interval));
                due.push(question.clone());
            }
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Question, Watched>> {
        self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes an answer unless it is what the watchers have.
fn publish(latest: &Latest, at_ms: i64, answer: Answer) {
    latest.send_if_modified(|state| {
        let is_news = state.as_ref().is_none_or(|state| state.answer != answer);
        let sequence = state.as_ref().map_or(1, |state| state.sequence + u64::from(is_news));
        // An unchanged state is noted too, but nobody is woken: it holds for a new quarter-hour.
        *state = Some(Arc::new(State { sequence, at_ms, answer }));
        is_news
    });
}

impl CommitObserver for Hub {
    fn committed(&self, changed: &Changed) {
        let mut questions = self.lock();
        let mut is_anything_marked = false;
        for (question, watched) in questions.iter_mut() {
            if touches(changed, question) {
                watched.is_marked = true;
                is_anything_marked = true;
            }
        }
        drop(questions);
        if is_anything_marked {
            self.shared.wake.notify_one();
        }
    }
}

fn touches(changed: &Changed, question: &Question) -> bool {
    match (changed, question) {
        (Changed::Everything { .. }, _) => true,
        (Changed::Entities(entities), Question::Metrics { entity, .. }) => entities.contains_key(entity),
        (Changed::Entities(entities), Question::Realtime { of: Some(entity) }) => entities.contains_key(entity),
        // Only what some entity is credited with is played.
        (Changed::Entities(entities), Question::Realtime { of: None }) => !entities.is_empty(),
        (Changed::Entities(entities), Question::Ranking { of, .. }) => entities.keys().any(|entity| entity.kind == *of),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use super::*;
    use crate::domain::commit::Extent;

    /// Answers with a number that the test sets, and counts how often it is asked.
    #[derive(Default)]
    struct Counting {
        plays: AtomicI64,
        asked: AtomicUsize,
    }

    impl Answers for Counting {
        fn now_ms(&self) -> i64 {
            1_000
        }

        fn answer<'a>(
            &'a self,
            questions: &'a [Question],
        ) -> Pin<Box<dyn Future<Output = Option<Vec<Answer>>> + Send + 'a>> {
            self.asked.fetch_add(questions.len(), Ordering::SeqCst);
            let mut measures = Box::<Measures>::default();
            measures.counters[crate::domain::counting::Counter::Plays] = self.plays.load(Ordering::SeqCst);
            let answer = Answer::Metrics { window: Window { from_ms: 0, to_ms: QUARTER_MS }, measures };
            let answers = vec![answer; questions.len()];
            Box::pin(async move { Some(answers) })
        }
    }

    fn question() -> Question {
        Question::Metrics {
            entity: EntityRef::new(EntityKind::Song, "song-1"),
            window: AskedWindow::Last(1),
            zone: chrono_tz::Tz::UTC,
            need: Need::default(),
        }
    }

    fn changed() -> Changed {
        let extent = Extent { oldest_ms: 0, newest_ms: 0 };
        Changed::Entities([(EntityRef::new(EntityKind::Song, "song-1"), extent)].into_iter().collect())
    }

    fn start() -> (Hub, Arc<Counting>) {
        let hub = Hub::new(Arc::default());
        let answers = Arc::new(Counting::default());
        tokio::spawn(hub.clone().run(answers.clone()));
        (hub, answers)
    }

    #[tokio::test(start_paused = true)]
    async fn many_watchers_of_one_question_are_one_computation() {
        let (hub, answers) = start();
        let mut watchers: Vec<_> = (0..100).map(|_| hub.watch(question(), Duration::from_millis(250))).collect();
        for watcher in &mut watchers {
            watcher.wait_for(Option::is_some).await.unwrap();
        }
        assert_eq!(answers.asked.load(Ordering::SeqCst), 1);
        answers.plays.store(7, Ordering::SeqCst);
        hub.committed(&changed());
        for watcher in &mut watchers {
            let state =
                watcher.wait_for(|state| state.as_ref().is_some_and(|state| state.sequence == 2)).await.unwrap();
            assert!(matches!(&state.as_ref().unwrap().answer, Answer::Metrics { measures, .. }
                if measures.counters[crate::domain::counting::Counter::Plays] == 7));
        }
        assert_eq!(answers.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn states_come_at_most_once_per_interval() {
        let (hub, answers) = start();
        let mut watcher = hub.watch(question(), Duration::from_secs(1));
        watcher.wait_for(Option::is_some).await.unwrap();
        for plays in 1..=100 {
            answers.plays.store(plays, Ordering::SeqCst);
            hub.committed(&changed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Five seconds of commits every 50 ms: five or six states, not a hundred.
        assert!((5..=7).contains(&answers.asked.load(Ordering::SeqCst)), "{:?}", answers.asked);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_published_where_nothing_changed() {
        let (hub, _answers) = start();
        let mut watcher = hub.watch(question(), Duration::from_millis(250));
        watcher.wait_for(Option::is_some).await.unwrap();
        watcher.mark_unchanged();
        hub.committed(&changed());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!watcher.has_changed().unwrap());
        assert_eq!(watcher.borrow().as_ref().unwrap().sequence, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_the_clock_is_answered_every_second_and_at_most_once_an_interval() {
        for (interval_ms, asked) in [(100, 10), (1_000, 10), (4_000, 3)] {
            let (hub, answers) = start();
            let question = Question::Realtime { of: None };
            let mut watcher = hub.watch(question, Duration::from_millis(interval_ms));
            watcher.wait_for(Option::is_some).await.unwrap();
            tokio::time::sleep(Duration::from_millis(9_500)).await;
            assert_eq!(answers.asked.load(Ordering::SeqCst), asked, "{interval_ms} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_watches_is_forgotten() {
        let (hub, answers) = start();
        let mut watcher = hub.watch(question(), Duration::from_millis(250));
        watcher.wait_for(Option::is_some).await.unwrap();
        drop(watcher);
        hub.committed(&changed());
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(answers.asked.load(Ordering::SeqCst), 1);
        assert!(hub.lock().is_empty());
    }
}
