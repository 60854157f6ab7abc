//! Who is first, page by page.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, Socket, T0, TestDatabase, app::Options, play},
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

/// One page of songs by plays, as a client that goes on from it asks; `page` are arguments.
async fn page(app: &App, arguments: &str) -> Value {
    let query = format!(
        "{{ ranking(of: SONG, by: PLAYS, during: {{last: \"P7D\"}}, {arguments}) {{ totalCount
            pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
            edges {{ cursor position value share node {{ id }} }} }} }}"
    );
    app.ask(&query).await["ranking"].clone()
}

/// Plays of songs, given as how many each has.
fn plays(tag: &str, songs: &[(&str, i64)]) -> Vec<Value> {
    let of_one = |(song, plays): &(&str, i64)| -> Vec<Value> {
        (0..*plays).map(|number| play_of(&format!("{tag}-{song}-{number}"), song, "artist-1", "u1")).collect()
    };
    songs.iter().flat_map(of_one).collect()
}

on_every_database!(a_walk_lists_what_its_first_page_was_of_while_events_come, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let songs: Vec<(String, i64)> = (0..40).map(|song| (format!("song-{song:02}"), 1 + song / 4)).collect();
    let told: Vec<(&str, i64)> = songs.iter().map(|(id, plays)| (id.as_str(), *plays)).collect();
    app.record(&plays("before", &told)).await;
    let expected = in_order(songs.clone());
    let sum: i64 = songs.iter().map(|(_, plays)| plays).sum();
    for (number, size) in [1, 6, 7, 39, 40].into_iter().enumerate() {
        // Each walk begins with what is there now, which the one before has changed; ties are all of one listener.
        let first = page(&app, &format!("first: {size}")).await;
        let total = first["totalCount"].as_i64().unwrap();
        let whole = pairs(&page(&app, "first: 200").await["edges"]);
        assert_eq!(whole.len() as i64, total);
        if number == 0 {
            assert_eq!(whole, expected);
            assert_eq!(first["edges"][0]["share"], json!(10.0 / sum as f64));
        }
        let mut listed = pairs(&first["edges"]);
        let mut info = first["pageInfo"].clone();
        let mut pages = 0;
        while info["hasNextPage"] == true {
            // The last becomes the first, one that was listed gets more, and there is a new one.
            let last = &whole[whole.len() - 1 - pages % 5].0;
            let new = format!("new-{number}-{pages}");
            app.record(&plays(&format!("{number}-{pages}"), &[(last, 3), (&listed[0].0, 1), (&new, 2)])).await;
            let next = page(&app, &format!("first: {size}, after: {}", info["endCursor"])).await;
            assert_eq!(next["totalCount"], total);
            assert_eq!(next["edges"][0]["position"], listed.len() + 1);
            listed.extend(pairs(&next["edges"]));
            info = next["pageInfo"].clone();
            pages += 1;
        }
        assert_eq!(listed, whole, "forward by {size}");
        // And back again, from the last one.
        let back = page(&app, &format!("last: 200, before: {}", info["endCursor"])).await;
        assert_eq!(pairs(&back["edges"]), whole[..whole.len() - 1], "backward from the end of {size}");
    }
    app.stop().await;
});

on_every_database!(pages_backward_list_every_entity_once, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let songs: Vec<(String, i64)> = (0..23).map(|song| (format!("song-{song:02}"), 1 + song % 5)).collect();
    let told: Vec<(&str, i64)> = songs.iter().map(|(id, plays)| (id.as_str(), *plays)).collect();
    app.record(&plays("before", &told)).await;
    for size in [1, 5, 22, 23, 200] {
        let (mut listed, mut arguments, mut positions) = (Vec::new(), format!("last: {size}"), Vec::new());
        for number in 0.. {
            let page = page(&app, &arguments).await;
            let info = &page["pageInfo"];
            let edges = page["edges"].as_array().unwrap();
            listed.splice(0..0, pairs(&page["edges"]));
            positions.splice(0..0, edges.iter().map(|edge| edge["position"].as_u64().unwrap()));
            assert_eq!(info["hasNextPage"], number > 0, "{size}");
            assert_eq!(info["hasPreviousPage"], positions[0] > 1, "{size}");
            if info["hasPreviousPage"] == false {
                break;
            }
            if number == 0 && size == 5 {
                app.record(&plays("between", &[("song-00", 9), ("song-new", 3)])).await;
            }
            arguments = format!("last: {size}, before: {}", info["startCursor"]);
        }
        let now = if size > 5 { pairs(&page(&app, "first: 200").await["edges"]) } else { in_order(songs.clone()) };
        assert_eq!(listed, now, "{size}");
        assert_eq!(positions, (1..=listed.len() as u64).collect::<Vec<_>>(), "{size}");
    }
    app.stop().await;
});

