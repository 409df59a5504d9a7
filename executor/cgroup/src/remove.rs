//! Removing a cgroup and what is below it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Cgroup, CgroupError};

/// Tries before an occupied cgroup is reported as busy.
const REMOVE_TRIES_MAX: u32 = 50;

/// Pause between two tries, milliseconds. The kernel lets go of a cgroup some time after its last
/// process was reaped.
const REMOVE_RETRY_MS: u64 = 10;

/// Cgroups removed below one. A job with a writable cgroupfs could make more, but then its own
/// `cgroup.max.descendants` is the bound to set.
const DESCENDANTS_MAX: usize = 10_000;

impl Cgroup {
    /// Cgroups directly below it, by name.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub fn children(&self) -> Result<Vec<String>, CgroupError> {
        let names = subdirectories(self.path())?
            .into_iter()
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    /// Removes it and all below; fine if it is gone. Blocks up to half a second while the kernel
    /// lets go of its last processes; kill them first.
    ///
    /// # Errors
    /// [`CgroupError::Busy`] if it is still occupied then.
    pub fn remove(&self) -> Result<(), CgroupError> {
        for _ in 0..REMOVE_TRIES_MAX {
            if self.try_remove()? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(REMOVE_RETRY_MS));
        }
        Err(CgroupError::Busy {
            path: self.path().to_owned(),
            waited_ms: u64::from(REMOVE_TRIES_MAX) * REMOVE_RETRY_MS,
        })
    }

    /// One try to remove it and all below: false if it is occupied. For callers with a loop of their
    /// own.
    ///
    /// # Errors
    /// When the kernel refuses for another reason.
    pub fn try_remove(&self) -> Result<bool, CgroupError> {
        match remove_dir(self.path())? {
            Removed::Done => return Ok(true),
            Removed::Busy => {}
        }
        for path in descendants(self.path())?.iter().rev() {
            if remove_dir(path)? == Removed::Busy {
                return Ok(false);
            }
        }
        Ok(remove_dir(self.path())? == Removed::Done)
    }
}

#[derive(PartialEq, Eq)]
enum Removed {
    Done,
    Busy,
}

fn remove_dir(path: &Path) -> Result<Removed, CgroupError> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(Removed::Done),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(Removed::Done),
            io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty => Ok(Removed::Busy),
            _ => Err(CgroupError::io("remove", path)(error)),
        },
    }
}

/// All cgroups below `path`, every one behind the one that holds it.
fn descendants(path: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let mut found = subdirectories(path)?;
    let mut at = 0;
    while at < found.len() && found.len() < DESCENDANTS_MAX {
        let below = subdirectories(&found[at])?;
        found.extend(below);
        at += 1;
    }
    Ok(found)
}

fn subdirectories(path: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CgroupError::io("list", path)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(CgroupError::io("list", path))?;
        let kind = entry.file_type().map_err(CgroupError::io("list", path))?;
        if kind.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
