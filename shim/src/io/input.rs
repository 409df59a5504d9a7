//! Standard input: from the client's FIFO into the container's pipe or terminal, from Start until EOF.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use super::{IoError, failed, fifo};
use crate::polled::{polled, read, write};

/// Bytes copied at once, only for processes that have an input.
const COPY_BYTES: usize = 16 * 1024;

/// Where input goes.
pub(super) enum Sink {
    /// The container's stdin: closed at EOF.
    Pipe(OwnedFd),
    /// A terminal: EOF is nothing it could be told.
    Console(Arc<AsyncFd<OwnedFd>>),
}

/// The input of one process; dropping it ends the copy.
pub(super) struct Input {
    path: PathBuf,
    /// Until the start.
    sink: Option<Sink>,
    /// Write end of the client's FIFO: as long as it is open there is no EOF.
    hold: Option<OwnedFd>,
    /// CloseIO has been called.
    closed: bool,
    copy: Option<JoinHandle<()>>,
}

impl Input {
    pub(super) fn new(path: &str, sink: Sink) -> Self {
        Self {
            path: Path::new(path).to_owned(),
            sink: Some(sink),
            hold: None,
            closed: false,
            copy: None,
        }
    }

    /// Opens the FIFO and begins to copy; once.
    pub(super) fn start(&mut self) -> Result<(), IoError> {
        let Some(sink) = self.sink.take() else {
            return Ok(());
        };
        let wrong = || failed("watch", self.path.display().to_string());
        let (read_end, hold) = fifo::open_input(&self.path)?;
        if !self.closed {
            self.hold = Some(hold);
        }
        let source = polled(read_end).map_err(wrong())?;
        let sink = match sink {
            Sink::Pipe(pipe) => {
                rustix::io::ioctl_fionbio(&pipe, true).map_err(|errno| wrong()(errno.into()))?;
                Arc::new(polled(pipe).map_err(wrong())?)
            }
            Sink::Console(master) => master,
        };
        self.copy = Some(tokio::spawn(copy(source, sink)));
        Ok(())
    }

    /// Lets EOF through as soon as the client has closed its end too.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.hold = None;
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy {
            copy.abort();
        }
    }
}

/// Ends, and with it closes a pipe, at EOF or when nobody reads any more.
async fn copy(source: AsyncFd<OwnedFd>, sink: Arc<AsyncFd<OwnedFd>>) {
    let mut buffer = vec![0; COPY_BYTES];
    while let Ok(count) = read(&source, &mut buffer).await {
        let mut rest = &buffer[..count];
        if rest.is_empty() {
            return;
        }
        while !rest.is_empty() {
            match write(&sink, rest).await {
                Ok(written) => rest = &rest[written..],
                Err(error) => {
                    log::debug!("input ended: {error}");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::io::Write;
    use std::time::Duration;

    #[tokio::test(flavor = "current_thread")]
    async fn eof_needs_the_client_and_close_io() {
        let dir = tempfile::tempdir().unwrap();
        let path = fifo::tests::make(dir.path());
        let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let mut input = Input::new(path.to_str().unwrap(), Sink::Pipe(write_end));
        input.start().unwrap();
        let mut client = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let container = polled(read_end).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read(&container, &mut buffer).await.unwrap(), 5);
        let early = tokio::time::timeout(Duration::from_millis(50), read(&container, &mut buffer));
        assert!(early.await.is_err(), "EOF before CloseIO");
        input.close();
        assert_eq!(read(&container, &mut buffer).await.unwrap(), 0);
    }
}
