//! The documents that we show and measure with run as they are on demo data.

use std::{collections::BTreeMap, path::Path};

use backbeat::{
    demo::{History, Instants, Platform, Shape},
    domain::clock::{Clock, SystemClock},
};
use serde_json::{Value, json};

use crate::support::{App, Socket, TestDatabase};

/// The `.graphql` files of a directory by name.
fn documents(directory: &str) -> BTreeMap<String, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let paths = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let documents: BTreeMap<String, String> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "graphql"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    assert!(!documents.is_empty(), "{} holds no documents", directory.display());
    documents
}

/// Fills the app with what `serve --demo` shows, only less of it.
async fn fill(app: &App) {
    let platform = Platform::new(Shape::DEMO);
    let history = History { events: 1_000, days: 60, ends_at_ms: SystemClock.now_ms(), seed: 1 };
    let events: Vec<Value> = (0..)
        .zip(Instants::new(history))
        .map(|(number, at_ms)| {
            let mut text = String::new();
            platform.write_event(number, at_ms, &mut text);
            serde_json::from_str(&text).unwrap()
        })
        .collect();
    app.record(&events).await;
    // The demo's charts.
    app.core.charts.look().await.unwrap();
}

/// Variables as the measurements give them.
fn variables() -> Value {
    json!({"id": "artist-1", "listener": "listener-1", "ids": ["artist-1", "artist-2", "artist-3"], "by": "STREAMS", "last": "P7D"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_document_that_we_show_runs_on_demo_data() {
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    fill(&app).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    for (name, document) in documents("web/src/examples").into_iter().chain(documents("bench/documents")) {
        let is_used = |variable: &String| document.contains(&format!("${variable}"));
        let mut variables = variables();
        variables.as_object_mut().unwrap().retain(|variable, _| is_used(variable));
        let payload = json!({"query": document, "variables": variables});
        socket.send(json!({"id": name, "type": "subscribe", "payload": payload})).await;
        let over_socket = socket.next(&name).await;
        holds_something(&name, &over_socket);
        if document.lines().any(|line| line.starts_with("subscription")) {
            socket.complete(&name).await;
            continue;
        }
        let answer = app.graphql(Some(&app.admin()), &document, variables).await;
        assert!(answer.get("errors").is_none(), "{name}: {answer:#}");
        holds_something(&name, &answer["data"]);
    }
    app.stop().await;
}

/// No root field is null: the demo data has what the document is about.
fn holds_something(name: &str, data: &Value) {
    let fields = data.as_object().unwrap();
    assert!(!fields.is_empty() && fields.values().all(|value| !value.is_null()), "{name}: {data:#}");
}
