//! Lists of single events against a plain look over all of them: every filter, pages from both ends, whose events an
//! artist sees and what of them, and how much is read for one answer.

use std::{cmp::Reverse, collections::BTreeSet};

use backbeat::domain::naming::hash128;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options},
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

const PAGE: &str = "query ($where: EventFilter, $first: Int, $after: String, $last: Int, $before: String) {
    events(where: $where, first: $first, after: $after, last: $last, before: $before) {
        nodes { id type occurredAt playedMs }
        edges { cursor }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }";

/// A page, which must have no errors.
async fn page(app: &App, token: &str, variables: Value) -> Value {
    let answer = app.graphql(Some(token), PAGE, variables.clone()).await;
    assert!(answer.get("errors").is_none(), "{variables}\n{answer:#}");
    answer["data"]["events"].clone()
}

/// The number of each event of a page: in these tests all say it as the time that was heard.
fn numbers(page: &Value) -> Vec<i64> {
    page["nodes"].as_array().unwrap().iter().map(|event| event["playedMs"].as_i64().unwrap()).collect()
}

/// All events of a filter on pages of one size, from the newest on; and how many pages that took.
async fn walk(app: &App, token: &str, filter: &Value, size: usize) -> (Vec<i64>, usize) {
    let (mut all, mut after, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let page = page(app, token, json!({"where": filter, "first": size, "after": after})).await;
        let found = numbers(&page);
        assert!(found.len() <= size && pages < 1_000, "{filter} {page:#}");
        assert_eq!(page["pageInfo"]["hasPreviousPage"], !after.is_null(), "{filter}");
        all.extend(found);
        pages += 1;
        if page["pageInfo"]["hasNextPage"] == false {
            return (all, pages);
        }
        assert_ne!(page["pageInfo"]["endCursor"], after, "{filter}: the next page is the same");
        after = page["pageInfo"]["endCursor"].clone();
    }
}

/// The same from the oldest on.
async fn walk_back(app: &App, token: &str, filter: &Value, size: usize) -> (Vec<i64>, usize) {
    let (mut all, mut before, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let page = page(app, token, json!({"where": filter, "last": size, "before": before})).await;
        let mut found = numbers(&page);
        assert!(found.len() <= size && pages < 1_000, "{filter} {page:#}");
        assert_eq!(page["pageInfo"]["hasNextPage"], !before.is_null(), "{filter}");
        found.extend(all);
        all = found;
        pages += 1;
        if page["pageInfo"]["hasPreviousPage"] == false {
            return (all, pages);
        }
        assert_ne!(page["pageInfo"]["startCursor"], before, "{filter}: the page before is the same");
        before = page["pageInfo"]["startCursor"].clone();
    }
}

async fn total(app: &App, token: &str, filter: &Value) -> Value {
    let query = "query ($where: EventFilter) { events(where: $where) { totalCount { value isExact } } }";
    let answer = app.graphql(Some(token), query, json!({ "where": filter })).await;
    assert!(answer.get("errors").is_none(), "{filter}\n{answer:#}");
    answer["data"]["events"]["totalCount"].clone()
}

const TYPES: [&str; 10] = [
    "track.played",
    "track.played",
    "track.liked",
    "album.saved",
    "playlist.liked",
    "playlist.track_added",
    "artist.followed",
    "order.paid",
    "ui.clicked",
    "user.logged_in",
];

/// An event of any type, at few enough moments that many share one.
fn random_event(random: &mut StdRng, number: i64) -> Value {
    let at_ms = T0 - random.random_range(0..12) * DAY_MS / 2 - random.random_range(0..8) * MINUTE_MS;
    let event_type = TYPES[random.random_range(0..TYPES.len())];
    let mut event = json!({
        "id": format!("event-{number}"), "type": event_type,
        "occurredAt": at_ms, "playedMs": 30_000 + number, "amount": "1.00", "currency": "EUR",
        "songId": format!("song-{}", random.random_range(1..5)),
        "albumId": format!("album-{}", random.random_range(1..4)),
        "playlistId": format!("playlist-{}", random.random_range(1..3)),
        "artistId": format!("artist-{}", random.random_range(1..5)),
        "userId": format!("user-{}", random.random_range(0..8)),
        "genre": (["pop", "rock"][random.random_range(0..2)]), "country": (["DE", "FR"][random.random_range(0..2)]),
        "properties": {"plan": {"name": (["solo", "family"][random.random_range(0..2)])}, "number": number % 3},
    });
    // What a type cannot do without stays.
    let needed: &[&str] = match event["type"].as_str().unwrap() {
        "track.played" | "track.liked" => &["songId"],
        "album.saved" => &["albumId"],
        "playlist.liked" => &["playlistId"],
        "playlist.track_added" => &["playlistId", "songId"],
        "artist.followed" => &["artistId"],
        "user.logged_in" => &["userId"],
        _ => &[],
    };
    for field in ["songId", "albumId", "playlistId", "artistId", "userId", "genre", "country", "properties"] {
        if !needed.contains(&field) && random.random_range(0..3) == 0 {
            event.as_object_mut().unwrap().remove(field);
        }
    }
    event
}

