//! What is like what, what a listener may like next, and what goes with a playlist.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
};

use backbeat::{db::DbError, recommend::RunOrder};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{
        App, T0, TestDatabase,
        app::{Options, listener},
        rfc3339,
    },
};

const DAY_MS: i64 = 86_400_000;
const GENRES: [&str; 2] = ["jazz", "rock"];
const CHANGED: RunOrder = RunOrder { is_whole: false, threads: NonZero::<usize>::MIN };
const WHOLE: RunOrder = RunOrder { is_whole: true, threads: NonZero::<usize>::MIN.saturating_add(1) };

pub async fn recommend_anew(app: &App) {
    app.core.recommender.run(CHANGED, |_| {}).await.unwrap();
}

/// An event of somebody and a song, which is on an album and by an artist that follow from it.
pub fn did(id: impl ToString, event_type: &str, user: &str, song: usize, at_ms: i64) -> Value {
    json!({
        "id": id.to_string(), "type": event_type, "occurredAt": at_ms, "userId": user, "songId": format!("song-{song}"),
        "albumId": format!("album-{}", song / 2), "artistId": format!("artist-{}", song / 4),
        "genre": GENRES[song % 2], "country": "DE",
    })
}

fn random_event(random: &mut StdRng, number: usize) -> Value {
    let types = ["track.played", "track.played", "track.played", "track.liked", "track.unliked", "track.saved"];
    let event_type = types[random.random_range(0..types.len())];
    let user = format!("user-{}", random.random_range(0..9));
    let song = random.random_range(0..12_usize).min(random.random_range(0..12));
    let mut event = did(number, event_type, &user, song, T0 - random.random_range(0..9 * DAY_MS));
    if event_type == "track.played" {
        event["durationMs"] = json!(90_000);
        event["playedMs"] = json!([5_000, 40_000, 89_000][random.random_range(0..3)]);
        if random.random_range(0..4) == 0 {
            event["playlistId"] = json!(format!("playlist-{}", random.random_range(0..3)));
        }
        if random.random_range(0..6) == 0 {
            event["count"] = json!(3);
        }
    }
    event
}

/// What somebody's deeds come to for everything of a kind, worked out from the events.
fn points(events: &[Value], kind: &str) -> BTreeMap<String, BTreeMap<String, f64>> {
    let mut deeds: BTreeMap<(String, String), [f64; 3]> = BTreeMap::new();
    for event in events {
        let times = event["count"].as_f64().unwrap_or(1.0);
        let event_type = event["type"].as_str().unwrap();
        let place = match event_type {
            "track.played" => 0,
            "track.liked" | "track.unliked" => 1,
            _ => 2,
        };
        let each = match event["playedMs"].as_i64() {
            Some(5_000) => 0.1,
            Some(89_000) => 1.5,
            _ if event_type == "track.unliked" => -1.0,
            _ => 1.0,
        };
        // A playlist's listeners are those who played from it.
        let Some(id) = event[format!("{kind}Id")].as_str().filter(|_| kind != "playlist" || place == 0) else {
            continue;
        };
        deeds.entry((event["userId"].as_str().unwrap().to_owned(), id.to_owned())).or_default()[place] += each * times;
    }
    let mut points: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for ((user, id), [plays, likes, saves]) in deeds {
        let said = |count: f64| if count > 0.0 { 3.0 } else { 0.0 };
        let sum = plays + said(likes) + said(saves);
        if sum > 0.0 {
            points.entry(id).or_default().insert(user, sum);
        }
    }
    points
}

/// What is like each thing of a kind: with the shrunk cosine, the listeners in common.
fn similar(events: &[Value], kind: &str, people_min: usize) -> BTreeMap<String, BTreeMap<String, (f64, usize)>> {
    let points = points(events, kind);
    let weight = |points: &f64| points / (points + 1.0);
    let length = |of: &BTreeMap<String, f64>| of.values().map(|points| weight(points).powi(2)).sum::<f64>().sqrt();
    let mut all = BTreeMap::new();
    for (id, own) in &points {
        let mut list = BTreeMap::new();
        for (other, theirs) in points.iter().filter(|(other, theirs)| *other != id && theirs.len() >= 2) {
            let common: Vec<f64> =
                own.iter().filter_map(|(user, one)| Some(weight(one) * weight(theirs.get(user)?))).collect();
            if common.len() >= people_min {
                let score = common.iter().sum::<f64>() / (length(own) * length(theirs) + 4.0);
                list.insert(other.clone(), (score, common.len()));
            }
        }
        all.insert(id.clone(), list);
    }
    all
}

const PARTS: &str = "node { id } score support reason { kind because { id } }";

