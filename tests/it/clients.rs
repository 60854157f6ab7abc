//! Other people's clients: the audits of `graphql-http`, the WebSocket client of `graphql-ws`, and
//! GraphiQL in a browser. `tests/run` installs them and says where they are.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::support::{App, TestDatabase, left_out};

/// The Node program to run clients with; `None`, said loudly, where none was named.
fn node(what: &str) -> Option<String> {
    let node = std::env::var("BACKBEAT_TEST_NODE").ok();
    if node.is_none() {
        left_out(&format!("{what}; set BACKBEAT_TEST_NODE to a Node program (tests/run does)"));
    }
    node
}

/// Runs a command to its end; it must succeed.
async fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{:?} ended with {}\n{out}\n{err}", command.as_std(), output.status);
}

fn script(node: &str, path: &str) -> Command {
    let mut command = Command::new(node);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_audit_of_graphql_http_is_ok() {
    let Some(node) = node("the audits of graphql-http") else { return };
    let app = App::start(&TestDatabase::sqlite()).await;
    succeed(script(&node, "tests/clients/audits.mjs").arg(format!("{}/graphql", app.base))).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_graphql_ws_watches_counters() {
    let Some(node) = node("the client of graphql-ws") else { return };
    let app = App::start(&TestDatabase::sqlite()).await;
    let url = app.base.replace("http://", "ws://");
    let mut live = script(&node, "tests/clients/live.mjs");
    succeed(live.arg(format!("{url}/graphql")).args([app.admin(), app.admin()])).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphiql_works_in_a_browser() {
    let Ok(chromium) = std::env::var("BACKBEAT_TEST_CHROMIUM") else {
        return left_out("GraphiQL in a browser; set BACKBEAT_TEST_CHROMIUM to a Chromium (tests/run does)");
    };
    let Some(node) = node("GraphiQL in a browser") else { return };
    let app = App::start(&TestDatabase::sqlite()).await;
    let mut check = script(&node, "web/check.mjs");
    succeed(check.arg(format!("{}/", app.base)).arg(app.admin()).env("CHROMIUM", chromium)).await;
    app.stop().await;
}