/// What the catalogue's owner has said before anything happens.
fn catalogue() -> Value {
    let credit = |artist: &str, role: &str| json!({"artistId": artist, "role": role});
    json!({
        "songs": [{
            "id": "song-1", "albumId": "album-3",
            "credits": [credit("artist-1", "MAIN"), credit("artist-2", "REMIXER"), credit("artist-3", "FEATURED")],
        }],
        "albums": [{"id": "album-1", "credits": [credit("artist-2", "MAIN")]}],
    })
}

/// What an event is about, by the rules once more, as plainly as they can be written.
fn concerned(event: &Value, kind: &str) -> Vec<String> {
    let named = |kind: &str| event[format!("{kind}Id")].as_str().map(str::to_owned);
    let event_type = event["type"].as_str().unwrap();
    let work = match event_type {
        "track.played" | "track.liked" | "playlist.track_added" => named("song"),
        "album.saved" => named("album"),
        "order.paid" => named("song").or(named("album")),
        _ => None,
    };
    let artists = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
    match (kind, work.as_deref()) {
        ("artist", Some("song-1")) => artists(&["artist-1", "artist-2", "artist-3"]),
        ("artist", Some("album-1")) => artists(&["artist-2"]),
        ("album", Some("song-1")) if event_type == "track.played" => vec!["album-3".to_owned()],
        _ => named(kind).into_iter().collect(),
    }
}

/// What is merged: song-3 into song-4, artist-4 into artist-1.
fn canonical(id: &str) -> &str {
    match id {
        "song-3" => "song-4",
        "artist-4" => "artist-1",
        other => other,
    }
}

fn is_of(event: &Value, kind: &str, id: &str) -> bool {
    concerned(event, kind).iter().any(|concerned| canonical(concerned) == canonical(id))
}

/// Whether an event is as a filter says.
fn fits(event: &Value, filter: &Value) -> bool {
    let at_ms = event["occurredAt"].as_i64().unwrap();
    filter.as_object().unwrap().iter().all(|(field, asked)| match field.as_str() {
        "types" => asked.as_array().unwrap().contains(&event["type"]),
        "userId" | "genre" | "country" => event[field] == *asked,
        "entity" => {
            let kind = asked["kind"].as_str().unwrap().to_lowercase();
            is_of(event, &kind, asked["id"].as_str().unwrap())
        }
        "during" => {
            let between = &asked["between"];
            (between["from"].as_i64().unwrap()..between["to"].as_i64().unwrap()).contains(&at_ms)
        }
        "propertyEquals" => asked.as_array().unwrap().iter().all(|asked| {
            let pointer = format!("/{}", asked["path"].as_str().unwrap().replace('.', "/"));
            event["properties"].pointer(&pointer) == Some(&asked["value"])
        }),
        other => panic!("{other}"),
    })
}

/// The numbers of events in the order of lists.
fn in_order<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<i64> {
    let mut events: Vec<&Value> = events.collect();
    events.sort_by_key(|event| {
        Reverse((event["occurredAt"].as_i64().unwrap(), hash128(&["platform", event["id"].as_str().unwrap()])))
    });
    events.iter().map(|event| event["playedMs"].as_i64().unwrap()).collect()
}

fn random_filter(random: &mut StdRng) -> Value {
    let mut filter = json!({});
    let mut is_chosen = |one_in: u32| random.random_range(0..one_in) == 0;
    let chosen: Vec<&str> = ["types", "userId", "entity", "during", "propertyEquals", "genre", "country"]
        .into_iter()
        .filter(|field| is_chosen(if matches!(*field, "entity" | "types") { 2 } else { 5 }))
        .collect();
    for field in chosen {
        let from = T0 - random.random_range(0..6 * DAY_MS);
        let (kind, ids) = [("SONG", 5), ("ALBUM", 4), ("PLAYLIST", 3), ("ARTIST", 5)][random.random_range(0..4)];
        filter[field] = match field {
            "types" => json!([TYPES[random.random_range(0..TYPES.len())], TYPES[random.random_range(0..TYPES.len())]]),
            "userId" => json!(format!("user-{}", random.random_range(0..8))),
            "entity" => json!({"kind": kind, "id": format!("{}-{}", kind.to_lowercase(), random.random_range(1..ids))}),
            "during" => json!({"between": {"from": from, "to": from + random.random_range(1..3 * DAY_MS)}}),
            "propertyEquals" => json!([{"path": "plan.name", "value": "solo"}]),
            "genre" => json!("pop"),
            _ => json!("DE"),
        };
    }
    filter
}