async fn check_similar(app: &App, events: &[Value], people_min: usize) {
    for kind in ["song", "album", "artist", "playlist"] {
        let expected = similar(events, kind, people_min);
        assert!(expected.values().any(|list| !list.is_empty()), "{kind}");
        let ids = json!(expected.keys().collect::<Vec<_>>());
        let data = app.ask(&format!("{{ {kind}s(ids: {ids}) {{ id similar(first: 100) {{ {PARTS} }} }} }}")).await;
        for told in data[format!("{kind}s")].as_array().unwrap() {
            let id = told["id"].as_str().unwrap();
            let all = told["similar"].as_array().unwrap();
            let (alike, others): (Vec<&Value>, Vec<&Value>) =
                all.iter().partition(|similar| similar["reason"]["kind"] == "LISTENED_TOGETHER");
            let mut last = 1.0;
            for similar in &alike {
                let (score, support) = expected[id][similar["node"]["id"].as_str().unwrap()];
                let told = similar["score"].as_f64().unwrap();
                assert!((told - score).abs() < 1e-4 && told <= last, "{id} {similar} {score}");
                assert_eq!(similar["support"], support, "{id} {similar}");
                assert_eq!(similar["reason"]["because"], json!([{ "id": id }]));
                last = told;
            }
            assert_eq!(alike.len(), expected[id].len(), "{kind} {id}: {told:#}");
            // What is popular follows, and nothing is there twice.
            assert!(others.iter().all(|other| other["score"] == 0.0 && other["support"] == 0), "{told:#}");
            let ids: BTreeSet<&str> = all.iter().map(|similar| similar["node"]["id"].as_str().unwrap()).collect();
            assert!(ids.len() == all.len() && !ids.contains(id), "{told:#}");
        }
    }
}

on_every_database!(what_is_similar_is_a_plain_recount_of_who_took_to_what, |database| {
    let app = App::start_with(&database, Options::at(T0).set("SHOWN_PEOPLE_MIN", 2)).await;
    let mut random = StdRng::seed_from_u64(11);
    let mut events: Vec<Value> = Vec::new();
    for step in 0..4 {
        let new: Vec<Value> =
            (0..[150, 3, 1, 40][step]).map(|number| random_event(&mut random, 1_000 * step + number)).collect();
        app.record(&new).await;
        events.extend(new);
        if step % 2 == 0 {
            app.merge_audience().await;
        }
        // A day later nothing but the clock has changed, and something that was of today is not any more.
        app.set_clock(T0 + step as i64 * DAY_MS);
        recommend_anew(&app).await;
        check_similar(&app, &events, 2).await;
    }
    app.stop().await;
});

/// Everything that recommendations are told from.
async fn stored(app: &App) -> Vec<String> {
    let database = app.core.database.reader();
    let mut all = Vec::new();
    for (table, columns) in [
        ("item", "number, entity_kind, entity_id"),
        ("neighbours", "number, packed"),
        ("taste", "listener, settled, recent"),
    ] {
        let sql = format!("SELECT {columns} FROM {table} ORDER BY 1");
        let rows = database.query_all_raw(Statement::from_string(database.get_database_backend(), sql)).await.unwrap();
        for row in rows {
            all.push(match table {
                "item" => format!("item {:?}", row.try_get_by_index::<String>(2).unwrap()),
                "neighbours" => {
                    let number: i64 = row.try_get_by_index(0).unwrap();
                    format!("neighbours {number} {:?}", row.try_get_by_index::<Vec<u8>>(1).unwrap())
                }
                _ => {
                    let (settled, recent): (Vec<u8>, Vec<u8>) =
                        (row.try_get_by_index(1).unwrap(), row.try_get_by_index(2).unwrap());
                    format!("taste {:?} {settled:?} {recent:?}", row.try_get_by_index::<String>(0).unwrap())
                }
            });
        }
    }
    all
}

