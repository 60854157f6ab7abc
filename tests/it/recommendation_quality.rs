//! How well recommendations foretell what real listeners turned to.

use std::{
    collections::{HashMap, HashSet},
    num::NonZero,
    sync::Arc,
};

use backbeat::{
    domain::{entity::EntityKind, window::DAY_MS},
    recommend::{
        QualityOrder, RunOrder,
        evaluate::{self, Quality, Row, Split},
    },
};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{
        App, T0, TestDatabase,
        app::Options,
        data::{shared_file, shared_rows},
        rfc3339,
    },
};

fn rows(name: &str) -> Option<Vec<Row>> {
    let row = |row: &HashMap<String, String>| -> Row {
        (Arc::from(&*row["user_id"]), Arc::from(&*row["artist_id"]), row["plays"].parse().unwrap())
    };
    Some(shared_rows(name)?.iter().map(row).collect())
}

#[test]
fn listeners_of_lastfm_are_foretold_better_than_by_the_plain_methods() {
    let (Some(first), Some(second), Some(baselines)) =
        (rows("lastfm2k_train.csv.gz"), rows("lastfm2k_test.csv.gz"), shared_file("lastfm2k_baselines.json"))
    else {
        return;
    };
    let baselines: Value = serde_json::from_reader(std::fs::File::open(baselines).unwrap()).unwrap();
    let baseline = |method: &str, measure: &str| baselines[method][measure].as_f64().unwrap();
    let split = Split::new(&first, &second);
    let table = evaluate::table(&split, false, |quality| println!("{quality:?}"));
    let of = |method: &str| -> &Quality { table.iter().find(|quality| quality.method == method).unwrap() };

    // The measures are those of the file.
    let rounded = |value: f64| (value * 10_000.0).round();
    for (method, row) in
        [("popularity by listeners", "popularity_listeners"), ("popularity by plays", "popularity_plays")]
    {
        let own = of(method);
        assert_eq!(rounded(own.recall_20), rounded(baseline(row, "recall@20")), "{own:?}");
        assert_eq!(rounded(own.ndcg_100), rounded(baseline(row, "ndcg@100")), "{own:?}");
    }

    let served = of("item-kNN, as served");
    assert!(served.recall_20 >= baseline("itemknn_cosine", "recall@20"), "{served:?}");
    assert!(served.ndcg_100 >= baseline("itemknn_cosine", "ndcg@100"), "{served:?}");
    assert!(served.coverage_10 >= 0.3, "{served:?}");
    let popular = of("popularity by plays");
    assert!(served.recall_20 > 2.3 * popular.recall_20 && served.ndcg_100 > 2.3 * popular.ndcg_100, "{served:?}");
    // The better for not being as plain.
    assert!(table.iter().all(|other| other.recall_20 <= served.recall_20 && other.ndcg_100 <= served.ndcg_100));
}

/// What the service itself answers, listener by listener, measured by the file's protocol.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_of_lastfm_are_recommended_by_the_service_what_they_turn_to() {
    let (Some(first), Some(second), Some(baselines)) =
        (rows("lastfm2k_train.csv.gz"), rows("lastfm2k_test.csv.gz"), shared_file("lastfm2k_baselines.json"))
    else {
        return;
    };
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let events: Vec<Value> = (0..)
        .zip(&first)
        .map(|(number, (listener, artist, plays))| {
            json!({"id": format!("{number}"), "type": "track.played", "occurredAt": T0 - 3_600_000,
                "userId": &**listener, "songId": format!("of-{artist}"), "artistId": &**artist, "count": *plays as i64})
        })
        .collect();
    for some in events.chunks(5_000) {
        app.record(some).await;
    }
    app.core.recommender.run(RunOrder { is_whole: false, threads: NonZero::<usize>::MIN }, |_| {}).await.unwrap();

    let mut known: HashMap<&str, HashSet<&str>> = HashMap::new();
    first.iter().for_each(|(listener, artist, _)| _ = known.entry(listener).or_default().insert(artist));
    let mut wanted: HashMap<&str, HashSet<&str>> = HashMap::new();
    let new = second.iter().filter(|(listener, artist, _)| !known[&**listener].contains(&**artist));
    new.for_each(|(listener, artist, _)| _ = wanted.entry(listener).or_default().insert(artist));
    let (mut recall, mut ndcg, mut shown) = (0.0, 0.0, HashSet::new());
    let discount = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    for (listener, wanted) in &wanted {
        let query = format!(
            "{{ recommendations(userId: {listener:?}, input: {{of: ARTIST, first: 100}}) {{ node {{ id }} }} }}"
        );
        let answer = app.ask(&query).await;
        let ids: Vec<&str> = answer["recommendations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["node"]["id"].as_str().unwrap())
            .collect();
        assert!(ids.len() == 100 && ids.iter().all(|id| !known[listener].contains(id)), "{listener}: {answer}");
        let hits: Vec<usize> = (0..100).filter(|place| wanted.contains(ids[*place])).collect();
        recall += hits.iter().filter(|place| **place < 20).count() as f64 / wanted.len() as f64;
        let ideal: f64 = (0..wanted.len().min(100)).map(discount).sum();
        ndcg += hits.iter().map(|place| discount(*place)).sum::<f64>() / ideal;
        shown.extend(ids[..10].iter().map(|id| (*id).to_owned()));
    }
    let (recall, ndcg) = (recall / wanted.len() as f64, ndcg / wanted.len() as f64);
    let mut listeners_of: HashMap<&str, usize> = HashMap::new();
    first.iter().for_each(|(_, artist, _)| *listeners_of.entry(artist).or_default() += 1);
    let shared: HashSet<&str> =
        listeners_of.into_iter().filter(|(_, listeners)| *listeners > 1).map(|(artist, _)| artist).collect();
    let coverage = shown.iter().filter(|artist| shared.contains(&***artist)).count() as f64 / shared.len() as f64;
    println!("served: recall@20 {recall:.4}, ndcg@100 {ndcg:.4}, coverage@10 {coverage:.4}");
    let baselines: Value = serde_json::from_reader(std::fs::File::open(baselines).unwrap()).unwrap();
    let baseline = |method: &str, measure: &str| baselines[method][measure].as_f64().unwrap();
    assert!(recall >= baseline("itemknn_cosine", "recall@20"), "{recall}");
    assert!(ndcg >= baseline("itemknn_cosine", "ndcg@100"), "{ndcg}");
    assert!(recall > 2.3 * baseline("popularity_plays", "recall@20"), "{recall}");
    assert!(coverage >= 0.3, "{coverage}");
    app.stop().await;
}

