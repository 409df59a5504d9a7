//! SQLite: one file, one writer thread, a few readers.
//!
//! ```text
//!  write ──► queue (bounded) ──► writer thread:  BEGIN IMMEDIATE
//!                                                  job 1, job 2 …  as many as wait; if one fails, each alone
//!                                                COMMIT  ── one fsync, if any of them asks for it ──► answers of all
//!  read  ──► one of the readers, on a blocking thread; sees the last commit (WAL)
//! ```
//!
//! Invariants: nobody is answered before the commit that holds his job; a job that fails leaves nothing;
//! when the commit fails, every job of the group is told so.

mod connection;
mod readers;
mod transaction;
mod writer;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::watch;

use super::database::{Driver, Lasting, Operation};
use super::error::Failure;
use super::tx::Tx;
use readers::Readers;
use writer::Writer;

/// See the module.
pub(super) struct Sqlite {
    writer: Writer,
    readers: Readers,
    hints: watch::Sender<u64>,
}

impl Sqlite {
    /// Opens or makes the file and brings its schema up to date.
    pub(super) async fn open(path: &Path) -> Result<Self, Failure> {
        let path: PathBuf = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let connection = connection::for_writing(&path)?;
            let readers = Readers::open(&path)?;
            Ok((connection, readers))
        });
        let (connection, readers) = opened.await.map_err(|_| Failure::Closed)??;
        Ok(Self {
            writer: Writer::start(connection)?,
            readers,
            hints: watch::Sender::new(0),
        })
    }
}

/// Runs an operation to its end at once: a [`SqliteTx`](transaction::SqliteTx) never waits.
fn run_now<T>(operation: &Operation<T>, tx: &mut dyn Tx) -> Result<T, Failure> {
    operation(tx)
        .now_or_never()
        .expect("an operation waits only for its transaction, and SQLite's answers at once")
}

#[async_trait]
impl Driver for Sqlite {
    async fn write<T: Send + 'static>(
        &self,
        operation: Operation<T>,
        lasting: Lasting,
    ) -> Result<T, Failure> {
        self.writer.run(operation, lasting).await
    }

    async fn read<T: Send + 'static>(&self, operation: Operation<T>) -> Result<T, Failure> {
        self.readers.run(operation).await
    }

    fn wake(&self) {
        self.hints.send_modify(|count| *count += 1);
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.hints.subscribe()
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
    }
}
