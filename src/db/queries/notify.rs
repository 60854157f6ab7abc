//! Word between processes on one PostgreSQL: what a commit changed.

use sea_orm::{ConnectionTrait, DatabaseBackend};
use sqlx::postgres::PgListener;

use crate::db::{Database, DbError, statement};

const CHANNEL: &str = "backbeat_changes";

/// Tells the other processes, in this order, when and if the surrounding transaction commits. The words
/// are texts of one line. SQLite has no other processes.
pub async fn notify<C: ConnectionTrait>(conn: &C, process: &str, words: &[String]) -> Result<(), DbError> {
    if conn.get_database_backend() == DatabaseBackend::Postgres {
        let sql = "SELECT pg_notify($1, $2 || ' ' || pg_current_xact_id()::text || ' ' || word) \
                   FROM unnest(string_to_array($3, chr(10))) AS word";
        let values = vec![CHANNEL.into(), process.into(), words.join("\n").into()];
        conn.execute_raw(statement(conn, sql, values)).await?;
    }
    Ok(())
}

/// A word as it was heard.
#[derive(Debug, PartialEq, Eq)]
pub struct Notification {
    /// Who says it.
    pub process: String,
    /// The number of the transaction that said it.
    pub transaction: u64,
    pub word: String,
}

impl Notification {
    fn parse(payload: &str) -> Option<Self> {
        let (process, rest) = payload.split_once(' ')?;
        let (transaction, word) = rest.split_once(' ')?;
        Some(Self { process: process.to_owned(), transaction: transaction.parse().ok()?, word: word.to_owned() })
    }
}

/// Word from other processes, and from this one. On SQLite none ever comes.
pub struct Notifications(Option<PgListener>);

impl Notifications {
    pub async fn listen(database: &Database) -> Result<Self, DbError> {
        if database.is_sqlite() {
            return Ok(Self(None));
        }
        let pool = database.reader().get_postgres_connection_pool();
        let mut listener = PgListener::connect_with(pool).await.map_err(database_error)?;
        listener.listen(CHANNEL).await.map_err(database_error)?;
        Ok(Self(Some(listener)))
    }

    /// The next word; `None` where the connection was lost and word may have been missed.
    pub async fn next(&mut self) -> Result<Option<Notification>, DbError> {
        let Some(listener) = &mut self.0 else { return std::future::pending().await };
        loop {
            let Some(notification) = listener.try_recv().await.map_err(database_error)? else { return Ok(None) };
            // What cannot be read is of another version, and not for us.
            if let Some(notification) = Notification::parse(notification.payload()) {
                return Ok(Some(notification));
            }
        }
    }
}

/// Which transactions a snapshot sees: PostgreSQL's `pg_snapshot`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// All below have ended.
    first_running: u64,
    /// None from here on had begun.
    next: u64,
    /// Those in between that were running.
    running: Vec<u64>,
}

impl Seen {
    pub fn sees(&self, transaction: u64) -> bool {
        transaction < self.first_running || (transaction < self.next && !self.running.contains(&transaction))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (first_running, next) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let running = parts.next()?.split(',').filter(|number| !number.is_empty());
        Some(Self { first_running, next, running: running.map(str::parse).collect::<Result<_, _>>().ok()? })
    }
}

/// Fixes what a snapshot's transaction sees, for it does not begin before its first statement, and says
/// which transactions that are. On SQLite, where no word comes, nobody asks for them.
pub async fn fix_snapshot<C: ConnectionTrait>(snapshot: &C) -> Result<Seen, DbError> {
    if snapshot.get_database_backend() != DatabaseBackend::Postgres {
        snapshot.query_one_raw(statement(snapshot, "SELECT MAX(occurred_at_ms) FROM event", vec![])).await?;
        return Ok(Seen::default());
    }
    let row = snapshot.query_one_raw(statement(snapshot, "SELECT pg_current_snapshot()::text", vec![])).await?;
    let text: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    text.and_then(|text| Seen::parse(&text)).ok_or(DbError::Corrupt("a snapshot"))
}

/// Changes whenever another process commits to the same SQLite file; always 0 on PostgreSQL.
pub async fn find_foreign_version(database: &Database) -> Result<i64, DbError> {
    if !database.is_sqlite() {
        return Ok(0);
    }
    // Asked of the one connection that writes for us, it is the same after all that this process commits.
    let writer = database.writer();
    let row = writer.query_one_raw(statement(writer, "PRAGMA data_version", vec![])).await?;
    Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default())
}

fn database_error(error: sqlx::Error) -> DbError {
    DbError::Statement(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_what_had_ended_before_it() {
        let seen = Seen::parse("10:20:10,14").unwrap();
        for (transaction, is_seen) in [(9, true), (10, false), (11, true), (14, false), (19, true), (20, false)] {
            assert_eq!(seen.sees(transaction), is_seen, "{transaction}");
        }
        assert!(Seen::parse("10:10:").unwrap().sees(9));
        assert!(Seen::parse("10").is_none());
    }
}
