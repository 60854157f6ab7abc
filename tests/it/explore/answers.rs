//! Group-bys as clients ask them: what cannot be asked, what is not for everybody, and what is too much.

use serde_json::{Value, json};

use super::DAY_MS;
use crate::{
    on_every_database,
    support::{
        App, T0, TestDatabase,
        app::{Options, token},
        rfc3339,
    },
};

/// The code and the field of the answer's error, and its message.
async fn refusal(app: &App, token: &str, arguments: &str) -> (Value, String) {
    let answer = app.graphql(Some(token), &format!("{{ explore({arguments}) {{ rows source }} }}"), json!({})).await;
    let error = &answer["errors"][0];
    assert!(error.is_object(), "{arguments}: {answer}");
    let told = json!([error["extensions"]["code"], error["extensions"]["field"]]);
    (told, error["message"].as_str().unwrap().to_owned())
}

async fn rows(app: &App, token: &str, arguments: &str) -> Value {
    let answer = app.graphql(Some(token), &format!("{{ explore({arguments}) {{ rows source }} }}"), json!({})).await;
    assert!(answer.get("errors").is_none(), "{arguments}: {answer}");
    answer["data"]["explore"].clone()
}

fn measures(rest: &str) -> String {
    format!("measures: [{{measure: COUNT}}], {rest}")
}

