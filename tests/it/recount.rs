//! `verify` finds what is wrong, `rebuild` puts it right, and migrations go both ways.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use backbeat::{
    audience::day::EntityDay,
    db::{Database, DatabaseSettings, queries::leases},
    rollup::{compare::Report, fold, recount},
};
use roaring::RoaringBitmap;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, T0, TestDatabase, app::Options, play},
};

async fn verify(app: &App) -> Report {
    recount::verify(&app.core.database, &Default::default(), |_| {}).await.unwrap()
}

async fn rebuild(app: &App) -> u64 {
    let which = recount::Days::All;
    recount::rebuild(&app.core.database, &Default::default(), &*app.core.clock, which, |_| {}).await.unwrap()
}

/// Runs a statement beside the service; returns how many rows it changed.
async fn tamper(database: &TestDatabase, sql: &str, bytes: Vec<Vec<u8>>) -> u64 {
    let connection = database.connect().await;
    let values: Vec<sea_orm::Value> = bytes.into_iter().map(Into::into).collect();
    let sql = if database.is_sqlite() { sql.replace('$', "?") } else { sql.to_owned() };
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    let changed = connection.execute_raw(statement).await.unwrap().rows_affected();
    connection.close().await.unwrap();
    changed
}

fn events() -> Vec<Value> {
    let mut events: Vec<Value> = (0..40)
        .map(|number| {
            let day = 9 + number % 7;
            play(
                &number.to_string(),
                &format!("2026-06-{day:02}T{:02}:20:00Z", number % 11),
                &format!("u{}", number % 5),
            )
        })
        .collect();
    events.push(json!({"id": "order", "type": "order.paid", "occurredAt": "2026-06-12T10:00:00Z", "userId": "u1",
                       "albumId": "album-1", "artistId": "artist-1", "amount": "9.99", "currency": "EUR"}));
    events
}

