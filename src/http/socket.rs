//! GraphQL over WebSocket: the `graphql-transport-ws` protocol, one task a socket.

use std::{
    collections::HashSet,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream, stream::BoxStream};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::StreamMap;

use super::{Edge, problem::Problem};
use crate::{
    domain::{error::ErrorKind, viewer::Viewer},
    graphql::{ApiError, GraphqlRequest, OperationKind, Payload, refusal},
    telemetry::Metrics,
};

const PROTOCOL: &str = "graphql-transport-ws";
/// A client's message: a document and its variables.
const MESSAGE_SIZE_BYTES_MAX: usize = 1 << 20;
/// A client that takes nothing for so long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the server hangs up; the codes are the protocol's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Close {
    InvalidMessage(String),
    /// A subscription before `connection_init`.
    Unauthorized,
    /// The token was not taken, or has expired.
    Forbidden(String),
    WrongProtocol,
    InitTimeout,
    OperationExists(String),
    SecondInit,
    GoingAway,
    /// The client has gone; there is nobody to tell.
    Gone,
}

impl Close {
    fn frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::InvalidMessage(reason) => (4400, reason),
            Self::Unauthorized => (4401, "Unauthorized".to_owned()),
            Self::Forbidden(reason) => (4403, reason),
            Self::WrongProtocol => (4406, format!("Subprotocol not acceptable, use {PROTOCOL}")),
            Self::InitTimeout => (4408, "Connection initialisation timeout".to_owned()),
            Self::OperationExists(id) => (4409, format!("Subscriber for {id} already exists")),
            Self::SecondInit => (4429, "Too many initialisation requests".to_owned()),
            Self::GoingAway => (1001, "the service is stopping".to_owned()),
            Self::Gone => return None,
        };
        // A close frame's reason has room for 123 bytes.
        let reason: String = reason.chars().take(60).collect();
        Some(CloseFrame { code, reason: reason.into() })
    }
}

static SOCKETS: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Answers a handshake.
pub fn accept(edge: Edge, headers: &HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !is_origin_allowed(headers, &edge.settings.cors_origins) {
        let detail = "pages of this origin may not connect; add it to CORS_ORIGINS";
        return Problem::new(ErrorKind::Forbidden, detail).into_response();
    }
    let viewer = match edge.viewer(headers) {
        Ok(viewer) => viewer,
        Err(problem) => return problem.into_response(),
    };
    if SOCKETS.load(Ordering::Relaxed) >= edge.settings.socket.sockets_max {
        return Problem::new(ErrorKind::Unavailable, "too many sockets are open").into_response();
    }
    upgrade
        .protocols([PROTOCOL])
        // The default read buffer alone would cost each socket 128 KiB.
        .read_buffer_size(4_096)
        .write_buffer_size(0)
        .max_message_size(MESSAGE_SIZE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            let _open = OpenSocket::count(edge.metrics.clone());
            Session { edge, socket, viewer, operations: StreamMap::new(), ids: HashSet::new() }.run().await;
        })
}

/// Counts a socket for as long as it lives, however its task ends.
struct OpenSocket(Arc<Metrics>);

impl OpenSocket {
    fn count(metrics: Arc<Metrics>) -> Self {
        SOCKETS.fetch_add(1, Ordering::Relaxed);
        metrics.live_sockets.inc();
        Self(metrics)
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        SOCKETS.fetch_sub(1, Ordering::Relaxed);
        self.0.live_sockets.dec();
    }
}

