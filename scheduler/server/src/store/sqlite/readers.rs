//! Readers: a few connections that cannot write, lent out on blocking threads.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::database::Operation;
use super::super::error::Failure;
use super::super::limits::{READER_WAIT_MS_MAX, READERS_MAX};
use super::connection;
use super::run_now;
use super::transaction::SqliteTx;

/// The pool. A permit stands for a connection in the list.
pub(super) struct Readers {
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let connections: Result<Vec<_>, _> = (0..READERS_MAX)
            .map(|_| connection::for_reading(path))
            .collect();
        Ok(Self {
            free: Arc::new(Mutex::new(connections?)),
            permits: Arc::new(Semaphore::new(READERS_MAX)),
        })
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: Operation<T>,
    ) -> Result<T, Failure> {
        let wait = Duration::from_millis(READER_WAIT_MS_MAX);
        let permit = timeout(wait, Arc::clone(&self.permits).acquire_owned())
            .await
            .map_err(|_| Failure::Busy {
                what: "a reading connection",
            })?
            .map_err(|_| Failure::Closed)?;
        let free = Arc::clone(&self.free);
        let read = tokio::task::spawn_blocking(move || {
            let lent = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = lent.ok_or(Failure::Closed)?;
            let done = run_now(&operation, &mut SqliteTx::new(&mut connection));
            free.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
            drop(permit);
            done
        });
        read.await.unwrap_or(Err(Failure::Closed))
    }

    pub(super) fn close(&self) {
        self.permits.close();
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
