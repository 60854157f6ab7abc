//! Events of days long past are removed, and quarter-hours become hours: no number changes, nothing counts twice, and
//! whoever is killed on the way leaves nothing behind that is not as it says.

use std::{future::Future, pin::pin, sync::Arc, task::Poll};

use backbeat::{
    db::{Database, DatabaseSettings, DbError},
    domain::window::{DAY_MS, HOUR_MS},
    keeping::{Keeper, KeepingSettings, Report},
    rollup::recount::{self, Days, RebuildError},
};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, at, eventually, play, service::verify_text},
};

/// Longer than nothing is removed after a seal.
const PAUSE_MS: i64 = 3 * 60_000;

/// Plays of some songs by some people on days of half a year, with an order here and there.
fn events() -> Vec<Value> {
    let mut events = Vec::new();
    for month in 1..=6 {
        for day in [1, 2, 9, 10] {
            for number in 0..12 {
                let id = format!("{month}-{day}-{number}");
                let hour = (number * 5 + day) % 24;
                let minute = number * 7 % 60;
                let mut event = play(
                    &id,
                    &format!("2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z"),
                    &format!("u{}", number % 5),
                );
                event["songId"] = json!(format!("song-{}", number % 3));
                event["country"] = json!(["DE", "FR"][number % 2]);
                events.push(event);
            }
            events.push(json!({
                "id": format!("order-{month}-{day}"), "type": "order.paid", "songId": "song-1", "artistId": "artist-1",
                "occurredAt": format!("2026-{month:02}-{day:02}T10:50:00Z"), "userId": "u1", "amount": "1.50", "currency": "EUR",
            }));
        }
    }
    events
}

/// Numbers of every sort, over all the time and parts of it; windows are on whole hours.
async fn numbers(app: &App) -> Value {
    let metrics = "plays streams purchases revenue { amount } listeners { value }";
    // What these say does not move with the clock.
    let year = r#"during: {between: {from: "2026-01-01T00:00:00Z", to: "2027-01-01T00:00:00Z"}}"#;
    let cut = r#"during: {between: {from: "2026-01-02T14:00:00Z", to: "2026-03-09T09:00:00Z"}}"#;
    app.ask(&format!(
        r#"{{
            platform {{
                metrics(during: {{period: ALL_TIME}}) {{ {metrics} }}
                featureUsage({year}) {{ type events users {{ value }} }}
                activeUsersTimeline({year}, every: MONTH) {{ start users {{ value }} }}
                breakdown(by: COUNTRY, {year}) {{ label value }}
            }}
            artist(id: "artist-1") {{
                metrics({cut}) {{ {metrics} previous {{ {metrics} }} }}
                timeline({year}, every: MONTH, timeZone: "Europe/Berlin") {{
                    points {{ start metrics {{ {metrics} }} }} }}
            }}
            song(id: "song-1") {{
                timeline({cut}, every: HOUR) {{
                    columns(of: [PLAYS, LISTENERS]) {{ series {{ values total }} }} }}
            }}
            ranking(of: SONG, during: {{period: ALL_TIME}}) {{ edges {{ position value node {{ id }} }} }}
        }}"#
    ))
    .await
}

/// A look of the job, after the service's own.
async fn look(app: &App) -> Report {
    eventually("the job is free", async || match app.core.keeper.look(|_| {}).await {
        Ok(report) => Ok(report),
        Err(DbError::LeaseHeld(_)) => Err("it is at work".to_owned()),
        Err(error) => panic!("{error}"),
    })
    .await
}

async fn count(database: &TestDatabase, sql: &str) -> i64 {
    let connection = database.connect().await;
    let statement = Statement::from_string(connection.get_database_backend(), format!("SELECT ({sql})"));
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    connection.close().await.unwrap();
    row.try_get_by_index(0).unwrap()
}

async fn tamper(database: &TestDatabase, sql: &str) {
    let connection = database.connect().await;
    connection.execute_unprepared(sql).await.unwrap();
    connection.close().await.unwrap();
}

async fn rebuild(app: &App, which: Days) -> Result<u64, RebuildError> {
    recount::rebuild(&app.core.database, &Default::default(), &*app.core.clock, which, |_| {}).await
}

