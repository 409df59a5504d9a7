//! The bytes of a chunk.
//!
//! ```text
//!  "davitlog" | version 2 | codec 2 | run 16 | attempt 4 | first id 8 | last id 8 | raw bytes 4 | CRC of raw 4
//!   | CRC of all before 4 | zstd of the raw bytes
//!  raw: for each id from first to last:  unix ns 8 | flags 1 | line bytes 4 | line
//! ```
//!
//! Little endian. Ids are not in the records: they are consecutive. A reader takes nothing on trust: bounds
//! first, then checksums, then the place that the index says, then the records.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use davit_types::RunKey;

use super::error::ChunkProblem;
use super::limits::{CHUNK_RAW_BYTES_MAX, LINE_BYTES_MAX};
use super::record::{LogRecord, LogStream};

const MAGIC: &[u8; 8] = b"davitlog";
const VERSION: u16 = 1;
const CODEC_ZSTD: u16 = 1;
const HEADER_BYTES: usize = 8 + 2 + 2 + 16 + 4 + 8 + 8 + 4 + 4 + 4;
const RECORD_HEADER_BYTES: usize = 8 + 1 + 4;
/// Logs compress well at any level, and the host's CPU is not what is short here.
const ZSTD_LEVEL: i32 = 1;

const FLAG_STDERR: u8 = 1;
const FLAG_PARTIAL: u8 = 2;
const FLAG_TRUNCATED: u8 = 4;
const FLAG_NEWLINE: u8 = 8;

/// Records with consecutive ids, at least one, as the bytes of an object.
pub(super) fn encode(key: RunKey, records: &[LogRecord]) -> Result<Bytes, ChunkProblem> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Err(ChunkProblem::Records);
    };
    let mut raw = Vec::new();
    for record in records {
        raw.put_u64_le(record.unix_ns);
        raw.put_u8(flags(record));
        raw.put_u32_le(u32::try_from(record.line.len()).map_err(|_| ChunkProblem::Records)?);
        raw.put_slice(&record.line);
    }
    let too_large = ChunkProblem::TooLarge {
        given: raw.len(),
        max: CHUNK_RAW_BYTES_MAX,
    };
    let raw_bytes = u32::try_from(raw.len()).map_err(|_| too_large)?;
    if raw.len() > CHUNK_RAW_BYTES_MAX {
        return Err(too_large);
    }
    let body = zstd::bulk::compress(&raw, ZSTD_LEVEL).map_err(|_| ChunkProblem::Records)?;
    let mut object = BytesMut::with_capacity(HEADER_BYTES + body.len());
    object.put_slice(MAGIC);
    object.put_u16_le(VERSION);
    object.put_u16_le(CODEC_ZSTD);
    object.put_slice(key.run.as_uuid().as_bytes());
    object.put_u32_le(key.attempt.number());
    object.put_u64_le(first.id);
    object.put_u64_le(last.id);
    object.put_u32_le(raw_bytes);
    object.put_u32_le(crc32fast::hash(&raw));
    let header_crc = crc32fast::hash(&object);
    object.put_u32_le(header_crc);
    object.put_slice(&body);
    Ok(object.freeze())
}

/// The records of an object that must hold these lines of this attempt.
pub(super) fn decode(
    key: RunKey,
    first_id: u64,
    last_id: u64,
    object: &[u8],
) -> Result<Vec<LogRecord>, ChunkProblem> {
    let (header, body) = object
        .split_at_checked(HEADER_BYTES)
        .ok_or(ChunkProblem::NotAChunk)?;
    let mut fields = header;
    let mut magic = [0; 8];
    fields.copy_to_slice(&mut magic);
    if &magic != MAGIC {
        return Err(ChunkProblem::NotAChunk);
    }
    let (version, codec) = (fields.get_u16_le(), fields.get_u16_le());
    if version != VERSION {
        return Err(ChunkProblem::Version {
            found: version,
            known: VERSION,
        });
    }
    let mut run = [0; 16];
    fields.copy_to_slice(&mut run);
    let attempt = fields.get_u32_le();
    let found = (fields.get_u64_le(), fields.get_u64_le());
    let raw_bytes = fields.get_u32_le() as usize;
    let raw_crc = fields.get_u32_le();
    if fields.get_u32_le() != crc32fast::hash(&header[..HEADER_BYTES - 4]) {
        return Err(ChunkProblem::Checksum);
    }
    let ours = run == *key.run.as_uuid().as_bytes() && attempt == key.attempt.number();
    if !ours || found != (first_id, last_id) || first_id > last_id {
        return Err(ChunkProblem::Misplaced {
            first_id: found.0,
            last_id: found.1,
        });
    }
    if raw_bytes > CHUNK_RAW_BYTES_MAX {
        return Err(ChunkProblem::TooLarge {
            given: raw_bytes,
            max: CHUNK_RAW_BYTES_MAX,
        });
    }
    if codec != CODEC_ZSTD {
        return Err(ChunkProblem::Records);
    }
    let raw = zstd::bulk::decompress(body, raw_bytes).map_err(|_| ChunkProblem::Records)?;
    if raw.len() != raw_bytes || crc32fast::hash(&raw) != raw_crc {
        return Err(ChunkProblem::Checksum);
    }
    records(first_id, last_id, raw.into())
}

