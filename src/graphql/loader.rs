//! Batches what the objects of one request ask, so that a page of fifty costs what a page of one does.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use async_graphql::{
    dataloader::{DataLoader, Loader},
    runtime::Timer,
};
use futures_util::{
    StreamExt,
    future::BoxFuture,
    stream::FuturesUnordered,
    task::{FutureObj, Spawn, SpawnError},
};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::Instrument;

use super::{context::Services, error::ApiError};
use crate::{
    analytics::{
        Audience, AudienceQuestion, OriginNumbers, OriginsQuestion, Place, PlaceKey, PositionKey, ReleaseQuestion,
        Releases,
    },
    charts::HistoryKey,
    domain::{
        catalogue::CatalogueEntry,
        chart::Entry,
        entity::EntityRef,
        measure::{MeasureKey, Measures},
        window::Window,
    },
    recommend::{Recommendation, SimilarQuestion},
};

/// Thin caller of the services that answer; one for each request.
pub struct AnalyticsLoader(Services);

/// A page of 200 entities with a year of days each: never split, so the number of statements stays.
const BATCH_MAX: usize = 100_000;

/// A loader, and what runs its batches.
pub fn loader(services: Services) -> (DataLoader<AnalyticsLoader>, Batches) {
    let (queue, waiting) = mpsc::unbounded_channel();
    let loader = DataLoader::new(AnalyticsLoader(services), Queue(queue), NoDelay).max_batch_size(BATCH_MAX);
    (loader, Batches { waiting, running: FuturesUnordered::new() })
}

/// The batches of one execution. They run in its own task, and only when it can get no further: by then
/// every object has asked, so what makes one batch depends on the question and not on a timer.
pub struct Batches {
    waiting: mpsc::UnboundedReceiver<FutureObj<'static, ()>>,
    running: FuturesUnordered<FutureObj<'static, ()>>,
}

impl Batches {
    /// Runs an execution, or a step of one, to its end.
    pub async fn drive<T>(&mut self, execution: impl Future<Output = T>) -> T {
        let mut execution = pin!(execution);
        loop {
            tokio::select! {
                biased;
                done = &mut execution => return done,
                Some(batch) = self.waiting.recv() => self.running.push(batch),
                Some(()) = self.running.next(), if !self.running.is_empty() => {}
            }
        }
    }
}

/// Hands batches to [`Batches`] instead of to other threads.
struct Queue(mpsc::UnboundedSender<FutureObj<'static, ()>>);

impl Spawn for Queue {
    fn spawn_obj(&self, batch: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.0.send(batch).map_err(|_| SpawnError::shutdown())
    }
}

struct NoDelay;

impl Timer for NoDelay {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Does a batch's work in a task of its own, so that a page of many parts uses more than one core. It ends with the
/// batch: where a client hangs up, too. What it found is handed out in the execution's task again, to all at once.
async fn beside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let mut task = JoinSet::new();
    task.spawn(work.in_current_span());
    task.join_next().await.expect("there is one task").expect("a batch does not panic")
}

impl Loader<MeasureKey> for AnalyticsLoader {
    type Value = Measures;
    type Error = ApiError;

    async fn load(&self, keys: &[MeasureKey]) -> Result<HashMap<MeasureKey, Measures>, ApiError> {
        let (analytics, keys) = (self.0.analytics.clone(), keys.to_vec());
        Ok(beside(async move { analytics.measures(&keys).await }).await?)
    }
}

impl Loader<EntityRef> for AnalyticsLoader {
    type Value = CatalogueEntry;
    type Error = ApiError;

    async fn load(&self, entities: &[EntityRef]) -> Result<HashMap<EntityRef, CatalogueEntry>, ApiError> {
        Ok(self.0.analytics.entries(entities).await?)
    }
}

impl Loader<HistoryKey> for AnalyticsLoader {
    type Value = Arc<Vec<(Window, Entry)>>;
    type Error = ApiError;

    async fn load(&self, keys: &[HistoryKey]) -> Result<HashMap<HistoryKey, Self::Value>, ApiError> {
        Ok(self.0.charts.histories(keys).await?)
    }
}

impl Loader<OriginsQuestion> for AnalyticsLoader {
    type Value = Vec<OriginNumbers>;
    type Error = ApiError;

    async fn load(
        &self,
        questions: &[OriginsQuestion],
    ) -> Result<HashMap<OriginsQuestion, Vec<OriginNumbers>>, ApiError> {
        let (analytics, questions) = (self.0.analytics.clone(), questions.to_vec());
        Ok(beside(async move { analytics.origins(&questions).await }).await?)
    }
}

impl Loader<AudienceQuestion> for AnalyticsLoader {
    type Value = Audience;
    type Error = ApiError;

    async fn load(&self, questions: &[AudienceQuestion]) -> Result<HashMap<AudienceQuestion, Audience>, ApiError> {
        let (analytics, questions) = (self.0.analytics.clone(), questions.to_vec());
        Ok(beside(async move { analytics.audiences(&questions).await }).await?)
    }
}

impl Loader<PlaceKey> for AnalyticsLoader {
    type Value = Place;
    type Error = ApiError;

    async fn load(&self, keys: &[PlaceKey]) -> Result<HashMap<PlaceKey, Place>, ApiError> {
        let (analytics, keys) = (self.0.analytics.clone(), keys.to_vec());
        Ok(beside(async move { analytics.places(&keys).await }).await?)
    }
}

impl Loader<PositionKey> for AnalyticsLoader {
    type Value = Option<i64>;
    type Error = ApiError;

    async fn load(&self, keys: &[PositionKey]) -> Result<HashMap<PositionKey, Option<i64>>, ApiError> {
        let (analytics, keys) = (self.0.analytics.clone(), keys.to_vec());
        Ok(beside(async move { analytics.positions(&keys).await }).await?)
    }
}

impl Loader<ReleaseQuestion> for AnalyticsLoader {
    type Value = Releases;
    type Error = ApiError;

    async fn load(&self, questions: &[ReleaseQuestion]) -> Result<HashMap<ReleaseQuestion, Releases>, ApiError> {
        let (analytics, questions) = (self.0.analytics.clone(), questions.to_vec());
        Ok(beside(async move { analytics.releases(&questions).await }).await?)
    }
}

impl Loader<SimilarQuestion> for AnalyticsLoader {
    type Value = Vec<Recommendation>;
    type Error = ApiError;

    async fn load(
        &self,
        questions: &[SimilarQuestion],
    ) -> Result<HashMap<SimilarQuestion, Vec<Recommendation>>, ApiError> {
        Ok(self.0.recommender.similar(questions).await?)
    }
}
