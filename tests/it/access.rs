//! Who may see what: every field of the schema against the table in the README, and an artist who asks
//! for another artist's private numbers in every way there is.

use std::collections::BTreeMap;

use backbeat::{
    domain::{
        entity::{EntityKind, EntityRef},
        window::DAY_MS,
    },
    recommend::QualityOrder,
};
use serde_json::{Value, json};

use crate::{
    http::INTROSPECTION,
    on_every_database,
    support::{App, Socket, T0, TestDatabase, app::Options},
};

/// The columns of the table, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Anonymous,
    Service,
    Listener,
    /// An artist who asks about somebody else's catalogue.
    StrangerArtist,
    /// An artist who asks about their own.
    OwnerArtist,
    Admin,
}

const ASKERS: [Asker; 6] =
    [Asker::Anonymous, Asker::Service, Asker::Listener, Asker::StrangerArtist, Asker::OwnerArtist, Asker::Admin];

impl Asker {
    fn token(self, app: &App) -> Option<String> {
        match self {
            Self::Anonymous => None,
            Self::Service => Some(app.token("service", &[])),
            Self::Listener => Some(app.token("listener", &[])),
            Self::StrangerArtist => Some(app.token("artist", &["artist-2"])),
            Self::OwnerArtist => Some(app.token("artist", &["artist-1"])),
            Self::Admin => Some(app.admin()),
        }
    }
}

/// Whether each asker may, by `Type.field`.
type Rules = BTreeMap<String, [bool; 6]>;

/// The table under `## Who may do what` in the README: a row's first cell names fields in backticks, `Type.*`
/// stands for the fields of a type that no other row names.
fn table() -> Rules {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = document.split_once("\n## Who may do what\n").expect("the README says who may do what");
    let (_, table) = section.split_once("\n| Fields |").expect("there is a table of fields");
    let mut rules = Rules::new();
    // The first two lines are the rest of the header and the line below it.
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let names: Vec<&str> = cells[0].split('`').skip(1).step_by(2).collect();
        assert!(cells.len() == 7 && !names.is_empty(), "{line}");
        let allowed: Vec<bool> = cells[1..]
            .iter()
            .map(|cell| match *cell {
                "yes" => true,
                "no" => false,
                other => panic!("{other:?} is neither yes nor no: {line}"),
            })
            .collect();
        for name in names {
            let known = rules.insert(name.to_owned(), allowed.clone().try_into().unwrap());
            assert!(known.is_none(), "{name} is in two rows");
        }
    }
    rules
}

/// A field of the schema.
struct Field {
    type_name: String,
    name: String,
    /// Its arguments, with what is required filled in.
    arguments: String,
    /// Whether it needs a selection of its own.
    is_composite: bool,
}

/// All fields of all object types. Behind an interface's fields are those of the objects.
async fn fields(app: &App) -> Vec<Field> {
    let answer = app.graphql(None, INTROSPECTION, json!({})).await;
    let types = answer["data"]["__schema"]["types"].as_array().unwrap();
    let is_named = |kind: &&Value| !kind["name"].as_str().unwrap().starts_with("__");
    let mut fields = Vec::new();
    for kind in types.iter().filter(|kind| kind["kind"] == "OBJECT").filter(is_named) {
        for field in kind["fields"].as_array().unwrap() {
            let type_name = kind["name"].as_str().unwrap().to_owned();
            let name = field["name"].as_str().unwrap().to_owned();
            let arguments = arguments(&type_name, &name, field);
            let mut of = &field["type"];
            while !of["ofType"].is_null() {
                of = &of["ofType"];
            }
            let is_composite = matches!(of["kind"].as_str(), Some("OBJECT" | "INTERFACE" | "UNION"));
            fields.push(Field { type_name, name, arguments, is_composite });
        }
    }
    fields
}