on_every_database!(a_run_that_is_cut_off_anywhere_is_made_good_by_the_next, |database| {
    let app = App::start_with(&database, Options::at(T0).set("SHOWN_PEOPLE_MIN", 2)).await;
    let mut random = StdRng::seed_from_u64(5);
    let mut number = 0;
    let mut more = async |app: &App, count: usize| {
        let events: Vec<Value> = (0..count).map(|at| random_event(&mut random, number + at)).collect();
        number += count;
        app.record(&events).await;
    };
    more(&app, 100).await;
    for cut in 0..12 {
        // Cut off at one step after the other: each is awaited in turn.
        let (recommender, steps) =
            (app.core.recommender.clone(), std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
        let count = steps.clone();
        let running = tokio::spawn(async move {
            let on_step = move |_| {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            };
            recommender.run(CHANGED, on_step).await
        });
        while !running.is_finished() && steps.load(std::sync::atomic::Ordering::SeqCst) <= cut / 2 {
            tokio::task::yield_now().await;
        }
        running.abort();
        let _ = running.await;
        more(&app, 2).await;
        // Whoever was cut off still holds the lease: its time passes.
        app.set_clock(T0 + (i64::from(cut as u32) + 1) * 600_000);
    }
    recommend_anew(&app).await;
    let found = stored(&app).await;
    app.core.recommender.run(WHOLE, |_| {}).await.unwrap();
    assert_eq!(found, stored(&app).await);
    assert!(found.iter().any(|row| row.starts_with("neighbours")) && found.iter().any(|row| row.starts_with("taste")));
    // What did not change is not written again.
    let report = app.core.recommender.run(CHANGED, |_| {}).await.unwrap();
    assert_eq!((report.renewed_items, report.changed_listeners), (0, 0));
    app.stop().await;
});

on_every_database!(of_two_runs_at_once_one_does_it, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut random = StdRng::seed_from_u64(5);
    let events: Vec<Value> = (0..60).map(|number| random_event(&mut random, number)).collect();
    app.record(&events).await;
    let recommender = &app.core.recommender;
    let (one, other) = tokio::join!(recommender.run(CHANGED, |_| {}), recommender.run(CHANGED, |_| {}));
    let is_refused = |done: &Result<_, DbError>| matches!(done, Err(DbError::LeaseHeld(_)));
    assert!(one.is_ok() && is_refused(&other) || other.is_ok() && is_refused(&one), "{one:?} {other:?}");
    recommend_anew(&app).await;
    app.stop().await;
});

/// Two circles of listeners who like other songs, with one song each that everybody knows.
pub async fn two_circles(app: &App) {
    let mut events = Vec::new();
    for user in 0..20 {
        for step in 0..4 {
            // Of eight songs of a circle everybody knows four.
            let song = 8 * (user % 2) + (user / 2 + 3 * step) % 8;
            let at_ms = T0 - (1 + step as i64) * DAY_MS;
            let mut event = did(format!("{user}-{step}"), "track.played", &format!("user-{user}"), song, at_ms);
            event["durationMs"] = json!(200_000);
            events.push(event);
        }
    }
    app.record(&events).await;
    app.merge_audience().await;
    recommend_anew(app).await;
}

pub async fn recommended(app: &App, user: &str, input: &str) -> Vec<Value> {
    let query = format!("{{ recommendations(userId: {user:?}, input: {{ {input} }}) {{ {PARTS} }} }}");
    app.ask(&query).await["recommendations"].as_array().unwrap().clone()
}

pub fn ids(recommended: &[Value]) -> Vec<&str> {
    recommended.iter().map(|one| one["node"]["id"].as_str().unwrap()).collect()
}

pub fn number_of(id: &str) -> usize {
    id.rsplit_once('-').unwrap().1.parse().unwrap()
}

