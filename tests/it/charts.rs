//! Charts: the job that writes them, and what an entry says of the charts before.

use std::{sync::Arc, time::Duration};

use backbeat::{
    charts::{ChartSettings, Charts, Order, Report},
    db::{
        DbError,
        queries::{
            chart_totals::{self, IdRange, Piece, Totals},
            rankings::Identity,
        },
    },
    domain::{
        chart::{Cadence, Calendar},
        clock::ManualClock,
        counting::Counter,
        entity::EntityKind,
    },
};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    import::{backbeat, text},
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, at},
};

/// Weeks from Friday; T0 is a Monday, so the newest ended one is W3.
pub const WEEKS: [&str; 3] = ["2026-05-22", "2026-05-29", "2026-06-05"];
pub const W1: &str = WEEKS[0];
pub const W2: &str = WEEKS[1];
pub const W3: &str = WEEKS[2];

/// The job as another process runs it, by a clock of the test's.
pub fn charts_at(app: &App, now: &str) -> Charts {
    let settings = ChartSettings {
        calendar: Calendar { week_starts_on: "friday".parse().unwrap() },
        settle: Duration::from_secs(6 * 3_600),
    };
    let clock = Arc::new(ManualClock::at(at(now)));
    Charts::new(app.core.database.clone(), app.core.analytics.clone(), clock, settings)
}

/// Weekly charts of songs.
pub fn weekly(from: &str, to: &str, recount: bool) -> Order {
    let day = |text: &str| at(&format!("{text}T00:00:00Z"));
    Order { of: EntityKind::Song, cadence: Cadence::Weekly, from_ms: day(from), to_ms: day(to), recount }
}

pub fn report(periods: u64, published: u64, revised: u64) -> Report {
    Report { periods, published, revised }
}

/// `count` streams of a song on a day.
pub fn streams(id: &str, day: &str, song: &str, count: i64) -> Value {
    json!({"id": id, "type": "track.played", "occurredAt": format!("{day}T10:00:00Z"), "songId": song,
           "artistId": "artist-1", "albumId": "album-1", "count": count})
}

/// A stream of a song by somebody.
pub fn heard(id: &str, day: &str, song: &str, user: &str) -> Value {
    json!({"id": id, "type": "track.played", "occurredAt": format!("{day}T10:00:00Z"), "songId": song,
           "artistId": "artist-1", "userId": user})
}

pub async fn start(database: &TestDatabase) -> App {
    App::start_with(database, Options::at(T0)).await
}

async fn execute(database: &TestDatabase, sql: &str) {
    let connection = database.connect().await;
    connection.execute_raw(Statement::from_string(connection.get_database_backend(), sql)).await.unwrap();
    connection.close().await.unwrap();
}

const ENTRY: &str =
    "position previousPosition change peakPosition peakOn periodsOnChart streak movement value node { id }";

/// One line an entry: `song place(before) movement peak@day periods/streak value`.
fn lines(entries: &Value) -> Vec<String> {
    let number = |value: &Value| value.as_i64().map_or("-".to_owned(), |number| number.to_string());
    let entries = entries.as_array().unwrap().iter();
    entries
        .map(|entry| {
            let change = entry["previousPosition"].as_i64().zip(entry["position"].as_i64());
            assert_eq!(entry["change"].as_i64(), change.map(|(before, now)| before - now), "{entry}");
            format!(
                "{} {}({}) {} {}@{} {}/{} {}",
                entry["node"]["id"].as_str().unwrap(),
                number(&entry["position"]),
                number(&entry["previousPosition"]),
                entry["movement"].as_str().unwrap(),
                entry["peakPosition"],
                &entry["peakOn"].as_str().unwrap()[5..],
                entry["periodsOnChart"],
                entry["streak"],
                entry["value"],
            )
        })
        .collect()
}

/// The chart that the arguments name: its entries and drop-outs as lines.
pub async fn chart(app: &App, arguments: &str) -> Vec<String> {
    let query =
        format!("{{ chart({arguments}) {{ entries(first: 200) {{ nodes {{ {ENTRY} }} }} dropOuts {{ {ENTRY} }} }} }}");
    let data = app.ask(&query).await;
    if data["chart"].is_null() {
        return vec!["no chart".to_owned()];
    }
    [lines(&data["chart"]["entries"]["nodes"]), lines(&data["chart"]["dropOuts"])].concat()
}

