//! Problem documents (RFC 9457) for whatever fails before GraphQL runs.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    db::DbError,
    domain::error::{ErrorKind, INTERNAL_MESSAGE},
    ingest::{IngestError, committer::error_chain},
};

/// A failed request.
#[derive(Debug)]
pub struct Problem {
    kind: ErrorKind,
    detail: String,
}

impl Problem {
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        let detail = if kind == ErrorKind::Internal { INTERNAL_MESSAGE.to_owned() } else { detail.into() };
        Self { kind, detail }
    }
}

impl From<IngestError> for Problem {
    fn from(error: IngestError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        if error.is_transient() {
            tracing::warn!(error = error_chain(&error), "the database is away");
            return Self::new(ErrorKind::Unavailable, "the database cannot be reached; try again in a moment");
        }
        tracing::error!(error = error_chain(&error), "a request failed");
        Self::new(ErrorKind::Internal, "")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = serde_json::json!({
            "type": "about:blank",
            "title": self.kind.title(),
            "status": self.kind.status(),
            "detail": self.detail,
            "code": self.kind.code(),
        });
        let status = StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, document.to_string()).into_response();
        if self.kind == ErrorKind::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.kind.retry_after_s() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
