//! The ends that a console holds of its process's streams: an input with what the process has not taken, and outputs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use davit_rundir::{CONSOLE_DATA_BYTES_MAX, CONSOLE_WINDOW_BYTES, ConsoleFrame, ConsoleWindow};
use rustix::io::Errno;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::polled::write;

/// A descriptor on the event loop.
pub(crate) type Polled = Arc<AsyncFd<OwnedFd>>;

/// What a process reads.
#[derive(Default)]
pub(crate) struct Input {
    /// `None` when it is closed, or never was.
    sink: Option<Polled>,
    pending: Vec<u8>,
    ends: bool,
}

impl Input {
    pub(crate) fn new(sink: Option<Polled>) -> Self {
        Self {
            sink,
            ..Self::default()
        }
    }

    pub(crate) const fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes what the client sent; false if that is more than it may.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let fits = self.pending.len() + bytes.len() <= CONSOLE_WINDOW_BYTES && !self.ends;
        if fits {
            self.pending.extend_from_slice(bytes);
        }
        fits
    }

    /// Nothing follows what was pushed.
    pub(crate) fn end(&mut self) {
        self.ends = true;
        self.close_if_over();
    }

    /// Hands some of it to the process; how much is taken from the client again. Cancel-safe.
    pub(crate) async fn write_some(&mut self) -> u32 {
        let taken = match &self.sink {
            Some(sink) => write(sink, &self.pending).await,
            // Nobody reads it: as with a pipe, whose reader is gone, nothing is left to wait for.
            None => Ok(self.pending.len()),
        };
        let taken = taken.unwrap_or_else(|error| {
            log::debug!("a console's input ended: {error}");
            self.sink = None;
            self.pending.len()
        });
        self.pending.drain(..taken);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        self.close_if_over();
        // Never more than the window.
        u32::try_from(taken).unwrap_or(u32::MAX)
    }

    fn close_if_over(&mut self) {
        if self.ends && self.pending.is_empty() {
            self.sink = None;
        }
    }
}

/// What a process writes.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) stdout: Option<Polled>,
    pub(crate) stderr: Option<Polled>,
}

impl Outputs {
    /// Whether the process, and everybody who has its streams, has closed them.
    pub(crate) const fn are_over(&self) -> bool {
        self.stdout.is_none() && self.stderr.is_none()
    }

    /// What was written next; `None` if it has to be asked again. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<ConsoleFrame> {
        let mut bytes = Vec::new();
        let (is_stdout, read) = {
            let (is_stdout, mut ready) = tokio::select! {
                ready = readable(self.stdout.as_ref()) => (true, ready),
                ready = readable(self.stderr.as_ref()) => (false, ready),
            };
            let read = match &mut ready {
                Ok(ready) => ready.try_io(|fd| {
                    bytes.reserve_exact(CONSOLE_DATA_BYTES_MAX);
                    let space = rustix::buffer::spare_capacity(&mut bytes);
                    Ok(rustix::io::read(fd.get_ref(), space)?)
                }),
                Err(error) => Ok(Err(io::Error::new(error.kind(), error.to_string()))),
            };
            (is_stdout, read)
        };
        let over = match read {
            Ok(Ok(count)) => count == 0,
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return None,
            Ok(Err(error)) => {
                // EIO: a terminal that nobody has open any more.
                if error.raw_os_error() != Some(Errno::IO.raw_os_error()) {
                    log::warn!("a console's output ended: {error}");
                }
                true
            }
            Err(_would_block) => return None,
        };
        match (over, is_stdout) {
            (true, true) => self.stdout = None,
            (true, false) => self.stderr = None,
            (false, true) => return Some(ConsoleFrame::Stdout(bytes)),
            (false, false) => return Some(ConsoleFrame::Stderr(bytes)),
        }
        None
    }
}

async fn readable(fd: Option<&Polled>) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
    match fd {
        Some(fd) => fd.readable().await,
        None => std::future::pending().await,
    }
}

/// Sets the size of a terminal.
pub(crate) fn resize(terminal: &AsyncFd<OwnedFd>, window: ConsoleWindow) {
    let size = rustix::termios::Winsize {
        ws_row: window.rows,
        ws_col: window.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    if let Err(errno) = rustix::termios::tcsetwinsize(terminal.get_ref(), size) {
        log::debug!("a terminal of {window:?}: {errno}");
    }
}
