//! The command line, as a person at a terminal meets it.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{App, TestDatabase, app::SECRET};

/// Runs the binary in a directory, with nothing but these variables.
pub fn backbeat(directory: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backbeat"))
        .current_dir(directory)
        .env_clear()
        .envs(variables.iter().copied())
        .args(arguments)
        .output()
        .unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the binary on a database, demands an exit code, and gives back what it printed.
fn run(directory: &Path, database: &TestDatabase, code: i32, arguments: &[&str]) -> String {
    let output = backbeat(directory, &[("DATABASE_URL", &database.url)], arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    stdout
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const CSV: &str = "\
who,when,band,tune,heard,mood
u1,2026-06-01 10:00:00,Bad Omens,\"Just, Pretend\",60000,calm
u2,2026-06-01T11:00:00Z,Bad Omens,\"Just, Pretend\",1000,
u2,soon,Bad Omens,Artificial Suicide,60000,
u3,2026-06-02,Linkin Park,Numb,,angry
u3,2026-06-02,Linkin Park,Numb,,angry
u4,2026-06-02,Linkin Park
u5,2026-06-03,,Numb,60000,
";

const CSV_ARGUMENTS: [&str; 12] = [
    "--type",
    "track.played",
    "--map",
    "who=userId",
    "--map",
    "when=occurredAt",
    "--map",
    "band=artistName",
    "--map",
    "tune=songTitle",
    "--map",
    "heard=playedMs",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_csv_file_is_imported_once_and_its_bad_rows_are_told() {
    let database = TestDatabase::sqlite();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("plays.csv"), CSV).unwrap();
    std::fs::write(path.join("packed.CSV.gz"), gzip(CSV.as_bytes())).unwrap();
    let import = |file: &'static str, more: &'static [&'static str]| {
        let arguments = [&["import", file][..], &CSV_ARGUMENTS, more].concat();
        run(path, &database, 1, &arguments)
    };
    let said = import("plays.csv", &["--dry-run"]);
    assert!(said.starts_with("4 acceptable, 0 duplicates, 0 conflicts, 3 rejected\n"), "{said}");
    assert!(run(path, &database, 0, &["migrate", "up"]).contains("applied"));
    assert_eq!(run(path, &database, 0, &["verify"]), "0 events in 0 days, 0 differences\n", "a dry run stores nothing");
    let said = import("plays.csv", &[]);
    assert!(said.starts_with("4 accepted, 0 duplicates, 0 conflicts, 3 rejected\n"), "{said}");
    assert!(said.contains("plays.csv.rejects.ndjson"), "{said}");
    let rejects = std::fs::read_to_string(path.join("plays.csv.rejects.ndjson")).unwrap();
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<Value> =
        rejects.iter().map(|reject| json!([reject["line"], reject["code"], reject["field"]])).collect();
    let expected =
        json!([[4, "INVALID_VALUE", "occurredAt"], [7, "MALFORMED", null], [8, "MISSING_FIELD", "artistName"]]);
    assert_eq!(json!(told), expected, "{rejects:#?}");
    assert!(rejects.iter().all(|reject| !reject["message"].as_str().unwrap().is_empty()), "{rejects:#?}");
    // Rows without an id have a stable one, the second of two equal rows too; packed or not.
    let said = import("packed.CSV.gz", &["--rejects", "elsewhere.ndjson"]);
    assert!(said.starts_with("0 accepted, 4 duplicates, 0 conflicts, 3 rejected\n"), "{said}");
    assert!(path.join("elsewhere.ndjson").exists());
    assert_eq!(run(path, &database, 0, &["verify"]), "4 events in 2 days, 0 differences\n");
    let app = App::start(&database).await;
    let data = app
        .ask(r#"{ ranking(of: SONG, by: PLAYS, during: {period: ALL_TIME}) { nodes { title metrics(during: {period: ALL_TIME}) { plays streams listeningTimeMs } } } }"#)
        .await;
    let mut nodes = data["ranking"]["nodes"].as_array().unwrap().clone();
    nodes.sort_by_key(|node| node["title"].to_string());
    let song = |title: &str, plays: i64, streams: i64, ms: i64| json!({"title": title, "metrics": {"plays": plays, "streams": streams, "listeningTimeMs": ms}});
    assert_eq!(nodes, [song("Just, Pretend", 2, 1, 61_000), song("Numb", 2, 2, 0)]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_json_are_imported_with_the_fields_own_names() {
    let database = TestDatabase::sqlite();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let line = |id: &str| {
        json!({"id": id, "type": "track.liked", "occurredAt": "2026-06-01T00:00:00Z", "songId": "s"}).to_string()
    };
    let without_id = r#"{"occurredAt":"2026-06-01T00:00:00Z","songId":"s","playedMs":60000}"#;
    let lines = format!("{}\n\n{}\n{without_id}\n", line("1"), line("2"));
    std::fs::write(path.join("likes.ndjson"), &lines).unwrap();
    std::fs::write(path.join("likes.json.gz"), gzip(lines.as_bytes())).unwrap();
    let said = run(path, &database, 0, &["import", "likes.ndjson", "--type", "track.played"]);
    assert_eq!(said, "3 accepted, 0 duplicates, 0 conflicts, 0 rejected\n");
    let said = run(path, &database, 0, &["import", "likes.json.gz", "--type", "track.played"]);
    assert_eq!(said, "0 accepted, 3 duplicates, 0 conflicts, 0 rejected\n");
    // Another source's ids are other events.
    let said = run(path, &database, 0, &["import", "likes.ndjson", "--type", "track.played", "--source", "old-system"]);
    assert_eq!(said, "3 accepted, 0 duplicates, 0 conflicts, 0 rejected\n");
    // The same id with other content, a broken line, and bytes that are no text: by line, with blank lines counted.
    let mut mixed = format!("{}\n\n{{\"id\": \"4\"\n", line("1").replace("\"s\"", "\"other\"")).into_bytes();
    mixed.extend(b"\xff\xfe\n");
    mixed.extend(line("5").into_bytes());
    std::fs::write(path.join("mixed.ndjson"), mixed).unwrap();
    let said = run(path, &database, 1, &["import", "mixed.ndjson"]);
    assert!(said.starts_with("1 accepted, 0 duplicates, 1 conflicts, 2 rejected\n"), "{said}");
    let rejects = std::fs::read_to_string(path.join("mixed.ndjson.rejects.ndjson")).unwrap();
    let told: Vec<Value> = rejects
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|reject| json!([reject["line"], reject["status"], reject["code"]]))
        .collect();
    assert_eq!(
        json!(told),
        json!([[1, "CONFLICT", "CONFLICT"], [3, "REJECTED", "MALFORMED"], [4, "REJECTED", "MALFORMED"]])
    );
    assert_eq!(run(path, &database, 0, &["verify"]), "7 events in 1 days, 0 differences\n");
}

#[test]
fn an_import_that_cannot_begin_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(path.join("plays.csv"), CSV).unwrap();
    std::fs::write(path.join("lines.ndjson"), "").unwrap();
    for (arguments, code, said) in [
        (&["import", "missing.csv"][..], 1, "missing.csv cannot be read"),
        (&["import", "plays.csv", "--map", "nope=userId"], 1, "has no column \"nope\""),
        (&["import", "lines.ndjson", "--map", "who=userId"], 1, "--map is for CSV files"),
        (&["import", "plays.csv", "--map", "who=person"], 2, "is not a field of an event"),
        (&["import", "plays.csv", "--map", "who"], 2, "write COLUMN=FIELD"),
        (&["import"], 2, "Usage"),
        (&["listen"], 2, "unrecognized subcommand"),
    ] {
        let output = backbeat(path, &[], arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {said:?} is not in {stderr}");
    }
}

#[test]
fn every_command_has_help_that_teaches() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["serve", "import", "migrate", "token", "schema", "verify", "rebuild", "healthcheck"] {
        let output = backbeat(directory.path(), &[], &[command, "--help"]);
        let help = text(&output.stdout);
        assert!(output.status.success() && help.contains("Usage: backbeat") && help.len() > 200, "{command}: {help}");
    }
}

#[test]
fn the_schema_file_is_the_schema() {
    let output = backbeat(Path::new(env!("CARGO_MANIFEST_DIR")), &[], &["schema"]);
    assert!(output.status.success());
    let file =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.graphql")).unwrap_or_default();
    assert!(
        text(&output.stdout) == file,
        "schema.graphql is not up to date: `backbeat schema > schema.graphql` accepts the change"
    );
}

#[test]
fn migrations_are_listed_and_a_pending_one_is_a_failure() {
    let database = TestDatabase::sqlite();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let lines = |said: &str, word: &str| said.lines().filter(|line| line.starts_with(word)).count();
    let said = run(path, &database, 1, &["migrate", "status"]);
    let count = lines(&said, "pending");
    assert!(count >= 5 && lines(&said, "applied") == 0, "{said}");
    assert_eq!(lines(&run(path, &database, 0, &["migrate", "up"]), "applied"), count);
    assert_eq!(lines(&run(path, &database, 0, &["migrate", "status"]), "applied"), count);
    assert_eq!(lines(&run(path, &database, 0, &["migrate", "down", "--steps", "2"]), "pending"), 2);
    assert_eq!(lines(&run(path, &database, 1, &["migrate", "status"]), "pending"), 2);
    run(path, &database, 0, &["migrate", "up"]);
    assert_eq!(lines(&run(path, &database, 0, &["migrate", "status"]), "pending"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_fails_where_numbers_differ_and_rebuild_mends_them() {
    use sea_orm::ConnectionTrait;

    let database = TestDatabase::sqlite();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    std::fs::write(
        path.join("one.ndjson"),
        r#"{"id":"1","type":"track.liked","occurredAt":"2026-06-01T00:00:00Z","songId":"s"}"#,
    )
    .unwrap();
    run(path, &database, 0, &["import", "one.ndjson"]);
    let connection = database.connect().await;
    connection.execute_unprepared("UPDATE rollup SET likes = 5 WHERE grain = 1 AND entity_kind = 1").await.unwrap();
    connection.close().await.unwrap();
    let said = run(path, &database, 1, &["verify"]);
    assert!(
        said.contains("song \"s\" at 2026-06-01") && said.ends_with("1 events in 1 days, 1 differences\n"),
        "{said}"
    );
    assert_eq!(run(path, &database, 0, &["rebuild"]), "1 days rebuilt\n");
    assert_eq!(run(path, &database, 0, &["verify"]), "1 events in 1 days, 0 differences\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_from_the_command_line_opens_the_door() {
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    let directory = tempfile::tempdir().unwrap();
    let token = |arguments: &[&str]| {
        let output = backbeat(directory.path(), &[("JWT_SECRET", SECRET)], &[&["token"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    };
    for (arguments, role, subject) in [
        (&["--role", "admin"][..], "ADMIN", "admin"),
        (&["--role", "artist", "--artist", "a1", "--artist", "a2", "--subject", "me", "--ttl", "90m"], "ARTIST", "me"),
        (&["--role", "listener", "--ttl", "1d"], "LISTENER", "listener"),
        (&["--role", "service", "--source", "web"], "SERVICE", "service"),
    ] {
        let answer =
            app.graphql(Some(&token(arguments)), "{ viewer { role subject artists { id } } }", json!({})).await;
        let artists = if role == "ARTIST" { json!([{"id": "a1"}, {"id": "a2"}]) } else { json!([]) };
        assert_eq!(
            answer["data"]["viewer"],
            json!({"role": role, "subject": subject, "artists": artists}),
            "{arguments:?}"
        );
    }
    let expired = app.graphql(Some(&token(&["--role", "admin", "--ttl=-2h"])), "{ viewer { role } }", json!({})).await;
    assert_eq!(
        expired["errors"].as_array().map(Vec::len).or(expired["code"].as_str().map(|_| 1)),
        Some(1),
        "{expired:#}"
    );
    for (variables, arguments, code, said) in [
        (&[][..], &["token", "--role", "admin"][..], 1, "JWT_SECRET"),
        (&[("JWT_SECRET", SECRET)], &["token", "--role", "artist"], 1, "--artist"),
        (&[("JWT_SECRET", SECRET)], &["token", "--role", "king"], 2, "possible values"),
        (&[("JWT_SECRET", SECRET)], &["token", "--role", "admin", "--ttl", "soon"], 2, "--ttl"),
    ] {
        let output = backbeat(directory.path(), variables, arguments);
        let stderr = text(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(code), true), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    app.stop().await;
}

#[test]
fn a_start_without_a_key_fails_and_lists_every_problem_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("DATABASE_URL", "mysql://localhost"), ("PORT", "many"), ("SHUTDOWN_TIMEOUT", "-1")];
    let output = backbeat(directory.path(), &variables, &["serve"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for name in ["JWT_SECRET", "DATABASE_URL", "PORT", "SHUTDOWN_TIMEOUT"] {
        assert!(stderr.contains(&format!("  - {name}: ")), "{name} is not in {stderr}");
    }
    // Each alone is refused too, and nothing is made in the directory.
    let output = backbeat(directory.path(), &[], &["serve"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("JWT_SECRET"));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
