//! What real users did, recomputed from the files: buyers, users of a player, people who tag.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Months, NaiveDate, TimeDelta};
use serde_json::{Value, json};

use crate::support::{
    App, TestDatabase,
    app::Options,
    at,
    data::{Row, shared_rows},
};

/// Who did something on which days.
type DaysOf = BTreeMap<String, BTreeSet<NaiveDate>>;

/// When a cohort's period begins, and the one after it.
type Period = (NaiveDate, NaiveDate);

fn month(day: NaiveDate) -> Period {
    let first = day.with_day(1).unwrap();
    (first, first + Months::new(1))
}

fn week(day: NaiveDate) -> Period {
    let monday = day - TimeDelta::days(i64::from(day.weekday().num_days_from_monday()));
    (monday, monday + TimeDelta::days(7))
}

fn text(day: NaiveDate) -> String {
    format!("{day}T00:00:00.000Z")
}

/// The cohorts of some periods in a row as they should be told, of which `period` gives the one that holds a day.
fn cohorts(days: &DaysOf, first: NaiveDate, count: usize, later: usize, period: impl Fn(NaiveDate) -> Period) -> Value {
    let mut start = first;
    let mut cohorts = Vec::new();
    for _ in 0..count {
        let (begin, end) = period(start);
        let began = |days: &&BTreeSet<NaiveDate>| days.first().is_some_and(|first| (begin..end).contains(first));
        let members: Vec<&BTreeSet<NaiveDate>> = days.values().filter(began).collect();
        let mut of = begin;
        let cells: Vec<Value> = (0..=later)
            .map(|_| {
                let (from, to) = period(of);
                of = to;
                json!(members.iter().filter(|days| days.range(from..to).next().is_some()).count())
            })
            .collect();
        cohorts.push(json!({"start": text(begin), "size": {"value": members.len()}, "users": cells}));
        start = end;
    }
    json!(cohorts)
}

/// Told cohorts in the same form.
fn told(table: &Value) -> Value {
    let cohort = |cohort: &Value| {
        let users: Vec<&Value> = cohort["cells"].as_array().unwrap().iter().map(|cell| &cell["users"]).collect();
        json!({"start": cohort["start"], "size": cohort["size"], "users": users})
    };
    table["cohorts"].as_array().unwrap().iter().map(cohort).collect()
}

fn day(row: &Row, column: &str) -> NaiveDate {
    row[column][..10].parse().unwrap()
}

fn days_of(rows: &[Row], user: &str, date: &str) -> DaysOf {
    let mut days = DaysOf::new();
    for row in rows {
        days.entry(row[user].clone()).or_default().insert(day(row, date));
    }
    days
}

