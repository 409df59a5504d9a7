//! What is printed: JSON for programs, tables for people, notes for those who watch.

pub(crate) mod host;
pub(crate) mod log;
pub(crate) mod progress;
pub(crate) mod run;
mod security;
pub(crate) mod table;
pub(crate) mod tree;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::error::CliError;
use crate::terminal::line_end;

/// Prints `value` as indented JSON.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), CliError> {
    print_json_text(serde_json::to_vec_pretty(value))
}

/// Prints `value` as one line of JSON.
pub(crate) fn print_json_line<T: Serialize>(value: &T) -> Result<(), CliError> {
    print_json_text(serde_json::to_vec(value))
}

fn print_json_text(text: serde_json::Result<Vec<u8>>) -> Result<(), CliError> {
    let mut bytes = text.map_err(|error| CliError::io("write JSON")(io::Error::other(error)))?;
    bytes.push(b'\n');
    print_bytes(&bytes)
}

/// Prints one line.
pub(crate) fn print_line(line: &str) -> Result<(), CliError> {
    print_bytes(format!("{line}\n").as_bytes())
}

/// Prints text, ending it with a newline if it does not.
pub(crate) fn print_text(text: &str) -> Result<(), CliError> {
    print_line(text.trim_end_matches('\n'))
}

/// Prints bytes as they are. A closed pipe is an error like any other, without a panic.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(CliError::io("write to standard output"))
}

/// Colours, where a person watches and has not refused them (`NO_COLOR`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours for what is written to `stream`.
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            on: stream.is_terminal() && !refused,
        }
    }

    /// Whether there are colours.
    pub(crate) const fn is_on(self) -> bool {
        self.on
    }

    fn sgr(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Something failed.
    pub(crate) fn bad(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    /// Something to do.
    pub(crate) fn hint(self, text: &str) -> String {
        self.sgr("1;36", text)
    }

    /// A status, by what it says.
    pub(crate) fn status(self, text: &str) -> String {
        match text.split(' ').next() {
            Some("succeeded") => self.sgr("32", text),
            Some("failed") => self.sgr("31", text),
            Some("canceled") => self.sgr("33", text),
            Some("running") => self.sgr("36", text),
            _ => text.to_owned(),
        }
    }
}

/// Text from elsewhere (names, labels, messages) without control characters, which could rewrite
/// what stands on a terminal.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Tells something beside the results, on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when standard error is closed.
    io::stderr()
        .write_all(format!("davit: {}{}", harmless(text), line_end()).as_bytes())
        .unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_only_for_terminals() {
        let none = Paint::of(&std::fs::File::open("/dev/null").unwrap());
        assert_eq!(none.bad("error:"), "error:");
        let some = Paint { on: true };
        assert_eq!(some.status("failed"), "\x1b[31mfailed\x1b[0m");
        assert_eq!(some.status("pending (pulling)"), "pending (pulling)");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\nc é"), "a\\u{1b}[2Jb\\nc é");
    }
}
