//! The only writer of a run's log.
//!
//! ```text
//!  append ──► buffer ──flush: one write(2)──► log.NNN ──sync: fdatasync──► disk
//!               │
//!               └─ write failed: the buffer is kept and the same bytes are tried again by the next
//!                  flush; what no longer fits is dropped, counted and marked
//! ```

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::frame::{Decoded, FRAME_BYTES_MAX, Frame, decode};
use super::segment::{self, Header, SEGMENT_BYTES_MAX};
use super::{LINE_BYTES_MAX, LogError, Stream};
use crate::{LogTotals, RunDir};

/// Records kept back for one write(2), bytes; also all that a full disk can make wait.
pub const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// Segments that may be waiting for the disk before a new one is begun: bounds what the last
/// [`LogWriter::sync`] of a run has to wait for.
const UNSYNCED_SEGMENTS_MAX: u32 = 4;

/// Appends records; nothing is readable before [`Self::flush`], nothing durable before
/// [`Self::sync`].
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    bytes_max: u64,
    salt: u32,
    segment: Option<Segment>,
    /// Index of the segment to be made next.
    index_next: u32,
    /// First segment that may not be durable.
    index_unsynced: u32,
    /// Whole frames for `segment`, or for the next one if there is none.
    buffer: Vec<u8>,
    /// Of `totals`, what is in `buffer`.
    buffered: LogTotals,
    /// Everything appended or dropped.
    totals: LogTotals,
    /// The last write failed and `buffer` waits for the next flush.
    stuck: bool,
    /// The cap is reached.
    capped: bool,
    /// A `truncated` record has yet to be written, for this stream and time.
    mark_due: Option<(Stream, u64)>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    /// Bytes of header and whole frames in it.
    len: u64,
}

impl LogWriter {
    /// Begins the log of a run; at most `bytes_max` bytes of job output are kept.
    ///
    /// # Errors
    /// [`LogError::Exists`] if the run has a log; otherwise when the first segment cannot be made.
    pub fn create(dir: &RunDir, bytes_max: u64) -> Result<Self, LogError> {
        // Not a secret for ever, only a number that the job cannot guess while it runs.
        let random = RandomState::new().hash_one(dir.path());
        let mut writer = Self {
            dir: dir.path().to_owned(),
            bytes_max,
            salt: u32::try_from(random >> 32).unwrap_or(0),
            segment: None,
            index_next: 0,
            index_unsynced: 0,
            buffer: Vec::with_capacity(WRITE_BUFFER_BYTES),
            buffered: LogTotals::default(),
            totals: LogTotals::default(),
            stuck: false,
            capped: false,
            mark_due: None,
        };
        writer.segment = Some(writer.begin_segment()?);
        Ok(writer)
    }

    /// Appends one record and returns its id, or `None` if it was dropped and counted: beyond the
    /// cap, or because the disk has been refusing writes.
    ///
    /// # Errors
    /// When the buffer was full and could not be written; this record is then dropped and counted,
    /// earlier ones wait for the next [`Self::flush`]. [`LogError::LineTooLong`] is a caller's bug.
    pub fn append(
        &mut self,
        stream: Stream,
        line: &[u8],
        newline: bool,
        partial: bool,
        unix_ns: u64,
    ) -> Result<Option<u64>, LogError> {
        if line.len() > LINE_BYTES_MAX {
            return Err(LogError::LineTooLong(line.len()));
        }
        let frame = Frame {
            id: 0,
            unix_ns,
            stream,
            partial,
            newline,
            truncated: false,
            line,
        };
        if self.capped {
            self.totals.dropped_bytes += frame.output_bytes();
            return Ok(None);
        }
        if self.totals.bytes + frame.output_bytes() > self.bytes_max {
            self.capped = true;
            self.drop_frame(&frame);
            // If it does not fit now, the next flush writes it.
            return self.put_mark().map(|_| None);
        }
        match self
            .put_mark()
            .and_then(|fits| if fits { self.put(frame) } else { Ok(None) })
        {
            Ok(Some(id)) => Ok(Some(id)),
            Ok(None) => {
                self.drop_frame(&frame);
                Ok(None)
            }
            Err(error) => {
                self.drop_frame(&frame);
                Err(error)
            }
        }
    }

