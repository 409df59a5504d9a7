//! clone3 into a cgroup, and what the child does until it is the payload.
//!
//! Unsafe because the standard library can neither give clone3 its flags nor run code between fork and
//! exec. Invariants: this process has one thread, so the child's memory is whole; the child makes only
//! system calls, on strings made before it began, and always ends in execve or _exit.
#![allow(unsafe_code, reason = "see above")]

use std::ffi::{CString, c_int, c_long};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

const NAMESPACES: c_int = libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;
/// The C library's own constant is an int, which it does not fit in.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// Exit codes of a child that did not become the payload begin here.
const FAILED_STEP: c_int = 100;

/// A container's first process.
pub(crate) struct Child {
    process: OwnedFd,
    output: File,
}

/// All the child needs, made before it is born.
struct Plan {
    options: CString,
    root: CString,
    payload: CString,
    output: RawFd,
}

impl Child {
    /// Starts `payload` in `cgroup`, in namespaces of its own, on an overlay mounted at `root`.
    pub(crate) fn start(
        cgroup: &Path,
        overlay_options: &str,
        root: &Path,
        payload: &Path,
    ) -> io::Result<Self> {
        let cgroup = File::open(cgroup)?;
        let (output, writer) = io::pipe()?;
        let plan = Plan {
            options: CString::new(overlay_options)?,
            root: CString::new(root.as_os_str().as_bytes())?,
            payload: CString::new(payload.as_os_str().as_bytes())?,
            output: writer.as_raw_fd(),
        };
        let mut pidfd: RawFd = -1;
        // SAFETY: all zeros is a valid clone_args: no flags, no stack.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.flags = unsigned(NAMESPACES | libc::CLONE_PIDFD) | CLONE_INTO_CGROUP;
        arguments.pidfd = &raw mut pidfd as u64;
        arguments.exit_signal = unsigned(libc::SIGCHLD);
        arguments.cgroup = unsigned(cgroup.as_raw_fd());
        // SAFETY: the arguments are live and of the size given; without CLONE_VM this is a fork, and the
        // child only runs `become_payload`, which never returns.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw mut arguments,
                size_of::<libc::clone_args>(),
            )
        };
        match pid {
            0 => become_payload(&plan),
            1.. => Ok(Self {
                // SAFETY: the kernel has just put a new descriptor there, which nobody else knows.
                process: unsafe { OwnedFd::from_raw_fd(pidfd) },
                output: OwnedFd::from(output).into(),
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// All it prints, up to its end.
    pub(crate) fn output(&self) -> io::Result<String> {
        let mut text = String::new();
        (&self.output).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Its exit code, once it has ended.
    pub(crate) fn wait(self) -> io::Result<c_int> {
        // SAFETY: all zeros is a valid siginfo_t, and waitid fills in what it promises.
        let (result, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let process = self.process.as_raw_fd().unsigned_abs();
            (
                libc::waitid(libc::P_PIDFD, process, &raw mut info, libc::WEXITED),
                info,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: waitid succeeded, so the status is there.
        Ok(unsafe { info.si_status() })
    }
}

/// CLOCK_BOOTTIME, nanoseconds.
pub(crate) fn boot_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is live; the clock exists on every kernel this runs on.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0)
}

/// Flags and descriptors are never negative.
fn unsigned(value: c_int) -> u64 {
    u64::from(value.unsigned_abs())
}

fn become_payload(plan: &Plan) -> ! {
    let argv = [plan.payload.as_ptr(), ptr::null()];
    let environment = [ptr::null()];
    let here = c".".as_ptr();
    // SAFETY: system calls only, on strings that the plan keeps alive; arrays end in null.
    unsafe {
        let must = |step: c_int, result: c_long| {
            if result < 0 {
                libc::_exit(FAILED_STEP + step);
            }
        };
        let private = libc::MS_REC | libc::MS_PRIVATE;
        let none = ptr::null();
        must(
            1,
            libc::mount(none, c"/".as_ptr(), none, private, ptr::null()).into(),
        );
        let overlay = c"overlay".as_ptr();
        let root = plan.root.as_ptr();
        must(
            2,
            libc::mount(overlay, root, overlay, 0, plan.options.as_ptr().cast()).into(),
        );
        must(3, libc::chdir(root).into());
        must(4, libc::syscall(libc::SYS_pivot_root, here, here));
        must(5, libc::umount2(here, libc::MNT_DETACH).into());
        must(6, libc::dup2(plan.output, libc::STDOUT_FILENO).into());
        libc::execve(argv[0], argv.as_ptr(), environment.as_ptr());
        libc::_exit(FAILED_STEP);
    }
}
