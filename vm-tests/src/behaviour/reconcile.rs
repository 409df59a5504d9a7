//! What is on disk and what is in containerd are brought together: ghosts end, orphans go, and what
//! is not davit's stays.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Record, Run, runs_directory};
use crate::host::{Containerd, Host};
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] =
    tests![a_ghost_is_ended_without_an_exit_code, reap_sweeps_orphans_and_only_davits_own];

/// A run id that no executor gave out.
const ORPHAN: &str = "01890000-0000-7000-8000-00000000abcd";

fn a_ghost_is_ended_without_an_exit_code(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let ended = Run::submit(host, &[], "exit 4")?;
    ended.wait_ended(host, 4)?;
    let ghost = Run::submit(host, &[], "exec sleep 300")?;
    let state = ghost.wait_started()?;
    host.kill_executor()?;

    // Everything of it vanishes but its directory: shim, job, container, cgroup.
    for pointer in ["/shim_pid", "/init_pid"] {
        let pid = state.number(pointer)?.to_string();
        ensure!(Command::new("kill").args(["-9", &pid]).status()?.success(), "cannot kill {pid}");
    }
    let container = format!("{}.1", ghost.id());
    host.containerd().ctr(["tasks", "delete", "--force", &container])?;
    host.containerd().ctr(["containers", "delete", &container])?;

    host.start_executor(&settings)?;
    let record = ghost.wait_ended(host, 125)?;
    record.expect("/status", "failed")?.expect("/end_reason", "executor_lost")?;
    ensure!(record.is_null("/exit_code"), "an exit code was invented: {record}");
    // The one that had ended is not touched.
    ended.inspect(host)?.expect("/exit_code", 4)?.expect("/end_reason", "exited")?;
    Ok(())
}

/// A container with a root file system, as `ctr` makes it.
fn make_container(containerd: &Containerd, image: &str, id: &str, labels: &[&str]) -> TestResult {
    let mut arguments = vec!["containers", "create"];
    for label in labels {
        arguments.extend(["--label", label]);
    }
    arguments.extend([image, id, "true"]);
    containerd.ctr(arguments)?.success()?;
    Ok(())
}

fn reap_sweeps_orphans_and_only_davits_own(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let live = Run::submit(host, &[], "exec sleep 300")?;
    live.wait_started()?;

    let image = host.image("busybox");
    let containerd = host.containerd();
    containerd.ctr(["images", "pull", "--plain-http", &image])?.success()?;
    let orphan = format!("{ORPHAN}.1");
    let run_label = format!("davit.run-id={ORPHAN}");
    let labels = ["davit.managed=true", &run_label, "davit.attempt=1"];
    make_container(containerd, &image, &orphan, &labels)?;
    // Not davit's: no label, or a label without the name davit would have given.
    make_container(containerd, &image, "foreign", &[])?;
    make_container(containerd, &image, "pretender", &labels)?;
    let unaccepted = runs_directory(host).join(&orphan);
    fs::create_dir(&unaccepted).context("cannot make a run directory")?;

    // Young things may belong to a run in the making.
    let young = reap(host, "1h")?;
    young.expect("/containers", 0)?.expect("/run_dirs", 0)?;
    let first = reap(host, "0s")?;
    first.expect("/run_dirs", 1)?;
    ensure!(!unaccepted.exists(), "the directory of a run never accepted stays");
    let second = reap(host, "0s")?;
    let swept = first.number("/containers")? + second.number("/containers")?;
    ensure!(swept == 1, "swept {swept} containers: {first}, {second}");
    reap(host, "0s")?.expect("/containers", 0)?;

    let containerd = host.containerd();
    let listed = containerd.ctr(["containers", "list", "--quiet"])?.success()?.text();
    let has = |id: &str| listed.lines().any(|line| line == id);
    ensure!(!has(&orphan), "the orphan is still there: {listed}");
    ensure!(has("foreign") && has("pretender"), "reap took what is not davit's: {listed}");
    let snapshots = containerd.ctr(["snapshots", "list"])?.success()?.text();
    ensure!(snapshots.contains("foreign"), "reap took a snapshot that is not davit's: {snapshots}");
    live.inspect(host)?.expect("/status", "running")?;
    live.davit(host, "cancel", &[])?.success()?;
    for id in ["foreign", "pretender"] {
        host.containerd().ctr(["containers", "delete", id])?.success()?;
    }
    Ok(())
}

fn reap(host: &Host, age: &str) -> anyhow::Result<Record> {
    let output = host.davit(["reap", "--age", age, "-o", "json"])?.success()?;
    Record::parse("reaped", &output.stdout)
}
