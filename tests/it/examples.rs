//! The documents that we show and measure with run as they are on demo data.

use std::{collections::BTreeMap, num::NonZero, path::Path};

use backbeat::{
    demo::{History, Instants, Platform, Shape},
    domain::clock::{Clock, SystemClock},
    recommend::RunOrder,
};
use serde_json::{Value, json};

use crate::support::{App, Socket, TestDatabase, app::Options};

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
    // The demo's charts and recommendations.
    app.core.charts.look().await.unwrap();
    let order = RunOrder { is_whole: true, threads: NonZero::<usize>::MIN };
    app.core.recommender.run(order, |_| {}).await.unwrap();
}

/// The variables of a document, as the measurements give them.
fn variables(document: &str) -> Value {
    let mut variables = json!({
        "id": "artist-1", "listener": "listener-1", "song": "song-1", "seeds": ["song-1", "song-2", "artist-7"],
        "ids": ["artist-1", "artist-2", "artist-3"], "by": "STREAMS",
        "last": "P7D", "window": {"period": "LAST_WEEK"},
    });
    variables.as_object_mut().unwrap().retain(|variable, _| document.contains(&format!("${variable}")));
    variables
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_document_that_we_show_runs_on_demo_data() {
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    fill(&app).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    for (name, document) in documents("web/src/examples").into_iter().chain(documents("bench/documents")) {
        let variables = variables(&document);
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

/// The GraphQL documents of the README, in its order.
fn documents_of_readme() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let fenced = readme.split("\n```graphql\n").skip(1);
    fenced.map(|rest| rest.split_once("\n```").unwrap().0.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_document_of_the_readme_runs_on_demo_data() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::default().set("DEVELOPMENT", true)).await;
    fill(&app).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    // What removes everything comes when the others have been.
    let (last, documents): (Vec<_>, Vec<_>) =
        documents_of_readme().into_iter().partition(|document| document.contains("purge("));
    assert!(documents.len() > 25 && last.len() == 1);
    for (number, document) in (0..).zip(documents.iter().chain(&last)) {
        let payload = json!({"query": document, "variables": variables(document)});
        let id = format!("{number}");
        socket.send(json!({"id": id, "type": "subscribe", "payload": payload})).await;
        let message = socket.receive_of(&id).await;
        assert!(
            message["payload"]["data"].is_object() && message["payload"]["errors"].is_null(),
            "{document}\n{message:#}"
        );
        if document.starts_with("subscription") {
            socket.complete(&id).await;
        }
    }
    app.stop().await;
}

/// No root field is null: the demo data has what the document is about.
fn holds_something(name: &str, data: &Value) {
    let fields = data.as_object().unwrap();
    assert!(!fields.is_empty() && fields.values().all(|value| !value.is_null()), "{name}: {data:#}");
}