on_every_database!(verify_finds_tampered_rows_and_rebuild_repairs_them, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    app.merge_audience().await;
    let intact = app.verify().await;
    assert_eq!((intact.events, intact.days), (41, 7));
    let mut stranger = Vec::new();
    RoaringBitmap::from_iter([4_000_000_000_u32]).serialize_into(&mut stranger).unwrap();
    let mut nobody = Vec::new();
    RoaringBitmap::new().serialize_into(&mut nobody).unwrap();
    let day = 1_781_222_400_000_i64; // 2026-06-12
    let empty_day = day - 100 * 86_400_000;
    let of_song = "entity_kind = 1 AND entity_id = 'song-1'";
    for (what, sql, bytes, said) in [
        (
            "a counter",
            format!("UPDATE rollup SET plays = plays + 1 WHERE grain = 1 AND bucket = {day} AND {of_song}"),
            vec![],
            "events say",
        ),
        (
            "a quarter's row",
            format!("DELETE FROM rollup WHERE grain = 0 AND {of_song} AND bucket >= {day}"),
            vec![],
            "events say",
        ),
        (
            "a row too many",
            format!(
                "INSERT INTO rollup (grain, bucket, entity_kind, entity_id, slot, likes) VALUES (1, {day}, 1, 'ghost', 0, 3)"
            ),
            vec![],
            "events say nothing",
        ),
        (
            "a row on a day without events",
            format!(
                "INSERT INTO rollup (grain, bucket, entity_kind, entity_id, slot, likes) VALUES (0, {empty_day}, 1, 'ghost', 0, 3)"
            ),
            vec![],
            "events say nothing",
        ),
        (
            "a money row",
            "DELETE FROM money_rollup WHERE grain = 1 AND entity_kind = 2".to_owned(),
            vec![],
            "gross_minor: 999",
        ),
        (
            "an amount",
            "UPDATE money_rollup SET gross_minor = gross_minor + 1 WHERE entity_kind = 4".to_owned(),
            vec![],
            "gross_minor: 1000",
        ),
        (
            "money on a day without events",
            format!(
                "INSERT INTO money_rollup (grain, bucket, entity_kind, entity_id, currency, slot, gross_minor, refunded_minor) \
                 VALUES (1, {empty_day}, 1, 'ghost', 'EUR', 0, 1, 0)"
            ),
            vec![],
            "events say nothing",
        ),
        (
            "a set's people",
            format!("UPDATE audience_day SET listeners = $1 WHERE day = {day} AND {of_song}"),
            vec![stranger.clone()],
            "the sets are not those of the cells",
        ),
        (
            "a set of active people",
            format!("UPDATE audience_day SET active = $1 WHERE day = {day} AND {of_song}"),
            vec![stranger.clone()],
            "the sets are not those of the cells",
        ),
        (
            "the cells of a day",
            format!("UPDATE audience_day SET cells = $1, listeners = $2, active = $2 WHERE day = {day} AND {of_song}"),
            vec![EntityDay::default().write_cells(), nobody.clone()],
            "stored are not those of the events",
        ),
        (
            "a day that cannot be read",
            format!("UPDATE audience_day SET cells = $1 WHERE day = {day} AND {of_song}"),
            vec![vec![9, 9, 9]],
            "cannot be read",
        ),
        (
            "days that are gone",
            "DELETE FROM audience_day WHERE entity_kind = 4".to_owned(),
            vec![],
            "stored are not those of the events",
        ),
        (
            "a day too many",
            format!(
                "INSERT INTO audience_day (day, entity_kind, entity_id, listeners, active, cells, detail) \
                 SELECT {empty_day}, 3, 'ghost', listeners, active, cells, detail FROM audience_day \
                 WHERE day = {day} AND {of_song}"
            ),
            vec![],
            "stored too many",
        ),
        ("trails that are gone", format!("DELETE FROM trail WHERE day = {day}"), vec![], "stored are not those"),
        (
            "a trail that cannot be read",
            format!("UPDATE trail SET packed = $1 WHERE day = {day}"),
            vec![vec![9, 9, 9]],
            "cannot be read",
        ),
        (
            "a trail of somebody else",
            format!(
                "UPDATE trail SET packed = (SELECT packed FROM trail WHERE day = {day} - 86400000) WHERE day = {day}"
            ),
            vec![],
            "trails of block",
        ),
        (
            "a trail too many",
            format!(
                "INSERT INTO trail (day, users, part, steps, who, marks, packed) \
                 SELECT {empty_day}, users, part, steps, who, marks, packed FROM trail WHERE day = {day}"
            ),
            vec![],
            "events say nothing",
        ),
        (
            "a market's people",
            format!("UPDATE market_day SET listeners = $1 WHERE day = {day}"),
            vec![stranger],
            "market",
        ),
        (
            "a market too many",
            format!(
                "INSERT INTO market_day (day, country, listeners) SELECT {empty_day}, 'FR', listeners FROM market_day WHERE day = {day}"
            ),
            vec![],
            "stored too many",
        ),
    ] {
        assert!(tamper(&database, &sql, bytes).await > 0, "{what}: nothing to tamper with");
        let report = verify(&app).await;
        assert!(report.differences > 0, "{what} was not found");
        assert!(
            report.shown.iter().any(|shown| shown.contains(said)),
            "{what}: {said:?} is not in {:#?}",
            report.shown
        );
        assert!(rebuild(&app).await >= 7, "{what}");
        assert_eq!(verify(&app).await, intact, "{what} was not repaired");
    }
    app.stop().await;
});

on_every_database!(rebuild_repairs_what_was_not_merged_yet_too, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    assert!(tamper(&database, "DELETE FROM audience_segment", vec![]).await > 0);
    assert!(verify(&app).await.differences > 0);
    rebuild(&app).await;
    app.verify().await;
    app.stop().await;
    // A new process knows only what is stored.
    let app = App::start_with(&database, Options::at(T0)).await;
    let data = app
        .ask(r#"{ song(id: "song-1") { metrics(during: {period: ALL_TIME}) { plays listeners { value isExact } } } }"#)
        .await;
    assert_eq!(data["song"]["metrics"]["plays"], 40);
    app.stop().await;
});

