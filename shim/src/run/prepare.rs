//! What a run gets before its container: log, pipes, cgroup with rules and limits, and room for its end.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use davit_cgroup::Limits;
use davit_types::{IdRange, Usage};

use super::capture::{Capture, Pipes};
use super::{Prepared, Run, RunError};
use crate::cgroup::ContainerCgroup;
use crate::error::chain;
use crate::files::remove_if_there;
use crate::lock;
use crate::runtime::Stdio3;

/// Disk space held for exit.json, bytes: the end must be recordable on a full disk.
const RESERVE_BYTES: u64 = 256 * 1024;

/// Name of the file that holds it.
pub(super) const RESERVE_FILE: &str = "reserve";

impl Run {
    /// Makes log, cgroup and pipes, `ids` being those of its user namespace and `limits` what the runtime will not set;
    /// returns the job's streams.
    pub(crate) fn prepare(
        &self,
        ids: Option<IdRange>,
        limits: &Limits,
    ) -> Result<Stdio3, RunError> {
        let shared = &self.shared;
        let (pipes, stdio) = self.job_pipes(ids)?;
        let cgroup =
            ContainerCgroup::create(&shared.launch.cgroup).map_err(|source| RunError::Cgroup {
                operation: "create",
                source,
            })?;
        set_kill_rules(&cgroup)?;
        cgroup
            .inner()
            .set_limits(limits)
            .map_err(|source| RunError::Cgroup {
                operation: "set the limits of",
                source,
            })?;
        self.take_over(pipes, Arc::new(cgroup), Usage::default())?;
        Ok(stdio)
    }

    /// Makes the log of what comes through `pipes`; the job is or will be in `cgroup`, where `used_before` was used
    /// by others.
    pub(crate) fn take_over(
        &self,
        pipes: Pipes,
        cgroup: Arc<ContainerCgroup>,
        used_before: Usage,
    ) -> Result<(), RunError> {
        let shared = &self.shared;
        reserve(&shared.dir.path().join(RESERVE_FILE))?;
        let hidden = shared.hidden.get().cloned();
        let taps = shared.streams.taps.clone();
        let bytes_max = shared.launch.log_bytes_max;
        let capture = Capture::begin(&shared.dir, bytes_max, pipes, hidden, taps)?;
        *lock(&shared.prepared) = Some(Prepared {
            capture,
            cgroup,
            used_before,
        });
        Ok(())
    }

    /// Undoes [`Self::prepare`], except for the log: it may say why.
    pub(crate) async fn create_failed(&self) {
        let Some(prepared) = lock(&self.shared.prepared).take() else {
            return;
        };
        if let Err(error) = prepared.cgroup.kill() {
            log::warn!("{}", chain(&error));
        }
        prepared.cgroup.remove().await;
        self.remove_files();
    }
}

/// One OOM kill takes the whole job, and swap never hides that memory has run out.
pub(crate) fn set_kill_rules(cgroup: &ContainerCgroup) -> Result<(), RunError> {
    let group = Limits {
        oom_group: Some(true),
        ..Limits::default()
    };
    let swap = Limits {
        swap_bytes_max: Some(0),
        ..Limits::default()
    };
    for limits in [group, swap] {
        match cgroup.inner().set_limits(&limits) {
            // No memory controller, or no swap accounting.
            Err(error) if error.is_gone() => {}
            result => result.map_err(|source| RunError::Cgroup {
                operation: "set the OOM rules of",
                source,
            })?,
        }
    }
    Ok(())
}

/// Holds disk space for exit.json.
pub(super) fn reserve(path: &Path) -> Result<(), RunError> {
    let failed = |source| RunError::Io {
        operation: "reserve space in",
        path: path.to_owned(),
        source,
    };
    let file = fs::File::create(path).map_err(failed)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, RESERVE_BYTES) {
        // Some file systems cannot; then there is no reserve.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => {
            remove_if_there(path);
            Err(failed(errno.into()))
        }
    }
}
