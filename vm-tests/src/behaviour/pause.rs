//! A paused run stands still, all of it; the time is metered apart and does not count to the timeout.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Run, expect_killed_at_deadline, ran_ms};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    a_paused_tree_stands_still_and_goes_on,
    paused_time_does_not_count_to_the_timeout,
    a_paused_run_can_be_stopped_and_canceled,
];

/// How long a paused run is watched for signs of life.
const WATCH: Duration = Duration::from_secs(2);
/// A run is ended so long after its deadline at most.
const LATE_MS_MAX: u64 = 1_000;

/// Bytes of a run's log on disk.
fn log_bytes(run: &Run) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(run.directory()).context("cannot list the run directory")? {
        let entry = entry.context("cannot list the run directory")?;
        if entry.file_name().to_string_lossy().starts_with("log.") {
            bytes += entry.metadata().context("cannot look at a log segment")?.len();
        }
    }
    Ok(bytes)
}

fn a_paused_tree_stands_still_and_goes_on(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    // Children, grandchildren, and one in a session of its own.
    let tree = "tick() { while :; do echo $1; sleep 0.05; done; }; \
                tick a & (tick b & tick c) & setsid sh -c 'while :; do echo d; sleep 0.05; done' & \
                echo ready; tick e";
    let run = Run::submit(host, &[], tree)?;
    run.wait_printed(host, "ready")?;
    run.davit(host, "pause", &[])?.success()?;
    ensure!(run.cgroup_value("cgroup.events", "frozen")? == 1, "the cgroup is not frozen");
    let record = run.inspect(host)?;
    record.expect("/status", "running")?.expect("/phase", "paused")?;
    ensure!(!record.is_null("/paused_at"), "since when: {record}");
    // What the job wrote just before may still be on its way from the pipe.
    thread::sleep(Duration::from_millis(500));
    let before = (log_bytes(&run)?, run.cgroup_value("cpu.stat", "usage_usec")?);
    thread::sleep(WATCH);
    let after = (log_bytes(&run)?, run.cgroup_value("cpu.stat", "usage_usec")?);
    ensure!(before == after, "log bytes and CPU µs went from {before:?} to {after:?}");
    // Pausing what is paused changes nothing.
    run.davit(host, "pause", &[])?.success()?;

    run.davit(host, "resume", &[])?.success()?;
    ensure!(run.cgroup_value("cgroup.events", "frozen")? == 0, "the cgroup is still frozen");
    let lines_before = run.stdout_text(host)?.lines().count();
    let end = run.davit(host, "stop", &["--grace", "0s"])?;
    end.success()?;
    let printed = run.stdout_text(host)?;
    ensure!(printed.lines().count() > lines_before.min(1), "nothing came after the pause");
    for letter in ["a", "b", "c", "d", "e"] {
        ensure!(printed.lines().any(|line| line == letter), "{letter} never ran");
    }
    let usage = run.inspect(host)?;
    let paused_ms = usage.number("/usage/paused_ms")?;
    ensure!(paused_ms >= 2_500, "paused for {paused_ms} ms");
    let wall_ms = usage.number("/usage/wall_ms")?;
    ensure!(wall_ms > paused_ms, "wall {wall_ms} ms, paused {paused_ms} ms");
    usage.expect("/usage/billable_ms", wall_ms - paused_ms)?;
    Ok(())
}

fn paused_time_does_not_count_to_the_timeout(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &["--timeout", "5s"], "exec sleep 60")?;
    run.wait_started()?;
    run.davit(host, "pause", &[])?.success()?;
    thread::sleep(Duration::from_secs(4));
    run.davit(host, "resume", &[])?.success()?;
    let record = run.wait_ended(host, 124)?;
    let exit = run.record("exit")?;
    expect_killed_at_deadline(&exit)?;
    ensure!(ran_ms(&exit)? >= 8_990, "the pause prolongs the run: {exit}");
    let billable_ms = record.number("/usage/billable_ms")?;
    ensure!(billable_ms < 5_000 + LATE_MS_MAX, "only running time is billed: {record}");

    // A pause has a maximum of its own, and a frozen job does not escape it.
    let options = ["--timeout", "60s", "--max-pause", "2s"];
    let kept = Run::submit(host, &options, "trap '' TERM; while :; do sleep 0.1; done")?;
    kept.wait_started()?;
    kept.davit(host, "pause", &[])?.success()?;
    let record = kept.wait_ended(host, 124)?;
    record.expect("/end_reason", "timed_out")?;
    let paused_ms = record.number("/usage/paused_ms")?;
    ensure!(
        (1_990..2_000 + LATE_MS_MAX).contains(&paused_ms),
        "it was paused for {paused_ms} ms"
    );
    Ok(())
}

fn a_paused_run_can_be_stopped_and_canceled(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let polite = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let stopped = Run::submit(host, &[], polite)?;
    let canceled = Run::submit(host, &[], polite)?;
    for run in [&stopped, &canceled] {
        run.wait_printed(host, "ready")?;
        run.davit(host, "pause", &[])?.success()?;
    }
    // It gets its chance to end well: it is thawed for that.
    stopped.davit(host, "stop", &["--grace", "30s"])?.success()?;
    stopped.inspect(host)?.expect("/status", "canceled")?;
    ensure!(stopped.stdout_text(host)?.ends_with("asked\n"), "it was not asked");
    canceled.davit(host, "cancel", &[])?.success()?;
    canceled.inspect(host)?.expect("/status", "canceled")?;
    ensure!(canceled.stdout_text(host)?.ends_with("ready\n"), "it was asked");
    Ok(())
}
