//! Torn, cut and corrupt files.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::frame::{Frame, HEADER_BYTES};
use super::super::{LogError, fuzzing, segment};
use super::*;

/// Ten lines in one segment; the records as they read undamaged.
fn written() -> (Scratch, Vec<LogRecord>, Vec<u8>) {
    let scratch = scratch();
    let mut writer = LogWriter::create(&scratch.run, u64::MAX).unwrap();
    write_lines(&mut writer, (0..10).map(|n| "line ".repeat(n)));
    let records = scratch.read(0);
    let bytes = fs::read(scratch.segment(0)).unwrap();
    (scratch, records, bytes)
}

#[test]
fn every_cut_reads_as_a_prefix() {
    let (scratch, records, bytes) = written();
    for len in 0..bytes.len() {
        fs::write(scratch.segment(0), &bytes[..len]).unwrap();
        let (read, error) = scratch.read_until_error();
        assert!(error.is_none(), "cut at {len}: {error:?}");
        assert!(records.starts_with(&read), "cut at {len}");
    }
}

#[test]
fn a_tail_of_zeroes_is_a_torn_tail() {
    let (scratch, records, bytes) = written();
    for keep in [0, 10, segment::HEADER_BYTES, 200, bytes.len()] {
        let mut torn = bytes[..keep].to_vec();
        torn.resize(bytes.len() + 4096, 0);
        fs::write(scratch.segment(0), torn).unwrap();
        let (read, error) = scratch.read_until_error();
        // A header torn in its middle cannot be told from a corrupt one; that is said, not hidden.
        assert_eq!(error.is_some(), keep == 10, "keep {keep}: {error:?}");
        assert!(records.starts_with(&read));
    }
}

#[test]
fn a_bad_record_in_the_middle_is_named_by_path_and_offset() {
    let (scratch, records, bytes) = written();
    // The frame of the third record begins behind the header and two frames.
    let offset = segment::HEADER_BYTES + 2 * HEADER_BYTES + records[1].line.len();
    for (at, flipped) in [
        (0, 1),
        (5, 0xff),
        (8, 1),
        (16, 1),
        (24, 7),
        (25, 0x80),
        (HEADER_BYTES, 1),
    ] {
        let mut bad = bytes.clone();
        bad[offset + at] ^= flipped;
        fs::write(scratch.segment(0), bad).unwrap();
        let (read, error) = scratch.read_until_error();
        assert_eq!(read, records[..2], "byte {at} of the frame");
        match error {
            Some(LogError::Corrupt {
                path,
                offset: found,
                ..
            }) => {
                assert_eq!((path, found), (scratch.segment(0), offset as u64));
            }
            other => panic!("byte {at}: {other:?}"),
        }
    }
}

