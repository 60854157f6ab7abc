//! What the catalogue's owner says: it wins over events, decides whom they count for, and makes one of two ids.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, Socket, T0, TestDatabase, app::Options, eventually, play},
};

const DAY: &str = r#"{between: {from: "2026-06-14T00:00:00Z", to: "2026-06-16T00:00:00Z"}}"#;

async fn start(database: &TestDatabase) -> App {
    App::start_with(database, Options::at(T0)).await
}

/// Sends entries as a service; returns the payload.
async fn upsert(app: &App, input: Value) -> Value {
    let document = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { stored rejected
        results { kind index id status code field message } } }";
    let answer = app.graphql(Some(&app.token("service", &[])), document, json!({ "input": input })).await;
    assert!(answer.get("errors").is_none(), "{answer:#}");
    answer["data"]["upsertCatalog"].clone()
}

/// Sends entries that must all be taken.
async fn upsert_all(app: &App, input: Value) {
    let payload = upsert(app, input).await;
    assert_eq!(payload["rejected"], 0, "{payload:#}");
}

fn credits(of: &[(&str, &str)]) -> Value {
    of.iter().map(|(id, role)| json!({"artistId": id, "role": role})).collect()
}

async fn merge(app: &App, kind: &str, from: &str, into: &str) -> Value {
    let document = format!(
        r#"mutation {{ mergeEntities(input: {{kind: {kind}, fromId: "{from}", intoId: "{into}"}}) {{ entity {{ id }} }} }}"#
    );
    app.graphql(Some(&app.admin()), &document, json!({})).await
}

