//! Output goes through byte for byte; signals go to the run; the client may go, the run stays.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use davit_rpc::local::LogRecord;
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::{Executor, RUN_ID, Script, ended, text};

/// Records as the executor tells `output`: lines without newline, long ones in parts.
fn records(first_id: u64, stream: &str, output: &[u8], part_bytes: usize) -> Vec<LogRecord> {
    let mut records = Vec::new();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let newline = line.ends_with(b"\n");
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let parts: Vec<&[u8]> = if line.is_empty() {
            vec![line]
        } else {
            line.chunks(part_bytes).collect()
        };
        let last = parts.len() - 1;
        for (at, part) in parts.into_iter().enumerate() {
            records.push(LogRecord {
                id: first_id + records.len() as u64,
                unix_ns: 1_700_000_000_000_000_000,
                stream: stream.into(),
                partial: at < last,
                truncated: false,
                line: part.to_vec(),
                newline: newline && at == last,
            });
        }
    }
    records
}

/// Every byte value, blank lines, a long line, no final newline.
fn awkward() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).collect();
    bytes.extend_from_slice(b"\n\n\r\n");
    bytes.extend(std::iter::repeat_n(b'x', 300_000));
    bytes.extend_from_slice("\né\u{fffd}\nno newline at the end".as_bytes());
    bytes
}

fn exited(code: u32) -> davit_rpc::local::Run {
    ended("failed", "exited", Some(code), "")
}

#[test]
fn output_is_byte_exact_on_both_streams() {
    let mut log = records(1, "stdout", &awkward(), 16 << 10);
    log.extend(records(
        log.len() as u64 + 1,
        "stderr",
        b"to stderr \xff\n\nend",
        4,
    ));
    let executor = Executor::start(Script {
        log,
        ended: exited(0),
        ..Script::default()
    });
    for arguments in [
        &["run", "image"][..],
        &["attach", RUN_ID],
        &["logs", RUN_ID],
        &["logs", "-f", RUN_ID],
    ] {
        let output = executor.davit(arguments);
        assert!(output.stdout == awkward(), "{arguments:?} changed stdout");
        assert_eq!(output.stderr, b"to stderr \xff\n\nend", "{arguments:?}");
    }
}

#[test]
fn json_is_one_object_a_line_the_ended_run_at_last() {
    let mut log = records(1, "stdout", b"one\ntwo", 100);
    log.extend(records(3, "stderr", b"oops \xff\n", 100));
    let executor = Executor::start(Script {
        log,
        ended: exited(3),
        ..Script::default()
    });
    for arguments in [
        &["run", "-o", "json", "image"][..],
        &["attach", RUN_ID, "-o", "json"],
    ] {
        let output = executor.davit(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        let lines = text(&output.stdout);
        let told: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [records @ .., end] = &told[..] else {
            panic!("{arguments:?} printed nothing")
        };
        let shown: Vec<_> = records
            .iter()
            .map(|record| {
                assert_eq!(record["event"], "log");
                let text = |key: &str| record[key].as_str().unwrap().to_owned();
                (text("stream"), text("line"))
            })
            .collect();
        let expected = [
            ("stdout", "one"),
            ("stdout", "two"),
            ("stderr", "oops \u{fffd}"),
        ];
        assert_eq!(
            shown,
            expected.map(|(stream, line)| (stream.to_owned(), line.to_owned()))
        );
        assert_eq!(end["event"], "end");
        assert_eq!(end["run"]["exit_code"], 3);
        assert_eq!(end["run"]["id"], RUN_ID);
    }
    let logs = text(&executor.davit(&["logs", RUN_ID, "-o", "json"]).stdout);
    assert_eq!(logs.lines().count(), 3);
    assert!(logs.lines().all(|line| line.contains(r#""event":"log""#)));
}

#[test]
fn an_executor_that_goes_away_costs_no_byte_and_doubles_none() {
    let executor = Executor::start(Script {
        log: records(1, "stdout", &awkward(), 1_000),
        ended: exited(5),
        breaks_after: Some(100),
        ..Script::default()
    });
    let output = executor.davit(&["run", "image"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(output.stdout == awkward());
    assert!(
        text(&output.stderr).contains("the run goes on"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(
        executor.asked()[1..],
        ["follow after 0", "follow after 100"]
    );
}

#[test]
fn times_stand_before_whole_lines_only() {
    let executor = Executor::start(Script {
        log: records(1, "stdout", b"abcdef\n\ng", 4),
        ended: exited(0),
        ..Script::default()
    });
    let output = executor.davit(&["logs", "-t", RUN_ID]);
    let time = "2023-11-14T22:13:20.000000000Z";
    assert_eq!(
        text(&output.stdout),
        format!("{time} abcdef\n{time} \n{time} g")
    );
}

fn start(executor: &Executor) -> Child {
    let child = executor.command(&["run", "image"]).spawn().unwrap();
    executor.wait_asked("follow after 0");
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn the_first_signal_is_a_stop_with_it() {
    for (sent, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM")] {
        let executor = Executor::start(Script {
            lives_until_stop: Some(true),
            ended: ended("canceled", "canceled", Some(9), "stopped"),
            ..Script::default()
        });
        let child = start(&executor);
        signal(&child, sent);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(9));
        executor.wait_asked(&format!("stop Some({name:?})"));
        assert!(!executor.asked().contains(&"cancel".to_owned()));
    }
}

#[test]
fn the_second_signal_is_a_cancel() {
    let executor = Executor::start(Script {
        lives_until_stop: Some(false),
        ended: ended("canceled", "canceled", Some(137), "cancelled"),
        ..Script::default()
    });
    let child = start(&executor);
    signal(&child, Signal::INT);
    executor.wait_asked("stop Some(\"INT\")");
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(137));
    executor.wait_asked("cancel");
}

#[test]
fn a_closed_terminal_leaves_the_run_alone() {
    let executor = Executor::start(Script {
        lives_until_stop: Some(true),
        ..Script::default()
    });
    let child = start(&executor);
    signal(&child, Signal::HUP);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(Signal::HUP.as_raw()));
    assert_eq!(executor.asked(), ["submit image", "follow after 0"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error_worth_a_word() {
    let executor = Executor::start(Script {
        log: records(1, "stdout", &vec![b'\n'; 200_000], 10),
        ended: exited(0),
        ..Script::default()
    });
    let mut child = executor.command(&["logs", RUN_ID]).spawn().unwrap();
    let mut one = [0];
    child.stdout.take().unwrap().read_exact(&mut one).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(text(&output.stderr), "");
}