fn event(number: i64, event_type: &str, more: Value) -> Value {
    let mut event =
        json!({"id": format!("{event_type}-{number}"), "type": event_type, "occurredAt": T0 - 1_000 * number - 1});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_named() {
    let app = App::start_with(&TestDatabase::sqlite(), Options::at(T0)).await;
    let long = "x".repeat(1_001);
    for (arguments, field) in [
        ("measures: []".to_owned(), "measures"),
        (format!("measures: [{}]", "{measure: COUNT} ".repeat(11)), "measures"),
        ("measures: [{measure: COUNT}, {measure: COUNT}]".to_owned(), "measures"),
        (measures("by: [{of: TYPE}, {of: TYPE}]"), "measures"),
        (measures("by: [{of: TYPE}, {of: SONG}, {of: COUNTRY}, {of: GENRE}]"), "by"),
        (measures("by: [{of: PROPERTY}]"), "by.property"),
        (measures(r#"by: [{of: PROPERTY, property: ""}]"#), "by.property"),
        (measures(r#"by: [{of: PROPERTY, property: "a..b"}]"#), "by.property"),
        (measures(&format!(r#"by: [{{of: PROPERTY, property: "{long}"}}]"#)), "by.property"),
        (measures(r#"by: [{of: PROPERTY, property: "amount"}]"#), "by.property"),
        (measures(r#"by: [{of: TYPE, property: "plan"}]"#), "by.property"),
        ("measures: [{measure: SUM}]".to_owned(), "measures.property"),
        (r#"measures: [{measure: SUM, property: "."}]"#.to_owned(), "measures.property"),
        (r#"measures: [{measure: SUM, property: "currency"}]"#.to_owned(), "measures.property"),
        (r#"measures: [{measure: COUNT, property: "plan"}]"#.to_owned(), "measures.property"),
        (r#"measures: [{measure: PERCENTILE, property: "plan"}]"#.to_owned(), "measures.percentile"),
        (r#"measures: [{measure: PERCENTILE, property: "plan", percentile: 1.01}]"#.to_owned(), "measures.percentile"),
        (r#"measures: [{measure: PERCENTILE, property: "plan", percentile: -0.5}]"#.to_owned(), "measures.percentile"),
        (r#"measures: [{measure: SUM, property: "plan", percentile: 0.5}]"#.to_owned(), "measures.percentile"),
        (measures("first: 0"), "first"),
        (measures("first: -1"), "first"),
        (measures("first: 1001"), "first"),
        (measures(r#"orderBy: {column: "streams"}"#), "orderBy.column"),
        (measures(r#"orderBy: {column: "time"}"#), "orderBy.column"),
        (measures("where: {types: []}"), "where.types"),
        (measures(r#"where: {country: "Germany"}"#), "where.country"),
        (measures(r#"where: {genre: "a\u0000b"}"#), "where.genre"),
        (measures(r#"where: {userId: "\u0001x"}"#), "where.userId"),
        (measures(r#"where: {propertyEquals: [{path: "plan"}]}"#), "where.propertyEquals.value"),
        (measures(r#"where: {propertyEquals: [{path: "plan", value: {a: 1}}]}"#), "where.propertyEquals.value"),
        (measures(r#"where: {propertyEquals: [{path: "", value: 1}]}"#), "where.propertyEquals.path"),
        (measures(r#"where: {propertyEquals: [{path: "currency", value: 1}]}"#), "where.propertyEquals.value"),
        (measures(r#"during: {between: {from: "2026-06-02T00:00:00Z", to: "2026-06-01T00:00:00Z"}}"#), "between"),
    ] {
        let (told, message) = refusal(&app, &app.admin(), &arguments).await;
        assert_eq!(told[0], "BAD_USER_INPUT", "{arguments}: {message}");
        let is_named = told[1].as_str().is_some_and(|told| told == field || told.starts_with(&format!("{field}.")));
        assert!(is_named, "{arguments}: {told} {message}");
    }
    app.stop().await;
}

on_every_database!(numbers_are_taken_from_whatever_was_sent, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let values =
        [json!(5), json!(-7.5), json!(0), json!("12"), json!(true), json!(null), json!({"deep": 3}), json!([1, 2])];
    let mut events: Vec<Value> = (0..)
        .zip(values)
        .map(|(number, value)| event(number, "job.done", json!({"properties": {"ms": value}})))
        .collect();
    events.push(event(99, "job.done", json!({})));
    for (number, (amount, currency)) in (0..).zip([("3.50", "EUR"), ("1.25", "EUR"), ("700", "JPY")]) {
        events.push(event(number, "order.paid", json!({"amount": amount, "currency": currency})));
    }
    app.record(&events).await;
    let statistics = |property: &str| {
        let of = |measure: &str| format!(r#"{{measure: {measure}, property: "{property}"}}"#);
        let list: Vec<String> = ["NUMBERS", "SUM", "AVG", "MIN", "MAX"].map(of).to_vec();
        format!(
            r#"measures: [{}, {{measure: PERCENTILE, property: "{property}", percentile: 0.5}}], where: {{types: ["job.done"]}}"#,
            list.join(" ")
        )
    };
    // Texts, truths, lists, objects and what is absent are no numbers.
    let told = rows(&app, &app.admin(), &statistics("ms")).await;
    let expected =
        json!({"numbers:ms": 3, "sum:ms": -2.5, "avg:ms": -2.5 / 3.0, "min:ms": -7.5, "max:ms": 5, "p50:ms": 0});
    assert_eq!(told, json!({"rows": [expected], "source": "EVENTS"}));
    let told = rows(&app, &app.admin(), &statistics("ms.deep")).await;
    let expected = json!({"numbers:ms.deep": 1, "sum:ms.deep": 3, "avg:ms.deep": 3, "min:ms.deep": 3, "max:ms.deep": 3,
        "p50:ms.deep": 3});
    assert_eq!(told["rows"], json!([expected]));
    let told = rows(
        &app,
        &app.admin(),
        r#"measures: [{measure: COUNT}], by: [{of: PROPERTY, property: "ms"}], where: {types: ["job.done"]}"#,
    )
    .await;
    let counts: Vec<(&Value, &Value)> =
        told["rows"].as_array().unwrap().iter().map(|row| (&row["properties.ms"], &row["count"])).collect();
    // A list, an object, null and what is absent are told together.
    assert_eq!(counts[0], (&Value::Null, &json!(4)));
    assert_eq!(counts.len(), 6, "{told}");

    // Currencies are never added.
    let (told, message) = refusal(&app, &app.admin(), r#"measures: [{measure: SUM, property: "amount"}]"#).await;
    assert_eq!(told, json!(["BAD_USER_INPUT", "measures"]));
    assert!(message.contains("EUR") && message.contains("JPY"), "{message}");
    for (arguments, expected) in [
        (
            r#"by: [{of: PROPERTY, property: "currency"}], orderBy: {column: "currency", direction: ASC}, where: {types: ["order.paid"]}"#,
            json!([{"currency": "EUR", "sum:amount": 4.75}, {"currency": "JPY", "sum:amount": 700}]),
        ),
        (r#"where: {propertyEquals: [{path: "currency", value: "EUR"}]}"#, json!([{"sum:amount": 4.75}])),
    ] {
        let arguments = format!(r#"measures: [{{measure: SUM, property: "amount"}}], {arguments}"#);
        assert_eq!(rows(&app, &app.admin(), &arguments).await["rows"], expected, "{arguments}");
    }
    // What never happened is no error, and no row.
    let nothing =
        rows(&app, &app.admin(), &measures(r#"where: {types: ["never.seen"]}, by: [{of: SONG}], every: DAY"#)).await;
    assert_eq!(nothing["rows"], json!([]));
    app.stop().await;
});

on_every_database!(artists_learn_nothing_of_others_and_of_few, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    let mut events = Vec::new();
    for (artist, song) in [("artist-1", "own"), ("artist-2", "other")] {
        for number in 0..12 {
            let country = if number < 3 { "MC" } else { "DE" };
            events.push(json!({
                "id": format!("{song}-{number}"), "type": "track.played", "occurredAt": T0 - 1_000 * (number + 1),
                "artistId": artist, "songId": song, "albumId": format!("album-of-{song}"), "userId": format!("u{number}"),
                "country": country, "genre": "jazz", "properties": {"email": "a@b.c"},
            }));
        }
    }
    app.record(&events).await;
    let artist = app.token("artist", &["artist-1"]);

    for (arguments, field) in [
        (measures("by: [{of: USER}]"), "by user"),
        (measures(r#"where: {userId: "u1"}"#), "by user"),
        (measures(r#"by: [{of: PROPERTY, property: "email"}]"#), "properties"),
        (measures(r#"where: {propertyEquals: [{path: "email", value: "a@b.c"}]}"#), "properties"),
        (r#"measures: [{measure: SUM, property: "age"}]"#.to_owned(), "properties"),
        (measures(r#"where: {entity: {kind: ARTIST, id: "artist-2"}}"#), "where.entity"),
        (measures(r#"where: {entity: {kind: SONG, id: "other"}}"#), "where.entity"),
        (measures(r#"where: {entity: {kind: ALBUM, id: "album-of-other"}}"#), "where.entity"),
        (measures(r#"where: {entity: {kind: SONG, id: "of nobody"}}"#), "where.entity"),
    ] {
        let (told, message) = refusal(&app, &artist, &arguments).await;
        assert_eq!(told[0], "FORBIDDEN", "{arguments}: {message}");
        assert!(message.contains(field), "{arguments}: {message}");
    }
    for stranger in [token("listener", &[], "u1", 3_600), app.token("service", &[])] {
        assert_eq!(refusal(&app, &stranger, &measures("first: 1")).await.0[0], "FORBIDDEN");
    }

    // Whatever it is grouped by, nothing of the other's is in it.
    for by in ["SONG", "ALBUM", "ARTIST", "GENRE", "TYPE", "HOUR_OF_DAY"] {
        let told = rows(&app, &artist, &measures(&format!("by: [{{of: {by}}}]"))).await;
        let counts: i64 = told["rows"].as_array().unwrap().iter().map(|row| row["count"].as_i64().unwrap()).sum();
        assert_eq!(counts, 12, "{by}: {told}");
        assert!(!told.to_string().contains("other"), "{by}: {told}");
    }
    // Three people are too few to be told apart, and to be asked for alone; nor is anything left to subtract from.
    for measure in ["COUNT", "STREAMS", "UNIQUE_USERS"] {
        let told = rows(&app, &artist, &format!("measures: [{{measure: {measure}}}], by: [{{of: COUNTRY}}]")).await;
        let countries: Vec<&Value> = told["rows"].as_array().unwrap().iter().map(|row| &row["country"]).collect();
        assert_eq!(countries, [&json!("OTHER")], "{measure}: {told}");
        let told =
            rows(&app, &artist, &format!(r#"measures: [{{measure: {measure}}}], where: {{country: "MC"}}"#)).await;
        assert_eq!(told["rows"], json!([]), "{measure}");
        let told =
            rows(&app, &artist, &format!(r#"measures: [{{measure: {measure}}}], where: {{country: "DE"}}"#)).await;
        assert_eq!(told["rows"].as_array().unwrap().len(), 1, "{measure}");
    }
    let told = rows(&app, &app.admin(), &measures("by: [{of: COUNTRY}]")).await;
    assert_eq!(told["rows"], json!([{"country": "DE", "count": 18}, {"country": "MC", "count": 6}]));
    app.stop().await;
});

on_every_database!(what_is_too_much_says_what_to_narrow, |database| {
    let events: Vec<Value> = (0..600)
        .map(|number| {
            event(
                number,
                "ui.clicked",
                json!({"userId": format!("u{number}"), "properties": {"n": number, "big": "x".repeat(200)}}),
            )
        })
        .chain([json!({"id": "old", "type": "ui.clicked", "occurredAt": T0 - 20 * DAY_MS})])
        .collect();
    let of_property = measures(r#"by: [{of: PROPERTY, property: "n"}]"#);
    for (setting, value, arguments, field, words) in [
        ("EXPLORE_ROWS_MAX", "500", &of_property, "during", "shorter window"),
        ("EXPLORE_GROUPS_MAX", "500", &of_property, "by", "fewer dimensions"),
        ("EXPLORE_TIME_MAX", "0.001ms", &of_property, "during", "shorter window"),
    ] {
        let app = App::start_with(&database, Options::at(T0).set(setting, value)).await;
        app.post_events(json!(events).to_string()).await;
        let (told, message) = refusal(&app, &app.admin(), arguments).await;
        assert_eq!(told, json!(["BUDGET_EXCEEDED", field]), "{setting}: {message}");
        assert!(message.contains(words), "{message}");
        // Stored sums have no such limits, and narrowing helps.
        let told = rows(&app, &app.admin(), &measures("by: [{of: TYPE}]")).await;
        assert_eq!(told, json!({"rows": [{"type": "ui.clicked", "count": 601}], "source": "ROLLUP"}), "{setting}");
        if setting != "EXPLORE_TIME_MAX" {
            let narrow = format!(
                r#"{of_property}, during: {{between: {{from: "{}", to: "{}"}}}}"#,
                rfc3339(T0 - 20 * DAY_MS - 900_000),
                rfc3339(T0 - 19 * DAY_MS)
            );
            let told = rows(&app, &app.admin(), &narrow).await;
            assert_eq!(told["rows"], json!([{"properties.n": null, "count": 1}]), "{setting}");
        }
        // A funnel that reads events keeps to the same budgets.
        if setting != "EXPLORE_GROUPS_MAX" {
            let funnel = r#"{ platform { funnel(steps: [
                {type: "ui.clicked", properties: [{path: "n", value: 1}]}, {type: "ui.clicked"}]) { steps { users } } } }"#;
            let answer = app.graphql(Some(&app.admin()), funnel, json!({})).await;
            let error = &answer["errors"][0]["extensions"];
            assert_eq!(json!([error["code"], error["field"]]), json!(["BUDGET_EXCEEDED", "during"]), "{answer}");
        }
        app.stop().await;
    }
});
