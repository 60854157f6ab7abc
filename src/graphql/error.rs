//! How faults reach a GraphQL client: a public sentence and a code; the cause stays in the log.

use std::sync::Arc;

use async_graphql::{Error, ErrorExtensions, ServerError};

use crate::{
    catalogue::CatalogueError,
    db::DbError,
    domain::error::{ErrorKind, INTERNAL_MESSAGE},
    ingest::{IngestError, PurgeError, committer::error_chain},
};

/// What a resolver fails with. It has no `Display`, so nothing turns it into a code-less error.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub kind: ErrorKind,
    pub message: String,
    pub field: Option<String>,
}

impl ApiError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None }
    }

    /// A value that cannot be used, named by its argument or input field.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::InvalidInput, message: message.into(), field: Some(field.to_owned()) }
    }

    /// A fault of ours: logged here, in full, and told to nobody.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(error = error_chain(cause), "request failed");
        Self::new(ErrorKind::Internal, INTERNAL_MESSAGE)
    }

    /// The same error as async-graphql carries it before execution begins.
    pub fn into_server_error(self) -> ServerError {
        Error::from(self).into_server_error(async_graphql::Pos::default())
    }
}

impl From<&DbError> for ApiError {
    fn from(error: &DbError) -> Self {
        if error.is_transient() {
            tracing::warn!(error = error_chain(error), "the database is away");
            return Self::new(ErrorKind::Unavailable, "the database cannot be reached; try again in a moment");
        }
        Self::internal(error)
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        Self::from(&error)
    }
}

impl From<Arc<DbError>> for ApiError {
    fn from(error: Arc<DbError>) -> Self {
        Self::from(&*error)
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<PurgeError> for ApiError {
    fn from(error: PurgeError) -> Self {
        match error {
            PurgeError::NotAlone => Self::new(ErrorKind::Conflict, error.to_string()),
            PurgeError::Stopping => Self::new(ErrorKind::Unavailable, error.to_string()),
            PurgeError::Database(error) => error.into(),
        }
    }
}

impl From<CatalogueError> for ApiError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Invalid { field, message } => Self::invalid(field, message),
            CatalogueError::Store(error) => error.into(),
            error @ CatalogueError::TooManyEntries { .. } => Self::new(error.kind(), error.to_string()),
        }
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Error::new(error.message).extend_with(|_, extensions| {
            extensions.set("code", error.kind.code());
            if let Some(field) = error.field {
                extensions.set("field", field);
            }
            if let Some(seconds) = error.kind.retry_after_s() {
                extensions.set("retryAfterMs", seconds * 1_000);
            }
        })
    }
}
