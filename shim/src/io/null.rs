//! A null device of a container's own.
//!
//! Runtimes make a container's user the owner of its streams. Some do so with devices too (crun did until it learned to
//! leave them alone), and then the host's `/dev/null` would be the job's: it could take it from everybody.
//!
//! ```text
//!  tmpfs, nowhere attached ── null (1, 3) ── opened, and all of it gone with the last descriptor
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use rustix::fs::{FileType, Mode, OFlags, makedev, mknodat, openat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use super::{IoError, failed};

/// A null device that nobody else has, for reading and writing. The host's, where we may not mount: then no runtime
/// that we start may change that one's owner.
pub(crate) fn null() -> Result<OwnedFd, Errno> {
    match own() {
        Err(Errno::PERM) => {
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::open("/dev/null", flags, Mode::empty())
        }
        result => result,
    }
}

/// Streams that are such devices.
pub(crate) fn null_streams() -> Result<[Stdio; 3], IoError> {
    Ok([null_stream()?, null_stream()?, null_stream()?])
}

/// A stream of nothing.
pub(super) fn null_stream() -> Result<Stdio, IoError> {
    let made = null().map(Stdio::from);
    made.map_err(|errno| failed("make", "a null device")(errno.into()))
}

fn own() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let mode = Mode::from_raw_mode(0o666);
    mknodat(
        &mount,
        "null",
        FileType::CharacterDevice,
        mode,
        makedev(1, 3),
    )?;
    openat(
        &mount,
        "null",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Gid, Uid, fchown, fstat, stat};

    #[test]
    fn its_owner_owns_nothing_of_the_hosts() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let device = null().expect("root may mount");
        fchown(&device, Some(Uid::from_raw(7)), Some(Gid::from_raw(8))).expect("it is ours");
        let (its, hosts) = (fstat(&device), stat("/dev/null"));
        let (its, hosts) = (its.expect("it is open"), hosts.expect("it is there"));
        assert_eq!((its.st_uid, its.st_gid), (7, 8));
        assert_ne!(hosts.st_uid, 7);
        assert_eq!(its.st_rdev, hosts.st_rdev);
        assert_eq!(rustix::io::write(&device, b"gone"), Ok(4));
        assert_eq!(rustix::io::read(&device, &mut [0; 4]), Ok(0));
    }
}
