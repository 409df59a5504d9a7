//! What is typed: read by a thread of its own, since a reading cannot be taken back. The thread ends with this process.

use std::io::{self, Read};

use tokio::sync::mpsc;

use super::MESSAGES_WAITING_MAX;
use crate::output::note;
use crate::terminal::{DetachKeys, Matcher};

/// Bytes read, and sent, at once.
pub(super) const READ_BYTES: usize = 32 << 10;
/// Bytes typed at a terminal that a process has not taken; what is typed beyond them is dropped, with a bell.
const TYPED_BYTES_MAX: usize = 64 << 10;
const BELL: &[u8] = b"\x07";

/// From the thread.
enum Typed {
    Bytes(Vec<u8>),
    /// The end, or the keys that leave.
    End,
}

/// Standard input.
pub(super) struct Typing {
    typed: mpsc::Receiver<Typed>,
    pending: Vec<u8>,
    has_ended: bool,
    terminal: bool,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    Bytes,
    /// The user leaves.
    Detach,
    /// The end of a stream; never of a terminal.
    End,
    /// More than is kept.
    Bell,
}

impl Typing {
    /// Of what is no terminal, or not the process's.
    pub(super) fn of_stream() -> Self {
        Self::begin(None, false)
    }

    /// Of a raw terminal, with the keys that leave.
    pub(super) fn of_terminal(keys: Option<DetachKeys>) -> Self {
        Self::begin(keys, true)
    }

    fn begin(keys: Option<DetachKeys>, terminal: bool) -> Self {
        let (sender, typed) = mpsc::channel(MESSAGES_WAITING_MAX);
        std::thread::spawn(move || read(&sender, keys.map(Matcher::new)));
        Self {
            typed,
            pending: Vec::new(),
            has_ended: false,
            terminal,
        }
    }

    /// Whether more may be read: of a stream when the process has taken the last of it, of a terminal always.
    pub(super) fn is_wanted(&self) -> bool {
        !self.has_ended && (self.terminal || self.pending.is_empty())
    }

    /// The next. May be given up and called again.
    pub(super) async fn next(&mut self) -> Came {
        match self.typed.recv().await {
            Some(Typed::Bytes(bytes))
                if self.terminal && self.pending.len() + bytes.len() > TYPED_BYTES_MAX =>
            {
                Came::Bell
            }
            Some(Typed::Bytes(bytes)) => {
                self.pending.extend(bytes);
                Came::Bytes
            }
            Some(Typed::End) | None => {
                self.has_ended = true;
                match self.terminal {
                    true => Came::Detach,
                    false => Came::End,
                }
            }
        }
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// What is to be sent next.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let rest = self.pending.split_off(self.pending.len().min(READ_BYTES));
        std::mem::replace(&mut self.pending, rest)
    }

    /// A stream that has ended: the process is to hear so, once for each line.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended && !self.terminal
    }
}

/// Rings our terminal's bell.
pub(super) fn ring() {
    use io::Write;
    // Nobody is there to hear it, else.
    io::stderr().write_all(BELL).unwrap_or_default();
}

/// Until its end, or until nobody wants it.
fn read(typed: &mpsc::Sender<Typed>, mut keys: Option<Matcher>) {
    let mut buffer = vec![0; READ_BYTES];
    let mut stdin = io::stdin();
    loop {
        let count = match stdin.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                note(&format!("cannot read standard input: {error}"));
                0
            }
        };
        let mut bytes = Vec::with_capacity(count);
        let left = match &mut keys {
            Some(keys) => keys.push(&buffer[..count], &mut bytes),
            None => {
                bytes.extend_from_slice(&buffer[..count]);
                false
            }
        };
        if !bytes.is_empty() && typed.blocking_send(Typed::Bytes(bytes)).is_err() {
            return;
        }
        if count == 0 || left {
            // Nobody who listens is gone already.
            drop(typed.blocking_send(Typed::End));
            return;
        }
    }
}
