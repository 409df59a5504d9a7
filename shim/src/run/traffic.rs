//! The figures of a run's link to the outside.
//!
//! ```text
//!  created: the namespace is held ─► let go: what went before is noted ─► all have ended: what went since ─► let go of it
//! ```
//!
//! The link ends with its namespace, and that with the last process in it: held, it can be asked once nothing is sent
//! any more.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use davit_rundir::Traffic;
use davit_types::Usage;

use super::{RunError, Shared};
use crate::lock;
use crate::reaper::ProcessHandle;

/// A network namespace that does not end.
pub(super) struct NetworkNamespace {
    _descriptor: OwnedFd,
}

impl NetworkNamespace {
    /// That of `init`, which is this shim's child: its number is nobody else's.
    pub(super) fn of(init: &ProcessHandle) -> Result<Self, RunError> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", init.pid));
        match File::open(&path) {
            Ok(file) => Ok(Self {
                _descriptor: file.into(),
            }),
            Err(source) => Err(RunError::Io {
                operation: "open",
                path,
                source,
            }),
        }
    }
}

impl Shared {
    /// The job is about to be let go: what went over its link until now is not its.
    pub(super) fn note_traffic(&self) {
        let Some(link) = &self.launch.network else {
            return;
        };
        match Traffic::read(link) {
            Ok(before) => {
                if let Some(books) = lock(&self.books).as_mut() {
                    books.record.network_before = Some(before);
                }
            }
            Err(error) => log::error!("cannot meter link {}: {error}", link.interface),
        }
    }

    /// `usage` with what went over the link since the job was let go; a job that never was has no figures.
    pub(super) fn with_traffic(&self, usage: Usage) -> Usage {
        let before = {
            let books = lock(&self.books);
            books.as_ref().and_then(|books| books.record.network_before)
        };
        let (Some(link), Some(before)) = (&self.launch.network, before) else {
            return usage;
        };
        match Traffic::read(link) {
            Ok(now) => {
                let since = now.since(before);
                Usage {
                    network_received_bytes: Some(since.received_bytes),
                    network_sent_bytes: Some(since.sent_bytes),
                    ..usage
                }
            }
            Err(error) => {
                log::error!(
                    "the last figures of link {} are missing: {error}",
                    link.interface
                );
                usage
            }
        }
    }
}