/// So many that a list of all takes several steps.
const EVENTS: i64 = 900;

async fn fill(app: &App, random: &mut StdRng) -> Vec<Value> {
    let upsert = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { rejected } }";
    let answer = app.graphql(Some(&app.admin()), upsert, json!({"input": catalogue()})).await;
    assert_eq!(answer["data"]["upsertCatalog"]["rejected"], 0, "{answer:#}");
    let events: Vec<Value> = (0..EVENTS).map(|number| random_event(random, number)).collect();
    app.record(&events).await;
    for (kind, from, into) in [("SONG", "song-3", "song-4"), ("ARTIST", "artist-4", "artist-1")] {
        let merge = format!(
            r#"mutation {{ mergeEntities(input: {{kind: {kind}, fromId: "{from}", intoId: "{into}"}}) {{ entity {{ id }} }} }}"#
        );
        app.ask(&merge).await;
    }
    events
}

on_every_database!(every_filter_finds_what_a_plain_look_finds_on_pages_of_any_size_from_both_ends, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut random = StdRng::seed_from_u64(4);
    let events = fill(&app, &mut random).await;
    let admin = app.admin();
    let moment = events[0]["occurredAt"].as_i64().unwrap();
    let mut filters = vec![
        json!({}),
        json!({"types": ["ui.clicked", "order.paid"]}),
        json!({"userId": "user-3"}),
        json!({"entity": {"kind": "ALBUM", "id": "album-3"}}),
        json!({"entity": {"kind": "ARTIST", "id": "artist-3"}}),
        json!({"entity": {"kind": "SONG", "id": "song-3"}}),
        json!({"entity": {"kind": "SONG", "id": "nothing"}}),
        json!({"types": ["no.such"]}),
        // A single moment, and the one before it.
        json!({"during": {"between": {"from": moment, "to": moment + 1}}}),
        json!({"during": {"between": {"from": moment - 1, "to": moment}}}),
        json!({"propertyEquals": [{"path": "plan.name", "value": "solo"}, {"path": "number", "value": 2}]}),
        json!({"propertyEquals": [{"path": "plan", "value": null}]}),
        json!({"genre": "rock", "country": "FR"}),
    ];
    filters.extend((0..40).map(|_| random_filter(&mut random)));
    let mut found = 0;
    for filter in filters {
        let expected = in_order(events.iter().filter(|event| fits(event, &filter)));
        let size = [7, 50, 200][random.random_range(0..3)].min(expected.len().max(1));
        assert_eq!(walk(&app, &admin, &filter, size).await.0, expected, "{filter} forward by {size}");
        assert_eq!(walk_back(&app, &admin, &filter, size).await.0, expected, "{filter} backward by {size}");
        assert_eq!(total(&app, &admin, &filter).await, json!({"value": expected.len(), "isExact": true}), "{filter}");
        found += expected.len();
    }
    assert!(found > 3 * events.len(), "the filters find only {found} events in all");
    app.stop().await;
});

on_every_database!(an_artist_sees_what_is_credited_to_them_and_nothing_else, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut random = StdRng::seed_from_u64(5);
    let events = fill(&app, &mut random).await;
    for artists in [&["artist-1"][..], &["artist-2"], &["artist-3"], &["artist-2", "artist-4"], &["artist-9"]] {
        let token = app.token("artist", artists);
        let is_own = |event: &&Value| artists.iter().any(|artist| is_of(event, "artist", artist));
        let own_entity = json!({"kind": "ARTIST", "id": artists[0]});
        for filter in [
            json!({}),
            json!({"types": ["ui.clicked", "track.played"]}),
            json!({"types": ["order.paid"]}),
            json!({ "entity": own_entity }),
            json!({"during": {"between": {"from": T0 - 3 * DAY_MS, "to": T0 - DAY_MS}}}),
        ] {
            let expected = in_order(events.iter().filter(is_own).filter(|event| fits(event, &filter)));
            assert_eq!(walk(&app, &token, &filter, 40).await.0, expected, "{artists:?} {filter}");
            assert_eq!(walk_back(&app, &token, &filter, 40).await.0, expected, "{artists:?} {filter}");
            assert_eq!(total(&app, &token, &filter).await["value"], expected.len(), "{artists:?} {filter}");
        }
    }
    app.stop().await;
});

