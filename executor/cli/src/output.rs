//! What is printed: JSON for programs, tables for people, notes for those who watch.

pub(crate) mod host;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod table;

use std::io::{self, Write};

use serde::Serialize;

use crate::error::CliError;

/// Prints `value` as indented JSON.
pub(crate) fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), CliError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| CliError::io("write JSON")(io::Error::other(error)))?;
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

/// Tells something beside the results, on standard error.
pub(crate) fn note(text: &str) {
    // Nobody is left to be told when standard error is closed.
    io::stderr()
        .write_all(format!("davit: {text}\n").as_bytes())
        .unwrap_or_default();
}
