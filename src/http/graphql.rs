//! GraphQL over HTTP: content negotiation, status codes, methods, deadline. The rules are those of the
//! GraphQL-over-HTTP specification; npm `graphql-http`'s audits check them.

use axum::{
    body::Body,
    extract::{
        FromRequestParts, Query, Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{Edge, body, problem::Problem, socket};
use crate::{
    domain::error::ErrorKind,
    graphql::{ApiError, ExecutedResponse, GraphqlRequest, OperationKind, refusal},
};

pub async fn handle(State(edge): State<Edge>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    if parts.headers.contains_key(header::UPGRADE) {
        let upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection> =
            WebSocketUpgrade::from_request_parts(&mut parts, &edge).await;
        return match upgrade {
            Ok(upgrade) => socket::accept(edge, &parts.headers, upgrade),
            Err(rejection) => rejection.into_response(),
        };
    }
    let form = match ResponseForm::accepted(&parts.headers) {
        Some(form) => form,
        None => {
            let detail = "accept application/graphql-response+json or application/json";
            return Problem::new(ErrorKind::NotAcceptable, detail).into_response();
        }
    };
    match answer(&edge, &parts, body, form).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

async fn answer(
    edge: &Edge,
    parts: &axum::http::request::Parts,
    body: Body,
    form: ResponseForm,
) -> Result<Response, Problem> {
    let request = match parts.method {
        Method::GET => from_query(parts),
        Method::POST => {
            check_content_type(&parts.headers)?;
            let bytes = body::read(&parts.headers, body, edge.settings.body_size_bytes_max).await?;
            from_json(&bytes)
        }
        _ => return Ok(method_not_allowed("GET, POST", "send GraphQL with POST, or queries with GET")),
    };
    let viewer = edge.viewer(&parts.headers)?;
    let request = match request {
        Ok(request) => request,
        // Not a GraphQL request at all: 400 in either form.
        Err(error) => return Ok(form.render(&refusal(error), true)),
    };
    let prepared = match edge.api.prepare(request).await {
        Ok(prepared) => prepared,
        Err(refused) => return Ok(form.render(&refused, false)),
    };
    match prepared.kind {
        OperationKind::Mutation if parts.method == Method::GET => {
            return Ok(method_not_allowed("POST", "a mutation changes something: send it with POST"));
        }
        OperationKind::Subscription => {
            let message = "subscriptions run over a WebSocket at this address (subprotocol graphql-transport-ws)";
            return Ok(form.render(&refusal(ApiError::new(ErrorKind::InvalidInput, message)), true));
        }
        _ => {}
    }
    // A client that hangs up drops this future, and with it the execution.
    let executed = tokio::time::timeout(edge.settings.request_timeout, edge.api.execute(prepared, viewer)).await;
    let executed = executed.map_err(|_| Problem::new(ErrorKind::Timeout, "ask for less, or try again"))?;
    Ok(form.render(&executed, false))
}

fn method_not_allowed(allowed: &'static str, detail: &str) -> Response {
    let mut response = Problem::new(ErrorKind::MethodNotAllowed, detail).into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Only JSON: a page of another site can send forms and plain text without asking, JSON it cannot.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|parameter| {
        let charset = parameter.to_ascii_lowercase();
        !charset.starts_with("charset=") || matches!(charset[8..].trim_matches('"'), "utf-8" | "utf8")
    });
    if is_json && is_utf8 {
        return Ok(());
    }
    Err(Problem::new(ErrorKind::UnsupportedMediaType, "send the request as application/json in UTF-8"))
}

fn from_json(bytes: &[u8]) -> Result<GraphqlRequest, ApiError> {
    let invalid = |message: &str| ApiError::new(ErrorKind::InvalidInput, message);
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| invalid(&format!("the body is not JSON: {error}")))?;
    if value.is_array() {
        return Err(invalid("batches are not taken; send one request after another, or one with several fields"));
    }
    if !value.get("query").is_some_and(serde_json::Value::is_string) {
        return Err(ApiError::invalid("query", "send the GraphQL document as a string"));
    }
    serde_json::from_value(value)
        .map_err(|error| invalid(&format!("the request is not as GraphQL over HTTP has it: {error}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryParameters {
    query: Option<String>,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

fn from_query(parts: &axum::http::request::Parts) -> Result<GraphqlRequest, ApiError> {
    let parameters = Query::<QueryParameters>::try_from_uri(&parts.uri)
        .map_err(|_| ApiError::new(ErrorKind::InvalidInput, "the query string cannot be read"))?
        .0;
    let query = parameters.query.ok_or_else(|| ApiError::invalid("query", "send the GraphQL document"))?;
    let object = |name: &str, text: Option<String>| match text.filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => serde_json::from_str(&text).map_err(|_| ApiError::invalid(name, "is not a JSON object")),
    };
    Ok(GraphqlRequest {
        query,
        operation_name: parameters.operation_name.filter(|name| !name.is_empty()),
        variables: object("variables", parameters.variables)?,
        extensions: object("extensions", parameters.extensions)?,
    })
}

/// In which of the two media types a client wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ResponseForm {
    /// `application/graphql-response+json`: the status tells whether the request was executed.
    GraphqlResponse,
    /// `application/json`: every well-formed request is answered with 200.
    Json,
}

impl ResponseForm {
    /// The form with the highest weight; without a preference, JSON, which every client reads.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accepts: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        if accepts.is_empty() {
            return Some(Self::Json);
        }
        let (json, _) = weight_of("application/json", &accepts);
        let (response, is_response_named) = weight_of("application/graphql-response+json", &accepts);
        // Of two that are equally welcome, the newer form is for clients that show that they know it.
        let is_response_preferred = response > json || (response == json && is_response_named);
        match (json > 0.0, response > 0.0) {
            (_, true) if is_response_preferred => Some(Self::GraphqlResponse),
            (true, _) => Some(Self::Json),
            _ => None,
        }
    }

    fn render(self, response: &ExecutedResponse, is_malformed: bool) -> Response {
        let (content_type, status) = match (self, response.request_error) {
            (Self::GraphqlResponse, Some(kind)) => ("application/graphql-response+json; charset=utf-8", kind.status()),
            (Self::GraphqlResponse, None) => ("application/graphql-response+json; charset=utf-8", 200),
            (Self::Json, Some(kind)) if is_malformed || kind.status() >= 500 => {
                ("application/json; charset=utf-8", kind.status())
            }
            (Self::Json, _) => ("application/json; charset=utf-8", 200),
        };
        let status = response.retry_error.map_or(status, ErrorKind::status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
        let mut rendered = (status, headers, response.payload.to_string()).into_response();
        if let Some(seconds) = response.retry_error.and_then(ErrorKind::retry_after_s) {
            rendered.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        rendered
    }
}

/// The weight of a media type, and whether it was named itself: the most specific range counts (RFC 9110,
/// 12.5.1), so that `application/json;q=0, */*` excludes JSON.
fn weight_of(media_type: &str, accepts: &[&str]) -> (f32, bool) {
    let mut found = (0, 0.0);
    for range in accepts.iter().flat_map(|accept| accept.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let specificity = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            named if named == media_type => 3,
            "application/*" => 2,
            "*/*" => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if specificity > found.0 {
            found = (specificity, weight);
        }
    }
    (found.1, found.0 == 3)
}