/// Streams of song-1 by artist-1 (and one of artist-2's song) from many people in Germany on phones, few in France, and
/// one person in Iceland on something of their own.
fn plays_of_many_and_few() -> Vec<Value> {
    let mut events = Vec::new();
    let mut add = |user: &str, country: &str, source: &str, device: &str| {
        let number = events.len();
        events.push(json!({
            "id": format!("secret-{user}-{number}"), "type": "track.played",
            "occurredAt": T0 - HOUR_MS - number as i64,
            "userId": user, "songId": "song-1", "artistId": "artist-1", "playedMs": 30_000 + number, "genre": "pop",
            "country": country, "source": source, "device": device, "properties": {"mail": format!("{user}@x")},
        }));
    };
    for number in 0..9 {
        add(&format!("user-{number}"), "DE", "search", "phone");
    }
    for number in 10..14 {
        add(&format!("user-{number}"), "FR", "radio", "phone");
    }
    add("user-20", "IS", "jukebox", "toaster");
    let mut of_another = events[0].clone();
    for (field, value) in [("id", "other"), ("songId", "song-2"), ("artistId", "artist-2"), ("genre", "rock")] {
        of_another[field] = json!(value);
    }
    of_another["playedMs"] = json!(40_000);
    events.push(of_another);
    events
}

const EVERYTHING: &str = "query ($where: EventFilter) { events(where: $where, last: 200) { nodes {
    id type userId anonymousId pseudonym genre country listeningSource device source properties playedMs receivedAt
    entity { id } song { id title } album { id } playlist { id } artist { id } count amount { amount currency }
} } }";

async fn everything(app: &App, token: &str, filter: Value) -> Vec<Value> {
    let answer = app.graphql(Some(token), EVERYTHING, json!({ "where": filter })).await;
    assert!(answer.get("errors").is_none(), "{answer:#}");
    answer["data"]["events"]["nodes"].as_array().unwrap().clone()
}