on_every_database!(a_listener_is_recommended_what_others_of_their_circle_listen_to, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let known: BTreeSet<usize> = (0..4).map(|step| 3 * step % 8).collect();
    let first = recommended(&app, "user-0", "first: 4, maxPerArtist: 100").await;
    assert_eq!(first.len(), 4);
    for one in &first {
        let id = one["node"]["id"].as_str().unwrap();
        assert!(number_of(id) < 8 && !known.contains(&number_of(id)), "{one}");
        let score = one["score"].as_f64().unwrap();
        assert!(0.0 < score && score <= 1.0, "{one}");
        assert_eq!(one["reason"]["kind"], "LISTENED_TOGETHER");
        let because = one["reason"]["because"].as_array().unwrap();
        assert!(!because.is_empty() && because.len() <= 3, "{one}");
        assert!(because.iter().all(|one| known.contains(&number_of(one["id"].as_str().unwrap()))), "{one}");
        assert!(one["support"].as_i64().is_some_and(|support| support == 0 || support >= 5), "{one}");
    }
    assert_eq!(first[0]["score"], 1.0);
    assert_eq!(first, recommended(&app, "user-0", "first: 4, maxPerArtist: 100").await);

    // What is past the circle is popular, and says so.
    let all = recommended(&app, "user-0", "first: 100, maxPerArtist: 100").await;
    assert_eq!(all.len(), 12);
    assert!(all[4..].iter().all(|one| one["reason"]["kind"] != "LISTENED_TOGETHER" && one["score"] == 0.0), "{all:#?}");
    let with_known = recommended(&app, "user-0", "first: 100, maxPerArtist: 100, excludeKnown: false").await;
    assert_eq!(with_known.len(), 16);

    // One of each artist at most; only jazz.
    let few = recommended(&app, "user-0", "first: 100, maxPerArtist: 1").await;
    let artists: BTreeSet<usize> = ids(&few).iter().map(|id| number_of(id) / 4).collect();
    assert_eq!((artists.len(), few.len()), (4, 4));
    let jazz = recommended(&app, "user-0", r#"first: 100, maxPerArtist: 100, genres: ["jazz"]"#).await;
    assert!(!jazz.is_empty() && ids(&jazz).iter().all(|id| number_of(id).is_multiple_of(2)), "{jazz:#?}");

    // Albums and artists follow from songs.
    let albums = recommended(&app, "user-0", "of: ALBUM, first: 1").await;
    assert!(albums.is_empty() || albums[0]["node"]["id"].as_str().unwrap().starts_with("album-"), "{albums:#?}");
    let artists = recommended(&app, "user-0", "of: ARTIST, first: 10, excludeKnown: false").await;
    assert!(ids(&artists)[..2].iter().all(|id| number_of(id) < 2), "{artists:#?}");

    // A like of a second ago already matters, and is known.
    app.record(&[did("like", "track.liked", "user-0", 9, T0 - 1_000)]).await;
    let after = recommended(&app, "user-0", "first: 8, maxPerArtist: 100").await;
    let of_the_other: Vec<&Value> =
        after.iter().filter(|one| number_of(one["node"]["id"].as_str().unwrap()) >= 8 && one["score"] != 0.0).collect();
    assert!(!of_the_other.is_empty() && !ids(&after).contains(&"song-9"), "{after:#?}");
    for one in of_the_other {
        assert_eq!(one["reason"]["kind"], "LIKED_SIMILAR");
        assert_eq!(one["reason"]["because"], json!([{"id": "song-9"}]));
    }
    // Of the next day on it is what the run of that day noted.
    app.set_clock(T0 + DAY_MS);
    let kept = recommended(&app, "user-0", "first: 8, maxPerArtist: 100").await;
    recommend_anew(&app).await;
    assert_eq!(ids(&kept), ids(&recommended(&app, "user-0", "first: 8, maxPerArtist: 100").await));
    app.stop().await;
});

