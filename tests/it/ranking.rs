//! Who is first, page by page.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, play},
};

/// A play of one song of one artist.
fn play_of(id: &str, song: &str, artist: &str, user: &str) -> Value {
    let mut event = play(id, "2026-06-15T10:00:00Z", user);
    event["songId"] = json!(song);
    event["artistId"] = json!(artist);
    event
}

/// The order that a ranking of these (id, value) pairs has.
fn in_order(mut pairs: Vec<(String, i64)>) -> Vec<(String, i64)> {
    pairs.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(&other.0)));
    pairs
}

fn pairs(edges: &Value) -> Vec<(String, i64)> {
    let pair = |edge: &Value| (edge["node"]["id"].as_str().unwrap().to_owned(), edge["value"].as_f64().unwrap() as i64);
    edges.as_array().unwrap().iter().map(pair).collect()
}

on_every_database!(pages_list_every_entity_once_in_one_order, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    // 143 songs with 1 to 9 plays by 1 to 4 people: many ties. Ids in mixed case, to try the order of texts.
    let mut events = Vec::new();
    let (mut by_plays, mut by_listeners) = (Vec::new(), Vec::new());
    for song in 0..143_i64 {
        let id = if song % 2 == 0 { format!("song-{song}") } else { format!("Song_{song}") };
        let plays = song % 9 + 1;
        for number in 0..plays {
            events.push(play_of(&format!("{song}-{number}"), &id, "artist-1", &format!("u{}", number % 4)));
        }
        by_plays.push((id.clone(), plays));
        by_listeners.push((id, plays.min(4)));
    }
    app.record(&events).await;
    app.merge_audience().await;
    for (by, expected) in [("PLAYS", in_order(by_plays.clone())), ("LISTENERS", in_order(by_listeners))] {
        for first in [1, 7, 50, 142, 143, 200] {
            let (mut listed, mut after, mut positions) = (Vec::new(), Value::Null, Vec::new());
            loop {
                let query = format!(
                    "query ($after: String) {{ ranking(of: SONG, by: {by}, during: {{period: TODAY}}, first: {first}, after: $after) {{
                        totalCount pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
                        edges {{ cursor position value node {{ id }} }} nodes {{ id }} }} }}"
                );
                let answer = app.graphql(Some(&app.admin()), &query, json!({ "after": after })).await;
                let page = &answer["data"]["ranking"];
                let edges = page["edges"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
                let info = &page["pageInfo"];
                assert_eq!(page["totalCount"], 143, "{by}");
                assert_eq!(info["hasPreviousPage"], !after.is_null(), "{by} {first}");
                assert_eq!(
                    (&info["startCursor"], &info["endCursor"]),
                    (&edges[0]["cursor"], &edges[edges.len() - 1]["cursor"])
                );
                let nodes: Vec<&Value> = edges.iter().map(|edge| &edge["node"]).collect();
                assert_eq!(page["nodes"], json!(nodes));
                listed.extend(pairs(&page["edges"]));
                positions.extend(edges.iter().map(|edge| edge["position"].as_i64().unwrap()));
                assert_eq!(info["hasNextPage"], listed.len() < 143, "{by} {first}");
                if info["hasNextPage"] == false {
                    break;
                }
                after = info["endCursor"].clone();
                if first == 1 && listed.len() == 5 {
                    break;
                }
            }
            assert_eq!(listed, expected[..listed.len()], "{by} {first}");
            assert_eq!(positions, (1..=listed.len() as i64).collect::<Vec<_>>(), "{by} {first}");
        }
    }
    app.stop().await;
});

on_every_database!(a_cursor_pins_the_window_of_its_first_page, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[
        play_of("1", "song-a", "artist-1", "u1"),
        play_of("2", "song-a", "artist-1", "u1"),
        play_of("3", "song-b", "artist-1", "u1"),
    ])
    .await;
    let page = app
        .ask(r#"{ ranking(of: SONG, by: PLAYS, during: {period: TODAY}, first: 1) { pageInfo { endCursor } } }"#)
        .await;
    let cursor = page["ranking"]["pageInfo"]["endCursor"].as_str().unwrap();
    // Another window is asked for with the cursor, one in which nothing happened.
    let query = format!(
        r#"{{ ranking(of: SONG, by: PLAYS, during: {{period: LAST_YEAR}}, after: "{cursor}") {{ edges {{ position value node {{ id }} }} }} }}"#
    );
    let data = app.ask(&query).await;
    assert_eq!(data["ranking"]["edges"], json!([{"position": 2, "value": 1.0, "node": {"id": "song-b"}}]));
    app.stop().await;
});

on_every_database!(an_acknowledged_event_is_in_the_next_answer, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    for number in 1..=20 {
        app.record(&[play_of(&number.to_string(), "song-1", "artist-1", &format!("u{number}"))]).await;
        let data = app
            .ask(
                r#"{ plays: ranking(of: SONG, by: PLAYS) { edges { value } }
                    listeners: ranking(of: ARTIST, by: LISTENERS) { edges { value } }
                    song(id: "song-1") { metrics { plays listeners { value } } } }"#,
            )
            .await;
        let number_seen = f64::from(number);
        assert_eq!(data["plays"]["edges"], json!([{"value": number_seen}]));
        assert_eq!(data["listeners"]["edges"], json!([{"value": number_seen}]));
        assert_eq!(data["song"]["metrics"], json!({"plays": number, "listeners": {"value": number}}));
        if number == 10 {
            app.merge_audience().await;
        }
    }
    app.stop().await;
});