pub async fn revision(app: &App, arguments: &str) -> Value {
    app.ask(&format!("{{ chart({arguments}) {{ revision }} }}")).await["chart"]["revision"].clone()
}

on_every_database!(the_job_publishes_each_period_that_has_ended_once, |database| {
    let app = start(&database).await;
    app.record(&[
        streams("1", W3, "song-a", 3),
        streams("2", "2026-06-11", "song-b", 5),
        streams("3", "2026-06-12", "song-a", 9),
    ])
    .await;
    // The week ends with the Thursday.
    let before = charts_at(&app, "2026-06-11T23:59:59Z");
    before.look().await.unwrap();
    assert_eq!(revision(&app, "of: SONG, on: \"2026-06-05\"").await, Value::Null);
    let after = charts_at(&app, "2026-06-12T00:00:00Z");
    // The newest ended week, and the day before; three kinds each. May, in which nothing was, has been looked at.
    assert_eq!(after.look().await.unwrap(), report(6, 6, 0));
    assert_eq!(after.look().await.unwrap(), report(0, 0, 0));
    let week = ["song-b 1(-) NEW 1@06-05 1/1 5", "song-a 2(-) NEW 2@06-05 1/1 3"];
    assert_eq!(chart(&app, "of: SONG").await, week);
    for day in ["2026-06-05", "2026-06-08", "2026-06-11"] {
        assert_eq!(chart(&app, &format!("of: SONG, on: \"{day}\"")).await, week, "{day}");
    }
    for (arguments, expected) in [
        ("of: SONG, on: \"2026-06-12\"", "no chart"),
        ("of: SONG, on: \"2026-06-15\"", "no chart"),
        ("of: SONG, on: \"2026-06-04\"", "no chart"),
        ("of: SONG, on: \"0001-01-01\"", "no chart"),
        ("of: SONG, cadence: MONTHLY", "no chart"),
        ("of: SONG, cadence: DAILY", "song-b 1(-) NEW 1@06-11 1/1 5"),
        ("of: SONG, cadence: DAILY, on: \"2026-06-05\"", "no chart"),
        ("of: ALBUM", "album-1 1(-) NEW 1@06-05 1/1 8"),
        ("of: ARTIST", "artist-1 1(-) NEW 1@06-05 1/1 8"),
        ("of: SONG, genre: \"pop\"", "no chart"),
        ("of: SONG, genre: \"\"", "no chart"),
        ("of: SONG, country: \"DE\"", "no chart"),
        ("of: SONG, country: \"\"", "no chart"),
    ] {
        assert_eq!(chart(&app, arguments).await, [expected], "{arguments}");
    }
    // A back-fill leaves alone what is there, and gives the days that the look did not go back to.
    assert_eq!(after.run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap(), report(1, 0, 0));
    let days = Order { cadence: Cadence::Daily, ..weekly(W1, "2026-06-15", false) };
    assert_eq!(after.run(&days, |_| {}).await.unwrap(), report(7, 1, 0));
    assert_eq!(after.run(&days, |_| {}).await.unwrap(), report(7, 0, 0));
    assert_eq!(chart(&app, "of: SONG, cadence: DAILY, on: \"2026-06-05\"").await, ["song-a 1(-) NEW 1@06-05 1/1 3"]);
    app.stop().await;
});

on_every_database!(of_two_runs_at_once_one_writes, |database| {
    let app = start(&database).await;
    let songs = (0..300).map(|song| streams(&song.to_string(), W2, &format!("song-{song:03}"), song + 1));
    app.record(&songs.collect::<Vec<_>>()).await;
    let run = || async {
        // Whoever finds the other at work waits, as the command does.
        loop {
            match charts_at(&app, "2026-06-15T12:00:00Z").run(&weekly(W1, W3, false), |_| {}).await {
                Err(DbError::LeaseHeld(_)) => tokio::task::yield_now().await,
                done => return done.unwrap(),
            }
        }
    };
    let (one, other, third) = tokio::join!(run(), run(), run());
    assert_eq!(one.published + other.published + third.published, 1, "{one:?} {other:?} {third:?}");
    assert_eq!(one.revised + other.revised + third.revised, 0);
    assert_eq!(revision(&app, "of: SONG").await, 1);
    app.stop().await;
});