async fn check_buyers(database: TestDatabase) {
    let Some(rows) = shared_rows("cdnow_purchases.csv.gz") else { return };
    let app = App::start_with(&database, Options::at(at("1999-01-01T00:00:00Z"))).await;
    let order = |(number, row): (usize, &Row)| {
        json!({
            "id": number.to_string(), "type": "order.paid", "occurredAt": text(day(row, "date")),
            "userId": row["customer_id"], "albumId": "cd", "amount": row["amount_usd"], "currency": "USD",
            "properties": {"quantity": row["quantity"].parse::<i64>().unwrap()},
        })
    };
    app.record(&rows.iter().enumerate().map(order).collect::<Vec<_>>()).await;
    app.merge_audience().await;
    let data = app
        .ask(
            r#"{ platform {
                conversion(during: {period: ALL_TIME}, every: MONTH, saleEvent: "order.paid") {
                    sales buyers { value } revenue { amount currency } averageOrderValue { amount } repeatRate
                    points { start sales } }
                retention(during: {between: {from: "1997-01-01T00:00:00Z", to: "1998-07-01T00:00:00Z"}}, cohortBy: MONTH,
                    startEvent: "order.paid", returnEvent: "order.paid", periods: 17) {
                    cohorts { start size { value } cells { users } } }
                quick: funnel(steps: [{type: "order.paid"}, {type: "order.paid"}], within: "P30D",
                    during: {period: ALL_TIME}) { steps { users medianMs } }
            } }"#,
        )
        .await;
    let conversion = &data["platform"]["conversion"];
    assert_eq!(conversion["sales"], rows.len());
    assert_eq!(conversion["buyers"]["value"], 5_892);
    assert_eq!(conversion["revenue"], json!([{"amount": "627383.61", "currency": "USD"}]));
    assert_eq!(conversion["averageOrderValue"], json!([{"amount": "35.51"}]));
    assert!((conversion["repeatRate"].as_f64().unwrap() - 0.495_078).abs() < 5e-7, "{conversion}");
    for point in conversion["points"].as_array().unwrap() {
        let month = &point["start"].as_str().unwrap()[..7];
        let sold = rows.iter().filter(|row| row["date"].starts_with(month)).count();
        assert_eq!(point["sales"], sold, "{month}");
    }
    let days = days_of(&rows, "customer_id", "date");
    let expected = cohorts(&days, "1997-01-01".parse().unwrap(), 18, 17, month);
    assert_eq!(told(&data["platform"]["retention"]), with_open_cells(expected, 24));

    // Whoever bought again within 30 days, counted from the file; the median of their quickest ways.
    let mut times: BTreeMap<&str, Vec<NaiveDate>> = BTreeMap::new();
    rows.iter().for_each(|row| times.entry(&row["customer_id"]).or_default().push(day(row, "date")));
    let mut again: Vec<i64> = times
        .values_mut()
        .filter_map(|days| {
            days.sort_unstable();
            days.windows(2).map(|pair| (pair[1] - pair[0]).num_days()).find(|apart| *apart <= 30)
        })
        .collect();
    again.sort_unstable();
    let (lower, upper) = (again[(again.len() - 1) / 2], again[again.len() / 2]);
    let steps = json!([
        {"users": 5_892, "medianMs": 0}, {"users": again.len(), "medianMs": (lower + upper) * 86_400_000 / 2},
    ]);
    assert_eq!(data["platform"]["quick"]["steps"], steps);
    app.stop().await;
}