on_every_database!(an_hour_ranks_only_those_who_were_heard_in_it, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut earlier = play_of("1", "song-a", "artist-1", "u1");
    earlier["occurredAt"] = json!("2026-06-15T08:00:00Z");
    app.record(&[earlier, play_of("2", "song-b", "artist-1", "u1")]).await;
    for stage in ["open", "merged"] {
        if stage == "merged" {
            app.merge_audience().await;
        }
        let query = r#"{ ranking(of: SONG, by: LISTENERS, during: {between: {from: "2026-06-15T10:00:00Z", to: "2026-06-15T11:00:00Z"}}) {
            totalCount edges { value node { id } } } }"#;
        let expected = json!({"totalCount": 1, "edges": [{"value": 1.0, "node": {"id": "song-b"}}]});
        assert_eq!(app.ask(query).await["ranking"], expected, "{stage}");
    }
    app.stop().await;
});

on_every_database!(an_artists_top_works_are_their_own, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = Vec::new();
    for (song, album, artist, plays) in [
        ("song-a", "album-1", "artist-1", 2),
        ("song-b", "album-1", "artist-1", 3),
        ("song-c", "album-2", "artist-1", 3),
        ("song-d", "album-3", "artist-2", 9),
    ] {
        for number in 0..plays {
            let mut event = play_of(&format!("{song}-{number}"), song, artist, "u1");
            event["albumId"] = json!(album);
            events.push(event);
        }
    }
    // Liked and never played: left out by plays, alone by likes.
    events.push(json!({"id": "like", "type": "track.liked", "occurredAt": "2026-06-15T10:00:00Z", "userId": "u1",
                       "songId": "song-e", "artistId": "artist-1"}));
    app.record(&events).await;
    let data = app
        .ask(
            r#"{ artist(id: "artist-1") {
                all: topSongs(by: PLAYS) { position value song { id metrics { plays } } }
                two: topSongs(by: PLAYS, first: 2) { song { id } }
                likes: topSongs(by: LIKES) { value song { id } }
                listeners: topSongs(by: LISTENERS, first: 1) { value song { id } }
                topAlbums(by: STREAMS) { position value album { id artist { id } } }
                lastYear: topSongs(during: {period: LAST_YEAR}) { value }
            } }"#,
        )
        .await;
    let song = |position: i64, id: &str, plays: i64| json!({"position": position, "value": plays as f64, "song": {"id": id, "metrics": {"plays": plays}}});
    let album = |position: i64, id: &str, plays: i64| json!({"position": position, "value": plays as f64, "album": {"id": id, "artist": {"id": "artist-1"}}});
    assert_eq!(
        data["artist"],
        json!({
            "all": [song(1, "song-b", 3), song(2, "song-c", 3), song(3, "song-a", 2)],
            "two": [{"song": {"id": "song-b"}}, {"song": {"id": "song-c"}}],
            "likes": [{"value": 1.0, "song": {"id": "song-e"}}],
            "listeners": [{"value": 1.0, "song": {"id": "song-a"}}],
            "topAlbums": [album(1, "album-1", 5), album(2, "album-2", 3)],
            "lastYear": [],
        })
    );
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_no_size_and_cursors_of_nobody_are_bad_input() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&[play("1", "2026-06-15T10:00:00Z", "u1")]).await;
    let data = app.ask("{ ranking(of: SONG, by: PLAYS) { pageInfo { endCursor } } }").await;
    let cursor = data["ranking"]["pageInfo"]["endCursor"].as_str().unwrap();
    let digits: Vec<u8> =
        (0..cursor.len()).step_by(2).map(|at| u8::from_str_radix(&cursor[at..at + 2], 16).unwrap()).collect();
    // A cursor of ours with some members changed.
    let forged = |changes: Value| {
        let mut members: Value = serde_json::from_slice(&digits).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            assert!(!members[name].is_null(), "a cursor has no {name}");
            members[name] = value.clone();
        }
        let hex: String = members.to_string().bytes().map(|byte| format!("{byte:02x}")).collect();
        format!(r#"by: PLAYS, after: "{hex}""#)
    };
    for (arguments, field) in [
        ("first: 0".to_owned(), "first"),
        ("first: -1".to_owned(), "first"),
        ("first: 201".to_owned(), "first"),
        (r#"after: "nonsense""#.to_owned(), "after"),
        (r#"after: "00""#.to_owned(), "after"),
        (r#"after: "é""#.to_owned(), "after"),
        (format!(r#"after: "{}""#, "ab".repeat(3_000)), "after"),
        (format!(r#"by: STREAMS, after: "{cursor}""#), "after"),
        (forged(json!({"position": 10_000})), "after"),
        (forged(json!({"position": -1})), "after"),
        (forged(json!({"from_ms": 900_000, "to_ms": 0})), "after"),
        (forged(json!({"from_ms": i64::MIN, "to_ms": i64::MAX})), "after"),
        (forged(json!({"from_ms": -1, "to_ms": i64::MAX})), "after"),
        (forged(json!({"value": i64::MIN})), "after"),
    ] {
        let query = format!("{{ ranking(of: SONG, {arguments}) {{ edges {{ position }} }} }}");
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        let extensions = &answer["errors"][0]["extensions"];
        assert_eq!(
            (&extensions["code"], &extensions["field"]),
            (&json!("BAD_USER_INPUT"), &json!(field)),
            "{query}\n{answer:#}"
        );
    }
    for (field, first) in [("topSongs", 0), ("topSongs", 101), ("topAlbums", 101)] {
        let query = format!(r#"{{ artist(id: "artist-1") {{ {field}(first: {first}) {{ position }} }} }}"#);
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{query}\n{answer:#}");
    }
    app.stop().await;
}
