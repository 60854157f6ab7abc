//! Many rows in few statements: multi-row `VALUES`, in chunks that stay under the parameter limits of
//! both databases, with statement texts that repeat so that they are prepared once.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, Mutex},
};

use sea_orm::{ConnectionTrait, DatabaseBackend, Statement, Value};

use super::{
    DbError,
    transaction::{Arguments, Transaction},
};

/// `INSERT INTO … VALUES (…), (…) …`, written for any number of rows.
pub struct BulkInsert {
    head: &'static str,
    column_count: usize,
    tail: String,
    texts: Mutex<HashMap<(bool, usize), Arc<str>>>,
}

/// So many rows are one statement: a text for each number is cheaper than a second statement.
const FEW_ROWS: usize = 64;

/// A statement that is ready to be run.
type Filled = (Arc<str>, Arguments);

impl BulkInsert {
    /// `head` ends before `VALUES`; `tail` is what follows the rows, such as `ON CONFLICT …`.
    pub fn new(head: &'static str, column_count: usize, tail: impl Into<String>) -> Self {
        Self { head, column_count, tail: tail.into(), texts: Mutex::default() }
    }

    /// The most rows that one statement takes. SQLite allows 32,766 parameters, PostgreSQL 65,535; the
    /// smaller holds for both, and past some 500 rows a statement gains nothing more.
    fn rows_max(&self) -> usize {
        (32_766 / self.column_count).min(512)
    }

    /// Inserts rows, each bound by `bind` in the order of the columns; returns how many the database
    /// says it inserted or updated.
    pub async fn run<R>(
        &self,
        txn: &Transaction,
        mut rows: &[R],
        bind: impl Fn(&R, &mut Arguments),
    ) -> Result<u64, DbError> {
        let backend = txn.get_database_backend();
        let mut changed = 0;
        let mut filled = self.fill(backend, &mut rows, &bind);
        while let Some((text, arguments)) = filled {
            // The next statement is filled while the database works on this one.
            let (done, next) =
                futures_util::join!(txn.execute_bulk(text, arguments), async { self.fill(backend, &mut rows, &bind) });
            changed += done?;
            filled = next;
        }
        Ok(changed)
    }

    /// Takes the next statement's rows off the front.
    fn fill<R>(&self, backend: DatabaseBackend, rows: &mut &[R], bind: &impl Fn(&R, &mut Arguments)) -> Option<Filled> {
        // Full chunks, then powers of two, then what is left: some seventy texts in all, whatever the batch's size.
        let count = match rows.len() {
            few @ 0..=FEW_ROWS => few,
            some if some < self.rows_max() => 1 << some.ilog2(),
            _ => self.rows_max(),
        };
        if count == 0 {
            return None;
        }
        let (chunk, rest) = rows.split_at(count);
        *rows = rest;
        let mut arguments = Arguments::new(backend, count * self.column_count);
        chunk.iter().for_each(|row| bind(row, &mut arguments));
        debug_assert_eq!(arguments.len(), count * self.column_count);
        Some((self.text(backend, count), arguments))
    }

    fn text(&self, backend: DatabaseBackend, rows: usize) -> Arc<str> {
        let numbered = backend == DatabaseBackend::Postgres;
        let mut texts = self.texts.lock().expect("no code panics while it holds this lock");
        let text = texts.entry((numbered, rows)).or_insert_with(|| {
            let mut text = format!("{} VALUES ", self.head);
            placeholders(&mut text, numbered, rows, self.column_count);
            text.push(' ');
            text.push_str(&self.tail);
            text.into()
        });
        text.clone()
    }
}

/// `(?, ?), (?, ?)` or `($1, $2), ($3, $4)`.
fn placeholders(text: &mut String, numbered: bool, rows: usize, columns: usize) {
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            if column > 0 {
                text.push_str(", ");
            }
            if numbered {
                let _ = write!(text, "${}", row * columns + column + 1); // writing to a String cannot fail
            } else {
                text.push('?');
            }
        }
        text.push(')');
    }
}

/// Builds a statement's text and its values side by side; lists are padded so that texts repeat.
pub struct SqlBuilder {
    numbered: bool,
    text: String,
    values: Vec<Value>,
}

impl SqlBuilder {
    pub fn new<C: ConnectionTrait>(conn: &C, text: &str) -> Self {
        Self {
            numbered: conn.get_database_backend() == DatabaseBackend::Postgres,
            text: text.to_owned(),
            values: Vec::new(),
        }
    }

    pub fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    pub fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        if self.numbered {
            let _ = write!(self.text, "${}", self.values.len()); // writing to a String cannot fail
        } else {
            self.text.push('?');
        }
        self
    }

    /// ` IN (…)`. The list is padded with its last value to a power of two, so that questions about 97
    /// and about 120 buckets are one prepared statement.
    pub fn bind_list<V: Into<Value> + Clone>(&mut self, list: &[V]) -> &mut Self {
        self.text.push_str(" IN (");
        let padded = list.len().next_power_of_two();
        for index in 0..padded {
            if index > 0 {
                self.text.push(',');
            }
            self.bind(list[index.min(list.len() - 1)].clone());
        }
        self.text.push(')');
        self
    }

    pub fn build<C: ConnectionTrait>(self, conn: &C) -> Statement {
        Statement::from_sql_and_values(conn.get_database_backend(), self.text, self.values)
    }
}
