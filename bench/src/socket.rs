//! One subscription over a WebSocket, in the words of graphql-transport-ws.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

use crate::{error::BenchError, target::Target};

/// What every socket of a run says and looks for.
pub struct Plan {
    target: Target,
    url: String,
    init: String,
    subscribe: String,
    counter: String,
}

impl Plan {
    /// `counter` is where the count is in the document's data, as a JSON pointer.
    pub fn new(target: &Target, graphql_path: &str, document: &str, counter: &str) -> Self {
        let authorization = target.authorization().and_then(|value| value.to_str().ok());
        let init = match authorization {
            Some(token) => json!({ "type": "connection_init", "payload": { "authorization": token } }),
            None => json!({ "type": "connection_init" }),
        };
        let subscribe = json!({ "id": "1", "type": "subscribe", "payload": { "query": document } });
        Self {
            target: target.clone(),
            url: format!("ws://{}{}", target.authority(), target.path(graphql_path)),
            init: init.to_string(),
            subscribe: subscribe.to_string(),
            counter: format!("/data{counter}"),
        }
    }
}

/// A socket with one subscription.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    plan: Arc<Plan>,
}

impl Socket {
    /// Connects, introduces itself, subscribes and waits for the first count.
    pub async fn open(plan: &Arc<Plan>) -> Result<(Self, i64), BenchError> {
        let mut request = plan.url.as_str().into_client_request()?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("graphql-transport-ws"));
        // Small buffers: with the library's own, ten thousand sockets would take over a gigabyte.
        let config = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
        let stream = plan.target.dial().await?;
        let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
        let mut socket = Self { stream, plan: plan.clone() };
        socket.stream.send(Message::text(plan.init.as_str())).await?;
        socket.acknowledged().await?;
        socket.stream.send(Message::text(plan.subscribe.as_str())).await?;
        let count = socket.next_count().await?;
        Ok((socket, count))
    }

    async fn acknowledged(&mut self) -> Result<(), BenchError> {
        loop {
            let text = self.next_text().await?;
            match frame(&text)?.kind {
                "connection_ack" => return Ok(()),
                "ping" => self.pong().await?,
                _ => return Err(BenchError::Protocol { message: text }),
            }
        }
    }

    /// The count of the next message.
    pub async fn next_count(&mut self) -> Result<i64, BenchError> {
        loop {
            let text = self.next_text().await?;
            let frame = frame(&text)?;
            match frame.kind {
                "next" => {
                    let payload: Option<Value> = frame.payload.and_then(|json| serde_json::from_str(json.get()).ok());
                    let count = payload.and_then(|payload| payload.pointer(&self.plan.counter)?.as_i64());
                    return count.ok_or_else(|| {
                        let message = format!("no whole number at {} of {text}", self.plan.counter);
                        BenchError::Protocol { message }
                    });
                }
                "ping" => self.pong().await?,
                "pong" => {}
                _ => return Err(BenchError::Protocol { message: text }),
            }
        }
    }

    async fn pong(&mut self) -> Result<(), BenchError> {
        Ok(self.stream.send(Message::text(r#"{"type":"pong"}"#)).await?)
    }

    async fn next_text(&mut self) -> Result<String, BenchError> {
        loop {
            match self.stream.next().await.transpose()? {
                Some(Message::Text(text)) => return Ok(text.as_str().to_owned()),
                Some(Message::Close(reason)) => {
                    let message = reason.map_or_else(|| "closed".to_owned(), |reason| format!("closed: {reason}"));
                    return Err(BenchError::Protocol { message });
                }
                Some(_) => {}
                None => return Err(BenchError::Protocol { message: "ended".into() }),
            }
        }
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

fn frame(text: &str) -> Result<Frame<'_>, BenchError> {
    serde_json::from_str(text).map_err(|source| BenchError::Answer { body: text.to_owned(), source })
}
