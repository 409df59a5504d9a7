//! The [`Store`] over a driver: checks bounds, gives each operation one transaction, names what fails.
//!
//! Absent on purpose: SQL (it is in `ops`) and decisions (they are in `rules`).

mod books;
mod hosts;
mod people;
mod runs;
mod uploads;

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::contract::Store;
use super::error::{Failure, StoreError};
use super::limits::{BATCH_ITEMS_MAX, DOCUMENT_BYTES_MAX, PAGE_ROWS_MAX, SECRET_BYTES_MAX};
use super::model::Secret;
use super::tx::Tx;

/// What runs in a transaction. It may run several times, so it takes its input by reference.
pub(super) type Operation<T> =
    Arc<dyn for<'a> Fn(&'a mut dyn Tx) -> BoxFuture<'a, Result<T, Failure>> + Send + Sync>;

/// What a committed write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// A loss of power: it is on the disk when it is answered.
    PowerLoss,
    /// The end of this process. For what is found again when it is lost, and never told anybody: which replica places a run.
    Exit,
}

/// A database that runs operations.
#[async_trait]
pub(super) trait Driver: Send + Sync + 'static {
    /// Runs it in a transaction; answers after the commit.
    async fn write<T: Send + 'static>(
        &self,
        operation: Operation<T>,
        lasting: Lasting,
    ) -> Result<T, Failure>;
    /// Runs statements that change nothing.
    async fn read<T: Send + 'static>(&self, operation: Operation<T>) -> Result<T, Failure>;
    /// Tells every replica that there may be work.
    fn wake(&self);
    /// Changes when somebody woke.
    fn hints(&self) -> watch::Receiver<u64>;
    /// Lets go of the database.
    async fn close(&self);
}

/// See the module.
pub(super) struct Database<D> {
    driver: D,
}

impl<D: Driver> Database<D> {
    pub(super) fn new(driver: D) -> Self {
        Self { driver }
    }

    async fn write<T, F>(&self, name: &'static str, key: String, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut dyn Tx) -> BoxFuture<'a, Result<T, Failure>> + Send + Sync + 'static,
    {
        let done = self.driver.write(Arc::new(run), Lasting::PowerLoss).await;
        done.map_err(|failure| StoreError::new(name, key, failure))
    }

    /// A write that need not survive a loss of power.
    async fn write_lightly<T, F>(
        &self,
        name: &'static str,
        key: String,
        run: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut dyn Tx) -> BoxFuture<'a, Result<T, Failure>> + Send + Sync + 'static,
    {
        let done = self.driver.write(Arc::new(run), Lasting::Exit).await;
        done.map_err(|failure| StoreError::new(name, key, failure))
    }

    async fn read<T, F>(&self, name: &'static str, key: String, run: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut dyn Tx) -> BoxFuture<'a, Result<T, Failure>> + Send + Sync + 'static,
    {
        let done = self.driver.read(Arc::new(run)).await;
        done.map_err(|failure| StoreError::new(name, key, failure))
    }
}

#[async_trait]
impl<D: Driver> Store for Database<D> {
    fn hints(&self) -> watch::Receiver<u64> {
        self.driver.hints()
    }

    async fn close(&self) {
        self.driver.close().await;
    }
}

/// The first key of a batch and how many more there are.
fn keys<T: Display>(mut items: impl ExactSizeIterator<Item = T>) -> String {
    match (items.len(), items.next()) {
        (0 | 1, first) => first.map_or_else(|| "nothing".to_owned(), |key| key.to_string()),
        (count, first) => format!(
            "{} and {} more",
            first.map_or_else(String::new, |key| key.to_string()),
            count - 1
        ),
    }
}

/// Refuses a batch, page or document above its bound.
fn bounded(
    operation: &'static str,
    key: &str,
    what: &'static str,
    given: usize,
    max: usize,
) -> Result<(), StoreError> {
    if given <= max {
        return Ok(());
    }
    Err(StoreError::new(
        operation,
        key,
        Failure::TooMuch { what, given, max },
    ))
}

fn fits_batch(operation: &'static str, key: &str, items: usize) -> Result<(), StoreError> {
    bounded(operation, key, "batch items", items, BATCH_ITEMS_MAX)
}

fn fits_page(operation: &'static str, key: &str, rows: usize) -> Result<(), StoreError> {
    bounded(operation, key, "page rows", rows, PAGE_ROWS_MAX)
}

fn fits_secret(operation: &'static str, key: &str, secret: &Secret) -> Result<(), StoreError> {
    let bytes = secret.sealed.ciphertext.len() + secret.sealed.wrapped_key.len();
    bounded(operation, key, "secret bytes", bytes, SECRET_BYTES_MAX)
}

fn document(operation: &'static str, key: &str, body: &str) -> Result<(), StoreError> {
    bounded(
        operation,
        key,
        "document bytes",
        body.len(),
        DOCUMENT_BYTES_MAX,
    )
}

/// Runs an operation with clones of the named inputs in an `Arc` each: it may be run again.
macro_rules! run {
    ($self:ident . $how:ident, $name:expr, $key:expr, [$($input:ident),*], |$tx:ident| $body:expr) => {{
        $(let $input = std::sync::Arc::new($input);)*
        $self.$how($name, $key, move |$tx| {
            $(let $input = std::sync::Arc::clone(&$input);)*
            Box::pin(async move { $body.await })
        })
        .await
    }};
}
use run;