#[test]
fn a_newer_or_foreign_segment_is_refused() {
    let (scratch, _, bytes) = written();
    let mut newer = bytes.clone();
    newer[8] = 9;
    fs::write(scratch.segment(0), newer).unwrap();
    let error = LogReader::open(&scratch.run, 0).unwrap_err();
    assert!(
        matches!(error, LogError::TooNew { found: 9, .. }),
        "{error}"
    );
    fs::write(
        scratch.segment(0),
        b"something else, long enough for a header",
    )
    .unwrap();
    let error = LogReader::open(&scratch.run, 0).unwrap_err();
    assert!(
        matches!(error, LogError::Corrupt { offset: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_missing_segment_is_noticed() {
    let (scratch, records, bytes) = written();
    fs::write(scratch.segment(2), &bytes).unwrap();
    let error = LogReader::open(&scratch.run, 0).unwrap_err();
    assert!(error.to_string().contains("log.001"), "{error}");
    fs::remove_file(scratch.segment(2)).unwrap();
    // A next segment that does not go on where this one ends.
    let header = segment::Header {
        salt: 1,
        first_id: 99,
    };
    segment::create(&scratch.segment(1), header).unwrap();
    let (read, error) = scratch.read_until_error();
    assert_eq!(read, records);
    assert!(matches!(error, Some(LogError::Corrupt { .. })), "{error:?}");
}

#[test]
fn a_record_torn_off_by_a_bad_disk_is_read_from_the_next_segment() {
    let (scratch, mut records, mut bytes) = written();
    let frame = Frame {
        id: 11,
        unix_ns: 3,
        stream: Stream::Stderr,
        partial: false,
        newline: true,
        truncated: false,
        line: b"again",
    };
    let header = segment::Header {
        salt: 77,
        first_id: 11,
    };
    frame.encode(0, &mut bytes);
    bytes.truncate(bytes.len() - 3);
    fs::write(scratch.segment(0), bytes).unwrap();
    let mut reader = LogReader::open(&scratch.run, 0).unwrap();
    assert_eq!(drain(&mut reader), records);
    let mut next = header.encode().to_vec();
    frame.encode(header.salt, &mut next);
    fs::write(scratch.segment(1), next).unwrap();
    assert_eq!(drain(&mut reader), [frame.to_record()]);
    records.push(frame.to_record());
    assert_eq!(scratch.read(0), records);
}

#[test]
fn output_that_imitates_records_does_not_make_a_torn_tail_corrupt() {
    let scratch = scratch();
    let mut writer = LogWriter::create(&scratch.run, u64::MAX).unwrap();
    let mut forged = Vec::new();
    let forged_record = |id| Frame {
        id,
        unix_ns: 0,
        stream: Stream::Stdout,
        partial: false,
        newline: true,
        truncated: false,
        line: b"forged",
    };
    for id in 1..100 {
        forged_record(id).encode(0, &mut forged);
    }
    writer
        .append(Stream::Stdout, &forged, true, false, 0)
        .unwrap();
    writer.flush().unwrap();
    let bytes = fs::read(scratch.segment(0)).unwrap();
    fs::write(scratch.segment(0), &bytes[..bytes.len() - 1]).unwrap();
    let (read, error) = scratch.read_until_error();
    assert!(read.is_empty() && error.is_none(), "{error:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn damage_never_changes_or_invents_a_record(
        flips in vec((any::<prop::sample::Index>(), 1u8..), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (scratch, records, mut bytes) = written();
        for (at, mask) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        fs::write(scratch.segment(0), &bytes).unwrap();
        let (read, _) = scratch.read_until_error();
        prop_assert!(records.starts_with(&read));
    }

    #[test]
    fn random_bytes_never_panic(data in vec(any::<u8>(), 0..400)) {
        let dir = tempfile::tempdir().unwrap();
        fuzzing::read_any(dir.path(), &data).unwrap();
    }

    #[test]
    fn random_frames_with_right_checksums_never_panic(
        how in 0u8..8,
        frames in vec((0u8..40, 0u8..4, 0u8..9, vec(any::<u8>(), 0..40)), 0..8),
    ) {
        let mut data = vec![how];
        for (len, stream, flags, line) in frames {
            let mut frame = vec![0; HEADER_BYTES];
            frame[4] = len;
            frame[24] = stream;
            frame[25] = flags;
            frame.extend(line);
            data.extend(frame);
        }
        let dir = tempfile::tempdir().unwrap();
        fuzzing::read_any(dir.path(), &data).unwrap();
    }
}

#[test]
fn the_fuzzers_corpus_reads_as_recorded() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/log_reader");
    let dir = tempfile::tempdir().unwrap();
    let mut counts = Vec::new();
    for entry in fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let records = fuzzing::read_any(dir.path(), &fs::read(&path).unwrap()).unwrap();
        counts.push((
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            records.len(),
        ));
    }
    counts.sort();
    let counts: Vec<(&str, usize)> = counts.iter().map(|(name, n)| (&name[..], *n)).collect();
    assert_eq!(
        counts,
        [
            ("bad-length", 1),
            ("empty", 0),
            ("header-only", 0),
            ("three-records", 3),
            ("torn", 2),
            ("two-segments", 2),
        ]
    );
}
