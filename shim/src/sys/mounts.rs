//! mount_setattr(2), for mounts that open_tree(2) has cloned.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::checked;

/// Lets nobody write through `mount`.
pub(crate) fn make_mount_read_only(mount: &OwnedFd) -> Result<(), Errno> {
    set(mount, libc::MOUNT_ATTR_RDONLY, 0)
}

/// Shows and stores through `mount`, which is nowhere attached yet, the ids of the user namespace `ids` for those on
/// disk.
///
/// # Errors
/// `EINVAL` where the file system cannot.
pub(crate) fn map_mount_ids(mount: &OwnedFd, ids: &OwnedFd) -> Result<(), Errno> {
    let fd = u64::try_from(ids.as_raw_fd()).map_err(|_| Errno::BADF)?;
    set(mount, libc::MOUNT_ATTR_IDMAP, fd)
}

fn set(mount: &OwnedFd, attributes: u64, userns_fd: u64) -> Result<(), Errno> {
    let change = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd,
    };
    // SAFETY: the path is an empty string, the attributes are a whole `mount_attr`, and their size is told; the
    // kernel only reads both.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
