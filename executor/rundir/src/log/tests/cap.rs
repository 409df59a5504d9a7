//! The cap: a prefix, one mark, and counts.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[test]
fn one_mark_stands_where_the_cap_was_met() {
    let scratch = scratch();
    let mut writer = LogWriter::create(&scratch.run, 10).unwrap();
    write_lines(
        &mut writer,
        ["1234".into(), "123456".into(), "x".into(), "y".into()],
    );
    let records = scratch.read(0);
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].line, b"1234");
    // `x` would fit, but a log with holes is worse than a shorter one.
    assert!(records[1].truncated && records[1].line.is_empty() && !records[1].newline);
    let totals = writer.totals();
    assert_eq!(
        (totals.records, totals.bytes, totals.dropped_bytes),
        (2, 5, 11)
    );
}

#[test]
fn output_of_exactly_the_cap_is_not_marked() {
    let scratch = scratch();
    let mut writer = LogWriter::create(&scratch.run, 5).unwrap();
    write_lines(&mut writer, ["1234".into()]);
    assert!(scratch.read(0).iter().all(|record| !record.truncated));
    assert_eq!(writer.totals().dropped_bytes, 0);
}

proptest! {
    #[test]
    fn kept_and_dropped_are_all_there_was(lines in vec("[a-z]{0,12}", 0..40), cap in 0u64..200) {
        let scratch = scratch();
        let mut writer = LogWriter::create(&scratch.run, cap).unwrap();
        let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
        write_lines(&mut writer, lines);
        let records = scratch.read(0);
        let kept = output(&records, Stream::Stdout);
        prop_assert!(whole.as_bytes().starts_with(&kept));
        let totals = writer.totals();
        prop_assert_eq!(totals.bytes, kept.len() as u64);
        prop_assert!(totals.bytes <= cap);
        prop_assert_eq!(totals.bytes + totals.dropped_bytes, whole.len() as u64);
        let marks = records.iter().filter(|record| record.truncated).count();
        prop_assert_eq!(marks, usize::from(totals.dropped_bytes > 0));
        prop_assert!(marks == 0 || records.last().is_some_and(|record| record.truncated));
    }
}
