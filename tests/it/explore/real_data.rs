//! Advertisements and CDs of real data sets, grouped as their rows are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    App, TestDatabase,
    app::Options,
    at,
    data::{Row, shared_rows},
};

async fn explore(app: &App, arguments: &str) -> Value {
    let data = app.ask(&format!("{{ explore({arguments}) {{ columns rows source rowsRead }} }}")).await;
    data["explore"].clone()
}

/// Impressions and clicks by what a row says of some columns.
fn counted<'a>(rows: &'a [Row], columns: &[&str]) -> BTreeMap<Vec<&'a str>, (u64, u64)> {
    let mut counts: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let key = columns.iter().map(|column| &*row[*column]).collect();
        let (impressions, clicks) = counts.entry(key).or_default();
        *(if row["event"] == "click" { clicks } else { impressions }) += 1;
    }
    counts
}

/// The same as it was told: rows by `columns` and by type.
fn told<'a>(answer: &'a Value, columns: &[&str]) -> BTreeMap<Vec<&'a str>, (u64, u64)> {
    let mut counts: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for row in answer["rows"].as_array().unwrap() {
        let key = columns.iter().map(|column| row[column].as_str().unwrap_or_default()).collect();
        let (impressions, clicks) = counts.entry(key).or_default();
        *(if row["type"] == "ad.clicked" { clicks } else { impressions }) += row["count"].as_u64().unwrap();
    }
    counts
}

async fn check_advertisements(database: TestDatabase) {
    let Some(rows) = shared_rows("ad_events.csv.gz") else { return };
    let app = App::start_with(&database, Options::at(at("2018-01-01T00:00:00Z"))).await;
    let event = |(number, row): (usize, &Row)| {
        let mut event = json!({
            "id": number.to_string(), "occurredAt": row["ts"],
            "type": if row["event"] == "click" { "ad.clicked" } else { "ad.viewed" },
            "device": if row["is_mobile"] == "true" { "mobile" } else { "desktop" },
            "properties": {"company": row["company_id"], "campaign": row["campaign_id"], "pricing": row["pricing"]},
        });
        if !row["country"].is_empty() {
            event["country"] = json!(row["country"]);
        }
        if let Ok(cost) = row["cost_usd"].parse::<f64>() {
            event["properties"]["cost"] = json!(cost);
        }
        event
    };
    app.record(&rows.iter().enumerate().map(event).collect::<Vec<_>>()).await;

    let of_all = "measures: [{measure: COUNT}], by: [{of: TYPE}], during: {period: ALL_TIME}";
    let all = explore(&app, of_all).await;
    let expected = json!([{"type": "ad.viewed", "count": 5_760}, {"type": "ad.clicked", "count": 1_336}]);
    assert_eq!((&all["rows"], &all["source"]), (&expected, &json!("ROLLUP")));

    for (dimensions, columns, keys, source) in [
        ("{of: PROPERTY, property: \"company\"}", &["company_id"][..], &["properties.company"][..], "EVENTS"),
        (
            "{of: PROPERTY, property: \"company\"}, {of: PROPERTY, property: \"campaign\"}",
            &["company_id", "campaign_id"],
            &["properties.company", "properties.campaign"],
            "EVENTS",
        ),
        ("{of: COUNTRY}", &["country"], &["country"], "EVENTS"),
    ] {
        let arguments = format!(
            "measures: [{{measure: COUNT}}], by: [{{of: TYPE}}, {dimensions}], during: {{period: ALL_TIME}}, first: 1000"
        );
        let answer = explore(&app, &arguments).await;
        assert_eq!(told(&answer, keys), counted(&rows, columns), "{dimensions}");
        assert_eq!(answer["source"], source, "{dimensions}");
        assert_eq!(answer["rowsRead"], rows.len(), "{dimensions}");
    }

    // Click-through of a campaign, as a dashboard asks for it: one question, filtered by a property.
    let of_company = r#"measures: [{measure: COUNT}], by: [{of: TYPE}],
        where: {propertyEquals: [{path: "company", value: "1"}]}, during: {period: ALL_TIME}"#;
    let answer = explore(&app, of_company).await;
    assert_eq!(told(&answer, &[])[&vec![]], counted(&rows, &["company_id"])[&vec!["1"]]);

    // What clicks cost: numbers that some rows do not have.
    let costs: Vec<f64> = rows.iter().filter_map(|row| row["cost_usd"].parse().ok()).collect();
    let answer = explore(
        &app,
        r#"measures: [{measure: NUMBERS, property: "cost"}, {measure: SUM, property: "cost"}, {measure: MAX, property: "cost"}],
            during: {period: ALL_TIME}"#,
    )
    .await;
    let row = &answer["rows"][0];
    assert_eq!(row["numbers:cost"], costs.len());
    assert!((row["sum:cost"].as_f64().unwrap() - costs.iter().sum::<f64>()).abs() < 1e-6, "{row}");
    assert_eq!(row["max:cost"].as_f64().unwrap(), costs.iter().copied().fold(f64::MIN, f64::max));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn advertisements_are_as_in_the_file_on_sqlite() {
    check_advertisements(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn advertisements_are_as_in_the_file_on_postgres() {
    if let Some(database) = TestDatabase::postgres().await {
        check_advertisements(database).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forty_two_thousand_cds_are_added_up() {
    let Some(rows) = shared_rows("cdnow_purchases.csv.gz") else { return };
    let app = App::start_with(&TestDatabase::sqlite(), Options::at(at("1999-01-01T00:00:00Z"))).await;
    let order = |(number, row): (usize, &Row)| {
        json!({
            "id": number.to_string(), "type": "order.paid", "occurredAt": format!("{}T00:00:00Z", &row["date"][..10]),
            "userId": row["customer_id"], "amount": row["amount_usd"], "currency": "USD",
            "properties": {"quantity": row["quantity"].parse::<i64>().unwrap()},
        })
    };
    app.record(&rows.iter().enumerate().map(order).collect::<Vec<_>>()).await;
    let answer = explore(
        &app,
        r#"measures: [{measure: SUM, property: "quantity"}, {measure: SUM, property: "amount"}, {measure: UNIQUE_USERS}],
            where: {types: ["order.paid"]}, during: {period: ALL_TIME}"#,
    )
    .await;
    let expected = json!([{"sum:quantity": 42_513, "sum:amount": 627_383.61, "uniqueUsers": 5_892}]);
    assert_eq!(answer["rows"], expected);
    app.stop().await;
}