on_every_database!(late_data_makes_a_revision_when_the_period_has_settled, |database| {
    let app = start(&database).await;
    app.record(&[streams("1", W3, "song-a", 3), streams("2", W3, "song-b", 2)]).await;
    charts_at(&app, "2026-06-12T00:05:00Z").look().await.unwrap();
    let first = ["song-a 1(-) NEW 1@06-05 1/1 3", "song-b 2(-) NEW 2@06-05 1/1 2"];
    assert_eq!(chart(&app, "of: SONG").await, first);
    app.record(&[streams("late", "2026-06-11", "song-b", 2)]).await;
    charts_at(&app, "2026-06-12T05:55:00Z").look().await.unwrap();
    assert_eq!(
        (chart(&app, "of: SONG").await, revision(&app, "of: SONG").await),
        (first.map(str::to_owned).to_vec(), json!(1))
    );
    charts_at(&app, "2026-06-12T06:00:00Z").look().await.unwrap();
    let settled = ["song-b 1(-) NEW 1@06-05 1/1 4", "song-a 2(-) NEW 2@06-05 1/1 3"];
    assert_eq!(
        (chart(&app, "of: SONG").await, revision(&app, "of: SONG").await),
        (settled.map(str::to_owned).to_vec(), json!(2))
    );
    // What comes later waits for somebody who wants it.
    app.record(&[streams("later", "2026-06-11", "song-a", 2)]).await;
    let now = charts_at(&app, "2026-06-15T12:00:00Z");
    now.look().await.unwrap();
    assert_eq!(now.run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap(), report(1, 0, 0));
    assert_eq!(revision(&app, "of: SONG").await, 2);
    assert_eq!(now.run(&weekly(W1, "2026-06-15", true), |_| {}).await.unwrap(), report(1, 0, 1));
    assert_eq!(now.run(&weekly(W1, "2026-06-15", true), |_| {}).await.unwrap(), report(1, 0, 0));
    let revised = ["song-a 1(-) NEW 1@06-05 1/1 5", "song-b 2(-) NEW 2@06-05 1/1 4"];
    assert_eq!(
        (chart(&app, "of: SONG").await, revision(&app, "of: SONG").await),
        (revised.map(str::to_owned).to_vec(), json!(3))
    );
    app.stop().await;
});

/// Three weeks: song-a falls out of the second and comes back, song-c comes in the second and stays.
async fn three_weeks(app: &App) {
    app.record(&[
        streams("1", W1, "song-a", 9),
        streams("2", W1, "song-b", 5),
        streams("3", W2, "song-b", 5),
        streams("4", W2, "song-c", 7),
        streams("5", W3, "song-a", 6),
        streams("6", W3, "song-c", 4),
    ])
    .await;
}

