//! Cuts a stream of bytes into lines without copying what arrives whole.

use super::LINE_BYTES_MAX;

/// One stream's splitter. Holds the unfinished line, never more than [`LINE_BYTES_MAX`] bytes;
/// lines that arrive whole in one push are handed on where they lie.
///
/// Every call to `emit` is `(line, newline, partial)`: `newline` if the stream had `\n` after it,
/// `partial` if the line goes on in the next call.
#[derive(Debug, Default)]
pub struct LineSplitter {
    pending: Vec<u8>,
}

impl LineSplitter {
    /// A splitter at the start of a line.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pending: Vec::new(),
        }
    }

    /// Takes the next bytes of the stream and emits every line that is complete, or too long to
    /// wait for its end.
    pub fn push(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8], bool, bool)) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.pending.len();
            // A newline right after a full line still belongs to it: look one byte further.
            let window = &bytes[..bytes.len().min(room + 1)];
            let (taken, newline) = match find_newline(window) {
                Some(at) => (at, true),
                None if window.len() > room => (room, false),
                None => {
                    self.pending.extend_from_slice(bytes);
                    return;
                }
            };
            if self.pending.is_empty() {
                emit(&bytes[..taken], newline, !newline);
            } else {
                self.pending.extend_from_slice(&bytes[..taken]);
                emit(&self.pending, newline, !newline);
                self.pending.clear();
            }
            bytes = &bytes[taken + usize::from(newline)..];
        }
    }

    /// Emits the unfinished line as `partial`, for a stream that has gone quiet, say after a prompt.
    pub fn flush(&mut self, mut emit: impl FnMut(&[u8], bool, bool)) {
        if !self.pending.is_empty() {
            emit(&self.pending, false, true);
            self.pending.clear();
        }
    }

    /// Emits the last line if the stream ended without a newline.
    pub fn finish(self, mut emit: impl FnMut(&[u8], bool, bool)) {
        if !self.pending.is_empty() {
            emit(&self.pending, false, false);
        }
    }

    /// Bytes of the unfinished line held back, at most [`LINE_BYTES_MAX`].
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }
}

/// The first newline in `bytes`.
fn find_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}