/// Cells of periods behind the last of `known` that have ended, counted from the first cohort, are not told.
fn with_open_cells(mut cohorts: Value, known: usize) -> Value {
    for (cohort, number) in cohorts.as_array_mut().unwrap().iter_mut().zip(0..) {
        for (cell, later) in cohort["users"].as_array_mut().unwrap().iter_mut().zip(0..) {
            if number + later >= known {
                *cell = Value::Null;
            }
        }
    }
    cohorts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eighteen_months_of_cd_buyers_are_as_published_on_sqlite() {
    check_buyers(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eighteen_months_of_cd_buyers_are_as_published_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_buyers(database).await;
    }
}

fn instant(row: &Row) -> i64 {
    DateTime::parse_from_rfc3339(&row["ts"]).unwrap().timestamp_millis()
}

/// A row's type of event. Hardly anybody is known already when they log in.
fn event_type(row: &Row) -> String {
    match &*row["page"] {
        "NextSong" => "track.played".to_owned(),
        "Login" if !row["user_id"].is_empty() => "user.logged_in".to_owned(),
        page => format!("page.{}", page.to_lowercase().replace(' ', "_")),
    }
}

async fn check_player(database: TestDatabase) {
    let Some(mut rows) = shared_rows("sparkify_events.csv.gz") else { return };
    // Whose login it was the rest of the session tells, where it has any.
    let of_session = |row: &Row| (row["session_id"].clone(), row["user_id"].clone());
    let users: BTreeMap<_, _> = rows.iter().filter(|row| !row["user_id"].is_empty()).map(of_session).collect();
    for row in rows.iter_mut().filter(|row| row["page"] == "Login") {
        let user = users.get(&row["session_id"]).cloned().unwrap_or_default();
        row.insert("user_id".to_owned(), user);
    }
    let app = App::start_with(&database, Options::at(at("2018-12-05T00:00:00Z"))).await;
    let event = |(number, row): (usize, &Row)| {
        let mut event = json!({
            "id": number.to_string(), "type": event_type(row), "occurredAt": row["ts"], "source": row["level"],
        });
        if !row["user_id"].is_empty() {
            event["userId"] = json!(row["user_id"]);
        }
        if row["page"] == "NextSong" {
            event["songTitle"] = json!(row["song"]);
            event["artistName"] = json!(row["artist"]);
        }
        event
    };
    app.record(&rows.iter().enumerate().map(event).collect::<Vec<_>>()).await;
    app.merge_audience().await;
    let data = app
        .ask(
            r#"{ platform {
                metrics(during: {period: ALL_TIME}) { plays }
                logins(during: {period: ALL_TIME}, every: MONTH) { logins users { value } frequency }
                featureUsage(during: {period: ALL_TIME}, first: 50) { type events }
                sessions(during: {period: ALL_TIME}, every: MONTH) { sessions users { value } averageMs eventsPerSession }
                funnel(during: {period: ALL_TIME}, within: "P60D",
                    steps: [{type: "page.upgrade"}, {type: "page.submit_upgrade"}]) { steps { users medianMs } }
                free: funnel(during: {period: ALL_TIME}, within: "P60D", by: SOURCE,
                    steps: [{type: "track.played", source: "free"}, {type: "track.played", source: "paid"}]) {
                    steps { users } parts { key steps { users } } }
                retention(during: {between: {from: "2018-10-29T00:00:00Z", to: "2018-12-03T00:00:00Z"}}, periods: 4) {
                    cohorts { start size { value } cells { users } } }
            } }"#,
        )
        .await;
    let platform = &data["platform"];
    assert_eq!(platform["metrics"]["plays"], 1_728);
    let logins: Vec<&str> =
        rows.iter().filter(|row| event_type(row) == "user.logged_in").map(|row| &*row["user_id"]).collect();
    let who = logins.iter().collect::<BTreeSet<_>>().len();
    let frequency = logins.len() as f64 / who as f64;
    assert_eq!(platform["logins"], json!({"logins": logins.len(), "users": {"value": who}, "frequency": frequency}));
    let usage = platform["featureUsage"].as_array().unwrap();
    let used = usage.iter().find(|usage| usage["type"] == "page.login").unwrap();
    assert_eq!(used["events"], 35 - logins.len());
    let known: Vec<Row> = rows.iter().filter(|row| !row["user_id"].is_empty()).cloned().collect();
    let mut users: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    known.iter().for_each(|row| users.entry(&row["user_id"]).or_default().push(row));
    users.values_mut().for_each(|rows| rows.sort_by_key(|row| instant(row)));
    assert_eq!(users.len(), 32);

    let upgrades = |row: &&&Row, page: &str| row["page"] == page;
    let times: Vec<i64> = users
        .values()
        .filter_map(|rows| {
            let submitted = instant(rows.iter().find(|row| upgrades(row, "Submit Upgrade"))?);
            let mut before = rows.iter().filter(|row| upgrades(row, "Upgrade") && instant(row) <= submitted);
            Some(submitted - instant(before.next_back()?))
        })
        .collect();
    let median = times.iter().sum::<i64>() / 2;
    let steps = json!([{"users": 6, "medianMs": 0}, {"users": 2, "medianMs": median}]);
    assert_eq!((times.len(), &platform["funnel"]["steps"]), (2, &steps));
    let plays = |rows: &[&Row]| {
        let levels = rows.iter().filter(|row| row["page"] == "NextSong").map(|row| row["level"].clone());
        levels.collect::<Vec<_>>()
    };
    let free = users.values().filter(|rows| plays(rows).iter().any(|level| level == "free")).count();
    let became = |rows: &&Vec<&Row>| {
        let levels = plays(rows);
        let first = levels.iter().position(|level| level == "free");
        first.is_some_and(|first| levels[first..].iter().any(|level| level == "paid"))
    };
    let steps = json!([{"users": free}, {"users": users.values().filter(became).count()}]);
    assert_eq!(platform["free"], json!({"steps": steps, "parts": [{"key": "free", "steps": steps}]}));

    let (mut sessions, mut length) = (0, 0);
    for rows in users.values() {
        let apart = |one: &&Row, next: &&Row| instant(next) - instant(one) < 30 * 60_000;
        for session in rows.chunk_by(apart) {
            sessions += 1;
            length += instant(session[session.len() - 1]) - instant(session[0]);
        }
    }
    let told_sessions = &platform["sessions"];
    assert_eq!((&told_sessions["sessions"], &told_sessions["users"]["value"]), (&json!(sessions), &json!(32)));
    let close = |field: &str, expected: f64| (told_sessions[field].as_f64().unwrap() - expected).abs() < 1e-6;
    assert!(close("averageMs", length as f64 / f64::from(sessions)), "{told_sessions}");
    assert!(close("eventsPerSession", known.len() as f64 / f64::from(sessions)), "{told_sessions}");
    let expected = cohorts(&days_of(&known, "user_id", "ts"), "2018-10-29".parse().unwrap(), 5, 4, week);
    assert_eq!(told(&platform["retention"]), with_open_cells(expected, 5));
    app.verify().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_of_a_players_users_is_as_in_the_file_on_sqlite() {
    check_player(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_month_of_a_players_users_is_as_in_the_file_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_player(database).await;
    }
}

