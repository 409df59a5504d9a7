//! A run's log: framed, checksummed records in segments of a bounded size.
//!
//! ```text
//!  job ─pipe─► LineSplitter ─lines─► LogWriter ──► log.000  log.001  …
//!              (one a stream)        (one a run)      │
//!                                                     └──► LogReader (any number, any process)
//!
//!  segment  := header frame*
//!  header   := magic[8] version:u32 salt:u32 first_id:u64 zero:u32 crc:u32          32 bytes
//!  frame    := crc:u32 len:u32 id:u64 unix_ns:u64 stream:u8 flags:u8 zero:u16       28 bytes
//!              line[len]
//! ```
//!
//! All numbers are little-endian. A frame's CRC-32 is seeded with the salt of the log, a number the
//! job cannot know: output that imitates frames never passes for one.
//!
//! Invariants:
//! - ids are 1, 2, 3… without a gap, over both streams;
//! - per stream, `line` and its newline concatenated are exactly what the job wrote, up to the first
//!   record marked `truncated`, which stands where bytes are missing;
//! - a reader sees a record whole or not at all; what a crash tore off ends the log cleanly, while a
//!   bad record with good ones behind it is an error that names path and offset;
//! - bytes once readable never change: a failed write is taken up again at the same record.
//!
//! Absent on purpose: compression and an index (a segment is small enough to scan), waiting for more
//! (callers have inotify or a timer), deleting (the run directory goes as a whole).

mod error;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod reader;
mod segment;
mod split;
#[cfg(test)]
mod tests;
mod writer;

pub use error::LogError;
pub use reader::LogReader;
pub use segment::SEGMENT_BYTES_MAX;
pub use split::LineSplitter;
pub use writer::{LogWriter, WRITE_BUFFER_BYTES};

/// Longest line of one record, bytes; longer lines become several records marked `partial`.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// Which of the job's outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl Stream {
    /// The word in APIs and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One line, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// From 1 within the run, without gaps.
    pub id: u64,
    /// When it was read from the job, nanoseconds since 1970.
    pub unix_ns: u64,
    /// Where from.
    pub stream: Stream,
    /// The line goes on in the next record of this stream.
    pub partial: bool,
    /// The job wrote `\n` after it.
    pub newline: bool,
    /// davit's own mark, its `line` empty: output is missing from here on (cap) or just here (disk
    /// full); [`crate::LogTotals`] says how much.
    pub truncated: bool,
    /// The bytes, without the newline; at most [`LINE_BYTES_MAX`].
    pub line: Vec<u8>,
}