/// What becomes of an event that is sent again: its status and code.
async fn sent_again(app: &App, event: &Value) -> (String, Option<String>) {
    let (_, answer) = app.post_events(event.to_string()).await;
    let result = &answer["results"][0];
    (result["status"].as_str().unwrap().to_owned(), result["code"].as_str().map(ToOwned::to_owned))
}

on_every_database!(numbers_outlive_the_events_they_were_counted_from, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    app.merge_audience().await;
    let before = numbers(&app).await;
    let counted = app.verify().await;
    app.stop().await;

    let options = || Options::at(T0).set("METRICS_RETENTION_DAYS", 30);
    let app = App::start_with(&database, options()).await;
    let is_by_month = !database.is_sqlite() && count(&database, BY_MONTH).await == 1;
    // 30 days and one more before T0, whole days of UTC.
    let sealed_ms = at("2026-05-15T00:00:00Z");
    assert_eq!(look(&app).await, Report { resumes_at_ms: Some(T0 + PAUSE_MS - 60_000), ..Report::default() });
    assert_eq!(count(&database, "SELECT COUNT(*) FROM event").await, 24 * 13);
    app.set_clock(T0 + PAUSE_MS);
    let report = look(&app).await;
    assert_eq!((report.months, report.events), if is_by_month { (4, 52) } else { (0, 5 * 52) });
    assert_eq!(count(&database, "SELECT COUNT(*) FROM event").await, 52);
    assert_eq!(count(&database, &format!("SELECT COUNT(*) FROM event WHERE occurred_at_ms < {sealed_ms}")).await, 0);
    assert_eq!(look(&app).await, Report::default());
    assert_eq!(numbers(&app).await, before);
    let kept = app.verify().await;
    assert_eq!((kept.events, kept.days, kept.left_out_before), (52, 4, Some(sealed_ms)));
    assert!(counted.events > kept.events);
    let too_old = ("REJECTED".to_owned(), Some("TOO_OLD".to_owned()));
    assert_eq!(sent_again(&app, &events()[0]).await, too_old);
    assert_eq!(sent_again(&app, events().last().unwrap()).await, ("DUPLICATE".to_owned(), None));
    app.stop().await;

    // A new process knows it too, even one that would accept events of any age.
    for options in [options(), Options::at(T0)] {
        let app = App::start_with(&database, options).await;
        assert_eq!(numbers(&app).await, before);
        assert_eq!(sent_again(&app, &events()[0]).await, too_old);
        let may = play("may", "2026-05-16T10:00:00Z", "u1");
        let expected = if app.core.keeper.is_idle() { "ACCEPTED" } else { "REJECTED" };
        assert_eq!(sent_again(&app, &may).await.0, expected);
        app.stop().await;
    }
});

/// Whether the log is cut into months.
const BY_MONTH: &str =
    "SELECT COUNT(*) FROM pg_partitioned_table WHERE partrelid = 'event'::regclass AND partstrat = 'r'";

on_every_database!(days_without_their_events_are_not_rebuilt, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    let before = numbers(&app).await;
    app.stop().await;
    let app = App::start_with(&database, Options::at(T0).set("EVENT_RETENTION_DAYS", 30)).await;
    look(&app).await;
    // Sealed is enough: from then on any of them may be gone.
    let refused = rebuild(&app, Days::All).await.unwrap_err().to_string();
    assert_eq!(refused, "the days from 2026-01-01 to 2026-05-14 cannot be rebuilt: their events are no longer kept");
    assert_eq!(rebuild(&app, Days::Kept).await.unwrap(), 4);
    app.set_clock(T0 + PAUSE_MS);
    look(&app).await;
    tamper(&database, "UPDATE rollup SET plays = plays + 1 WHERE grain = 1 AND bucket = 1780272000000").await; // 2026-06-01
    assert_ne!(numbers(&app).await, before);
    assert_eq!(rebuild(&app, Days::Kept).await.unwrap(), 4);
    assert_eq!(numbers(&app).await, before);
    app.verify().await;
    // A year later nothing is left that could be rebuilt.
    app.set_clock(T0 + 400 * DAY_MS);
    look(&app).await;
    app.set_clock(T0 + 400 * DAY_MS + PAUSE_MS);
    look(&app).await;
    assert_eq!(count(&database, "SELECT COUNT(*) FROM event").await, 0);
    for which in [Days::All, Days::Kept] {
        let refused = rebuild(&app, which).await.unwrap_err();
        assert!(matches!(refused, RebuildError::Sealed { is_any_kept: false, .. }), "{refused}");
    }
    app.stop().await;
    // The numbers are there all the same, for a process that has never seen an event, too.
    let app = App::start_with(&database, Options::at(T0)).await;
    assert_eq!(numbers(&app).await, before);
    app.stop().await;
    let text = verify_text(&database.url).await;
    assert!(text.contains("days before 2027-06-19 are left out") && text.contains("0 events in 0 days"), "{text}");
});

