//! The system calls that need `unsafe`: everything else of the shim forbids it.
//!
//! Why not safe wrappers: rustix has no signalfd, no fork and no mount_setattr and hides `si_pid` of `waitid`; `Command::pre_exec`
//! and taking over an inherited descriptor are unsafe by nature; `malloc_trim` is glibc's own; tokio's
//! AsyncFd wants a promise about the descriptor.
#![allow(
    unsafe_code,
    reason = "the one module that talks to the kernel where no safe wrapper exists; every block says why it is sound"
)]

mod fs_user;
mod mounts;
mod user_namespace;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

pub(crate) use self::fs_user::with_fs_user;
pub(crate) use self::mounts::{make_mount_read_only, map_mount_ids};
pub(crate) use self::user_namespace::user_namespace;

/// Blocks `signals` for the process and returns a non-blocking signalfd that delivers them.
///
/// Children do not inherit the mask: `std::process::Command` empties it before exec.
pub(crate) fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set it is given.
    let mut set = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    };
    for signal in signals {
        // SAFETY: `set` is initialised; an invalid number is refused with an error, not acted on.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    // SAFETY: both pointers are valid for the call; the old mask is not asked for.
    let blocked =
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if blocked < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `set` is a valid set; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal waiting in a signalfd, or `None`.
pub(crate) fn next_signal(fd: &OwnedFd) -> Option<i32> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the kernel writes at most `size` bytes into a buffer of that size.
    let read = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    // A signalfd delivers whole records or nothing.
    if usize::try_from(read) != Ok(size) {
        return None;
    }
    // SAFETY: the kernel has filled the whole record.
    let info = unsafe { info.assume_init() };
    i32::try_from(info.ssi_signo).ok()
}

/// How a child ended, as `waitid(2)` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reaped {
    pub(crate) pid: i32,
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
    pub(crate) code: i32,
    /// Exit code or signal number.
    pub(crate) status: i32,
}

/// Which children [`wait_ended`] looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// Any child; it stays a zombie.
    PeekAny,
    /// This child of ours; it is reaped.
    Pid(i32),
    /// The child behind this pidfd; it is reaped.
    Pidfd(&'a OwnedFd),
}

/// Looks for an ended child without waiting. `Ok(None)`: none has ended.
///
/// # Errors
/// `ECHILD` if there is no such child.
pub(crate) fn wait_ended(which: Which<'_>) -> Result<Option<Reaped>, Errno> {
    let (kind, id, keep) = match which {
        Which::PeekAny => (libc::P_ALL, 0, libc::WNOWAIT),
        Which::Pid(pid) => (libc::P_PID, pid.cast_unsigned(), 0),
        Which::Pidfd(fd) => (libc::P_PIDFD, fd.as_raw_fd().cast_unsigned(), 0),
    };
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | keep;
    // SAFETY: `info` is a valid siginfo_t to write to for the length of the call.
    if unsafe { libc::waitid(kind, id, info.as_mut_ptr(), flags) } < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    // SAFETY: zeroed is a valid siginfo_t, and the kernel overwrites it only with valid ones.
    let info = unsafe { info.assume_init() };
    // SAFETY: after waitid the child fields of the union are the ones in use (all zero if no child ended).
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    Ok(Some(Reaped {
        pid,
        code: info.si_code,
        status,
    }))
}

/// A descriptor's owner whose descriptor never changes.
///
/// # Safety
/// `as_raw_fd` must give the same open descriptor for as long as the value lives.
pub(crate) unsafe trait StableFd: AsRawFd {}

// SAFETY: an OwnedFd is one descriptor until it is dropped.
unsafe impl StableFd for OwnedFd {}
// SAFETY: a shared OwnedFd cannot be changed at all.
unsafe impl StableFd for std::sync::Arc<OwnedFd> {}
// SAFETY: the watch opens its file when it is made and keeps it.
unsafe impl<T> StableFd for davit_cgroup::Watch<T> {}

/// Puts a descriptor on the event loop; gives it back if the kernel cannot poll it.
pub(crate) fn register<T: StableFd>(
    fd: T,
    interest: Interest,
) -> Result<AsyncFd<T>, AsyncFdRegisterError<T>> {
    // SAFETY: StableFd promises that the descriptor stays open and the same as long as AsyncFd has it.
    unsafe { AsyncFd::register_with_interest(fd, interest) }
}

/// Sends any signal number, 0 (existence) and real-time ones included, through a pidfd.
pub(crate) fn pidfd_signal(pidfd: &OwnedFd, signal: i32) -> Result<(), Errno> {
    // SAFETY: the call takes two integers, a null siginfo and no flags; it touches no memory of ours.
    checked(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}

/// What a raw system call has returned, or the error that errno names.
fn checked(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    Ok(returned)
}

/// Makes `command` die with this process: a runtime command left half-way is worse than a killed one.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: the closure runs between fork and exec and makes two async-signal-safe system calls;
    // it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died before the call above took effect.
            if libc::getppid().cast_unsigned() == parent {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
        });
    }
}

/// Where [`pass_descriptors`] puts the first one in the child.
const PASSED_FDS_FIRST: RawFd = 3;
/// The first place above all that it may take.
pub(crate) const PASSED_FDS_END: RawFd = 7;
/// Most descriptors that it hands over.
const PASSED_FDS_MAX: usize = (PASSED_FDS_END - PASSED_FDS_FIRST).unsigned_abs() as usize;

