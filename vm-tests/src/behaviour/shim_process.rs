//! The shim is one small process a run that costs nothing while the job is quiet.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Test;
use super::story::Run;
use crate::host::Host;
use crate::outcome::TestResult;
use crate::wait::wait_for;

pub(crate) const TESTS: &[Test] = tests![a_shim_is_small_and_sleeps];

const PRIVATE_KIB_MAX: u64 = 1024;
const SETTLED_SECONDS_MAX: u64 = 10;
const QUIET: Duration = Duration::from_secs(2);

fn a_shim_is_small_and_sleeps(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], "echo ready; exec sleep 300")?;
    run.wait_printed(host, "ready")?;
    let shim = run.record("state")?.number("/shim_pid")?;
    let read = |file: &str| {
        let path = format!("/proc/{shim}/{file}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };

    // It tidies up half a second after the last request.
    let settled = Duration::from_secs(SETTLED_SECONDS_MAX);
    let private_kib = wait_for("the shim is small", settled, || {
        let memory = read("smaps_rollup")?;
        let kib: u64 = memory
            .lines()
            .filter(|line| line.starts_with("Private_"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum();
        ensure!(kib > 0 && kib <= PRIVATE_KIB_MAX, "{kib} KiB: {memory}");
        Ok(kib)
    })?;
    println!("private memory of the shim: {private_kib} KiB");

    let status = read("status")?;
    let value = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    ensure!(value("Threads:") == "1", "it has {} threads", value("Threads:"));

    // Awakened means one more voluntary switch when it goes back to sleep.
    let switches = || -> anyhow::Result<String> {
        let status = read("status")?;
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        Ok(lines.collect::<Vec<_>>().join(", "))
    };
    // The last of its tidying may still be under way.
    wait_for("the shim sleeps", settled, || {
        let before = switches()?;
        thread::sleep(QUIET);
        let after = switches()?;
        ensure!(before == after, "it woke up while nothing happened: {before} → {after}");
        Ok(())
    })?;

    let shims = shims_of(&run)?;
    ensure!(shims == [shim], "processes of the run's shim: {shims:?}, not only {shim}");
    run.davit(host, "cancel", &[])?.success()?;
    Ok(())
}

/// Processes whose command line is a shim's and names the run.
fn shims_of(run: &Run) -> anyhow::Result<Vec<u64>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list /proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("containerd-shim-davit") && line.contains(run.id()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}
