//! A transaction that writes: what sea-orm's own offers, and bulk statements whose values go to the
//! database as they are, without the copies that sea-orm's values take on their way.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_query_sqlx::SqlxValues;
use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, Executor, Postgres, Sqlite, Type, postgres::PgArguments, query::Query,
    sqlite::SqliteArguments,
};
use tokio::sync::Mutex;

use super::DbError;

/// An open transaction; rolled back where it is dropped.
pub struct Transaction {
    backend: DatabaseBackend,
    connection: Mutex<Open>,
}

enum Open {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// The bound values of one statement, in its database's own form.
pub enum Arguments {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
}

impl Arguments {
    pub fn new(backend: DatabaseBackend, count: usize) -> Self {
        match backend {
            DatabaseBackend::Postgres => {
                let mut arguments = PgArguments::default();
                arguments.reserve(count, count * 16);
                Self::Postgres(arguments)
            }
            _ => {
                let mut arguments = SqliteArguments::default();
                arguments.reserve(count, 0);
                Self::Sqlite(arguments)
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Sqlite(arguments) => arguments.len(),
            Self::Postgres(arguments) => arguments.len(),
        }
    }

    pub fn add<'v, T>(&mut self, value: T)
    where
        T: Encode<'v, Sqlite> + Type<Sqlite> + Encode<'v, Postgres> + Type<Postgres>,
    {
        let added = match self {
            Self::Sqlite(arguments) => arguments.add(value),
            Self::Postgres(arguments) => arguments.add(value),
        };
        added.expect("numbers, texts and bytes are always encodable");
    }
}

/// The same work on either database's connection.
macro_rules! on_either {
    ($open:expr, $connection:ident => $work:expr) => {
        match $open {
            Open::Sqlite(transaction) => {
                let $connection = &mut **transaction;
                $work
            }
            Open::Postgres(transaction) => {
                let $connection = &mut **transaction;
                $work
            }
        }
    };
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

fn prepared<DB>(statement: Statement) -> Query<'static, DB, SqlxValues>
where
    DB: sqlx::Database,
    SqlxValues: sqlx::IntoArguments<DB>,
{
    let values = SqlxValues(statement.values.unwrap_or_else(|| sea_orm::Values(Vec::new())));
    sqlx::query_with(AssertSqlSafe(statement.sql), values)
}

impl Transaction {
    /// Begins on SQLite by taking its only writer's place, so that nothing later can be refused it.
    pub(super) async fn begin(pool: &sea_orm::DatabaseConnection) -> Result<Self, DbError> {
        let backend = pool.get_database_backend();
        let begun = match backend {
            DatabaseBackend::Postgres => pool.get_postgres_connection_pool().begin().await.map(Open::Postgres),
            _ => pool.get_sqlite_connection_pool().begin_with("BEGIN IMMEDIATE").await.map(Open::Sqlite),
        };
        let open = begun.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
        Ok(Self { backend, connection: Mutex::new(open) })
    }

    /// Runs a statement with these values; returns how many rows it concerned.
    pub async fn execute_bulk(&self, sql: std::sync::Arc<str>, arguments: Arguments) -> Result<u64, DbError> {
        let mut open = self.connection.lock().await;
        let done = match (&mut *open, arguments) {
            (Open::Sqlite(transaction), Arguments::Sqlite(arguments)) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                query.execute(&mut **transaction).await.map(|done| done.rows_affected())
            }
            (Open::Postgres(transaction), Arguments::Postgres(arguments)) => {
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                query.execute(&mut **transaction).await.map(|done| done.rows_affected())
            }
            _ => unreachable!("arguments are made for the transaction's database"),
        };
        Ok(done.map_err(failed)?)
    }

    pub async fn commit(self) -> Result<(), DbError> {
        let done = match self.connection.into_inner() {
            Open::Sqlite(transaction) => transaction.commit().await,
            Open::Postgres(transaction) => transaction.commit().await,
        };
        Ok(done.map_err(failed)?)
    }

    pub async fn rollback(self) -> Result<(), DbError> {
        let done = match self.connection.into_inner() {
            Open::Sqlite(transaction) => transaction.rollback().await,
            Open::Postgres(transaction) => transaction.rollback().await,
        };
        Ok(done.map_err(failed)?)
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DatabaseBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        on_either!(&mut *self.connection.lock().await, connection => {
            prepared(statement).execute(connection).await.map(ExecResult::from).map_err(failed)
        })
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let sql = AssertSqlSafe(sql.to_owned());
        on_either!(&mut *self.connection.lock().await, connection => {
            connection.execute(sql).await.map(ExecResult::from).map_err(failed)
        })
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        on_either!(&mut *self.connection.lock().await, connection => {
            let row = prepared(statement).fetch_optional(connection).await.map_err(failed)?;
            Ok(row.map(QueryResult::from))
        })
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        on_either!(&mut *self.connection.lock().await, connection => {
            let rows = prepared(statement).fetch_all(connection).await.map_err(failed)?;
            Ok(rows.into_iter().map(QueryResult::from).collect())
        })
    }
}
