//! The store's contract, held against both databases, and what each must survive.
//!
//! A case gets a [`World`](world::World): a store over an empty database. All cases of a database are one
//! test, so that one server serves them; a failed one is named with its panic above.
//!
//! ```text
//!  CASES ──► sqlite_conforms     a file each          faults of SQLite: kill -9, full disk
//!       └──► postgres_conforms   a database each      faults of PostgreSQL: crash under load, slow writers, ways to rows
//! ```

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod cluster;
mod concurrency;
mod extracts;
mod faults_postgres;
mod faults_sqlite;
mod hosts;
mod ledger;
mod logs;
mod orders;
mod people;
mod plans_postgres;
mod profiles;
mod queue;
mod reports;
mod retention;
#[path = "../fixtures/small_disk.rs"]
mod small_disk;
mod together;
mod uploads;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use davit_scheduler::store::{PostgresSettings, StoreSettings, Tls};
use futures::FutureExt;
use tempfile::TempDir;

use cluster::Cluster;
use world::{Case, World};

/// Every case of the contract.
fn cases() -> Vec<Case> {
    [
        queue::cases(),
        reports::cases(),
        profiles::cases(),
        ledger::cases(),
        logs::cases(),
        orders::cases(),
        hosts::cases(),
        people::cases(),
        retention::cases(),
        together::cases(),
        uploads::cases(),
        extracts::cases(),
        concurrency::cases(),
    ]
    .concat()
}

/// Runs every case in a world of its own; panics with the names of those that failed.
async fn conform(settings: impl Fn(&str) -> StoreSettings) {
    let mut failed = Vec::new();
    for (name, run) in cases() {
        let world = World::open(settings(name)).await;
        let store = Arc::clone(&world.store);
        if AssertUnwindSafe(run(world)).catch_unwind().await.is_err() {
            failed.push(name);
        }
        store.close().await;
    }
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_conforms() {
    let dir = TempDir::new().unwrap();
    conform(|name| StoreSettings::Sqlite {
        path: dir.path().join(name),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_conforms() {
    let cluster = Cluster::start();
    conform(|name| postgres(cluster.create(name))).await;
}

/// Settings of a plain connection.
fn postgres(url: String) -> StoreSettings {
    StoreSettings::Postgres(PostgresSettings {
        url,
        connections_max: 8,
        tls: Tls::Off,
    })
}