on_every_database!(another_process_goes_on_at_a_cursors_value_over_its_window, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let songs = [("song-a", 5), ("song-b", 4), ("song-c", 3), ("song-d", 3), ("song-e", 3), ("song-f", 1)];
    app.record(&plays("before", &songs)).await;
    let cursors: Vec<Value> =
        page(&app, "first: 6").await["edges"].as_array().unwrap().iter().map(|edge| edge["cursor"].clone()).collect();
    app.record(&plays("between", &[("song-c", 3)])).await;
    app.stop().await;
    // A day later: seven days that end now are others, and an event of today is not in the pinned window.
    let app = App::start_with(&database, Options::at(T0 + 24 * 3_600_000)).await;
    let mut today = play_of("today", "song-f", "artist-1", "u1");
    today["occurredAt"] = json!("2026-06-16T10:00:00Z");
    app.record(&[today]).await;
    // Now: song-c 6, song-a 5, song-b 4, song-d 3, song-e 3, song-f 1.
    for (cursor, ahead, behind) in [
        (0, vec!["song-c"], vec!["song-b", "song-d", "song-e", "song-f"]),
        (3, vec!["song-c", "song-a", "song-b"], vec!["song-e", "song-f"]),
        // song-c has moved on: its value is where the page begins.
        (2, vec!["song-c", "song-a", "song-b", "song-d", "song-e"], vec!["song-d", "song-e", "song-f"]),
    ] {
        let ids = |page: Value| pairs(&page["edges"]).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(page(&app, &format!("first: 9, after: {}", cursors[cursor])).await), behind, "{cursor}");
        assert_eq!(ids(page(&app, &format!("last: 9, before: {}", cursors[cursor])).await), ahead, "{cursor}");
    }
    app.stop().await;
});

/// Six songs of three plays each by one to three people, on one album and in one playlist.
async fn tell_ties(app: &App) -> Vec<&'static str> {
    let mut events = Vec::new();
    for (song, people) in [("a", 1), ("b", 3), ("c", 2), ("d", 3), ("e", 0), ("f", 1)] {
        for number in 0..3 {
            let mut event = play_of(
                &format!("{song}-{number}"),
                song,
                &format!("by-{song}"),
                &format!("u{}", number % people.max(1)),
            );
            if people == 0 {
                event.as_object_mut().unwrap().remove("userId");
            }
            events.push(event);
        }
    }
    app.record(&events).await;
    let songs: Vec<Value> = ["a", "b", "c", "d", "e", "f"]
        .iter()
        .map(|id| json!({"id": id, "albumId": "album", "credits": [{"artistId": "artist-1"}]}))
        .collect();
    let input =
        json!({"songs": songs, "playlists": [{"id": "list", "songIds": ["f", "e", "d", "c", "b", "a", "g", "a"]}]});
    let document = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { rejected } }";
    let answer = app.graphql(Some(&app.admin()), document, json!({ "input": input })).await;
    assert_eq!(answer["data"]["upsertCatalog"]["rejected"], 0, "{answer:#}");
    vec!["b", "d", "c", "a", "f", "e"]
}