on_every_database!(an_entry_says_what_became_of_the_entity, |database| {
    let app = start(&database).await;
    three_weeks(&app).await;
    let now = charts_at(&app, "2026-06-15T12:00:00Z");
    assert_eq!(now.run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap(), report(3, 3, 0));
    for (week, expected) in WEEKS.into_iter().zip([
        &["song-a 1(-) NEW 1@05-22 1/1 9", "song-b 2(-) NEW 2@05-22 1/1 5"][..],
        &["song-c 1(-) NEW 1@05-29 1/1 7", "song-b 2(2) SAME 2@05-22 2/2 5", "song-a -(1) OUT 1@05-22 1/0 9"],
        &["song-a 1(-) RE_ENTRY 1@05-22 2/1 6", "song-c 2(1) DOWN 1@05-29 2/2 4", "song-b -(2) OUT 2@05-22 2/0 5"],
    ]) {
        assert_eq!(chart(&app, &format!("of: SONG, on: \"{week}\"")).await, expected, "{week}");
    }
    let data = app
        .ask(
            r#"{ songs(ids: ["song-a", "song-b", "song-c"]) { chartHistory { position movement span { from to } node { id } } }
                 song(id: "song-a") { chartHistory(first: 1) { position } daily: chartHistory(cadence: DAILY) { position } }
                 artist(id: "artist-1") { chartHistory { position } } }"#,
        )
        .await;
    let entry = |song: &str, position: i64, movement: &str, week: usize| {
        let ends = ["2026-05-22", "2026-05-29", "2026-06-05", "2026-06-12"].map(|day| format!("{day}T00:00:00.000Z"));
        json!({"position": position, "movement": movement, "node": {"id": song},
               "span": {"from": ends[week], "to": ends[week + 1]}})
    };
    assert_eq!(
        data,
        json!({
            "songs": [
                {"chartHistory": [entry("song-a", 1, "RE_ENTRY", 2), entry("song-a", 1, "NEW", 0)]},
                {"chartHistory": [entry("song-b", 2, "SAME", 1), entry("song-b", 2, "NEW", 0)]},
                {"chartHistory": [entry("song-c", 2, "DOWN", 2), entry("song-c", 1, "NEW", 1)]},
            ],
            "song": {"chartHistory": [{"position": 1}], "daily": []},
            "artist": {"chartHistory": []},
        })
    );
    app.stop().await;
});

on_every_database!(later_charts_follow_a_correction_of_an_earlier_one, |database| {
    let app = start(&database).await;
    three_weeks(&app).await;
    let now = charts_at(&app, "2026-06-15T12:00:00Z");
    // From the newest back: each earlier one changes what the later ones say, never their order and numbers.
    for (from, to, expected) in
        [(W3, "2026-06-06", report(1, 1, 0)), (W2, "2026-05-30", report(1, 1, 1)), (W1, "2026-05-23", report(1, 1, 2))]
    {
        assert_eq!(now.run(&weekly(from, to, false), |_| {}).await.unwrap(), expected, "{from}");
    }
    let w2 = ["song-c 1(-) NEW 1@05-29 1/1 7", "song-b 2(2) SAME 2@05-22 2/2 5", "song-a -(1) OUT 1@05-22 1/0 9"];
    let w3 = ["song-a 1(-) RE_ENTRY 1@05-22 2/1 6", "song-c 2(1) DOWN 1@05-29 2/2 4", "song-b -(2) OUT 2@05-22 2/0 5"];
    assert_eq!(chart(&app, &format!("of: SONG, on: \"{W2}\"")).await, w2);
    assert_eq!(chart(&app, "of: SONG").await, w3);
    assert_eq!(revision(&app, "of: SONG").await, 3);
    // A correction of the first week makes song-c an old acquaintance. Streams that came late to the last week
    // stay out of its chart, which nobody asked to count again.
    app.record(&[streams("late", W1, "song-c", 20), streams("later", W3, "song-c", 20)]).await;
    assert_eq!(now.run(&weekly(W1, "2026-05-23", true), |_| {}).await.unwrap(), report(1, 0, 3));
    let w3 = ["song-a 1(-) RE_ENTRY 1@06-05 2/1 6", "song-c 2(1) DOWN 1@05-22 3/3 4", "song-b -(2) OUT 2@05-29 2/0 5"];
    assert_eq!(chart(&app, "of: SONG").await, w3);
    // A run that was cut off before the last week followed is made good by the next one.
    let last = "entity_kind = 1 AND cadence = 2 AND period_start = 1780617600000";
    for table in ["chart", "chart_entry"] {
        execute(&database, &format!("DELETE FROM {table} WHERE {last} AND revision = 4")).await;
    }
    execute(&database, "DELETE FROM chart_period").await;
    assert_ne!(chart(&app, "of: SONG").await, w3);
    assert_eq!(now.run(&weekly(W1, "2026-05-23", false), |_| {}).await.unwrap(), report(1, 0, 1));
    assert_eq!(chart(&app, "of: SONG").await, w3);
    app.stop().await;
});