/// Values for the arguments that a field cannot do without.
fn arguments(type_name: &str, field_name: &str, field: &Value) -> String {
    let is_required = |argument: &&Value| argument["type"]["kind"] == "NON_NULL" && argument["defaultValue"].is_null();
    let required = field["args"].as_array().unwrap().iter().filter(is_required);
    let values: Vec<String> = required
        .map(|argument| {
            let name = argument["name"].as_str().unwrap();
            let value = match (type_name, field_name, name) {
                // The subject of the listener's token.
                (_, "user" | "exportUser" | "eraseUser", "id") => "\"listener\"".to_owned(),
                ("Query", kind, "id") => format!("\"{kind}-1\""),
                ("Query", kinds, "ids") => format!("[\"{}-1\"]", kinds.trim_end_matches('s')),
                ("Query" | "Subscription", "ranking", "of") | ("Query", "chart", "of") => "SONG".to_owned(),
                ("Subscription", "metrics", "of") => r#"{kind: SONG, id: "song-1"}"#.to_owned(),
                (_, "breakdown", "by") => "COUNTRY".to_owned(),
                (_, "audienceOverlap", "with") => "\"artist-2\"".to_owned(),
                ("Query", "explore", "measures") => "[{measure: STREAMS}]".to_owned(),
                ("Platform", "funnel", "steps") => r#"[{type: "a"}, {type: "b"}]"#.to_owned(),
                ("Timeline", "columns", "of") => "[STREAMS]".to_owned(),
                ("Mutation", "upsertCatalog", "input") => r#"{songs: [{id: "song-3"}]}"#.to_owned(),
                ("Mutation", "mergeEntities", "input") => {
                    r#"{kind: PLAYLIST, fromId: "playlist-2", intoId: "playlist-1"}"#.to_owned()
                }
                ("Mutation", "unmergeEntities", "input") => r#"{kind: PLAYLIST, fromId: "playlist-2"}"#.to_owned(),
                ("Query", "recommendations", "userId") => "\"listener\"".to_owned(),
                ("Query", "assistedPlaylist", "input") => r#"{seeds: ["song-1"]}"#.to_owned(),
                ("Mutation", "dismissRecommendation" | "restoreRecommendation", "input") => {
                    r#"{userId: "listener", entity: {kind: SONG, id: "song-1"}}"#.to_owned()
                }
                ("Mutation", "purge", "input") => r#"{confirm: "purge"}"#.to_owned(),
                ("Mutation", "recordEvents", "input") => r#"[{id: "sent", type: "a.b"}]"#.to_owned(),
                _ => panic!("say here what to give {type_name}.{field_name}({name}:)"),
            };
            format!("{name}: {value}")
        })
        .collect();
    if (type_name, field_name) == ("Subscription", "realtime") {
        // Without an argument it is about the platform, and has a rule of its own.
        return r#"(of: {kind: SONG, id: "song-1"})"#.to_owned();
    }
    if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) }
}

