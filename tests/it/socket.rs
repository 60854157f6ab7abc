//! The WebSocket: the `graphql-transport-ws` protocol with its close codes and limits.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message, http::StatusCode};

use crate::support::{
    App, Socket, TestDatabase,
    app::{self, Options},
    eventually,
    socket::{bearer, handshake},
};

const PROTOCOL: Option<&str> = Some("graphql-transport-ws");
const WATCH: &str = r#"subscription { metrics(of: {kind: SONG, id: "song-1"}) { sequence metrics { plays } } }"#;

async fn start(options: Options) -> (TestDatabase, App) {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, options).await;
    (database, app)
}

fn text(text: &str) -> Message {
    Message::text(text.to_owned())
}

#[tokio::test]
async fn what_is_no_message_of_the_protocol_closes_with_4400() {
    let (_database, app) = start(Options::default()).await;
    for frame in [
        text("{"),
        text(""),
        text("[]"),
        text("17"),
        text("{}"),
        text(r#"{"type":"start"}"#),
        text(r#"{"type":17}"#),
        text(r#"{"type":"subscribe"}"#),
        text(r#"{"type":"subscribe","id":"1"}"#),
        text(r#"{"type":"subscribe","id":1,"payload":{"query":"{ __typename }"}}"#),
        text(r#"{"type":"subscribe","id":"1","payload":{"query":1}}"#),
        text(r#"{"type":"subscribe","id":"1","payload":{"query":"{ __typename }","variables":[]}}"#),
        text(r#"{"type":"complete"}"#),
        text(r#"{"type":"ping","payload":"text"}"#),
        Message::Binary(Bytes::from_static(br#"{"type":"ping"}"#)),
    ] {
        for is_initialised in [false, true] {
            let mut socket = Socket::open(&app).await;
            if is_initialised {
                socket.initialise(None).await;
            }
            socket.send_frame(frame.clone()).await;
            let (code, reason) = socket.closed().await;
            assert_eq!(code, 4400, "{frame:?}: {reason}");
            assert!(reason.starts_with("Invalid message"), "{frame:?}: {reason}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_subscription_before_connection_init_closes_with_4401() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::open(&app).await;
    socket.subscribe("1", WATCH).await;
    assert_eq!(socket.closed().await, (4401, "Unauthorized".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_token_that_is_not_taken_closes_with_4403_and_is_not_repeated() {
    let (_database, app) = start(Options::default()).await;
    let expired = app::token("admin", &[], "admin", -3_600);
    for payload in [
        json!({"authorization": "Bearer not.a.token"}),
        json!({"Authorization": "Basic secret-text"}),
        json!({"headers": {"authorization": "Bearer not.a.token"}}),
        json!({"authorization": 17}),
        json!({"authorization": null}),
        bearer(&expired),
    ] {
        let mut socket = Socket::open(&app).await;
        socket.send(json!({"type": "connection_init", "payload": payload})).await;
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 4403, "{payload}");
        assert!(!reason.contains("not.a.token") && !reason.contains("secret-text"), "{reason}");
    }
    app.stop().await;
}

#[tokio::test]
async fn tokens_are_taken_from_connection_init_and_from_the_handshake() {
    let (_database, app) = start(Options::default()).await;
    let admin = format!("Bearer {}", app.admin());
    let listener = format!("Bearer {}", app.token("listener", &[]));
    for (header, payload, role) in [
        (None, json!({"authorization": admin}), json!("ADMIN")),
        (None, json!({"Authorization": admin}), json!("ADMIN")),
        (None, json!({"headers": {"Authorization": admin}}), json!("ADMIN")),
        (Some(&*admin), json!({}), json!("ADMIN")),
        (Some(&*listener), json!({"authorization": admin}), json!("ADMIN")),
    ] {
        let headers: Vec<(&str, &str)> = header.map(|header| ("authorization", header)).into_iter().collect();
        let mut socket = Socket::open_as(handshake(&app, PROTOCOL, &headers)).await.unwrap();
        socket.send(json!({"type": "connection_init", "payload": payload})).await;
        assert_eq!(socket.receive().await["type"], "connection_ack");
        socket.subscribe("1", "{ viewer { role } }").await;
        assert_eq!(socket.next("1").await["viewer"]["role"], role, "{payload}");
    }
    let bad = Socket::open_as(handshake(&app, PROTOCOL, &[("authorization", "Bearer not.a.token")])).await;
    assert_eq!(bad.err(), Some(StatusCode::UNAUTHORIZED));
    app.stop().await;
}

#[tokio::test]
async fn a_socket_closes_with_4403_when_its_token_expires() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, Some(&app::token("listener", &[], "listener", 2))).await;
    socket.subscribe("1", WATCH).await;
    assert_eq!(socket.closed().await, (4403, "the token has expired".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn a_fresh_token_in_a_ping_keeps_the_socket_open() {
    let (_database, app) = start(Options::default()).await;
    let mut extended = Socket::connect(&app, Some(&app::token("listener", &[], "listener", 4))).await;
    let mut left_alone = Socket::connect(&app, Some(&app::token("listener", &[], "listener", 4))).await;
    let fresh = app::token("listener", &[], "listener", 3_600);
    extended.send(json!({"type": "ping", "payload": bearer(&fresh)})).await;
    assert_eq!(extended.receive().await, json!({"type": "pong"}));
    // The other's token runs out no sooner than this one's first did.
    assert_eq!(left_alone.closed().await.0, 4403);
    extended.subscribe("1", "{ viewer { role } }").await;
    assert_eq!(extended.next("1").await["viewer"]["role"], "LISTENER");
    app.stop().await;
}

#[tokio::test]
async fn a_fresh_token_of_somebody_else_closes_with_4403() {
    let (_database, app) = start(Options::default()).await;
    let mine = app::token("artist", &["artist-1"], "me", 3_600);
    for (name, other) in [
        ("subject", app::token("artist", &["artist-1"], "you", 3_600)),
        ("role", app::token("admin", &[], "me", 3_600)),
        ("artists", app::token("artist", &["artist-1", "artist-2"], "me", 3_600)),
        ("none", "not.a.token".to_owned()),
    ] {
        let mut socket = Socket::connect(&app, Some(&mine)).await;
        socket.send(json!({"type": "ping", "payload": bearer(&other)})).await;
        assert_eq!(socket.closed().await.0, 4403, "{name}");
    }
    let mut anonymous = Socket::connect(&app, None).await;
    anonymous.send(json!({"type": "ping", "payload": bearer(&mine)})).await;
    assert_eq!(anonymous.closed().await.0, 4403);
    app.stop().await;
}

#[tokio::test]
async fn other_subprotocols_close_with_4406() {
    let (_database, app) = start(Options::default()).await;
    for protocol in [None, Some("graphql-ws"), Some("soap")] {
        let mut socket = Socket::open_unchecked(&app, protocol).await;
        assert_eq!(socket.closed().await.0, 4406, "{protocol:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_initialise_is_closed_with_4408() {
    let (_database, app) = start(Options::default().set("SOCKET_INIT_TIMEOUT", "200ms")).await;
    let mut silent = Socket::open(&app).await;
    let mut pinging = Socket::open(&app).await;
    pinging.send(json!({"type": "ping"})).await;
    assert_eq!(pinging.receive().await, json!({"type": "pong"}));
    for socket in [&mut silent, &mut pinging] {
        assert_eq!(socket.closed().await, (4408, "Connection initialisation timeout".to_owned()));
    }
    app.stop().await;
}

#[tokio::test]
async fn an_id_that_is_in_use_closes_with_4409() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    socket.subscribe("same", WATCH).await;
    socket.subscribe("same", WATCH).await;
    assert_eq!(socket.closed().await, (4409, "Subscriber for same already exists".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn an_id_that_is_done_with_may_be_used_again() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    for _ in 0..3 {
        socket.subscribe("same", "{ __typename }").await;
        assert_eq!(socket.next("same").await, json!({"__typename": "Query"}));
        assert_eq!(socket.receive().await, json!({"id": "same", "type": "complete"}));
        socket.subscribe("same", WATCH).await;
        socket.next("same").await;
        socket.complete("same").await;
    }
    app.stop().await;
}

#[tokio::test]
async fn an_operation_without_an_id_closes_with_4400() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, None).await;
    socket.subscribe("", "{ __typename }").await;
    assert_eq!(socket.closed().await.0, 4400);
    app.stop().await;
}

#[tokio::test]
async fn a_second_connection_init_closes_with_4429() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, None).await;
    socket.send(json!({"type": "connection_init"})).await;
    assert_eq!(socket.closed().await, (4429, "Too many initialisation requests".to_owned()));
    app.stop().await;
}

#[tokio::test]
async fn operations_past_the_limit_are_refused_and_the_socket_stays() {
    let (_database, app) = start(Options::default().set("SOCKET_OPERATIONS_MAX", 3)).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    for id in ["1", "2", "3"] {
        socket.subscribe(id, WATCH).await;
        socket.next(id).await;
    }
    socket.subscribe("4", WATCH).await;
    let refused = socket.receive_of("4").await;
    assert_eq!(refused["type"], "error");
    assert_eq!(refused["payload"][0]["extensions"]["code"], "RATE_LIMITED");
    socket.complete("2").await;
    socket.subscribe("5", WATCH).await;
    socket.next("5").await;
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_is_hung_up_on() {
    let (_database, app) = start(Options::default().set("SOCKET_PING_INTERVAL", "500ms")).await;
    let mut answering = Socket::connect(&app, Some(&app.admin())).await;
    let mut mute = Socket::connect(&app, Some(&app.admin())).await;
    mute.answers_pings = false;
    answering.subscribe("1", WATCH).await;
    answering.next("1").await;
    // While the mute one is hung up on, the other answers several pings.
    let watching = tokio::spawn(async move {
        answering.next("1").await;
        answering
    });
    mute.ended().await;
    assert!(!watching.is_finished(), "a client that answers was hung up on");
    app.record(&[app::play("1", &now(), "u1")]).await;
    let mut answering = watching.await.unwrap();
    answering.subscribe("2", "{ __typename }").await;
    answering.next("2").await;
    app.stop().await;
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339()
}

#[tokio::test]
async fn pages_of_other_origins_may_not_connect() {
    let settings = Options::default().set("CORS_ORIGINS", "https://app.example, https://other.example");
    let (_database, app) = start(settings).await;
    let own = app.base.clone();
    for (origin, is_allowed) in [
        (None, true),
        (Some(&*own), true),
        (Some("https://app.example"), true),
        (Some("https://other.example"), true),
        (Some("https://evil.example"), false),
        (Some("https://app.example.evil.example"), false),
        (Some("http://app.example"), false),
        (Some("null"), false),
        (Some("http://127.0.0.1:1"), false),
        (Some(""), false),
    ] {
        let headers: Vec<(&str, &str)> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        let opened = Socket::open_as(handshake(&app, PROTOCOL, &headers)).await;
        let expected = (!is_allowed).then_some(StatusCode::FORBIDDEN);
        assert_eq!(opened.err(), expected, "{origin:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn queries_and_mutations_run_over_the_socket() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    let mutation = r#"mutation($id: ID!) { recordEvents(input: [{id: $id, type: "track.played", songId: "song-1"}]) { accepted } }"#;
    let payload = json!({"query": mutation, "variables": {"id": "1"}});
    socket.send(json!({"id": "m", "type": "subscribe", "payload": payload})).await;
    assert_eq!(socket.next("m").await, json!({"recordEvents": {"accepted": 1}}));
    assert_eq!(socket.receive().await, json!({"id": "m", "type": "complete"}));
    let document = r#"query One { song(id: "song-1") { id } } query Two { song(id: "song-1") { metrics { plays } } }"#;
    let payload = json!({"query": document, "operationName": "Two"});
    socket.send(json!({"id": "q", "type": "subscribe", "payload": payload})).await;
    assert_eq!(socket.next("q").await, json!({"song": {"metrics": {"plays": 1}}}));
    assert_eq!(socket.receive().await, json!({"id": "q", "type": "complete"}));
    app.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_executed_is_an_error_message_and_the_socket_stays() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query B { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ viewer }", "GRAPHQL_VALIDATION_FAILED"),
        ("query($id: ID!) { song(id: $id) { id } }", "BAD_USER_INPUT"),
        (
            r#"subscription { metrics(of: {kind: SONG, id: "1"}, minInterval: "PT0.01S") { sequence } }"#,
            "BAD_USER_INPUT",
        ),
        (r#"subscription { ranking(of: SONG, first: 101) { sequence } }"#, "BAD_USER_INPUT"),
    ] {
        socket.subscribe("1", query).await;
        let message = socket.receive_of("1").await;
        let errors = match message["type"].as_str() {
            Some("error") => &message["payload"],
            // Executed, and refused by its field: an answer with an error, then the end.
            _ => &message["payload"]["errors"],
        };
        assert_eq!(errors[0]["extensions"]["code"], code, "{query}: {message:#}");
        if message["type"] == "next" {
            assert_eq!(socket.receive_of("1").await["type"], "complete", "{query}");
        }
    }
    socket.subscribe("1", WATCH).await;
    socket.next("1").await;
    app.stop().await;
}

#[tokio::test]
async fn a_completed_operation_sends_nothing_more() {
    let (_database, app) = start(Options::default()).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    socket.subscribe("stopped", WATCH).await;
    socket
        .subscribe("running", r#"subscription { metrics(of: {kind: SONG, id: "song-1"}) { metrics { plays } } }"#)
        .await;
    socket.next("stopped").await;
    socket.next("running").await;
    socket.complete("stopped").await;
    // Answered in order: the server has seen the end before the events are sent.
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await, json!({"type": "pong"}));
    app.record(&[app::play("1", &now(), "u1")]).await;
    assert_eq!(socket.receive().await["id"], "running");
    app.record(&[app::play("2", &now(), "u1")]).await;
    assert_eq!(socket.receive().await["id"], "running");
    app.stop().await;
}

#[tokio::test]
async fn sockets_are_closed_with_1001_when_the_service_stops() {
    let (_database, app) = start(Options::default()).await;
    let mut idle = Socket::connect(&app, None).await;
    let mut watching = Socket::connect(&app, Some(&app.admin())).await;
    watching.subscribe("1", WATCH).await;
    watching.next("1").await;
    let stopping = tokio::spawn(app.stop());
    assert_eq!(idle.closed().await.0, 1001);
    assert_eq!(watching.closed().await.0, 1001);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_message_of_more_than_a_megabyte_ends_the_connection() {
    let (_database, app) = start(Options::default()).await;
    let mut fitting = Socket::connect(&app, None).await;
    let padded = |size: usize| format!(r#"{{"type":"ping","payload":{{"padding":"{}"}}}}"#, "x".repeat(size));
    fitting.send_frame(text(&padded(1_000_000))).await;
    assert_eq!(fitting.receive().await, json!({"type": "pong"}));
    let mut too_large = Socket::connect(&app, None).await;
    too_large.try_send_frame(text(&padded(1_100_000))).await;
    too_large.ended().await;
    fitting.send(json!({"type": "ping"})).await;
    assert_eq!(fitting.receive().await, json!({"type": "pong"}));
    app.stop().await;
}

#[tokio::test]
async fn watchers_are_counted_while_they_watch() {
    let (_database, app) = start(Options::default()).await;
    let gauge = async |app: &App| -> Option<Value> {
        let page = app.client.get(format!("{}/metrics", app.base)).send().await.unwrap().text().await.unwrap();
        let line = page.lines().find(|line| line.starts_with("backbeat_live_watchers"))?;
        serde_json::from_str(line.rsplit_once(' ')?.1).ok()
    };
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    socket.subscribe("1", WATCH).await;
    socket.subscribe("2", WATCH).await;
    socket.next("2").await;
    assert_eq!(gauge(&app).await, Some(json!(2)));
    drop(socket);
    eventually("nobody watches", async || match gauge(&app).await {
        Some(count) if count == json!(0) => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    app.stop().await;
}
