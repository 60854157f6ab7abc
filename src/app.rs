//! Builds every part once, starts the tasks, and stops them in order: take nothing new, store what is
//! queued, close.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    analytics::{Analytics, AnalyticsSettings},
    audience::{merge, open::OpenAudience},
    catalogue::{Catalogue, CatalogueParts},
    config::Settings,
    db::{
        Database, DbError, StatementObserver,
        queries::{events, leases, notify::Notifications},
    },
    domain::{
        catalogue::CatalogueVersion,
        clock::SharedClock,
        commit::{CATALOGUE_WORD, Changed, CommitWord, SharedObserver, Watermark},
        counting::CountingRules,
        measure::MeasureKey,
        merge::{Merges, WithMembers},
        ranking::RankingQuestion,
    },
    graphql::{GraphqlApi, Services},
    http::{self, Edge},
    ingest::{
        Ingest, IngestLimits,
        committer::{self, CommitterParts, error_chain},
    },
    live::{Answer, Answers, Hub, Question},
    rollup::fold,
    telemetry::Metrics,
};

/// Processes on one database that can have a writer slot of their own.
const SLOTS_MAX: i16 = 1_024;
const SLOT_LEASE_MS: i64 = 60_000;
const SLOT_RENEWAL: Duration = Duration::from_secs(15);
/// How often other processes' work is looked for, besides every word of a commit.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often closed days are looked through for rows of several slots; a day closes once in 24 hours.
const FOLD_INTERVAL: Duration = Duration::from_secs(6 * 3_600);
/// A database that is not up yet is waited for so long at start.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the database cannot be used")]
    Database(#[from] DbError),
    #[error("all {SLOTS_MAX} writer slots of this database are taken")]
    NoSlot,
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// The parts that store and count; what `import` and `serve` have in common.
pub struct Core {
    pub database: Database,
    pub ingest: Ingest,
    pub analytics: Analytics,
    pub catalogue: Catalogue,
    pub hub: Hub,
    pub metrics: Arc<Metrics>,
    pub open_audience: Arc<OpenAudience>,
    pub watermark: Arc<Watermark>,
    pub process_id: String,
    slot: i16,
    clock: SharedClock,
    stop: watch::Sender<bool>,
    committer: JoinHandle<()>,
    tasks: JoinSet<()>,
}

/// What [`Core`] is built from.
pub struct CoreSettings {
    pub database: crate::db::DatabaseSettings,
    pub counting: CountingRules,
    pub limits: IngestLimits,
    pub analytics: AnalyticsSettings,
    pub merge_interval: Duration,
    pub clock: SharedClock,
    /// Sees every statement that reads; for tests.
    pub observer: Option<StatementObserver>,
}

impl CoreSettings {
    pub fn of(settings: &Settings, clock: SharedClock) -> Self {
        Self {
            database: settings.database.clone(),
            counting: settings.counting,
            limits: settings.ingest,
            analytics: settings.analytics,
            merge_interval: settings.merge_interval,
            clock,
            observer: None,
        }
    }
}

impl Core {
    /// Connects, brings the database's shape up to date, and starts the committer and its helpers.
    pub async fn start(settings: CoreSettings) -> Result<Self, StartError> {
        let database = Database::connect(&settings.database, settings.observer.clone()).await?;
        migrate_patiently(&database).await?;
        let process_id = uuid::Uuid::new_v4().to_string();
        let clock = settings.clock;
        let slot = lease_slot(&database, &process_id, clock.now_ms()).await?;
        let metrics = Arc::new(Metrics::default());
        let watermark = Arc::new(Watermark::default());
        if let Some((oldest_ms, newest_ms)) = events::find_extent(database.reader()).await? {
            watermark.extend(oldest_ms, newest_ms);
        }
        let open_audience = Arc::new(OpenAudience::default());
        open_audience.follow(&database).await?;
        let merges = Merges::default();
        let analytics = Analytics::new(
            database.clone(),
            open_audience.clone(),
            watermark.clone(),
            merges.clone(),
            clock.clone(),
            settings.analytics,
        );
        let hub = Hub::new(metrics.clone());
        let observers: Vec<SharedObserver> = vec![Arc::new(analytics.clone()), Arc::new(hub.clone())];
        let observers: Vec<SharedObserver> = vec![Arc::new(WithMembers { merges: merges.clone(), observers })];
        let catalogue_version = Arc::new(CatalogueVersion::default());
        let catalogue = Catalogue::open(CatalogueParts {
            database: database.clone(),
            version: catalogue_version.clone(),
            merges: merges.clone(),
            observers: observers.clone(),
            clock: clock.clone(),
            id_length_max: settings.limits.accept.id_length_max,
        })
        .await?;
        let (stop, stopping) = watch::channel(false);
        let parts = CommitterParts {
            database: database.clone(),
            slot,
            rules: settings.counting,
            open_audience: open_audience.clone(),
            watermark: watermark.clone(),
            catalogue_version,
            merges,
            observers: observers.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            process_id: process_id.clone(),
        };
        let (ingest, committer) = committer::start(parts, settings.limits, stopping);
        let mut core = Self {
            database,
            ingest,
            analytics,
            catalogue,
            hub,
            metrics,
            open_audience,
            watermark,
            process_id,
            slot,
            clock,
            stop,
            committer,
            tasks: JoinSet::new(),
        };
        core.start_tasks(observers, settings.merge_interval);
        Ok(core)
    }

    fn start_tasks(&mut self, observers: Vec<SharedObserver>, merge_interval: Duration) {
        self.tasks.spawn(self.hub.clone().run(Arc::new(self.analytics.clone())));
        self.tasks.spawn(merge_audience(
            self.database.clone(),
            self.open_audience.clone(),
            self.clock.clone(),
            self.metrics.clone(),
            self.process_id.clone(),
            merge_interval,
        ));
        if !self.database.is_sqlite() {
            let (database, process_id) = (self.database.clone(), self.process_id.clone());
            self.tasks.spawn(renew_slot(database.clone(), self.slot, process_id.clone(), self.clock.clone()));
            self.tasks.spawn(fold_slots(database, process_id, self.clock.clone()));
        }
        let others = OtherProcesses {
            database: self.database.clone(),
            open_audience: self.open_audience.clone(),
            watermark: self.watermark.clone(),
            catalogue: self.catalogue.clone(),
            observers,
            process_id: self.process_id.clone(),
        };
        self.tasks.spawn(others.follow());
    }

    /// Stores what is queued, ends all tasks, closes the database.
    pub async fn stop(mut self) -> Result<(), DbError> {
        let _ = self.stop.send(true);
        if let Err(error) = self.committer.await {
            tracing::error!(error = error_chain(&error), "the committer ended badly");
        }
        self.tasks.shutdown().await;
        if !self.database.is_sqlite() {
            leases::release(self.database.writer(), &slot_name(self.slot), &self.process_id).await?;
        }
        self.database.close().await
    }
}

/// Applies what is pending; waits for a database that is still starting.
async fn migrate_patiently(database: &Database) -> Result<(), DbError> {
    let began = tokio::time::Instant::now();
    loop {
        match database.migrate_up().await {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() < START_PATIENCE && !database.is_sqlite() => {
                tracing::warn!(error = error_chain(&error), "the database is not ready, trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn slot_name(slot: i16) -> String {
    format!("writer-slot-{slot}")
}

/// The first free writer slot. SQLite has one writer at a time, and one slot.
async fn lease_slot(database: &Database, holder: &str, now_ms: i64) -> Result<i16, StartError> {
    if database.is_sqlite() {
        return Ok(0);
    }
    for slot in 0..SLOTS_MAX {
        if leases::try_acquire(database.writer(), &slot_name(slot), holder, now_ms, SLOT_LEASE_MS).await? {
            return Ok(slot);
        }
    }
    Err(StartError::NoSlot)
}

/// Keeps the slot. Were it lost to a long pause, two processes would share rows: slower, still right.
async fn renew_slot(database: Database, slot: i16, holder: String, clock: SharedClock) {
    loop {
        tokio::time::sleep(SLOT_RENEWAL).await;
        let renewed =
            leases::try_acquire(database.writer(), &slot_name(slot), &holder, clock.now_ms(), SLOT_LEASE_MS).await;
        match renewed {
            Ok(true) => {}
            Ok(false) => tracing::warn!(slot, "another process took this process's writer slot"),
            Err(error) => tracing::warn!(error = error_chain(&error), "the writer slot was not renewed"),
        }
    }
}

/// Folds what several processes counted side by side, at start and every few hours.
async fn fold_slots(database: Database, holder: String, clock: SharedClock) {
    loop {
        match fold::fold_closed_days(&database, &holder, clock.now_ms()).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "folded closed days into slot 0"),
            Err(error) => tracing::warn!(error = error_chain(&error), "closed days were not folded"),
        }
        tokio::time::sleep(FOLD_INTERVAL).await;
    }
}

async fn merge_audience(
    database: Database,
    open_audience: Arc<OpenAudience>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    holder: String,
    interval: Duration,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = open_audience.grew_large() => {}
        }
        let began = tokio::time::Instant::now();
        match merge::merge(&database, &open_audience, &holder, clock.now_ms()).await {
            Ok(0) => {}
            Ok(segments) => {
                metrics.merge_seconds.observe(began.elapsed().as_secs_f64());
                tracing::debug!(segments, "merged listener segments");
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "listener segments were not merged"),
        }
        if let Err(error) = database.checkpoint().await {
            tracing::warn!(error = error_chain(&error), "the write-ahead log was not checkpointed");
        }
    }
}

/// Follows what other processes commit to the same database: by their word on PostgreSQL, by looking
/// again and again on SQLite, where an import may run beside the server.
struct OtherProcesses {
    database: Database,
    open_audience: Arc<OpenAudience>,
    watermark: Arc<Watermark>,
    catalogue: Catalogue,
    observers: Vec<SharedObserver>,
    process_id: String,
}

impl OtherProcesses {
    async fn follow(self) {
        loop {
            if let Err(error) = self.listen().await {
                tracing::warn!(error = error_chain(&error), "not hearing other processes, trying again");
            }
            // Word may have been missed in between.
            self.changed(&Changed::Everything);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn listen(&self) -> Result<(), DbError> {
        let mut notifications = Notifications::listen(&self.database).await?;
        self.look().await?;
        loop {
            let Some(notifications) = &mut notifications else {
                tokio::time::sleep(LOOK_INTERVAL).await;
                self.look().await?;
                continue;
            };
            match tokio::time::timeout(LOOK_INTERVAL, notifications.next()).await {
                Ok(Ok(Some(text))) => self.hear(&text).await?,
                Ok(Ok(None)) => self.changed(&Changed::Everything),
                Ok(Err(error)) => return Err(error),
                Err(_) => self.look().await?,
            }
        }
    }

    /// Finds what was committed without a word that we heard.
    async fn look(&self) -> Result<(), DbError> {
        self.catalogue.refresh().await?;
        let has_new_listeners = self.open_audience.follow(&self.database).await?;
        let extent = events::find_extent(self.database.reader()).await?;
        let known = self.watermark.oldest_ms().zip(self.watermark.newest_ms());
        let is_wider = extent.is_some_and(|(oldest_ms, newest_ms)| {
            known.is_none_or(|(known_oldest, known_newest)| oldest_ms < known_oldest || newest_ms > known_newest)
        });
        if let Some((oldest_ms, newest_ms)) = extent {
            self.watermark.extend(oldest_ms, newest_ms);
        }
        if has_new_listeners || is_wider {
            self.changed(&Changed::Everything);
        }
        Ok(())
    }

    async fn hear(&self, text: &str) -> Result<(), DbError> {
        if text == CATALOGUE_WORD {
            // Our own too: whoever made the change may have been cut off before looking.
            return self.catalogue.refresh().await;
        }
        let Ok(word) = serde_json::from_str::<CommitWord>(text) else { return Ok(()) };
        if word.process == self.process_id {
            return Ok(());
        }
        self.open_audience.follow(&self.database).await?;
        self.watermark.extend(word.extent.0, word.extent.1);
        self.changed(&word.changed());
        Ok(())
    }

    fn changed(&self, changed: &Changed) {
        self.observers.iter().for_each(|observer| observer.committed(changed));
    }
}

/// The read side, as the live hub asks it: all metrics questions of a tick in one call.
impl Answers for Analytics {
    fn now_ms(&self) -> i64 {
        Analytics::now_ms(self)
    }

    fn answer<'a>(
        &'a self,
        questions: &'a [Question],
    ) -> Pin<Box<dyn Future<Output = Option<Vec<Answer>>> + Send + 'a>> {
        Box::pin(async move {
            match answer_questions(self, questions).await {
                Ok(answers) => Some(answers),
                Err(error) => {
                    tracing::warn!(error = error_chain(&*error), "live questions were not answered");
                    None
                }
            }
        })
    }
}

async fn answer_questions(analytics: &Analytics, questions: &[Question]) -> Result<Vec<Answer>, Arc<DbError>> {
    let key = |question: &Question| match question {
        Question::Metrics { entity, window, zone, need } => {
            let window = analytics.window(*window, *zone);
            Some(MeasureKey { entity: entity.clone(), window, country: None, need: *need })
        }
        Question::Ranking { .. } => None,
    };
    let keys: Vec<MeasureKey> = questions.iter().filter_map(key).collect();
    let measures = analytics.measures(&keys).await?;
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        answers.push(match (question, key(question)) {
            (Question::Ranking { of, by, window, among, first }, _) => {
                let window = analytics.window(*window, chrono_tz::Tz::UTC);
                let question = RankingQuestion { of: *of, by: *by, window, among: among.clone() };
                let list = analytics.ranking(&question, *first).await?;
                let ranked = analytics.ranked(&list, 0..*first).await?;
                Answer::Ranking {
                    window,
                    list: ranked.into_iter().map(|ranked| (ranked.entity, ranked.value)).collect(),
                }
            }
            (Question::Metrics { window, zone, .. }, key) => Answer::Metrics {
                window: key.as_ref().map_or_else(|| analytics.window(*window, *zone), |key| key.window),
                measures: key.and_then(|key| measures.get(&key).cloned()).unwrap_or_default(),
            },
        });
    }
    Ok(answers)
}

