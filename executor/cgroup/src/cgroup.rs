//! The handle on one cgroup.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use davit_types::Usage;

use crate::file::Dir;
use crate::parse;
use crate::{CgroupError, CgroupPath, Events, Hierarchy, Limits, MemoryEvents, Stats, Watch};

/// One cgroup, held open: its name may vanish under us, but never means another.
#[derive(Debug)]
pub struct Cgroup {
    dir: Dir,
}

impl Cgroup {
    /// Makes the cgroup, and its ancestors where missing.
    ///
    /// # Errors
    /// [`CgroupError::Exists`] if it is there: one that was used keeps its former figures.
    pub fn create(hierarchy: &Hierarchy, path: &CgroupPath) -> Result<Self, CgroupError> {
        let place = hierarchy.locate(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(CgroupError::io("create", parent))?;
        }
        match fs::create_dir(&place) {
            Ok(()) => Ok(Self {
                dir: Dir::open(place)?,
            }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(CgroupError::Exists(place))
            }
            Err(error) => Err(CgroupError::io("create", &place)(error)),
        }
    }

    /// Opens an existing cgroup.
    ///
    /// # Errors
    /// When it is not there; [`CgroupError::is_gone`] tells.
    pub fn open(hierarchy: &Hierarchy, path: &CgroupPath) -> Result<Self, CgroupError> {
        Ok(Self {
            dir: Dir::open(hierarchy.locate(path))?,
        })
    }

    /// Where it lies in the file system.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Sets `limits`; stops at the first that the kernel refuses.
    ///
    /// # Errors
    /// Names the file and the value.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), CgroupError> {
        limits.apply(&self.dir)
    }

    /// Kills every process in it and below, frozen or not. They are gone once [`Self::wait_empty`].
    ///
    /// # Errors
    /// When `cgroup.kill` cannot be written (Linux 5.14 has it).
    pub fn kill(&self) -> Result<(), CgroupError> {
        self.dir.write("cgroup.kill", "1")
    }

    /// Asks for everything in it to be frozen; it is once [`Self::wait_frozen`].
    ///
    /// # Errors
    /// When `cgroup.freeze` cannot be written.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.dir.write("cgroup.freeze", "1")
    }

    /// Lets it run again.
    ///
    /// # Errors
    /// When `cgroup.freeze` cannot be written.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.dir.write("cgroup.freeze", "0")
    }

    /// Whether it is populated and frozen now.
    ///
    /// # Errors
    /// When `cgroup.events` cannot be read.
    pub fn events(&self) -> Result<Events, CgroupError> {
        self.events_fd()?.read()
    }

    /// `cgroup.events`, to be polled for POLLPRI.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn events_fd(&self) -> Result<Watch<Events>, CgroupError> {
        Watch::open(&self.dir)
    }

    /// Waits until the freeze is done; false if it is not within `timeout`. An empty cgroup freezes
    /// at once.
    ///
    /// # Errors
    /// When `cgroup.events` cannot be read.
    pub fn wait_frozen(&self, timeout: Duration) -> Result<bool, CgroupError> {
        self.events_fd()?.wait(timeout, |events| events.frozen)
    }

    /// Waits until no process is left in it or below; false if one is after `timeout`. A cgroup that
    /// was removed meanwhile is empty.
    ///
    /// # Errors
    /// When `cgroup.events` cannot be read.
    pub fn wait_empty(&self, timeout: Duration) -> Result<bool, CgroupError> {
        let waited = self
            .events_fd()
            .and_then(|mut watch| watch.wait(timeout, |events| !events.populated));
        match waited {
            Err(error) if error.is_gone() => Ok(true),
            waited => waited,
        }
    }

    /// `memory.events`; `None` without the memory controller.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory_events(&self) -> Result<Option<MemoryEvents>, CgroupError> {
        match self.memory_events_fd()? {
            Some(mut watch) => watch.read().map(Some),
            None => Ok(None),
        }
    }

    /// `memory.events`, to be polled for POLLPRI; `None` without the memory controller.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn memory_events_fd(&self) -> Result<Option<Watch<MemoryEvents>>, CgroupError> {
        match Watch::open(&self.dir) {
            Err(error) if error.is_gone() => Ok(None),
            watch => watch.map(Some),
        }
    }

    /// What it has used so far; final once it is empty.
    ///
    /// # Errors
    /// When a file that should be there cannot be read.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        Stats::read(&self.dir)
    }

    /// [`Self::stats`] as a run's usage; wall and paused time are 0, for the caller to fill in.
    ///
    /// # Errors
    /// As [`Self::stats`].
    pub fn usage(&self) -> Result<Usage, CgroupError> {
        self.stats().map(Usage::from)
    }

    /// Processes directly in it, as this pid namespace numbers them; others are left out. A pid may
    /// be reused by the time it is looked at: never signal it.
    ///
    /// # Errors
    /// When `cgroup.procs` cannot be read.
    pub fn procs(&self) -> Result<Vec<u32>, CgroupError> {
        let text = self.dir.read("cgroup.procs")?;
        parse::pids(&text).ok_or_else(|| {
            self.dir
                .malformed("cgroup.procs", "a line is no process id")
        })
    }

    /// Moves a process with all its threads into it; 0 is the calling process.
    ///
    /// # Errors
    /// When the kernel refuses, e.g. EBUSY where controllers are enabled for children.
    pub fn add_process(&self, pid: u32) -> Result<(), CgroupError> {
        self.dir.write("cgroup.procs", &pid.to_string())
    }
}

impl AsFd for Cgroup {
    /// The open directory, e.g. for `CLONE_INTO_CGROUP`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
