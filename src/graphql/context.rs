//! What resolvers need, by name.

use async_graphql::{Context, dataloader::DataLoader};

use super::{error::ApiError, loader::AnalyticsLoader};
use crate::{
    analytics::Analytics,
    catalogue::Catalogue,
    charts::Charts,
    domain::{error::ErrorKind, viewer::Viewer},
    ingest::Ingest,
    live::{EventFeed, Hub},
    privacy::Privacy,
    recommend::Recommender,
};

/// The services behind the schema.
#[derive(Clone)]
pub struct Services {
    pub analytics: Analytics,
    pub catalogue: Catalogue,
    pub ingest: Ingest,
    pub hub: Hub,
    pub feed: EventFeed,
    pub charts: Charts,
    pub recommender: Recommender,
    pub privacy: Privacy,
    /// Whether what a developer wants to do may be done, however much it destroys.
    pub is_development: bool,
}

/// Who asks; absent for an anonymous request.
pub struct CurrentViewer(pub Option<Viewer>);

pub trait ContextExt {
    fn analytics(&self) -> &Analytics;
    fn catalogue(&self) -> &Catalogue;
    fn ingest(&self) -> &Ingest;
    fn hub(&self) -> &Hub;
    fn feed(&self) -> &EventFeed;
    fn charts(&self) -> &Charts;
    fn recommender(&self) -> &Recommender;
    fn privacy(&self) -> &Privacy;
    fn is_development(&self) -> bool;
    fn loader(&self) -> &DataLoader<AnalyticsLoader>;
    fn viewer(&self) -> Option<&Viewer>;
    fn require_viewer(&self) -> Result<&Viewer, ApiError>;
}

impl ContextExt for Context<'_> {
    fn analytics(&self) -> &Analytics {
        &self.data_unchecked::<Services>().analytics
    }

    fn catalogue(&self) -> &Catalogue {
        &self.data_unchecked::<Services>().catalogue
    }

    fn ingest(&self) -> &Ingest {
        &self.data_unchecked::<Services>().ingest
    }

    fn hub(&self) -> &Hub {
        &self.data_unchecked::<Services>().hub
    }

    fn feed(&self) -> &EventFeed {
        &self.data_unchecked::<Services>().feed
    }

    fn charts(&self) -> &Charts {
        &self.data_unchecked::<Services>().charts
    }

    fn recommender(&self) -> &Recommender {
        &self.data_unchecked::<Services>().recommender
    }

    fn privacy(&self) -> &Privacy {
        &self.data_unchecked::<Services>().privacy
    }

    fn is_development(&self) -> bool {
        self.data_unchecked::<Services>().is_development
    }

    fn loader(&self) -> &DataLoader<AnalyticsLoader> {
        self.data_unchecked::<DataLoader<AnalyticsLoader>>()
    }

    fn viewer(&self) -> Option<&Viewer> {
        self.data_unchecked::<CurrentViewer>().0.as_ref()
    }

    fn require_viewer(&self) -> Result<&Viewer, ApiError> {
        self.viewer()
            .ok_or_else(|| ApiError::new(ErrorKind::Unauthenticated, "send a token: Authorization: Bearer <token>"))
    }
}
