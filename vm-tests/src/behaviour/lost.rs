//! Without an exit record there is no exit code: the run is `executor_lost`, and nothing survives it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Record, Run, expect_says};
use crate::host::Host;
use crate::outcome::TestResult;
use crate::wait::wait_for;

pub(crate) const TESTS: &[Test] = tests![
    a_killed_shim_is_told_as_lost,
    a_shim_killed_while_nobody_watched_is_told_as_lost,
];

/// A tree that would live on without its shim.
const TREE: &str = "setsid sleep 300 & (trap '' TERM HUP; sleep 300) & echo ready; sleep 300";

fn kill_shim(run: &Run) -> anyhow::Result<()> {
    let pid = run.wait_started()?.number("/shim_pid")?.to_string();
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).context("no such process")?;
    ensure!(name.starts_with("containerd-shim"), "process {pid} is {name}");
    ensure!(Command::new("kill").args(["-9", &pid]).status()?.success(), "cannot kill {pid}");
    Ok(())
}

fn expect_lost(record: &Record) -> TestResult {
    record.expect("/status", "failed")?.expect("/end_reason", "executor_lost")?;
    ensure!(record.is_null("/exit_code"), "an exit code was invented: {record}");
    expect_says(record.text("/message")?, &["shim"])
}

fn expect_no_survivors(cgroup: &std::path::Path) -> TestResult {
    wait_for("the cgroup goes", Duration::from_secs(20), || {
        ensure!(!cgroup.exists(), "{} is there", cgroup.display());
        Ok(())
    })
}

fn a_killed_shim_is_told_as_lost(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], TREE)?;
    run.wait_printed(host, "ready")?;
    let cgroup = run.cgroup()?;
    kill_shim(&run)?;
    // `davit wait` has no exit code to pass on: it fails as itself.
    expect_lost(&run.wait_ended(host, 125)?)?;
    ensure!(run.stdout_text(host)? == "ready\n", "what was logged stays");
    expect_no_survivors(&cgroup)
}

fn a_shim_killed_while_nobody_watched_is_told_as_lost(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], TREE)?;
    run.wait_printed(host, "ready")?;
    let cgroup = run.cgroup()?;
    host.kill_executor()?;
    kill_shim(&run)?;
    host.start_executor(&settings)?;
    expect_lost(&run.wait_ended(host, 125)?)?;
    expect_no_survivors(&cgroup)
}