on_every_database!(ties_go_by_listeners_then_by_the_place_before_then_by_id, |database| {
    let app = start(&database).await;
    let mut events = vec![streams("d-1", W2, "song-d", 9), streams("c-1", W2, "song-c", 8)];
    for (song, users) in
        [("song-a", &["u1", "u1", "u1"][..]), ("song-b", &["u1", "u1", "u2"]), ("song-c", &["u1", "u1", "u1"])]
    {
        events.extend((0..).zip(users).map(|(number, user)| heard(&format!("{song}-{number}"), W3, song, user)));
    }
    events.extend([streams("d-2", W3, "song-d", 3), streams("e", W3, "song-e", 3), streams("f", W3, "song-f", 4)]);
    app.record(&events).await;
    let now = charts_at(&app, "2026-06-15T12:00:00Z");
    for stage in ["open", "merged"] {
        now.run(&weekly(W1, "2026-06-15", true), |_| {}).await.unwrap();
        // All but song-f have three streams. song-b: two listeners; song-c and song-a: one, song-c was on the chart
        // before; song-d and song-e: none, song-d was on the chart before.
        let ids: Vec<String> =
            chart(&app, "of: SONG").await.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(ids, ["song-f", "song-b", "song-c", "song-a", "song-d", "song-e"], "{stage}");
        assert_eq!(revision(&app, "of: SONG").await, 1, "{stage}");
        app.merge_audience().await;
    }
    app.stop().await;
});

on_every_database!(two_hundred_places_are_kept_and_ties_at_the_last_are_decided, |database| {
    let app = start(&database).await;
    // 150 with more streams than the rest; 1,200 with one stream each compete for fifty places.
    let mut events: Vec<Value> =
        (0..150).map(|song| streams(&format!("top-{song}"), W3, &format!("top-{song:03}"), 1_000 - song)).collect();
    events.extend((0..1_200).map(|song| streams(&format!("tied-{song}"), W3, &format!("tied-{song:04}"), 1)));
    // Of the tied, the last ten have a listener, and the last of all was on the chart before.
    for song in 1_190..1_200 {
        events[150 + song] = heard(&format!("tied-{song}"), W3, &format!("tied-{song:04}"), "u1");
    }
    events.push(streams("before", W2, "tied-1199", 1));
    app.record(&events).await;
    app.merge_audience().await;
    charts_at(&app, "2026-06-15T12:00:00Z").run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap();
    let ids: Vec<String> =
        chart(&app, "of: SONG").await.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let tied = std::iter::once(1_199).chain(1_190..1_199).chain(0..40).map(|song| format!("tied-{song:04}"));
    let expected: Vec<String> = (0..150).map(|song| format!("top-{song:03}")).chain(tied).collect();
    assert_eq!(ids, expected);
    app.stop().await;
});

on_every_database!(ids_are_cut_into_pieces_that_bound_what_is_sorted, |database| {
    let app = start(&database).await;
    // Some songs on every day, many on one day alone.
    let mut events: Vec<Value> = (0..600)
        .map(|song| streams(&song.to_string(), W3, &format!("song-{:03}", song * 7 % 600), song % 37 + 1))
        .collect();
    for day in 6..=11 {
        let songs = (0..60).map(|song| {
            streams(&format!("{day}-{song}"), &format!("2026-06-{day:02}"), &format!("song-{song:03}"), 40)
        });
        events.extend(songs);
    }
    app.record(&events).await;
    let days: Vec<i64> = (0..7).map(|day| at("2026-06-05T00:00:00Z") + day * 86_400_000).collect();
    let identity = Identity::Plain;
    let totals = Totals { of: EntityKind::Song, identity, counter: Counter::Streams, days: &days, places: 1_000 };
    let conn = app.core.database.scanner();
    let whole = Piece::Ids(IdRange::default());
    let mut all = chart_totals::list_highest(conn, &totals, &whole).await.unwrap();
    all.sort();
    assert_eq!(all.len(), 600);
    for rows in [1, 14, 100, 959, 1_000_000] {
        let ranges = chart_totals::list_ranges(conn, &totals, rows).await.unwrap();
        let mut together = Vec::new();
        for range in &ranges {
            let piece = Piece::Ids(range.clone());
            let of_piece = chart_totals::list_highest(conn, &totals, &piece).await.unwrap();
            // Songs below 60 have a row on each of seven days, the others one.
            let day_rows: usize = of_piece.iter().map(|(_, id, _)| if &**id < "song-060" { 7 } else { 1 }).sum();
            assert!(day_rows <= rows.max(14), "{rows}: {day_rows}");
            together.extend(of_piece);
        }
        together.sort();
        assert_eq!(together, all, "{rows}");
        assert_eq!(ranges.len() > 1, rows < 1_000_000, "{rows}");
    }
    app.stop().await;
});