fn records(first_id: u64, last_id: u64, mut raw: Bytes) -> Result<Vec<LogRecord>, ChunkProblem> {
    let mut records = Vec::new();
    for id in first_id..=last_id {
        if raw.len() < RECORD_HEADER_BYTES {
            return Err(ChunkProblem::Records);
        }
        let (unix_ns, flags) = (raw.get_u64_le(), raw.get_u8());
        let length = raw.get_u32_le() as usize;
        if length > raw.len().min(LINE_BYTES_MAX) {
            return Err(ChunkProblem::Records);
        }
        records.push(LogRecord {
            id,
            unix_ns,
            stream: if flags & FLAG_STDERR == 0 {
                LogStream::Stdout
            } else {
                LogStream::Stderr
            },
            partial: flags & FLAG_PARTIAL != 0,
            truncated: flags & FLAG_TRUNCATED != 0,
            newline: flags & FLAG_NEWLINE != 0,
            line: raw.split_to(length),
        });
    }
    if raw.is_empty() {
        Ok(records)
    } else {
        Err(ChunkProblem::Records)
    }
}

fn flags(record: &LogRecord) -> u8 {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    flag(record.stream == LogStream::Stderr, FLAG_STDERR)
        | flag(record.partial, FLAG_PARTIAL)
        | flag(record.truncated, FLAG_TRUNCATED)
        | flag(record.newline, FLAG_NEWLINE)
}

#[cfg(test)]
mod tests {
    use davit_types::{Attempt, RunId};
    use proptest::prelude::*;

    use super::*;

    fn key() -> RunKey {
        RunKey {
            run: RunId::from_uuid(uuid::Uuid::max()),
            attempt: Attempt::FIRST,
        }
    }

    fn line() -> impl Strategy<Value = (u64, u8, Vec<u8>)> {
        (
            any::<u64>(),
            0_u8..16,
            prop::collection::vec(any::<u8>(), 0..200),
        )
    }

    fn log(first_id: u64, lines: Vec<(u64, u8, Vec<u8>)>) -> Vec<LogRecord> {
        (first_id..)
            .zip(lines)
            .map(|(id, (unix_ns, flags, line))| LogRecord {
                id,
                unix_ns,
                stream: if flags & 1 == 0 {
                    LogStream::Stdout
                } else {
                    LogStream::Stderr
                },
                partial: flags & 2 != 0,
                truncated: flags & 4 != 0,
                newline: flags & 8 != 0,
                line: line.into(),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(
            first_id in 1..u64::MAX / 2,
            lines in prop::collection::vec(line(), 1..50),
        ) {
            let log = log(first_id, lines);
            let object = encode(key(), &log).expect("encoded");
            let last_id = log.last().expect("one").id;
            prop_assert_eq!(decode(key(), first_id, last_id, &object), Ok(log));
        }

        #[test]
        fn a_changed_byte_is_noticed(
            lines in prop::collection::vec(line(), 1..20),
            at in any::<prop::sample::Index>(),
            bit in 0_u32..8,
        ) {
            let log = log(1, lines);
            let mut object = encode(key(), &log).expect("encoded").to_vec();
            let at = at.index(object.len());
            object[at] ^= 1 << bit;
            let found = decode(key(), 1, log.len() as u64, &object);
            prop_assert!(found.is_err() || found == Ok(log), "byte {} bit {}", at, bit);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(key(), 1, 9, &bytes).is_err());
            let with_magic = [&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat();
            prop_assert!(decode(key(), 1, 9, &with_magic).is_err());
        }

        #[test]
        fn a_torn_object_is_refused(at in any::<prop::sample::Index>()) {
            let log = log(1, vec![(1, 8, b"a line".to_vec()), (2, 9, b"and another".to_vec())]);
            let object = encode(key(), &log).expect("encoded");
            prop_assert!(decode(key(), 1, 2, &object[..at.index(object.len())]).is_err());
        }
    }

    #[test]
    fn a_misplaced_chunk_is_refused() {
        let log = log(5, vec![(1, 0, b"x".to_vec())]);
        let object = encode(key(), &log).expect("encoded");
        let misplaced = Err(ChunkProblem::Misplaced {
            first_id: 5,
            last_id: 5,
        });
        let other = RunKey {
            attempt: Attempt::new(2).expect("two"),
            ..key()
        };
        assert_eq!(decode(other, 5, 5, &object), misplaced);
        assert_eq!(decode(key(), 4, 4, &object), misplaced);
        assert_eq!(decode(key(), 5, 5, &object), Ok(log));
    }

    /// A few bytes that say they are gigabytes: the bound is on what is said, before anything is allocated.
    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; CHUNK_RAW_BYTES_MAX + 1];
        let body = zstd::bulk::compress(&zeros, 19).expect("compressed");
        let log = log(1, vec![(0, 0, vec![])]);
        let mut object = encode(key(), &log).expect("encoded")[..HEADER_BYTES].to_vec();
        object.extend_from_slice(&body);
        assert!(body.len() < 2_000);
        assert_eq!(decode(key(), 1, 1, &object), Err(ChunkProblem::Records));
        let said = u32::try_from(CHUNK_RAW_BYTES_MAX + 1)
            .expect("fits")
            .to_le_bytes();
        object[48..52].copy_from_slice(&said);
        let crc = crc32fast::hash(&object[..HEADER_BYTES - 4]).to_le_bytes();
        object[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc);
        let found = decode(key(), 1, 1, &object);
        assert!(
            matches!(found, Err(ChunkProblem::TooLarge { .. })),
            "{found:?}"
        );
    }
}
