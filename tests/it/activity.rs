//! What a user did, event by event, with where their sessions began.

use std::sync::atomic::Ordering;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{
        App, T0, TestDatabase,
        app::{Options, listener},
        rfc3339,
    },
};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

const PAGE: &str = "query ($id: ID!, $where: EventFilter, $first: Int, $after: String, $last: Int, $before: String) {
    user(id: $id) { activity(where: $where, first: $first, after: $after, last: $last, before: $before) {
        edges { cursor beginsSession sessionStartedAt node { id type occurredAt userId properties song { id } } }
        nodes { id }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
        totalCount { value isExact }
    } } }";

async fn page(app: &App, token: &str, variables: Value) -> Value {
    let answer = app.graphql(Some(token), PAGE, variables.clone()).await;
    assert!(answer.get("errors").is_none(), "{variables}\n{answer:#}");
    answer["data"]["user"]["activity"].clone()
}

/// What happens within a quarter of an hour of something else, or days later.
fn random_events(random: &mut StdRng, count: usize) -> Vec<Value> {
    let mut at_ms = T0 - DAY_MS;
    let event = |number| {
        at_ms -= match random.random_range(0..12) {
            0 => DAY_MS * random.random_range(1..9),
            1..=3 => 30 * MINUTE_MS,
            4 => 0,
            _ => random.random_range(0..15) * MINUTE_MS,
        };
        let event_type = ["track.played", "track.played", "track.liked", "ui.clicked"][random.random_range(0..4)];
        let country = ["DE", "FR"][random.random_range(0..2)];
        let mut event = json!({
            "id": format!("event-{number}"), "occurredAt": at_ms, "songId": format!("song-{}", random.random_range(0..3)),
            "type": event_type, "country": country,
        });
        match random.random_range(0..10) {
            0 => {}
            1 => event["anonymousId"] = json!("user-1"),
            other => event["userId"] = json!(format!("user-{}", other % 2)),
        }
        if random.random_range(0..10) == 0 {
            event["count"] = json!(3);
        }
        if random.random_range(0..2) == 0 {
            event["properties"] = json!({"plan": "free"});
        }
        event
    };
    let mut events: Vec<Value> = (0..count).map(event).collect();
    // They come in no order.
    for place in 0..events.len() {
        events.swap(place, random.random_range(0..count));
    }
    events
}

fn at(event: &Value) -> i64 {
    event["occurredAt"].as_i64().unwrap()
}

fn random_filter(random: &mut StdRng) -> Value {
    let mut filter = json!({});
    match random.random_range(0..6) {
        0 => filter["types"] = json!(["track.played", "ui.clicked"]),
        1 => filter["country"] = json!("DE"),
        2 => filter["entity"] = json!({"kind": "SONG", "id": "song-1"}),
        3 => filter["propertyEquals"] = json!([{"path": "plan", "value": "free"}]),
        _ => {}
    }
    if random.random_range(0..3) == 0 {
        let from = T0 - random.random_range(1..40) * DAY_MS;
        filter["during"] =
            json!({"between": {"from": rfc3339(from), "to": rfc3339(from + 9 * DAY_MS + 7 * MINUTE_MS)}});
    }
    filter
}

fn fits(filter: &Value, event: &Value) -> bool {
    let within = &filter["during"]["between"];
    let ms = |text: &Value| chrono::DateTime::parse_from_rfc3339(text.as_str().unwrap()).unwrap().timestamp_millis();
    filter["types"].as_array().is_none_or(|types| types.contains(&event["type"]))
        && (filter["country"].is_null() || filter["country"] == event["country"])
        && (filter["entity"].is_null() || filter["entity"]["id"] == event["songId"])
        && (filter["propertyEquals"].is_null() || event["properties"]["plan"] == "free")
        && (within.is_null() || (ms(&within["from"])..ms(&within["to"])).contains(&at(event)))
}