on_every_database!(an_artist_does_not_learn_who_it_was, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = plays_of_many_and_few();
    let mut both = events[0].clone();
    both["id"] = json!("both");
    both["playedMs"] = json!(50_000);
    both["songId"] = json!("duet");
    let mut nobody = both.clone();
    nobody["id"] = json!("nobody");
    nobody["playedMs"] = json!(50_001);
    nobody.as_object_mut().unwrap().remove("userId");
    let mut anonymous = nobody.clone();
    anonymous["id"] = json!("anonymous");
    anonymous["playedMs"] = json!(50_002);
    anonymous["anonymousId"] = json!("user-0");
    events.extend([both, nobody, anonymous]);
    for number in 0..3 {
        let mut early = events[number].clone();
        early["id"] = json!(format!("early-{number}"));
        early["occurredAt"] = json!(T0 - 5 * HOUR_MS);
        early["playedMs"] = json!(60_000 + number);
        events.push(early);
    }
    let credits: Vec<Value> =
        ["artist-1", "artist-2"].iter().map(|id| json!({"artistId": id, "role": "MAIN"})).collect();
    let upsert = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { rejected } }";
    let duet = json!({"input": {"songs": [{"id": "duet", "credits": credits}]}});
    assert_eq!(app.graphql(Some(&app.admin()), upsert, duet).await["data"]["upsertCatalog"]["rejected"], 0);
    app.record(&events).await;
    let of = |seen: &[Value], number: i64| {
        seen.iter().find(|event| event["playedMs"] == number).unwrap_or_else(|| panic!("{number}")).clone()
    };
    let first = everything(&app, &app.token("artist", &["artist-1"]), json!({})).await;
    let second = everything(&app, &app.token("artist", &["artist-2"]), json!({})).await;
    let text = json!([first, second]).to_string();
    for secret in ["user-", "secret-", "@x", "both", "platform"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    for event in first.iter().chain(&second) {
        for field in ["userId", "anonymousId", "properties", "source"] {
            assert!(event[field].is_null(), "{event:#}");
        }
    }
    // The same person is one to an artist, and another to the other one.
    let name = |seen: &[Value], number| of(seen, number)["pseudonym"].as_str().map(str::to_owned);
    let (solo, duet) = (name(&first, 30_000).unwrap(), name(&first, 50_000).unwrap());
    assert_eq!(solo, duet);
    assert_ne!(solo, name(&first, 30_001).unwrap());
    assert_eq!(name(&second, 40_000), name(&second, 50_000));
    assert_ne!(name(&second, 50_000).unwrap(), duet);
    assert_ne!(of(&first, 50_000)["id"], of(&second, 50_000)["id"]);
    // An anonymous id is not the user's of that name; where nobody is named, nothing stands for them.
    assert!(name(&first, 50_002).is_some_and(|name| name != solo));
    assert_eq!(name(&first, 50_001), None);
    // Countries, sources and devices of enough people are told, and those of few are not.
    for (number, country, source, device) in [
        (30_000, json!("DE"), json!("search"), json!("phone")),
        (30_009, Value::Null, Value::Null, json!("phone")),
        (30_013, Value::Null, Value::Null, Value::Null),
    ] {
        let event = of(&first, number);
        let told = (event["country"].clone(), event["listeningSource"].clone(), event["device"].clone());
        assert_eq!(told, (country, source, device), "{event:#}");
    }
    // Genres are told as far as the catalogue shows them to everybody.
    assert_eq!(
        (of(&first, 30_000)["genre"].as_str(), of(&first, 50_000)["genre"].as_str()),
        (Some("pop"), Some("pop"))
    );
    // Filters find what is told and nothing else.
    let token = app.token("artist", &["artist-1"]);
    let germans = everything(&app, &token, json!({"country": "DE"})).await;
    assert_eq!(germans.len(), 15, "{germans:#?}");
    for hidden in ["FR", "IS"] {
        assert_eq!(everything(&app, &token, json!({ "country": hidden })).await, [] as [Value; 0], "{hidden}");
        assert_eq!(total(&app, &token, &json!({ "country": hidden })).await, json!({"value": 0, "isExact": true}));
    }
    // Three people of a country are enough together with others, and in an hour of their own they are not.
    assert_eq!(of(&first, 60_000)["country"], "DE");
    let hour = json!({"between": {"from": T0 - 5 * HOUR_MS, "to": T0 - 4 * HOUR_MS}});
    app.merge_audience().await;
    let few = everything(&app, &token, json!({ "during": hour })).await;
    assert!(few.len() == 3 && few.iter().all(|event| event["country"].is_null()), "{few:#?}");
    // Tokens, restarts and merges of listeners change no name.
    let again = everything(&app, &app.token("artist", &["artist-1"]), json!({})).await;
    assert_eq!(again, first);
    app.stop().await;
    let app = App::start_with(&database, Options::at(T0)).await;
    assert_eq!(everything(&app, &app.token("artist", &["artist-1"]), json!({})).await, first);
    // An admin sees it all.
    let whole = of(&everything(&app, &app.admin(), json!({})).await, 30_013);
    let expected = json!({
        "id": "secret-user-20-13", "type": "track.played", "userId": "user-20", "anonymousId": null, "pseudonym": null,
        "genre": "pop", "country": "IS", "listeningSource": "jukebox", "device": "toaster", "source": "platform",
        "properties": {"mail": "user-20@x"}, "playedMs": 30_013, "receivedAt": "2026-06-15T12:00:00.000Z",
        "entity": {"id": "song-1"}, "song": {"id": "song-1", "title": null}, "album": null, "playlist": null,
        "artist": {"id": "artist-1"}, "count": null, "amount": null,
    });
    assert_eq!(whole, expected);
    app.stop().await;
});

on_every_database!(a_genre_is_told_to_artists_only_where_the_catalogue_shows_it, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let song = json!({"input": {"songs": [{"id": "song-1", "genres": ["pop"]}]}});
    let upsert = "mutation ($input: CatalogInput!) { upsertCatalog(input: $input) { rejected } }";
    app.graphql(Some(&app.admin()), upsert, song).await;
    let play = |number: i64, genre: &str| {
        json!({"id": format!("{number}"), "type": "track.played", "occurredAt": T0 - number, "songId": "song-1",
            "artistId": "artist-1", "playedMs": number, "genre": genre})
    };
    app.record(&[play(1, "pop"), play(2, "for anna")]).await;
    let artist = app.token("artist", &["artist-1"]);
    let genres = async |filter: Value| -> Vec<Value> {
        everything(&app, &artist, filter).await.iter().map(|event| event["genre"].clone()).collect()
    };
    assert_eq!(genres(json!({})).await, [json!("pop"), Value::Null]);
    assert_eq!(genres(json!({"genre": "pop"})).await, [json!("pop")]);
    assert_eq!(genres(json!({"genre": "for anna"})).await, [] as [Value; 0]);
    let found = everything(&app, &app.admin(), json!({"genre": "for anna"})).await;
    assert_eq!(found.len(), 1);
    app.stop().await;
});

