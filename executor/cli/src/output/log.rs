//! Records of a log, written to our own stdout and stderr byte for byte, or as JSON.

use std::io::{self, Write};

use davit_rpc::local::LogRecord;

use super::note;
use super::run::rfc3339;
use crate::error::CliError;

/// How a log is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogFormat {
    /// The time before each line.
    pub(crate) timestamps: bool,
    /// One JSON object a record on stdout instead of the bytes.
    pub(crate) json: bool,
}

/// Writes records out, each at once: they come batched already when the job is loud.
pub(crate) struct Printer {
    format: LogFormat,
    /// A line whose newline is still to come has its time printed already.
    open: [bool; 2],
}

impl Printer {
    /// One that has printed nothing.
    pub(crate) const fn new(format: LogFormat) -> Self {
        Self {
            format,
            open: [false; 2],
        }
    }

    /// Prints one record.
    pub(crate) fn print(&mut self, record: &LogRecord) -> Result<(), CliError> {
        let mut bytes = Vec::with_capacity(record.line.len() + 40);
        if self.format.json {
            json_line(record, &mut bytes);
            return write(&mut io::stdout().lock(), &bytes);
        }
        let is_stderr = record.stream == "stderr";
        if record.truncated {
            note("the log's cap is reached: output is missing from here on");
            return Ok(());
        }
        let open = &mut self.open[usize::from(is_stderr)];
        if self.format.timestamps && !*open {
            bytes.extend_from_slice(rfc3339(record.unix_ns).as_bytes());
            bytes.push(b' ');
        }
        *open = !record.newline;
        bytes.extend_from_slice(&record.line);
        if record.newline {
            bytes.push(b'\n');
        }
        if is_stderr {
            write(&mut io::stderr().lock(), &bytes)
        } else {
            write(&mut io::stdout().lock(), &bytes)
        }
    }
}

fn write(stream: &mut impl Write, bytes: &[u8]) -> Result<(), CliError> {
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(CliError::io("write the run's output"))
}

fn json_line(record: &LogRecord, bytes: &mut Vec<u8>) {
    let object = serde_json::json!({
        "event": "log",
        "id": record.id,
        "time": rfc3339(record.unix_ns),
        "stream": record.stream,
        "partial": record.partial,
        "newline": record.newline,
        "truncated": record.truncated,
        // JSON has no bytes: what is no UTF-8 is shown with U+FFFD here, exact without -o json.
        "line": String::from_utf8_lossy(&record.line),
    });
    bytes.extend_from_slice(object.to_string().as_bytes());
    bytes.push(b'\n');
}