/// Browsers tell which page connects; it must be ours or an allowed one. Other clients send no origin.
fn is_origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default()) else {
        return true;
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let is_own = origin.split_once("://").is_some_and(|(_, authority)| Some(authority) == host);
    is_own || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

/// What an operation gives.
enum Output {
    Payload(Payload),
    Done,
}

struct Session {
    edge: Edge,
    socket: WebSocket,
    viewer: Option<Viewer>,
    operations: StreamMap<String, BoxStream<'static, Output>>,
    /// The ids in `operations`.
    ids: HashSet<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    ConnectionInit { payload: Option<Map<String, Value>> },
    Ping { payload: Option<Map<String, Value>> },
    Pong {},
    Subscribe { id: String, payload: GraphqlRequest },
    Complete { id: String },
}

impl Session {
    async fn run(mut self) {
        let close = match self.initialise().await {
            Ok(()) => self.serve().await,
            Err(close) => close,
        };
        self.edge.metrics.live_watchers.dec_by(i64::try_from(self.ids.len()).unwrap_or(0));
        if let Some(frame) = close.frame() {
            let _ = timeout(SEND_TIMEOUT, self.socket.send(Message::Close(Some(frame)))).await;
        }
        // Reading on answers the client's close frame, and waits for it where ours was first.
        let _ = timeout(Duration::from_secs(1), async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
    }

    async fn initialise(&mut self) -> Result<(), Close> {
        if self.socket.protocol().is_none() {
            return Err(Close::WrongProtocol);
        }
        let deadline = Instant::now() + self.edge.settings.socket.init_timeout;
        loop {
            let message = tokio::time::timeout_at(deadline, receive(&mut self.socket))
                .await
                .map_err(|_| Close::InitTimeout)??;
            match message {
                None => {}
                Some(ClientMessage::ConnectionInit { payload }) => {
                    if let Some(viewer) = self.viewer_of_payload(payload.as_ref())? {
                        self.viewer = Some(viewer);
                    }
                    return self.send(r#"{"type":"connection_ack"}"#.into()).await;
                }
                Some(ClientMessage::Ping { .. }) => self.send(r#"{"type":"pong"}"#.into()).await?,
                Some(ClientMessage::Pong {} | ClientMessage::Complete { .. }) => {}
                Some(ClientMessage::Subscribe { .. }) => return Err(Close::Unauthorized),
            }
        }
    }

    async fn serve(&mut self) -> Close {
        let mut pings = interval(self.edge.settings.socket.ping_interval);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.reset();
        let mut stopping = self.edge.stopping.clone();
        let mut unanswered = 0;
        loop {
            let expiry = self.expiry();
            let step = tokio::select! {
                message = receive(&mut self.socket) => {
                    unanswered = 0;
                    match message {
                        Ok(Some(message)) => self.react(message).await,
                        Ok(None) => Ok(()),
                        Err(close) => Err(close),
                    }
                }
                Some((id, output)) = self.operations.next() => self.forward(id, output).await,
                _ = pings.tick() => {
                    unanswered += 1;
                    if unanswered > 2 { Err(Close::Gone) } else { self.send(r#"{"type":"ping"}"#.into()).await }
                }
                () = sleep_until(expiry) => Err(Close::Forbidden("the token has expired".to_owned())),
                () = stopped(&mut stopping) => Err(Close::GoingAway),
            };
            if let Err(close) = step {
                return close;
            }
        }
    }

    /// When the token stops working; without one, never.
    fn expiry(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(86_400 * 365);
        let Some(viewer) = &self.viewer else { return Instant::now() + FAR };
        let left_ms = viewer.expires_at_s.saturating_mul(1_000) - self.edge.clock.now_ms();
        Instant::now() + Duration::from_millis(u64::try_from(left_ms).unwrap_or(0)).min(FAR)
    }

    async fn react(&mut self, message: ClientMessage) -> Result<(), Close> {
        match message {
            ClientMessage::ConnectionInit { .. } => Err(Close::SecondInit),
            ClientMessage::Pong {} => Ok(()),
            ClientMessage::Ping { payload } => {
                // A fresh token in a ping keeps the socket open: same person, same rights, later end.
                if let Some(fresh) = self.viewer_of_payload(payload.as_ref())? {
                    match &mut self.viewer {
                        Some(viewer) if viewer.scope() == fresh.scope() && viewer.subject == fresh.subject => {
                            viewer.expires_at_s = fresh.expires_at_s;
                        }
                        _ => return Err(Close::Forbidden("the fresh token is for somebody else".to_owned())),
                    }
                }
                self.send(r#"{"type":"pong"}"#.into()).await
            }
            ClientMessage::Complete { id } => {
                self.end(&id);
                Ok(())
            }
            ClientMessage::Subscribe { id, payload } => self.subscribe(id, payload).await,
        }
    }

    async fn subscribe(&mut self, id: String, request: GraphqlRequest) -> Result<(), Close> {
        if id.is_empty() {
            return Err(Close::InvalidMessage("Invalid message: an operation needs an id".to_owned()));
        }
        if self.ids.contains(&id) {
            return Err(Close::OperationExists(id));
        }
        if self.ids.len() >= self.edge.settings.socket.operations_max {
            let message = format!("this socket runs {} operations already, which is the limit", self.ids.len());
            let refused = refusal(ApiError::new(ErrorKind::TooManyRequests, message));
            return self.send_error(&id, &refused.payload).await;
        }
        let prepared = match self.edge.api.prepare(request).await {
            Ok(prepared) => prepared,
            Err(refused) => return self.send_error(&id, &refused.payload).await,
        };
        let viewer = self.viewer.clone();
        let outputs: BoxStream<'static, Output> = if prepared.kind == OperationKind::Subscription {
            self.edge.api.subscribe(prepared, viewer).map(Output::Payload).chain(done()).boxed()
        } else {
            let (api, limit) = (self.edge.api.clone(), self.edge.settings.request_timeout);
            let executed = async move {
                let late = || refusal(ApiError::new(ErrorKind::Timeout, "ask for less, or try again"));
                let executed = timeout(limit, api.execute(prepared, viewer)).await.unwrap_or_else(|_| late());
                Output::Payload(executed.payload)
            };
            stream::once(executed).chain(done()).boxed()
        };
        self.ids.insert(id.clone());
        self.operations.insert(id, outputs);
        self.edge.metrics.live_watchers.inc();
        Ok(())
    }

    async fn forward(&mut self, id: String, output: Output) -> Result<(), Close> {
        match output {
            // A request that was not executed has errors only; that ends the operation.
            Output::Payload(payload) if payload.starts_with(r#"{"errors""#) => {
                self.end(&id);
                self.send_error(&id, &payload).await
            }
            Output::Payload(payload) => {
                let id = Value::String(id);
                self.send(format!(r#"{{"id":{id},"type":"next","payload":{payload}}}"#).into()).await
            }
            Output::Done => {
                self.end(&id);
                let id = Value::String(id);
                self.send(format!(r#"{{"id":{id},"type":"complete"}}"#).into()).await
            }
        }
    }

    fn end(&mut self, id: &str) {
        self.operations.remove(id);
        if self.ids.remove(id) {
            self.edge.metrics.live_watchers.dec();
        }
    }

    async fn send_error(&mut self, id: &str, payload: &str) -> Result<(), Close> {
        let errors = serde_json::from_str::<Value>(payload)
            .ok()
            .and_then(|mut payload| payload.get_mut("errors").map(Value::take));
        let (id, errors) = (Value::from(id), errors.unwrap_or_default());
        self.send(format!(r#"{{"id":{id},"type":"error","payload":{errors}}}"#).into()).await
    }

    fn viewer_of_payload(&self, payload: Option<&Map<String, Value>>) -> Result<Option<Viewer>, Close> {
        let find = |map: &Map<String, Value>| {
            map.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization")).map(|(_, value)| value.clone())
        };
        let header = payload.and_then(|payload| {
            find(payload).or_else(|| payload.get("headers").and_then(Value::as_object).and_then(find))
        });
        let viewer = match header.as_ref().map(Value::as_str) {
            None => return Ok(None),
            Some(Some(header)) => self.edge.verifier.viewer_of_header(header),
            Some(None) => return Err(Close::Forbidden("authorization is not a text".to_owned())),
        };
        viewer.map(Some).map_err(|error| Close::Forbidden(error.to_string()))
    }

    async fn send(&mut self, text: Utf8Bytes) -> Result<(), Close> {
        match timeout(SEND_TIMEOUT, self.socket.send(Message::Text(text))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Close::Gone),
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The sender lives as long as the process; were it gone, the process would be stopping too.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn done() -> impl futures_util::Stream<Item = Output> {
    stream::once(async { Output::Done })
}

/// The client's next message; `None` for frames that are none.
async fn receive(socket: &mut WebSocket) -> Result<Option<ClientMessage>, Close> {
    match socket.recv().await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Close::InvalidMessage(format!("Invalid message: {error}"))),
        Some(Ok(Message::Binary(_))) => Err(Close::InvalidMessage("Invalid message: not text".to_owned())),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Close::Gone),
    }
}
