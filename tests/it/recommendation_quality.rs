//! How well recommendations foretell what real listeners turned to.

use std::sync::Arc;

use backbeat::recommend::evaluate::{self, Quality, Row, Split};
use serde_json::Value;

use crate::support::data::{shared_file, shared_rows};

fn rows(name: &str) -> Option<Vec<Row>> {
    let row = |row: &std::collections::HashMap<String, String>| -> Row {
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