/// Puts `fds[i]` at descriptor `3 + i` of the child, inherited over exec.
///
/// # Errors
/// When there are more than [`PASSED_FDS_MAX`], or none is free to hold the places with.
pub(crate) fn pass_descriptors(command: &mut Command, fds: Vec<OwnedFd>) -> io::Result<()> {
    if fds.len() > PASSED_FDS_MAX {
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    // `Command` reports a failed exec over a pipe of its own. As long as all targets are taken in
    // the parent, that pipe cannot get a target's number and be overwritten in the child.
    let mut holders = Vec::new();
    loop {
        let holder = std::fs::File::open("/dev/null")?;
        if holder.as_raw_fd() >= PASSED_FDS_FIRST + RawFd::try_from(fds.len()).unwrap_or(RawFd::MAX)
        {
            break;
        }
        holders.push(holder);
    }
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe system calls;
    // it allocates nothing. All sources are moved above every target first, so no target overwrites
    // a source still needed; the moved copies close on exec.
    unsafe {
        command.pre_exec(move || {
            let _held = &holders;
            let mut moved = [-1; PASSED_FDS_MAX];
            for (source, copy) in fds.iter().zip(&mut moved) {
                *copy = libc::fcntl(
                    source.as_raw_fd(),
                    libc::F_DUPFD_CLOEXEC,
                    PASSED_FDS_FIRST + 16,
                );
                if *copy < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            for (target, copy) in (PASSED_FDS_FIRST..).zip(&moved[..fds.len()]) {
                // dup2 leaves the target open over exec.
                if libc::dup2(*copy, target) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Ok(())
}

/// Makes `command` the leader of a session of its own, with no descriptor but its standard streams.
pub(crate) fn new_session(command: &mut Command) {
    // SAFETY: setsid and close_range are async-signal-safe and allocate nothing; descriptors are only
    // marked to be closed at exec.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            let all = libc::c_uint::MAX;
            // Linux 5.11 has it; on older kernels what leaked into us leaks on.
            libc::close_range(3, all, libc::CLOSE_RANGE_CLOEXEC.cast_signed());
            Ok(())
        });
    }
}

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    Parent(rustix::process::Pid),
    Child,
}

/// Splits this process in two.
///
/// # Errors
/// When the kernel refuses, or this process has more than one thread: what the others held would stay held in
/// the child for ever.
pub(crate) fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("only one thread may fork"));
    }
    // SAFETY: there is one thread, as just counted, and it is here: no lock is held by anybody else and no
    // state of the heap is half-changed, so the child may go on as this process could have. glibc's own fork
    // is used, not the bare system call: it tells the C library that the process is another.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(match rustix::process::Pid::from_raw(pid) {
        Some(pid) => Forked::Parent(pid),
        None => Forked::Child,
    })
}

/// Closes every descriptor above the standard ones. To be called first of all.
pub(crate) fn close_inherited() {
    // SAFETY: nothing in this program has opened a descriptor yet, so none is owned by anybody.
    // Linux 5.9 has it; on older kernels what leaked into us leaks on.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Shows `words` as this process's command line (`ps`, `/proc/PID/cmdline`), as far as they fit in the place of the
/// one it was executed with.
pub(crate) fn show_command_line(words: &[&str]) -> io::Result<()> {
    // proc_pid_stat(5): arg_start and arg_end are fields 48 and 49; the second, in brackets, may hold anything.
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split(' ');
    let mut address = |skipped: usize| fields.nth(skipped)?.parse::<usize>().ok();
    let place = address(46).zip(address(0));
    let (begin, end) = place
        .filter(|(begin, end)| 0 < *begin && begin < end)
        .ok_or_else(|| io::Error::other("/proc/self/stat does not say where it is"))?;
    let mut text = words.join("\0").into_bytes();
    // The rest is emptied, and the last byte stays the end of a string, as everybody expects of it.
    text.resize(end - begin, 0);
    text.pop();
    text.push(0);
    // SAFETY: the kernel put the strings of argv there for this process to use as it likes, at the bottom of its
    // one stack, and `text` is exactly as long. std::env::args() copies when it is called and is not called any
    // more; argv's pointers stay valid and each string in there ends within the place.
    unsafe {
        let place = std::ptr::with_exposed_provenance_mut::<u8>(begin);
        std::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len());
    }
    Ok(())
}

/// Gives freed heap pages back to the kernel; worth it once start-up garbage is gone.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time; this process has one thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Unmaps the pages of the program's code and constants until they are needed again.
///
/// They are clean pages of a file, private to this process only because no other shim may be running:
/// the kernel's page cache keeps them.
pub(crate) fn release_program_pages() {
    // Bounds of the read-only part of the executable, defined by every linker for Linux.
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    let page = rustix::param::page_size();
    let begin = (&raw const __executable_start)
        .addr()
        .next_multiple_of(page);
    let end = (&raw const etext).addr() / page * page;
    if begin < end {
        // SAFETY: the range is the read-only, file-backed mapping of this program (a position-independent
        // executable has no relocations in it), so dropping its pages loses nothing: the next access reads them again.
        let result = unsafe {
            libc::madvise(
                (&raw const __executable_start)
                    .cast_mut()
                    .map_addr(|_| begin)
                    .cast(),
                end - begin,
                libc::MADV_DONTNEED,
            )
        };
        if result < 0 {
            log::debug!("madvise: {}", io::Error::last_os_error());
        }
    }
}

/// Ignores SIGPIPE: a log reader that went away must not end a run.
pub(crate) fn ignore_sigpipe() {
    // SAFETY: installs no handler; SIG_IGN is always a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