async fn check_taggers(database: TestDatabase) {
    let Some(rows) = shared_rows("lastfm2k_tag_events.csv.gz") else { return };
    let app = App::start_with(&database, Options::at(at("2012-01-01T00:00:00Z"))).await;
    let event = |(number, row): (usize, &Row)| {
        json!({
            "id": number.to_string(), "type": "artist.tagged", "occurredAt": text(day(row, "date")),
            "userId": row["user_id"], "artistId": row["artist_id"], "properties": {"tag": row["tag"]},
        })
    };
    app.record(&rows.iter().enumerate().map(event).collect::<Vec<_>>()).await;
    app.merge_audience().await;
    let data = app
        .ask(
            r#"{ platform {
                activeUsersTimeline(during: {between: {from: "2005-01-01T00:00:00Z", to: "2011-12-01T00:00:00Z"}},
                    every: MONTH) { start users { value } }
                retention(during: {between: {from: "2009-01-01T00:00:00Z", to: "2011-01-01T00:00:00Z"}}, cohortBy: MONTH,
                    startEvent: "artist.tagged", returnEvent: "artist.tagged", periods: 6) {
                    cohorts { start size { value } cells { users } } }
                rolling: retention(during: {between: {from: "2010-01-01T00:00:00Z", to: "2010-02-01T00:00:00Z"}},
                    cohortBy: MONTH, mode: ROLLING, periods: 3) { cohorts { start size { value } cells { users } } }
            } }"#,
        )
        .await;
    let platform = &data["platform"];
    let days = days_of(&rows, "user_id", "date");
    let points = platform["activeUsersTimeline"].as_array().unwrap();
    assert_eq!(points.len(), 83);
    for point in points {
        let (from, to) = month(point["start"].as_str().unwrap()[..10].parse().unwrap());
        let active = days.values().filter(|days| days.range(from..to).next().is_some()).count();
        assert_eq!(point["users"]["value"], active, "{from}");
    }
    let expected = cohorts(&days, "2009-01-01".parse().unwrap(), 24, 6, month);
    assert_eq!(told(&platform["retention"]), expected);
    let january = month("2010-01-01".parse().unwrap());
    let members: Vec<_> = days.values().filter(|days| (january.0..january.1).contains(days.first().unwrap())).collect();
    let since =
        |later: u32| members.iter().filter(move |days| days.range(january.0 + Months::new(later)..).next().is_some());
    let users: Vec<usize> = (0..=3).map(|later| since(later).count()).collect();
    let expected = json!([{"start": text(january.0), "size": {"value": members.len()}, "users": users}]);
    assert_eq!(told(&platform["rolling"]), expected);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_of_people_who_tag_are_as_in_the_file_on_sqlite() {
    check_taggers(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_of_people_who_tag_are_as_in_the_file_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_taggers(database).await;
    }
}
