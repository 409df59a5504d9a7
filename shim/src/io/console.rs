//! Terminals: receiving a pty's master from the OCI runtime, and copying between it and the client's streams.
//!
//! ```text
//!  runtime ──SCM_RIGHTS──► ConsoleSocket ──► Console ── master ─► stdout   until EIO: no tail is lost
//!                                            Input   ── stdin  ─► master   until EOF: never hangs up
//! ```

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::{IoError, failed};
use crate::polled::{polled, read, write};

/// Bytes copied at once.
const COPY_BYTES: usize = 16 * 1024;

/// How long Delete waits for output that nobody reads, or for a child that keeps the terminal open.
const DRAIN_SECONDS_MAX: u64 = 10;

/// Where the runtime connects to hand over the master. Its path must be short (107 bytes), a bundle's
/// is not, hence the directory of the shim sockets.
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// A fresh socket in `dir`.
    pub(crate) fn bind(dir: &Path) -> Result<Self, IoError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("tty-{}-{number}", std::process::id()));
        let shown = path.display().to_string();
        let listener = UnixListener::bind(&path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(failed("listen on", shown))?;
        Ok(Self { listener, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The master the runtime has sent; to be called after the runtime's command has succeeded, so
    /// that there is nothing left to wait for.
    pub(crate) fn receive(self) -> Result<OwnedFd, IoError> {
        let (connection, _) = self.listener.accept().map_err(|_| IoError::NoConsole)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        recvmsg(
            &connection,
            &mut [io::IoSliceMut::new(&mut name)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(|errno| failed("receive", "the console")(errno.into()))?;
        control
            .drain()
            .find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            })
            .ok_or(IoError::NoConsole)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// A stream to copy to. Regular files are always ready and unknown to epoll.
enum End {
    Polled(AsyncFd<OwnedFd>),
    Plain(OwnedFd),
}

impl End {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        if kind == rustix::fs::FileType::RegularFile {
            return Ok(Self::Plain(fd));
        }
        set_nonblocking(&fd)?;
        polled(fd).map(Self::Polled)
    }

    async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = match self {
                Self::Plain(fd) => rustix::io::write(fd, rest)?,
                Self::Polled(fd) => write(fd, rest).await?,
            };
            rest = &rest[written..];
        }
        Ok(())
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

/// A live terminal.
pub(super) struct Console {
    master: Arc<AsyncFd<OwnedFd>>,
    output: JoinHandle<()>,
}

impl Console {
    /// Begins to copy; without `output` what the terminal says is read and dropped.
    pub(super) fn copy(master: OwnedFd, output: Option<OwnedFd>) -> Result<Self, IoError> {
        let wrong = || failed("watch", "the terminal");
        set_nonblocking(&master).map_err(wrong())?;
        let master = Arc::new(polled(master).map_err(wrong())?);
        let output = output.map(End::new).transpose().map_err(wrong())?;
        Ok(Self {
            output: tokio::spawn(copy_output(master.clone(), output)),
            master,
        })
    }

    /// The shim's side of the terminal.
    pub(super) fn master(&self) -> Arc<AsyncFd<OwnedFd>> {
        self.master.clone()
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = rustix::termios::Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(self.master.get_ref(), size)?)
    }

    /// Waits until all output has been passed on, within [`DRAIN_SECONDS_MAX`], and stops copying.
    pub(super) async fn drained(mut self) {
        let bound = Duration::from_secs(DRAIN_SECONDS_MAX);
        if tokio::time::timeout(bound, &mut self.output).await.is_err() {
            log::warn!("terminal output was not drained within {DRAIN_SECONDS_MAX} s");
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.output.abort();
    }
}

async fn copy_output(master: Arc<AsyncFd<OwnedFd>>, output: Option<End>) {
    let mut buffer = vec![0; COPY_BYTES];
    let mut output = output;
    loop {
        let count = match read(&master, &mut buffer).await {
            Ok(0) => return,
            Ok(count) => count,
            // EIO: the last process has closed its side, and everything it wrote has been read.
            Err(error) => {
                if error.raw_os_error() != Some(Errno::IO.raw_os_error()) {
                    log::warn!("terminal output ended: {error}");
                }
                return;
            }
        };
        if let Some(end) = &output
            && let Err(error) = end.write_all(&buffer[..count]).await
        {
            // Go on reading: a broken reader must not block the program on its terminal.
            log::warn!("terminal output is dropped from now on: {error}");
            output = None;
        }
    }
}
