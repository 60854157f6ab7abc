//! A developer begins anew: nothing of what was counted is left, on the disk or in memory.

use std::collections::BTreeSet;

use backbeat::db::queries::{leases, purge};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    on_every_database,
    support::{App, Socket, T0, TestDatabase, app::Options, eventually, play},
};

/// Half a minute ago, so that they are still listening.
const NOW: &str = "2026-06-15T11:59:30Z";

const PURGE: &str = r#"mutation { purge(input: {confirm: "purge"}) { events } }"#;

const NUMBERS: &str = r#"{
    platform {
        metrics(during: {period: ALL_TIME}) { plays purchases revenue { amount } listeners { value } freshness { asOf } }
        realtime { listenersNow isComplete playsPerMinute }
        activeUsers { monthly { value } }
        featureUsage { type }
    }
    songs: songs(ids: ["song-1"]) { metrics { plays listeners { value } } topMarkets { listeners { value } } }
    ranking(of: SONG, during: {period: ALL_TIME}) { totalCount nodes { id } }
    trending { score }
    chart(of: SONG, cadence: DAILY) { revision }
}"#;

fn events() -> Vec<Value> {
    let mut events: Vec<Value> = (0..7).map(|user| play(&format!("now-{user}"), NOW, &format!("u{user}"))).collect();
    events.extend((0..7).map(|user| play(&format!("then-{user}"), "2026-06-14T10:00:00Z", &format!("u{user}"))));
    events.iter_mut().for_each(|event| event["country"] = json!("DE"));
    events.push(json!({"id": "order", "type": "order.paid", "songId": "song-1", "artistId": "artist-1",
                       "occurredAt": NOW, "userId": "u1", "amount": "1", "currency": "EUR"}));
    events
}

on_every_database!(after_a_purge_everything_counts_from_nothing, |database| {
    let app = App::start_with(&database, Options::at(T0).set("DEVELOPMENT", true)).await;
    let empty = eventually("the last hour is read", async || {
        let empty = app.ask(NUMBERS).await;
        if empty["platform"]["realtime"]["isComplete"] == true { Ok(empty) } else { Err(empty.to_string()) }
    })
    .await;
    app.record(&events()).await;
    app.merge_audience().await;
    // Some is merged and some is open.
    app.record(&[play("open", NOW, "u9")]).await;
    app.core.charts.look().await.unwrap();
    let before = app.ask(NUMBERS).await;
    assert_eq!(before["platform"]["metrics"]["plays"], 15, "{before:#}");
    assert_eq!(before["platform"]["realtime"]["listenersNow"], 8);
    assert_eq!((&before["trending"][0].is_object(), &before["chart"]["revision"]), (&true, &json!(1)));
    let mut socket = Socket::connect(&app, Some(&app.admin())).await;
    let watched =
        r#"subscription { metrics(of: {kind: SONG, id: "song-1"}) { metrics { plays listeners { value } } } }"#;
    socket.subscribe("1", watched).await;
    let seen = socket.receive_of("1").await["payload"]["data"]["metrics"]["metrics"].clone();
    assert_eq!(seen, json!({"plays": 8, "listeners": {"value": 8}}));

    assert_eq!(app.ask(PURGE).await["purge"]["events"], 16);
    // The catalogue was not asked for.
    let after = app.ask(NUMBERS).await;
    assert_eq!(after["songs"][0], json!({"metrics": {"plays": 0, "listeners": {"value": 0}}, "topMarkets": []}));
    for part in ["platform", "ranking", "trending", "chart"] {
        assert_eq!(after[part], empty[part], "{part}");
    }
    let seen = eventually("the watcher sees nothing", async || {
        let seen = socket.receive_of("1").await["payload"]["data"]["metrics"]["metrics"].clone();
        if seen["plays"] == 0 { Ok(seen) } else { Err(seen.to_string()) }
    });
    assert_eq!(seen.await, json!({"plays": 0, "listeners": {"value": 0}}));

    // The same ids again are new, and count as they did.
    app.record(&events()).await;
    app.record(&[play("open", NOW, "u9")]).await;
    let again = app.ask(NUMBERS).await;
    for part in ["platform", "songs", "ranking", "trending"] {
        assert_eq!(again[part], before[part], "{part}");
    }
    assert_eq!(app.verify().await.events, 16);
    // Jobs go on when nothing that they had read before can be left.
    app.set_clock(T0 + 6 * 60_000);
    app.merge_audience().await;
    assert_eq!(app.verify().await.events, 16);
    app.core.charts.look().await.unwrap();
    assert_eq!(app.ask(NUMBERS).await["chart"]["revision"], 1);
    app.stop().await;
    let app = App::start_with(&database, Options::at(T0)).await;
    assert_eq!(app.ask(NUMBERS).await["songs"], before["songs"]);
    app.stop().await;
});

