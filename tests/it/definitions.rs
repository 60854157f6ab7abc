//! Every number of the schema is defined, in the words of the schema.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    http::INTROSPECTION,
    support::{App, TestDatabase},
};

/// Numbers that measure nothing: places, sizes and lengths that are known, and parts of an answer.
const NOT_METRICS: &[&str] = &[
    "AssistedPlaylist.durationMs",
    "AudienceThresholds.activeDays",
    "AudienceThresholds.audienceDays",
    "AudienceThresholds.moderateMin",
    "AudienceThresholds.reactivatedDays",
    "AudienceThresholds.superMin",
    "CatalogResult.index",
    "Chart.revision",
    "ChartEntryConnection.totalCount",
    "Column.total",
    "Column.values",
    "Definition.numbers",
    "Event.count",
    "Event.durationMs",
    "Event.playedMs",
    "EventCount.value",
    "EventResult.index",
    "ExploreResult.rowsRead",
    "LiveEvents.skipped",
    "IngestHealth.accepted",
    "IngestHealth.conflicts",
    "IngestHealth.duplicates",
    "IngestHealth.lagMs",
    "IngestHealth.refused",
    "IngestHealth.rejected",
    "IngestHealth.waiting",
    "LiveMetrics.sequence",
    "LiveRanking.sequence",
    "LiveRealtime.sequence",
    "Money.amount",
    "PurgePayload.events",
    "Rank.of",
    "Rank.previousPosition",
    "RankedAlbum.position",
    "RankedAlbum.value",
    "EraseUserPayload.events",
    "RankedArtist.position",
    "RankedArtist.value",
    "RankedSong.position",
    "RankedSong.value",
    "RankingConnection.totalCount",
    "RankingEdge.change",
    "RankingEdge.previousPosition",
    "RankingEdge.value",
    "RecommendationQuality.items",
    "RecommendationQuality.listeners",
    "RecordEventsPayload.accepted",
    "RecordEventsPayload.conflicts",
    "RecordEventsPayload.duplicates",
    "RecordEventsPayload.rejected",
    "ReleasePoint.day",
    "Share.share",
    "Share.value",
    "RetentionCell.period",
    "Song.durationMs",
    "UniqueCount.lower",
    "UniqueCount.upper",
    "UniqueCount.value",
    "UserExport.events",
    "UpsertCatalogPayload.rejected",
    "UpsertCatalogPayload.stored",
];

/// Types whose values are numbers, or say one.
const NUMBERS: &[&str] = &["Int", "Float", "Long", "Decimal", "UniqueCount", "Revenue"];

const QUERY: &str = "{ definitions { key title text unit numbers foundIn version } }";

/// Descriptions of object types' fields and of enum values by `Type.name`, and which of them are numbers.
async fn schema(app: &App) -> (BTreeMap<String, String>, BTreeSet<String>) {
    let answer = app.graphql(None, INTROSPECTION, json!({})).await;
    let (mut descriptions, mut numbers) = (BTreeMap::new(), BTreeSet::new());
    for of in answer["data"]["__schema"]["types"].as_array().unwrap() {
        let type_name = of["name"].as_str().unwrap();
        let members = match of["kind"].as_str().unwrap() {
            "OBJECT" if !type_name.starts_with("__") => of["fields"].as_array().unwrap(),
            "ENUM" => of["enumValues"].as_array().unwrap(),
            _ => continue,
        };
        for member in members {
            let place = format!("{type_name}.{}", member["name"].as_str().unwrap());
            descriptions.insert(place.clone(), member["description"].as_str().unwrap().to_owned());
            let mut kind = &member["type"];
            while !kind["ofType"].is_null() {
                kind = &kind["ofType"];
            }
            if NUMBERS.iter().any(|number| kind["name"] == *number) {
                numbers.insert(place);
            }
        }
    }
    (descriptions, numbers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_of_the_schema_is_defined_or_known_to_be_no_metric() {
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    let (descriptions, numbers) = schema(&app).await;
    let definitions = app.ask(QUERY).await["definitions"].as_array().unwrap().clone();
    let defined: BTreeSet<String> = definitions
        .iter()
        .flat_map(|definition| definition["foundIn"].as_array().unwrap())
        .map(|place| place.as_str().unwrap().to_owned())
        .collect();
    let not_metrics: BTreeSet<String> = NOT_METRICS.iter().map(|place| (*place).to_owned()).collect();
    let known: BTreeSet<String> = defined.union(&not_metrics).cloned().collect();
    let missing: Vec<&String> = numbers.difference(&known).collect();
    assert!(missing.is_empty(), "give these a row in src/graphql/definitions.rs, or name them here: {missing:?}");
    let unknown: Vec<&String> = known.iter().filter(|place| !descriptions.contains_key(*place)).collect();
    assert!(unknown.is_empty(), "the schema does not have {unknown:?}");
    assert!(defined.is_disjoint(&not_metrics));
    let metrics: Vec<&String> = descriptions.keys().filter(|place| place.starts_with("Metric.")).collect();
    assert!(!metrics.is_empty() && metrics.iter().all(|place| defined.contains(*place)), "{metrics:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_the_schemas_own_texts_for_anybody() {
    let database = TestDatabase::sqlite();
    let app = App::start(&database).await;
    let (descriptions, _) = schema(&app).await;
    let answer = app.graphql(None, QUERY, json!({})).await;
    let definitions = answer["data"]["definitions"].as_array().unwrap();
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let version = definitions[0]["version"].as_str().unwrap();
    assert_eq!(version.len(), 12, "{version}");
    let mut keys = BTreeSet::new();
    for definition in definitions {
        assert!(keys.insert(definition["key"].as_str().unwrap()), "{definition} is there twice");
        let first = definition["foundIn"][0].as_str().unwrap();
        assert_eq!(definition["text"], one_line(&descriptions[first]), "{first}");
        assert_eq!(definition["version"], version);
        for part in ["title", "text", "unit"] {
            assert!(definition[part].as_str().is_some_and(|text| !text.is_empty()), "{definition}");
        }
        let is_line = |number: &Value| number.as_i64().is_some_and(|number| (1..=38).contains(&number));
        assert!(definition["numbers"].as_array().unwrap().iter().all(is_line), "{definition}");
    }
    assert!(keys.contains("streams") && keys.contains("listenersNow"), "{keys:?}");
    let event = json!({"id": "1", "type": "artist.followed", "artistId": "artist-1", "userId": "a"});
    app.record(&[event]).await;
    let of_numbers = app.ask(r#"{ artist(id: "artist-1") { metrics { freshness { definitionsVersion } } } }"#).await;
    assert_eq!(of_numbers["artist"]["metrics"]["freshness"]["definitionsVersion"], version);
    app.stop().await;
}
