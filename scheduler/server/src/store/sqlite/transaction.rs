//! A transaction of SQLite: every statement runs at once, on the calling thread.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ToSql};
use uuid::Uuid;

use super::super::error::Failure;
use super::super::tx::{Bulk, Row, Sql, Tx, Value};
use super::connection::failure;

/// The connection whose transaction is open.
pub(super) struct SqliteTx<'a> {
    connection: &'a mut Connection,
}

impl<'a> SqliteTx<'a> {
    pub(super) fn new(connection: &'a mut Connection) -> Self {
        Self { connection }
    }

    fn run(&mut self, sql: &str, rows: &[Vec<Value>]) -> Result<Vec<Row>, Failure> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut statement = self.connection.prepare_cached(sql).map_err(failure)?;
        let order = parameters(&statement)?;
        let mut found = Vec::new();
        for values in rows {
            run_once(&mut statement, &order, values, &mut found).map_err(failure)?;
        }
        Ok(found)
    }
}

/// SQLite numbers `$3` by its first appearance; this says which value belongs to which number.
fn parameters(statement: &CachedStatement<'_>) -> Result<Vec<usize>, Failure> {
    (1..=statement.parameter_count())
        .map(|index| {
            let name = statement.parameter_name(index).unwrap_or_default();
            let number: Option<usize> = name.strip_prefix('$').and_then(|n| n.parse().ok());
            number.filter(|n| *n > 0).ok_or_else(|| Failure::Corrupt {
                column: index,
                wanted: "a numbered parameter",
                found: name.to_owned(),
            })
        })
        .collect()
}

fn run_once(
    statement: &mut CachedStatement<'_>,
    order: &[usize],
    values: &[Value],
    found: &mut Vec<Row>,
) -> rusqlite::Result<()> {
    for (index, number) in (1..).zip(order) {
        statement.raw_bind_parameter(index, &values[number - 1])?;
    }
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let row: rusqlite::Result<Vec<Value>> = (0..columns)
            .map(|column| row.get_ref(column).map(value))
            .collect();
        found.push(Row(row?));
    }
    Ok(())
}

fn value(found: ValueRef<'_>) -> Value {
    match found {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int(n),
        // No column holds floats; a reader that meets one says so.
        ValueRef::Real(x) => Value::Text(x.to_string()),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        // SQLite has no type for UUIDs: what has their length may be one.
        ValueRef::Blob(bytes) => {
            Uuid::from_slice(bytes).map_or_else(|_| Value::Bytes(bytes.to_vec()), Value::Uuid)
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(n) => ValueRef::Integer(*n),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Uuid(id) => ValueRef::Blob(id.as_bytes()),
        }))
    }
}

#[async_trait]
impl Tx for SqliteTx<'_> {
    async fn query(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>, Failure> {
        self.run(sql.sqlite, &[values])
    }

    async fn bulk(&mut self, bulk: &Bulk, rows: Vec<Vec<Value>>) -> Result<Vec<Row>, Failure> {
        self.run(&bulk.sqlite, &rows)
    }

    async fn write_all(&mut self, writes: Vec<(&Bulk, Vec<Vec<Value>>)>) -> Result<(), Failure> {
        for (bulk, rows) in writes {
            self.run(&bulk.sqlite, &rows)?;
        }
        Ok(())
    }

    async fn hold(&mut self, _names: Vec<String>) -> Result<(), Failure> {
        Ok(())
    }

    async fn try_hold(&mut self, names: &[String]) -> Result<Vec<bool>, Failure> {
        Ok(vec![true; names.len()])
    }

    fn shard(&self) -> u32 {
        0
    }

    async fn now_ms(&mut self) -> Result<u64, Failure> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // A clock before 1970 is as good as none; silence is then never long enough.
        let ms = since.map_or(0, |since| since.as_millis());
        Ok(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}
