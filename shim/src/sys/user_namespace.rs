//! A user namespace to be referred to: nobody ever runs in it.
//!
//! ```text
//!  clone3(new user namespace) ─► holder, which sleeps
//!  /proc/<holder>/{uid,gid}_map ◄── the map        /proc/<holder>/ns/user ──► descriptor        holder killed
//! ```
//!
//! The kernel makes such a namespace only together with a process, and keeps it as long as its descriptor.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{checked, pidfd_signal};

/// A user namespace that has these ids, as lines of user_namespaces(7), for users and for groups.
///
/// # Errors
/// As of clone3(2) and user_namespaces(7): `ENOSPC` where the host allows no more of them (`user.max_user_namespaces`).
pub(crate) fn user_namespace(map: &str) -> io::Result<OwnedFd> {
    let holder = Holder::start()?;
    let proc = format!("/proc/{}", holder.pid);
    for ids in ["uid_map", "gid_map"] {
        fs::write(format!("{proc}/{ids}"), map)?;
    }
    fs::File::open(format!("{proc}/ns/user")).map(OwnedFd::from)
}

/// A process that sleeps in a new user namespace, until it is dropped.
struct Holder {
    pid: libc::c_long,
    pidfd: OwnedFd,
}

impl Holder {
    fn start() -> io::Result<Self> {
        let mut pidfd: RawFd = -1;
        let flags = libc::CLONE_NEWUSER | libc::CLONE_PIDFD;
        // No signal at its end, so that whoever waits for any child is not told of this one.
        // SAFETY: `clone_args` is plain numbers, of which zero is "nothing asked for".
        let mut asked: libc::clone_args = unsafe { std::mem::zeroed() };
        asked.flags = u64::try_from(flags).map_err(io::Error::other)?;
        asked.pidfd = (&raw mut pidfd).expose_provenance() as u64;
        let parent = std::process::id();
        // SAFETY: without CLONE_VM the child has a copy of everything, on a copy of this stack, and returns here; it
        // goes no further than `sleep`. The kernel writes one descriptor to `pidfd`, before the call returns.
        let pid = checked(unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw const asked,
                size_of::<libc::clone_args>(),
            )
        })?;
        if pid == 0 {
            sleep(parent);
        }
        // SAFETY: the kernel has just returned this descriptor; nothing else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Self { pid, pidfd })
    }
}

/// What the child does for as long as `parent` wants it.
fn sleep(parent: u32) -> ! {
    // SAFETY: these calls are async-signal-safe and touch no memory: the child of a process with more than one thread
    // may make them.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The parent may have died before the call above took effect.
        while libc::getppid().cast_unsigned() == parent {
            libc::pause();
        }
        libc::_exit(0)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Err(errno) = pidfd_signal(&self.pidfd, libc::SIGKILL) {
            log::warn!("cannot end the holder of a user namespace: {errno}");
            return;
        }
        let fd = self.pidfd.as_raw_fd().cast_unsigned();
        // SAFETY: a null siginfo asks for no details. It was killed: the wait is short.
        unsafe {
            libc::waitid(
                libc::P_PIDFD,
                fd,
                std::ptr::null_mut(),
                libc::WEXITED | libc::__WALL,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_ids_are_those_asked_for_and_its_holder_is_gone() {
        let children = || {
            let task = fs::read_to_string("/proc/thread-self/children").unwrap();
            task.split_whitespace().count()
        };
        let before = children();
        match user_namespace("0 1879048192 65536") {
            Ok(namespace) => {
                let own = fs::read_link("/proc/self/ns/user").unwrap();
                let path = format!("/proc/self/fd/{}", namespace.as_raw_fd());
                let its = fs::read_link(path).unwrap();
                assert!(its.to_str().unwrap().starts_with("user:["), "{its:?}");
                assert_ne!(its, own);
            }
            // Whoever is not root may map nobody but himself.
            Err(error) => {
                let root = rustix::process::geteuid().is_root();
                assert!(!root, "{error}");
            }
        }
        assert_eq!(children(), before);
        assert!(user_namespace("0 1 0").is_err(), "no ids at all");
    }
}