/// All pages of a list, and what a plain look at the events says of them.
async fn check(app: &App, events: &[Value], random: &mut StdRng) {
    let user = format!("user-{}", random.random_range(0..2));
    let (filter, size) = (random_filter(random), random.random_range(1..30));
    let token = if random.random_range(0..2) == 0 { listener(&user) } else { app.admin() };
    let is_backward = random.random_range(0..3) == 0;
    let mut own: Vec<&Value> = events.iter().filter(|event| event["userId"] == *user).collect();
    own.sort_by_key(|event| at(event));
    let steps: Vec<i64> = own.iter().filter(|event| event["count"].is_null()).map(|event| at(event)).collect();
    let start = |event: &Value| {
        let sessions = steps.chunk_by(|one, next| next - one < 30 * MINUTE_MS);
        let mut of_event = sessions.filter(|session| event["count"].is_null() && session.contains(&at(event)));
        of_event.next().map(|session| session[0])
    };

    let (mut edges, mut place): (Vec<Value>, _) = (Vec::new(), Value::Null);
    loop {
        let (size_name, place_name) = if is_backward { ("last", "before") } else { ("first", "after") };
        let page = page(app, &token, json!({"id": user, "where": filter, size_name: size, place_name: place})).await;
        let count = own.iter().filter(|event| fits(&filter, event)).count();
        assert_eq!(page["totalCount"], json!({"value": count, "isExact": true}), "{filter}");
        let mut found = page["edges"].as_array().unwrap().clone();
        assert!(found.len() <= size && edges.len() <= events.len(), "{filter}");
        if is_backward {
            found.reverse();
        }
        edges.extend(found);
        let info = &page["pageInfo"];
        let (has_more, next) = match is_backward {
            true => (&info["hasPreviousPage"], &info["startCursor"]),
            false => (&info["hasNextPage"], &info["endCursor"]),
        };
        if has_more == false {
            break;
        }
        place = next.clone();
    }
    if is_backward {
        edges.reverse();
    }
    let expected: Vec<&&Value> = own.iter().filter(|event| fits(&filter, event)).rev().collect();
    // Those of one millisecond may stand in either order.
    let key = |at: String, id: &Value| (std::cmp::Reverse(at), id.to_string());
    assert!(edges.is_sorted_by_key(|edge| std::cmp::Reverse(edge["node"]["occurredAt"].to_string())), "{filter}");
    edges.sort_by_key(|edge| key(edge["node"]["occurredAt"].to_string(), &edge["node"]["id"]));
    let mut told: Vec<Value> = Vec::new();
    for edge in &edges {
        let node = &edge["node"];
        assert_eq!(node["userId"], *user);
        told.push(json!([node["id"], node["occurredAt"], node["type"], node["song"]["id"], node["properties"]]));
        let event = own.iter().find(|event| event["id"] == node["id"]).unwrap();
        let start = start(event);
        assert_eq!(edge["sessionStartedAt"], json!(start.map(rfc3339)), "{filter} {edge}");
        assert_eq!(edge["beginsSession"], json!(start == Some(at(event))), "{filter} {edge}");
    }
    let mut all: Vec<(_, Value)> = expected
        .iter()
        .map(|event| {
            let at = rfc3339(at(event));
            let event_key = key(at.to_string(), &event["id"]);
            (event_key, json!([event["id"], at, event["type"], event["songId"], event["properties"]]))
        })
        .collect();
    all.sort_by(|(one, _), (next, _)| one.cmp(next));
    assert_eq!(told, all.into_iter().map(|(_, told)| told).collect::<Vec<_>>(), "{filter} in pages of {size}");
}

on_every_database!(journeys_and_sessions_equal_a_plain_look_at_the_events, |database| {
    let mut random = StdRng::seed_from_u64(3);
    let events = random_events(&mut random, 240);
    let app = App::start_with(&database, Options::at(T0)).await;
    for (batch, number) in events.chunks(60).zip(1..) {
        app.record(batch).await;
        if number % 2 == 0 {
            app.merge_audience().await;
        }
        for _ in 0..12 {
            check(&app, &events[..60 * number], &mut random).await;
        }
    }
    app.stop().await;
    // Another process reads what this one has left.
    let app = App::start_with(&database, Options::at(T0)).await;
    for _ in 0..12 {
        check(&app, &events, &mut random).await;
    }
    app.stop().await;
});

on_every_database!(a_session_is_one_however_far_back_it_began, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    // Four days without a pause of half an hour.
    let events: Vec<Value> = (0..4 * 72 + 1)
        .map(|number| {
            json!({"id": format!("{number}"), "type": "ui.clicked", "userId": "user-1", "occurredAt": T0 - 20 * MINUTE_MS * number})
        })
        .collect();
    app.record(&events).await;
    let began = json!(rfc3339(T0 - 4 * DAY_MS));
    for _ in 0..2 {
        let newest = page(&app, &listener("user-1"), json!({"id": "user-1", "first": 2})).await;
        for edge in newest["edges"].as_array().unwrap() {
            assert_eq!((&edge["sessionStartedAt"], &edge["beginsSession"]), (&began, &json!(false)));
        }
        let oldest = page(&app, &listener("user-1"), json!({"id": "user-1", "last": 1})).await;
        assert_eq!(oldest["edges"][0]["beginsSession"], true);
        app.merge_audience().await;
    }
    app.stop().await;
});

