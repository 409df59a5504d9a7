//! One record of a log.

use bytes::Bytes;

use super::limits::RECORD_OVERHEAD_BYTES;

/// Which of the job's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl LogStream {
    /// The word in APIs and on the link.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A word that is neither of the streams.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is neither stdout nor stderr")]
pub struct UnknownStream {
    /// The word.
    pub given: String,
}

impl std::str::FromStr for LogStream {
    type Err = UnknownStream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err(UnknownStream {
                given: text.to_owned(),
            }),
        }
    }
}

/// One line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// From 1 within the attempt, without gaps.
    pub id: u64,
    /// When it was read from the job, nanoseconds since 1970.
    pub unix_ns: u64,
    /// Where from.
    pub stream: LogStream,
    /// The line goes on in the next record of this stream.
    pub partial: bool,
    /// davit's own mark: output is missing here.
    pub truncated: bool,
    /// The job wrote `\n` after it.
    pub newline: bool,
    /// The bytes, without the newline.
    pub line: Bytes,
}

impl LogRecord {
    /// What it counts against bounds.
    pub(super) fn cost_bytes(&self) -> usize {
        self.line.len() + RECORD_OVERHEAD_BYTES
    }

    /// A copy that holds nothing but its own line: a slice would keep all of a chunk in memory.
    pub(super) fn detached(&self) -> Self {
        Self {
            line: Bytes::copy_from_slice(&self.line),
            ..self.clone()
        }
    }
}

/// What records count together.
pub(super) fn cost_bytes(records: &[LogRecord]) -> usize {
    records.iter().map(LogRecord::cost_bytes).sum()
}
