//! What goes in comes out, to the byte.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{LINE_BYTES_MAX, LogError, SEGMENT_BYTES_MAX};
use super::*;

/// Output with lines of all lengths, around the limit too, and no UTF-8 in particular.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40),
        2 => vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..40),
        1 => (LINE_BYTES_MAX - 2..LINE_BYTES_MAX + 3, any::<bool>()).prop_map(|(len, newline)| {
            let mut bytes = vec![b'y'; len];
            if newline { bytes.push(b'\n'); }
            bytes
        }),
        1 => (0..3 * LINE_BYTES_MAX).prop_map(|len| vec![b'z'; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_output_in_any_chunks_round_trips(
        chunks in vec((any::<bool>(), chunk(), 0u8..4), 0..24),
        after in 0u64..20,
    ) {
        let scratch = scratch();
        let mut writer = LogWriter::create(&scratch.run, u64::MAX).unwrap();
        let mut splitters = [(Stream::Stdout, LineSplitter::new()), (Stream::Stderr, LineSplitter::new())];
        let mut wanted = [Vec::new(), Vec::new()];
        let mut reader = LogReader::open(&scratch.run, 0).unwrap();
        let mut followed = Vec::new();
        for (to_stderr, bytes, then) in &chunks {
            let at = usize::from(*to_stderr);
            wanted[at].extend_from_slice(bytes);
            let (stream, splitter) = &mut splitters[at];
            splitter.push(bytes, |line, newline, partial| {
                writer.append(*stream, line, newline, partial, 1).unwrap();
            });
            prop_assert!(splitter.pending_bytes() <= LINE_BYTES_MAX);
            if *then == 1 {
                splitter.flush(|line, newline, partial| {
                    writer.append(*stream, line, newline, partial, 1).unwrap();
                });
            }
            if *then >= 2 {
                writer.flush().unwrap();
                followed.extend(drain(&mut reader));
            }
        }
        for (stream, splitter) in splitters {
            splitter.finish(|line, newline, partial| {
                writer.append(stream, line, newline, partial, 1).unwrap();
            });
        }
        writer.sync().unwrap();
        followed.extend(drain(&mut reader));

        let records = scratch.read(0);
        prop_assert_eq!(&output(&records, Stream::Stdout), &wanted[0]);
        prop_assert_eq!(&output(&records, Stream::Stderr), &wanted[1]);
        prop_assert!(records.iter().zip(1..).all(|(record, id)| record.id == id));
        prop_assert!(records.iter().all(|r| r.line.len() <= LINE_BYTES_MAX && !(r.newline && r.partial)));
        prop_assert_eq!(&followed, &records, "a follower sees the same");
        let behind: Vec<_> = records.iter().filter(|r| r.id > after).cloned().collect();
        prop_assert_eq!(scratch.read(after), behind);
        let totals = writer.totals();
        prop_assert_eq!(totals.records, records.len() as u64);
        prop_assert_eq!(totals.bytes, (wanted[0].len() + wanted[1].len()) as u64);
        prop_assert_eq!(totals.dropped_bytes, 0);
    }

    #[test]
    fn chunking_does_not_change_the_lines(bytes in vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200), cuts in vec(0usize..200, 0..6)) {
        let lines = |pieces: &[&[u8]]| {
            let mut lines = Vec::new();
            let mut splitter = LineSplitter::new();
            for piece in pieces {
                splitter.push(piece, |line, newline, partial| lines.push((line.to_vec(), newline, partial)));
            }
            splitter.finish(|line, newline, partial| lines.push((line.to_vec(), newline, partial)));
            lines
        };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        prop_assert_eq!(lines(&pieces), lines(&[&bytes]));
    }
}

#[test]
fn a_line_of_exactly_the_limit_is_one_record_however_it_arrives() {
    let line = vec![b'a'; LINE_BYTES_MAX];
    for pieces in [
        vec![[&line[..], b"\n"].concat()],
        vec![line.clone(), b"\n".to_vec()],
    ] {
        let mut lines = Vec::new();
        let mut splitter = LineSplitter::new();
        for piece in pieces {
            splitter.push(&piece, |line, newline, partial| {
                lines.push((line.len(), newline, partial))
            });
        }
        splitter.finish(|_, _, _| panic!("nothing is left"));
        assert_eq!(lines, [(LINE_BYTES_MAX, true, false)]);
    }
}

