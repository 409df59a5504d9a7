//! A disk that really is full: a small tmpfs in a mount namespace of its own.

use std::process::Command;

use super::*;

const DIR: &str = "DAVIT_TEST_SMALL_DISK";

/// Runs the function below in a child with a 256 KiB file system.
#[test]
fn a_full_disk_loses_nothing_that_was_readable_and_is_survived() {
    let dir = tempfile::tempdir().unwrap();
    let unshare = |command: &str| {
        Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-ec", command])
            .env(DIR, dir.path())
            .env("TEST", std::env::current_exe().unwrap())
            .output()
    };
    let mount = format!("mount -t tmpfs -o size=256k davit-test ${DIR}");
    let child = unshare(&format!(
        "{mount}; exec \"$TEST\" --ignored --exact --nocapture log::tests::full::not_a_test_but_the_child"
    ))
    .unwrap();
    assert!(
        child.status.success(),
        "{}{}",
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

#[test]
#[ignore = "no test"]
fn not_a_test_but_the_child() {
    let disk = PathBuf::from(std::env::var_os(DIR).expect("a small disk"));
    let path = disk.join("01890a5d-ac96-774b-bcce-b302099a8057.1");
    fs::create_dir(&path).unwrap();
    let run = RunDir::from_path(&path).unwrap();
    let mut writer = LogWriter::create(&run, u64::MAX).unwrap();
    let mut follower = LogReader::open(&run, 0).unwrap();
    let mut followed = Vec::new();

    let lines = |from: u64, to: u64| (from..to).map(|n| format!("{n:0>1000}"));
    write_lines(&mut writer, lines(0, 100));
    followed.extend(drain(&mut follower));
    assert_eq!(followed.len(), 100);

    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 96 << 10]).unwrap();

    // Far more than the disk and the buffer hold.
    let mut failed = 0;
    for line in lines(100, 500) {
        let appended = writer.append(Stream::Stdout, line.as_bytes(), true, false, 9);
        failed += u32::from(appended.is_err());
    }
    assert_eq!(failed, 1, "told once, not once a line");
    let error = writer.flush().unwrap_err();
    assert!(error.to_string().contains("log.000"), "{error}");
    followed.extend(drain(&mut follower));
    let totals = writer.totals();
    assert_eq!(
        totals.records,
        followed.len() as u64,
        "what waits counts as lost for now"
    );
    assert_eq!(totals.bytes + totals.dropped_bytes, 500 * 1001);

    fs::remove_file(&ballast).unwrap();
    writer.flush().unwrap();
    write_lines(&mut writer, ["after".to_owned()]);
    followed.extend(drain(&mut follower));
    let totals = writer.totals();
    assert_eq!(totals.records, followed.len() as u64);
    assert_eq!(totals.bytes + totals.dropped_bytes, 500 * 1001 + 6);

    let marks: Vec<usize> = (0..followed.len())
        .filter(|at| followed[*at].truncated)
        .collect();
    assert_eq!(marks, [followed.len() - 2], "one mark, where the hole is");
    assert_eq!(followed.last().unwrap().line, b"after");
    for (n, record) in followed[..marks[0]].iter().enumerate() {
        assert_eq!(record.line, format!("{n:0>1000}").as_bytes());
    }
    assert!(
        marks[0] > 128,
        "what the disk and the buffer could hold is kept"
    );
    assert_eq!(drain(&mut LogReader::open(&run, 0).unwrap()), followed);
}