on_every_database!(what_may_not_be_asked_is_refused_and_not_answered_with_nothing, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&plays_of_many_and_few()).await;
    let artist = app.token("artist", &["artist-1"]);
    let admin = app.admin();
    let entity = |kind: &str, id: &str| json!({"entity": {"kind": kind, "id": id}});
    for filter in [
        json!({"userId": "user-1"}),
        json!({"propertyEquals": [{"path": "mail", "value": "user-1@x"}]}),
        entity("ARTIST", "artist-2"),
        entity("SONG", "song-2"),
        entity("SONG", "unknown"),
        entity("PLAYLIST", "playlist-1"),
    ] {
        let answer = app.graphql(Some(&artist), PAGE, json!({"where": filter, "first": 5})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "FORBIDDEN", "{filter} {answer:#}");
        assert!(answer["data"].is_null(), "{filter} {answer:#}");
        page(&app, &admin, json!({"where": filter, "first": 5})).await;
    }
    for own in [entity("ARTIST", "artist-1"), entity("SONG", "song-1")] {
        assert_eq!(numbers(&page(&app, &artist, json!({"where": own, "first": 50})).await).len(), 14, "{own}");
    }
    for (role, code) in [(Some("listener"), "FORBIDDEN"), (Some("service"), "FORBIDDEN"), (None, "UNAUTHENTICATED")] {
        let token = role.map(|role| app.token(role, &[]));
        let answer = app.graphql(token.as_deref(), PAGE, json!({})).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{role:?} {answer:#}");
    }
    app.stop().await;
});

on_every_database!(what_cannot_be_used_says_which_field_and_what_to_do, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&plays_of_many_and_few()).await;
    let admin = app.admin();
    let filter = |field: &str, value: Value| json!({"where": {field: value}});
    let property = |path: &str, value: Value| filter("propertyEquals", json!([{"path": path, "value": value}]));
    let many: Vec<String> = (0..51).map(|number| format!("type.{number}")).collect();
    let (from, to) = ("2026-06-15T10:00:00Z", "2026-06-15T09:00:00Z");
    let eleven: Vec<Value> = (0..11).map(|number| json!({"path": "a", "value": number})).collect();
    for (variables, field) in [
        (json!({"first": 0}), "first"),
        (json!({"first": -1}), "first"),
        (json!({"first": 201}), "first"),
        (json!({"last": 0}), "last"),
        (json!({"last": 201}), "last"),
        (json!({"first": 1, "last": 1}), "last"),
        (json!({"last": 1, "after": "00"}), "after"),
        (json!({"first": 1, "before": "00"}), "before"),
        (json!({"first": 1, "after": ""}), "after"),
        (json!({"first": 1, "after": "zz"}), "after"),
        (json!({"first": 1, "after": "ä"}), "after"),
        (json!({"first": 1, "after": "00".repeat(40)}), "after"),
        (json!({"last": 1, "before": "not one"}), "before"),
        (filter("types", json!([])), "where.types"),
        (filter("types", json!(many)), "where.types"),
        (filter("types", json!(["a\u{0}"])), "where.types"),
        (filter("userId", json!("a\u{0}")), "where.userId"),
        (filter("genre", json!("a\u{0}")), "where.genre"),
        (filter("country", json!("Germany")), "where.country"),
        (filter("entity", json!({"kind": "SONG", "id": "a\u{0}"})), "where.entity.id"),
        (filter("during", json!({"between": {"from": from, "to": to}})), "between"),
        (filter("during", json!({"between": {"from": "x", "to": to}})), "between.from"),
        (filter("propertyEquals", json!(eleven)), "where.propertyEquals"),
        (filter("propertyEquals", json!([{"path": "a"}])), "where.propertyEquals.value"),
        (property("", json!(1)), "where.propertyEquals.path"),
        (property("a..b", json!(1)), "where.propertyEquals.path"),
        (property("a", json!([1])), "where.propertyEquals.value"),
        (property("a", json!({"b": 1})), "where.propertyEquals.value"),
    ] {
        let answer = app.graphql(Some(&admin), PAGE, variables.clone()).await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "BAD_USER_INPUT", "{variables} {answer:#}");
        assert_eq!(error["extensions"]["field"], field, "{variables} {answer:#}");
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{answer:#}");
    }
    // The edges of what is allowed.
    for variables in [json!({"first": 1}), json!({"first": 200}), json!({"last": 200}), json!({})] {
        page(&app, &admin, variables).await;
    }
    app.stop().await;
});

