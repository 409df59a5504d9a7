//! Connections to the file: durability, the schema, and what SQLite's errors mean.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::super::error::Failure;
use super::super::limits::{
    SQLITE_BUSY_MS_MAX, SQLITE_READER_CACHE_KIB, SQLITE_WRITER_CACHE_KIB, STATEMENTS_MAX,
};
use super::super::migrations;

/// The one connection that writes. The file is made readable by its owner only: it holds token hashes.
pub(super) fn for_writing(path: &Path) -> Result<Connection, Failure> {
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map_err(|error| Failure::Setting {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    let mut connection = Connection::open(path).map_err(failure)?;
    prepare(&connection, SQLITE_WRITER_CACHE_KIB)?;
    // FULL: a commit is on the disk when it returns, also in WAL mode. The writer asks for less where less is wanted.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;",
        )
        .map_err(failure)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// A connection that cannot write.
pub(super) fn for_reading(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failure)?;
    prepare(&connection, SQLITE_READER_CACHE_KIB)?;
    Ok(connection)
}

fn prepare(connection: &Connection, cache_kib: i64) -> Result<(), Failure> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Otherwise SQLite, built with statistics, plans a cached statement anew for each value that is bound to it.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(failure)?;
    connection
        .pragma_update(None, "cache_size", -cache_kib)
        .map_err(failure)?;
    connection
        .busy_timeout(Duration::from_millis(SQLITE_BUSY_MS_MAX))
        .map_err(failure)
}

fn migrate(connection: &mut Connection) -> Result<(), Failure> {
    let tx = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failure)?;
    let found: i64 = tx
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failure)?;
    for (version, step) in migrations::pending(found)? {
        tx.execute_batch(step.sqlite).map_err(failure)?;
        tx.pragma_update(None, "user_version", version)
            .map_err(failure)?;
        tracing::info!(version, "the schema was brought up to date");
    }
    tx.commit().map_err(failure)
}

/// What an error of SQLite means to the caller. Whatever fails is rolled back by SQLite or by us.
pub(super) fn failure(error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Failure::Full {
            source: error.into(),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Busy {
            what: "the lock that another process holds on the database",
        },
        Some(ErrorCode::SystemIoFailure) if is_no_space() => Failure::Full {
            source: error.into(),
        },
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Failure::Unavailable {
            source: error.into(),
        },
        _ => Failure::Database {
            source: error.into(),
        },
    }
}

/// SQLite says "I/O error" when its shared-memory file cannot grow; the cause is still in errno.
fn is_no_space() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::StorageFull
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::super::ops::changes::{MOVE_ACTIVE, UPDATE_ACTIVE};
    use super::super::super::ops::orders::OPEN;
    use super::*;

    #[test]
    fn a_cached_statement_is_planned_once_whatever_is_bound() {
        let dir = tempfile::tempdir().expect("a directory");
        let connection = for_writing(&dir.path().join("store")).expect("a database");
        let words = "SELECT run FROM active_runs WHERE created_ms > $1 AND state = $2";
        let mut statement = connection.prepare_cached(words).expect("a statement");
        for value in 0..5 {
            let found = statement.exists((value, value)).expect("an answer");
            assert!(!found);
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }

    #[test]
    fn orders_are_found_without_looking_at_the_runs() {
        let dir = tempfile::tempdir().expect("a directory");
        let connection = for_writing(&dir.path().join("store")).expect("a database");
        let words = format!("EXPLAIN QUERY PLAN {}", OPEN.sqlite);
        let mut statement = connection.prepare(&words).expect("a statement");
        let steps = statement.query_map([[0; 16].as_slice(); 3], |row| row.get::<_, String>(3));
        let steps: Result<Vec<_>, _> = steps.expect("a plan").collect();
        let steps = steps.expect("a plan");
        assert!(
            steps
                .first()
                .is_some_and(|step| step.contains("active_orders"))
                && !steps.iter().any(|step| step.contains("active_by_host")),
            "{steps:?}"
        );
    }

    #[test]
    fn a_change_of_a_run_that_stays_leaves_the_index_of_hosts_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let connection = for_writing(&dir.path().join("store")).expect("a database");
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'active_by_host'";
        let root: i64 = connection
            .query_row(root, [], |row| row.get(0))
            .expect("an index");
        let is_written = |words: &str| {
            let mut statement = connection
                .prepare(&format!("EXPLAIN {words}"))
                .expect("a statement");
            // Nothing is bound: the plan is the same whatever is.
            let mut steps = statement.raw_query();
            let mut found = false;
            while let Some(step) = steps.next().expect("a plan") {
                let (what, page): (String, i64) = (
                    step.get("opcode").expect("a name"),
                    step.get("p2").expect("a number"),
                );
                found |= what == "OpenWrite" && page == root;
            }
            found
        };
        assert!(is_written(&MOVE_ACTIVE.sqlite));
        assert!(!is_written(&UPDATE_ACTIVE.sqlite));
    }
}
