//! Other people's clients: the audits of `graphql-http`, the WebSocket client of `graphql-ws`, and
//! GraphiQL in a browser. `tests/run` installs them and says where they are.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::support::{App, TestDatabase, left_out};

/// Whether Node.js and its packages are there; said loudly where they are not.
fn has_node(what: &str) -> bool {
    let has_node = std::env::var_os("BACKBEAT_TEST_NODE").is_some();
    if !has_node {
        left_out(&format!("{what}; run tests/run to have its packages installed"));
    }
    has_node
}

/// Runs a command to its end; it must succeed.
async fn succeed(command: &mut Command) {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{:?} ended with {}\n{out}\n{err}", command.as_std(), output.status);
}

fn node(path: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_audit_of_graphql_http_is_ok() {
    if !has_node("the audits of graphql-http") {
        return;
    }
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    succeed(node("tests/clients/audits.mjs").arg(format!("{}/graphql", app.base))).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_of_graphql_ws_watches_counters() {
    if !has_node("the client of graphql-ws") {
        return;
    }
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    let url = app.base.replace("http://", "ws://");
    let mut live = node("tests/clients/live.mjs");
    succeed(live.arg(format!("{url}/graphql")).args([app.admin(), app.admin()])).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphiql_works_in_a_browser() {
    let Ok(chromium) = std::env::var("BACKBEAT_TEST_CHROMIUM") else {
        return left_out("GraphiQL in a browser; set BACKBEAT_TEST_CHROMIUM to a Chromium (tests/run does)");
    };
    if !has_node("GraphiQL in a browser") {
        return;
    }
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    let mut check = node("web/check.mjs");
    succeed(check.arg(format!("{}/", app.base)).arg(app.admin()).env("CHROMIUM", chromium)).await;
    app.stop().await;
}
