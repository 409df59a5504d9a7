//! Sockets that speak JSON, one object a line each way: listening in a directory, and bounded lines.
//!
//! A socket is 0600 in a 0700 directory: whoever may connect is root.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::files::remove_if_there;

/// Bytes read at once, at least.
const READ_BYTES: usize = 512;

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub(crate) struct ListenError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Listens at `path`, in place of whoever did before. Binds below the open directory: the path itself may be
/// longer than a socket address holds.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |operation| {
        move |source: io::Error| ListenError {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    let dir: File = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path.parent().unwrap_or(Path::new("/")))
        .map_err(failed("open the directory of"))?;
    remove_if_there(path);
    let mut short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    short.push(path.file_name().unwrap_or_default());
    let listener = StdListener::bind(&short).map_err(failed("listen on"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("restrict"))?;
    listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(failed("watch"))
}

/// What the other side said next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A line, without its newline.
    Line(Vec<u8>),
    /// More than it may without a newline.
    TooMuch,
    /// Nothing, ever again.
    End,
}

/// One connection.
pub(crate) struct Lines {
    stream: UnixStream,
    line_bytes_max: usize,
    /// Read and not yet given out; holds no newline before `searched`.
    buffer: Vec<u8>,
    searched: usize,
}

impl Lines {
    /// `line_bytes_max` counts the newline.
    pub(crate) const fn new(stream: UnixStream, line_bytes_max: usize) -> Self {
        Self {
            stream,
            line_bytes_max,
            buffer: Vec::new(),
            searched: 0,
        }
    }

    /// The connection, and what was read of it and not given out.
    pub(crate) fn into_parts(self) -> (UnixStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// The next line.
    pub(crate) async fn next(&mut self) -> io::Result<Said> {
        loop {
            let fresh = &self.buffer[self.searched..];
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at;
                if end >= self.line_bytes_max {
                    return Ok(Said::TooMuch);
                }
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                line.pop();
                return Ok(Said::Line(line));
            }
            self.searched = self.buffer.len();
            if !self.has_room() {
                return Ok(Said::TooMuch);
            }
            if !self.read_more().await? {
                return Ok(Said::End);
            }
        }
    }

    /// Whether the other side may say more before it is answered.
    pub(crate) const fn has_room(&self) -> bool {
        self.buffer.len() < self.line_bytes_max
    }

    /// Reads what is there; false at the end of the stream. Cancel-safe.
    pub(crate) async fn read_more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// Sends one object.
    pub(crate) async fn send(&mut self, object: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(object)?;
        line.push(b'\n');
        self.stream.write_all(&line).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(lines: &mut Lines) -> Said {
        lines.next().await.unwrap()
    }

    fn line(text: &str) -> Said {
        Said::Line(text.as_bytes().to_vec())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn lines_come_whole_and_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(ours, 2_000);
        theirs.write_all(b"a\n\nb").await.unwrap();
        assert_eq!(said(&mut lines).await, line("a"));
        assert_eq!(said(&mut lines).await, line(""));
        let long = "x".repeat(1_998);
        theirs
            .write_all(format!("{long}\nc\n").as_bytes())
            .await
            .unwrap();
        assert_eq!(said(&mut lines).await, line(&format!("b{long}")));
        assert_eq!(said(&mut lines).await, line("c"));
        drop(theirs);
        assert_eq!(said(&mut lines).await, Said::End);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_line_too_long_is_told_with_and_without_its_end() {
        for end in ["", "\n"] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut lines = Lines::new(ours, 10);
            let text = format!("0123456789{end}");
            theirs.write_all(text.as_bytes()).await.unwrap();
            assert_eq!(said(&mut lines).await, Said::TooMuch);
        }
    }
}