on_every_database!(rebuild_beside_a_stream_of_events_ends_with_right_numbers, |database| {
    let app = Arc::new(App::start_with(&database, Options::at(T0)).await);
    app.record(&events()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..3)
        .map(|sender| {
            let (app, is_over) = (app.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut sent = 0;
                while !is_over.load(Ordering::SeqCst) || sent < 200 {
                    let batch: Vec<Value> = (0..20)
                        .map(|number| {
                            let id = format!("{sender}-{}", sent + number);
                            if number % 4 == 0 {
                                json!({"id": id, "type": "order.paid", "occurredAt": "2026-06-14T10:00:00Z", "userId": "u1",
                                       "songId": "song-1", "artistId": "artist-1", "amount": "1", "currency": "EUR"})
                            } else {
                                play(&id, &format!("2026-06-{:02}T10:00:00Z", 9 + number % 7), &format!("u{}", sent % 70))
                            }
                        })
                        .collect();
                    app.record(&batch).await;
                    sent += 20;
                }
                sent
            })
        })
        .collect();
    for _ in 0..5 {
        rebuild(&app).await;
    }
    is_over.store(true, Ordering::SeqCst);
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    assert_eq!(app.verify().await.events, 41 + sent);
    app.merge_audience().await;
    app.verify().await;
    rebuild(&app).await;
    app.verify().await;
    Arc::into_inner(app).unwrap().stop().await;
});

async fn check_migrations_both_ways(database: TestDatabase) {
    let open = async || Database::connect(&DatabaseSettings::new(&database.url), None).await.unwrap();
    let db = open().await;
    db.migrate_up().await.unwrap();
    let count = db.migration_status().await.unwrap().len();
    assert!(count >= 5);
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    app.stop().await;
    for step in 1..=count {
        db.migrate_down(1).await.unwrap();
        let applied = db.migration_status().await.unwrap().iter().filter(|(_, is_applied)| *is_applied).count();
        assert_eq!(applied, count - step);
    }
    // Nothing of ours is left behind, and it all can be made again.
    db.migrate_up().await.unwrap();
    db.migrate_up().await.unwrap();
    assert!(db.migration_status().await.unwrap().iter().all(|(_, is_applied)| *is_applied));
    db.migrate_down(u32::try_from(count).unwrap()).await.unwrap();
    db.migrate_up().await.unwrap();
    db.close().await.unwrap();
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    assert_eq!(app.verify().await.events, 41);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_go_down_and_up_again_on_sqlite() {
    check_migrations_both_ways(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_go_down_and_up_again_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_migrations_both_ways(database).await;
    }
}

on_every_database!(closed_days_are_folded_into_one_slot, |database| {
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    // The service folds at its start, perhaps only now: it shall leave this to us.
    let now_ms = app.core.clock.now_ms();
    let is_ours = leases::try_acquire(app.core.database.writer(), fold::LEASE, "test", now_ms, 3_600_000).await;
    assert!(is_ours.unwrap());
    // As if a second process had counted half of it, and some of it beside the first.
    for sql in [
        "UPDATE rollup SET slot = 7 WHERE entity_kind = 1",
        "UPDATE money_rollup SET slot = 7",
        "INSERT INTO rollup (grain, bucket, entity_kind, entity_id, slot, likes) \
         SELECT grain, bucket, entity_kind, entity_id, 0, 2 FROM rollup WHERE entity_kind = 1",
        "UPDATE rollup SET likes = likes - 2 WHERE slot = 7",
    ] {
        assert!(tamper(&database, sql, vec![]).await > 0, "{sql}");
    }
    let slots = async || {
        let connection = database.connect().await;
        let sql = "SELECT CAST((SELECT COUNT(*) FROM rollup WHERE slot <> 0) AS BIGINT), \
                   CAST((SELECT COUNT(*) FROM money_rollup WHERE slot <> 0) AS BIGINT)";
        let statement = Statement::from_string(connection.get_database_backend(), sql);
        let row = connection.query_one_raw(statement).await.unwrap().unwrap();
        connection.close().await.unwrap();
        (row.try_get_by_index::<i64>(0).unwrap(), row.try_get_by_index::<i64>(1).unwrap())
    };
    assert_ne!(slots().await, (0, 0));
    let database_of_app = &app.core.database;
    let fold = async |now_ms| fold::fold_closed_days(database_of_app, "test", now_ms).await.unwrap();
    // The last event's day has not been closed long enough on the morning after.
    let last_day = 1_781_481_600_000; // 2026-06-15T00:00:00Z
    fold(last_day + 24 * 3_600_000 + 3_600_000).await;
    assert_ne!(slots().await, (0, 0));
    assert_ne!(fold(last_day + 36 * 3_600_000).await, 0);
    assert_eq!(slots().await, (0, 0));
    assert_eq!(fold(last_day + 36 * 3_600_000).await, 0);
    assert_eq!(verify(&app).await, Report { events: 41, days: 7, ..Report::default() });
    app.stop().await;
});
