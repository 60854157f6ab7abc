//! Rules of the house that no compiler checks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{App, TestDatabase};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a directory with its path from the root and its text.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut waiting = vec![root().join(directory)];
    let mut sources = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(!sources.is_empty(), "{directory} has no sources");
    sources.sort();
    sources
}

/// Whether a line of code, not a comment, names this crate.
fn names(line: &str, word: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part) && !before.ends_with('"')
    })
}

#[test]
fn each_library_is_named_in_its_own_room_only() {
    for (library, rooms) in [
        ("sea_orm", &["src/db/"][..]),
        ("sqlx", &["src/db/"]),
        ("sea_query", &["src/db/"]),
        ("async_graphql", &["src/graphql/"]),
        ("axum", &["src/http/"]),
        ("tower_http", &["src/http/"]),
        ("jsonwebtoken", &["src/auth/"]),
        ("prometheus_client", &["src/telemetry.rs"]),
        ("clap", &["src/cli/"]),
        ("std::env::vars", &["src/config/"]),
    ] {
        let mut found = 0;
        for (path, text) in sources("src") {
            for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| names(line, library)) {
                assert!(rooms.iter().any(|room| path.starts_with(room)), "{path}:{number} names {library}: {line}");
                found += 1;
            }
        }
        assert!(found > 0, "{library} is named nowhere: the rule has lost its subject");
    }
}

#[test]
fn every_source_file_is_short_enough_to_read() {
    const LINES_MAX: usize = 700;
    for directory in ["src", "migration/src", "bench/src"] {
        for (path, text) in sources(directory) {
            let lines = text.lines().count();
            assert!(lines <= LINES_MAX || path == "src/demo.rs", "{path} has {lines} lines, the limit is {LINES_MAX}");
        }
    }
}

#[test]
fn every_file_of_code_says_what_it_is_for() {
    for directory in ["src", "migration/src", "tests", "bench/src"] {
        for (path, text) in sources(directory) {
            assert!(text.starts_with("//!") || text.lines().count() < 2, "{path} does not begin with its purpose");
        }
    }
}

#[test]
fn every_test_file_is_part_of_the_test_binary() {
    let main = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
    for (path, _) in sources("tests/it") {
        let path = Path::new(&path);
        let stem = path.file_stem().unwrap().to_string_lossy();
        let is_top = path.parent().unwrap().ends_with("it");
        assert!(!is_top || stem == "main" || main.contains(&format!("mod {stem};")), "{} is not run", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_element_of_the_schema_is_described() {
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    let arguments = "args { name description }";
    let data = app
        .ask(&format!(
            "{{ __schema {{
                types {{ name description
                    fields(includeDeprecated: true) {{ name description {arguments} }}
                    inputFields {{ name description }}
                    enumValues(includeDeprecated: true) {{ name description }} }} }} }}"
        ))
        .await;
    app.stop().await;
    let mut described = 0;
    let mut missing = Vec::new();
    let mut look = |element: &Value, path: &str| match element["description"].as_str() {
        Some(text) if !text.trim().is_empty() => described += 1,
        _ => missing.push(path.to_owned()),
    };
    for of_type in data["__schema"]["types"].as_array().unwrap() {
        let type_name = of_type["name"].as_str().unwrap();
        // `ID` is GraphQL's own, as introspection is.
        if type_name.starts_with("__") || type_name == "ID" {
            continue;
        }
        look(of_type, type_name);
        for members in ["fields", "inputFields", "enumValues"] {
            for member in of_type[members].as_array().into_iter().flatten() {
                let path = format!("{type_name}.{}", member["name"].as_str().unwrap());
                look(member, &path);
                for argument in member["args"].as_array().into_iter().flatten() {
                    look(argument, &format!("{path}({}:)", argument["name"].as_str().unwrap()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "without a description: {missing:#?}");
    assert!(described > 200, "only {described} elements were seen");
}
