//! `POST /v1/events`: one JSON object, a JSON array, or one object a line; gzip or zstd.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{Edge, body, problem::Problem};
use crate::{
    domain::{error::ErrorKind, viewer::Role},
    ingest::{EventResult, EventStatus, decode},
};

#[derive(Serialize)]
struct Answer<'a> {
    accepted: usize,
    duplicates: usize,
    conflicts: usize,
    rejected: usize,
    results: Vec<Outcome<'a>>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    index: usize,
    id: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

pub async fn record(State(edge): State<Edge>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let viewer = edge.require_viewer(&headers)?;
    if !matches!(viewer.role, Role::Service | Role::Admin) {
        return Err(Problem::new(ErrorKind::Forbidden, "events are sent with a service or admin token"));
    }
    let bytes = body::read(&headers, body, edge.settings.body_size_bytes_max).await?;
    let decoded = decode::body(&bytes).map_err(|error| Problem::new(ErrorKind::InvalidInput, error.to_string()))?;
    let results = edge.ingest.record(decoded, &viewer.source.into()).await?;
    let text = serde_json::to_string(&answer(&results)).map_err(|_| Problem::new(ErrorKind::Internal, ""))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

fn answer(results: &[EventResult]) -> Answer<'_> {
    let count = |status| results.iter().filter(|result| result.status == status).count();
    Answer {
        accepted: count(EventStatus::Accepted),
        duplicates: count(EventStatus::Duplicate),
        conflicts: count(EventStatus::Conflict),
        rejected: count(EventStatus::Rejected),
        results: results
            .iter()
            .enumerate()
            .map(|(index, result)| Outcome {
                index,
                id: &result.id,
                status: result.status.word(),
                code: result.code,
                field: result.field.as_deref(),
                message: result.message.as_deref(),
            })
            .collect(),
    }
}
