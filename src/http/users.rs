//! `GET /v1/users/{id}/export`: everything about a user, to keep as a file.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt;

use super::{Edge, problem::Problem};
use crate::{domain::error::ErrorKind, ingest::committer::error_chain};

/// The file is written while it is read from the database. Where that fails in the middle the connection breaks, so that
/// nobody takes a part for the whole.
pub async fn export(State(edge): State<Edge>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let viewer = edge.require_viewer(&headers)?;
    if !viewer.is_or_looks_after(&id) {
        let told = "what is known about a user is for that user, with a listener token, and for admins";
        return Err(Problem::new(ErrorKind::Forbidden, told));
    }
    let user = edge.privacy.analytics.find_user(&id).await?;
    let body = match user {
        Some(user) => Body::from_stream(edge.privacy.export_whole(user).inspect_err(|error| {
            tracing::error!(error = error_chain(error), "an export broke off");
        })),
        None => Body::empty(),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CONTENT_DISPOSITION, r#"attachment; filename="events.ndjson""#),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}
