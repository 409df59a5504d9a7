//! What a run gets before its container: rules for its cgroup and room for its end.

use std::fs;
use std::path::Path;

use davit_cgroup::Limits;

use super::RunError;
use crate::cgroup::ContainerCgroup;
use crate::files::remove_if_there;

/// Disk space held for exit.json, bytes: the end must be recordable on a full disk.
const RESERVE_BYTES: u64 = 256 * 1024;

/// Name of the file that holds it.
pub(super) const RESERVE_FILE: &str = "reserve";

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
