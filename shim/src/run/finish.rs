//! The end of a run: clean up, measure, record, tell; in this order.
//!
//! ```text
//!  init ended ─► cgroup.kill ─► empty ─► pipes drained, log durable ─► figures ─► exit.json durable ─► told
//! ```
//!
//! The figures are read when nothing can change them any more and before the cgroup is removed (invariant 9). What
//! a warm slot's cgroup had used when it began to wait is not the job's and is taken off: CPU time and I/O of the
//! container's making. The peaks of memory and processes cannot be: the kernel keeps one maximum a cgroup (a reset
//! holds for one open file only, Linux 6.12). They are what making a container takes, at least: a few MB that any
//! job's own start exceeds or comes close to.

use std::sync::Arc;
use std::time::Duration;

use davit_rundir::{ControlErrorCode, ExitRecord, FORMAT_VERSION, LogTotals};
use davit_types::Usage;
use tokio::time::Instant;

use super::books::Books;
use super::end::{Facts, end_reason};
use super::owner::{Owner, answer};
use super::prepare::RESERVE_FILE;
use super::{Shared, refused};
use crate::error::chain;
use crate::files::remove_if_there;
use crate::lock;
use crate::reaper::Exit;

/// How long the cgroup may take to become empty after everything in it was killed.
const EMPTY_SECONDS_MAX: u64 = 30;

/// How long exit.json is tried again when it cannot be written, and how often.
const RECORD_SECONDS_MAX: u64 = 600;
const RECORD_PAUSE_MS: u64 = 500;

impl Owner {
    /// The init has ended: clean up, measure, record, tell.
    pub(super) async fn finish(mut self, exit: Exit) {
        if let Some(freezing) = self.freezing.take() {
            for reply in freezing.waiters {
                let why = "the job ended before it was frozen";
                answer(reply, Err(refused(ControlErrorCode::NotRunning, why)));
            }
        }
        if let Err(error) = self.cgroup.kill() {
            log::warn!("{}", chain(&error));
        }
        let bound = Duration::from_secs(EMPTY_SECONDS_MAX);
        if !self
            .cgroup
            .wait_for(bound, |events| !events.populated)
            .await
        {
            log::error!("a killed process is still there after {EMPTY_SECONDS_MAX} s");
        }
        let log = self.capture.finish().await;
        let usage = self.cgroup.inner().usage().unwrap_or_else(|error| {
            log::error!("final figures are missing: {}", chain(&error));
            Usage::default()
        });
        let disk = self.shared.disk();
        let usage = Usage {
            disk_used_bytes: disk.map(|disk| disk.bytes),
            disk_used_files: disk.map(|disk| disk.inodes),
            ..self.shared.with_traffic(less(usage, &self.used_before))
        };
        let disk_full = disk.is_some_and(|disk| disk.is_full());
        drop(self.namespace.take());
        let books = {
            let mut books = lock(&self.shared.books);
            let books = books.as_mut().expect("an owned run has books");
            // A pause ends with the job.
            if books.record.is_paused() {
                books.resumed(exit.at);
            }
            books.kill_sent = true;
            books.clone()
        };
        let record = exit_record(&self.shared, &books, exit, (usage, disk_full), log);
        let record = write_record(&self.shared, record).await;
        self.shared.end.send_replace(Some(record));
    }
}

/// What was used since `before` was read. Counts of refusals are not touched: nothing is refused in a cgroup
/// without limits, as a waiting slot's is.
fn less(usage: Usage, before: &Usage) -> Usage {
    Usage {
        cpu_us: usage.cpu_us.saturating_sub(before.cpu_us),
        cpu_user_us: usage.cpu_user_us.saturating_sub(before.cpu_user_us),
        cpu_system_us: usage.cpu_system_us.saturating_sub(before.cpu_system_us),
        io_read_bytes: usage.io_read_bytes.saturating_sub(before.io_read_bytes),
        io_write_bytes: usage.io_write_bytes.saturating_sub(before.io_write_bytes),
        ..usage
    }
}

fn exit_record(
    shared: &Shared,
    books: &Books,
    exit: Exit,
    (usage, disk_full): (Usage, bool),
    log: LogTotals,
) -> ExitRecord {
    let state = &books.record;
    ExitRecord {
        version: FORMAT_VERSION,
        key: state.key,
        boot_id: shared.boot_id.clone(),
        status: exit.status,
        end_reason: end_reason(Facts {
            status: exit.status,
            kill: state.kill,
            oom_kills: usage.oom_kills,
            pids_refused: usage.pids_refused,
            disk_full,
        }),
        started: state.started,
        ended: exit.at,
        pauses: state.pauses.clone(),
        timeout_ms: state.timeout_ms,
        usage: Usage {
            wall_ms: books.wall_ns(exit.at) / 1_000_000,
            paused_ms: books.paused_ns(exit.at) / 1_000_000,
            ..usage
        },
        log,
    }
}

/// Makes the record durable, however long the disk is full; `None` if that never comes to an end.
async fn write_record(shared: &Shared, record: ExitRecord) -> Option<Arc<ExitRecord>> {
    remove_if_there(&shared.dir.path().join(RESERVE_FILE));
    let give_up = Instant::now() + Duration::from_secs(RECORD_SECONDS_MAX);
    loop {
        match shared.dir.write_exit(&record) {
            Ok(()) => return Some(Arc::new(record)),
            Err(error) if Instant::now() < give_up => {
                log::error!("{}; trying again", chain(&error));
                tokio::time::sleep(Duration::from_millis(RECORD_PAUSE_MS)).await;
            }
            Err(error) => {
                log::error!("the end of the run is not recorded: {}", chain(&error));
                return None;
            }
        }
    }
}