/// Plays in each quarter-hour of two days, more in each than in the one before.
fn quarters() -> Vec<Value> {
    let mut events = Vec::new();
    for quarter in 0..2 * 96 {
        let at_ms = at("2026-06-08T00:00:00Z") + quarter * 15 * 60_000;
        let at = chrono::DateTime::from_timestamp_millis(at_ms).unwrap().to_rfc3339();
        let mut event = play(&quarter.to_string(), &at, &format!("u{}", quarter % 7));
        event.as_object_mut().unwrap().remove("userId");
        event["count"] = json!(quarter + 1);
        events.push(event);
        events.push(json!({
            "id": format!("order-{quarter}"), "type": "order.paid", "songId": "song-1", "artistId": "artist-1",
            "occurredAt": at, "userId": format!("u{}", quarter % 7), "amount": "1", "currency": "EUR",
        }));
    }
    events
}

async fn hours(app: &App, zone: &str) -> Vec<(String, i64, String)> {
    let data = app
        .ask(&format!(
            r#"{{ song(id: "song-1") {{ timeline(every: HOUR, timeZone: "{zone}",
                during: {{between: {{from: "2026-06-08T00:00:00Z", to: "2026-06-10T00:00:00Z"}}}}) {{
                points {{ start metrics {{ plays revenue {{ amount }} }} }} }} }} }}"#
        ))
        .await;
    let point = |point: &Value| {
        let start = point["start"].as_str().unwrap().to_owned();
        let revenue = point["metrics"]["revenue"][0]["amount"].as_str().unwrap_or_default().to_owned();
        (start, point["metrics"]["plays"].as_i64().unwrap(), revenue)
    };
    data["song"]["timeline"]["points"].as_array().unwrap().iter().map(point).collect()
}

