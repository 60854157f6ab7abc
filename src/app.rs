//! Builds every part once, starts the tasks, and stops them in order: take nothing new, store what is
//! queued, close.

use std::{convert::Infallible, future::Future, net::SocketAddr, num::NonZero, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    analytics::{Analytics, AnalyticsSettings},
    audience::{merge, open::OpenAudience},
    catalogue::{Catalogue, CatalogueParts},
    charts::{self, ChartSettings, Charts},
    config::Settings,
    db::{
        Database, DbError, StatementObserver,
        queries::{
            audience, leases,
            notify::{self, Notification, Notifications},
            rollups,
        },
    },
    domain::{
        catalogue::CatalogueVersion,
        clock::SharedClock,
        commit::{Changed, SharedObserver, Watermark, Word},
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
    keeping::{self, Keeper, KeepingSettings},
    live::{Answer, Answers, EventFeed, Hub, Question},
    privacy::Privacy,
    realtime::{Realtime, Recovery},
    recommend::{self, Recommender, RunOrder},
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
/// How often it is looked for periods that have ended; a chart is published within so long.
const CHARTS_INTERVAL: Duration = Duration::from_secs(300);
/// How often it is looked for what need not be kept any more; a day is past once in 24 hours.
const KEEPING_INTERVAL: Duration = Duration::from_secs(3_600);
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
    pub feed: EventFeed,
    pub charts: Charts,
    pub keeper: Keeper,
    pub recommender: Recommender,
    pub metrics: Arc<Metrics>,
    pub open_audience: Arc<OpenAudience>,
    pub watermark: Arc<Watermark>,
    pub realtime: Arc<Realtime>,
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
    /// How many events are kept for those who watch them and are slow.
    pub live_events_kept: usize,
    pub charts: ChartSettings,
    pub keeping: KeepingSettings,
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
            analytics: settings.analytics.clone(),
            merge_interval: settings.merge_interval,
            live_events_kept: settings.live_events_kept,
            charts: settings.charts,
            keeping: settings.keeping,
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
        if let Some(extent) = keeping::refresh(&database, &watermark).await? {
            watermark.extend(extent);
        }
        let open_audience = Arc::new(OpenAudience::default());
        open_audience.follow(&database).await?;
        warn_of_missing_days(&database, &open_audience).await?;
        let merges = Merges::default();
        // Other processes are listened to before the snapshot that tells what they had committed.
        let heard = Heard::start(&database).await?;
        let realtime = Arc::new(Realtime::new(clock.clone(), settings.counting));
        let recovery = realtime.begin_recovery(&database).await?;
        let analytics = Analytics::new(
            database.clone(),
            open_audience.clone(),
            watermark.clone(),
            merges.clone(),
            realtime.clone(),
            clock.clone(),
            settings.analytics,
        );
        let hub = Hub::new(metrics.clone());
        let feed = EventFeed::new(settings.live_events_kept, clock.clone());
        let charts = Charts::new(database.clone(), analytics.clone(), clock.clone(), settings.charts);
        let recommender = Recommender::new(database.clone(), analytics.clone(), clock.clone());
        let keeper = Keeper::new(database.clone(), watermark.clone(), clock.clone(), settings.keeping);
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
            realtime: realtime.clone(),
            observers: observers.clone(),
            feed: feed.clone(),
            job_leases: &[merge::LEASE, charts::LEASE, keeping::LEASE, recommend::LEASE],
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
            feed,
            charts,
            keeper,
            recommender,
            metrics,
            open_audience,
            watermark,
            realtime,
            process_id,
            slot,
            clock,
            stop,
            committer,
            tasks: JoinSet::new(),
        };
        core.start_tasks(settings.merge_interval);
        core.start_realtime(recovery);
        core.follow_others(observers, heard);
        Ok(core)
    }

    fn start_tasks(&mut self, merge_interval: Duration) {
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
    }

    fn start_realtime(&mut self, recovery: Recovery) {
        let (realtime, database, metrics) = (self.realtime.clone(), self.database.clone(), self.metrics.clone());
        self.tasks.spawn(async move { realtime.keep(&database, &metrics, recovery).await });
    }

    fn follow_others(&mut self, observers: Vec<SharedObserver>, heard: Heard) {
        let others = OtherProcesses {
            database: self.database.clone(),
            open_audience: self.open_audience.clone(),
            watermark: self.watermark.clone(),
            catalogue: self.catalogue.clone(),
            realtime: self.realtime.clone(),
            feed: self.feed.clone(),
            observers,
            process_id: self.process_id.clone(),
        };
        self.tasks.spawn(others.follow(heard));
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

/// A database from before days were kept has sums and no days; they are made from the log, by whoever decides when.
async fn warn_of_missing_days(database: &Database, open: &OpenAudience) -> Result<(), DbError> {
    const BEGINNING: i64 = i64::MIN / 2;

    let reader = database.reader();
    let is_empty = open.entities().is_empty() && audience::find_next_day(reader, BEGINNING).await?.is_none();
    if is_empty && rollups::find_next_day(reader, BEGINNING).await?.is_some() {
        tracing::warn!("who listened is not known for what was counted so far: run backbeat rebuild");
    }
    Ok(())
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
    format!("{}{slot}", leases::WRITER_SLOT)
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

/// Publishes the charts of periods that have ended, every few minutes.
async fn publish_charts(charts: Charts) {
    loop {
        tokio::time::sleep(CHARTS_INTERVAL).await;
        match charts.look().await {
            Ok(report) if report == Default::default() => {}
            Ok(report) => tracing::info!(published = report.published, revised = report.revised, "counted charts"),
            Err(DbError::LeaseHeld(_)) => tracing::debug!("another process writes charts"),
            Err(error) => tracing::warn!(error = error_chain(&error), "charts were not published, trying again"),
        }
    }
}

/// Lets go of what need not be kept any more, at start and every hour.
async fn let_go(keeper: Keeper) {
    loop {
        match keeper.look(|_| {}).await {
            Ok(keeping::Report { events: 0, months: 0, rows: 0, .. }) => {}
            Ok(report) => tracing::info!(?report, "let go of the past"),
            Err(DbError::LeaseHeld(_)) => tracing::debug!("another process lets go of the past"),
            Err(error) => tracing::warn!(error = error_chain(&error), "the past was not let go of, trying again"),
        }
        tokio::time::sleep(KEEPING_INTERVAL).await;
    }
}

/// Brings what recommendations are told from up to date, again and again; on one core, since requests need the others.
async fn recommend_anew(recommender: Recommender, interval: Duration) {
    const ORDER: RunOrder = RunOrder { is_whole: false, threads: NonZero::<usize>::MIN };

    loop {
        tokio::time::sleep(interval).await;
        match recommender.run(ORDER, |_| {}).await {
            Ok(report) => tracing::debug!(?report, "brought recommendations up to date"),
            Err(DbError::LeaseHeld(_)) => tracing::debug!("another process brings recommendations up to date"),
            Err(error) => tracing::warn!(error = error_chain(&error), "recommendations are not up to date"),
        }
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
    realtime: Arc<Realtime>,
    feed: EventFeed,
    observers: Vec<SharedObserver>,
    process_id: String,
}

impl OtherProcesses {
    async fn follow(self, mut heard: Heard) {
        loop {
            let Err(error) = self.listen(&mut heard).await;
            tracing::warn!(error = error_chain(&error), "not hearing other processes, trying again");
            heard = self.listen_again().await;
            // Word may have been missed in between.
            if let Err(error) = self.missed().await {
                tracing::warn!(error = error_chain(&error), "other processes' events were not read");
            }
        }
    }

    async fn listen_again(&self) -> Heard {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match Heard::start(&self.database).await {
                Ok(heard) => return heard,
                Err(error) => tracing::warn!(error = error_chain(&error), "not hearing other processes, trying again"),
            }
        }
    }

    async fn listen(&self, heard: &mut Heard) -> Result<Infallible, DbError> {
        self.look(heard).await?;
        loop {
            match tokio::time::timeout(LOOK_INTERVAL, heard.notifications.next()).await {
                Ok(Ok(Some(notification))) => self.hear(notification).await?,
                Ok(Ok(None)) => self.missed().await?,
                Ok(Err(error)) => return Err(error),
                Err(_) => self.look(heard).await?,
            }
        }
    }

    /// What was said in a while that nobody listened may be anything.
    async fn missed(&self) -> Result<(), DbError> {
        self.realtime.doubt();
        self.changed(&Changed::Everything { within: None });
        self.feed.follow(&self.database, None, None).await
    }

    /// Finds what was committed without a word that we heard.
    async fn look(&self, heard: &mut Heard) -> Result<(), DbError> {
        self.catalogue.refresh().await?;
        let version = notify::find_foreign_version(&self.database).await?;
        if std::mem::replace(&mut heard.foreign_version, version) != version {
            self.missed().await?;
        }
        let has_new_listeners = self.open_audience.follow(&self.database).await?;
        let extent = keeping::refresh(&self.database, &self.watermark).await?;
        let known = self.watermark.oldest_ms().zip(self.watermark.newest_ms());
        let is_wider = extent.is_some_and(|extent| {
            known.is_none_or(|(oldest_ms, newest_ms)| extent.oldest_ms < oldest_ms || extent.newest_ms > newest_ms)
        });
        if let Some(extent) = extent {
            self.watermark.extend(extent);
        }
        if has_new_listeners || is_wider {
            self.changed(&Changed::Everything { within: None });
        }
        Ok(())
    }

    async fn hear(&self, notification: Notification) -> Result<(), DbError> {
        if notification.process == self.process_id {
            return Ok(());
        }
        let word = match serde_json::from_str(&notification.word) {
            Ok(Word::Commit(word)) => word,
            Ok(Word::Plays(plays)) => {
                self.realtime.hear(notification.transaction, &plays);
                return Ok(());
            }
            Ok(Word::Catalogue) => return self.catalogue.refresh().await,
            Ok(Word::Keeping) => return keeping::refresh(&self.database, &self.watermark).await.map(|_| ()),
            // Of another version: whatever it says, something changed.
            Err(_) => return self.missed().await,
        };
        self.open_audience.follow(&self.database).await?;
        self.watermark.extend(word.extent);
        let (extent, events) = (word.extent, word.events);
        self.changed(&word.changed());
        self.feed.follow(&self.database, Some(extent), events).await
    }

    fn changed(&self, changed: &Changed) {
        self.observers.iter().for_each(|observer| observer.committed(changed));
    }
}

/// What other processes commit is heard, or seen, from where this begins.
struct Heard {
    notifications: Notifications,
    /// Of an SQLite file.
    foreign_version: i64,
}

impl Heard {
    async fn start(database: &Database) -> Result<Self, DbError> {
        Ok(Self {
            notifications: Notifications::listen(database).await?,
            foreign_version: notify::find_foreign_version(database).await?,
        })
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
        Question::Ranking { .. } | Question::Realtime { .. } => None,
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
            (Question::Realtime { of }, _) => Answer::Realtime(analytics.realtime(of.as_ref())),
            (Question::Metrics { window, zone, .. }, key) => Answer::Metrics {
                window: key.as_ref().map_or_else(|| analytics.window(*window, *zone), |key| key.window),
                measures: key.and_then(|key| measures.get(&key).cloned()).map(Box::new).unwrap_or_default(),
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
    pub fn new(mut core: Core, settings: &Settings, verifier: Arc<crate::auth::Verifier>) -> Self {
        core.tasks.spawn(publish_charts(core.charts.clone()));
        if !core.keeper.is_idle() {
            core.tasks.spawn(let_go(core.keeper.clone()));
        }
        if let Some(interval) = settings.recommend_interval {
            core.tasks.spawn(recommend_anew(core.recommender.clone(), interval));
        }
        let (stopping, is_stopping) = watch::channel(false);
        let privacy = Privacy {
            database: core.database.clone(),
            analytics: core.analytics.clone(),
            open_audience: core.open_audience.clone(),
            watermark: core.watermark.clone(),
        };
        let services = Services {
            analytics: core.analytics.clone(),
            catalogue: core.catalogue.clone(),
            ingest: core.ingest.clone(),
            hub: core.hub.clone(),
            feed: core.feed.clone(),
            charts: core.charts.clone(),
            recommender: core.recommender.clone(),
            privacy: privacy.clone(),
            is_development: settings.is_development,
        };
        let edge = Edge {
            api: GraphqlApi::new(services, settings.documents, settings.introspection, core.metrics.clone()),
            ingest: core.ingest.clone(),
            privacy,
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
