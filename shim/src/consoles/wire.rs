//! One connection of a console: frames in, frames out, neither ever waiting for the other.

use std::io;

use davit_rundir::{CONSOLE_DATA_BYTES_MAX, CONSOLE_HEADER_BYTES, ConsoleFrame, ConsoleFrameError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes read at once, at least.
const READ_BYTES: usize = CONSOLE_DATA_BYTES_MAX + CONSOLE_HEADER_BYTES;

/// What comes from the client.
pub(crate) struct FramesIn {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

/// What goes to the client.
pub(crate) struct FramesOut {
    stream: OwnedWriteHalf,
    /// Of one frame, or a few short ones: nothing is added as long as there is data in it.
    unsent: Vec<u8>,
}

/// Both ways of `stream`, of which `buffer` was read before.
pub(crate) fn frames(stream: UnixStream, buffer: Vec<u8>) -> (FramesIn, FramesOut) {
    let (reading, writing) = stream.into_split();
    let coming = FramesIn {
        stream: reading,
        buffer,
    };
    let going = FramesOut {
        stream: writing,
        unsent: Vec::new(),
    };
    (coming, going)
}

impl FramesIn {
    /// The next frame; `None` if the client is gone. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<ConsoleFrame>> {
        loop {
            let decoded = ConsoleFrame::decode(&self.buffer);
            let wrong =
                |error: ConsoleFrameError| io::Error::new(io::ErrorKind::InvalidData, error);
            if let Some((frame, length)) = decoded.map_err(wrong)? {
                self.buffer.drain(..length);
                if self.buffer.is_empty() {
                    // A console may be quiet for days.
                    self.buffer = Vec::new();
                }
                return Ok(Some(frame));
            }
            // A frame's length was looked at: this is bounded by the longest.
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

impl FramesOut {
    /// Puts a frame behind those that were not sent.
    pub(crate) fn push(&mut self, frame: &ConsoleFrame) -> io::Result<()> {
        let wrong = |error: ConsoleFrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        frame.encode(&mut self.unsent).map_err(wrong)
    }

    pub(crate) const fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends some of it. Cancel-safe.
    pub(crate) async fn send_some(&mut self) -> io::Result<()> {
        let sent = self.stream.write(&self.unsent).await?;
        self.unsent.drain(..sent);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(())
    }

    /// Sends all of it.
    pub(crate) async fn send_all(&mut self) -> io::Result<()> {
        while self.has_unsent() {
            self.send_some().await?;
        }
        Ok(())
    }
}