/// The whole service: [`Core`] behind HTTP.
pub struct App {
    pub core: Core,
    pub router: http::Router,
    stopping: watch::Sender<bool>,
    shutdown_timeout: Duration,
}

impl App {
    pub fn new(core: Core, settings: &Settings, verifier: Arc<crate::auth::Verifier>) -> Self {
        let (stopping, is_stopping) = watch::channel(false);
        let services = Services {
            analytics: core.analytics.clone(),
            catalogue: core.catalogue.clone(),
            ingest: core.ingest.clone(),
            hub: core.hub.clone(),
        };
        let edge = Edge {
            api: GraphqlApi::new(services, settings.documents, settings.introspection, core.metrics.clone()),
            ingest: core.ingest.clone(),
            verifier,
            database: core.database.clone(),
            metrics: core.metrics.clone(),
            clock: core.clock.clone(),
            settings: Arc::new(settings.http.clone()),
            stopping: is_stopping,
        };
        Self { core, router: http::router(edge), stopping, shutdown_timeout: settings.shutdown_timeout }
    }

    /// Serves until `stop` resolves, then lets requests in flight finish.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) {
        let Self { core, router, stopping, shutdown_timeout } = self;
        let mut is_stopping = stopping.subscribe();
        let server = tokio::spawn(http::serve(listener, router, async move {
            let _ = is_stopping.wait_for(|stopping| *stopping).await;
        }));
        stop.await;
        tracing::info!("stopping: taking nothing new, finishing what is in flight");
        let _ = stopping.send(true);
        if tokio::time::timeout(shutdown_timeout, server).await.is_err() {
            tracing::warn!("some requests were cut off at the shutdown timeout");
        }
        if let Err(error) = core.stop().await {
            tracing::error!(error = error_chain(&error), "the database was not closed cleanly");
        }
        tracing::info!("stopped");
    }
}

/// Listens on an address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}