on_every_database!(ties_go_by_listeners_then_id_wherever_things_are_ranked, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let expected = tell_ties(&app).await;
    for stage in ["open", "merged"] {
        if stage == "merged" {
            app.merge_audience().await;
        }
        for by in ["PLAYS", "STREAMS"] {
            let data = app
                .ask(&format!(
                    r#"{{ ranking(of: SONG, by: {by}) {{ edges {{ node {{ id rank(by: {by}) {{ position of percentile previousPosition }} }} }} }}
                         artists: ranking(of: ARTIST, by: {by}) {{ nodes {{ id }} }}
                         two: ranking(of: SONG, by: {by}, first: 2) {{ nodes {{ id }} }}
                         artist(id: "artist-1") {{ topSongs(by: {by}) {{ song {{ id }} }} }}
                         album(id: "album") {{ songs(by: {by}) {{ position value song {{ id }} }} four: songs(by: {by}, first: 4) {{ song {{ id }} }} }}
                         playlist(id: "list") {{ songs(by: {by}) {{ song {{ id }} }} }} }}"#
                ))
                .await;
            let ids = |items: &Value, path: &str| -> Vec<String> {
                let id = |item: &Value| item.pointer(path).unwrap().as_str().unwrap().to_owned();
                items.as_array().unwrap().iter().map(id).collect()
            };
            assert_eq!(ids(&data["ranking"]["edges"], "/node/id"), expected, "{stage} {by}");
            assert_eq!(ids(&data["two"]["nodes"], "/id"), expected[..2], "{stage} {by}");
            let by_artist: Vec<String> = expected.iter().map(|song| format!("by-{song}")).collect();
            assert_eq!(ids(&data["artists"]["nodes"], "/id"), by_artist, "{stage} {by}");
            assert_eq!(ids(&data["artist"]["topSongs"], "/song/id"), expected, "{stage} {by}");
            assert_eq!(ids(&data["album"]["songs"], "/song/id"), expected, "{stage} {by}");
            assert_eq!(ids(&data["album"]["four"], "/song/id"), expected[..4], "{stage} {by}");
            assert_eq!(ids(&data["playlist"]["songs"], "/song/id"), expected, "{stage} {by}");
            for (place, edge) in data["ranking"]["edges"].as_array().unwrap().iter().enumerate() {
                let percentile = 100.0 * (6 - place) as f64 / 6.0;
                let rank = json!({"position": place + 1, "of": 6, "percentile": percentile, "previousPosition": null});
                assert_eq!(edge["node"]["rank"], rank, "{stage} {by}");
            }
        }
    }
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    let document = "subscription { ranking(of: SONG, by: PLAYS, during: {period: TODAY}, first: 3) {
        edges { position share previousPosition node { id } } } }";
    socket.subscribe("1", document).await;
    let edge = |position: i64, id: &str| json!({"position": position, "share": 3.0 / 18.0, "previousPosition": null, "node": {"id": id}});
    assert_eq!(socket.next("1").await["ranking"]["edges"], json!([edge(1, "b"), edge(2, "d"), edge(3, "c")]));
    app.stop().await;
});

on_every_database!(more_than_a_thousand_of_one_value_go_by_id, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    // The last by id has two listeners: it is the first of a thousand, and the last of a thousand and one.
    let one = |song: usize, number: usize, user: &str| {
        play_of(&format!("{song}-{number}"), &format!("song-{song:04}"), "artist-1", user)
    };
    let mut events: Vec<Value> = (1..1_000).flat_map(|song| [one(song, 0, "u1"), one(song, 1, "u1")]).collect();
    events.extend([one(1_000, 0, "u1"), one(1_000, 1, "u2"), one(2_000, 0, "u1")]);
    app.record(&events).await;
    let query = r#"{ ranking(of: SONG, by: PLAYS, first: 2) { nodes { id } }
        last: ranking(of: SONG, by: PLAYS, last: 2) { edges { position node { id } } }
        song(id: "song-1000") { rank(by: PLAYS) { position of } } song(id: "song-0500") { rank(by: PLAYS) { position } } }"#
        .replace("song(id: \"song-0500\")", "middle: song(id: \"song-0500\")");
    let data = app.ask(&query).await;
    assert_eq!(data["ranking"]["nodes"], json!([{"id": "song-1000"}, {"id": "song-0001"}]));
    assert_eq!(data["song"]["rank"], json!({"position": 1, "of": 1_001}));
    assert_eq!(data["middle"]["rank"], json!({"position": 501}));
    let last = |position: i64, id: &str| json!({"position": position, "node": {"id": id}});
    assert_eq!(data["last"]["edges"], json!([last(1_000, "song-0999"), last(1_001, "song-2000")]));
    app.record(&[one(0, 0, "u1"), one(0, 1, "u1")]).await;
    let data = app.ask(&query).await;
    assert_eq!(data["ranking"]["nodes"], json!([{"id": "song-0000"}, {"id": "song-0001"}]));
    assert_eq!(data["song"]["rank"], json!({"position": 1_001, "of": 1_002}));
    assert_eq!(data["middle"]["rank"], json!({"position": 501}));
    assert_eq!(data["last"]["edges"], json!([last(1_001, "song-1000"), last(1_002, "song-2000")]));
    app.stop().await;
});