/// A document in which `@` is a place where fields of the type are selected.
fn way_to(type_name: &str) -> &'static str {
    match type_name {
        "Query" => "query { @ }",
        "Mutation" => "mutation { @ }",
        "Subscription" => "subscription { @ }",
        "Definition" => "query { definitions { @ } }",
        "Dashboard" => "query { dashboard { @ } }",
        "IngestHealth" => "query { dashboard { ingest { @ } } }",
        "Platform" => "query { platform { @ } }",
        "Realtime" => r#"query { song(id: "song-1") { realtime { @ } } }"#,
        "LiveRealtime" => r#"subscription { realtime(of: {kind: SONG, id: "song-1"}) { @ } }"#,
        "Viewer" => "query { viewer { @ } }",
        "Song" => r#"query { song(id: "song-1") { @ } }"#,
        "Album" => r#"query { album(id: "album-1") { @ } }"#,
        "Playlist" => r#"query { playlist(id: "playlist-1") { @ } }"#,
        "Artist" => r#"query { artist(id: "artist-1") { @ } }"#,
        "Recommendation" => r#"query { song(id: "song-1") { similar { @ } } }"#,
        "Reason" => r#"query { song(id: "song-1") { similar { reason { @ } } } }"#,
        "AssistedPlaylist" => r#"query { assistedPlaylist(input: {seeds: ["song-1"]}) { @ } }"#,
        "Dismissal" => r#"query { user(id: "listener") { dismissals { @ } } }"#,
        "DismissPayload" => {
            r#"mutation { dismissRecommendation(input: {userId: "listener", entity: {kind: SONG, id: "song-1"}}) { @ } }"#
        }
        "RestorePayload" => {
            r#"mutation { restoreRecommendation(input: {userId: "listener", entity: {kind: SONG, id: "song-1"}}) { @ } }"#
        }
        "RecommendationQuality" => "query { recommendationQuality { @ } }",
        "MethodQuality" => "query { recommendationQuality { methods { @ } } }",
        "Metrics" => r#"query { song(id: "song-1") { metrics { @ } } }"#,
        "TimeSpan" => r#"query { song(id: "song-1") { metrics { span { @ } } } }"#,
        "UniqueCount" => r#"query { song(id: "song-1") { metrics { listeners { @ } } } }"#,
        "Revenue" => r#"query { song(id: "song-1") { metrics { revenue { @ } } } }"#,
        "Freshness" => r#"query { song(id: "song-1") { metrics { freshness { @ } } } }"#,
        "Timeline" => r#"query { song(id: "song-1") { timeline { @ } } }"#,
        "TimelinePoint" => r#"query { song(id: "song-1") { timeline { points { @ } } } }"#,
        "TimelineColumns" => r#"query { song(id: "song-1") { timeline { columns(of: [STREAMS]) { @ } } } }"#,
        "Column" => r#"query { song(id: "song-1") { timeline { columns(of: [STREAMS]) { series { @ } } } } }"#,
        "Share" => r#"query { song(id: "song-1") { breakdown(by: COUNTRY) { @ } } }"#,
        "Market" => r#"query { song(id: "song-1") { topMarkets { @ } } }"#,
        "Audience" => r#"query { song(id: "song-1") { audience { @ } } }"#,
        "AudienceThresholds" => r#"query { song(id: "song-1") { audience { thresholds { @ } } } }"#,
        "Overlap" => r#"query { artist(id: "artist-1") { audienceOverlap(with: "artist-2") { @ } } }"#,
        "ActiveUsers" => "query { platform { activeUsers { @ } } }",
        "ActiveUsersPoint" => r#"query { platform { activeUsersTimeline(during: {last: "P2D"}) { @ } } }"#,
        "CountPoint" => "query { platform { registrations { @ } } }",
        "LoginStats" => "query { platform { logins { @ } } }",
        "FeatureUse" => "query { platform { featureUsage { @ } } }",
        "Conversion" => "query { platform { conversion { @ } } }",
        "ConversionPoint" => "query { platform { conversion { points { @ } } } }",
        "User" => r#"query { user(id: "listener") { @ } }"#,
        "ActivityConnection" => r#"query { user(id: "listener") { activity { @ } } }"#,
        "ActivityEdge" => r#"query { user(id: "listener") { activity { edges { @ } } } }"#,
        "ListeningSummary" => r#"query { user(id: "listener") { summary(during: {period: ALL_TIME}) { @ } } }"#,
        "RankedArtist" => {
            r#"query { user(id: "listener") { summary(during: {period: ALL_TIME}) { topArtists { @ } } } }"#
        }
        "UserExport" => r#"query { exportUser(id: "listener") { @ } }"#,
        "EraseUserPayload" => r#"mutation { eraseUser(id: "listener") { @ } }"#,
        "ExploreResult" => "query { explore(measures: [{measure: STREAMS}]) { @ } }",
        "SessionStats" => "query { platform { sessions { @ } } }",
        "SessionPoint" => r#"query { platform { sessions(during: {last: "P1D"}) { points { @ } } } }"#,
        "Funnel" => r#"query { platform { funnel(steps: [{type: "a"}, {type: "b"}]) { @ } } }"#,
        "FunnelStep" => r#"query { platform { funnel(steps: [{type: "a"}, {type: "b"}]) { steps { @ } } } }"#,
        "FunnelPart" => {
            r#"query { platform { funnel(steps: [{type: "track.played"}, {type: "b"}], by: GENRE) { parts { @ } } } }"#
        }
        "RetentionTable" => r#"query { song(id: "song-1") { retention { @ } } }"#,
        "RetentionCohort" => r#"query { song(id: "song-1") { retention { cohorts { @ } } } }"#,
        "RetentionCell" => r#"query { song(id: "song-1") { retention { cohorts { cells { @ } } } } }"#,
        "Rank" => r#"query { song(id: "song-1") { rank { @ } } }"#,
        "RankedSong" => r#"query { artist(id: "artist-1") { topSongs { @ } } }"#,
        "RankedAlbum" => r#"query { artist(id: "artist-1") { topAlbums { @ } } }"#,
        "RankingConnection" => "query { ranking(of: SONG) { @ } }",
        "RankingEdge" => "query { ranking(of: SONG) { edges { @ } } }",
        "PageInfo" => "query { ranking(of: SONG) { pageInfo { @ } } }",
        "EventConnection" => "query { events { @ } }",
        "EventEdge" => "query { events { edges { @ } } }",
        "Event" => "query { events { nodes { @ } } }",
        "Money" => r#"query { events(where: {types: ["order.paid"]}) { nodes { amount { @ } } } }"#,
        "EventCount" => "query { events { totalCount { @ } } }",
        "LiveEvents" => "subscription { events { @ } }",
        "Chart" => "query { chart(of: SONG) { @ } }",
        "ChartEntryConnection" => "query { chart(of: SONG) { entries { @ } } }",
        "ChartEntryEdge" => "query { chart(of: SONG) { entries { edges { @ } } } }",
        "ChartEntry" => "query { chart(of: SONG) { entries { nodes { @ } } } }",
        "TrendingItem" => "query { trending { @ } }",
        "ReleaseComparison" => r#"query { song(id: "song-1") { releaseCurve { @ } } }"#,
        "ReleaseCurve" => r#"query { song(id: "song-1") { releaseCurve { curve { @ } } } }"#,
        "ReleasePoint" => r#"query { song(id: "song-1") { releaseCurve { curve { points { @ } } } } }"#,
        "LiveMetrics" => r#"subscription { metrics(of: {kind: SONG, id: "song-1"}) { @ } }"#,
        "LiveRanking" => "subscription { ranking(of: SONG) { @ } }",
        "RecordEventsPayload" => r#"mutation { recordEvents(input: [{id: "sent", type: "a.b"}]) { @ } }"#,
        "Credit" => r#"query { song(id: "song-1") { credits { @ } } }"#,
        "UpsertCatalogPayload" => r#"mutation { upsertCatalog(input: {songs: [{id: "song-3"}]}) { @ } }"#,
        "CatalogResult" => r#"mutation { upsertCatalog(input: {songs: [{id: "song-3"}]}) { results { @ } } }"#,
        "MergePayload" => {
            r#"mutation { mergeEntities(input: {kind: PLAYLIST, fromId: "playlist-2", intoId: "playlist-1"}) { @ } }"#
        }
        "PurgePayload" => r#"mutation { purge(input: {confirm: "purge"}) { @ } }"#,
        "EventResult" => r#"mutation { recordEvents(input: [{id: "sent", type: "a.b"}]) { results { @ } } }"#,
        other => panic!("say here how a query reaches the type {other}"),
    }
}

