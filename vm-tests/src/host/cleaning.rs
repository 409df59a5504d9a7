//! Removing by force what a failed test left, so that the next one starts clean.
//!
//! Best effort: what cannot be removed is printed; if containerd has it, the next test fails of it too.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::command::run_command;
use super::{CGROUP_PARENT, CGROUP_ROOT, Containerd, NAMESPACE, STATE_ROOT, leftovers};

const STEP_SECONDS_MAX: u64 = 30;

/// Kills and removes everything of the tests; returns what went wrong.
pub(crate) fn clean() -> Vec<String> {
    let mut problems = Vec::new();
    let mut step = |what: &str, done: anyhow::Result<()>| {
        if let Err(error) = done {
            problems.push(format!("{what}: {error:#}"));
        }
    };
    step("executors", kill_executors());
    step("cgroups", kill_cgroups());
    match Containerd::of_this_host() {
        Ok(containerd) => step("containerd's records", remove_records(&containerd)),
        Err(error) => step("containerd", Err(error)),
    }
    step("shims", kill_shims());
    step("mounts", unmount());
    step("cgroups", remove_cgroups());
    problems
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let limit = Duration::from_secs(STEP_SECONDS_MAX);
    run_command(Command::new(program).args(arguments), limit)?
        .success()
        .map(drop)
}

/// Executors are told by their settings file, which lies in a test's directory.
fn kill_executors() -> anyhow::Result<()> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line);
        if line.contains(&format!("\0--config\0{STATE_ROOT}/")) {
            run("kill", &["-9", &entry.file_name().to_string_lossy()])?;
        }
    }
    Ok(())
}

fn kill_cgroups() -> anyhow::Result<()> {
    for cgroup in leftovers::cgroups()? {
        // A cgroup that is gone by now needs no killing.
        fs::write(cgroup.join("cgroup.kill"), "1").unwrap_or_default();
    }
    Ok(())
}

fn remove_cgroups() -> anyhow::Result<()> {
    for cgroup in leftovers::cgroups()? {
        fs::remove_dir(&cgroup)?;
    }
    let parent = Path::new(CGROUP_ROOT).join(CGROUP_PARENT.trim_start_matches('/'));
    if parent.exists() {
        fs::remove_dir(parent)?;
    }
    Ok(())
}

fn remove_records(containerd: &Containerd) -> anyhow::Result<()> {
    if containerd.ctr(["version"])?.success().is_err() {
        containerd.start()?;
    }
    for (list, remove) in [
        (
            &["tasks", "list", "--quiet"][..],
            &["tasks", "delete", "--force"][..],
        ),
        (
            &["containers", "list", "--quiet"][..],
            &["containers", "delete"][..],
        ),
        (
            &["leases", "list", "--quiet"][..],
            &["leases", "delete", "--sync"][..],
        ),
    ] {
        for id in containerd.ctr(list)?.success()?.text().lines() {
            containerd.ctr(remove.iter().copied().chain([id]))?;
        }
    }
    Ok(())
}

fn kill_shims() -> anyhow::Result<()> {
    for (pid, line) in leftovers::shims()? {
        if line.contains(&format!("-namespace {NAMESPACE}")) {
            // It may just have ended with its task.
            run("kill", &["-9", &pid.to_string()]).unwrap_or_default();
        }
    }
    Ok(())
}

fn unmount() -> anyhow::Result<()> {
    // Inner mounts are listed after the outer ones.
    for point in leftovers::mounts()?.iter().rev() {
        run("umount", &["--lazy", point])?;
    }
    Ok(())
}
