//! A transaction of PostgreSQL, or a connection that only reads. Statements are prepared once a
//! connection.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use deadpool_postgres::GenericClient;
use futures::future::try_join_all;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::super::error::{BoxedError, Failure};
use super::super::limits::TOTAL_SHARDS;
use super::super::tx::{Bulk, Row, Sql, Tx, Value, values as params};
use super::error::{Trouble, trouble};
use super::values;

static NEXT_SHARD: AtomicU32 = AtomicU32::new(0);

/// Statements on a transaction or a connection.
pub(super) struct PostgresTx<C> {
    client: C,
    conflict: Option<BoxedError>,
    shard: u32,
}

impl<C: GenericClient> PostgresTx<C> {
    pub(super) fn new(client: C) -> Self {
        Self {
            client,
            conflict: None,
            shard: NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % TOTAL_SHARDS,
        }
    }

    /// The transaction, and the conflict that ended it, if one did.
    pub(super) fn into_parts(self) -> (C, Option<BoxedError>) {
        (self.client, self.conflict)
    }

    /// Keeps a conflict for who may try again; what is returned only ends the operation.
    fn note(&mut self, error: Error) -> Failure {
        match trouble(error) {
            Trouble::Failed(failure) => failure,
            Trouble::Conflict(source) => {
                let failure = Failure::Conflict {
                    tries: 1,
                    source: source.to_string().into(),
                };
                self.conflict = Some(source);
                failure
            }
        }
    }

    async fn run(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let statement = self.client.prepare_cached(sql).await?;
        self.client.query(&statement, values).await
    }

    async fn run_bulk(
        &self,
        bulk: &Bulk,
        arrays: &[Box<dyn ToSql + Sync + Send>],
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let values: Vec<&(dyn ToSql + Sync)> = arrays
            .iter()
            .map(|array| &**array as &(dyn ToSql + Sync))
            .collect();
        self.run(&bulk.postgres, &values).await
    }
}

#[async_trait]
impl<C: GenericClient + Send> Tx for PostgresTx<C> {
    async fn query(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>, Failure> {
        let values: Vec<&(dyn ToSql + Sync)> = values
            .iter()
            .map(|value| value as &(dyn ToSql + Sync))
            .collect();
        let found = self.run(sql.postgres, &values).await;
        let found = found.map_err(|error| self.note(error))?;
        found.iter().map(values::row).collect()
    }

    async fn bulk(&mut self, bulk: &Bulk, rows: Vec<Vec<Value>>) -> Result<Vec<Row>, Failure> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let arrays = values::arrays(&bulk.kinds, rows)?;
        let found = self.run_bulk(bulk, &arrays).await;
        let found = found.map_err(|error| self.note(error))?;
        found.iter().map(values::row).collect()
    }

    /// All are sent before the first answer is waited for; the server takes them in this order.
    async fn write_all(&mut self, writes: Vec<(&Bulk, Vec<Vec<Value>>)>) -> Result<(), Failure> {
        let mut prepared = Vec::with_capacity(writes.len());
        for (bulk, rows) in writes {
            if !rows.is_empty() {
                prepared.push((bulk, values::arrays(&bulk.kinds, rows)?));
            }
        }
        let sent = prepared
            .iter()
            .map(|(bulk, arrays)| self.run_bulk(bulk, arrays));
        let done = try_join_all(sent).await;
        done.map(drop).map_err(|error| self.note(error))
    }

    async fn hold(&mut self, names: Vec<String>) -> Result<(), Failure> {
        const HOLD: Sql = Sql::both("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))");
        // One at a time, in the caller's order: a statement over all could take them in another.
        for name in &names {
            self.query(HOLD, params![name]).await?;
        }
        Ok(())
    }

    async fn try_hold(&mut self, names: &[String]) -> Result<Vec<bool>, Failure> {
        const TRY: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended(u.name, 0)) \
                           FROM unnest($1::text[]) WITH ORDINALITY AS u(name, at) ORDER BY u.at";
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.run(TRY, &[&names]).await;
        let found = found.map_err(|error| self.note(error))?;
        let held = found.iter().map(|row| values::row(row)?.columns().flag());
        held.collect()
    }

    fn shard(&self) -> u32 {
        self.shard
    }

    async fn now_ms(&mut self) -> Result<u64, Failure> {
        const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let found = self.run(NOW, &[]).await;
        let found = found.map_err(|error| self.note(error))?;
        let row = found.first().ok_or(Failure::Corrupt {
            column: 0,
            wanted: "the server's time",
            found: String::new(),
        })?;
        values::row(row)?.columns().u64()
    }
}
