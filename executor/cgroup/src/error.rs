//! What can go wrong with a cgroup, always with the file it went wrong at.

use std::io;
use std::path::{Path, PathBuf};

use crate::Controllers;

/// A failed operation on a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup v2 file system is mounted.
    #[error("no cgroup v2 file system is mounted ({found}); davit needs cgroup v2")]
    NoCgroup2 {
        /// What is mounted instead.
        found: String,
    },
    /// Controllers are bound to cgroup v1, where davit cannot use them.
    #[error(
        "this host is hybrid: cgroup v1 holds {v1_controllers}; davit needs pure cgroup v2 \
         (boot with systemd.unified_cgroup_hierarchy=1)"
    )]
    Hybrid {
        /// The v1 controllers.
        v1_controllers: String,
    },
    /// A controller is not available where it is needed.
    #[error("controllers missing in {}: {missing}", path.display())]
    MissingControllers {
        /// The cgroup whose `cgroup.controllers` lacks them.
        path: PathBuf,
        /// Which.
        missing: Controllers,
    },
    /// A text that is no cgroup path.
    #[error("`{path}` is no cgroup path: {problem}")]
    BadPath {
        /// The text.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The cgroup exists already; a used one is never used again.
    #[error("cgroup {} exists already", .0.display())]
    Exists(PathBuf),
    /// It could not be removed in time: processes are left in it.
    #[error("cgroup {} is still busy after {waited_ms} ms", path.display())]
    Busy {
        /// The cgroup.
        path: PathBuf,
        /// How long it was tried, milliseconds.
        waited_ms: u64,
    },
    /// A system call failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, e.g. `read`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel did not take a value.
    #[error("cannot write `{value}` to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file does not read as the kernel documents it.
    #[error("{} is malformed: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl CgroupError {
    pub(crate) fn io<'a, E: Into<io::Error>>(
        operation: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(E) -> Self + 'a {
        move |source| Self::Io {
            operation,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Whether a file or the whole cgroup is not there (any more).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Write { source, .. } => {
                source.kind() == io::ErrorKind::NotFound
                    || source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
            }
            _ => false,
        }
    }
}
