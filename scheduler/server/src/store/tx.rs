//! What both databases are made to look like: a transaction that answers statements with rows.
//!
//! ```text
//!   ops (the order of steps, once) ──► dyn Tx ──┬── SqliteTx: runs at once, on the writer's thread
//!                                               └── PostgresTx: sends, pipelines, waits
//! ```
//!
//! A [`Sql`] is written in both dialects where they differ; parameters are `$1`, `$2`… in both. A
//! [`Bulk`] runs for many rows: SQLite executes its prepared statement a row at a time (no round trip is
//! saved there), PostgreSQL gets one statement over arrays.

use async_trait::async_trait;
use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::error::Failure;

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid(Uuid),
}

/// What an array of a [`Bulk`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Bytes,
    Uuid,
}

/// A statement in both dialects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sql {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl Sql {
    /// One text that both understand.
    pub(crate) const fn both(text: &'static str) -> Self {
        Self {
            sqlite: text,
            postgres: text,
        }
    }
}

/// A statement for many rows of parameters.
#[derive(Debug)]
pub(crate) struct Bulk {
    /// For one row: `$1`… are its values.
    pub(crate) sqlite: String,
    /// For all rows: `$1`… are arrays, each of one column.
    pub(crate) postgres: String,
    pub(crate) kinds: Vec<Kind>,
}

impl Bulk {
    pub(crate) fn new(kinds: &[Kind], sqlite: &str, postgres: &str) -> Self {
        Self {
            sqlite: sqlite.to_owned(),
            postgres: postgres.to_owned(),
            kinds: kinds.to_vec(),
        }
    }

    /// Inserts rows; `suffix` is an ON CONFLICT or RETURNING clause of both dialects.
    pub(crate) fn insert(table: &str, columns: &[(&str, Kind)], suffix: &str) -> Self {
        let names = join(columns.iter().map(|(name, _)| (*name).to_owned()));
        let values = join((1..=columns.len()).map(|at| format!("${at}")));
        let arrays = arrays(columns);
        Self {
            sqlite: format!("INSERT INTO {table} ({names}) VALUES ({values}) {suffix}"),
            postgres: format!(
                "INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {suffix}"
            ),
            kinds: columns.iter().map(|(_, kind)| *kind).collect(),
        }
    }

