//! A client of the WebSocket, frame by frame.

use std::{collections::VecDeque, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderName, HeaderValue, StatusCode},
        protocol::Role,
    },
};

use super::App;

/// Limit of each single wait.
const WAIT: Duration = Duration::from_secs(30);

/// An open socket.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages that came while another operation's was waited for.
    kept: VecDeque<Value>,
    /// Whether pings of the server are answered, as any good client does.
    pub answers_pings: bool,
}

/// A handshake with these headers besides the protocol's own.
pub fn handshake(app: &App, protocol: Option<&str>, headers: &[(&str, &str)]) -> Request {
    let mut request = format!("{}/graphql", app.base.replace("http://", "ws://")).into_client_request().unwrap();
    let protocol = protocol.map(|protocol| ("sec-websocket-protocol", protocol));
    for (name, value) in headers.iter().copied().chain(protocol) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

impl Socket {
    /// Connected, not yet initialised.
    pub async fn open(app: &App) -> Self {
        Self::open_as(handshake(app, Some("graphql-transport-ws"), &[])).await.unwrap()
    }

    /// `Err` holds the status that refused the handshake.
    pub async fn open_as(request: Request) -> Result<Self, StatusCode> {
        match timeout(WAIT, connect_async(request)).await.expect("a handshake is answered") {
            Ok((stream, _)) => Ok(Self { stream, kept: VecDeque::new(), answers_pings: true }),
            Err(tungstenite::Error::Http(response)) => Err(response.status()),
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }

    /// Connected with whatever subprotocol the server agrees to; a library's client would give up on none.
    pub async fn open_unchecked(app: &App, protocol: Option<&str>) -> Self {
        let host = app.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).await.unwrap();
        let protocol = protocol.map(|protocol| format!("Sec-WebSocket-Protocol: {protocol}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /graphql HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        let stream = WebSocketStream::from_raw_socket(MaybeTlsStream::Plain(stream), Role::Client, None).await;
        Self { stream, kept: VecDeque::new(), answers_pings: true }
    }

    /// Connected and initialised; without a token, as an anonymous client.
    pub async fn connect(app: &App, token: Option<&str>) -> Self {
        let mut socket = Self::open(app).await;
        socket.initialise(token).await;
        socket
    }

    pub async fn initialise(&mut self, token: Option<&str>) {
        self.send(match token {
            Some(token) => json!({"type": "connection_init", "payload": bearer(token)}),
            None => json!({"type": "connection_init"}),
        })
        .await;
        assert_eq!(self.receive().await, json!({"type": "connection_ack"}));
    }

    pub async fn send(&mut self, message: Value) {
        self.send_frame(Message::text(message.to_string())).await;
    }

    pub async fn send_frame(&mut self, frame: Message) {
        timeout(WAIT, self.stream.send(frame)).await.expect("a frame is taken").unwrap();
    }

    /// Sends what the server may refuse by hanging up half-way.
    pub async fn try_send_frame(&mut self, frame: Message) {
        let _ = timeout(WAIT, self.stream.send(frame)).await.expect("a frame is taken or refused");
    }

    pub async fn subscribe(&mut self, id: &str, query: &str) {
        self.send(json!({"id": id, "type": "subscribe", "payload": {"query": query}})).await;
    }

    pub async fn complete(&mut self, id: &str) {
        self.send(json!({"id": id, "type": "complete"})).await;
    }

    /// The next message, pings aside.
    pub async fn receive(&mut self) -> Value {
        match self.kept.pop_front() {
            Some(message) => message,
            None => self.read().await.unwrap_or_else(|close| panic!("the socket was closed: {close:?}")),
        }
    }

    /// The next message about this operation.
    pub async fn receive_of(&mut self, id: &str) -> Value {
        if let Some(place) = self.kept.iter().position(|message| message["id"] == id) {
            return self.kept.remove(place).unwrap();
        }
        loop {
            let message = self.read().await.unwrap_or_else(|close| panic!("the socket was closed: {close:?}"));
            if message["id"] == id {
                return message;
            }
            self.kept.push_back(message);
        }
    }

    /// The data of the operation's next payload, which must have no errors.
    pub async fn next(&mut self, id: &str) -> Value {
        let message = self.receive_of(id).await;
        assert!(message["type"] == "next" && message["payload"].get("errors").is_none(), "{message:#}");
        message["payload"]["data"].clone()
    }

    /// The operation's first data that is as wished; how many came up to it is in the second value.
    pub async fn next_where(&mut self, id: &str, is_wished: impl Fn(&Value) -> bool) -> (Value, usize) {
        let mut count = 1;
        loop {
            let data = self.next(id).await;
            if is_wished(&data) {
                return (data, count);
            }
            count += 1;
        }
    }

    /// How the server hangs up: the code and the reason of its close frame.
    pub async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(close) = self.read().await {
                return close.unwrap_or_else(|| panic!("the connection broke without a close frame"));
            }
        }
    }

    /// Answered pings aside, the next text; or the close frame, `None` where the connection just ended.
    async fn read(&mut self) -> Result<Value, Option<(u16, String)>> {
        // One limit for the whole wait: pings come however long the awaited message does not.
        timeout(WAIT, self.read_on()).await.expect("the server sends what is waited for")
    }

    async fn read_on(&mut self) -> Result<Value, Option<(u16, String)>> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] != "ping" {
                        return Ok(message);
                    }
                    if self.answers_pings {
                        self.send(json!({"type": "pong"})).await;
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// Reads until the connection ends, in whatever way.
    pub async fn ended(&mut self) {
        while self.read().await.is_ok() {}
    }
}

/// The payload that carries a token in `connection_init` and in pings.
pub fn bearer(token: &str) -> Value {
    json!({ "authorization": format!("Bearer {token}") })
}
