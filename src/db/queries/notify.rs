//! Word between processes on one PostgreSQL: which entities a commit changed.

use sea_orm::{ConnectionTrait, DatabaseBackend};
use sqlx::postgres::PgListener;

use crate::db::{Database, DbError, statement};

const CHANNEL: &str = "backbeat_changes";

/// Tells the other processes, when and if the surrounding transaction commits. SQLite has no others.
pub async fn notify<C: ConnectionTrait>(conn: &C, payload: &str) -> Result<(), DbError> {
    if conn.get_database_backend() == DatabaseBackend::Postgres {
        let sql = "SELECT pg_notify($1, $2)";
        conn.execute_raw(statement(conn, sql, vec![CHANNEL.into(), payload.into()])).await?;
    }
    Ok(())
}

/// Word from the other processes; `None` on SQLite.
pub struct Notifications(PgListener);

impl Notifications {
    pub async fn listen(database: &Database) -> Result<Option<Self>, DbError> {
        if database.is_sqlite() {
            return Ok(None);
        }
        let pool = database.reader().get_postgres_connection_pool();
        let mut listener = PgListener::connect_with(pool).await.map_err(database_error)?;
        listener.listen(CHANNEL).await.map_err(database_error)?;
        Ok(Some(Self(listener)))
    }

    /// The next payload; `None` where the connection was lost and word may have been missed.
    pub async fn next(&mut self) -> Result<Option<String>, DbError> {
        let notification = self.0.try_recv().await.map_err(database_error)?;
        Ok(notification.map(|notification| notification.payload().to_owned()))
    }
}

fn database_error(error: sqlx::Error) -> DbError {
    DbError::Statement(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))
}
