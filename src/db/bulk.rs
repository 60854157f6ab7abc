//! Many rows in few statements: multi-row `VALUES`, in chunks that stay under the parameter limits of
//! both databases, with statement texts that repeat so that they are prepared once.

use std::{collections::HashMap, fmt::Write, sync::Mutex};

use sea_orm::{ConnectionTrait, DatabaseBackend, Statement, Value};

use super::DbError;

/// `INSERT INTO … VALUES (…), (…) …`, written for any number of rows.
pub struct BulkInsert {
    head: &'static str,
    column_count: usize,
    tail: String,
    texts: Mutex<HashMap<(bool, usize), String>>,
}

impl BulkInsert {
    /// `head` ends before `VALUES`; `tail` is what follows the rows, such as `ON CONFLICT …`.
    pub fn new(head: &'static str, column_count: usize, tail: impl Into<String>) -> Self {
        Self { head, column_count, tail: tail.into(), texts: Mutex::default() }
    }

    /// The most rows that one statement takes. SQLite allows 32,766 parameters, PostgreSQL 65,535; the
    /// smaller holds for both, and past some 500 rows a statement gains nothing more.
    pub fn rows_max(&self) -> usize {
        (32_766 / self.column_count).min(512)
    }

    /// Inserts rows given as one flat list of values, row after row.
    pub async fn run<C: ConnectionTrait>(&self, conn: &C, values: Vec<Value>) -> Result<(), DbError> {
        debug_assert_eq!(values.len() % self.column_count, 0);
        let mut waiting = values.len() / self.column_count;
        let mut values = values.into_iter();
        while waiting > 0 {
            // Full chunks, then powers of two: some ten texts in all, whatever the batch's size.
            let rows = if waiting >= self.rows_max() { self.rows_max() } else { 1 << waiting.ilog2() };
            let chunk: Vec<Value> = values.by_ref().take(rows * self.column_count).collect();
            let backend = conn.get_database_backend();
            conn.execute_raw(Statement::from_sql_and_values(backend, self.text(backend, rows), chunk)).await?;
            waiting -= rows;
        }
        Ok(())
    }

    fn text(&self, backend: DatabaseBackend, rows: usize) -> String {
        let numbered = backend == DatabaseBackend::Postgres;
        let mut texts = self.texts.lock().expect("no code panics while it holds this lock");
        texts
            .entry((numbered, rows))
            .or_insert_with(|| {
                let mut text = format!("{} VALUES ", self.head);
                placeholders(&mut text, numbered, rows, self.column_count);
                text.push(' ');
                text.push_str(&self.tail);
                text
            })
            .clone()
    }
}

/// `(?, ?), (?, ?)` or `($1, $2), ($3, $4)`.
pub fn placeholders(text: &mut String, numbered: bool, rows: usize, columns: usize) {
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