on_every_database!(quarter_hours_long_past_are_kept_as_hours, |database| {
    let options = || Options::at(T0).set("QUARTER_RETENTION_DAYS", 6);
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&quarters()).await;
    let (utc, india) = (hours(&app, "UTC").await, hours(&app, "Asia/Kolkata").await);
    assert_eq!((utc.len(), india.len()), (48, 49));
    let listed = async |app: &App| {
        let of = |entity: &str| {
            format!(r#"events(where: {{types: ["track.played"]{entity}}}) {{ totalCount {{ value }} }}"#)
        };
        let song = of(r#", entity: {kind: SONG, id: "song-1"}"#);
        app.ask(&format!("{{ all: {} song: {song} }}", of(""))).await
    };
    let events = listed(&app).await;
    app.stop().await;

    // 8 June is old enough, 9 June is not.
    let rows = "SELECT COUNT(*) FROM rollup WHERE grain = 0 AND entity_kind = 1";
    assert_eq!(count(&database, rows).await, 192);
    let app = App::start_with(&database, options()).await;
    look(&app).await;
    assert_eq!(count(&database, rows).await, 24 + 96);
    assert_eq!(look(&app).await, Report::default());
    assert_eq!(hours(&app, "UTC").await, utc);
    // Events are found in every quarter of an hour that is kept as a whole.
    assert_eq!(listed(&app).await, events);
    // In a zone between the hours, one counts where it begins: half an hour late, nothing twice, nothing lost.
    let folded = hours(&app, "Asia/Kolkata").await;
    let plays = |points: &[(String, i64, String)]| points.iter().map(|point| point.1).collect::<Vec<i64>>();
    assert_eq!(folded[1].0, "2026-06-08T00:30:00.000Z");
    assert_eq!(plays(&folded[..24]), plays(&utc[..24]));
    // The hour that midnight of UTC cuts has what is left of it.
    assert_eq!(folded[24].1, india[24].1 - (95 + 96));
    assert_eq!(folded[25..], india[25..]);
    assert_eq!(plays(&folded).iter().sum::<i64>(), plays(&utc).iter().sum::<i64>());
    // What was counted is said.
    let within = async |from: &str, to: &str| {
        let query = format!(
            r#"{{ song(id: "song-1") {{ metrics(during: {{between: {{from: "{from}", to: "{to}"}}}}) {{ plays span {{ from to }} }} }} }}"#
        );
        app.ask(&query).await["song"]["metrics"].clone()
    };
    assert_eq!(
        within("2026-06-08T10:30:00Z", "2026-06-08T12:30:00Z").await,
        json!({"plays": utc[11].1 + utc[12].1, "span": {"from": "2026-06-08T11:00:00.000Z", "to": "2026-06-08T13:00:00.000Z"}})
    );
    assert_eq!(
        within("2026-06-09T10:30:00Z", "2026-06-09T11:30:00Z").await["span"],
        json!({"from": "2026-06-09T10:30:00.000Z", "to": "2026-06-09T11:30:00.000Z"})
    );
    app.verify().await;
    // What comes late counts in its hour.
    app.record(&[play("late", "2026-06-08T10:20:00Z", "u1")]).await;
    assert_eq!(hours(&app, "UTC").await[10].1, utc[10].1 + 1);
    app.verify().await;
    // A day that is rebuilt is kept by hours again, without the row of the latecomer.
    assert_eq!(count(&database, rows).await, 24 + 96 + 1);
    rebuild(&app, Days::All).await.unwrap();
    assert_eq!(count(&database, rows).await, 24 + 96);
    app.verify().await;
    app.set_clock(T0 + DAY_MS);
    look(&app).await;
    assert_eq!(count(&database, rows).await, 24 + 24);
    assert_eq!(plays(&hours(&app, "UTC").await)[11..], plays(&utc)[11..]);
    app.verify().await;
    app.stop().await;
});

/// Runs work until it has been waited for so often, and drops it there: what a kill at that point leaves behind.
async fn cut_off<T>(work: impl Future<Output = T>, waits: usize) -> Option<T> {
    let mut work = pin!(work);
    let mut left = waits;
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

on_every_database!(a_job_cut_off_anywhere_goes_on_where_it_was, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    app.merge_audience().await;
    let before = numbers(&app).await;
    app.stop().await;
    let app = App::start_with(&database, Options::at(T0)).await;
    let settings = KeepingSettings { events_ms: Some(30 * DAY_MS), quarters_ms: Some(160 * DAY_MS) };
    let mut now_ms = T0;
    let mut cuts = 0;
    for waits in (0..).step_by(7) {
        // Who is cut off keeps the lease for a while.
        now_ms += 6 * 60_000;
        app.set_clock(now_ms);
        // With connections of its own, which end with it.
        let own = Database::connect(&DatabaseSettings::new(&database.url), None).await.unwrap();
        let keeper = Keeper::new(own, Arc::default(), app.core.clock.clone(), settings);
        let done = cut_off(keeper.look(|_| {}), waits).await;
        drop(keeper);
        if done.is_some_and(|report| report.unwrap() == Report::default()) {
            break;
        }
        cuts += 1;
        // Whatever is missing is of a day that says so.
        let unsealed = count(&database, "SELECT COUNT(*) FROM event WHERE occurred_at_ms >= 1778803200000").await;
        let missing = 24 * 13 - count(&database, "SELECT COUNT(*) FROM event").await;
        let sealed = count(&database, "SELECT COALESCE(MAX(sealed_before_ms), 0) FROM keeping").await;
        assert_eq!((unsealed, sealed > 0 || missing == 0), (52, true), "after {waits}");
        if cuts % 5 == 0 {
            app.verify().await;
            assert_eq!(numbers(&app).await, before, "after {waits}");
        }
    }
    assert!(cuts > 10, "only {cuts} cuts");
    assert!(now_ms < T0 + 11 * HOUR_MS, "the day has passed: {cuts} cuts");
    assert_eq!(count(&database, "SELECT COUNT(*) FROM event").await, 52);
    assert_eq!(numbers(&app).await, before);
    app.verify().await;
    app.stop().await;
});
