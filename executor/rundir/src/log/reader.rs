//! Reads a run's log, finished or growing, whole or torn.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::frame::{Decoded, FRAME_BYTES_MAX, HEADER_BYTES, decode};
use super::segment::{self, SEGMENT_BYTES_MAX};
use super::{LogError, LogRecord};
use crate::RunDir;

/// Read at a time, bytes.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Checksums tried when looking for good records behind a bad one; past it the answer is taken to be
/// yes, which errs on the side of reporting.
const SCAN_CHECKSUMS_MAX: u32 = 4_096;

/// A place in a log; holds one file open.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    /// The segment being read; absent before it exists.
    segment: Option<Segment>,
    /// Index of that segment.
    index: u32,
    /// Records up to this id are not handed out.
    after_id: u64,
    /// Id the next frame must have; 0 before the first segment is open.
    next_id: u64,
    buffer: Vec<u8>,
    /// Unread bytes in `buffer`.
    unread: std::ops::Range<usize>,
    /// Place and file length at which the tail was found to be torn: looked at again only when the
    /// file has grown.
    torn: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    salt: u32,
    /// File offset of the end of the unread bytes.
    read_to: u64,
}

impl LogReader {
    /// Begins behind record `after_id` (0: at the first), skipping whole segments by their headers.
    /// A run without a log yet is fine.
    ///
    /// # Errors
    /// When a segment cannot be opened, is corrupt, of a newer format, or missing between others.
    pub fn open(dir: &RunDir, after_id: u64) -> Result<Self, LogError> {
        let mut reader = Self {
            dir: dir.path().to_owned(),
            segment: None,
            index: 0,
            after_id,
            next_id: 0,
            buffer: vec![0; READ_BUFFER_BYTES],
            unread: 0..0,
            torn: None,
        };
        let indexes = segment::list(dir.path())?;
        for (wanted, found) in (0..).zip(&indexes) {
            if wanted != *found {
                let path = segment::path(dir.path(), wanted);
                return Err(LogError::corrupt(&path, 0, "segment is missing"));
            }
        }
        for index in indexes.into_iter().rev() {
            let path = segment::path(dir.path(), index);
            if let Some((file, header)) = segment::open(&path)?
                && (header.first_id <= after_id.saturating_add(1) || index == 0)
            {
                reader.enter(
                    index,
                    Segment::new(file, path, header.salt),
                    header.first_id,
                );
                break;
            }
        }
        Ok(reader)
    }

