//! Whether the process lives, whether it can serve, and what it counts.

use std::time::Duration;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use super::{Edge, problem::Problem};
use crate::domain::error::ErrorKind;

/// How long readiness waits for the database.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The process answers; nothing else is asked.
pub async fn live() -> &'static str {
    "ok"
}

/// The process can serve: it is not stopping and the database answers.
pub async fn ready(State(edge): State<Edge>) -> Result<&'static str, Problem> {
    if *edge.stopping.borrow() {
        return Err(Problem::new(ErrorKind::Unavailable, "the service is stopping"));
    }
    match tokio::time::timeout(PING_TIMEOUT, edge.database.ping()).await {
        Ok(Ok(())) => Ok("ok"),
        _ => Err(Problem::new(ErrorKind::Unavailable, "the database does not answer")),
    }
}

/// The Prometheus page.
pub async fn metrics(State(edge): State<Edge>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], edge.metrics.render()).into_response()
}
