//! Any group-by, as rows for a chart.

use std::{collections::HashMap, sync::Arc};

use async_graphql::{Context, Enum, Json, SimpleObject};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::metrics::Freshness;
use crate::{
    analytics::{self, ExploreError, ExploreFrom, ExploreQuestion, Key, KeyValue, Value},
    domain::entity::{EntityKind, EntityRef},
    graphql::{
        context::ContextExt,
        error::ApiError,
        explore_input::{AskedExplore, NamedQuestion, TIME},
        scalars::{DateTime, Long},
    },
};

/// Where a group-by's answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "analytics::ExploreSource")]
pub enum ExploreSource {
    /// Stored sums and sets: as fast for ten million events as for ten.
    Rollup,
    /// The events themselves, one by one, within budgets of rows, groups and time.
    Events,
}

/// The rows of a group-by.
#[derive(SimpleObject)]
pub struct ExploreResult {
    /// What each row holds, in order: `time` where there are time buckets, what rows are told apart by, the measures.
    pub columns: Vec<String>,
    /// One object for each row, by column, ready for a chart. `time` is when the bucket begins. Null is what events do
    /// not say. To artists, what few people of one country, source or device stand behind is told together as `OTHER`.
    pub rows: Vec<Json<RowObject>>,
    /// Where the answer came from.
    pub source: ExploreSource,
    /// How many stored rows of sums, or events, were read for it.
    pub rows_read: Long,
    /// How far the numbers can be trusted to be complete.
    pub freshness: Freshness,
}

/// A row as a JSON object whose members are in the order of the columns.
pub struct RowObject(Vec<(Arc<str>, serde_json::Value)>);

impl Serialize for RowObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.0.len()))?;
        self.0.iter().try_for_each(|(column, value)| object.serialize_entry(&**column, value))?;
        object.end()
    }
}

/// Answers a group-by.
pub async fn explore(ctx: &Context<'_>, asked: AskedExplore) -> Result<ExploreResult, ApiError> {
    let NamedQuestion { question, keys, measures } = asked.ask(ctx).await?;
    let answer = ctx.analytics().explore(&question, ExploreFrom::Cheapest).await?;
    let titles = titles(ctx, &question, &answer.rows).await?;
    let mut columns: Vec<Arc<str>> = question.buckets.iter().map(|_| TIME.into()).collect();
    for (name, key) in keys.iter().zip(&question.by) {
        columns.push(name.as_str().into());
        columns.extend(matches!(key, Key::Entity(_)).then(|| format!("{name}Title").into()));
    }
    columns.extend(measures.iter().map(|name| Arc::from(name.as_str())));
    let row = |row: analytics::Row| {
        let bucket = question.buckets.as_ref().map(|buckets| DateTime::at(buckets[row.bucket].from_ms));
        let mut values: Vec<serde_json::Value> = bucket.map(|start| start.text().into()).into_iter().collect();
        for (value, key) in row.keys.iter().zip(&question.by) {
            values.push(json_of(value));
            if let Key::Entity(kind) = key {
                let title = entity_of(*kind, value).and_then(|entity| titles.get(&entity).cloned().flatten());
                values.push(title.map_or(serde_json::Value::Null, |title| (&*title).into()));
            }
        }
        values.extend(row.values.iter().map(|value| match value {
            Value::Count(count) => Long::of(*count).0.into(),
            Value::Decimal(number) => number_of(*number),
            Value::Nothing => serde_json::Value::Null,
        }));
        Json(RowObject(columns.iter().cloned().zip(values).collect()))
    };
    Ok(ExploreResult {
        rows: answer.rows.into_iter().map(row).collect(),
        columns: columns.iter().map(|column| column.to_string()).collect(),
        source: answer.source.into(),
        rows_read: Long::of(i64::try_from(answer.rows_read).unwrap_or(i64::MAX)),
        freshness: Freshness::of(ctx.analytics(), question.window),
    })
}

/// What the songs, albums and artists of the rows are called.
async fn titles(
    ctx: &Context<'_>,
    question: &ExploreQuestion,
    rows: &[analytics::Row],
) -> Result<HashMap<EntityRef, Option<Arc<str>>>, ApiError> {
    let entities = rows.iter().flat_map(|row| row.keys.iter().zip(&question.by)).filter_map(|(value, key)| match key {
        Key::Entity(kind) => entity_of(*kind, value),
        _ => None,
    });
    let entries = ctx.loader().load_many(entities).await?;
    Ok(entries.into_iter().map(|(entity, entry)| (entity, entry.title)).collect())
}

fn entity_of(kind: EntityKind, value: &KeyValue) -> Option<EntityRef> {
    match value {
        KeyValue::Text(id) => Some(EntityRef { kind, id: id.clone() }),
        _ => None,
    }
}

fn json_of(value: &KeyValue) -> serde_json::Value {
    match value {
        KeyValue::Flag(flag) => (*flag).into(),
        KeyValue::Number(number) => number_of(number.value()),
        KeyValue::Text(text) => (&**text).into(),
        KeyValue::Unknown => serde_json::Value::Null,
    }
}

/// Whole numbers as such.
fn number_of(number: f64) -> serde_json::Value {
    const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;

    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX { (number as i64).into() } else { number.into() }
}

impl From<ExploreError> for ApiError {
    fn from(error: ExploreError) -> Self {
        match error {
            ExploreError::Store(error) => error.into(),
            error => {
                let field = error.field().map(str::to_owned);
                ApiError { field, ..ApiError::new(error.kind(), error.to_string()) }
            }
        }
    }
}