async fn unmerge(app: &App, kind: &str, from: &str) -> Value {
    let document =
        format!(r#"mutation {{ unmergeEntities(input: {{kind: {kind}, fromId: "{from}"}}) {{ entity {{ id }} }} }}"#);
    app.graphql(Some(&app.admin()), &document, json!({})).await
}

/// One number of an entity over [`DAY`]; `field` may select below.
async fn number(app: &App, kind: &str, id: &str, field: &str) -> i64 {
    let data = app.ask(&format!(r#"{{ {kind}(id: "{id}") {{ metrics(during: {DAY}) {{ {field} }} }} }}"#)).await;
    let metrics = &data[kind]["metrics"];
    let name = field.split([' ', '{']).next().unwrap();
    let number = if metrics[name].is_object() { &metrics[name]["value"] } else { &metrics[name] };
    number.as_i64().unwrap_or_else(|| panic!("{kind} {id} {field}: {data}"))
}

async fn featured(app: &App, id: &str, field: &str) -> i64 {
    let data =
        app.ask(&format!(r#"{{ artist(id: "{id}") {{ featuredMetrics(during: {DAY}) {{ {field} }} }} }}"#)).await;
    data["artist"]["featuredMetrics"][field].as_i64().unwrap()
}

/// A stream of song-1, on the day before [`T0`].
fn stream(id: &str, user: &str) -> Value {
    play(id, "2026-06-14T10:00:00Z", user)
}

fn with(mut event: Value, more: Value) -> Value {
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

on_every_database!(the_catalogue_wins_over_events_whichever_comes_first, |database| {
    let app = start(&database).await;
    let told = json!({"songTitle": "Told", "albumId": "told-album", "albumTitle": "Told album", "artistName": "Told name",
        "genre": "told", "durationMs": 100_000});
    app.record(&[with(stream("1", "u1"), told.clone())]).await;
    let fields = "title durationMs releasedOn genres artist { id } artists { id } album { id title releasedOn genres artist { id } } \
                  credits { role artist { id title genres } }";
    let query = format!(r#"{{ song(id: "song-1") {{ {fields} }} }}"#);
    assert_eq!(
        app.ask(&query).await["song"],
        json!({"title": "Told", "durationMs": 100_000, "releasedOn": null, "genres": ["told"],
            "artist": {"id": "artist-1"}, "artists": [{"id": "artist-1"}],
            "album": {"id": "told-album", "title": "Told album", "releasedOn": null, "genres": ["told"], "artist": {"id": "artist-1"}},
            "credits": [{"role": "MAIN", "artist": {"id": "artist-1", "title": "Told name", "genres": ["told"]}}]})
    );
    let said = json!({
        "songs": [{"id": "song-1", "title": "Said", "durationMs": 200_000, "releasedOn": "2026-05-01", "albumId": "said-album",
            "genres": ["rock", "pop"],
            "credits": credits(&[("f", "FEATURED"), ("a", "MAIN"), ("b", "MAIN"), ("r", "REMIXER")])}],
        "albums": [{"id": "said-album", "title": "Said album", "releasedOn": "2026-05-02", "genres": ["pop"],
            "credits": credits(&[("a", "MAIN")])}],
        "artists": [{"id": "a", "title": "Said name", "genres": ["jazz"]}],
    });
    let expected = json!({"title": "Said", "durationMs": 200_000, "releasedOn": "2026-05-01", "genres": ["pop", "rock"],
        "artist": {"id": "a"}, "artists": [{"id": "a"}, {"id": "b"}],
        "album": {"id": "said-album", "title": "Said album", "releasedOn": "2026-05-02", "genres": ["pop"], "artist": {"id": "a"}},
        "credits": [
            {"role": "MAIN", "artist": {"id": "a", "title": "Said name", "genres": ["jazz"]}},
            {"role": "MAIN", "artist": {"id": "b", "title": null, "genres": []}},
            {"role": "REMIXER", "artist": {"id": "r", "title": null, "genres": []}},
            {"role": "FEATURED", "artist": {"id": "f", "title": null, "genres": []}}]});
    // Twice: it changes nothing.
    for _ in 0..2 {
        upsert_all(&app, said.clone()).await;
        assert_eq!(app.ask(&query).await["song"], expected);
    }
    // What events tell of the same things overwrites none of it, and fills what was not said.
    let later = with(told, json!({"artistId": "b", "artistName": "Bee", "albumId": "said-album", "genre": "other"}));
    app.record(&[with(stream("2", "u2"), later)]).await;
    let after = app.ask(&query).await["song"].clone();
    assert_eq!(after["credits"][1]["artist"], json!({"id": "b", "title": "Bee", "genres": ["other"]}));
    assert_eq!((&after["genres"], &after["title"]), (&expected["genres"], &expected["title"]));
    assert_eq!(after["album"], expected["album"]);
    // A word that is taken back lets events speak again. What is left out stays.
    upsert_all(
        &app,
        json!({"songs": [{"id": "song-1", "title": null, "genres": [], "credits": null, "albumId": null}]}),
    )
    .await;
    let empty = app.ask(&query).await["song"].clone();
    let gone = json!({"title": null, "genres": [], "artist": null, "artists": [], "album": null, "credits": []});
    assert_eq!(empty, with(with(expected, gone), json!({})));
    let again = with(stream("3", "u3"), json!({"songTitle": "Told again", "genre": "folk", "albumId": "x"}));
    app.record(&[again]).await;
    let told = app.ask(&query).await["song"].clone();
    assert_eq!(
        (&told["title"], &told["genres"], &told["artist"]["id"]),
        (&json!("Told again"), &json!(["folk"]), &json!("artist-1"))
    );
    assert_eq!((&told["album"]["id"], &told["releasedOn"]), (&json!("x"), &json!("2026-05-01")));
    app.verify().await;
    app.stop().await;
});

on_every_database!(every_main_artist_gets_the_whole_stream_and_featured_ones_apart, |database| {
    let app = start(&database).await;
    app.record(&[stream("before", "u0")]).await;
    upsert_all(
        &app,
        json!({"songs": [{"id": "song-1",
            "credits": credits(&[("a", "MAIN"), ("b", "MAIN"), ("r", "REMIXER"), ("f", "FEATURED")])}]}),
    )
    .await;
    let named = |id: &str, event_type: &str, more: Value| {
        with(with(stream(id, "u1"), json!({"type": event_type, "playedMs": null})), more)
    };
    app.record(&[
        stream("1", "u1"),
        with(stream("2", "u2"), json!({"artistId": "a"})),
        with(stream("3", "u2"), json!({"artistId": null})),
        named("like", "track.liked", json!({})),
        named("save", "track.saved", json!({"artistId": "somebody"})),
        named("add", "playlist.track_added", json!({"playlistId": "p"})),
        named("order", "order.paid", json!({"amount": "5.00", "currency": "EUR"})),
        // Not of the song.
        named("follow", "artist.followed", json!({"songId": null})),
    ])
    .await;
    for id in ["a", "b", "r"] {
        for (field, expected) in [
            ("streams", 3),
            ("listeners { value }", 2),
            ("likes", 1),
            ("saves", 1),
            ("playlistAdds", 1),
            ("purchases", 1),
            ("follows", 0),
        ] {
            assert_eq!(number(&app, "artist", id, field).await, expected, "{id} {field}");
            if !field.contains('{') {
                assert_eq!(featured(&app, id, field).await, 0, "{id} {field}");
            }
        }
    }
    for (field, expected) in [("streams", 3), ("likes", 1), ("saves", 1), ("playlistAdds", 1), ("purchases", 1)] {
        assert_eq!(featured(&app, "f", field).await, expected, "{field}");
        assert_eq!(number(&app, "artist", "f", field).await, 0, "{field}");
    }
    let query = format!(
        r#"{{ artist(id: "f") {{ featuredMetrics(during: {DAY}) {{ listeners {{ value }} revenue {{ gross }} }} }} }}"#
    );
    let of_featured = &app.ask(&query).await["artist"]["featuredMetrics"];
    assert_eq!(of_featured, &json!({"listeners": {"value": 2}, "revenue": [{"gross": "5.00"}]}));
    // Whom the event named counts no more; what was counted before stays.
    assert_eq!(number(&app, "artist", "artist-1", "streams").await, 1);
    assert_eq!(number(&app, "artist", "artist-1", "follows").await, 1);
    assert_eq!(number(&app, "song", "song-1", "streams").await, 4);
    // Only they are ranked, not their featured role.
    let ranking = app.ask(&format!("{{ ranking(of: ARTIST, during: {DAY}) {{ totalCount nodes {{ id }} }} }}")).await;
    assert_eq!(
        ranking["ranking"],
        json!({"totalCount": 4, "nodes": [{"id": "a"}, {"id": "b"}, {"id": "r"}, {"id": "artist-1"}]})
    );
    // The song is on the list of each who owns it.
    let top = format!("topSongs(during: {DAY}) {{ value song {{ id }} }}");
    for (id, songs) in [("a", 1), ("b", 1), ("r", 1), ("f", 0), ("artist-1", 0)] {
        let data = app.ask(&format!(r#"{{ artist(id: "{id}") {{ {top} }} }}"#)).await;
        assert_eq!(data["artist"]["topSongs"].as_array().unwrap().len(), songs, "{id}");
    }
    app.verify().await;
    // A change counts for what comes, and leaves what is counted.
    upsert_all(&app, json!({"songs": [{"id": "song-1", "credits": credits(&[("b", "MAIN")])}]})).await;
    app.record(&[stream("4", "u4")]).await;
    assert_eq!(number(&app, "artist", "a", "streams").await, 3);
    assert_eq!(number(&app, "artist", "b", "streams").await, 4);
    // The same event again is the same event, though its credits would be others now.
    let (_, answer) = app.post_events(json!([stream("1", "u1"), stream("before", "u0")]).to_string()).await;
    assert_eq!(answer["duplicates"], 2, "{answer}");
    app.merge_audience().await;
    app.verify().await;
    let rules = Default::default();
    let which = backbeat::rollup::recount::Days::All;
    backbeat::rollup::recount::rebuild(&app.core.database, &rules, &*app.core.clock, which, |_| {}).await.unwrap();
    assert_eq!(number(&app, "artist", "a", "streams").await, 3);
    assert_eq!(featured(&app, "f", "streams").await, 3);
    assert_eq!(number(&app, "artist", "a", "listeners { value }").await, 2);
    app.verify().await;
    app.stop().await;
});

on_every_database!(albums_have_all_streams_of_their_songs_and_direct_ones_apart, |database| {
    let app = start(&database).await;
    let from = |id: &str, album: Option<&str>, more: Value| with(with(stream(id, id), json!({"albumId": album})), more);
    // While the catalogue says nothing, the album that the event names is both.
    app.record(&[from("1", Some("compilation"), json!({}))]).await;
    assert_eq!(number(&app, "album", "compilation", "streams").await, 1);
    assert_eq!(number(&app, "album", "compilation", "directStreams").await, 1);
    upsert_all(
        &app,
        json!({"songs": [{"id": "song-1", "albumId": "album"}], "albums": [{"id": "album", "title": "T"}]}),
    )
    .await;
    app.record(&[
        from("2", Some("compilation"), json!({})),
        from("3", Some("album"), json!({})),
        from("4", None, json!({})),
        from("5", Some("compilation"), json!({"playedMs": 1_000})),
        from("6", Some("compilation"), json!({"count": 10, "playedMs": null})),
        from("like", Some("compilation"), json!({"type": "album.liked", "playedMs": null})),
    ])
    .await;
    for (id, plays, streams, direct, listeners, likes) in [("album", 14, 13, 1, 3, 0), ("compilation", 1, 1, 12, 1, 1)]
    {
        let found = [
            number(&app, "album", id, "plays").await,
            number(&app, "album", id, "streams").await,
            number(&app, "album", id, "directStreams").await,
            number(&app, "album", id, "listeners { value }").await,
            number(&app, "album", id, "likes").await,
        ];
        assert_eq!(found, [plays, streams, direct, listeners, likes], "{id}");
    }
    assert_eq!(number(&app, "song", "song-1", "directStreams").await, 0);
    app.verify().await;
    // What is done to an album counts for its own credits.
    upsert_all(&app, json!({"albums": [{"id": "album", "credits": credits(&[("a", "MAIN"), ("f", "FEATURED")])}]}))
        .await;
    app.record(&[from("save", Some("album"), json!({"type": "album.saved", "playedMs": null}))]).await;
    assert_eq!(number(&app, "artist", "a", "saves").await, 1);
    assert_eq!(featured(&app, "f", "saves").await, 1);
    app.verify().await;
    app.stop().await;
});

on_every_database!(every_main_artist_owns_a_work_and_nobody_else, |database| {
    let app = start(&database).await;
    app.record(&[with(stream("1", "u1"), json!({"albumId": "album-1"}))]).await;
    let is_open = async |artist: &str, kind: &str, id: &str| {
        let token = app.token("artist", &[artist]);
        let query = format!(r#"{{ {kind}(id: "{id}") {{ metrics {{ skips }} }} }}"#);
        app.graphql(Some(&token), &query, json!({})).await.get("errors").is_none()
    };
    assert!(is_open("artist-1", "song", "song-1").await);
    let who = credits(&[("a", "MAIN"), ("b", "MAIN"), ("r", "REMIXER"), ("f", "FEATURED")]);
    upsert_all(
        &app,
        json!({"songs": [{"id": "song-1", "credits": who}], "albums": [{"id": "album-1", "credits": who}]}),
    )
    .await;
    for (artist, expected) in [("a", true), ("b", true), ("r", true), ("f", false), ("artist-1", false)] {
        assert_eq!(is_open(artist, "song", "song-1").await, expected, "{artist}");
        assert_eq!(is_open(artist, "album", "album-1").await, expected, "{artist}");
    }
    // Somebody who is merged owns under both ids.
    app.record(&[play("2", "2026-06-14T11:00:00Z", "u1")]).await;
    assert!(merge(&app, "ARTIST", "artist-1", "b").await.get("errors").is_none());
    for artist in ["artist-1", "b"] {
        assert!(is_open(artist, "song", "song-1").await, "{artist}");
        assert!(is_open(artist, "artist", "b").await, "{artist}");
        assert!(is_open(artist, "artist", "artist-1").await, "{artist}");
    }
    assert!(!is_open("f", "artist", "b").await);
    // Numbers of works that they are only featured on are not theirs.
    let token = app.token("artist", &["f"]);
    let answer =
        app.graphql(Some(&token), r#"{ artist(id: "f") { featuredMetrics { streams skips } } }"#, json!({})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{answer}");
    app.stop().await;
});

on_every_database!(an_entry_is_taken_whole_or_refused_and_leaves_its_neighbours_alone, |database| {
    let app = start(&database).await;
    let payload = upsert(
        &app,
        json!({
            "songs": [
                {"id": "good", "title": "Good", "credits": credits(&[("a", "MAIN")])},
                {"id": "bad", "title": "Bad", "credits": credits(&[("a", "FEATURED")])},
                {"id": "good", "title": "Twice"},
            ],
            "albums": [{"id": "", "title": "No id"}],
            "playlists": [{"id": "p", "title": "Mine", "ownerId": "u1", "songIds": ["good", "new-song", "good"]}],
            "artists": [{"id": "long", "title": "x".repeat(1_001)}],
        }),
    )
    .await;
    let told: Vec<Value> = payload["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            json!([result["kind"], result["index"], result["id"], result["status"], result["code"], result["field"]])
        })
        .collect();
    assert_eq!(
        Value::from(told),
        json!([
            ["SONG", 0, "good", "STORED", null, null],
            ["SONG", 1, "bad", "REJECTED", "MISSING_FIELD", "credits"],
            ["SONG", 2, "good", "REJECTED", "INVALID_VALUE", "id"],
            ["ALBUM", 0, "", "REJECTED", "INVALID_VALUE", "id"],
            ["PLAYLIST", 0, "p", "STORED", null, null],
            ["ARTIST", 0, "long", "REJECTED", "TOO_LONG", "title"],
        ])
    );
    assert_eq!((&payload["stored"], &payload["rejected"]), (&json!(2), &json!(4)));
    let data = app
        .ask(r#"{ songs(ids: ["good", "bad", "new-song"]) { id title } playlist(id: "p") { title } artist(id: "long") { id } }"#)
        .await;
    let songs = json!([{"id": "good", "title": "Good"}, null, {"id": "new-song", "title": null}]);
    assert_eq!(data, json!({"songs": songs, "playlist": {"title": "Mine"}, "artist": null}));
    // More than a request may hold refuses it whole.
    let songs: Vec<Value> = (0..1_001).map(|number| json!({"id": format!("s{number}")})).collect();
    let document = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { stored } }";
    let answer = app.graphql(Some(&app.admin()), document, json!({"input": {"songs": songs}})).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "PAYLOAD_TOO_LARGE", "{answer}");
    app.stop().await;
});

on_every_database!(genres_are_a_songs_first_and_its_owners_all, |database| {
    let app = start(&database).await;
    let mut events = Vec::new();
    for (number, (song, genre)) in [("s1", "pop"), ("s1", "rock"), ("s2", "rock"), ("s3", "jazz")].iter().enumerate() {
        let more = json!({"songId": song, "albumId": "album-1", "genre": genre});
        events.push(with(stream(&number.to_string(), "u1"), more));
    }
    for event in &events {
        app.record(std::slice::from_ref(event)).await;
    }
    let query =
        r#"{ songs(ids: ["s1", "s2"]) { genres } album(id: "album-1") { genres } artist(id: "artist-1") { genres } }"#;
    let told = json!({"songs": [{"genres": ["pop"]}, {"genres": ["rock"]}], "album": {"genres": ["jazz", "pop", "rock"]},
        "artist": {"genres": ["jazz", "pop", "rock"]}});
    assert_eq!(app.ask(query).await, told);
    let many: Vec<Value> = (0..50)
        .map(|number| with(stream(&format!("many-{number}"), "u1"), json!({"genre": format!("g{number:02}")})))
        .collect();
    for event in many {
        app.record(&[event]).await;
    }
    assert_eq!(app.ask(query).await["artist"]["genres"].as_array().unwrap().len(), 20);
    app.stop().await;
});

on_every_database!(two_ids_that_are_merged_are_read_as_one_until_it_is_taken_back, |database| {
    let app = start(&database).await;
    let of = |id: &str, user: &str, song: &str, artist: &str, album: &str| {
        with(stream(id, user), json!({"songId": song, "artistId": artist, "albumId": album}))
    };
    app.record(&[
        of("1", "u1", "song-1", "artist-1", "album-1"),
        of("2", "u2", "song-1", "artist-1", "album-1"),
        of("3", "u2", "song-1b", "artist-1b", "album-1"),
        of("4", "u3", "song-2", "artist-2", "album-2"),
        of("5", "u4", "song-2", "artist-2", "album-2"),
        with(
            of("6", "u9", "song-1b", "artist-1b", "album-1"),
            json!({"type": "order.paid", "playedMs": null, "amount": "1.00", "currency": "EUR"}),
        ),
    ])
    .await;
    app.merge_audience().await;
    let ranks = async |by: &str, of: &str| {
        let data = app
            .ask(&format!(
                "{{ ranking(of: {of}, by: {by}, during: {DAY}) {{ totalCount edges {{ value node {{ id }} }} }} }}"
            ))
            .await;
        let edges = data["ranking"]["edges"].as_array().unwrap().clone();
        let list: Vec<(i64, String)> = edges
            .iter()
            .map(|edge| (edge["value"].as_f64().unwrap() as i64, edge["node"]["id"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(data["ranking"]["totalCount"], list.len(), "{by}");
        list
    };
    let list = |list: &[(i64, &str)]| list.iter().map(|(value, id)| (*value, (*id).to_owned())).collect::<Vec<_>>();
    let apart = list(&[(2, "song-1"), (2, "song-2"), (1, "song-1b")]);
    assert_eq!(ranks("STREAMS", "SONG").await, apart);
    for (kind, from, into) in [("SONG", "song-1b", "song-1"), ("ARTIST", "artist-1b", "artist-1")] {
        // Twice: to say it again changes nothing.
        for _ in 0..2 {
            let answer = merge(&app, kind, from, into).await;
            assert_eq!(answer["data"]["mergeEntities"]["entity"]["id"], into, "{answer}");
        }
    }
    let check_merged = async |streams: i64, listeners: i64| {
        for (kind, ids) in [("song", ["song-1", "song-1b"]), ("artist", ["artist-1", "artist-1b"])] {
            for id in ids {
                assert_eq!(number(&app, kind, id, "streams").await, streams, "{id}");
                assert_eq!(number(&app, kind, id, "listeners { value }").await, listeners, "{id}");
                assert_eq!(number(&app, kind, id, "purchases").await, 1, "{id}");
                let data = app
                    .ask(&format!(
                        r#"{{ {kind}(id: "{id}") {{ id metrics(during: {DAY}) {{ revenue {{ gross }} }}
                    timeline(during: {DAY}) {{ columns(of: [STREAMS, LISTENERS]) {{ series {{ total }} }} }} }} }}"#
                    ))
                    .await;
                let series = json!({"columns": {"series": [{"total": streams as f64}, {"total": listeners as f64}]}});
                assert_eq!(
                    data[kind],
                    json!({"id": ids[0], "metrics": {"revenue": [{"gross": "1.00"}]}, "timeline": series})
                );
            }
        }
    };
    check_merged(3, 2).await;
    assert_eq!(ranks("STREAMS", "SONG").await, list(&[(3, "song-1"), (2, "song-2")]));
    assert_eq!(ranks("LISTENERS", "SONG").await, list(&[(2, "song-1"), (2, "song-2")]));
    assert_eq!(ranks("STREAMS", "ARTIST").await, list(&[(3, "artist-1"), (2, "artist-2")]));
    let top = app
        .ask(&format!(
            r#"{{ artist(id: "artist-1b") {{ topSongs(during: {DAY}) {{ value song {{ id artist {{ id }} }} }} }} }}"#
        ))
        .await;
    let expected = json!([{"value": 3.0, "song": {"id": "song-1", "artist": {"id": "artist-1"}}}]);
    assert_eq!(top["artist"]["topSongs"], expected);
    // The next event goes on counting under its own id, and is read as the one.
    app.record(&[of("7", "u7", "song-1b", "artist-1b", "album-1")]).await;
    check_merged(4, 3).await;
    app.verify().await;
    for (kind, from) in [("SONG", "song-1b"), ("ARTIST", "artist-1b")] {
        for _ in 0..2 {
            let answer = unmerge(&app, kind, from).await;
            assert_eq!(answer["data"]["unmergeEntities"]["entity"]["id"], from, "{answer}");
        }
    }
    assert_eq!(ranks("STREAMS", "SONG").await, list(&[(2, "song-1"), (2, "song-1b"), (2, "song-2")]));
    assert_eq!(number(&app, "artist", "artist-1b", "listeners { value }").await, 2);
    app.verify().await;
    app.stop().await;
});

on_every_database!(watchers_of_one_id_see_what_happens_to_another_that_is_merged, |database| {
    let app = start(&database).await;
    upsert_all(&app, json!({"songs": [{"id": "song-1"}, {"id": "one"}]})).await;
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    for id in ["one", "song-1"] {
        let document =
            format!(r#"subscription {{ metrics(of: {{kind: SONG, id: "{id}"}}) {{ metrics {{ streams }} }} }}"#);
        socket.subscribe(id, &document).await;
        assert_eq!(socket.next(id).await["metrics"]["metrics"]["streams"], 0);
    }
    assert!(merge(&app, "SONG", "song-1", "one").await.get("errors").is_none());
    app.record(&[play("1", "2026-06-15T10:00:00Z", "u1")]).await;
    for id in ["one", "song-1"] {
        assert_eq!(socket.next(id).await["metrics"]["metrics"]["streams"], 1, "{id}");
    }
    app.stop().await;
});

on_every_database!(merges_that_make_no_sense_name_the_field, |database| {
    let app = start(&database).await;
    let mut songs: Vec<Value> = ["a", "b", "c", "d"].iter().map(|id| json!({"id": id})).collect();
    songs.push(json!({"id": "both", "credits": credits(&[("x", "MAIN"), ("y", "FEATURED")])}));
    upsert_all(&app, json!({"songs": songs})).await;
    assert!(merge(&app, "SONG", "a", "b").await.get("errors").is_none());
    for (kind, from, into, field) in [
        ("SONG", "c", "c", "fromId"),
        ("SONG", "unknown", "c", "fromId"),
        ("SONG", "c", "unknown", "intoId"),
        ("ALBUM", "c", "d", "fromId"),
        // In a ring, in a chain, to two at once.
        ("SONG", "b", "a", "intoId"),
        ("SONG", "c", "a", "intoId"),
        ("SONG", "b", "c", "fromId"),
        ("SONG", "a", "c", "fromId"),
        // One work would count twice for them.
        ("ARTIST", "x", "y", "fromId"),
    ] {
        let answer = merge(&app, kind, from, into).await;
        let error = &answer["errors"][0]["extensions"];
        assert_eq!(
            (&error["code"], &error["field"]),
            (&json!("BAD_USER_INPUT"), &json!(field)),
            "{from} {into}: {answer}"
        );
    }
    let answer = unmerge(&app, "SONG", "unknown").await;
    assert_eq!(answer["errors"][0]["extensions"]["field"], "fromId", "{answer}");
    // Several into one are fine.
    assert!(merge(&app, "SONG", "c", "b").await.get("errors").is_none());
    app.stop().await;
});

on_every_database!(a_merged_song_counts_for_the_credits_that_are_shown, |database| {
    let app = start(&database).await;
    upsert_all(&app, json!({"songs": [{"id": "song", "credits": credits(&[("a", "MAIN")])}, {"id": "song-1"}]})).await;
    assert!(merge(&app, "SONG", "song-1", "song").await.get("errors").is_none());
    app.record(&[stream("1", "u1")]).await;
    assert_eq!(number(&app, "artist", "a", "streams").await, 1);
    assert!(unmerge(&app, "SONG", "song-1").await.get("errors").is_none());
    app.record(&[stream("2", "u1")]).await;
    assert_eq!(number(&app, "artist", "a", "streams").await, 1);
    assert_eq!(number(&app, "artist", "artist-1", "streams").await, 1);
    app.verify().await;
    app.stop().await;
});

on_every_database!(another_process_hears_of_entries_and_merges, |database| {
    // On SQLite there is one serving process, but a look is how an import would learn of a change.
    let (here, there) = (start(&database).await, start(&database).await);
    upsert_all(&here, json!({"songs": [{"id": "song-1", "credits": credits(&[("a", "MAIN")])}, {"id": "song-2"}]}))
        .await;
    let mut sent = 0;
    eventually("the other process credits what was upserted here", async || {
        sent += 1;
        there.record(&[stream(&format!("there-{sent}"), "u1")]).await;
        match number(&there, "artist", "a", "streams").await {
            0 => Err(format!("{sent} streams for nobody")),
            _ => Ok(()),
        }
    })
    .await;
    assert!(merge(&here, "SONG", "song-1", "song-2").await.get("errors").is_none());
    eventually("the other process reads what was merged here", async || {
        let data = there.ask(r#"{ song(id: "song-1") { id } }"#).await;
        if data["song"]["id"] == "song-2" { Ok(()) } else { Err(data.to_string()) }
    })
    .await;
    here.verify().await;
    there.stop().await;
    here.stop().await;
});