on_every_database!(the_catalogue_goes_only_where_it_is_asked_for, |database| {
    let app = App::start_with(&database, Options::at(T0).set("DEVELOPMENT", true)).await;
    let titles = r#"{ song(id: "song-1") { title } other: song(id: "song-2") { title } }"#;
    for (input, is_left) in [(r#"confirm: "purge""#, true), (r#"confirm: "purge", catalogue: true"#, false)] {
        app.ask(r#"mutation { upsertCatalog(input: {songs: [{id: "song-1", title: "One"}, {id: "song-2", title: "Two"}]}) { stored } }"#)
            .await;
        app.ask(
            r#"mutation { mergeEntities(input: {kind: SONG, fromId: "song-2", intoId: "song-1"}) { entity { id } } }"#,
        )
        .await;
        app.ask(&format!("mutation {{ purge(input: {{{input}}}) {{ events }} }}")).await;
        let expected = if is_left { json!({"title": "One"}) } else { Value::Null };
        assert_eq!(app.ask(titles).await, json!({"song": expected, "other": expected}), "{input}");
    }
    // What events tell is stored again, and nothing is merged.
    let mut event = play("1", NOW, "u1");
    event["songId"] = json!("song-2");
    event["songTitle"] = json!("Told");
    app.record(&[event]).await;
    assert_eq!(app.ask(titles).await, json!({"song": null, "other": {"title": "Told"}}));
    app.verify().await;
    app.stop().await;
});

on_every_database!(a_purge_is_refused_unless_it_is_meant_and_safe, |database| {
    let refused = async |app: &App, document: &str| {
        let answer = app.graphql(Some(&app.admin()), document, json!({})).await;
        let extensions = &answer["errors"][0]["extensions"];
        (extensions["code"].as_str().unwrap().to_owned(), extensions["field"].as_str().map(ToOwned::to_owned))
    };
    let app = App::start_with(&database, Options::at(T0)).await;
    app.record(&events()).await;
    assert_eq!(refused(&app, PURGE).await, ("FORBIDDEN".to_owned(), None));
    app.stop().await;
    let app = App::start_with(&database, Options::at(T0).set("DEVELOPMENT", true)).await;
    let unsure = r#"mutation { purge(input: {confirm: "yes"}) { events } }"#;
    assert_eq!(refused(&app, unsure).await, ("BAD_USER_INPUT".to_owned(), Some("confirm".to_owned())));
    let (writer, slot) = (app.core.database.writer(), format!("{}9", leases::WRITER_SLOT));
    assert!(leases::try_acquire(writer, &slot, "somebody else", T0, 60_000).await.unwrap());
    assert_eq!(refused(&app, PURGE).await, ("CONFLICT".to_owned(), None));
    assert_eq!(app.verify().await.events, 15);
    leases::release(writer, &slot, "somebody else").await.unwrap();
    assert_eq!(app.ask(PURGE).await["purge"]["events"], 15);
    app.stop().await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_said_of_every_table_whether_it_goes() {
    let database = TestDatabase::sqlite();
    App::start(&database).await.stop().await;
    let connection = database.connect().await;
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'seaql_migrations'";
    let rows = connection.query_all_raw(Statement::from_string(connection.get_database_backend(), sql)).await.unwrap();
    let there: BTreeSet<String> = rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
    assert_eq!(there, purge::tables().map(ToOwned::to_owned).collect(), "name new tables in db/queries/purge.rs");
}
