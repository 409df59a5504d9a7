//! PostgreSQL: a pool, transactions that are tried again on conflicts, hints by NOTIFY.
//!
//! ```text
//!  write ──► pool ──► BEGIN ─ load (locks) ─ rules ─ all writes at once (pipelined) ─ COMMIT
//!                       ▲                                                     │
//!                       └── conflict (40001, 40P01, 23505): again, a few times ┘
//!  read  ──► pool ──► statements, each its own transaction
//!  wake  ──► one connection that listens, and notifies at most once in HINT_PERIOD_MS
//! ```
//!
//! Invariants: only what was surely rolled back is tried again here; a connection lost during COMMIT is
//! [`Failure::Unknown`], which the caller resolves by calling again. Rows are locked in the order that
//! [`ops`](super::ops) names. A dead client's transaction is ended by the server. A connection whose operation was given up,
//! by its caller or because the server hangs, is closed: nobody waits behind it.

mod error;
mod hints;
mod pool;
mod tls;
mod transaction;
mod values;

use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{Client, Pool};
use tokio::sync::watch;

use super::database::{Driver, Lasting, Operation};
use super::error::{BoxedError, Failure};
use super::limits::{ANSWER_MS_MAX, RETRY_PAUSE_MS, TRIES_MAX};
use super::settings::PostgresSettings;
use error::{Trouble, lost_in_commit, trouble};
use hints::Hints;
use pool::Lent;
pub(super) use pool::describe;
use transaction::PostgresTx;

/// See the module.
pub(super) struct Postgres {
    pool: Pool,
    hints: Hints,
}

impl Postgres {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(settings: &PostgresSettings) -> Result<Self, Failure> {
        let reach = pool::Reach::new(settings)?;
        let pool = reach.pool(settings.connections_max)?;
        pool::migrate(&pool).await?;
        Ok(Self {
            pool,
            hints: Hints::start(reach),
        })
    }

    async fn try_once<T: Send + 'static>(
        &self,
        operation: &Operation<T>,
        lasting: Lasting,
    ) -> Result<T, Trouble> {
        let mut lent = Lent::new(self.pool.get().await.map_err(pool::not_lent)?);
        let answered = within(transact(lent.loan(), operation, lasting)).await;
        // It may have committed.
        let done = answered.map_err(|source| self.hangs(Failure::Unknown { source }))?;
        lent.give_back();
        done
    }

    /// The server hangs: nobody is to find that out anew with each connection.
    fn hangs(&self, failure: Failure) -> Failure {
        self.pool.retain(|_, _| false);
        failure
    }
}

/// One transaction.
async fn transact<T>(
    client: &mut Client,
    operation: &Operation<T>,
    lasting: Lasting,
) -> Result<T, Trouble> {
    let begun = client.transaction().await.map_err(trouble)?;
    if lasting == Lasting::Exit {
        let lightly = begun.batch_execute("SET LOCAL synchronous_commit TO OFF");
        lightly.await.map_err(trouble)?;
    }
    let mut tx = PostgresTx::new(begun);
    let done = operation(&mut tx).await;
    // The statement's own error says whether it may be tried again.
    let (begun, conflict) = tx.into_parts();
    match (done, conflict) {
        (Ok(done), _) => {
            begun.commit().await.map_err(lost_in_commit)?;
            Ok(done)
        }
        (Err(_), Some(conflict)) => Err(Trouble::Conflict(conflict)),
        (Err(failure), None) => Err(Trouble::Failed(failure)),
    }
}

/// A server that hangs while its kernel goes on breaks no connection; only a limit ends the wait for it.
async fn within<T>(work: impl Future<Output = T>) -> Result<T, BoxedError> {
    let answered = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), work);
    Ok(answered.await?)
}

#[async_trait]
impl Driver for Postgres {
    async fn write<T: Send + 'static>(
        &self,
        operation: Operation<T>,
        lasting: Lasting,
    ) -> Result<T, Failure> {
        let mut pause = Duration::from_millis(RETRY_PAUSE_MS);
        for tries in 1.. {
            match self.try_once(&operation, lasting).await {
                Ok(done) => return Ok(done),
                Err(Trouble::Failed(failure)) => return Err(failure),
                Err(Trouble::Conflict(source)) if tries >= TRIES_MAX => {
                    return Err(Failure::Conflict { tries, source });
                }
                Err(Trouble::Conflict(source)) => {
                    tracing::debug!(tries, %source, "a transaction lost to another; again");
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Failure::Closed)
    }

    async fn read<T: Send + 'static>(&self, operation: Operation<T>) -> Result<T, Failure> {
        let lent = self.pool.get().await.map_err(pool::not_lent);
        let client = lent.map_err(Trouble::into_failure)?;
        let mut lent = Lent::new(PostgresTx::new(client));
        let answered = within(operation(lent.loan())).await;
        let done = answered.map_err(|source| self.hangs(Failure::Unavailable { source }))?;
        lent.give_back();
        done
    }

    fn wake(&self) {
        self.hints.wake();
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    async fn close(&self) {
        self.hints.stop();
        self.pool.close();
    }
}
