//! Recommendations for whom little is known, and what tells nothing.

use serde_json::{Value, json};

use crate::{
    on_every_database,
    recommendations::{assisted, did, ids, mutate, number_of, recommended, two_circles},
    support::{
        App, T0, TestDatabase,
        app::{Options, listener},
    },
};

fn kinds(recommended: &[Value]) -> Vec<&str> {
    recommended.iter().map(|one| one["reason"]["kind"].as_str().unwrap()).collect()
}

on_every_database!(whoever_only_follows_or_likes_albums_gets_songs_like_theirs, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let follow =
        json!({"id": "f", "type": "artist.followed", "userId": "fan", "artistId": "artist-2", "occurredAt": T0});
    let like = json!({"id": "l", "type": "album.liked", "userId": "buff", "albumId": "album-7", "occurredAt": T0});
    app.record(&[follow, like]).await;
    for (user, of) in [("fan", "artist-2"), ("buff", "album-7")] {
        let songs = recommended(&app, user, "first: 3, maxPerArtist: 9").await;
        assert_eq!(kinds(&songs), ["LIKED_SIMILAR"; 3], "{songs:#?}");
        for song in &songs {
            assert!(number_of(song["node"]["id"].as_str().unwrap()) >= 8, "{song}");
            assert!(song["reason"]["because"].as_array().unwrap().contains(&json!({"id": of})), "{song}");
        }
    }
    // Songs on a liked album are not known for that.
    let all = recommended(&app, "buff", "first: 100, maxPerArtist: 9").await;
    assert_eq!(all.len(), 16);
    app.stop().await;
});

on_every_database!(a_skip_recommends_nothing_and_is_known, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let mut skip = did("skip", "track.played", "skipper", 9, T0 - 1_000);
    (skip["playedMs"], skip["durationMs"]) = (json!(2_000), json!(200_000));
    app.record(&[skip]).await;
    let songs = recommended(&app, "skipper", "first: 100, maxPerArtist: 9").await;
    assert!(songs.len() == 15 && !ids(&songs).contains(&"song-9"), "{songs:#?}");
    assert!(kinds(&songs).iter().all(|kind| *kind == "POPULAR"), "{songs:#?}");
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_else_knows_tells_its_genre_and_the_country_follows() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let mut abroad: Vec<Value> =
        (0..6).map(|user| did(format!("fr-{user}"), "track.played", &format!("fr-{user}"), 15, T0 - 60_000)).collect();
    abroad.iter_mut().for_each(|event| event["country"] = json!("FR"));
    let fresh = json!({"id": "fresh", "type": "track.liked", "userId": "curious", "songId": "fresh", "genre": "jazz",
        "country": "FR", "occurredAt": T0 - 1_000});
    abroad.push(fresh);
    app.record(&abroad).await;
    let songs = recommended(&app, "curious", "first: 100, maxPerArtist: 9").await;
    assert_eq!(kinds(&songs)[..9], [["SAME_GENRE"; 8].as_slice(), &["POPULAR"]].concat(), "{songs:#?}");
    for song in &songs[..8] {
        assert!(number_of(song["node"]["id"].as_str().unwrap()).is_multiple_of(2), "{song}");
        assert_eq!(song["reason"]["because"], json!([{"id": "fresh"}]));
    }
    assert_eq!(songs[8]["node"]["id"], "song-15");
    app.stop().await;
}

on_every_database!(what_is_dismissed_tells_nothing_and_an_album_goes_with_its_songs, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let names_song_0 = |list: &[Value]| {
        list.iter().any(|one| one["reason"]["because"].as_array().unwrap().contains(&json!({"id": "song-0"})))
    };
    assert!(names_song_0(&recommended(&app, "user-0", "first: 100, maxPerArtist: 9").await));
    let token = listener("user-0");
    for (kind, id) in [("SONG", "song-0"), ("ALBUM", "album-2")] {
        let entity = format!(r#"entity: {{kind: {kind}, id: "{id}"}}"#);
        mutate(&app, &token, &format!("dismissRecommendation(input: {{{entity}}}) {{ dismissal {{ dismissedAt }} }}"))
            .await;
    }
    let without = recommended(&app, "user-0", "first: 100, maxPerArtist: 9").await;
    assert!(!names_song_0(&without) && without.iter().any(|one| one["score"] != 0.0), "{without:#?}");
    assert!(ids(&without).iter().all(|id| number_of(id) / 2 != 2), "{without:#?}");
    app.stop().await;
});

on_every_database!(a_playlist_holds_songs_alone_all_known_or_none, |database| {
    let app = App::start_with(&database, Options::at(T0).set("SHOWN_PEOPLE_MIN", 1)).await;
    two_circles(&app).await;
    // The listener knows songs 0, 1, 3 and 6.
    let is_known = |id: &&str| [0, 1, 3, 6].contains(&number_of(id));
    for (share, length) in [("0", 11), ("1", 4)] {
        let input =
            format!(r#"seeds: ["artist-1"], length: 50, maxPerArtist: 9, userId: "user-0", knownShare: {share}"#);
        let list = assisted(&app, &input).await;
        let entries = list["entries"].as_array().unwrap();
        let known = ids(entries).iter().filter(|id| is_known(id)).count();
        assert_eq!((entries.len() - known, known), if share == "0" { (12, 0) } else { (0, length) }, "{list:#}");
        assert!(list["shortfall"].as_str().unwrap().contains("no more are known to go with the seeds"), "{list:#}");
        assert!(ids(entries).iter().all(|id| id.starts_with("song-")), "{list:#}");
        let is_said = list["shortfall"].as_str().unwrap().contains("kept out: 4 known already");
        assert_eq!(is_said, share == "0", "{list:#}");
    }
    // With a length of time the share is kept, too.
    let mut lengths = String::new();
    (0..16).for_each(|song| lengths += &format!(r#"{{id: "song-{song}", durationMs: 200000}} "#));
    mutate(&app, &app.admin(), &format!("upsertCatalog(input: {{songs: [{lengths}]}}) {{ rejected }}")).await;
    let input =
        r#"seeds: ["song-2"], length: 20, maxPerArtist: 9, userId: "user-0", knownShare: 0.5, maxDurationMs: 900000"#;
    let list = assisted(&app, input).await;
    let entries = list["entries"].as_array().unwrap();
    assert_eq!((entries.len(), ids(entries).iter().filter(|id| is_known(id)).count()), (4, 2), "{list:#}");
    app.stop().await;
});

// Whoever makes a playlist is nobody of those who listen: what few have in common is not told by it either.
on_every_database!(a_playlist_tells_no_likeness_of_few_people, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let events: Vec<Value> = (0..4)
        .flat_map(|user| {
            [0, 9].map(|song| did(format!("{user}-{song}"), "track.played", &format!("user-{user}"), song, T0))
        })
        .collect();
    app.record(&events).await;
    crate::recommendations::recommend_anew(&app).await;
    let list = assisted(&app, r#"seeds: ["song-0"]"#).await;
    assert_eq!(list["entries"][0]["node"]["id"], "song-9");
    assert_eq!((&list["entries"][0]["score"], &list["entries"][0]["reason"]["kind"]), (&json!(0.0), &json!("POPULAR")));
    app.stop().await;
});