on_every_database!(who_is_new_gets_what_is_popular_in_their_country_or_genres, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = Vec::new();
    for (song, (listeners, country)) in [(6, "FR"), (9, "DE"), (7, "FR"), (3, "DE")].into_iter().enumerate() {
        for user in 0..listeners {
            let mut event =
                did(format!("{song}-{user}"), "track.played", &format!("{country}-{user}"), song, T0 - DAY_MS);
            event["country"] = json!(country);
            events.push(event);
        }
    }
    let login =
        json!({"id": "login", "type": "user.logged_in", "userId": "new", "country": "FR", "occurredAt": T0 - 60_000});
    app.record(&events).await;
    app.record(&[login]).await;
    for _ in 0..2 {
        for user in ["new", "nobody"] {
            let popular = recommended(&app, user, "first: 4, maxPerArtist: 9").await;
            let in_order = if user == "new" { [2, 0, 1, 3] } else { [1, 2, 0, 3] };
            assert_eq!(ids(&popular), in_order.map(|song| format!("song-{song}")), "{user}");
            for one in &popular {
                assert_eq!(one["reason"], json!({"kind": "POPULAR", "because": []}), "{user}");
                assert_eq!((&one["score"], &one["support"]), (&json!(0.0), &json!(0)));
            }
        }
        let rock = recommended(&app, "new", r#"first: 4, maxPerArtist: 9, genres: ["rock"]"#).await;
        assert_eq!(ids(&rock), ["song-1", "song-3"]);
        assert!(rock.iter().all(|one| one["reason"]["kind"] == "POPULAR"));
        recommend_anew(&app).await;
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_goes_from_what_many_know_to_what_few_do() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = Vec::new();
    // Everybody who knows song 0 knows one of two others; one of these is a hit with others, too.
    for user in 0..60 {
        for (song, knows) in [(0, user < 20), (4, !(10..20).contains(&user)), (8, (10..20).contains(&user))] {
            if knows {
                events.push(did(format!("{user}-{song}"), "track.played", &format!("user-{user}"), song, T0 - DAY_MS));
            }
        }
    }
    events.push(did("one", "track.played", "one", 0, T0 - DAY_MS));
    app.record(&events).await;
    recommend_anew(&app).await;
    let rare = recommended(&app, "one", "first: 2, discovery: 1").await;
    assert_eq!(ids(&rare), ["song-8", "song-4"]);
    let scores = |discovery: &str| {
        let (app, input) = (&app, format!("first: 2, discovery: {discovery}"));
        async move {
            let both = recommended(app, "one", &input).await;
            let of = |id: &str| both.iter().find(|one| one["node"]["id"] == id).unwrap()["score"].as_f64().unwrap();
            of("song-4") / of("song-8")
        }
    };
    let (known, middle, rare) = (scores("0").await, scores("0.5").await, scores("1").await);
    assert!(known > middle && middle > rare, "{known} {middle} {rare}");
    app.stop().await;
}

pub async fn mutate(app: &App, token: &str, mutation: &str) -> Value {
    let answer = app.graphql(Some(token), &format!("mutation {{ {mutation} }}"), json!({})).await;
    assert!(answer.get("errors").is_none(), "{mutation}\n{answer:#}");
    answer["data"].clone()
}

on_every_database!(what_is_dismissed_is_nowhere_until_it_expires_or_is_taken_back, |database| {
    let app = App::start_with(&database, Options::at(T0).set("SHOWN_PEOPLE_MIN", 1)).await;
    two_circles(&app).await;
    let token = listener("user-0");
    let everywhere = async |app: &App| -> BTreeSet<String> {
        let query = format!(
            r#"{{ viewer {{ user {{ recommendations(input: {{first: 100, maxPerArtist: 100}}) {{ {PARTS} }} }} }}
                song(id: "song-0") {{ similar(first: 100) {{ {PARTS} }} }}
                assistedPlaylist(input: {{seeds: ["song-3"], length: 100, maxPerArtist: 100}}) {{ entries {{ {PARTS} }} }} }}"#
        );
        let answer = app.graphql(Some(&token), &query, json!({})).await;
        assert!(answer.get("errors").is_none(), "{answer:#}");
        let data = &answer["data"];
        let lists = [
            &data["viewer"]["user"]["recommendations"],
            &data["song"]["similar"],
            &data["assistedPlaylist"]["entries"],
        ];
        lists.iter().flat_map(|list| ids(list.as_array().unwrap())).map(str::to_owned).collect()
    };
    let before = everywhere(&app).await;
    assert!(
        ["song-4", "song-8", "song-9", "song-10", "song-11"].iter().all(|song| before.contains(*song)),
        "{before:?}"
    );
    let expires = rfc3339(T0 + 3_600_000);
    let noted = mutate(&app, &token, &format!(
        r#"a: dismissRecommendation(input: {{entity: {{kind: SONG, id: "song-4"}}, expiresAt: "{expires}"}}) {{
            dismissal {{ node {{ id }} dismissedAt expiresAt }} }}
        b: dismissRecommendation(input: {{entity: {{kind: ARTIST, id: "artist-2"}}}}) {{ dismissal {{ node {{ id }} expiresAt }} }}"#
    )).await;
    assert_eq!(noted["a"]["dismissal"]["expiresAt"], expires);
    assert_eq!(noted["b"]["dismissal"], json!({"node": {"id": "artist-2"}, "expiresAt": null}));
    let without: BTreeSet<String> = everywhere(&app).await;
    let gone: Vec<&str> = before.difference(&without).map(String::as_str).collect();
    assert_eq!(gone, ["song-10", "song-11", "song-4", "song-8", "song-9"]);
    // Nobody else is concerned.
    let others = recommended(&app, "user-2", "first: 100, maxPerArtist: 100, excludeKnown: false").await;
    assert!(ids(&others).contains(&"song-4") && ids(&others).contains(&"song-9"));

    let listed = app.ask(r#"{ user(id: "user-0") { dismissals { node { id } } } }"#).await;
    assert_eq!(listed["user"]["dismissals"], json!([{"node": {"id": "song-4"}}, {"node": {"id": "artist-2"}}]));
    app.set_clock(T0 + 3_600_000);
    assert!(everywhere(&app).await.contains("song-4"));
    let restore = r#"restoreRecommendation(input: {entity: {kind: ARTIST, id: "artist-2"}}) { wasDismissed }"#;
    assert_eq!(mutate(&app, &token, restore).await["restoreRecommendation"]["wasDismissed"], true);
    assert_eq!(mutate(&app, &token, restore).await["restoreRecommendation"]["wasDismissed"], false);
    assert_eq!(everywhere(&app).await, before);
    app.stop().await;
});