on_every_database!(a_cursor_is_good_for_its_own_list_and_viewer_only, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&plays_of_many_and_few()).await;
    let (admin, artist) = (app.admin(), app.token("artist", &["artist-1"]));
    let several = app.token("artist", &["artist-1", "artist-2"]);
    let by_type = json!({"types": ["track.played"]});
    let cursor = async |token: &str, filter: &Value| {
        page(&app, token, json!({"where": filter, "first": 3})).await["pageInfo"]["endCursor"].clone()
    };
    for (token, filter, taker, asked) in [
        (&admin, json!({}), &admin, by_type.clone()),
        (&admin, by_type.clone(), &admin, json!({})),
        (&admin, json!({}), &artist, json!({})),
        (&artist, json!({}), &admin, json!({})),
        (&artist, json!({}), &several, json!({})),
        (
            &admin,
            json!({"propertyEquals": [{"path": "a", "value": 1}]}),
            &admin,
            json!({"propertyEquals": [{"path": "a", "value": "1"}]}),
        ),
    ] {
        let cursor = match cursor(token, &filter).await {
            Value::Null => continue,
            cursor => cursor,
        };
        for (variables, field) in [
            (json!({"where": asked, "first": 3, "after": cursor}), "after"),
            (json!({"where": asked, "last": 3, "before": cursor}), "before"),
        ] {
            let answer = app.graphql(Some(taker), PAGE, variables.clone()).await;
            assert_eq!(answer["errors"][0]["extensions"]["field"], field, "{variables} {answer:#}");
        }
        page(&app, token, json!({"where": filter, "first": 3, "after": cursor})).await;
    }
    app.stop().await;
});

on_every_database!(what_is_sent_or_removed_between_pages_moves_nothing_else, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let event = |number: i64, at_ms: i64| json!({"id": format!("{number}"), "type": "a.b", "occurredAt": at_ms, "playedMs": number});
    let events: Vec<Value> = (0..9).map(|number| event(number, T0 - number * MINUTE_MS)).collect();
    app.record(&events).await;
    let admin = app.admin();
    let filter = json!({"types": ["a.b"]});
    let first = page(&app, &admin, json!({"where": filter, "first": 3})).await;
    assert_eq!(numbers(&first), [0, 1, 2]);
    let tamper = database.connect().await;
    // The event that the cursor was made from, and one behind it, go away; a newer and an older one come.
    tamper.execute_unprepared("DELETE FROM event WHERE event_id IN ('2', '4')").await.unwrap();
    app.record(&[event(100, T0), event(101, T0 - 5 * MINUTE_MS - 1)]).await;
    let after = &first["pageInfo"]["endCursor"];
    let second = page(&app, &admin, json!({"where": filter, "first": 3, "after": after})).await;
    assert_eq!(numbers(&second), [3, 5, 101]);
    let before = &second["pageInfo"]["startCursor"];
    let back = page(&app, &admin, json!({"where": filter, "last": 2, "before": before})).await;
    let expected = in_order([&event(0, T0), &event(1, T0 - MINUTE_MS), &event(100, T0)].into_iter());
    assert_eq!(numbers(&back), expected[1..]);
    assert_eq!(back["pageInfo"]["hasPreviousPage"], true);
    tamper.close().await.unwrap();
    app.stop().await;
});

on_every_database!(what_erased_users_did_is_shown_to_nobody, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&plays_of_many_and_few()).await;
    let tamper = database.connect().await;
    let erased = "UPDATE event SET user_id = '\u{1}' || 'x' WHERE user_id IN ('user-1', 'user-2')";
    tamper.execute_unprepared(erased).await.unwrap();
    tamper.close().await.unwrap();
    let expected: BTreeSet<i64> = (30_000..30_014).filter(|number| ![30_001, 30_002].contains(number)).collect();
    for token in [app.admin(), app.token("artist", &["artist-1"])] {
        for filter in [json!({"entity": {"kind": "SONG", "id": "song-1"}}), json!({"types": ["track.played"]})] {
            let (mut found, _) = walk(&app, &token, &filter, 5).await;
            found.retain(|number| *number < 40_000);
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{filter}");
        }
    }
    assert_eq!(walk(&app, &app.admin(), &json!({"userId": "\u{1}x"}), 5).await.0, [] as [i64; 0]);
    assert_eq!(total(&app, &app.admin(), &json!({})).await, json!({"value": 13, "isExact": true}));
    app.stop().await;
});