on_every_database!(one_country_is_shown_to_others_where_enough_people_are_behind_it, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = Vec::new();
    for (song, country, people, plays) in [("a", "DE", 4, 9), ("b", "DE", 5, 5), ("b", "FR", 9, 9), ("c", "DE", 6, 8)] {
        for number in 0..plays {
            let mut event =
                play_of(&format!("{song}-{country}-{number}"), song, "artist-1", &format!("u{}", number % people));
            event["country"] = json!(country);
            events.push(event);
        }
    }
    app.record(&events).await;
    let percent = |edge: &Value| (edge["share"].as_f64().unwrap() * 100.0).round() as i64;
    for stage in ["open", "merged"] {
        if stage == "merged" {
            app.merge_audience().await;
        }
        for (token, expected, total) in [
            (app.admin(), json!([["a", 9.0, 41], ["c", 8.0, 36], ["b", 5.0, 23]]), 3),
            (app.token("listener", &[]), json!([["c", 8.0, 62], ["b", 5.0, 38]]), 2),
            (app.token("artist", &["artist-1"]), json!([["c", 8.0, 62], ["b", 5.0, 38]]), 2),
        ] {
            let query = r#"{ ranking(of: SONG, by: PLAYS, country: "DE") { totalCount edges { value share node { id } } }
                people: ranking(of: SONG, by: LISTENERS, country: "DE", first: 1) { totalCount edges { value share } }
                nowhere: ranking(of: SONG, country: "JP") { totalCount edges { value } } }"#;
            let answer = app.graphql(Some(&token), query, json!({})).await;
            let edges = answer["data"]["ranking"]["edges"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
            let listed: Vec<Value> =
                edges.iter().map(|edge| json!([edge["node"]["id"], edge["value"], percent(edge)])).collect();
            assert_eq!(json!(listed), expected, "{stage}");
            assert_eq!(answer["data"]["ranking"]["totalCount"], total, "{stage}");
            let people = json!({"totalCount": total, "edges": [{"value": 6.0, "share": null}]});
            assert_eq!(answer["data"]["people"], people, "{stage}");
            assert_eq!(answer["data"]["nowhere"], json!({"totalCount": 0, "edges": []}), "{stage}");
        }
    }
    app.stop().await;
});

on_every_database!(a_genre_is_ranked_by_what_each_thing_is_read_as, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = plays("p", &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    for (event, genre) in events.iter_mut().zip(["pop", "pop", "pop", "rock", "rock", "rock"]) {
        event["genre"] = json!(genre);
    }
    app.record(&events).await;
    let query = r#"{ pop: ranking(of: SONG, by: PLAYS, genre: "pop") { totalCount edges { value share node { id } } }
        artists: ranking(of: ARTIST, by: PLAYS, genre: "rock") { edges { value node { id } } }
        listeners: ranking(of: SONG, by: LISTENERS, genre: "rock") { totalCount edges { value node { id } } }
        unknown: ranking(of: SONG, genre: "polka") { totalCount edges { value } pageInfo { endCursor } } }"#;
    let data = app.ask(query).await;
    let edge = |id: &str, value: i64, share: f64| json!({"value": value as f64, "share": share, "node": {"id": id}});
    assert_eq!(data["pop"], json!({"totalCount": 2, "edges": [edge("b", 2, 2.0 / 3.0), edge("a", 1, 1.0 / 3.0)]}));
    assert_eq!(data["artists"]["edges"], json!([{"value": 10.0, "node": {"id": "artist-1"}}]));
    assert_eq!(data["listeners"], json!({"totalCount": 1, "edges": [{"value": 1.0, "node": {"id": "c"}}]}));
    assert_eq!(data["unknown"], json!({"totalCount": 0, "edges": [], "pageInfo": {"endCursor": null}}));
    // d, which has no genre, is a; c, which is rock, is b.
    for (from, into) in [("d", "a"), ("c", "b")] {
        let merge = format!(
            r#"mutation {{ mergeEntities(input: {{kind: SONG, fromId: "{from}", intoId: "{into}"}}) {{ entity {{ id }} }} }}"#
        );
        app.ask(&merge).await;
    }
    let data = app.ask(query).await;
    assert_eq!(data["pop"], json!({"totalCount": 2, "edges": [edge("a", 5, 0.5), edge("b", 5, 0.5)]}));
    assert_eq!(data["listeners"], json!({"totalCount": 0, "edges": []}));
    app.stop().await;
});