    /// The next record; `None` if there is nothing more now: after more was written, call again.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] at a bad record with good ones behind it; the reader stays there.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail, and go on after the end"
    )]
    pub fn next(&mut self) -> Result<Option<LogRecord>, LogError> {
        loop {
            if self.segment.is_none() && !self.enter_first()? {
                return Ok(None);
            }
            let salt = self.segment.as_ref().map_or(0, |segment| segment.salt);
            let problem = match decode(&self.buffer[self.unread.clone()], salt) {
                Decoded::Whole(frame) if frame.id == self.next_id => {
                    self.unread.start += frame.encoded_len();
                    self.next_id += 1;
                    if frame.id <= self.after_id {
                        continue;
                    }
                    return Ok(Some(frame.to_record()));
                }
                Decoded::Whole(_) => "record out of order",
                Decoded::Bad(problem) => problem,
                Decoded::Short => {
                    if self.fill()? {
                        continue;
                    }
                    "record is cut short"
                }
            };
            if !self.pass_end(problem)? {
                return Ok(None);
            }
        }
    }

    /// The id of the last record returned or skipped; 0 before the first.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.next_id.saturating_sub(1)
    }

    fn enter(&mut self, index: u32, segment: Segment, first_id: u64) {
        self.index = index;
        self.segment = Some(segment);
        self.next_id = first_id;
        self.unread = 0..0;
        self.torn = None;
    }

    fn enter_first(&mut self) -> Result<bool, LogError> {
        let path = segment::path(&self.dir, 0);
        let Some((file, header)) = segment::open(&path)? else {
            return Ok(false);
        };
        self.enter(0, Segment::new(file, path, header.salt), header.first_id);
        Ok(true)
    }

    /// Reads on in this segment; false at its present end.
    fn fill(&mut self) -> Result<bool, LogError> {
        let Some(segment) = self.segment.as_mut() else {
            return Ok(false);
        };
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let free = &mut self.buffer[self.unread.end..];
        let count = loop {
            match segment.file.read_at(free, segment.read_to) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome.map_err(LogError::io("read", &segment.path))?,
            }
        };
        segment.read_to += count as u64;
        self.unread.end += count;
        Ok(count > 0)
    }

    /// Nothing readable is left in this segment as far as it was read, for `problem`. True if there
    /// is more to decode, here or in the next one; false at the end of the log.
    fn pass_end(&mut self, problem: &'static str) -> Result<bool, LogError> {
        let Some(current) = &self.segment else {
            return Ok(false);
        };
        let offset = current.read_to - self.unread.len() as u64;
        let path = segment::path(&self.dir, self.index + 1);
        let Some((file, header)) = segment::open(&path)? else {
            if self.unread.is_empty() {
                return Ok(false);
            }
            return match self.look_behind(offset)? {
                Behind::Nothing => Ok(false),
                // Into an empty buffer, from where it begins.
                Behind::WrittenMeanwhile => {
                    self.read_again(offset);
                    Ok(true)
                }
                Behind::Record => Err(self.corrupt(offset, problem)),
            };
        };
        // The writer may have gone on here between our read and its opening the next segment.
        if self.unread.len() < FRAME_BYTES_MAX && self.fill()? {
            return Ok(true);
        }
        // A writer leaves a torn record behind only to write it again in the next segment.
        if header.first_id != self.next_id {
            return Err(self.corrupt(offset, problem));
        }
        let next = Segment::new(file, path, header.salt);
        self.enter(self.index + 1, next, header.first_id);
        Ok(true)
    }

    fn read_again(&mut self, offset: u64) {
        if let Some(segment) = self.segment.as_mut() {
            segment.read_to = offset;
        }
        self.unread = 0..0;
    }

    /// What lies behind the bad record at `offset`: nothing good behind a torn tail.
    fn look_behind(&mut self, offset: u64) -> Result<Behind, LogError> {
        let Some(segment) = &self.segment else {
            return Ok(Behind::Nothing);
        };
        let len = segment
            .file
            .metadata()
            .map_err(LogError::io("stat", &segment.path))?
            .len();
        if self.torn == Some((offset, len)) {
            return Ok(Behind::Nothing);
        }
        let mut tail = vec![
            0;
            usize::try_from(len.saturating_sub(offset).min(SEGMENT_BYTES_MAX))
                .unwrap_or(0)
        ];
        let count = read_up_to(&segment.file, &mut tail, offset)
            .map_err(LogError::io("read", &segment.path))?;
        let tail = &tail[..count];
        // A writer at work may have written it to its end, and more, since it was read half.
        if matches!(decode(tail, segment.salt), Decoded::Whole(frame) if frame.id == self.next_id) {
            return Ok(Behind::WrittenMeanwhile);
        }
        if scan(tail, segment.salt, self.next_id) {
            return Ok(Behind::Record);
        }
        self.torn = Some((offset, len));
        Ok(Behind::Nothing)
    }

    fn corrupt(&self, offset: u64, problem: &'static str) -> LogError {
        LogError::corrupt(&segment::path(&self.dir, self.index), offset, problem)
    }
}

/// What [`LogReader::look_behind`] finds.
enum Behind {
    /// No good record: the tail is torn, or being written.
    Nothing,
    /// The very record, whole by now.
    WrittenMeanwhile,
    /// A later one: this one was damaged.
    Record,
}

impl Segment {
    const fn new(file: File, path: PathBuf, salt: u32) -> Self {
        Self {
            file,
            path,
            salt,
            read_to: segment::HEADER_BYTES as u64,
        }
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(n) => count += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Whether a frame with an id from `next_id` on begins anywhere after the first byte of `tail`.
fn scan(tail: &[u8], salt: u32, next_id: u64) -> bool {
    let ids = next_id..next_id.saturating_add(SEGMENT_BYTES_MAX);
    let mut checksums = 0;
    for at in 1..tail.len().saturating_sub(HEADER_BYTES - 1) {
        // The id first: it is right almost nowhere, and spares the checksum.
        if !ids.contains(&super::frame::u64_at(tail, at + 8)) {
            continue;
        }
        match decode(&tail[at..], salt) {
            Decoded::Whole(_) => return true,
            Decoded::Bad("checksum does not match") => checksums += 1,
            _ => {}
        }
        if checksums > SCAN_CHECKSUMS_MAX {
            return true;
        }
    }
    false
}