#[test]
fn blank_lines_and_the_last_unterminated_line_are_kept() {
    let mut lines = Vec::new();
    let mut splitter = LineSplitter::new();
    splitter.push(b"\n\na", |line, newline, _| {
        lines.push((line.to_vec(), newline))
    });
    splitter.finish(|line, newline, _| lines.push((line.to_vec(), newline)));
    assert_eq!(
        lines,
        [(vec![], true), (vec![], true), (b"a".to_vec(), false)]
    );
}

#[test]
fn segments_rotate_and_a_late_reader_skips_them() {
    let scratch = scratch();
    let mut writer = LogWriter::create(&scratch.run, u64::MAX).unwrap();
    let mut follower = LogReader::open(&scratch.run, 0).unwrap();
    let line = "r".repeat(10_000);
    let count = 3 * SEGMENT_BYTES_MAX / 10_000;
    let mut seen = 0;
    for id in 1..=count {
        let given = writer
            .append(Stream::Stderr, line.as_bytes(), true, false, id)
            .unwrap();
        assert_eq!(given, Some(id));
        if id % 100 == 0 {
            writer.flush().unwrap();
            seen += drain(&mut follower).len();
        }
    }
    writer.sync().unwrap();
    seen += drain(&mut follower).len();
    assert_eq!(seen as u64, count);
    assert_eq!(follower.position(), count);
    for index in 0..3 {
        assert!(fs::metadata(scratch.segment(index)).unwrap().len() <= SEGMENT_BYTES_MAX);
    }
    // Of the earlier segments nothing but the names is needed.
    fs::write(scratch.segment(0), b"").unwrap();
    let last: Vec<u64> = scratch
        .read(count - 2)
        .iter()
        .map(|record| record.id)
        .collect();
    assert_eq!(last, [count - 1, count]);
}

#[test]
fn nothing_is_readable_before_the_flush_and_one_write_makes_it_so() {
    let scratch = scratch();
    assert!(
        scratch.read(0).is_empty(),
        "a run without a log reads as empty"
    );
    let mut early = LogReader::open(&scratch.run, 0).unwrap();
    let mut writer = LogWriter::create(&scratch.run, u64::MAX).unwrap();
    writer.append(Stream::Stdout, b"a", true, false, 5).unwrap();
    assert_eq!(early.next().unwrap(), None);
    writer.flush().unwrap();
    let record = early.next().unwrap().unwrap();
    assert_eq!(
        (record.id, record.unix_ns, &record.line[..]),
        (1, 5, &b"a"[..])
    );
    assert_eq!(early.next().unwrap(), None);
}

#[test]
fn a_run_has_one_log() {
    let scratch = scratch();
    drop(LogWriter::create(&scratch.run, 1).unwrap());
    let error = LogWriter::create(&scratch.run, 1).unwrap_err();
    assert!(matches!(error, LogError::Exists(path) if path == scratch.segment(0)));
}

#[test]
fn a_line_too_long_is_refused_whole() {
    let scratch = scratch();
    let mut writer = LogWriter::create(&scratch.run, u64::MAX).unwrap();
    let line = vec![0; LINE_BYTES_MAX + 1];
    let error = writer
        .append(Stream::Stdout, &line, true, false, 0)
        .unwrap_err();
    assert!(matches!(error, LogError::LineTooLong(_)), "{error}");
    assert_eq!(writer.totals(), crate::LogTotals::default());
}
#[test]
fn a_writer_at_work_is_never_taken_for_damage() {
    const LINES: u64 = 60_000;
    let scratch = scratch();
    let mut reader = LogReader::open(&scratch.run, 0).unwrap();
    let run = scratch.run.clone();
    let writing = std::thread::spawn(move || {
        let mut writer = LogWriter::create(&run, u64::MAX).unwrap();
        let line = [b'l'; 900];
        for _ in 0..LINES {
            let put = writer.append(Stream::Stdout, &line, true, false, 1);
            assert!(put.unwrap().is_some());
        }
        writer.flush().unwrap();
    });
    let mut last = 0;
    while last < LINES {
        match reader.next().unwrap() {
            Some(record) => {
                last += 1;
                assert_eq!(record.id, last);
            }
            None => std::thread::yield_now(),
        }
    }
    writing.join().unwrap();
}
