//! Batches what the objects of one request ask, so that a page of fifty costs what a page of one does.

use std::{collections::HashMap, time::Duration};

use async_graphql::{
    dataloader::{DataLoader, Loader},
    runtime::TokioTimer,
};
use futures_util::task::{FutureObj, Spawn, SpawnError};
use tracing::{Instrument, Span};

use super::error::ApiError;
use crate::{
    analytics::Analytics,
    domain::{
        catalogue::CatalogueEntry,
        entity::EntityRef,
        measure::{MeasureKey, Measures},
    },
};

/// Thin caller of [`Analytics`]; one for each request.
pub struct AnalyticsLoader(Analytics);

/// A page of 200 entities with a year of days each: never split, so the number of statements stays.
const BATCH_MAX: usize = 100_000;

pub fn loader(analytics: Analytics) -> DataLoader<AnalyticsLoader> {
    DataLoader::new(AnalyticsLoader(analytics), InRequest, TokioTimer::default())
        .max_batch_size(BATCH_MAX)
        .delay(Duration::from_micros(200))
}

/// Runs batches as part of the request that asks: what they log carries its id.
struct InRequest;

impl Spawn for InRequest {
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        tokio::spawn(future.instrument(Span::current()));
        Ok(())
    }
}

impl Loader<MeasureKey> for AnalyticsLoader {
    type Value = Measures;
    type Error = ApiError;

    async fn load(&self, keys: &[MeasureKey]) -> Result<HashMap<MeasureKey, Measures>, ApiError> {
        Ok(self.0.measures(keys).await?)
    }
}

impl Loader<EntityRef> for AnalyticsLoader {
    type Value = CatalogueEntry;
    type Error = ApiError;

    async fn load(&self, entities: &[EntityRef]) -> Result<HashMap<EntityRef, CatalogueEntry>, ApiError> {
        Ok(self.0.entries(entities).await?)
    }
}
