//! Charts by country, against a count from the events alone.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use backbeat::{
    charts::Report,
    db::queries::{
        chart_totals::{self, Totals},
        rankings::Identity,
    },
    domain::{counting::Counter, entity::EntityKind},
};
use serde_json::{Value, json};

use crate::{
    charts::{W1, W2, W3, chart, charts_at, heard, report, start, streams, weekly},
    on_every_database,
    support::{App, at},
};

const NOW: &str = "2026-06-15T12:00:00Z";

fn with(mut event: Value, more: Value) -> Value {
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    event
}

/// Streams in Germany, one by each of so many people.
fn people(day: &str, song: &str, count: usize) -> Vec<Value> {
    let stream = |person: usize| heard(&format!("{day} {song} {person}"), day, song, &format!("person-{person}"));
    (0..count).map(|person| with(stream(person), json!({"country": "DE"}))).collect()
}

/// Random plays and likes of two weeks: by people in several countries, by people who are not signed in, totals of
/// other systems, plays from nobody knows where.
fn some_weeks() -> Vec<Value> {
    let mut seed = 7_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let days = ["2026-05-29", "2026-05-30", "2026-06-03", "2026-06-05", "2026-06-06", "2026-06-09", "2026-06-11"];
    let mut events = Vec::new();
    for number in 0..3_000 {
        let day = days[random(7) as usize];
        let song = random(12).min(random(12));
        let mut event = json!({"id": format!("random-{number}"), "type": "track.played", "occurredAt": format!("{day}T{:02}:00:00Z", random(24)),
                               "songId": format!("song-{song:02}"), "artistId": format!("artist-{}", song % 3), "playedMs": 60_000});
        let mut set = |name: &str, value: Value| event[name] = value;
        match random(10) {
            0 => set("count", json!(random(3) + 1)),
            1 => set("anonymousId", json!(format!("guest-{}", random(6)))),
            2 => {
                set("type", json!("track.liked"));
                set("userId", json!(format!("user-{}", random(15))));
            }
            3 => {
                set("playedMs", json!(10_000));
                set("userId", json!("skipper"));
            }
            _ => set("userId", json!(format!("user-{}", random(15)))),
        }
        let countries = ["DE", "DE", "DE", "FR", "FR", "GB", "JP"];
        match random(if song > 8 { 60 } else { 8 }) as usize {
            8.. => set("country", json!("DE")),
            7 => {}
            index => set("country", json!(countries[index])),
        }
        events.push(event);
    }
    events
}

/// The songs of each country with their streams, in the order of its chart, counted from the events of a week.
fn counted(
    events: &[Value],
    week: &str,
    before: &HashMap<String, Vec<(String, i64)>>,
) -> HashMap<String, Vec<(String, i64)>> {
    #[derive(Default)]
    struct Count {
        streams: i64,
        unknown: i64,
        listeners: BTreeSet<String>,
        people: BTreeSet<String>,
    }
    let (from, to) = (at(&format!("{week}T00:00:00Z")), at(&format!("{week}T00:00:00Z")) + 7 * 86_400_000);
    let mut counts: BTreeMap<(String, String), Count> = BTreeMap::new();
    for event in events {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let (Some(country), true) = (text("country"), (from..to).contains(&at(&text("occurredAt").unwrap()))) else {
            continue;
        };
        let count = counts.entry((country, text("songId").unwrap())).or_default();
        let is_stream = event["type"] == "track.played" && event["playedMs"] != 10_000;
        let times = event["count"].as_i64().unwrap_or(1);
        count.streams += if is_stream { times } else { 0 };
        match (text("userId"), text("anonymousId")) {
            (Some(user), _) if is_stream => {
                count.listeners.insert(user.clone());
                count.people.insert(user);
            }
            (Some(user), _) if event["type"] == "track.liked" => drop(count.people.insert(user)),
            (None, Some(guest)) if is_stream => drop(count.people.insert(guest)),
            _ => count.unknown += if is_stream { times } else { 0 },
        }
    }
    let mut charts: HashMap<String, Vec<_>> = HashMap::new();
    for ((country, song), count) in counts {
        if count.streams > 0 && count.people.len() as i64 + count.unknown >= 5 {
            let place = before.get(&country).and_then(|chart| chart.iter().position(|(known, _)| *known == song));
            let key = (Reverse(count.streams), Reverse(count.listeners.len()), place.unwrap_or(usize::MAX), song);
            charts.entry(country).or_default().push(key);
        }
    }
    let order = |mut chart: Vec<(Reverse<i64>, _, _, String)>| {
        chart.sort();
        chart.into_iter().map(|(Reverse(streams), _, _, song)| (song, streams)).collect()
    };
    charts.into_iter().map(|(country, chart)| (country, order(chart))).collect()
}