on_every_database!(who_is_erased_is_new, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let dismiss = r#"dismissRecommendation(input: {userId: "user-0", entity: {kind: SONG, id: "song-9"}}) { dismissal { dismissedAt } }"#;
    mutate(&app, &app.admin(), dismiss).await;
    mutate(&app, &app.admin(), r#"eraseUser(id: "user-0") { status }"#).await;
    for _ in 0..2 {
        let all = recommended(&app, "user-0", "first: 100, maxPerArtist: 100").await;
        assert!(all.len() == 16 && all.iter().all(|one| one["reason"]["kind"] == "POPULAR"), "{all:#?}");
        recommend_anew(&app).await;
    }
    // Dismissals of somebody who did nothing are gone as well.
    let dismiss = r#"dismissRecommendation(input: {userId: "quiet", entity: {kind: SONG, id: "song-9"}}) { dismissal { dismissedAt } }"#;
    mutate(&app, &app.admin(), dismiss).await;
    assert_eq!(recommended(&app, "quiet", "first: 100, maxPerArtist: 100").await.len(), 15);
    let erased = mutate(&app, &app.admin(), r#"eraseUser(id: "quiet") { status }"#).await;
    assert_eq!(erased["eraseUser"]["status"], "ERASED");
    assert_eq!(recommended(&app, "quiet", "first: 100, maxPerArtist: 100").await.len(), 16);
    app.stop().await;
});

pub async fn assisted(app: &App, input: &str) -> Value {
    let query =
        format!("{{ assistedPlaylist(input: {{ {input} }}) {{ entries {{ {PARTS} }} durationMs shortfall }} }}");
    app.ask(&query).await["assistedPlaylist"].clone()
}

on_every_database!(a_playlist_is_made_of_what_goes_with_its_seeds, |database| {
    let app = App::start_with(&database, Options::at(T0).set("SHOWN_PEOPLE_MIN", 1)).await;
    two_circles(&app).await;
    let catalogue = r#"upsertCatalog(input: {
        playlists: [{id: "mine", title: "Mine", songIds: ["song-0", "song-3"]}]
        songs: [{id: "song-5", durationMs: 400000}] }) { rejected }"#;
    mutate(&app, &app.admin(), catalogue).await;

    let of_song = assisted(&app, r#"seeds: ["song-1"], length: 6, maxPerArtist: 3"#).await;
    let entries = of_song["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &of_song["shortfall"]), (6, &Value::Null));
    assert!(ids(entries).iter().all(|id| number_of(id) < 8 && *id != "song-1"), "{of_song:#}");
    assert!(entries.iter().all(|one| one["reason"]["because"] == json!([{"id": "song-1"}])), "{of_song:#}");
    // Three of each of two artists, by turns.
    let artists: Vec<usize> = ids(entries).iter().map(|id| number_of(id) / 4).collect();
    assert!(artists.windows(2).all(|two| two[0] != two[1]), "{artists:?}");
    assert_eq!(of_song, assisted(&app, r#"seeds: ["song-1"], length: 6, maxPerArtist: 3"#).await);

    // An artist's own songs go with them; a playlist's songs are in it already.
    let of_artist = assisted(&app, r#"seeds: ["artist-0"], length: 4, maxPerArtist: 2"#).await;
    assert!(ids(of_artist["entries"].as_array().unwrap()).iter().any(|id| number_of(id) < 4), "{of_artist:#}");
    let of_list = assisted(&app, r#"seeds: ["mine"], length: 6, maxPerArtist: 9"#).await;
    let of_list_ids = ids(of_list["entries"].as_array().unwrap());
    assert!(
        of_list_ids.len() == 6 && !of_list_ids.contains(&"song-0") && !of_list_ids.contains(&"song-3"),
        "{of_list:#}"
    );
    assert_eq!(of_list["entries"][0]["reason"]["because"], json!([{"id": "mine"}]));

    // As much that is known as not; the listener knows songs 0, 1, 3 and 6.
    let known = |list: &Value| {
        ids(list["entries"].as_array().unwrap()).iter().filter(|id| [0, 1, 3, 6].contains(&number_of(id))).count()
    };
    for (share, expected) in [(0.0, 0), (0.34, 1), (0.67, 2)] {
        let input = format!(r#"seeds: ["song-2"], length: 3, maxPerArtist: 9, userId: "user-0", knownShare: {share}"#);
        let mixed = assisted(&app, &input).await;
        assert_eq!((known(&mixed), mixed["entries"].as_array().unwrap().len()), (expected, 3), "{mixed:#}");
    }

    // Songs are 200 s long, but for one.
    let short = assisted(&app, r#"seeds: ["song-1"], length: 20, maxPerArtist: 9, maxDurationMs: 700000"#).await;
    assert!(short["durationMs"].as_i64().unwrap() <= 700_000, "{short:#}");
    assert_eq!(short["entries"].as_array().unwrap().len(), 3, "{short:#}");
    assert!(short["shortfall"].as_str().unwrap().contains("maxDurationMs"), "{short:#}");

    let nothing = assisted(
        &app,
        r#"seeds: ["song-1"], exclude: ["artist-0", "artist-1", "artist-2", "artist-3"], maxPerArtist: 9"#,
    )
    .await;
    assert_eq!((&nothing["entries"], &nothing["durationMs"]), (&json!([]), &json!(0)));
    assert!(nothing["shortfall"].as_str().unwrap().starts_with("0 of 25 songs: "), "{nothing:#}");
    assert!(nothing["shortfall"].as_str().unwrap().contains("kept out: 16 in the seeds or in exclude"), "{nothing:#}");
    let some = assisted(&app, r#"seeds: ["song-1"], exclude: ["song-2", "album-2"], maxPerArtist: 99"#).await;
    let left: BTreeSet<usize> = ids(some["entries"].as_array().unwrap()).iter().map(|id| number_of(id)).collect();
    assert!(left.len() == 12 && left.is_disjoint(&BTreeSet::from([1, 2, 4, 5])), "{left:?}");
    app.stop().await;
});

on_every_database!(merges_and_the_catalogue_are_followed, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    mutate(
        &app,
        &app.admin(),
        r#"mergeEntities(input: {kind: SONG, fromId: "song-2", intoId: "song-5"}) { entity { id } }"#,
    )
    .await;
    for _ in 0..2 {
        let all = recommended(&app, "user-0", "first: 100, maxPerArtist: 100").await;
        assert!(!ids(&all).contains(&"song-2") && ids(&all).contains(&"song-5"), "{all:#?}");
        let similar = app.ask(r#"{ song(id: "song-2") { id similar(first: 100) { node { id } } } }"#).await;
        assert_eq!(similar["song"]["id"], "song-5");
        let similar = similar["song"]["similar"].as_array().unwrap();
        assert!(!ids(similar).contains(&"song-2") && !ids(similar).contains(&"song-5"), "{similar:#?}");
        recommend_anew(&app).await;
    }
    // Other artists' songs alone.
    let others = app.ask(r#"{ song(id: "song-0") { similar(first: 100, otherArtists: true) { node { id } } } }"#).await;
    let others = others["song"]["similar"].as_array().unwrap();
    assert!(!others.is_empty() && ids(others).iter().all(|id| number_of(id) >= 4), "{others:#?}");
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_listens_to_yet_is_like_what_is_popular_of_its_genre() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let catalogue = r#"upsertCatalog(input: {songs: [
        {id: "new", title: "New", genres: ["jazz"], credits: [{artistId: "artist-9", role: MAIN}]},
        {id: "blank", title: "Blank"}] }) { rejected }"#;
    mutate(&app, &app.admin(), catalogue).await;
    let data = app.ask(&format!(
        r#"{{ new: song(id: "new") {{ similar(first: 10) {{ {PARTS} }} }} blank: song(id: "blank") {{ similar(first: 3) {{ {PARTS} }} }} }}"#
    )).await;
    let similar = data["new"]["similar"].as_array().unwrap();
    let kinds: Vec<&str> = similar.iter().map(|one| one["reason"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, [["SAME_GENRE"; 8].as_slice(), &["POPULAR"; 2]].concat());
    assert!(
        similar[..8].iter().all(|one| number_of(one["node"]["id"].as_str().unwrap()).is_multiple_of(2)),
        "{similar:#?}"
    );
    assert_eq!(similar[0]["reason"]["because"], json!([{"id": "new"}]));
    let blank = data["blank"]["similar"].as_array().unwrap();
    assert!(blank.len() == 3 && blank.iter().all(|one| one["reason"] == json!({"kind": "POPULAR", "because": []})));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_questions_are_told_what_is_wrong_with_them() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    two_circles(&app).await;
    let genres = json!(vec!["jazz"; 21]);
    let admin = app.admin();
    let past = rfc3339(T0);
    for (question, field, words) in [
        (r#"recommendations(userId: "user-0", input: {first: 0}) { score }"#.to_owned(), "first", "between 1 and 100"),
        (
            r#"recommendations(userId: "user-0", input: {first: 101}) { score }"#.to_owned(),
            "first",
            "between 1 and 100",
        ),
        (
            r#"recommendations(userId: "user-0", input: {discovery: 2}) { score }"#.to_owned(),
            "discovery",
            "between 0 and 1",
        ),
        (
            r#"recommendations(userId: "user-0", input: {discovery: -0.1}) { score }"#.to_owned(),
            "discovery",
            "between 0 and 1",
        ),
        (
            r#"recommendations(userId: "user-0", input: {maxPerArtist: 0}) { score }"#.to_owned(),
            "maxPerArtist",
            "between 1 and 500",
        ),
        (
            format!(r#"recommendations(userId: "user-0", input: {{genres: {genres}}}) {{ score }}"#),
            "genres",
            "the limit is 20",
        ),
        (
            r#"recommendations(userId: "user-0", input: {of: PLAYLIST, genres: ["jazz"]}) { score }"#.to_owned(),
            "genres",
            "have none",
        ),
        (r#"song(id: "song-1") { similar(first: 101) { score } }"#.to_owned(), "first", "between 1 and 100"),
        (r#"assistedPlaylist(input: {seeds: []}) { shortfall }"#.to_owned(), "seeds", "1 to 100"),
        (r#"assistedPlaylist(input: {seeds: ["song-1", "x", "y"]}) { shortfall }"#.to_owned(), "seeds", r#""x", "y""#),
        (
            r#"assistedPlaylist(input: {seeds: ["song-1"], seedsAre: ARTIST}) { shortfall }"#.to_owned(),
            "seeds",
            r#""song-1""#,
        ),
        (
            r#"assistedPlaylist(input: {seeds: ["song-1"], length: 0}) { shortfall }"#.to_owned(),
            "length",
            "between 1 and 500",
        ),
        (
            r#"assistedPlaylist(input: {seeds: ["song-1"], length: 501}) { shortfall }"#.to_owned(),
            "length",
            "between 1 and 500",
        ),
        (
            r#"assistedPlaylist(input: {seeds: ["song-1"], discovery: 2}) { shortfall }"#.to_owned(),
            "discovery",
            "between 0 and 1",
        ),
        (
            r#"assistedPlaylist(input: {seeds: ["song-1"], knownShare: 0.5}) { shortfall }"#.to_owned(),
            "knownShare",
            "needs a listener",
        ),
        (
            r#"assistedPlaylist(input: {seeds: ["song-1"], userId: "user-0", knownShare: 1.5}) { shortfall }"#
                .to_owned(),
            "knownShare",
            "between 0 and 1",
        ),
        (
            r#"assistedPlaylist(input: {seeds: ["song-1"], maxDurationMs: 0}) { shortfall }"#.to_owned(),
            "maxDurationMs",
            "at least 1",
        ),
    ] {
        let answer = app.graphql(Some(&admin), &format!("{{ {question} }}"), json!({})).await;
        let error = &answer["errors"][0];
        assert_eq!(
            (&error["extensions"]["code"], &error["extensions"]["field"]),
            (&json!("BAD_USER_INPUT"), &json!(field)),
            "{question}\n{answer:#}"
        );
        assert!(error["message"].as_str().unwrap().contains(words), "{question}\n{answer:#}");
    }
    for (mutation, field, words) in [
        (r#"dismissRecommendation(input: {entity: {kind: SONG, id: "song-1"}}) { dismissal { dismissedAt } }"#.to_owned(), "userId", "is needed"),
        (r#"dismissRecommendation(input: {userId: "a", entity: {kind: SONG, id: "x"}}) { dismissal { dismissedAt } }"#.to_owned(), "entity", "no song"),
        (
            format!(r#"dismissRecommendation(input: {{userId: "a", entity: {{kind: SONG, id: "song-1"}}, expiresAt: "{past}"}}) {{ dismissal {{ dismissedAt }} }}"#),
            "expiresAt",
            "in the future",
        ),
        (r#"restoreRecommendation(input: {entity: {kind: SONG, id: "song-1"}}) { wasDismissed }"#.to_owned(), "userId", "is needed"),
    ] {
        let answer = app.graphql(Some(&admin), &format!("mutation {{ {mutation} }}"), json!({})).await;
        let error = &answer["errors"][0];
        assert_eq!((&error["extensions"]["code"], &error["extensions"]["field"]), (&json!("BAD_USER_INPUT"), &json!(field)), "{mutation}\n{answer:#}");
        assert!(error["message"].as_str().unwrap().contains(words), "{mutation}\n{answer:#}");
    }
    // Others' are for admins.
    for question in [
        r#"{ recommendations(userId: "user-1") { score } }"#,
        r#"{ assistedPlaylist(input: {seeds: ["song-1"], userId: "user-1"}) { shortfall } }"#,
        r#"mutation { dismissRecommendation(input: {userId: "user-1", entity: {kind: SONG, id: "song-1"}}) { dismissal { dismissedAt } } }"#,
        r#"{ recommendationQuality { items } }"#,
    ] {
        for token in [listener("user-0"), app.token("artist", &["artist-0"])] {
            let answer = app.graphql(Some(&token), question, json!({})).await;
            assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{question}\n{answer:#}");
        }
    }
    app.stop().await;
}