    /// Sets all but the first column of the rows whose first column matches.
    pub(crate) fn update(table: &str, columns: &[(&str, Kind)]) -> Self {
        let key = columns[0].0;
        let set = |prefix: &str| {
            join(
                (2..)
                    .zip(&columns[1..])
                    .map(|(at, (name, _))| match prefix {
                        "$" => format!("{name} = ${at}"),
                        _ => format!("{name} = u.{name}"),
                    }),
            )
        };
        let names = join(columns.iter().map(|(name, _)| (*name).to_owned()));
        let arrays = arrays(columns);
        Self {
            sqlite: format!("UPDATE {table} SET {} WHERE {key} = $1", set("$")),
            postgres: format!(
                "UPDATE {table} AS t SET {} FROM unnest({arrays}) AS u({names}) WHERE t.{key} = u.{key}",
                set("u.")
            ),
            kinds: columns.iter().map(|(_, kind)| *kind).collect(),
        }
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn arrays(columns: &[(&str, Kind)]) -> String {
    join((1..).zip(columns).map(|(at, (_, kind))| {
        let kind = match kind {
            Kind::Int => "bigint",
            Kind::Text => "text",
            Kind::Bytes => "bytea",
            Kind::Uuid => "uuid",
        };
        format!("${at}::{kind}[]")
    }))
}

/// A transaction under way, or, for reads, a connection.
#[async_trait]
pub(crate) trait Tx: Send {
    /// Runs one statement.
    async fn query(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>, Failure>;

    /// Runs one statement for many rows of parameters; nothing for none. Its rows come in any order.
    async fn bulk(&mut self, bulk: &Bulk, rows: Vec<Vec<Value>>) -> Result<Vec<Row>, Failure>;

    /// Runs several without waiting in between, in this order.
    async fn write_all(&mut self, writes: Vec<(&Bulk, Vec<Vec<Value>>)>) -> Result<(), Failure>;

    /// Waits until no other transaction holds any of these names, and holds them to the end. SQLite has
    /// one writer, which holds everything.
    async fn hold(&mut self, names: Vec<String>) -> Result<(), Failure>;

    /// The same without waiting: which of the names it got.
    async fn try_hold(&mut self, names: &[String]) -> Result<Vec<bool>, Failure>;

    /// Spreads rows that many transactions add to.
    fn shard(&self) -> u32;

    /// The store's clock: the database server's where several replicas share it.
    async fn now_ms(&mut self) -> Result<u64, Failure>;
}

/// A row of a result.
#[derive(Clone, Debug)]
pub(crate) struct Row(pub(crate) Vec<Value>);

impl Row {
    /// Its first `width` columns, and the others.
    pub(crate) fn split(mut self, width: usize) -> (Self, Self) {
        let rest = self.0.split_off(width.min(self.0.len()));
        (self, Self(rest))
    }

    /// Whether an outer join found nothing: its first column, a key, is null.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.0.first(), None | Some(Value::Null))
    }

    /// Its columns, from the first.
    pub(crate) fn columns(self) -> Columns {
        Columns {
            at: 0,
            values: self.0.into_iter(),
        }
    }
}

/// Takes a row apart, column by column.
pub(crate) struct Columns {
    at: usize,
    values: std::vec::IntoIter<Value>,
}

impl Columns {
    fn next(&mut self) -> Value {
        self.at += 1;
        self.values.next().unwrap_or(Value::Null)
    }

    fn corrupt(&self, wanted: &'static str, found: &str) -> Failure {
        Failure::Corrupt {
            column: self.at,
            wanted,
            found: found.chars().take(40).collect(),
        }
    }

    fn wrong(&self, wanted: &'static str, found: &Value) -> Failure {
        self.corrupt(wanted, &format!("{found:?}"))
    }

    pub(crate) fn opt_u64(&mut self) -> Result<Option<u64>, Failure> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Int(n) => match u64::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(self.corrupt("a number from 0", &n.to_string())),
            },
            other => Err(self.wrong("a number", &other)),
        }
    }

    /// A number of a narrower type.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, Failure> {
        match self.next() {
            Value::Int(n) => {
                T::try_from(n).map_err(|_| self.corrupt("a smaller number", &n.to_string()))
            }
            other => Err(self.wrong("a number", &other)),
        }
    }

    pub(crate) fn opt_number<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, Failure> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Int(n) => T::try_from(n)
                .map(Some)
                .map_err(|_| self.corrupt("a smaller number", &n.to_string())),
            other => Err(self.wrong("a number", &other)),
        }
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Failure> {
        self.number()
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Failure> {
        Ok(self.u64()? != 0)
    }

    pub(crate) fn opt_text(&mut self) -> Result<Option<String>, Failure> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            other => Err(self.wrong("text", &other)),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, Failure> {
        let text = self.opt_text()?;
        text.ok_or_else(|| self.corrupt("text", "nothing"))
    }

    /// A word that parses.
    pub(crate) fn word<T>(
        &mut self,
        wanted: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Failure> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| self.corrupt(wanted, &text))
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        match self.next() {
            Value::Bytes(bytes) => Ok(bytes),
            // SQLite has no type for these.
            Value::Uuid(id) => Ok(id.as_bytes().to_vec()),
            other => Err(self.wrong("bytes", &other)),
        }
    }

    pub(crate) fn hash(&mut self) -> Result<[u8; 32], Failure> {
        let bytes = self.bytes()?;
        <[u8; 32]>::try_from(bytes.as_slice())
            .map_err(|_| self.corrupt("32 bytes", "fewer or more"))
    }

    pub(crate) fn opt_uuid(&mut self) -> Result<Option<Uuid>, Failure> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Uuid(id) => Ok(Some(id)),
            Value::Bytes(_) => Err(self.corrupt("a UUID", "other bytes")),
            other => Err(self.wrong("a UUID", &other)),
        }
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, Failure> {
        let id = self.opt_uuid()?;
        id.ok_or_else(|| self.corrupt("a UUID", "nothing"))
    }

    pub(crate) fn run(&mut self) -> Result<RunId, Failure> {
        self.uuid().map(RunId::from_uuid)
    }

    pub(crate) fn tenant(&mut self) -> Result<Tenant, Failure> {
        self.word("a tenant", |text| text.parse().ok())
    }
}

impl From<u64> for Value {
    /// What could exceed the database's integers was refused by the rules; the rest stops at their end.
    fn from(n: u64) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Self::Int(n.into())
    }
}

impl From<u8> for Value {
    fn from(n: u8) -> Self {
        Self::Int(n.into())
    }
}

impl From<i32> for Value {
    fn from(n: i32) -> Self {
        Self::Int(n.into())
    }
}

impl From<usize> for Value {
    fn from(n: usize) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Int(flag.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Tenant> for Value {
    fn from(tenant: &Tenant) -> Self {
        tenant.as_str().into()
    }
}

impl From<RunId> for Value {
    fn from(run: RunId) -> Self {
        Self::Uuid(*run.as_uuid())
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Uuid(id)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A vector of values, each converted.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::tx::Value::from($value)),*] };
}
pub(crate) use values;
