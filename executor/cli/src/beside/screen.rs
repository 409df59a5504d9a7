//! Where a process's output is shown, and what of it was.

use std::io::{self, Write};

use davit_rpc::console::console_output::Output;

use super::Shown;
use crate::error::CliError;

/// Bytes of a terminal's output that are sent once more to who comes again.
const REPLAY_BYTES_MAX: usize = 16 << 10;

/// Our standard output and error.
#[derive(Debug, Default)]
pub(super) struct Screen {
    shows: bool,
    /// The last of what was shown.
    tail: Vec<u8>,
    /// The next output begins with what was shown already.
    again: bool,
    /// It began in the middle of the job's output, where that was wanted.
    later: bool,
    /// Something before the last byte shown was not.
    holes: bool,
}

impl Screen {
    /// One that shows, or leaves that to others.
    pub(super) fn new(shows: bool) -> Self {
        Self {
            shows,
            ..Self::default()
        }
    }

    /// The line is another one, to the same terminal.
    pub(super) fn begin_again(&mut self) {
        self.again = !self.tail.is_empty();
    }

    /// One that begins with whatever is sent.
    pub(super) fn begin_later(&mut self) {
        self.later = true;
    }

    /// What is to be said of it in the end: whether that was shown, and all before it.
    pub(super) fn shown(&self, to_the_end: bool, dropped: bool) -> Shown {
        match (self.holes || dropped, to_the_end) {
            (false, true) => Shown::Whole,
            (false, false) if self.tail.is_empty() => Shown::Nothing,
            _ => Shown::Holes,
        }
    }

    pub(super) fn show(&mut self, output: &Output) -> Result<(), CliError> {
        if !self.shows {
            return Ok(());
        }
        match output {
            Output::Stdout(bytes) => {
                let new = self.new_of(bytes);
                print(&mut io::stdout(), new)
            }
            Output::Stderr(bytes) => print(&mut io::stderr(), bytes),
            Output::Opened(_) | Output::Ended(_) => Ok(()),
        }
    }

    /// What of `bytes` was not shown before. The first of a line is one piece with all that is sent again.
    fn new_of<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let is_cut = bytes.len() >= REPLAY_BYTES_MAX;
        let from = match std::mem::take(&mut self.again) {
            true => {
                let repeated = repeated(&self.tail, bytes);
                self.holes |= repeated == 0;
                repeated
            }
            false => {
                self.holes |= self.tail.is_empty() && is_cut && !self.later;
                0
            }
        };
        let new = &bytes[from..];
        self.remember(new);
        new
    }

    fn remember(&mut self, new: &[u8]) {
        self.tail.extend_from_slice(new);
        let surplus = self.tail.len().saturating_sub(REPLAY_BYTES_MAX);
        self.tail.drain(..surplus);
    }
}

/// How many bytes of `replay`, which begins somewhere in what was shown, `tail` ends with.
fn repeated(tail: &[u8], replay: &[u8]) -> usize {
    let most = tail.len().min(replay.len());
    let known = |length: &usize| tail.ends_with(&replay[..*length]);
    (0..=most).rev().find(known).unwrap_or_default()
}

fn print(stream: &mut impl Write, bytes: &[u8]) -> Result<(), CliError> {
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(CliError::io("write the process's output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_before_a_break_is_not_shown_again() {
        assert_eq!(repeated(b"one two", b"one two three"), 7);
        assert_eq!(repeated(b"zero one two", b"one two three"), 7);
        // All of it is new: more was written meanwhile than is sent again.
        assert_eq!(repeated(b"one", b"two"), 0);
        assert_eq!(repeated(b"one", b"one"), 3);
        let mut screen = Screen::new(true);
        screen.remember(&vec![1; 3 * REPLAY_BYTES_MAX]);
        screen.remember(b"end");
        assert_eq!(screen.tail.len(), REPLAY_BYTES_MAX);
        assert!(screen.tail.ends_with(b"\x01end"));
    }

    #[test]
    fn what_was_not_shown_is_known() {
        let mut screen = Screen::new(true);
        assert_eq!(screen.shown(false, false), Shown::Nothing);
        assert_eq!(screen.new_of(b"one "), b"one ");
        assert_eq!(screen.shown(true, false), Shown::Whole);
        assert_eq!(screen.shown(true, true), Shown::Holes);
        screen.begin_again();
        assert_eq!(screen.new_of(b"one two "), b"two ");
        assert_eq!(screen.new_of(b"one two "), b"one two ");
        assert_eq!(screen.shown(false, false), Shown::Holes);
        screen.begin_again();
        assert_eq!(screen.new_of(b"something else"), b"something else");
        assert_eq!(screen.shown(true, false), Shown::Holes);

        let mut late = Screen::new(true);
        late.new_of(&[1; REPLAY_BYTES_MAX]);
        assert_eq!(late.shown(true, false), Shown::Holes);
        let mut later = Screen::new(true);
        later.begin_later();
        later.new_of(&[1; REPLAY_BYTES_MAX]);
        assert_eq!(later.shown(true, false), Shown::Whole);
        assert_eq!(later.shown(false, false), Shown::Holes);
    }
}
