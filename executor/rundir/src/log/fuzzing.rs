//! One entry for whatever throws bytes at the reader: the fuzzer in `fuzz/` and the test suite.

use std::fs;
use std::path::Path;

use super::frame::{self, HEADER_BYTES};
use super::segment::{self, Header};
use super::{LINE_BYTES_MAX, LogReader, LogRecord};
use crate::RunDir;

/// First byte of the input: what is done to the rest before it is read.
const WITH_HEADER: u8 = 1;
const WITH_CHECKSUMS: u8 = 2;
const TWO_SEGMENTS: u8 = 4;

const SALT: u32 = 0x5eed;

/// Lays `data` out as a log below `scratch` (replacing an earlier one) and reads it. The first byte
/// says how: bit 0 puts a good header before the rest, bit 1 makes the checksums right that a fuzzer
/// could not find, bit 2 cuts it into two segments.
///
/// # Panics
/// When the reader breaks a promise: ids with a gap, a line too long, more records than bytes allow.
///
/// # Errors
/// When `scratch` cannot be written.
pub fn read_any(scratch: &Path, data: &[u8]) -> std::io::Result<Vec<LogRecord>> {
    let dir = scratch.join("00000000-0000-7000-8000-000000000000.1");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    lay_out(&dir, data)?;
    let run = RunDir::from_path(&dir).ok_or(std::io::ErrorKind::InvalidInput)?;
    let records = read_all(&run, 0);
    assert!(records.len() <= data.len() / HEADER_BYTES + 1);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record.id, records[0].id + at as u64, "a gap");
        assert!(record.line.len() <= LINE_BYTES_MAX);
    }
    // Beginning in the middle gives the same records from there on.
    if let Some(middle) = records.get(records.len() / 2) {
        assert!(records.ends_with(&read_all(&run, middle.id)));
    }
    Ok(records)
}

/// All records up to the end or the first error.
fn read_all(run: &RunDir, after_id: u64) -> Vec<LogRecord> {
    let mut records = Vec::new();
    if let Ok(mut reader) = LogReader::open(run, after_id) {
        while let Ok(Some(record)) = reader.next() {
            records.push(record);
        }
    }
    records
}

fn lay_out(dir: &Path, data: &[u8]) -> std::io::Result<()> {
    let (how, rest) = data
        .split_first()
        .map_or((0, data), |(how, rest)| (*how, rest));
    let cut = if how & TWO_SEGMENTS != 0 {
        rest.len() / 2
    } else {
        rest.len()
    };
    let (first, second) = rest.split_at(cut);
    let mut first_id = 1;
    for (index, body) in (0..).zip([first, second]) {
        let mut bytes = Vec::new();
        if how & WITH_HEADER != 0 {
            let header = Header {
                salt: SALT,
                first_id,
            };
            bytes.extend_from_slice(&header.encode());
        }
        let start = bytes.len();
        bytes.extend_from_slice(body);
        if how & WITH_CHECKSUMS != 0 {
            first_id = repair(&mut bytes[start..], first_id);
        }
        fs::write(segment::path(dir, index), bytes)?;
        if how & TWO_SEGMENTS == 0 {
            break;
        }
    }
    Ok(())
}

/// Gives every frame found by its length the right id and checksum; returns the next id.
fn repair(mut bytes: &mut [u8], mut id: u64) -> u64 {
    while bytes.len() >= HEADER_BYTES {
        let len = HEADER_BYTES + frame::u32_at(bytes, 4) as usize;
        if len > bytes.len() {
            break;
        }
        let (this, behind) = bytes.split_at_mut(len);
        this[8..16].copy_from_slice(&id.to_le_bytes());
        frame::seal(this, SALT);
        id += 1;
        bytes = behind;
    }
    id
}
