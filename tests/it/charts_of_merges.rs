//! Charts of what is merged: totals, places before and pasts are those of one thing.

use serde_json::json;

use crate::{
    charts::{W1, W2, W3, chart, charts_at, heard, report, revision, start, streams, weekly},
    on_every_database,
    support::App,
};

const NOW: &str = "2026-06-15T12:00:00Z";

async fn say(app: &App, mutation: &str) {
    let answer = app.graphql(Some(&app.admin()), &format!("mutation {{ {mutation} }}"), json!({})).await;
    assert!(answer.get("errors").is_none(), "{answer:#}");
}

async fn merge(app: &App, from: &str, into: &str) {
    let input = format!(r#"{{kind: SONG, fromId: "{from}", intoId: "{into}"}}"#);
    say(app, &format!("mergeEntities(input: {input}) {{ entity {{ id }} }}")).await;
}

async fn unmerge(app: &App, from: &str) {
    say(app, &format!(r#"unmergeEntities(input: {{kind: SONG, fromId: "{from}"}}) {{ entity {{ id }} }}"#)).await;
}

on_every_database!(charts_to_come_follow_a_merge_and_its_end, |database| {
    let app = start(&database).await;
    app.record(&[
        streams("1", W1, "song-a", 9),
        streams("2", W1, "song-x", 8),
        streams("3", W1, "song-y", 4),
        streams("4", W2, "song-a", 6),
        streams("5", W2, "song-b", 3),
        streams("6", W2, "song-c", 5),
        streams("7", W2, "song-y", 5),
        streams("8", W3, "song-b", 3),
        streams("9", W3, "song-c", 6),
        streams("10", W3, "song-y", 7),
    ])
    .await;
    let now = charts_at(&app, NOW);
    assert_eq!(now.run(&weekly(W1, "2026-05-23", false), |_| {}).await.unwrap(), report(1, 1, 0));
    let w1 = ["song-a 1(-) NEW 1@05-22 1/1 9", "song-x 2(-) NEW 2@05-22 1/1 8", "song-y 3(-) NEW 3@05-22 1/1 4"];
    assert_eq!(chart(&app, &format!("of: SONG, on: \"{W1}\"")).await, w1);

    // Streams of three ids are one's; its past is that of the two that were on the chart, at the better place.
    merge(&app, "song-a", "song-c").await;
    merge(&app, "song-x", "song-c").await;
    assert_eq!(now.run(&weekly(W1, "2026-05-30", false), |_| {}).await.unwrap(), report(2, 1, 0));
    assert_eq!(chart(&app, &format!("of: SONG, on: \"{W1}\"")).await[..2].len(), 2);
    let w2 = ["song-c 1(1) SAME 1@05-22 2/2 11", "song-y 2(3) UP 2@05-29 2/2 5", "song-b 3(-) NEW 3@05-29 1/1 3"];
    assert_eq!(chart(&app, &format!("of: SONG, on: \"{W2}\"")).await, w2);
    // What was published is as it was, and everything that is one now has one history.
    assert_eq!(revision(&app, &format!("of: SONG, on: \"{W1}\"")).await, 1);
    let data = app.ask(r#"{ songs(ids: ["song-c", "song-x"]) { chartHistory { position value } } }"#).await;
    let history = json!({"chartHistory": [{"position": 1, "value": 11}, {"position": 1, "value": 9}]});
    assert_eq!(data["songs"], json!([history, history]));

    // Charted apart from now on: each goes on from what was published under its own id.
    unmerge(&app, "song-a").await;
    unmerge(&app, "song-x").await;
    app.record(&[streams("11", W3, "song-a", 5)]).await;
    assert_eq!(now.run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap(), report(3, 1, 0));
    let w3 = [
        "song-y 1(2) UP 1@06-05 3/3 7",
        "song-c 2(1) DOWN 1@05-22 3/3 6",
        "song-a 3(-) RE_ENTRY 1@05-22 2/1 5",
        "song-b 4(3) DOWN 3@05-29 2/2 3",
    ];
    assert_eq!(chart(&app, "of: SONG").await, w3);
    // Counted again as they are one: a revision, in which the other two are what they were.
    merge(&app, "song-a", "song-c").await;
    assert_eq!(now.run(&weekly(W3, "2026-06-15", true), |_| {}).await.unwrap(), report(1, 0, 1));
    let w3 = ["song-c 1(1) SAME 1@05-22 3/3 11", "song-y 2(2) SAME 2@05-29 3/3 7", "song-b 3(3) SAME 3@05-29 2/2 3"];
    assert_eq!(chart(&app, "of: SONG").await, w3);
    app.stop().await;
});

on_every_database!(a_merged_thing_drops_out_once, |database| {
    let app = start(&database).await;
    app.record(&[
        streams("1", W1, "song-a", 4),
        streams("2", W2, "song-a", 7),
        streams("3", W2, "song-b", 9),
        streams("4", W3, "song-y", 2),
    ])
    .await;
    let now = charts_at(&app, NOW);
    now.run(&weekly(W1, "2026-05-30", false), |_| {}).await.unwrap();
    merge(&app, "song-b", "song-a").await;
    now.run(&weekly(W3, "2026-06-15", false), |_| {}).await.unwrap();
    let w3 = ["song-y 1(-) NEW 1@06-05 1/1 2", "song-a -(1) OUT 1@05-22 2/0 9"];
    assert_eq!(chart(&app, "of: SONG").await, w3);
    // A published chart that is followed keeps both its entries; each is read as the one song, and has its past.
    unmerge(&app, "song-b").await;
    app.record(&[streams("5", W1, "song-b", 5)]).await;
    merge(&app, "song-b", "song-a").await;
    assert_eq!(now.run(&weekly(W1, "2026-05-23", true), |_| {}).await.unwrap(), report(1, 0, 2));
    assert_eq!(chart(&app, &format!("of: SONG, on: \"{W1}\"")).await, ["song-a 1(-) NEW 1@05-22 1/1 9"]);
    let w2 = ["song-a 1(1) SAME 1@05-22 2/2 9", "song-a 2(1) DOWN 1@05-22 2/2 7"];
    assert_eq!(chart(&app, &format!("of: SONG, on: \"{W2}\"")).await, w2);
    app.stop().await;
});

on_every_database!(merged_people_are_one_where_streams_tie_and_where_few_stand_behind, |database| {
    let app = start(&database).await;
    let in_germany = |mut event: serde_json::Value| {
        event["country"] = json!("DE");
        event
    };
    let listener = |id: &str, song: &str, user: &str| in_germany(heard(id, W3, song, user));
    // song-a and song-b have six listeners together, three of each. song-t has five, of whom one listened twice.
    let mut events: Vec<_> = (0..3).map(|user| listener(&format!("a{user}"), "song-a", &format!("u{user}"))).collect();
    events.extend((3..6).map(|user| listener(&format!("b{user}"), "song-b", &format!("u{user}"))));
    events.extend((0..6).map(|number| listener(&format!("t{number}"), "song-t", &format!("u{}", number % 5))));
    for genre in ["rock", "pop"] {
        events.push(in_germany(streams(genre, W3, genre, 5)));
    }
    app.record(&events).await;
    for stage in ["open", "merged"] {
        let now = charts_at(&app, NOW);
        now.run(&weekly(W3, "2026-06-15", true), |_| {}).await.unwrap();
        let apart = ["song-t 1", "pop 2", "rock 3"];
        let places = |lines: Vec<String>| -> Vec<String> {
            let place = |line: String| line.split('(').next().unwrap().to_owned();
            lines.into_iter().map(place).filter(|line| !line.ends_with('-')).collect()
        };
        assert_eq!(places(chart(&app, "of: SONG, country: \"DE\"").await), apart, "{stage}");
        merge(&app, "song-b", "song-a").await;
        now.run(&weekly(W3, "2026-06-15", true), |_| {}).await.unwrap();
        let one = ["song-a 1", "song-t 2", "pop 3", "rock 4"];
        for country in ["", ", country: \"DE\""] {
            assert_eq!(places(chart(&app, &format!("of: SONG{country}")).await), one, "{stage}{country}");
        }
        unmerge(&app, "song-b").await;
        app.merge_audience().await;
    }
    app.stop().await;
});
