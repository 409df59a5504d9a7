//! Project quotas: how much one directory tree may hold on an ext4 or XFS that was mounted with `prjquota`.
//!
//! ```text
//!  directory ── project (an inode's attribute, inherited by what is made below) ──► usage, limits (quotactl_fd(2))
//! ```
//!
//! The project is on the directory itself, so whoever has the directory needs nobody to tell him: the executor bounds it,
//! the shim reads how full it was, and the next executor finds out whose it is.
//!
//! Invariants: nothing is kept in memory; a project without limits and without files is nowhere on disk.
//!
//! Absent on purpose: user and group quotas, soft limits and their grace periods, `/etc/projects`.

mod sys;

use std::io;
use std::os::fd::AsFd;

/// Bytes in one block of a limit (`QIF_DQBLKSIZE`).
const BLOCK_BYTES: u64 = 1024;
/// A job is at its limit when less than this part of it is free…
const FULL_PART: u64 = 100;
/// …and less than this many bytes. A write that does not fit leaves what would have been its own: file systems reserve a
/// large one whole (XFS: up to 4 MiB) or not at all.
const FULL_BYTES_MAX: u64 = 4 << 20;

/// A project: the number by which the file system counts. 0 is everybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectId(pub u32);

/// What a project may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk; 0: no limit. Rounded up to 1 KiB.
    pub bytes_max: u64,
    /// Files, directories and links; 0: no limit.
    pub inodes_max: u64,
}

/// What a project holds, and may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk, those promised to data in memory among them.
    pub bytes: u64,
    /// Files, directories and links.
    pub inodes: u64,
    /// What it may hold.
    pub limits: Limits,
}

impl Usage {
    /// Whether a limit stands in the way of anything more: no inode is left, or less than a hundredth of the bytes and
    /// less than 4 MiB.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        let Limits {
            bytes_max,
            inodes_max,
        } = self.limits;
        let part = bytes_max / FULL_PART;
        let slack = if part < FULL_BYTES_MAX {
            part
        } else {
            FULL_BYTES_MAX
        };
        let bytes_full = bytes_max > 0 && self.bytes.saturating_add(slack) >= bytes_max;
        let inodes_full = inodes_max > 0 && self.inodes >= inodes_max;
        bytes_full || inodes_full
    }

    /// Nothing is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0 && self.inodes == 0
    }
}

/// Whether the file system of `place` heeds limits of projects.
///
/// # Errors
/// `ENOSYS` and the like from a file system without quotas, `EPERM` without CAP_SYS_ADMIN.
pub fn is_enforced(place: impl AsFd) -> io::Result<bool> {
    sys::is_enforced(place.as_fd())
}

/// The project of an open directory or file.
///
/// # Errors
/// `ENOTTY` from a file system without projects.
pub fn project_of(directory: impl AsFd) -> io::Result<ProjectId> {
    Ok(ProjectId(sys::attributes(directory.as_fd())?.project))
}

/// Puts an open directory into `project`, with all that is made in it from now on.
///
/// # Errors
/// The kernel's.
pub fn join(directory: impl AsFd, project: ProjectId) -> io::Result<()> {
    let directory = directory.as_fd();
    let mut attributes = sys::attributes(directory)?;
    attributes.project = project.0;
    attributes.flags |= sys::PROJECT_INHERITED;
    sys::set_attributes(directory, &attributes)
}

/// What `project` holds on the file system of `place`.
///
/// # Errors
/// The kernel's.
pub fn usage(place: impl AsFd, project: ProjectId) -> io::Result<Usage> {
    match sys::quota(place.as_fd(), project.0) {
        // XFS has no record of a project that never was.
        Err(error) if is_unknown(&error) => Ok(Usage::default()),
        found => found,
    }
}

/// Bounds `project` on the file system of `place`.
///
/// # Errors
/// The kernel's.
pub fn limit(place: impl AsFd, project: ProjectId, limits: Limits) -> io::Result<()> {
    sys::set_limits(place.as_fd(), project.0, limits)
}

/// The first project from `project` on that the file system of `place` has a record of.
///
/// # Errors
/// The kernel's.
pub fn next(place: impl AsFd, project: ProjectId) -> io::Result<Option<(ProjectId, Usage)>> {
    match sys::next_quota(place.as_fd(), project.0) {
        Ok((id, usage)) => Ok(Some((ProjectId(id), usage))),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOENT) || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage_of(bytes: u64, inodes: u64) -> Usage {
        Usage {
            bytes,
            inodes,
            limits: Limits {
                bytes_max: 100 << 20,
                inodes_max: 1_000,
            },
        }
    }

    #[test]
    fn full_is_where_nothing_more_goes_in() {
        assert!(usage_of(100 << 20, 10).is_full());
        assert!(usage_of(99 << 20, 10).is_full());
        assert!(!usage_of((99 << 20) - 1, 10).is_full());
        assert!(usage_of(0, 1_000).is_full());
        assert!(!usage_of(0, 999).is_full());
        let mut large = usage_of((1 << 40) - (5 << 20), 10);
        large.limits.bytes_max = 1 << 40;
        assert!(!large.is_full(), "a hundredth of a terabyte is room");
        large.bytes += 1 << 20;
        assert!(large.is_full());
    }

    #[test]
    fn without_limits_nothing_is_full() {
        let unbounded = Usage {
            limits: Limits::default(),
            ..usage_of(u64::MAX, u64::MAX)
        };
        assert!(!unbounded.is_full());
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        let memory = std::fs::File::open("/proc/self").unwrap();
        assert!(is_enforced(&memory).is_err());
        assert!(project_of(&memory).is_err());
        assert!(usage(&memory, ProjectId(7)).is_err());
    }
}
