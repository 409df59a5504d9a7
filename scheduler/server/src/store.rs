//! The store: what must survive any process, and the books.
//!
//! ```text
//!  service ──► dyn Store ──► Database<D>: bounds, names for errors, hints
//!                                │ one operation = one transaction
//!                                ▼
//!               ops: load ─► rules (pure) ─► write        written once
//!                                │ dyn Tx
//!                  ┌─────────────┴──────────────┐
//!            Sqlite: one writer thread,    Postgres: a pool, pipelined statements
//!            group commit, readers         over arrays, SKIP LOCKED, advisory locks
//! ```
//!
//! Three kinds of table: `active_runs`, small and hot; what is immutable (`runs`, `ended_runs`,
//! `attempts`, the ledger, the audit log); and what people configure.
//!
//! Invariants:
//!
//! - An answer is given after the commit. A state change, its usage segments, its totals and its audit row
//!   are one commit.
//! - Every write about an attempt is compared with run, attempt, host and session epoch, and its step
//!   must be the next ([`AttemptUpdate`]). Repeats are told from news, so every operation may be called
//!   again after an error.
//! - Segments of an attempt are contiguous and sum to its runtime; an attempt ends only when ledger and log
//!   index are complete. A lost one is marked so and has no exit code.
//! - A cursor over ledger or audit log never skips a row, however late its transaction commits.
//! - Refusals ([`Refusal`]) concern one item of a batch; errors ([`StoreError`]) all of it.
//!
//! Absent on purpose: encryption (values come sealed), clocks other than the store's own (instants are
//! passed in), placement, an ORM. Polling is the truth; [`Store::hints`] only shortens the wait.

mod contract;
mod database;
mod error;
pub mod limits;
mod migrations;
mod model;
mod ops;
mod postgres;
mod rules;
mod settings;
mod sqlite;
mod tx;

use std::sync::Arc;

pub use contract::{BookStore, HostStore, PeopleStore, RunStore, Store, UploadStore};
pub use error::{BoxedError, Failure, StoreError};
pub use model::*;
pub use rules::billed_seconds;
pub use settings::{PostgresSettings, StoreSettings, Tls};

/// The result of an operation.
pub type Stored<T> = Result<T, StoreError>;

/// Opens the database, making it or bringing its schema up to date.
///
/// # Errors
/// It cannot be reached, is of a later version, or the settings are wrong.
pub async fn open(settings: &StoreSettings) -> Stored<Arc<dyn Store>> {
    let failed = |failure| StoreError::new("open", settings.describe(), failure);
    match settings {
        StoreSettings::Sqlite { path } => {
            let driver = sqlite::Sqlite::open(path).await.map_err(failed)?;
            Ok(Arc::new(database::Database::new(driver)))
        }
        StoreSettings::Postgres(postgres) => {
            let driver = postgres::Postgres::open(postgres).await.map_err(failed)?;
            Ok(Arc::new(database::Database::new(driver)))
        }
    }
}
