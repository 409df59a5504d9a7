//! quotactl_fd(2) and the ioctls of inode attributes: neither libc nor rustix has a safe call for them, and quotactl(2)
//! wants the path of a block device, which the executor may not see.
#![allow(
    unsafe_code,
    reason = "the one module that talks to the kernel where no safe wrapper exists; every block says why it is sound"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{BLOCK_BYTES, Limits, Usage};

/// `FS_XFLAG_PROJINHERIT` of linux/fs.h.
pub(crate) const PROJECT_INHERITED: u32 = 0x200;
/// `FS_IOC_FSGETXATTR` and `FS_IOC_FSSETXATTR` of linux/fs.h.
const GET_ATTRIBUTES: u64 = 0x801c_581f;
const SET_ATTRIBUTES: u64 = 0x401c_5820;
/// `PRJQUOTA`, and commands, of linux/quota.h and linux/dqblk_xfs.h.
const PROJECTS: u32 = 2;
const GET_QUOTA: u32 = 0x80_0007;
const SET_QUOTA: u32 = 0x80_0008;
const GET_NEXT_QUOTA: u32 = 0x80_0009;
const GET_STATE: u32 = ('X' as u32) << 8 | 8;
/// `QIF_BLIMITS | QIF_ILIMITS`: which of a [`Quota`] is set.
const LIMITS: u32 = 1 | 4;
/// `FS_QUOTA_PDQ_ENFD`.
const PROJECTS_ENFORCED: u16 = 1 << 5;
/// `FS_QSTATV_VERSION1`.
const STATE_VERSION: i8 = 1;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) flags: u32,
    extent_size: u32,
    extents: u32,
    pub(crate) project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk`, and with `id` also `struct if_nextdqblk`, which is as long.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Quota {
    blocks_hard: u64,
    blocks_soft: u64,
    bytes: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    inodes: u64,
    blocks_time: u64,
    inodes_time: u64,
    valid: u32,
    id: u32,
}

/// `struct fs_quota_statv`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct State {
    version: i8,
    padding: u8,
    flags: u16,
    in_memory: u32,
    files: [u64; 9],
    times: [i32; 3],
    warnings: [u16; 3],
    padding_2: u16,
    padding_3: u32,
    reserved: [u64; 7],
}

const _: () = assert!(size_of::<Attributes>() == 28);
const _: () = assert!(size_of::<Quota>() == 72);
const _: () = assert!(size_of::<State>() == 160);

impl From<Quota> for Usage {
    fn from(quota: Quota) -> Self {
        Self {
            bytes: quota.bytes,
            inodes: quota.inodes,
            limits: Limits {
                bytes_max: quota.blocks_hard.saturating_mul(BLOCK_BYTES),
                inodes_max: quota.inodes_hard,
            },
        }
    }
}

fn checked(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(crate) fn attributes(file: BorrowedFd<'_>) -> io::Result<Attributes> {
    let mut attributes = Attributes::default();
    // SAFETY: the descriptor is open, and the kernel writes one `struct fsxattr`, which `attributes` is.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), GET_ATTRIBUTES as _, &raw mut attributes) };
    checked(answer.into())?;
    Ok(attributes)
}

pub(crate) fn set_attributes(file: BorrowedFd<'_>, attributes: &Attributes) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel only reads one `struct fsxattr`.
    let answer = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            SET_ATTRIBUTES as _,
            &raw const *attributes,
        )
    };
    checked(answer.into())
}

/// `T` is what the command takes.
fn control<T>(place: BorrowedFd<'_>, command: u32, id: u32, block: &mut T) -> io::Result<()> {
    // SAFETY: the descriptor is open, and each caller hands over the very structure that its command reads or writes.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            place.as_raw_fd(),
            command << 8 | PROJECTS,
            id,
            &raw mut *block,
        )
    };
    checked(answer)
}

pub(crate) fn is_enforced(place: BorrowedFd<'_>) -> io::Result<bool> {
    let mut state = State {
        version: STATE_VERSION,
        ..State::default()
    };
    control(place, GET_STATE, 0, &mut state)?;
    Ok(state.flags & PROJECTS_ENFORCED != 0)
}

pub(crate) fn quota(place: BorrowedFd<'_>, id: u32) -> io::Result<Usage> {
    let mut quota = Quota::default();
    control(place, GET_QUOTA, id, &mut quota)?;
    Ok(quota.into())
}

pub(crate) fn next_quota(place: BorrowedFd<'_>, id: u32) -> io::Result<(u32, Usage)> {
    let mut quota = Quota::default();
    control(place, GET_NEXT_QUOTA, id, &mut quota)?;
    Ok((quota.id, quota.into()))
}

pub(crate) fn set_limits(place: BorrowedFd<'_>, id: u32, limits: Limits) -> io::Result<()> {
    let mut quota = Quota {
        blocks_hard: limits.bytes_max.div_ceil(BLOCK_BYTES),
        inodes_hard: limits.inodes_max,
        valid: LIMITS,
        ..Quota::default()
    };
    control(place, SET_QUOTA, id, &mut quota)
}