    /// Hands everything appended to the kernel: readers see it on return.
    ///
    /// # Errors
    /// When it cannot be written, e.g. disk full. Nothing readable is harmed; what waits is written
    /// by the next flush that succeeds.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.write_buffer()?;
        if self.mark_due.is_some() {
            self.put_mark()?;
            self.write_buffer()?;
        }
        Ok(())
    }

    /// Flushes, and makes the whole log durable.
    ///
    /// # Errors
    /// When it cannot be written or the disk reports an error.
    pub fn sync(&mut self) -> Result<(), LogError> {
        let flushed = self.flush();
        self.sync_before(self.index_next)?;
        flushed
    }

    /// What the log holds, counting on the next flush unless the last one failed: then what waits
    /// counts as dropped. `records` is also the last id.
    #[must_use]
    pub fn totals(&self) -> LogTotals {
        if !self.stuck {
            return self.totals;
        }
        LogTotals {
            records: self.totals.records - self.buffered.records,
            bytes: self.totals.bytes - self.buffered.bytes,
            dropped_bytes: self.totals.dropped_bytes + self.buffered.bytes,
        }
    }

    fn drop_frame(&mut self, frame: &Frame<'_>) {
        self.totals.dropped_bytes += frame.output_bytes();
        self.mark_due.get_or_insert((frame.stream, frame.unix_ns));
    }

    /// Puts the `truncated` record that is due, if any; false if it has to wait. While writing fails
    /// it waits even if there is room: what comes next will be missing too, and a hole has one mark.
    fn put_mark(&mut self) -> Result<bool, LogError> {
        let Some((stream, unix_ns)) = self.mark_due else {
            return Ok(true);
        };
        if self.stuck {
            return Ok(false);
        }
        let put = self.put(Frame {
            id: 0,
            unix_ns,
            stream,
            partial: false,
            newline: false,
            truncated: true,
            line: &[],
        })?;
        if put.is_some() {
            self.mark_due = None;
        }
        Ok(put.is_some())
    }

    /// Gives the frame the next id and buffers it; `None` if there is no room and writing is known
    /// to fail.
    fn put(&mut self, frame: Frame<'_>) -> Result<Option<u64>, LogError> {
        let buffered_len = self.buffer.len() + frame.encoded_len();
        let segment_len = self
            .segment
            .as_ref()
            .map_or(segment::HEADER_BYTES as u64, |segment| segment.len);
        let segment_full = segment_len + buffered_len as u64 > SEGMENT_BYTES_MAX;
        if segment_full || buffered_len > WRITE_BUFFER_BYTES {
            if self.stuck {
                return Ok(None);
            }
            self.write_buffer()?;
        }
        if segment_full {
            // The next write begins the next one.
            self.segment = None;
        }
        let id = self.totals.records + 1;
        let frame = Frame { id, ..frame };
        frame.encode(self.salt, &mut self.buffer);
        for totals in [&mut self.totals, &mut self.buffered] {
            totals.records += 1;
            totals.bytes += frame.output_bytes();
        }
        Ok(Some(id))
    }

    fn write_buffer(&mut self) -> Result<(), LogError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.try_write_buffer();
        self.stuck = written.is_err();
        written
    }

    fn try_write_buffer(&mut self) -> Result<(), LogError> {
        if self.segment.is_none() {
            if self.index_next - self.index_unsynced >= UNSYNCED_SEGMENTS_MAX {
                self.sync_before(self.index_unsynced + 1)?;
            }
            self.segment = Some(self.begin_segment()?);
        }
        let Some(segment) = self.segment.as_mut() else {
            return Ok(());
        };
        let (written, outcome) = write_at(&segment.file, &self.buffer, segment.len);
        let Err(error) = outcome else {
            segment.len += self.buffer.len() as u64;
            self.buffer.clear();
            self.buffered = LogTotals::default();
            return Ok(());
        };
        let failed = LogError::io("write", &segment.path)(error);
        // Whole frames may have been read by now, so they stay; the torn one is cut off and tried
        // again at the same place, or in a new segment if this file has a fault of its own.
        let kept = self.forget_written(written);
        if let Some(segment) = self.segment.as_mut() {
            segment.len += kept;
            if segment.file.set_len(segment.len).is_err() || !is_full(&failed) {
                self.segment = None;
            }
        }
        Err(failed)
    }

    /// Takes the frames that lie whole in the first `written` bytes out of the buffer; returns their
    /// length.
    fn forget_written(&mut self, written: usize) -> u64 {
        let mut whole = 0;
        while let Decoded::Whole(frame) = decode(&self.buffer[whole..written], self.salt) {
            self.buffered.records -= 1;
            self.buffered.bytes -= frame.output_bytes();
            whole += frame.encoded_len();
        }
        self.buffer.drain(..whole);
        whole as u64
    }

    fn begin_segment(&mut self) -> Result<Segment, LogError> {
        let path = segment::path(&self.dir, self.index_next);
        let header = Header {
            salt: self.salt,
            first_id: self.totals.records - self.buffered.records + 1,
        };
        let file = segment::create(&path, header)?;
        self.index_next += 1;
        Ok(Segment {
            file,
            path,
            len: segment::HEADER_BYTES as u64,
        })
    }

    /// Makes the segments before `index_end`, and their names, durable.
    fn sync_before(&mut self, index_end: u32) -> Result<(), LogError> {
        for index in self.index_unsynced..index_end {
            let path = segment::path(&self.dir, index);
            File::open(&path)
                .and_then(|file| file.sync_data())
                .map_err(LogError::io("fdatasync", &path))?;
        }
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(LogError::io("fsync", &self.dir))?;
        // The segment being written grows on.
        self.index_unsynced = if self.segment.is_some() {
            index_end.min(self.index_next.saturating_sub(1))
        } else {
            index_end
        };
        Ok(())
    }
}

/// Writes all of `bytes` at `offset`; says how many went out whatever happened.
fn write_at(file: &File, bytes: &[u8], offset: u64) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write_at(&bytes[written..], offset + written as u64) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Whether the file is fine and only space is missing.
fn is_full(error: &LogError) -> bool {
    matches!(error, LogError::Io { source, .. } if matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ))
}

const _: () = assert!(FRAME_BYTES_MAX <= WRITE_BUFFER_BYTES);
const _: () = assert!(
    (segment::HEADER_BYTES + WRITE_BUFFER_BYTES + FRAME_BYTES_MAX) as u64 <= SEGMENT_BYTES_MAX
);