on_every_database!(what_was_measured_of_own_events_is_shown_to_admins, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let quality = "{ recommendationQuality(of: SONG) { splitAt measuredAt listeners items \
                   methods { method recall20 ndcg10 ndcg100 coverage10 novelty10 } } }";
    assert_eq!(app.ask(quality).await["recommendationQuality"], Value::Null);
    // Everybody plays two songs, then the third; the last one of them turns to nothing.
    let split_ms = T0 - 2 * DAY_MS;
    let mut events = Vec::new();
    for user in 0..6 {
        for step in 0..3 {
            let at_ms = split_ms + if step == 2 { 1 } else { -1 - step };
            if (user, step) != (5, 2) {
                events.push(json!({"id": format!("{user}-{step}"), "type": "track.played", "occurredAt": at_ms,
                    "userId": format!("user-{user}"), "songId": format!("song-{}", (user + step) % 6)}));
            }
        }
    }
    app.record(&events).await;
    let measure = async |split_ms: i64| {
        app.core.recommender.measure(QualityOrder { of: EntityKind::Song, split_ms }, |_| {}).await.unwrap()
    };
    assert_eq!(measure(T0).await, None);
    let measured = measure(split_ms).await.unwrap();
    assert_eq!((measured.listeners, measured.items), (5, 6));
    let shown = app.ask(quality).await["recommendationQuality"].clone();
    assert_eq!((&shown["listeners"], &shown["items"]), (&json!(5), &json!(6)));
    assert_eq!((&shown["splitAt"], &shown["measuredAt"]), (&json!(rfc3339(split_ms)), &json!(rfc3339(T0))));
    let methods = shown["methods"].as_array().unwrap();
    let names: Vec<&str> = methods.iter().map(|method| method["method"].as_str().unwrap()).collect();
    assert_eq!(names[0], "item-kNN, as served");
    assert_eq!(names.len(), 7);
    for method in methods {
        // Of six songs four are left for each: whoever turned to one of them finds it.
        assert_eq!(method["recall20"], 1.0, "{method}");
        // Everything that two know is shown.
        assert_eq!(method["coverage10"], 1.0, "{method}");
        // A third of the listeners knows each.
        assert!((method["novelty10"].as_f64().unwrap() - 3_f64.log2()).abs() < 1e-9, "{method}");
        assert!(method["ndcg10"] == method["ndcg100"] && method["ndcg10"].as_f64().unwrap() > 0.0, "{method}");
    }
    // The next song of a circle has a listener in common with what they know, as has the one before.
    assert!(methods[0]["ndcg10"].as_f64() > methods[6]["ndcg10"].as_f64(), "{methods:#?}");
    app.stop().await;
});

/// What `recommend-evaluate` says of two files: whether it succeeded, and its words.
fn evaluated(first: &str, second: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["first.csv", "then.csv"].map(|name| directory.path().join(name));
    [first, second].iter().zip(&paths).for_each(|(text, path)| std::fs::write(path, text).unwrap());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backbeat"));
    command.args(["job", "run", "recommend-evaluate", "--train"]).arg(&paths[0]).arg("--test").arg(&paths[1]);
    let output = command.env_clear().output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_table_is_printed_of_two_files_or_what_is_wrong_with_them() {
    let first = "listener,item,plays\na,1,3\na,2,1\nb,1,1\nb,2,9\nc,1,4\n";
    let (is_success, text) = evaluated(first, "listener,item\nc,2\nc,5\n");
    assert!(is_success && text.starts_with("3 listeners, 2 items; 1 wanted that nobody can find\n"), "{text}");
    for method in ["item-kNN, as served", "item-kNN, plain", "EASE", "implicit ALS", "popularity by plays", "random"] {
        // There is one thing to find, and it is found.
        let line = text.lines().find(|line| line.starts_with(method)).unwrap();
        assert!(line[method.len()..].split_whitespace().next() == Some("0.5000"), "{text}");
    }
    for (first, second, wrong) in [
        ("listener\na\n", "listener,item\na,1\n", "line 2 needs a listener and an item"),
        ("listener,item,plays\na,1,-3\n", "listener,item\na,2\n", "line 2: how often is a number above 0"),
        (first, "listener,item\na,1\n", "no listener of --train turns to anything new"),
    ] {
        let (is_success, text) = evaluated(first, second);
        assert!(!is_success && text.contains(wrong), "{text}");
    }
}
