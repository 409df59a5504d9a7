//! The job's own input and terminal, which the shim holds for consoles that come and go.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use tokio::sync::watch;

use super::streams::Polled;
use super::taps::Taps;
use crate::lock;
use crate::polled::polled;

/// What consoles have of a job.
pub(crate) struct JobStreams {
    pub(crate) taps: Arc<Taps>,
    wanted: Wanted,
    /// What the job reads: a pipe, or its terminal. Closed for good when a console says so.
    input: Mutex<Option<Polled>>,
    /// Which console has the input: the last one that wanted it.
    holder: watch::Sender<u64>,
}

/// What the run was submitted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
}

/// The input, as long as nobody else wants it.
pub(crate) struct Hold {
    number: u64,
    holder: watch::Receiver<u64>,
}

impl Hold {
    /// Returns when somebody else has it.
    pub(crate) async fn taken_over(&mut self) {
        let number = self.number;
        if self
            .holder
            .wait_for(|holder| *holder != number)
            .await
            .is_err()
        {
            // The run goes, and with it this console.
            std::future::pending::<()>().await;
        }
    }
}

impl JobStreams {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self {
            taps: Arc::new(Taps::new(wanted.tty)),
            wanted,
            input: Mutex::new(None),
            holder: watch::Sender::new(0),
        }
    }

    pub(crate) const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The shim's end of what the job reads; its terminal has one even where nobody may type.
    pub(crate) fn keep_input(&self, end: OwnedFd) -> Result<(), Errno> {
        rustix::io::ioctl_fionbio(&end, true)?;
        let end = polled(end).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        *lock(&self.input) = Some(Arc::new(end));
        Ok(())
    }

    /// The terminal's master, kept for typing and for its size; the same for the log.
    pub(crate) fn keep_terminal(&self, master: OwnedFd) -> Result<OwnedFd, Errno> {
        let read = rustix::io::fcntl_dupfd_cloexec(master.as_fd(), 0)?;
        self.keep_input(master)?;
        Ok(read)
    }

    /// Of a job with one.
    pub(crate) fn terminal(&self) -> Option<Polled> {
        lock(&self.input).clone().filter(|_| self.wanted.tty)
    }

    /// The input for one console, in the place of who had it; `None` if it was closed.
    pub(crate) fn take_input(&self) -> Option<(Polled, Hold)> {
        let input = lock(&self.input).clone()?;
        self.holder.send_modify(|holder| *holder += 1);
        let mut holder = self.holder.subscribe();
        let number = *holder.borrow_and_update();
        Some((input, Hold { number, holder }))
    }

    /// The job is to read the end of its input once whoever has it has written what was typed before.
    pub(crate) fn close_input(&self) {
        lock(&self.input).take();
    }
}
