//! One record as bytes: encoding, and decoding of whatever the disk holds.

use super::{LINE_BYTES_MAX, LogRecord, Stream};

/// Bytes before a frame's line.
pub(super) const HEADER_BYTES: usize = 28;
/// Longest frame, bytes.
pub(super) const FRAME_BYTES_MAX: usize = HEADER_BYTES + LINE_BYTES_MAX;

const PARTIAL: u8 = 1;
const NEWLINE: u8 = 2;
const TRUNCATED: u8 = 4;

/// A record whose line still lies in somebody's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) id: u64,
    pub(super) unix_ns: u64,
    pub(super) stream: Stream,
    pub(super) partial: bool,
    pub(super) newline: bool,
    pub(super) truncated: bool,
    /// At most [`LINE_BYTES_MAX`] long.
    pub(super) line: &'a [u8],
}

/// What lies at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded<'a> {
    /// A frame; it is [`Frame::encoded_len`] long.
    Whole(Frame<'a>),
    /// The beginning of something that may become a frame.
    Short,
    /// No frame, whatever follows.
    Bad(&'static str),
}

impl Frame<'_> {
    pub(super) const fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.line.len()
    }

    /// Bytes of job output it stands for.
    pub(super) const fn output_bytes(&self) -> u64 {
        self.line.len() as u64 + self.newline as u64
    }

    /// Appends the frame to `buffer`.
    pub(super) fn encode(&self, salt: u32, buffer: &mut Vec<u8>) {
        debug_assert!(self.line.len() <= LINE_BYTES_MAX);
        let flags = if self.partial { PARTIAL } else { 0 }
            | if self.newline { NEWLINE } else { 0 }
            | if self.truncated { TRUNCATED } else { 0 };
        let mut header = [0; HEADER_BYTES];
        // Bounded by LINE_BYTES_MAX, checked by the writer before.
        let line_len = u32::try_from(self.line.len()).unwrap_or(u32::MAX);
        header[4..8].copy_from_slice(&line_len.to_le_bytes());
        header[8..16].copy_from_slice(&self.id.to_le_bytes());
        header[16..24].copy_from_slice(&self.unix_ns.to_le_bytes());
        header[24] = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        header[25] = flags;
        let crc = checksum(salt, &header[4..], self.line);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        buffer.extend_from_slice(&header);
        buffer.extend_from_slice(self.line);
    }

    pub(super) fn to_record(self) -> LogRecord {
        LogRecord {
            id: self.id,
            unix_ns: self.unix_ns,
            stream: self.stream,
            partial: self.partial,
            newline: self.newline,
            truncated: self.truncated,
            line: self.line.to_vec(),
        }
    }
}

/// Reads the frame at the start of `bytes`. Cheap checks come before the checksum, so scanning
/// garbage is fast.
pub(super) fn decode(bytes: &[u8], salt: u32) -> Decoded<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Decoded::Short;
    };
    let line_len = u32_at(header, 4) as usize;
    if line_len > LINE_BYTES_MAX {
        return Decoded::Bad("record is longer than allowed");
    }
    let stream = match header[24] {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return Decoded::Bad("no such stream"),
    };
    let flags = header[25];
    if flags > (PARTIAL | NEWLINE | TRUNCATED) || header[26..28] != [0, 0] {
        return Decoded::Bad("unknown flags");
    }
    let Some(line) = rest.get(..line_len) else {
        return Decoded::Short;
    };
    if checksum(salt, &header[4..], line) != u32_at(header, 0) {
        return Decoded::Bad("checksum does not match");
    }
    Decoded::Whole(Frame {
        id: u64_at(header, 8),
        unix_ns: u64_at(header, 16),
        stream,
        partial: flags & PARTIAL != 0,
        newline: flags & NEWLINE != 0,
        truncated: flags & TRUNCATED != 0,
        line,
    })
}

/// Makes the checksum of an encoded frame right.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn seal(frame: &mut [u8], salt: u32) {
    let crc = checksum(salt, &frame[4..HEADER_BYTES], &frame[HEADER_BYTES..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(salt: u32, header: &[u8], line: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(header);
    hasher.update(line);
    hasher.finalize()
}

/// The number at `at`; the caller's buffer is long enough by its type.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The number at `at`; the caller's buffer is long enough by its type.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