on_every_database!(who_is_erased_in_mid_pagination_has_nothing_left, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let events: Vec<Value> = (0..9)
        .map(|number| {
            json!({"id": format!("{number}"), "type": "track.played", "songId": "song-1",
                "userId": format!("user-{}", number % 2), "occurredAt": T0 - MINUTE_MS * number})
        })
        .collect();
    app.record(&events).await;
    let first = page(&app, &listener("user-1"), json!({"id": "user-1", "first": 2})).await;
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    app.ask(r#"mutation { eraseUser(id: "user-1") { status } }"#).await;
    let going_on = json!({"id": "user-1", "first": 2, "after": first["pageInfo"]["endCursor"]});
    for token in [listener("user-1"), app.admin()] {
        let answer = app.graphql(Some(&token), PAGE, going_on.clone()).await;
        assert_eq!(answer, json!({"data": {"user": null}}));
    }
    let of_user = r#"query { events(where: {userId: "user-1"}) { nodes { id } totalCount { value isExact } } }"#;
    assert_eq!(app.ask(of_user).await, json!({"events": {"nodes": [], "totalCount": {"value": 0, "isExact": true}}}));
    // Who comes back under the id is somebody new, whose pages go on from any place.
    app.record(&[
        json!({"id": "new", "type": "track.played", "songId": "song-1", "userId": "user-1", "occurredAt": T0}),
    ])
    .await;
    assert_eq!(page(&app, &listener("user-1"), going_on).await["edges"], json!([]));
    assert_eq!(page(&app, &listener("user-1"), json!({"id": "user-1"})).await["nodes"], json!([{"id": "new"}]));
    let others = page(&app, &listener("user-0"), json!({"id": "user-0"})).await;
    assert_eq!(others["nodes"].as_array().unwrap().len(), 5);
    app.stop().await;
});

on_every_database!(a_journey_is_for_the_user_and_admins, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let events: Vec<Value> = (0..6)
        .map(|number| {
            json!({"id": format!("{number}"), "type": "track.played", "songId": "song-1", "artistId": "artist-1",
                "userId": format!("user-{}", number % 2), "occurredAt": T0 - MINUTE_MS * number})
        })
        .collect();
    app.record(&events).await;
    let ask = async |token: Option<&str>, variables: Value| {
        let answer = app.graphql(token, PAGE, variables).await;
        let error = &answer["errors"][0]["extensions"];
        json!([error["code"], error["field"]])
    };
    let asked = json!({"id": "user-1"});
    for token in [listener("user-0"), app.token("artist", &["artist-1"]), app.token("service", &[])] {
        assert_eq!(ask(Some(&token), asked.clone()).await[0], "FORBIDDEN");
    }
    assert_eq!(ask(None, asked).await[0], "UNAUTHENTICATED");

    let first = page(&app, &listener("user-1"), json!({"id": "user-1", "first": 1})).await;
    let cursor = &first["pageInfo"]["endCursor"];
    let of_list = app.ask("{ events(first: 1) { pageInfo { endCursor } } }").await;
    for (variables, field) in [
        (json!({"id": "user-1", "first": 0}), "first"),
        (json!({"id": "user-1", "first": 1, "last": 1}), "last"),
        (json!({"id": "user-1", "after": "nonsense"}), "after"),
        // A place in the list of somebody else, in that of another filter, or in another list.
        (json!({"id": "user-0", "after": cursor}), "after"),
        (json!({"id": "user-1", "after": cursor, "where": {"country": "DE"}}), "after"),
        (json!({"id": "user-1", "after": of_list["events"]["pageInfo"]["endCursor"]}), "after"),
        (json!({"id": "user-1", "where": {"userId": "user-1"}}), "where.userId"),
        (json!({"id": "user-1", "where": {"propertyEquals": [{"path": "", "value": 1}]}}), "where.propertyEquals.path"),
    ] {
        assert_eq!(ask(Some(&app.admin()), variables.clone()).await, json!(["BAD_USER_INPUT", field]), "{variables}");
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_events_are_found_without_reading_all_days() {
    let database = TestDatabase::sqlite();
    let app = App::start_with(&database, Options::at(T0).set("EVENTS_LOOKED_AT_MAX", 400)).await;
    let mut events: Vec<Value> = (0..3_000)
        .map(|number| {
            json!({"id": format!("{number}"), "type": "ui.clicked", "userId": "many",
                "occurredAt": T0 - number * 60 * MINUTE_MS})
        })
        .collect();
    let rare = |id: &str, days: i64| json!({"id": id, "type": "ui.clicked", "userId": "few", "occurredAt": T0 - days * DAY_MS});
    events.extend([rare("x", 3), rare("y", 50), rare("z", 120)]);
    app.record(&events).await;
    app.merge_audience().await;
    let statements = async |id: &str, first: i64| {
        let before = app.statements.load(Ordering::SeqCst);
        let found = page(&app, &listener(id), json!({"id": id, "first": first})).await;
        (app.statements.load(Ordering::SeqCst) - before, found)
    };
    statements("many", 1).await;
    // So few rows are looked at for an answer that a look at everything would not find them.
    let (_, found) = statements("few", 20).await;
    assert_eq!(found["nodes"], json!([{"id": "x"}, {"id": "y"}, {"id": "z"}]));
    let (few, _) = statements("many", 2).await;
    let (more, _) = statements("many", 20).await;
    assert!(few > 0 && few == more, "{few} and {more}");
    app.stop().await;
}
