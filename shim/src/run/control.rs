//! `shim.sock`: the executor's line to its run, independent of containerd.
//!
//! One JSON request a line, one reply each, in order; see `davit_rundir::ControlRequest`. The socket is 0600 in
//! a 0700 directory: whoever may connect is root.
//!
//! Invariants: connections, line length and waiting are bounded; a client that goes away frees its place even
//! in the middle of a Wait.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;

use davit_rundir::{ControlError, ControlErrorCode, ControlReply, ControlRequest, FRAME_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::owner::Command;
use super::{Run, RunError, refused, remove_if_there};
use crate::error::chain;

/// Connections at a time; the executor needs one or two.
const CONNECTIONS_MAX: usize = 16;

/// Longest request, bytes, newline included. Replies may be up to [`FRAME_BYTES_MAX`].
const REQUEST_BYTES_MAX: usize = 4096;

/// Listens on the run's socket until the shim ends.
pub(super) fn serve(run: Run) -> Result<(), RunError> {
    let listener = bind(&run)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        loop {
            // The place first: a connection too many waits in the socket's backlog.
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let run = run.clone();
                    tokio::spawn(async move {
                        if let Err(error) = Connection::new(run, stream).serve().await {
                            log::debug!("control connection: {error}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    log::error!("control socket: {error}");
                    return;
                }
            }
        }
    });
    Ok(())
}

/// Binds below the open directory: the path itself may be longer than a socket address holds.
fn bind(run: &Run) -> Result<UnixListener, RunError> {
    let path = run.shared.dir.socket_path();
    let failed = |operation| {
        let path = path.clone();
        move |source: io::Error| RunError::Io {
            operation,
            path,
            source,
        }
    };
    let dir: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(run.dir())
        .map_err(failed("open the directory of"))?;
    remove_if_there(&path);
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    short.push(path.file_name().unwrap_or_default());
    let listener = StdListener::bind(&short).map_err(failed("listen on"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed("restrict"))?;
    listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(failed("watch"))
}

struct Connection {
    run: Run,
    stream: UnixStream,
    /// Read and not yet answered.
    buffer: Vec<u8>,
}

impl Connection {
    const fn new(run: Run, stream: UnixStream) -> Self {
        Self {
            run,
            stream,
            buffer: Vec::new(),
        }
    }

    async fn serve(mut self) -> io::Result<()> {
        while let Some(line) = self.next_line().await? {
            let reply = match serde_json::from_slice(&line) {
                Ok(ControlRequest::Wait) => match self.wait().await? {
                    Some(reply) => reply,
                    None => return Ok(()),
                },
                Ok(request) => self.run.control(request).await,
                Err(error) => ControlReply::Error(ControlError {
                    code: ControlErrorCode::Malformed,
                    message: error.to_string(),
                }),
            };
            self.reply(&reply).await?;
        }
        Ok(())
    }

    /// The next line without its newline; `None` at the end.
    async fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            if self.buffer.len() >= REQUEST_BYTES_MAX {
                let error = refused(ControlErrorCode::Malformed, "the line is too long");
                self.reply(&ControlReply::Error(error)).await?;
                return Ok(None);
            }
            if !self.read_more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads what is there; false at the end of the stream. Cancel-safe.
    async fn read_more(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 512];
        let count = self.stream.read(&mut chunk).await?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// Waits for the end of the run, or of the client (`None`).
    async fn wait(&mut self) -> io::Result<Option<ControlReply>> {
        let mut end = self.run.shared.end.subscribe();
        loop {
            let room = self.buffer.len() < REQUEST_BYTES_MAX;
            tokio::select! {
                over = end.wait_for(Option::is_some) => {
                    let record = over.ok().and_then(|end| end.clone()).flatten();
                    return Ok(Some(match record {
                        Some(record) => ControlReply::Exited(Box::new((*record).clone())),
                        None => ControlReply::Error(refused(
                            ControlErrorCode::Failed,
                            "the end of the run could not be recorded",
                        )),
                    }));
                }
                more = self.read_more(), if room => if !more? {
                    return Ok(None);
                }
            }
        }
    }

    async fn reply(&mut self, reply: &ControlReply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        debug_assert!(line.len() <= FRAME_BYTES_MAX, "PAUSES_MAX bounds a state");
        self.stream.write_all(&line).await
    }
}

impl Run {
    /// Any request but Wait.
    async fn control(&self, request: ControlRequest) -> ControlReply {
        let result = match request {
            ControlRequest::State | ControlRequest::Wait => self.shared.state().ok_or_else(|| {
                refused(ControlErrorCode::NotRunning, "the container is not created")
            }),
            ControlRequest::Pause => self.ask(Command::Pause).await,
            ControlRequest::Resume => self.ask(Command::Resume).await,
            ControlRequest::Stop { signal, grace_ms } => {
                self.ask(|reply| Command::Stop {
                    signal,
                    grace_ms,
                    reply,
                })
                .await
            }
            ControlRequest::Cancel => {
                self.ask(|reply| Command::Stop {
                    signal: None,
                    grace_ms: 0,
                    reply,
                })
                .await
            }
            ControlRequest::Extend { timeout_ms } => {
                self.ask(|reply| Command::Extend { timeout_ms, reply })
                    .await
            }
        };
        match result {
            Ok(state) => ControlReply::State(Box::new(state)),
            Err(error) => {
                log::info!("control request refused: {}", chain(&error));
                ControlReply::Error(error)
            }
        }
    }
}
