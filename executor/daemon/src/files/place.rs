//! The working directory of a run whose container is not mounted yet, made in the container's own layer.
//!
//! Where it is, is found out in the merged layers, links followed as the container will follow them. What is not there
//! is made and belongs to the job's user; what is there keeps its owner and mode. Only the topmost layer is written to,
//! directly: nothing has it mounted before the container is made, and no mount of ours has to be flushed to a disk.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, mkdirat, openat};
use rustix::io::Errno;

use crate::containerd::Mount;
use crate::oci::{Layers, RootfsError, Step, hidden_by};

/// Why there is no such directory.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The image is not as it should be.
    #[error("cannot find the working directory {path} in the image")]
    Rootfs {
        /// As asked for.
        path: String,
        /// Why not.
        #[source]
        source: RootfsError,
    },
    /// The job would not see them.
    #[error(
        "the working directory {path} is in {hidden_by}, which is new and empty in every container: no files can be \
         put there; choose another one"
    )]
    Hidden {
        /// As asked for.
        path: String,
        /// What is mounted there.
        hidden_by: &'static str,
    },
    /// It cannot be made.
    #[error("cannot make the working directory {path}")]
    Make {
        /// As asked for.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Opens the directory `path` of the container that `mounts` are made for, made for `owner` where it is missing.
pub(crate) fn open(mounts: &[Mount], path: &str, owner: (u32, u32)) -> Result<OwnedFd, PlaceError> {
    let rootfs = |source| PlaceError::Rootfs {
        path: path.to_owned(),
        source,
    };
    let layers = Layers::open(mounts).map_err(rootfs)?;
    let steps = layers.walk(path).map_err(rootfs)?;
    if let Some(hidden_by) = steps.first().and_then(|step| hidden_by(&step.name)) {
        return Err(PlaceError::Hidden {
            path: path.to_owned(),
            hidden_by,
        });
    }
    let top = layers.into_top().ok_or_else(|| {
        rootfs(RootfsError::UnknownMount(
            "an overlay without layers".to_owned(),
        ))
    })?;
    make(top, &steps, owner).map_err(|error| PlaceError::Make {
        path: path.to_owned(),
        source: error.into(),
    })
}

fn make(top: OwnedFd, steps: &[Step], owner: (u32, u32)) -> Result<OwnedFd, Errno> {
    let mut here = openat(&top, ".", DIRECTORY, Mode::empty())?;
    for Step { name, found } in steps {
        match mkdirat(&here, name.as_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) => own(&here, name, found.as_ref(), owner)?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        here = openat(&here, name.as_str(), DIRECTORY, Mode::empty())?;
    }
    Ok(here)
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Gives a directory just made the owner and mode of the one it covers, or to `owner`.
fn own(parent: &OwnedFd, name: &str, found: Option<&Stat>, owner: (u32, u32)) -> Result<(), Errno> {
    let (uid, gid) = found.map_or(owner, |stat| (stat.st_uid, stat.st_gid));
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(
        parent,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    let mode = found.map_or(0o755, |stat| stat.st_mode & 0o7777);
    // Nobody else has it: it is the directory that was made above.
    chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
}

#[cfg(test)]
mod tests;
