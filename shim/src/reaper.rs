//! Children: every process that becomes ours is reaped once, by its owner, and nobody else's is lost.
//!
//! ```text
//!  spawn ─► runtime command ─┐
//!                            ├─ adopt() ─► Child: pidfd readable ─► waitid(P_PIDFD) ─► Exit
//!  pid file ─► init, exec ───┘
//!  SIGCHLD ─► sweep(): strangers reparented to us (we are the subreaper) are reaped and forgotten
//! ```
//!
//! Invariants:
//! - a known child is reaped only through its own pidfd: no exit can be stolen;
//! - between a runtime command's start and the adoption of the process it made (a *birth*) no stranger is
//!   reaped: an init that dies at once stays a zombie, so its pid cannot be reused and its status is kept;
//! - signals go through the pidfd only.
//!
//! Absent on purpose: waiting for pid -1, and any table of exit statuses.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use davit_rundir::Stamp;
use davit_types::ExitStatus;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::lock;
use crate::polled::polled;
use crate::sys::{self, Reaped, Which};

/// Why a process could not be taken over or signalled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot open a pidfd of process {pid}")]
    Pidfd {
        pid: i32,
        #[source]
        source: Errno,
    },
    #[error("cannot watch process {pid}")]
    Watch {
        pid: i32,
        #[source]
        source: std::io::Error,
    },
    #[error("process {pid} is no child of the shim")]
    NotOurs { pid: i32 },
}

/// How and when a process ended. The time is that of reaping, at most a loop turn after the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) at: Stamp,
}

#[derive(Default)]
struct Known {
    pids: HashSet<i32>,
    births: usize,
}

/// The one owner of `waitid`.
#[derive(Clone, Default)]
pub(crate) struct Reaper(Arc<Mutex<Known>>);

impl Reaper {
    /// Says that an unknown child may appear that somebody is about to adopt; ends with the guard.
    pub(crate) fn expect_birth(&self) -> Birth {
        lock(&self.0).births += 1;
        Birth(self.clone())
    }

    /// Takes responsibility for a child of ours. Only during a [`Birth`], or for a pid just spawned.
    pub(crate) fn adopt(&self, pid: i32) -> Result<Child, ChildError> {
        let open = |source| ChildError::Pidfd { pid, source };
        let raw = Pid::from_raw(pid).ok_or(open(Errno::INVAL))?;
        let pidfd = Arc::new(pidfd_open(raw, PidfdFlags::NONBLOCK).map_err(open)?);
        let watch = polled(pidfd.clone()).map_err(|source| ChildError::Watch { pid, source })?;
        lock(&self.0).pids.insert(pid);
        Ok(Child {
            handle: ProcessHandle { pid, pidfd },
            watch,
            reaper: self.clone(),
        })
    }

    /// Reaps strangers that have ended. Called on SIGCHLD and whenever a reason to hold back has gone.
    pub(crate) fn sweep(&self) {
        let known = lock(&self.0);
        if known.births > 0 {
            return;
        }
        // The kernel shows one zombie at a time: behind a known one its owner's reaping calls again.
        while let Ok(Some(ended)) = sys::wait_ended(Which::PeekAny) {
            if known.pids.contains(&ended.pid) {
                return;
            }
            log::debug!("reaped stranger {}", ended.pid);
            if sys::wait_ended(Which::Pid(ended.pid)).is_err() {
                return;
            }
        }
    }
}

/// Keeps strangers from being reaped; see [`Reaper::expect_birth`].
pub(crate) struct Birth(Reaper);

impl Drop for Birth {
    fn drop(&mut self) {
        lock(&self.0.0).births -= 1;
        self.0.sweep();
    }
}

/// A process that can be signalled without ever hitting another one that got its pid.
#[derive(Clone, Debug)]
pub(crate) struct ProcessHandle {
    pub(crate) pid: i32,
    pidfd: Arc<OwnedFd>,
}

impl ProcessHandle {
    /// Sends a signal; `ESRCH` if the process has ended.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Errno> {
        sys::pidfd_signal(&self.pidfd, signal)
    }

    /// The process itself, whoever gets its number.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// A child whose exit the holder of this value will report.
pub(crate) struct Child {
    pub(crate) handle: ProcessHandle,
    watch: AsyncFd<Arc<OwnedFd>>,
    reaper: Reaper,
}

impl Child {
    /// Waits for the end and reaps.
    pub(crate) async fn wait(self) -> Result<Exit, ChildError> {
        let pid = self.handle.pid;
        loop {
            // The first look needs no readiness: it also tells whether the process is ours at all.
            match sys::wait_ended(Which::Pidfd(self.watch.get_ref())) {
                Ok(Some(reaped)) => break Ok(exit_of(reaped)),
                Ok(None) => {}
                Err(Errno::INTR) => continue,
                Err(_) => break Err(ChildError::NotOurs { pid }),
            }
            match self.watch.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(source) => break Err(ChildError::Watch { pid, source }),
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Ended and reaped, or given up: then it is a stranger like any other.
        lock(&self.reaper.0).pids.remove(&self.handle.pid);
        self.reaper.sweep();
    }
}

fn exit_of(reaped: Reaped) -> Exit {
    // The kernel gives 8 bits of exit code and signals up to 64.
    let number = u8::try_from(reaped.status & 0xff).unwrap_or(u8::MAX);
    Exit {
        status: if reaped.code == libc::CLD_EXITED {
            ExitStatus::Code(number)
        } else {
            ExitStatus::Signal(number)
        },
        at: Stamp::now(),
    }
}