async fn published(app: &App, arguments: &str) -> Vec<(String, i64)> {
    let lines = chart(app, arguments).await.into_iter().filter(|line| line != "no chart" && !line.contains(" OUT "));
    lines
        .map(|line| {
            let (song, rest) = line.split_once(' ').unwrap();
            (song.to_owned(), rest.rsplit_once(' ').unwrap().1.parse().unwrap())
        })
        .collect()
}

on_every_database!(charts_by_country_are_what_the_events_say, |database| {
    let app = start(&database).await;
    let events = some_weeks();
    let w2 = counted(&events, W2, &HashMap::new());
    let w3 = counted(&events, W3, &w2);
    assert!(w3["DE"].len() > 5 && w3["JP"].len() < w3["DE"].len(), "{w3:?}");
    // Some of it is in stored days, some waits to be merged into them.
    app.record(&events[..1_000]).await;
    app.merge_audience().await;
    app.record(&events[1_000..]).await;
    for stage in ["half open", "merged"] {
        charts_at(&app, NOW).run(&weekly(W1, "2026-06-15", true), |_| {}).await.unwrap();
        for country in ["DE", "FR", "GB", "JP"] {
            for (week, expected) in [(W2, &w2), (W3, &w3)] {
                let arguments = format!("of: SONG, on: \"{week}\", country: \"{country}\"");
                let expected = expected.get(country).cloned().unwrap_or_default();
                assert_eq!(published(&app, &arguments).await, expected, "{stage}: {arguments}");
            }
        }
        for none in ["country: \"US\"", "country: \"DE\", genre: \"pop\""] {
            assert_eq!(chart(&app, &format!("of: SONG, {none}")).await, ["no chart"], "{none}");
        }
        app.merge_audience().await;
    }
    // Nothing was written the second time.
    let again = charts_at(&app, NOW).run(&weekly(W1, "2026-06-15", true), |_| {}).await.unwrap();
    assert_eq!(again, Report { periods: 2, ..Report::default() });
    let data = app.ask(r#"{ chart(of: SONG, country: "DE") { revision country genre } }"#).await;
    assert_eq!(data["chart"], json!({"revision": 1, "country": "DE", "genre": null}));
    app.stop().await;
});

on_every_database!(what_few_people_streamed_is_on_no_chart_of_their_country, |database| {
    let app = start(&database).await;
    let of_country = |event: Value, country: &str| with(event, json!({ "country": country }));
    let mut events = people(W3, "song-many", 5);
    events.extend(people(W3, "song-few", 4));
    // The same four on every day of the week.
    events.extend((5..12).flat_map(|day| people(&format!("2026-06-{day:02}"), "song-fans", 4)));
    events.extend([
        of_country(streams("total", W3, "song-total", 6), "DE"),
        of_country(streams("small", W3, "song-small", 4), "DE"),
        of_country(streams("abroad", W3, "song-many", 4), "FR"),
        streams("nowhere", W3, "song-total", 10),
    ]);
    app.record(&events).await;
    let now = charts_at(&app, NOW);
    // The platform and Germany. Of France nothing may be told.
    assert_eq!(now.run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap(), report(1, 2, 0));
    let germany = ["song-total 1(-) NEW 1@06-05 1/1 6", "song-many 2(-) NEW 2@06-05 1/1 5"];
    assert_eq!(chart(&app, "of: SONG, country: \"DE\"").await, germany);
    assert_eq!(chart(&app, "of: SONG, country: \"FR\"").await, ["no chart"]);
    assert_eq!(published(&app, "of: SONG").await[0], ("song-fans".to_owned(), 28));
    let data = app
        .ask(
            r#"{ songs(ids: ["song-many", "song-few"]) { chartHistory(country: "de") { position }
                 france: chartHistory(country: "FR") { position } all: chartHistory { position } none: chartHistory(country: "DE", genre: "") { position } } }"#,
        )
        .await;
    let history = |country: Value, all: i64| json!({"chartHistory": country, "france": [], "all": [{"position": all}], "none": []});
    assert_eq!(data["songs"], json!([history(json!([{"position": 2}]), 3), history(json!([]), 4)]));
    app.stop().await;
});

