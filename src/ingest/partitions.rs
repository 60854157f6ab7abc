//! PostgreSQL's monthly partitions of the log, each made before its first row.

use std::collections::HashSet;

use chrono::{DateTime, Datelike, Months, NaiveDate};

use crate::db::{Database, DbError, queries::events};

/// Knows which months have their partition.
#[derive(Default)]
pub struct Partitions {
    /// Unknown until the first look; false on SQLite and where the log is partitioned otherwise.
    by_month: Option<bool>,
    made: HashSet<NaiveDate>,
}

impl Partitions {
    /// Makes the partitions that these instants need. Outside the batch's transaction: it holds locks
    /// that readers would wait for.
    pub async fn make_for(
        &mut self,
        database: &Database,
        instants_ms: impl Iterator<Item = i64>,
    ) -> Result<(), DbError> {
        let by_month = match self.by_month {
            Some(by_month) => by_month,
            None => {
                let by_month = events::is_partitioned_by_time(database.writer()).await?;
                *self.by_month.insert(by_month)
            }
        };
        if !by_month {
            return Ok(());
        }
        let months: HashSet<NaiveDate> = instants_ms.filter_map(month_of).collect();
        for month in months.difference(&self.made).copied().collect::<Vec<_>>() {
            let name = name_of(month);
            let next = month + Months::new(1);
            let txn = database.begin_write().await?;
            events::create_partition(&txn, &name, start_ms(month), start_ms(next)).await?;
            txn.commit().await?;
            self.made.insert(month);
        }
        Ok(())
    }
}

fn name_of(month: NaiveDate) -> String {
    format!("event_{:04}_{:02}", month.year(), month.month())
}

/// When the month of a partition of this name ends; `None` where it is not one of ours.
pub fn end_ms(name: &str) -> Option<i64> {
    let (year, month) = name.strip_prefix("event_")?.split_once('_')?;
    let month = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?;
    (name_of(month) == name).then(|| start_ms(month + Months::new(1)))
}

fn month_of(at_ms: i64) -> Option<NaiveDate> {
    DateTime::from_timestamp_millis(at_ms)?.date_naive().with_day(1)
}

fn start_ms(date: NaiveDate) -> i64 {
    date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis()
}