on_every_database!(genres_have_charts_of_their_own, |database| {
    let app = start(&database).await;
    app.record(&[
        streams("1", W2, "song-a", 9),
        streams("2", W2, "song-b", 5),
        streams("3", W3, "song-b", 5),
        streams("4", W3, "song-c", 7),
    ])
    .await;
    let genre = |kind: i16, id: &str, genre: &str| {
        format!("INSERT INTO entity_genre (entity_kind, entity_id, genre) VALUES ({kind}, '{id}', '{genre}')")
    };
    for sql in [
        genre(1, "song-a", "pop"),
        genre(1, "song-b", "rock"),
        genre(1, "song-c", "pop"),
        genre(1, "song-c", "rock"),
        genre(1, "song-z", "jazz"),
        genre(4, "artist-1", "pop"),
    ] {
        execute(&database, &sql).await;
    }
    let now = charts_at(&app, "2026-06-15T12:00:00Z");
    // Two weeks of the platform, pop and rock; nobody heard jazz.
    assert_eq!(now.run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap(), report(2, 6, 0));
    for (arguments, expected) in [
        ("of: SONG, genre: \"pop\"", &["song-c 1(-) NEW 1@06-05 1/1 7", "song-a -(1) OUT 1@05-29 1/0 9"][..]),
        ("of: SONG, genre: \"rock\"", &["song-c 1(-) NEW 1@06-05 1/1 7", "song-b 2(1) DOWN 1@05-29 2/2 5"]),
        ("of: SONG, genre: \"jazz\"", &["no chart"]),
        ("of: SONG, genre: \"Pop\"", &["no chart"]),
        ("of: ALBUM, genre: \"pop\"", &["no chart"]),
    ] {
        assert_eq!(chart(&app, arguments).await, expected, "{arguments}");
    }
    let artists = Order { of: EntityKind::Artist, ..weekly(W1, "2026-06-15", false) };
    now.run(&artists, |_| {}).await.unwrap();
    assert_eq!(chart(&app, "of: ARTIST, genre: \"pop\"").await, ["artist-1 1(1) SAME 1@05-29 2/2 12"]);
    // An entity's history is of the whole platform.
    let data = app.ask(r#"{ song(id: "song-b") { chartHistory { position } } chart(of: SONG, genre: "rock") { genre country of cadence } }"#).await;
    assert_eq!(data["song"]["chartHistory"], json!([{"position": 2}, {"position": 2}]));
    assert_eq!(data["chart"], json!({"genre": "rock", "country": null, "of": "SONG", "cadence": "WEEKLY"}));
    // A genre that nothing has any more loses its places by a correction, its charts stay.
    execute(&database, "DELETE FROM entity_genre WHERE entity_kind = 1 AND genre = 'rock'").await;
    assert_eq!(now.run(&weekly(W1, "2026-06-15", true), |_| {}).await.unwrap(), report(2, 0, 2));
    assert_eq!(chart(&app, "of: SONG, genre: \"rock\"").await, [""; 0]);
    assert_eq!(now.run(&weekly(W1, "2026-06-15", true), |_| {}).await.unwrap(), report(2, 0, 0));
    app.stop().await;
});

on_every_database!(pages_of_a_chart_list_every_entry_once, |database| {
    let app = start(&database).await;
    let songs = (0..143).map(|song| streams(&song.to_string(), W3, &format!("song-{song:03}"), 1_000 - song));
    app.record(&songs.collect::<Vec<_>>()).await;
    charts_at(&app, "2026-06-15T12:00:00Z").run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap();
    for first in [1, 50, 142, 143, 200] {
        let (mut listed, mut after) = (Vec::new(), Value::Null);
        loop {
            let query = format!(
                "query ($after: String) {{ chart(of: SONG) {{ entries(first: {first}, after: $after) {{ totalCount
                    pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
                    edges {{ cursor node {{ position node {{ id }} }} }} nodes {{ position node {{ id }} }} }} }} }}"
            );
            let answer = app.graphql(Some(&app.admin()), &query, json!({ "after": after })).await;
            let page = &answer["data"]["chart"]["entries"];
            let edges = page["edges"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
            let info = &page["pageInfo"];
            assert_eq!((&page["totalCount"], &info["hasPreviousPage"]), (&json!(143), &json!(!after.is_null())));
            assert_eq!(
                (&info["startCursor"], &info["endCursor"]),
                (&edges[0]["cursor"], &edges[edges.len() - 1]["cursor"])
            );
            assert_eq!(page["nodes"], json!(edges.iter().map(|edge| &edge["node"]).collect::<Vec<_>>()));
            listed.extend(edges.iter().map(|edge| edge["node"].clone()));
            assert_eq!(info["hasNextPage"], listed.len() < 143);
            after = info["endCursor"].clone();
            if info["hasNextPage"] == false || (first == 1 && listed.len() == 5) {
                break;
            }
        }
        let entry = |song: usize| json!({"position": song + 1, "node": {"id": format!("song-{song:03}")}});
        assert_eq!(listed, (0..listed.len()).map(entry).collect::<Vec<_>>(), "{first}");
    }
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_chart_can_be_asked_for_is_bad_input() {
    let database = TestDatabase::sqlite();
    let app = start(&database).await;
    app.record(&[streams("1", W2, "song-a", 3), streams("2", W3, "song-a", 3)]).await;
    charts_at(&app, "2026-06-15T12:00:00Z").run(&weekly(W1, "2026-06-15", false), |_| {}).await.unwrap();
    let cursor = |data: &Value| data["chart"]["entries"]["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    let newest = cursor(&app.ask("{ chart(of: SONG) { entries { pageInfo { endCursor } } } }").await);
    let query = format!("{{ chart(of: SONG, on: \"{W2}\") {{ entries {{ pageInfo {{ endCursor }} }} }} }}");
    let other = cursor(&app.ask(&query).await);
    let (stem, _) = newest.rsplit_once('-').unwrap();
    let page = |arguments: &str| format!("chart(of: SONG) {{ entries({arguments}) {{ totalCount }} }}");
    for (query, field) in [
        ("chart(of: PLAYLIST) { revision }".to_owned(), Some("of")),
        ("chart(of: SONG, on: \"2026-06-16\") { revision }".to_owned(), Some("on")),
        ("chart(of: SONG, on: \"9999-12-31\") { revision }".to_owned(), Some("on")),
        ("chart(of: SONG, on: \"2026-02-29\") { revision }".to_owned(), None),
        ("chart(of: SONG, on: \"+12026-02-2\") { revision }".to_owned(), None),
        ("chart(of: SONG, on: \"yesterday\") { revision }".to_owned(), None),
        ("chart(of: SONG, on: 20260601) { revision }".to_owned(), None),
        (page("first: 0"), Some("first")),
        (page("first: -1"), Some("first")),
        (page("first: 201"), Some("first")),
        (page("after: \"nonsense\""), Some("after")),
        (page("after: \"\""), Some("after")),
        (page("after: \"é-1\""), Some("after")),
        (page(&format!("after: \"{stem}\"")), Some("after")),
        (page(&format!("after: \"{stem}-0\"")), Some("after")),
        (page(&format!("after: \"{stem}--1\"")), Some("after")),
        (page(&format!("after: \"{stem}-201\"")), Some("after")),
        (page(&format!("after: \"{other}\"")), Some("after")),
        ("song(id: \"song-a\") { chartHistory(first: 0) { position } }".to_owned(), Some("first")),
        ("song(id: \"song-a\") { chartHistory(first: 201) { position } }".to_owned(), Some("first")),
    ] {
        let answer = app.graphql(Some(&app.admin()), &format!("{{ {query} }}"), json!({})).await;
        let extensions = &answer["errors"][0]["extensions"];
        let expected = (&json!("BAD_USER_INPUT"), &field.map_or(Value::Null, |field| json!(field)));
        assert_eq!((&extensions["code"], &extensions["field"]), expected, "{query}\n{answer:#}");
    }
    // Behind the last entry is nothing.
    assert_eq!(
        app.ask(&format!(
            "{{ {} }}",
            page(&format!("after: \"{newest}\"")).replace("totalCount", "nodes { position }")
        ))
        .await,
        json!({"chart": {"entries": {"nodes": []}}})
    );
    // A correction ends the pages that were begun before it.
    app.record(&[streams("3", W3, "song-b", 1)]).await;
    charts_at(&app, "2026-06-15T12:00:00Z").run(&weekly(W3, "2026-06-15", true), |_| {}).await.unwrap();
    let answer =
        app.graphql(Some(&app.admin()), &format!("{{ {} }}", page(&format!("after: \"{newest}\""))), json!({})).await;
    assert_eq!(answer["errors"][0]["extensions"]["field"], "after", "{answer:#}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weeks_begin_when_the_operator_says() {
    let database = TestDatabase::sqlite();
    let options = Options::at(T0).set("CHART_WEEK_STARTS_ON", "Monday").set("CHART_SETTLE", "0");
    let app = App::start_with(&database, options).await;
    app.record(&[streams("1", "2026-06-07", "song-a", 1), streams("2", "2026-06-08", "song-b", 1)]).await;
    app.core.charts.look().await.unwrap();
    let data = app.ask("{ chart(of: SONG) { span { from to } publishedAt entries { nodes { node { id } } } } }").await;
    let span = json!({"from": "2026-06-08T00:00:00.000Z", "to": "2026-06-15T00:00:00.000Z"});
    let entries = json!({"nodes": [{"node": {"id": "song-b"}}]});
    assert_eq!(data["chart"], json!({"span": span, "publishedAt": "2026-06-15T12:00:00.000Z", "entries": entries}));
    app.stop().await;
}

#[test]
fn the_command_publishes_past_charts_and_says_how_many() {
    let database = TestDatabase::sqlite();
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = backbeat(directory.path(), &[("DATABASE_URL", &database.url)], arguments);
        (output.status.code(), text(&output.stdout))
    };
    let charts = |arguments: &[&str]| run(&[&["job", "run", "charts"], arguments].concat());
    let said = |line: &str| (Some(0), format!("{line}\n"));
    assert_eq!(charts(&["--from", "2024-01-01"]), said("0 periods, 0 charts published, 0 revised"));
    let events = [streams("1", "2024-03-01", "song-a", 3), streams("2", "2024-03-09", "song-b", 2)];
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    std::fs::write(directory.path().join("events.ndjson"), lines.join("\n")).unwrap();
    assert_eq!(run(&["import", "events.ndjson"]).0, Some(0));
    // Two weeks, two days with streams among nine, one month; songs, albums and artists.
    let march = ["--from", "2024-02-27", "--to", "2024-03-09"];
    assert_eq!(charts(&march), said("36 periods, 15 charts published, 0 revised"));
    assert_eq!(charts(&march), said("36 periods, 0 charts published, 0 revised"));
    let weeks = [&march[..], &["--cadence", "weekly", "--of", "song", "--of", "artist", "--revise"]].concat();
    assert_eq!(charts(&weeks), said("4 periods, 0 charts published, 0 revised"));
    for wrong in [
        &["--from", "2024-02-30"][..],
        &["--from", "1899-12-31"],
        &["--from", "10000-01-01"],
        &["--from", "2024-01-01", "--cadence", "yearly"],
        &["--from", "2024-01-01", "--of", "playlist"],
        &[],
    ] {
        assert_eq!(charts(wrong), (Some(2), String::new()), "{wrong:?}");
    }
}
