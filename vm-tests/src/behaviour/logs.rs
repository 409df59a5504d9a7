//! Logs hold what the job wrote, byte for byte, each stream apart, up to the cap.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Record, Run, expect_says};
use crate::host::{Host, run_command};
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    every_byte_is_kept,
    records_are_numbered_and_streams_are_apart,
    a_flood_is_cut_at_the_cap,
];

/// The SHA-256 of `bytes`, as the program of that name prints it.
fn sha256(host: &Host, bytes: &[u8]) -> anyhow::Result<String> {
    let path = host.directory().join("bytes");
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = Command::new("sha256sum");
    let output = run_command(command.arg(&path), Duration::from_secs(60))?.success()?.text();
    Ok(output.split_whitespace().next().unwrap_or_default().to_owned())
}

fn every_byte_is_kept(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    // Blank lines, NUL, CR, a line of 1 MiB, noise, and no newline at the end.
    let script = r"{ printf '\n\nfirst\r\n\n\000\001\377\n'
        head -c 1048576 /dev/zero | tr '\000' x; echo
        head -c 4194304 /dev/urandom
        printf '\n  blanks around  \nno newline'; } >/var/tmp/bytes
        sha256sum </var/tmp/bytes >&2
        cat /var/tmp/bytes";
    let image = host.image("busybox");
    let attached = host.davit(["run", &image, "--", "sh", "-c", script])?.success()?;
    let printed = attached.error_text();
    let wanted = printed.split_whitespace().find(|word| word.len() == 64);
    let wanted = wanted.with_context(|| format!("no checksum in {printed:?}"))?;
    ensure!(sha256(host, &attached.stdout)? == wanted, "the attached client got other bytes");

    let run = Run::newest(host)?;
    ensure!(sha256(host, &run.stdout(host)?)? == wanted, "the log holds other bytes");
    let attached = run.davit(host, "attach", &[])?.success()?;
    ensure!(sha256(host, &attached.stdout)? == wanted, "attaching later gave other bytes");
    let record = run.inspect(host)?;
    record.expect("/log/dropped_bytes", 0)?;

    // A job that ends right after its last line: nothing is overtaken by the end.
    for _ in 0..3 {
        let output = host.davit(["run", &image, "--", "seq", "1", "400"])?.success()?;
        let lines: Vec<_> = (1..=400).map(|number| number.to_string()).collect();
        ensure!(output.text().lines().eq(lines), "lines are missing: {output}");
    }
    Ok(())
}

fn records_are_numbered_and_streams_are_apart(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let script = "i=0; while [ $i -lt 20 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; \
                  echo; printf last";
    let run = Run::submit(host, &[], script)?;
    run.wait_ended(host, 0)?;
    let lines = |stream: &str| (0..20).map(|i| format!("{stream} {i}\n")).collect::<String>();
    let both = run.davit(host, "logs", &[])?.success()?;
    ensure!(both.stdout == (lines("out") + "\nlast").as_bytes(), "stdout: {both}");
    ensure!(both.stderr == lines("err").as_bytes(), "stderr: {both}");
    let only = run.davit(host, "logs", &["--stream", "stderr"])?.success()?;
    ensure!(only.stdout.is_empty() && only.stderr == lines("err").as_bytes(), "apart: {only}");

    let listed = run.davit(host, "logs", &["-o", "json"])?.success()?;
    let records = json_lines(&listed.stdout)?;
    ensure!(records.len() == 42, "{} records", records.len());
    for (at, record) in (1..).zip(&records) {
        record.expect("/id", at)?;
        record.text("/stream")?;
    }
    let later = run.davit(host, "logs", &["-o", "json", "--after", "40"])?.success()?;
    let later = json_lines(&later.stdout)?;
    ensure!(later.len() == 2, "after the 40th come two: {later:?}");
    later[0].expect("/id", 41)?;
    run.inspect(host)?.expect("/log/records", 42)?;
    Ok(())
}

fn json_lines(text: &[u8]) -> anyhow::Result<Vec<Record>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Record::parse("log record", line)).collect()
}

fn a_flood_is_cut_at_the_cap(host: &mut Host) -> TestResult {
    const FLOOD_BYTES: u64 = 64 << 20;
    const CAP_BYTES: u64 = 1 << 20;
    let settings = host.settings();
    host.start_executor(&settings)?;
    let line = "0123456789abcdef".repeat(64);
    // The job reaches its end: what is beyond the cap is read and dropped, not blocked.
    let script = format!("yes {line} | head -c {FLOOD_BYTES}; echo done >&2; exit 3");
    let run = Run::submit(host, &["--log-cap", "1MiB"], &script)?;
    let record = run.wait_ended(host, 3)?;
    let kept = record.number("/log/bytes")?;
    ensure!(kept <= CAP_BYTES, "{kept} bytes are kept");
    ensure!(kept >= CAP_BYTES - 32 * 1024, "only {kept} bytes are kept");
    let dropped = record.number("/log/dropped_bytes")?;
    ensure!(kept + dropped == FLOOD_BYTES + 5, "{kept} kept and {dropped} dropped");

    let flood = format!("{line}\n").into_bytes();
    let printed = run.davit(host, "logs", &["--stream", "stdout"])?.success()?;
    let got = usize::try_from(kept).context("a small number")?.min(printed.stdout.len());
    let same = printed.stdout[..got].iter().eq(flood.iter().cycle().take(got));
    ensure!(same, "what is kept is not what was written");
    expect_says(&run.davit(host, "logs", &[])?.success()?.error_text(), &["cap is reached", "missing"])
}
