//! The edge: routes, tokens, bodies, problem documents. `axum` is named in this room only.

mod body;
mod events;
mod graphql;
mod health;
mod page;
mod problem;
mod socket;
mod users;

use std::{sync::Arc, time::Duration, time::Instant};

pub use axum::Router;
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use tokio::{net::TcpListener, sync::watch};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;

use self::problem::Problem;
use crate::{
    auth::{AuthError, Verifier},
    db::Database,
    domain::{clock::SharedClock, error::ErrorKind, viewer::Viewer},
    graphql::GraphqlApi,
    ingest::Ingest,
    privacy::Privacy,
    telemetry::{HttpLabels, Metrics},
};

/// What the edge may take and how long it waits.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Sites whose pages may call the API; `*` for all.
    pub cors_origins: Vec<String>,
    pub request_timeout: Duration,
    /// Of a body, before and after decompression.
    pub body_size_bytes_max: usize,
    /// Whether GraphiQL is served at `/`.
    pub graphiql: bool,
    pub socket: SocketSettings,
}

/// What a WebSocket may do.
#[derive(Debug, Clone)]
pub struct SocketSettings {
    /// How long a client may take to send `connection_init`.
    pub init_timeout: Duration,
    /// How often the server asks whether the client is still there; after two unanswered it hangs up.
    pub ping_interval: Duration,
    /// Operations that may run on one socket.
    pub operations_max: usize,
    /// Sockets that may be open at once.
    pub sockets_max: usize,
}

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Edge {
    pub api: GraphqlApi,
    pub ingest: Ingest,
    pub privacy: Privacy,
    pub verifier: Arc<Verifier>,
    pub database: Database,
    pub metrics: Arc<Metrics>,
    pub clock: SharedClock,
    pub settings: Arc<HttpSettings>,
    /// Turns true when the process stops: sockets are closed, readiness is withdrawn.
    pub stopping: watch::Receiver<bool>,
}

/// All routes.
pub fn router(edge: Edge) -> Router {
    let mut router = Router::new()
        .route("/graphql", any(graphql::handle))
        .route("/v1/events", post(events::record).fallback(only_post))
        .route("/v1/users/{id}/export", get(users::export))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(not_found);
    if edge.settings.graphiql {
        router = router.merge(page::routes());
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .layer(cors(&edge.settings.cors_origins))
        .layer(middleware::from_fn_with_state(edge.metrics.clone(), observe))
        .with_state(edge)
}

/// Answers requests until `stop` resolves, then finishes those in flight.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()> + Send + 'static) {
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the server ended");
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT])
        .expose_headers([REQUEST_ID, header::RETRY_AFTER])
        .max_age(Duration::from_secs(3_600))
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives each request an id, a span and a place in the metrics.
async fn observe(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let sent_id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_usable = |id: &&str| (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let id = sent_id.filter(is_usable).map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let span = tracing::error_span!("request", request_id = %id);
    let mut response = next.run(request).instrument(span).await;
    let labels = HttpLabels { method, route, status: response.status().as_u16() };
    metrics.http_requests.get_or_create(&labels).inc();
    metrics.http_seconds.observe(began.elapsed().as_secs_f64());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn not_found() -> Response {
    Problem::new(ErrorKind::NotFound, "GraphQL is at /graphql, events go to /v1/events").into_response()
}

/// The router adds which methods are allowed.
async fn method_not_allowed() -> Response {
    Problem::new(ErrorKind::MethodNotAllowed, "this address does not take that method").into_response()
}

async fn only_post() -> Response {
    let mut response = Problem::new(ErrorKind::MethodNotAllowed, "send events with POST").into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

impl Edge {
    /// Who the request's token says it is; `None` without a token.
    fn viewer(&self, headers: &HeaderMap) -> Result<Option<Viewer>, Problem> {
        let Some(header) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
        let viewer =
            header.to_str().map_err(|_| AuthError::NotBearer).and_then(|value| self.verifier.viewer_of_header(value));
        viewer.map(Some).map_err(|error| Problem::new(ErrorKind::Unauthenticated, error.to_string()))
    }

    /// Who the request's token says it is; a request without one is refused.
    fn require_viewer(&self, headers: &HeaderMap) -> Result<Viewer, Problem> {
        let missing = || Problem::new(ErrorKind::Unauthenticated, "send a token: Authorization: Bearer <token>");
        self.viewer(headers)?.ok_or_else(missing)
    }
}