on_every_database!(an_answer_reads_so_much_and_the_next_page_goes_on, |database| {
    let options = Options::at(T0).set("EVENTS_LOOKED_AT_MAX", 300).set("EVENTS_COUNTED_MAX", 100);
    let app = App::start_with(&database, options).await;
    let events: Vec<Value> = (0..2_000)
        .map(|number| {
            json!({"id": format!("{number}"), "type": "a.b", "occurredAt": T0 - number / 2 * 1_000, "playedMs": number,
                "properties": {"hundred": number / 100}})
        })
        .collect();
    app.record(&events).await;
    let admin = app.admin();
    // What is sought lies far from both ends.
    let filter = json!({"propertyEquals": [{"path": "hundred", "value": 9}]});
    let expected = in_order(events.iter().filter(|event| fits(event, &filter)));
    let (forward, pages) = walk(&app, &admin, &filter, 200).await;
    assert_eq!(forward, expected);
    assert!((4..=10).contains(&pages), "{pages} pages");
    let (backward, pages) = walk_back(&app, &admin, &filter, 200).await;
    assert_eq!(backward, expected);
    assert!((4..=10).contains(&pages), "{pages} pages");
    let first = page(&app, &admin, json!({"where": filter, "first": 20})).await;
    assert_eq!((numbers(&first), &first["pageInfo"]["startCursor"]), (vec![], &Value::Null));
    assert!(first["pageInfo"]["hasNextPage"] == true && first["pageInfo"]["endCursor"].is_string(), "{first:#}");
    // Where the log is not read to its end, or there are many, it is "at least".
    assert_eq!(total(&app, &admin, &filter).await, json!({"value": 0, "isExact": false}));
    assert_eq!(total(&app, &admin, &json!({})).await, json!({"value": 100, "isExact": false}));
    let hundred = json!({"during": {"between": {"from": T0 - 49_000, "to": T0 + 1}}});
    assert_eq!(total(&app, &admin, &hundred).await, json!({"value": 100, "isExact": true}));
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_rare_is_found_without_reading_what_lies_between() {
    let database = TestDatabase::sqlite();
    // So little may be read that only a look into the right quarter-hours finds anything.
    let app = App::start_with(&database, Options::at(T0).set("EVENTS_LOOKED_AT_MAX", 300)).await;
    let mut events: Vec<Value> = (0..3_000)
        .map(|number| {
            json!({"id": format!("{number}"), "type": "track.played", "occurredAt": T0 - number * 10 * MINUTE_MS,
                "songId": "common", "playedMs": 1})
        })
        .collect();
    let rare = |id: &str, event_type: &str, days: i64| {
        json!({"id": id, "type": event_type, "occurredAt": T0 - days * DAY_MS, "songId": "rare", "artistId": "artist-1",
            "playedMs": days})
    };
    events.extend([rare("x", "track.played", 3), rare("y", "track.liked", 19), rare("z", "ui.clicked", 20)]);
    app.record(&events).await;
    for (token, filter, expected) in [
        (app.admin(), json!({"entity": {"kind": "SONG", "id": "rare"}}), vec![3, 19, 20]),
        (app.admin(), json!({"types": ["track.liked"]}), vec![19]),
        (app.admin(), json!({"types": ["track.played"], "entity": {"kind": "SONG", "id": "rare"}}), vec![3]),
        (app.token("artist", &["artist-1"]), json!({}), vec![3, 19, 20]),
    ] {
        let page = page(&app, &token, json!({"where": filter, "first": 20})).await;
        assert_eq!((numbers(&page), &page["pageInfo"]["hasNextPage"]), (expected, &json!(false)), "{filter}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_two_hundred_takes_as_many_statements_as_a_page_of_two() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0)).await;
    let events: Vec<Value> = (0..240)
        .map(|number| {
            json!({"id": format!("{number}"), "type": "track.played", "occurredAt": T0 - number,
                "songId": format!("song-{number}"), "albumId": format!("album-{number}"), "artistId": "artist-1"})
        })
        .collect();
    app.record(&events).await;
    // The first question of all finds out what people are called.
    app.ask("{ events { nodes { id } } }").await;
    let mut counts = Vec::new();
    for first in [2, 200] {
        let before = app.statements.load(std::sync::atomic::Ordering::SeqCst);
        app.ask(&format!(
            "{{ events(first: {first}) {{ nodes {{ entity {{ title }} song {{ title }} album {{ title }} artist {{ title }} }} }} }}"
        ))
        .await;
        counts.push(app.statements.load(std::sync::atomic::Ordering::SeqCst) - before);
    }
    assert!(counts[0] > 0 && counts[0] == counts[1], "{counts:?}");
    app.stop().await;
}
