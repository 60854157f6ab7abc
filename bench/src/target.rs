//! The server under measurement, and one plain HTTP/1.1 connection to it.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::error::BenchError;

pub const NDJSON: &str = "application/x-ndjson";
pub const JSON: &str = "application/json";

/// Longer than any answer that would still be worth measuring.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// As much of an unexpected answer as helps to understand it.
const EXCERPT_BYTES: usize = 500;

/// Where the server is and who asks it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Target(Arc<Place>);

#[derive(Debug)]
struct Place {
    address: SocketAddr,
    authority: String,
    /// Put before every path; empty or without a slash at its end.
    prefix: String,
    authorization: Option<HeaderValue>,
}

impl Target {
    /// A server on this machine; any other is refused.
    pub fn parse(url: &str, token: Option<&str>) -> Result<Self, BenchError> {
        let wrong = || BenchError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong());
        }
        let authority = uri.authority().ok_or_else(wrong)?;
        let (host, port) = (authority.host(), authority.port_u16().unwrap_or(80));
        let lookup = (host.trim_matches(['[', ']']), port).to_socket_addrs();
        let addresses: Vec<_> =
            lookup.map_err(|source| BenchError::Lookup { host: host.to_owned(), source })?.collect();
        let not_loopback = || BenchError::NotLoopback { host: host.to_owned() };
        if !addresses.iter().all(|address| address.ip().is_loopback()) {
            return Err(not_loopback());
        }
        let authorization = token
            .map(|token| HeaderValue::try_from(format!("Bearer {token}")))
            .transpose()
            .map_err(|_| BenchError::Option("the token holds characters that no header may hold".into()))?;
        Ok(Self(Arc::new(Place {
            address: *addresses.first().ok_or_else(not_loopback)?,
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            authorization,
        })))
    }

    pub fn authority(&self) -> &str {
        &self.0.authority
    }

    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.0.prefix)
    }

    /// As in an Authorization header: `Bearer …`.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.0.authorization.as_ref()
    }

    pub async fn dial(&self) -> Result<TcpStream, BenchError> {
        let stream = TcpStream::connect(self.0.address).await.map_err(BenchError::Connect)?;
        // Requests are written whole; waiting for more to send along would only measure the wait.
        stream.set_nodelay(true).map_err(BenchError::Connect)?;
        Ok(stream)
    }

    pub fn connection(&self) -> Connection {
        Connection { target: self.clone(), sender: None }
    }
}

/// A kept-alive connection with one request at a time; opened when first needed, and again after it broke.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    sender: Option<SendRequest<Full<Bytes>>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// How long the server asks to wait before the next try.
    pub retry_after: Option<Duration>,
    pub body: Bytes,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The beginning of the body, for a person to read.
    pub fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(EXCERPT_BYTES)]).into_owned()
    }
}

impl Connection {
    /// Connects now, so that the first request does not pay for it.
    pub async fn open(&mut self) -> Result<(), BenchError> {
        if self.sender.as_ref().is_some_and(|sender| !sender.is_closed()) {
            return Ok(());
        }
        let (sender, connection) = http1::handshake(TokioIo::new(self.target.dial().await?)).await?;
        // What ends the connection also fails the request on it, and is reported there.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        self.sender = Some(sender);
        Ok(())
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, BenchError> {
        let request = Request::builder().method(Method::GET);
        self.send(request, path, Bytes::new()).await
    }

    pub async fn post(&mut self, path: &str, content_type: &'static str, body: Bytes) -> Result<Answer, BenchError> {
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, content_type);
        self.send(request, path, body).await
    }

    /// A GraphQL request; the body is the JSON with `query` and `variables`.
    pub async fn ask(&mut self, path: &str, body: Bytes) -> Result<Answer, BenchError> {
        let request = Request::builder()
            .method(Method::POST)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, "application/graphql-response+json, application/json;q=0.9");
        self.send(request, path, body).await
    }

    async fn send(
        &mut self,
        request: hyper::http::request::Builder,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, BenchError> {
        let answer = timeout(ANSWER_TIMEOUT, self.exchange(request, path, body)).await;
        let answer = answer.unwrap_or(Err(BenchError::Timeout { seconds: ANSWER_TIMEOUT.as_secs() }));
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn exchange(
        &mut self,
        request: hyper::http::request::Builder,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, BenchError> {
        self.open().await?;
        let place = &self.target.0;
        let mut request = request.uri(self.target.path(path)).header(HOST, &place.authority);
        if let Some(authorization) = &place.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body))?;
        let sender = self.sender.as_mut().expect("open() has just set it");
        sender.ready().await?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer {
            status: head.status.as_u16(),
            retry_after: retry_after.map(Duration::from_secs),
            body: body.collect().await?.to_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_a_target() {
        for (url, is_taken) in [
            ("http://127.0.0.1:8080", true),
            ("http://127.0.0.1", true),
            ("http://127.9.9.9:1/api/", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080", true),
            ("https://127.0.0.1:8080", false),
            ("127.0.0.1:8080", false),
            ("http://192.168.0.1:8080", false),
            ("http://0.0.0.0:8080", false),
            ("http://[2001:db8::1]:8080", false),
        ] {
            assert_eq!(Target::parse(url, None).is_ok(), is_taken, "{url}");
        }
    }

    #[test]
    fn a_path_in_the_address_comes_first() {
        let target = Target::parse("http://127.0.0.1:1/api/", Some("t")).unwrap();
        assert_eq!(target.path("/graphql"), "/api/graphql");
        assert_eq!(target.authorization().unwrap(), "Bearer t");
        assert_eq!(Target::parse("http://127.0.0.1:1", None).unwrap().path("/graphql"), "/graphql");
        assert!(Target::parse("http://127.0.0.1:1", Some("a\nb")).is_err());
    }
}
