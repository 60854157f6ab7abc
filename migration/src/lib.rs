//! The database's shape, one change per file, the same on SQLite, PostgreSQL and Citus.
//!
//! Every primary key holds the column that Citus would distribute its table by ([`DISTRIBUTION`]);
//! a PostgreSQL whose tables are hash-partitioned by those columns enforces that rule in the tests.

pub use sea_orm_migration::prelude::*;

mod columns;
mod m20261122_000001_create_event;
mod m20261122_000002_create_rollup;
mod m20261122_000003_create_audience;
mod m20261122_000004_create_catalogue;
mod m20261122_000005_create_lease;
mod m20261125_000006_create_genre;
mod m20261125_000007_create_audience_day;
mod m20261125_000010_create_chart;
mod m20261125_000020_extend_catalogue;
mod m20261125_000030_index_songs_by_album;
mod m20261126_000040_count_events;
mod m20261126_000050_create_trail;
mod m20261126_000051_count_payments;
mod m20261126_000052_count_erasures;
mod m20261126_000060_create_secret;
mod m20261126_000070_create_keeping;
mod m20261127_000080_add_trail_objects;
mod m20261127_000090_create_recommendations;

/// Each table that Citus would distribute, and by which column. All are strings (or, for `event`, a
/// hash), none is ever updated. Tables that are not named here are local or reference tables.
pub const DISTRIBUTION: &[(&str, &str)] = &[
    ("event", "event_hash"),
    ("rollup", "entity_id"),
    ("money_rollup", "entity_id"),
    ("audience_day", "entity_id"),
    ("market_day", "country"),
    ("trail", "users"),
    ("listener", "user_id"),
    ("anonymous_listener", "anonymous_id"),
    ("chart_entry", "entity_id"),
    ("taste", "listener"),
    ("dismissal", "user_id"),
];

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261122_000001_create_event::Migration),
            Box::new(m20261122_000002_create_rollup::Migration),
            Box::new(m20261122_000003_create_audience::Migration),
            Box::new(m20261122_000004_create_catalogue::Migration),
            Box::new(m20261122_000005_create_lease::Migration),
            Box::new(m20261125_000006_create_genre::Migration),
            Box::new(m20261125_000007_create_audience_day::Migration),
            Box::new(m20261125_000010_create_chart::Migration),
            Box::new(m20261125_000020_extend_catalogue::Migration),
            Box::new(m20261125_000030_index_songs_by_album::Migration),
            Box::new(m20261126_000040_count_events::Migration),
            Box::new(m20261126_000050_create_trail::Migration),
            Box::new(m20261126_000051_count_payments::Migration),
            Box::new(m20261126_000052_count_erasures::Migration),
            Box::new(m20261126_000060_create_secret::Migration),
            Box::new(m20261126_000070_create_keeping::Migration),
            Box::new(m20261127_000080_add_trail_objects::Migration),
            Box::new(m20261127_000090_create_recommendations::Migration),
        ]
    }
}