on_every_database!(private_numbers_of_an_albums_guests_are_theirs, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    // The first event that names an album says whose it is.
    for (song, artist, skips) in [("mine", "artist-1", 2), ("guest", "artist-2", 3), ("also-mine", "artist-1", 1)] {
        for number in 0..skips {
            let mut event = play_of(&format!("{song}-{number}"), song, artist, "u1");
            event["playedMs"] = json!(10);
            event["albumId"] = json!("album");
            app.record(&[event]).await;
        }
    }
    let query = r#"{ album(id: "album") { songs(by: SKIPS) { position song { id } } } }"#;
    let song = |position: i64, id: &str| json!({"position": position, "song": {"id": id}});
    for (token, expected) in [
        (app.admin(), json!([song(1, "guest"), song(2, "mine"), song(3, "also-mine")])),
        (app.token("artist", &["artist-1"]), json!([song(1, "mine"), song(2, "also-mine")])),
        (app.token("artist", &["artist-2"]), Value::Null),
        (app.token("listener", &[]), Value::Null),
    ] {
        let answer = app.graphql(Some(&token), query, json!({})).await;
        assert_eq!(answer["data"]["album"]["songs"], expected, "{answer:#}");
        assert_eq!(answer.get("errors").is_some(), expected.is_null(), "{answer:#}");
    }
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
        (format!(r#"by: PLAYS, during: {{period: TODAY}}, after: "{cursor}""#), "after"),
        (format!(r#"by: PLAYS, genre: "pop", after: "{cursor}""#), "after"),
        (format!(r#"by: PLAYS, country: "DE", after: "{cursor}""#), "after"),
        (format!(r#"by: PLAYS, last: 1, before: "{}""#, cursor.replace('7', "6")), "before"),
        ("first: 1, last: 1".to_owned(), "last"),
        ("last: 0".to_owned(), "last"),
        ("last: 1001".to_owned(), "last"),
        ("first: 1001".to_owned(), "first"),
        (format!(r#"by: PLAYS, last: 1, after: "{cursor}""#), "after"),
        (format!(r#"by: PLAYS, first: 1, before: "{cursor}""#), "before"),
        (r#"country: "XX""#.to_owned(), "country"),
        (r#"during: {between: {from: "2026-06-15T00:00:00Z", to: "2026-06-14T00:00:00Z"}}"#.to_owned(), "between"),
        (forged(json!({"position": 10_000})), "after"),
        (forged(json!({"position": 0})), "after"),
        (forged(json!({"id": "song-2"})), "after"),
        (forged(json!({"value": 7})), "after"),
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
    for (kind, arguments) in [("ALBUM", r#"after: "CURSOR""#), ("PLAYLIST", r#"genre: "pop""#)] {
        let arguments = arguments.replace("CURSOR", cursor);
        let query = format!("{{ ranking(of: {kind}, by: PLAYS, {arguments}) {{ edges {{ position }} }} }}");
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{query}\n{answer:#}");
    }
    // What lies outside of all events is empty, and no fault.
    for during in [
        r#"{between: {from: "2030-01-01T00:00:00Z", to: "2030-02-01T00:00:00Z"}}"#,
        r#"{between: {from: "1950-01-01T00:00:00Z", to: "1950-02-01T00:00:00Z"}}"#,
    ] {
        let query = format!(
            r#"{{ ranking(of: SONG, during: {during}) {{ totalCount edges {{ share }} }}
                 song(id: "song-1") {{ rank(during: {during}) {{ position previousPosition of percentile }} }} }}"#
        );
        let nothing = json!({"ranking": {"totalCount": 0, "edges": []},
            "song": {"rank": {"position": null, "previousPosition": null, "of": 0, "percentile": null}}});
        assert_eq!(app.ask(&query).await, nothing, "{during}");
    }
    for (field, first) in [("topSongs", 0), ("topSongs", 101), ("topAlbums", 101)] {
        let query = format!(r#"{{ artist(id: "artist-1") {{ {field}(first: {first}) {{ position }} }} }}"#);
        let answer = app.graphql(Some(&app.admin()), &query, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{query}\n{answer:#}");
    }
    app.stop().await;
}
