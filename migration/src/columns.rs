//! The few column shapes that all tables are made of.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

/// Text that is compared byte by byte on every database, so that "ties by id" means one order.
pub fn text(manager: &SchemaManager<'_>, name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.text();
    if is_postgres(manager) {
        column.extra("COLLATE \"C\"");
    }
    column
}

/// A whole number of 64 bits: epoch milliseconds, counts, minor units.
pub fn long(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.big_integer();
    column
}

/// A small whole number: a kind, a grain, a slot.
pub fn small(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.small_integer();
    column
}

pub fn bytes(name: &'static str) -> ColumnDef {
    let mut column = ColumnDef::new(Alias::new(name));
    column.binary();
    column
}

/// A counter that starts at nothing.
pub fn count(name: &'static str) -> ColumnDef {
    let mut column = long(name);
    column.not_null().default(0);
    column
}

pub fn primary_key(columns: &[&'static str]) -> IndexCreateStatement {
    let mut key = Index::create();
    for column in columns {
        key.col(Alias::new(*column));
    }
    key
}

pub fn is_postgres(manager: &SchemaManager<'_>) -> bool {
    manager.get_database_backend() == DatabaseBackend::Postgres
}

/// Storage options by database: SQLite keeps the row in its primary key's B-tree (one tree to write
/// instead of two), PostgreSQL gets what `postgres` says.
pub fn storage(manager: &SchemaManager<'_>, postgres: &'static str) -> &'static str {
    if is_postgres(manager) { postgres } else { "WITHOUT ROWID" }
}

pub async fn drop_tables(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        manager.drop_table(Table::drop().table(Alias::new(*table)).to_owned()).await?;
    }
    Ok(())
}