on_every_database!(a_country_has_a_series_of_its_own, |database| {
    let app = start(&database).await;
    let de =
        |id: &str, day: &str, song: &str, count: i64| with(streams(id, day, song, count), json!({"country": "DE"}));
    app.record(&[
        de("1", W1, "song-a", 9),
        de("2", W1, "song-b", 8),
        de("3", W2, "song-b", 9),
        streams("4", W2, "song-a", 20),
        de("5", W3, "song-a", 7),
        de("6", W3, "song-b", 7),
    ])
    .await;
    let now = charts_at(&app, NOW);
    assert_eq!(now.run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap(), report(3, 6, 0));
    // Of two that tie the one that was on the chart before comes first.
    let w3 = ["song-b 1(1) SAME 1@05-29 3/3 7", "song-a 2(-) RE_ENTRY 1@05-22 2/1 7"];
    assert_eq!(chart(&app, "of: SONG, country: \"DE\"").await, w3);
    assert_eq!(chart(&app, "of: SONG").await[0], "song-a 1(1) SAME 1@05-22 3/3 7");
    // A correction of the first week is followed in the third, without anything being counted again there.
    app.record(&[de("late", W1, "song-c", 30), de("later", W3, "song-c", 30)]).await;
    // The platform's and Germany's three weeks each.
    assert_eq!(now.run(&weekly(W1, "2026-05-23", true), |_| {}).await.unwrap(), report(1, 0, 6));
    let w3 = ["song-b 1(1) SAME 1@05-29 3/3 7", "song-a 2(-) RE_ENTRY 2@05-22 2/1 7"];
    assert_eq!(chart(&app, "of: SONG, country: \"DE\"").await, w3);
    app.stop().await;
});

on_every_database!(countries_are_counted_alike_in_pieces_of_any_size, |database| {
    let app = start(&database).await;
    app.record(&some_weeks()).await;
    app.merge_audience().await;
    let days: Vec<i64> = (0..14).map(|day| at(&format!("{W2}T00:00:00Z")) + day * 86_400_000).collect();
    let (of, identity, counter) = (EntityKind::Song, Identity::Plain, Counter::Streams);
    let totals = Totals { of, identity, counter, days: &days, places: 200 };
    let mut answers = Vec::new();
    for rows in [1, 30, 1_000_000] {
        let pass = app.core.analytics.country_pass(of, &days);
        assert!(pass.apart.is_empty());
        let ranges = chart_totals::list_ranges(app.core.database.scanner(), &totals, rows).await.unwrap();
        assert_eq!(ranges.len() > 1, rows < 1_000_000);
        let mut found = BTreeMap::new();
        for range in &ranges {
            for entity in app.core.analytics.in_countries(&pass, range).await.unwrap() {
                let key = (entity.country.clone(), entity.id.clone());
                assert!(found.insert(key, (entity.streams, entity.listeners_and_size())).is_none(), "counted twice");
            }
        }
        answers.push(found);
    }
    assert!(answers[0].len() > 30 && answers.iter().all(|answer| *answer == answers[0]));
    app.stop().await;
});
