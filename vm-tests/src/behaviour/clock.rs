//! The wall clock steps, a day ahead and a day back, under live runs: nothing is metered, ended or swept by it.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::Test;
use super::story::{EXEC_AND_EXIT_MS_MAX, Run, expect_killed_at_deadline, seen_ms};
use crate::host::Host;
use crate::outcome::{TestResult, skip};

pub(crate) const TESTS: &[Test] = tests![a_step_changes_no_meter_and_no_deadline];

const DAY_SECONDS: i64 = 86_400;
/// What a guest of scripts/vm is called. No other machine's clock is ours to step.
const GUEST: &str = "davit-guest";

/// The guest's wall clock; right again when dropped.
struct Clock {
    ahead_seconds: i64,
}

impl Clock {
    fn step(&mut self, seconds: i64) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
        let then = i64::try_from(now.as_secs())? + seconds;
        let set = Command::new("date").args(["-s", &format!("@{then}")]).output()?;
        ensure!(set.status.success(), "cannot set the clock: {set:?}");
        self.ahead_seconds += seconds;
        Ok(())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if let Err(error) = self.step(-self.ahead_seconds) {
            println!("the clock stays {} s ahead: {error:#}", self.ahead_seconds);
        }
    }
}

fn a_step_changes_no_meter_and_no_deadline(host: &mut Host) -> TestResult {
    if fs::read_to_string("/proc/sys/kernel/hostname")?.trim() != GUEST {
        return skip("this host's clock is not the tests' to step");
    }
    let settings = host.settings();
    host.start_executor(&settings)?;
    let counted = Run::submit(host, &[], "cat /proc/uptime; sleep 20; cat /proc/uptime")?;
    let limited = Run::submit(host, &["--timeout", "15s"], "exec sleep 600")?;
    counted.wait_started()?;
    limited.wait_started()?;

    let mut clock = Clock { ahead_seconds: 0 };
    clock.step(DAY_SECONDS)?;
    // A new executor knows the runs from their records alone, and finds them a day old.
    host.kill_executor()?;
    host.start_executor(&settings)?;
    host.davit(["reap"])?.success()?;
    for run in [&counted, &limited] {
        run.inspect(host)?.expect("/status", "running")?;
    }
    clock.step(-2 * DAY_SECONDS)?;
    thread::sleep(Duration::from_secs(1));
    for run in [&counted, &limited] {
        run.inspect(host)?.expect("/status", "running")?;
    }
    clock.step(DAY_SECONDS)?;

    let record = limited.wait_ended(host, 124)?;
    record.expect("/end_reason", "timed_out")?;
    expect_killed_at_deadline(&limited.record("exit")?)?;
    let record = counted.wait_ended(host, 0)?;
    let least_ms = seen_ms(&counted.stdout_text(host)?)?;
    let wall_ms = record.number("/usage/wall_ms")?;
    ensure!(
        (least_ms..=least_ms + EXEC_AND_EXIT_MS_MAX).contains(&wall_ms),
        "metered {wall_ms} ms, the job saw {least_ms} ms"
    );
    record.expect("/usage/billable_ms", wall_ms)?.expect("/usage/paused_ms", 0)?;
    Ok(())
}