/// Every value under this name, at any depth.
fn values<'a>(data: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match data {
        Value::Object(members) => {
            for (key, value) in members {
                if key == name {
                    found.push(value);
                }
                values(value, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| values(item, name, found)),
        _ => {}
    }
}

/// The answer to a document: over a WebSocket where it is a subscription, the first one.
async fn answer(app: &App, token: Option<&str>, document: &str) -> Value {
    if !document.starts_with("subscription") {
        return app.graphql(token, document, json!({})).await;
    }
    let mut socket = Socket::connect(app, token).await;
    socket.subscribe("1", document).await;
    let message = socket.receive_of("1").await;
    match message["type"].as_str() {
        Some("next") => message["payload"].clone(),
        _ => json!({ "errors": message["payload"] }),
    }
}

fn refusals(answer: &Value) -> usize {
    let errors = answer["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let codes = errors.iter().map(|error| error["extensions"]["code"].as_str().unwrap());
    codes.filter(|code| ["FORBIDDEN", "UNAUTHENTICATED"].contains(code)).count()
}

/// What no public number of these events holds.
const SECRET: i64 = 987_654_321;
/// The same of the other artist.
const OTHER_PRIVATE: i64 = 1_234_567;

/// Two artists with a song, an album and a playlist's place each. Everything private of the first is
/// [`SECRET`], or begins with it; nothing public is.
async fn tell_secrets(app: &App) {
    let mut events = Vec::new();
    for (number, private) in [(1, SECRET), (2, OTHER_PRIVATE)] {
        let names = json!({
            "occurredAt": "2026-06-15T10:00:00Z", "songId": format!("song-{number}"), "songTitle": "A song",
            "artistId": format!("artist-{number}"), "artistName": "Somebody", "albumId": format!("album-{number}"),
            "albumTitle": "An album", "genre": "pop",
        });
        let mut add = |event_type: &str, more: Value| {
            let mut event = names.clone();
            let members = event.as_object_mut().unwrap();
            members.insert("id".to_owned(), json!(format!("{number}-{}", events.len())));
            members.insert("type".to_owned(), json!(event_type));
            members.extend(more.as_object().unwrap().clone());
            events.push(event);
        };
        // So many that the song trends.
        for listener in ["anna", "ben", "cleo", "dora", "emil", "finn"] {
            add("track.played", json!({"userId": listener, "playlistId": format!("playlist-{number}")}));
        }
        add("track.played", json!({"count": 1_000_000}));
        add("track.played", json!({"count": private, "playedMs": 1, "durationMs": 200_000}));
        add("track.unliked", json!({"count": private}));
        add("track.unsaved", json!({"count": private}));
        add("artist.unfollowed", json!({"count": private}));
        add("order.paid", json!({"count": private, "amount": "9876543.21", "currency": "EUR"}));
        add("order.refunded", json!({"count": private, "amount": "0.01", "currency": "EUR"}));
    }
    app.record(&events).await;
}

async fn start(database: &TestDatabase) -> App {
    let app = App::start_with(database, Options::at(T0).set("DEVELOPMENT", true)).await;
    tell_secrets(&app).await;
    app
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_is_open_to_whom_the_table_says() {
    let database = TestDatabase::sqlite();
    let app = start(&database).await;
    // A chart with an entry, of a week that has ended; and somebody who turned to something new since.
    let play = json!({"id": "last-week", "type": "track.played", "occurredAt": "2026-06-08T10:00:00Z",
        "songId": "song-1", "userId": "anna"});
    app.record(&[play]).await;
    app.core.charts.look().await.unwrap();
    let order = QualityOrder { of: EntityKind::Song, split_ms: T0 - DAY_MS };
    app.core.recommender.measure(order, |_| {}).await.unwrap().unwrap();
    let rules = table();
    let fields = fields(&app).await;
    let mut unused: Vec<&String> = rules.keys().collect();
    let mut failures = Vec::new();
    // What is removed has no fields to look at: last.
    let is_purge = |field: &&Field| field.name == "purge" || field.type_name == "PurgePayload";
    let (purging, others): (Vec<&Field>, Vec<&Field>) = fields.iter().partition(is_purge);
    for field in others.into_iter().chain(purging) {
        let Field { type_name, name, arguments, is_composite } = field;
        let (exact, of_type) = (format!("{type_name}.{name}"), format!("{type_name}.*"));
        unused.retain(|rule| **rule != exact && **rule != of_type);
        let Some(allowed) = rules.get(&exact).or_else(|| rules.get(&of_type)) else {
            failures.push(format!("{exact} is in no row of the table"));
            continue;
        };
        let below = if *is_composite { " { __typename }" } else { "" };
        let document = way_to(type_name).replace('@', &format!("{name}{arguments}{below}"));
        for (asker, is_allowed) in ASKERS.into_iter().zip(allowed) {
            if document.contains("listener") {
                // Some documents erase them.
                let id = format!("{asker:?} {document}");
                app.record(&[json!({"id": &id[..id.len().min(200)], "type": "track.played", "songId": "song-1",
                    "artistId": "artist-1", "userId": "listener", "occurredAt": "2026-06-15T10:00:00Z"})])
                    .await;
            }
            if document.contains("dismissals") {
                let song = EntityRef { kind: EntityKind::Song, id: "song-1".into() };
                app.core.recommender.dismiss("listener", song, None).await.unwrap();
            }
            let token = asker.token(&app);
            let answer = answer(&app, token.as_deref(), &document).await;
            let mut seen = Vec::new();
            values(&answer["data"], name, &mut seen);
            let refusals = refusals(&answer);
            let is_as_said = if *is_allowed {
                // Reached, so that its guards were asked.
                refusals == 0 && !seen.is_empty() && answer.get("errors").is_none()
            } else {
                refusals > 0 && seen.iter().all(|value| value.is_null())
            };
            if !is_as_said {
                failures.push(format!("{asker:?} asks {document}: allowed is {is_allowed}, got {answer}"));
            }
        }
    }
    assert!(fields.len() > 80, "{} fields", fields.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(unused.is_empty(), "the table names what does not exist: {unused:?}");
    app.stop().await;
}

on_every_database!(nobody_but_the_artist_and_admins_learns_private_numbers, |database| {
    let app = start(&database).await;
    let owner = app.token("artist", &["artist-1"]);
    let strangers = [app.token("artist", &["artist-2"]), app.token("listener", &[]), app.token("service", &[])];
    for document in [
        r#"query { song(id: "song-1") { metrics { skips } } }"#,
        r#"query { album(id: "album-1") { metrics { skips } } }"#,
        r#"query { artist(id: "artist-1") { metrics { skips } } }"#,
        r#"query { song(id: "song-1") { metrics { listeningTimeMs } } }"#,
        r#"query { song(id: "song-1") { metrics { unlikes } } }"#,
        r#"query { song(id: "song-1") { metrics { unsaves } } }"#,
        r#"query { artist(id: "artist-1") { metrics { unfollows } } }"#,
        r#"query { song(id: "song-1") { metrics { purchases } } }"#,
        r#"query { song(id: "song-1") { metrics { refunds } } }"#,
        r#"query { song(id: "song-1") { metrics { public: plays secret: skips } } }"#,
        r#"query { song(id: "song-1") { metrics { plays: skips } } }"#,
        r#"query { song(id: "song-1") { metrics { ...Numbers } } } fragment Numbers on Metrics { plays skips }"#,
        r#"query { song(id: "song-1") { ... on Measurable { metrics { ... @include(if: true) { skips } } } } }"#,
        r#"query { song(id: "song-1") { artist { metrics { skips } } } }"#,
        r#"query { song(id: "song-1") { album { artist { metrics { skips } } } } }"#,
        r#"query { artist(id: "artist-1") { topSongs { song { metrics { skips } } } } }"#,
        r#"query { artist(id: "artist-1") { topAlbums { album { metrics { skips } } } } }"#,
        r#"query { songs(ids: ["song-2", "song-1"]) { metrics { skips } } }"#,
        r#"query { artists(ids: ["artist-2", "artist-1"]) { metrics { skips } } }"#,
        r#"query { ranking(of: SONG) { nodes { metrics { skips } } } }"#,
        r#"query { ranking(of: SONG) { edges { node { ... on Song { artist { metrics { skips } } } } } } }"#,
        r#"query { ranking(of: ARTIST) { nodes { metrics { skips } } } }"#,
        r#"query { song(id: "song-1") { metrics(during: {between: {from: "2026-06-16T00:00:00Z", to: "2026-06-17T00:00:00Z"}}) { previous { skips } } } }"#,
        r#"query { song(id: "song-1") { timeline { points { metrics { skips } } } } }"#,
        r#"query { song(id: "song-1") { timeline { columns(of: [SKIPS]) { series { values total } } } } }"#,
        r#"query { song(id: "song-1") { timeline { columns(of: [STREAMS, PURCHASES]) { series { total } } } } }"#,
        r#"query { song(id: "song-1") { timeline { columns(of: [LISTENING_TIME]) { series { total } } } } }"#,
        r#"query { artist(id: "artist-1") { topSongs(by: SKIPS) { value } } }"#,
        r#"query { artist(id: "artist-1") { topSongs(by: LISTENING_TIME) { position value } } }"#,
        r#"query { artist(id: "artist-1") { topAlbums(by: SKIPS) { value } } }"#,
        r#"subscription { metrics(of: {kind: SONG, id: "song-1"}) { metrics { skips } } }"#,
        r#"subscription { metrics(of: {kind: ARTIST, id: "artist-1"}) { metrics { plays secret: skips } } }"#,
        r#"subscription { metrics(of: {kind: ALBUM, id: "album-1"}) { metrics { previous { skips } skips } } }"#,
        r#"subscription { ranking(of: SONG, during: {period: TODAY}) { edges { node { metrics { skips } } } } }"#,
    ] {
        // In a ranking are others' songs, too, whose numbers are not the artist's.
        let told = answer(&app, Some(&owner), document).await.to_string();
        assert!(told.contains(&SECRET.to_string()) || document.contains("ranking("), "{document}: {told}");
        check_secret(&app, &strangers, document).await;
    }
    // By whom everybody is compared is the platform's business: not even an artist's own place is told.
    for document in [
        "query { ranking(of: SONG, by: SKIPS) { edges { value } } }",
        "query { ranking(of: ARTIST, by: LISTENING_TIME) { edges { position value } } }",
        "query { ranking(of: ALBUM, by: SKIPS) { edges { value } } }",
        "subscription { ranking(of: SONG, by: SKIPS, during: {period: TODAY}) { edges { value } } }",
    ] {
        let mut askers = strangers.to_vec();
        askers.push(owner.clone());
        check_secret(&app, &askers, document).await;
    }
    // Money is a decimal, not the number itself.
    let document = r#"query { song(id: "song-1") { metrics { revenue { gross } } } }"#;
    assert!(answer(&app, Some(&owner), document).await.to_string().contains("9876543.21"));
    for token in &strangers {
        let answer = answer(&app, Some(token), document).await;
        assert!(refusals(&answer) > 0 && !answer.to_string().contains("9876543"), "{answer}");
    }
    app.stop().await;
});

async fn check_secret(app: &App, strangers: &[String], document: &str) {
    let secret = SECRET.to_string();
    let told = answer(app, Some(&app.admin()), document).await.to_string();
    assert!(told.contains(&secret), "an admin does not see what is to be kept secret: {document}: {told}");
    for token in strangers {
        let answer = answer(app, Some(token), document).await;
        assert!(refusals(&answer) > 0, "{document}: {answer}");
        assert!(!answer.to_string().contains(&secret), "{document}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_the_rest_of_the_answer_alone() {
    let database = TestDatabase::sqlite();
    let app = start(&database).await;
    let stranger = app.token("artist", &["artist-2"]);
    let query = r#"{ songs(ids: ["song-2", "song-1"]) { id metrics { skips } } viewer { role } }"#;
    let answer = app.graphql(Some(&stranger), query, json!({})).await;
    let own = json!({"id": "song-2", "metrics": {"skips": OTHER_PRIVATE}});
    assert_eq!(answer["data"], json!({"songs": [own, null], "viewer": {"role": "ARTIST"}}));
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["errors"][0]["path"], json!(["songs", 1, "metrics", "skips"]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_entity_is_nobodys_own() {
    let database = TestDatabase::sqlite();
    let app = start(&database).await;
    let artist = app.token("artist", &["artist-2"]);
    for id in ["song-99", "artist-2"] {
        let document =
            format!(r#"subscription {{ metrics(of: {{kind: SONG, id: "{id}"}}) {{ metrics {{ skips }} }} }}"#);
        assert!(refusals(&answer(&app, Some(&artist), &document).await) > 0, "{id}");
    }
    let own = r#"subscription { metrics(of: {kind: ARTIST, id: "artist-2"}) { metrics { skips } } }"#;
    assert_eq!(refusals(&answer(&app, Some(&artist), own).await), 0);
    app.stop().await;
}
