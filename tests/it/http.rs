//! The edge: status codes and forms of answers, bodies, limits, what operators scrape.

use std::io::Write;

use reqwest::{Method, Response, StatusCode, header::HeaderMap};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, play},
};

const FORM: &str = "application/graphql-response+json";

async fn start(options: Options) -> (TestDatabase, App) {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, options).await;
    (database, app)
}

/// A request to the app: a method, a path, headers and a body.
async fn send(
    app: &App,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Answer {
    let mut request = app.client.request(method, format!("{}{path}", app.base)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

/// An answer, read to its end and checked for what no client may see.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        if status >= 400 {
            reveals_nothing(&text);
        }
        Self { status, headers, text }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn media_type(&self) -> &str {
        self.header("content-type").unwrap().split(';').next().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks that this is the problem document of a code.
    fn assert_problem(&self, status: u16, code: &str, what: &str) {
        assert_eq!((self.status, self.media_type()), (status, "application/problem+json"), "{what}: {self:#?}");
        let document = self.json();
        assert_eq!((&document["status"], &document["code"]), (&json!(status), &json!(code)), "{what}");
        for member in ["type", "title", "detail"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {document}");
        }
    }
}

/// No SQL, no Debug text, no place in the sources.
fn reveals_nothing(text: &str) {
    for secret in [
        "SELECT",
        "INSERT",
        "no such table",
        "relation \\\"",
        "sqlx",
        "sea_orm",
        "DbErr",
        "SqlxError",
        "Error {",
        "Some(",
        "Err(",
        "RuntimeErr",
        "panicked",
        "src/",
        ".rs",
    ] {
        assert!(!text.contains(secret), "an answer shows {secret:?}: {text}");
    }
}

fn json_body(query: &str) -> String {
    json!({ "query": query }).to_string()
}

/// Sends a request byte by byte as written here and returns the answer's text.
async fn raw(app: &App, request: &str) -> String {
    let mut stream = TcpStream::connect(app.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn the_accept_header_chooses_the_form_of_the_answer() {
    let (_database, app) = start(Options::default()).await;
    const JSON: Option<&str> = Some("application/json");
    const RESPONSE: Option<&str> = Some(FORM);
    for (accept, expected) in [
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("Application/JSON", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/graphql-response+json", RESPONSE),
        ("application/graphql-response+json; charset=utf-8, application/json; charset=utf-8", RESPONSE),
        ("application/json, application/graphql-response+json", RESPONSE),
        ("application/json;q=0.9, application/graphql-response+json;q=0.8", JSON),
        ("application/json; q=0.8, application/graphql-response+json; q=0.9", RESPONSE),
        ("application/graphql-response+json;q=0.5, */*", JSON),
        ("application/graphql-response+json, */*;q=0.1", RESPONSE),
        // What is named counts for itself, whatever a wildcard says.
        ("application/json;q=0, */*", RESPONSE),
        ("application/graphql-response+json;q=0, application/*", JSON),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("text/html", None),
        ("application/xml", None),
        ("application/graphql+json", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("nonsense", None),
    ] {
        let headers = [("accept", accept), ("content-type", "application/json")];
        let answer = send(&app, Method::POST, "/graphql", &headers, json_body("{ __typename }")).await;
        match expected {
            Some(expected) => assert_eq!((answer.status, answer.media_type()), (200, expected), "{accept}"),
            None => answer.assert_problem(406, "NOT_ACCEPTABLE", accept),
        }
    }
    let without = raw(&app, "GET /graphql?query={__typename} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(without.starts_with("HTTP/1.1 200") && without.contains("content-type: application/json"), "{without}");
    app.stop().await;
}

#[tokio::test]
async fn bodies_are_json_in_utf_8() {
    let (_database, app) = start(Options::default()).await;
    for (content_type, is_taken) in [
        (Some("application/json"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some("application/json;charset=\"UTF-8\""), true),
        (Some("APPLICATION/JSON"), true),
        (Some("application/json; charset=iso-8859-1"), false),
        (Some("application/graphql"), false),
        // What a page of another site can send without asking.
        (Some("text/plain"), false),
        (Some("application/x-www-form-urlencoded"), false),
        (Some("multipart/form-data; boundary=x"), false),
        (Some(""), false),
        (None, false),
    ] {
        let headers: Vec<(&str, &str)> = content_type.map(|value| ("content-type", value)).into_iter().collect();
        let answer = send(&app, Method::POST, "/graphql", &headers, json_body("{ __typename }")).await;
        if is_taken {
            assert_eq!(answer.status, 200, "{content_type:?}");
        } else {
            answer.assert_problem(415, "UNSUPPORTED_MEDIA_TYPE", &format!("{content_type:?}"));
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn what_is_no_graphql_request_is_answered_with_400_in_either_form() {
    let (_database, app) = start(Options::default()).await;
    for body in [
        "",
        "{",
        "text",
        "17",
        "null",
        "[]",
        r#"[{"query":"{ __typename }"}]"#,
        "{}",
        r#"{"query":null}"#,
        r#"{"query":17}"#,
        r#"{"query":["{ __typename }"]}"#,
        r#"{"query":"{ __typename }","variables":"text"}"#,
        r#"{"query":"{ __typename }","variables":[]}"#,
        r#"{"query":"{ __typename }","operationName":17}"#,
        r#"{"query":"{ __typename }","extensions":"text"}"#,
        "{\"query\":\"{ __typename }\u{0}\"}",
    ] {
        for form in ["application/json", FORM] {
            let headers = [("accept", form), ("content-type", "application/json")];
            let answer = send(&app, Method::POST, "/graphql", &headers, body.to_owned()).await;
            assert_eq!((answer.status, answer.media_type()), (400, form), "{body}: {}", answer.text);
            let answer = answer.json();
            assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{body}");
            assert!(answer.get("data").is_none(), "{body}");
        }
    }
    let lone_surrogate = r#"{"query":"{ song(id: \"\ud800\") { id } }"}"#;
    let answer = send(&app, Method::POST, "/graphql", &[("content-type", "application/json")], lone_surrogate).await;
    assert_eq!((answer.status, &answer.json()["errors"][0]["extensions"]["code"]), (400, &json!("BAD_USER_INPUT")));
    app.stop().await;
}

#[tokio::test]
async fn the_status_tells_whether_a_request_was_executed() {
    let (_database, app) = start(Options::default()).await;
    let listener = format!("Bearer {}", app.token("listener", &[]));
    let variables = json!({"query": "query($id: ID!) { song(id: $id) { id } }", "variables": {}}).to_string();
    for (name, body, status, code) in [
        ("executed", json_body("{ __typename }"), 200, None),
        ("nothing found", json_body(r#"{ song(id: "nobody") { id } }"#), 200, None),
        (
            "a field refused",
            json_body(r#"{ ranking(of: SONG, first: 0) { nodes { id } } }"#),
            200,
            Some("BAD_USER_INPUT"),
        ),
        ("not GraphQL", json_body("{"), 400, Some("GRAPHQL_PARSE_FAILED")),
        ("empty", json_body(""), 400, Some("GRAPHQL_PARSE_FAILED")),
        ("an unknown field", json_body("{ nothing }"), 400, Some("GRAPHQL_VALIDATION_FAILED")),
        ("a missing variable", variables, 400, Some("BAD_USER_INPUT")),
        (
            "several operations",
            json_body("query A { __typename } query B { __typename }"),
            400,
            Some("GRAPHQL_VALIDATION_FAILED"),
        ),
        (
            "an unknown operation",
            json!({"query": "query A { __typename }", "operationName": "B"}).to_string(),
            400,
            Some("GRAPHQL_VALIDATION_FAILED"),
        ),
        ("a subscription", json_body("subscription { ranking(of: SONG) { sequence } }"), 400, Some("BAD_USER_INPUT")),
    ] {
        let headers = |form| [("accept", form), ("content-type", "application/json"), ("authorization", &*listener)];
        let answer = send(&app, Method::POST, "/graphql", &headers(FORM), body.clone()).await;
        assert_eq!((answer.status, answer.media_type()), (status, FORM), "{name}: {}", answer.text);
        let seen = answer.json();
        assert_eq!(seen["errors"][0]["extensions"]["code"].as_str(), code, "{name}: {seen}");
        assert_eq!(seen.get("data").is_some(), status == 200, "{name}: {seen}");
        let as_json = send(&app, Method::POST, "/graphql", &headers("application/json"), body).await;
        assert_eq!(as_json.json(), seen, "{name}");
        assert!(as_json.status == 200 || name == "a subscription", "{name}: {}", as_json.status);
    }
    app.stop().await;
}

#[tokio::test]
async fn get_runs_queries_and_nothing_else() {
    let (_database, app) = start(Options::default()).await;
    let admin = format!("Bearer {}", app.admin());
    let event = "mutation%7BrecordEvents(input:%5B%7Bid:%221%22,type:%22a.b%22%7D%5D)%7Baccepted%7D%7D";
    for (query, status) in [
        ("?query=%7B__typename%7D".to_owned(), 200),
        ("?query=%7B__typename%7D&variables=&operationName=&extensions=".to_owned(), 200),
        ("?query=query($id:ID!)%7Bsong(id:$id)%7Bid%7D%7D&variables=%7B%22id%22:%221%22%7D".to_owned(), 200),
        ("?query=query%20A%7B__typename%7Dquery%20B%7B__typename%7D&operationName=B".to_owned(), 200),
        (String::new(), 400),
        ("?variables=%7B%7D".to_owned(), 400),
        ("?query=%7B__typename%7D&variables=text".to_owned(), 400),
        ("?query=%7B__typename%7D&variables=%5B%5D".to_owned(), 400),
        ("?query=%7B".to_owned(), 400),
        (format!("?query={event}"), 405),
        (format!("?query={event}query%20Q%7B__typename%7D&operationName=Q").replace("mutation", "mutation%20M"), 200),
    ] {
        let headers = [("accept", FORM), ("authorization", &*admin)];
        let answer = send(&app, Method::GET, &format!("/graphql{query}"), &headers, "").await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
        if status == 405 {
            answer.assert_problem(405, "METHOD_NOT_ALLOWED", &query);
            assert_eq!(answer.header("allow"), Some("POST"));
        }
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = send(&app, method, "/graphql", &[], "").await;
        answer.assert_problem(405, "METHOD_NOT_ALLOWED", "another method");
        assert_eq!(answer.header("allow"), Some("GET, POST"));
    }
    assert_eq!(app.verify().await.events, 0);
    app.stop().await;
}

#[tokio::test]
async fn a_bad_token_is_answered_with_401_and_not_repeated() {
    let (_database, app) = start(Options::default()).await;
    let expired = crate::support::app::token("admin", &[], "admin", -3_600);
    for header in ["Bearer not.a.token", "Basic c2VjcmV0", "not.a.token", &format!("Bearer {expired}")] {
        for path in ["/graphql", "/v1/events"] {
            let headers = [("authorization", header), ("content-type", "application/json")];
            let answer = send(&app, Method::POST, path, &headers, json_body("{ __typename }")).await;
            answer.assert_problem(401, "UNAUTHENTICATED", header);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            let token = header.rsplit(' ').next().unwrap();
            assert!(!answer.text.contains(token), "{}", answer.text);
        }
    }
    let anonymous = send(&app, Method::POST, "/v1/events", &[("content-type", "application/json")], "{}").await;
    anonymous.assert_problem(401, "UNAUTHENTICATED", "no token");
    for role in ["listener", "artist"] {
        let token = format!("Bearer {}", app.token(role, &["artist-1"]));
        let answer = send(&app, Method::POST, "/v1/events", &[("authorization", &token)], "{}").await;
        answer.assert_problem(403, "FORBIDDEN", role);
    }
    app.stop().await;
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems() {
    let (_database, app) = start(Options::default()).await;
    for (method, path, status, code) in [
        (Method::GET, "/nothing", 404, "NOT_FOUND"),
        (Method::POST, "/graphql/", 404, "NOT_FOUND"),
        (Method::GET, "/v1", 404, "NOT_FOUND"),
        (Method::GET, "/../Cargo.toml", 404, "NOT_FOUND"),
        (Method::GET, "/v1/events", 405, "METHOD_NOT_ALLOWED"),
        (Method::DELETE, "/v1/events", 405, "METHOD_NOT_ALLOWED"),
        (Method::POST, "/livez", 405, "METHOD_NOT_ALLOWED"),
        (Method::POST, "/metrics", 405, "METHOD_NOT_ALLOWED"),
        (Method::POST, "/", 405, "METHOD_NOT_ALLOWED"),
    ] {
        let answer = send(&app, method.clone(), path, &[], "").await;
        answer.assert_problem(status, code, &format!("{method} {path}"));
        assert_eq!(answer.header("allow").is_some(), status == 405, "{method} {path}");
    }
    app.stop().await;
}

/// Compressed, in one of the encodings.
fn packed(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

#[tokio::test]
async fn bodies_may_be_packed() {
    let (_database, app) = start(Options::at(T0)).await;
    let service = format!("Bearer {}", app.token("service", &[]));
    for (number, encoding) in ["identity", "gzip", "GZIP", "x-gzip", "zstd"].into_iter().enumerate() {
        let headers =
            [("authorization", &*service), ("content-type", "application/json"), ("content-encoding", encoding)];
        let format = encoding.to_ascii_lowercase().replace("x-", "");
        let event = play(&number.to_string(), "2026-06-15T10:00:00Z", "u1").to_string();
        let answer = send(&app, Method::POST, "/v1/events", &headers, packed(&format, event.as_bytes())).await;
        assert_eq!((answer.status, &answer.json()["accepted"]), (200, &json!(1)), "{encoding}: {}", answer.text);
        let query = json_body("{ __typename }");
        let answer = send(&app, Method::POST, "/graphql", &headers, packed(&format, query.as_bytes())).await;
        assert_eq!(answer.json(), json!({"data": {"__typename": "Query"}}), "{encoding}");
    }
    for (name, encoding, body, status, code) in [
        ("unknown", "br", b"{}".to_vec(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("two at once", "gzip, zstd", b"{}".to_vec(), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("not gzip", "gzip", b"{}".to_vec(), 400, "BAD_USER_INPUT"),
        ("not zstd", "zstd", b"{}".to_vec(), 400, "BAD_USER_INPUT"),
        ("half of gzip", "gzip", packed("gzip", &[b' '; 9_000])[..30].to_vec(), 400, "BAD_USER_INPUT"),
        ("half of zstd", "zstd", packed("zstd", &[b' '; 9_000])[..14].to_vec(), 400, "BAD_USER_INPUT"),
        ("empty of gzip", "gzip", packed("gzip", b""), 400, "BAD_USER_INPUT"),
        ("a window of 128 MB", "zstd", wide_window(), 400, "BAD_USER_INPUT"),
    ] {
        let headers = [("authorization", &*service), ("content-encoding", encoding)];
        let answer = send(&app, Method::POST, "/v1/events", &headers, body).await;
        answer.assert_problem(status, code, name);
    }
    app.stop().await;
}

/// An event in a zstd frame whose decoder would have to keep 128 MB at hand.
fn wide_window() -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(play("wide", "2026-06-15T10:00:00Z", "u1").to_string().as_bytes()).unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

/// Four megabytes that unpack to more than three gigabytes.
pub fn bomb(encoding: &str) -> Vec<u8> {
    let part = packed(encoding, &vec![b' '; 1 << 20]);
    let parts = (4 << 20) / part.len();
    assert!(parts > 3_000, "{encoding}: {} bytes a part", part.len());
    part.repeat(parts)
}

#[tokio::test]
async fn bodies_past_the_limit_are_refused_before_and_after_unpacking() {
    let (_database, app) = start(Options::default()).await;
    let service = format!("Bearer {}", app.token("service", &[]));
    let fitting = (5 << 20) - 2;
    for (name, encoding, body, is_fitting) in [
        ("5 MiB", "identity", vec![b' '; fitting], true),
        ("more", "identity", vec![b' '; fitting + 3], false),
        ("10 MB", "identity", vec![b' '; 10_000_000], false),
        ("5 MiB of gzip", "gzip", packed("gzip", &vec![b' '; fitting]), true),
        ("more of gzip", "gzip", packed("gzip", &vec![b' '; fitting + 3]), false),
        ("5 MiB of zstd", "zstd", packed("zstd", &vec![b' '; fitting]), true),
        ("more of zstd", "zstd", packed("zstd", &vec![b' '; fitting + 3]), false),
        ("a gzip bomb", "gzip", bomb("gzip"), false),
        ("a zstd bomb", "zstd", bomb("zstd"), false),
    ] {
        for path in ["/v1/events", "/graphql"] {
            let headers =
                [("authorization", &*service), ("content-type", "application/json"), ("content-encoding", encoding)];
            let answer = send(&app, Method::POST, path, &headers, body.clone()).await;
            if is_fitting {
                // Blanks are no event and no query, but they were read.
                assert_eq!(answer.status, 400, "{name} to {path}: {}", answer.text);
            } else {
                answer.assert_problem(413, "PAYLOAD_TOO_LARGE", &format!("{name} to {path}"));
            }
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_at_the_limit() {
    let (_database, app) = start(Options::default().set("REQUEST_SIZE_MAX", 1_000)).await;
    let mut request = format!(
        "POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        app.token("service", &[])
    );
    for _ in 0..20 {
        request.push_str(&format!("64\r\n{}\r\n", " ".repeat(100)));
    }
    request.push_str("0\r\n\r\n");
    let answer = raw(&app, &request).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("PAYLOAD_TOO_LARGE"), "{answer}");
    app.stop().await;
}

#[tokio::test]
async fn pages_of_allowed_origins_may_call() {
    let (_database, app) = start(Options::default().set("CORS_ORIGINS", "https://app.example,https://b.example")).await;
    for (origin, is_allowed) in
        [("https://app.example", true), ("https://b.example", true), ("https://evil.example", false)]
    {
        let allowed = is_allowed.then_some(origin);
        for path in ["/graphql", "/v1/events"] {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization,content-type,content-encoding"),
            ];
            let preflight = send(&app, Method::OPTIONS, path, &headers, "").await;
            assert_eq!(preflight.status, 200, "{origin}");
            assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{origin}");
            let methods = preflight.header("access-control-allow-methods").unwrap_or_default();
            assert!(methods.contains("POST") && methods.contains("GET") && !methods.contains("DELETE"), "{methods}");
            let named = preflight.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
            for name in ["authorization", "content-type", "content-encoding"] {
                assert!(named.contains(name), "{named}");
            }
        }
        let headers = [("origin", origin), ("content-type", "application/json")];
        let answer = send(&app, Method::POST, "/graphql", &headers, json_body("{ __typename }")).await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    let (_database, open) = start(Options::default().set("CORS_ORIGINS", "*")).await;
    let headers = [("origin", "https://any.example"), ("access-control-request-method", "POST")];
    let preflight = send(&open, Method::OPTIONS, "/graphql", &headers, "").await;
    assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
    app.stop().await;
    open.stop().await;
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let (_database, app) = start(Options::default()).await;
    for path in ["/livez", "/graphql", "/nothing", "/"] {
        let own = send(&app, Method::GET, path, &[("x-request-id", "abc-123")], "").await;
        assert_eq!(own.header("x-request-id"), Some("abc-123"), "{path}");
        let mut made = Vec::new();
        for sent in ["", "with blank", &"x".repeat(65)] {
            let answer = send(&app, Method::GET, path, &[("x-request-id", sent)], "").await;
            let id = answer.header("x-request-id").unwrap().to_owned();
            assert!(id != sent && id.len() == 36, "{path}: {id}");
            made.push(id);
        }
        made.dedup();
        assert_eq!(made.len(), 3, "{path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn health_and_metrics_are_served_without_a_token() {
    let (_database, app) = start(Options::at(T0)).await;
    for path in ["/livez", "/readyz"] {
        let answer = send(&app, Method::GET, path, &[], "").await;
        assert_eq!((answer.status, &*answer.text), (200, "ok"), "{path}");
    }
    let event = play("1", "2026-06-15T10:00:00Z", "u1");
    let mut other = event.clone();
    other["playedMs"] = json!(1);
    app.post_events(json!([event, event, other, {"id": "2"}]).to_string()).await;
    app.graphql(Some(&app.admin()), "query Named { __typename }", json!({})).await;
    send(&app, Method::GET, "/nothing", &[], "").await;
    let named = json!({"query": "query Named { __typename }", "operationName": "Named"}).to_string();
    send(&app, Method::POST, "/graphql", &[("content-type", "application/json")], named).await;
    let answer = send(&app, Method::GET, "/metrics", &[], "").await;
    assert_eq!((answer.status, answer.media_type()), (200, "application/openmetrics-text"));
    for line in [
        "backbeat_ingest_received_total 4",
        r#"backbeat_ingest_outcomes_total{outcome="ACCEPTED"} 1"#,
        r#"backbeat_ingest_outcomes_total{outcome="DUPLICATE"} 1"#,
        r#"backbeat_ingest_outcomes_total{outcome="CONFLICT"} 1"#,
        r#"backbeat_ingest_outcomes_total{outcome="REJECTED"} 1"#,
        r#"backbeat_ingest_rejected_total{code="MISSING_FIELD"} 1"#,
        "backbeat_ingest_refused_total 0",
        "backbeat_ingest_batch_events_count 1",
        "backbeat_ingest_batch_events_sum 3.0",
        "backbeat_ingest_commit_seconds_count 1",
        "backbeat_ingest_queue_events 0",
        r#"backbeat_http_requests_total{method="POST",route="/v1/events",status="200"} 1"#,
        r#"backbeat_http_requests_total{method="GET",route="other",status="404"} 1"#,
        r#"backbeat_graphql_operations_total{kind="query",operation="Named",outcome="ok"} 1"#,
        r#"backbeat_graphql_operations_total{kind="query",operation="anonymous",outcome="ok"} 1"#,
        "backbeat_live_sockets 0",
        "backbeat_live_watchers 0",
        "# EOF",
    ] {
        assert!(answer.text.lines().any(|seen| seen == line), "{line} is missing in:\n{}", answer.text);
    }
    app.stop().await;
}

on_every_database!(a_fault_of_ours_says_one_sentence_and_shows_no_sql, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play("1", "2026-06-15T10:00:00Z", "u1")]).await;
    database.connect().await.execute_unprepared("DROP TABLE rollup").await.unwrap();
    let sentence = "something went wrong on our side; it is logged under the request's id";
    let query = r#"{ song(id: "song-1") { id metrics { plays } } }"#;
    let answer = app.graphql(Some(&app.admin()), query, json!({})).await;
    assert_eq!(answer["errors"][0]["message"], sentence, "{answer:#}");
    assert_eq!(answer["errors"][0]["extensions"], json!({"code": "INTERNAL_SERVER_ERROR"}));
    reveals_nothing(&answer.to_string());
    let (status, answer) = app.post_events(play("2", "2026-06-15T10:00:00Z", "u1").to_string()).await;
    assert_eq!((status, &answer["code"], &answer["detail"]), (500, &json!("INTERNAL_SERVER_ERROR"), &json!(sentence)));
    reveals_nothing(&answer.to_string());
    app.stop().await;
});

#[tokio::test]
async fn documents_past_a_limit_are_refused_before_they_cost_anything() {
    let (_database, app) = start(Options::default()).await;
    let aliases = |count: usize| {
        let aliased: String = (0..count).map(|number| format!("a{number}: __typename ")).collect();
        format!("{{ {aliased} }}")
    };
    let nested =
        |levels: usize| format!("{{ songs(ids: {}\"1\"{}) {{ id }} }}", "[".repeat(levels), "]".repeat(levels));
    let artists = |levels: usize| {
        format!(
            "{{ song(id: \"1\") {{ {} id {} }} }}",
            "artist { topSongs(first: 1) { song { ".repeat(levels),
            "} } } ".repeat(levels)
        )
    };
    let bomb = |levels: usize| {
        let mut text = "{ ...F0 }".to_owned();
        for level in 0..levels {
            text.push_str(&format!(" fragment F{level} on Query {{ ...F{0} ...F{0} }}", level + 1));
        }
        text + &format!(" fragment F{levels} on Query {{ __typename }}")
    };
    for (name, document, refusal) in [
        ("bytes that fit", format!("{{ __typename }} #{}", "x".repeat(90_000)), None),
        ("bytes", format!("{{ __typename }} #{}", "x".repeat(100_000)), Some("bytes")),
        ("tokens", format!("{{ {} }}", "__typename ".repeat(16_000).replace("__typename", "_")), Some("tokens")),
        ("fields", format!("{{ {} }}", "__typename ".repeat(5_001)), Some("fields")),
        ("aliases that fit", aliases(200), None),
        ("aliases", aliases(201), Some("aliases")),
        ("nesting", nested(60), Some("nested")),
        ("brackets never closed", "{".repeat(90_000), Some("nested")),
        ("levels that fit", artists(5), None),
        ("levels", artists(7), Some("levels")),
        ("a fragment bomb that fits", bomb(10), None),
        ("a fragment bomb", bomb(40), Some("expanded")),
        ("cost that fits", r#"{ ranking(of: SONG, first: 200) { nodes { metrics { plays } } } }"#.to_owned(), None),
        (
            "cost",
            r#"{ ranking(of: ARTIST, first: 200) { nodes { metrics { plays } ... on Artist { topSongs(first: 100) { song { id title metrics { plays } } } } } } }"#
                .to_owned(),
            Some("complex"),
        ),
    ] {
        let token = format!("Bearer {}", app.admin());
        let headers = [("accept", FORM), ("content-type", "application/json"), ("authorization", &*token)];
        let answer = send(&app, Method::POST, "/graphql", &headers, json_body(&document)).await;
        let seen = answer.json();
        match refusal {
            None => assert!(answer.status == 200 && seen.get("errors").is_none(), "{name}: {}", answer.text),
            Some(word) => {
                assert_eq!(answer.status, 400, "{name}: {}", answer.text);
                assert_eq!(seen["errors"][0]["extensions"]["code"], "QUERY_TOO_COMPLEX", "{name}: {seen}");
                assert!(seen["errors"][0]["message"].as_str().unwrap().contains(word), "{name}: {seen}");
            }
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn an_operator_may_lower_what_a_query_may_cost() {
    let (_database, app) = start(Options::default().set("QUERY_COST_MAX", 100)).await;
    for (query, code) in [
        ("{ ranking(of: SONG, first: 20) { nodes { id } } }", None),
        ("{ ranking(of: SONG, first: 60) { nodes { id } } }", Some("QUERY_TOO_COMPLEX")),
        (r#"{ songs(ids: ["1", "2"]) { metrics { plays } } }"#, None),
    ] {
        let answer = app.graphql(Some(&app.admin()), query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"].as_str(), code, "{query}: {answer}");
    }
    app.stop().await;
}

/// What GraphiQL and code generators ask: graphql-js's `getIntrospectionQuery` with everything it can ask.
pub const INTROSPECTION: &str = "
query IntrospectionQuery {
  __schema {
    description
    queryType { name kind }
    mutationType { name kind }
    subscriptionType { name kind }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } }
  }
}
fragment FullType on __Type {
  kind name description specifiedByURL isOneOf
  fields(includeDeprecated: true) {
    name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason
  }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue {
  name description type { ...TypeRef } defaultValue isDeprecated deprecationReason
}
fragment TypeRef on __Type {
  kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
    ofType { kind name ofType { kind name ofType { kind name } } } } } } } } }
}";

#[tokio::test]
async fn introspection_is_open_and_can_be_closed() {
    let (_database, app) = start(Options::default()).await;
    let answer = app.graphql(None, INTROSPECTION, json!({})).await;
    assert!(answer.get("errors").is_none(), "{}", answer["errors"]);
    let types = answer["data"]["__schema"]["types"].as_array().unwrap();
    let built_in = ["Boolean", "Float", "ID", "Int", "String"];
    let described = types.iter().filter(|kind| {
        let name = kind["name"].as_str().unwrap();
        !name.starts_with("__") && !built_in.contains(&name)
    });
    for kind in described {
        assert!(
            kind["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{} has no description",
            kind["name"]
        );
    }
    app.stop().await;
    let (_database, closed) = start(Options::default().set("INTROSPECTION", "false")).await;
    let answer = closed.graphql(None, INTROSPECTION, json!({})).await;
    assert!(answer["data"]["__schema"].is_null(), "{answer}");
    closed.stop().await;
}

#[tokio::test]
async fn the_page_has_a_strict_policy_and_can_be_left_out() {
    let (_database, app) = start(Options::default()).await;
    for (path, media_type) in [
        ("/", "text/html"),
        ("/graphiql.js", "text/javascript"),
        ("/graphiql.css", "text/css"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let answer = send(&app, Method::GET, path, &[], "").await;
        assert_eq!((answer.status, answer.media_type()), (200, media_type), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let tag = answer.header("etag").unwrap();
        let again = send(&app, Method::GET, path, &[("if-none-match", tag)], "").await;
        assert_eq!((again.status, &*again.text), (StatusCode::NOT_MODIFIED.as_u16(), ""), "{path}");
    }
    app.stop().await;
    let (_database, without) = start(Options::default().set("GRAPHIQL", "false")).await;
    send(&without, Method::GET, "/", &[], "").await.assert_problem(404, "NOT_FOUND", "no page");
    without.stop().await;
}
