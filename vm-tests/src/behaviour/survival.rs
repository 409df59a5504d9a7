//! A run outlives executor and containerd: no line, no exit code, no millisecond, no deadline is lost.

use std::thread;
use std::time::Duration;

use anyhow::ensure;

use super::Test;
use super::story::{Record, Run, expect_killed_at_deadline, ran_ms};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    a_run_outlives_the_executor,
    a_run_outlives_containerd,
    a_run_outlives_both,
    the_deadline_fires_while_both_are_down,
    an_orderly_restart_loses_nothing,
];

/// Sixty lines over six seconds or more, then exit code 7.
const COUNT: &str =
    "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; exit 7";

/// Every line once and in order, the job's own exit code, and usage equal to the kernel's times.
fn expect_whole(host: &Host, run: &Run) -> anyhow::Result<Record> {
    let record = run.wait_ended(host, 7)?;
    record.expect("/end_reason", "exited")?.expect("/exit_code", 7)?;
    let wanted: String = (1..=60).map(|number| format!("line {number}\n")).collect();
    let printed = run.stdout_text(host)?;
    ensure!(printed == wanted, "lines are lost or doubled: {printed:?}");
    let wall_ms = record.number("/usage/wall_ms")?;
    let ran_ms = ran_ms(&run.record("exit")?)?;
    ensure!(wall_ms.abs_diff(ran_ms) <= 1, "metered {wall_ms} ms of {ran_ms} ms");
    ensure!(wall_ms >= 6_000, "sixty sleeps take longer than {wall_ms} ms");
    ensure!(record.number("/usage/cpu_us")? > 0, "no CPU time: {record}");
    Ok(record)
}

fn begin(host: &mut Host) -> anyhow::Result<Run> {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], COUNT)?;
    run.wait_printed(host, "line 5\n")?;
    Ok(run)
}

fn a_run_outlives_the_executor(host: &mut Host) -> TestResult {
    let settings = host.settings();
    let run = begin(host)?;
    host.kill_executor()?;
    host.start_executor(&settings)?;
    run.inspect(host)?.expect("/status", "running")?;
    // Once more, and this time the job ends while nobody watches.
    host.kill_executor()?;
    run.wait_exit_record(60)?;
    host.start_executor(&settings)?;
    expect_whole(host, &run)?;
    Ok(())
}

fn a_run_outlives_containerd(host: &mut Host) -> TestResult {
    let run = begin(host)?;
    host.containerd().kill()?;
    run.inspect(host)?.expect("/status", "running")?;
    host.containerd().start()?;
    expect_whole(host, &run)?;

    // The end comes while containerd is down.
    let run = Run::submit(host, &[], COUNT)?;
    run.wait_printed(host, "line 5\n")?;
    host.containerd().kill()?;
    expect_whole(host, &run)?;
    host.containerd().start()
}

fn a_run_outlives_both(host: &mut Host) -> TestResult {
    let settings = host.settings();
    let run = begin(host)?;
    host.kill_executor()?;
    host.containerd().kill()?;
    thread::sleep(Duration::from_secs(1));
    host.containerd().start()?;
    host.start_executor(&settings)?;
    expect_whole(host, &run)?;
    Ok(())
}

fn the_deadline_fires_while_both_are_down(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let script = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let run = Run::submit(host, &["--timeout", "6s"], script)?;
    run.wait_started()?;
    host.kill_executor()?;
    host.containerd().kill()?;
    expect_killed_at_deadline(&run.wait_exit_record(30)?)?;
    host.containerd().start()?;
    host.start_executor(&settings)?;
    run.wait_ended(host, 124)?.expect("/end_reason", "timed_out")?;
    Ok(())
}

fn an_orderly_restart_loses_nothing(host: &mut Host) -> TestResult {
    let settings = host.settings();
    let run = begin(host)?;
    host.stop_executor()?;
    host.containerd().stop()?;
    host.containerd().start()?;
    host.start_executor(&settings)?;
    run.inspect(host)?.expect("/status", "running")?;
    expect_whole(host, &run)?;
    Ok(())
}
