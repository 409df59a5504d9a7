//! Every OCI runtime that the host has runs a job alike; one it lacks is refused by name.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use super::Test;
use super::story::{Record, Run, expect_says};
use crate::host::{Host, run_command};
use crate::outcome::{Skipped, TestResult, skip};

pub(crate) const TESTS: &[Test] = tests![
    crun_runs_a_job,
    runc_runs_a_job,
    runsc_runs_a_job,
    the_default_runtime_is_the_operators,
];

/// How long a short script may take in gVisor alone.
const RUNSC_LIMIT: Duration = Duration::from_secs(60);
/// How often a crash is looked for.
const RUNSC_TRIES: usize = 8;

/// Output on both streams, the exit code, a stop and a timeout, with this runtime.
fn tell_the_story_with(host: &mut Host, runtime: &str) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let info = Record::parse("info", &host.davit(["info", "-o", "json"])?.success()?.stdout)?;
    let runtimes = info.list("/runtimes")?;
    if !runtimes.iter().any(|found| found.text("/name").ok() == Some(runtime)) {
        return skip(format!("this host has no {runtime}"));
    }
    let image = host.image("busybox");
    let script = "echo out; echo err >&2; exit 3";
    let run = ["run", "--runtime", runtime, &image, "--", "sh", "-c", script];
    let output = host.davit(run)?.expect_code(3)?;
    ensure!(output.text() == "out" && output.error_text().contains("err"), "printed {output}");
    Run::newest(host)?.inspect(host)?.expect("/runtime", runtime)?;

    let polite = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let run = Run::submit(host, &["--runtime", runtime], polite)?;
    run.wait_printed(host, "ready")?;
    run.davit(host, "stop", &["--grace", "40s"])?.success()?;
    run.inspect(host)?.expect("/status", "canceled")?;
    let run = Run::submit(host, &["--runtime", runtime, "--timeout", "2s"], "exec sleep 60")?;
    run.wait_ended(host, 124)?.expect("/end_reason", "timed_out")?;
    Ok(())
}

fn crun_runs_a_job(host: &mut Host) -> TestResult {
    tell_the_story_with(host, "crun")
}

fn runc_runs_a_job(host: &mut Host) -> TestResult {
    tell_the_story_with(host, "runc")
}

fn runsc_runs_a_job(host: &mut Host) -> TestResult {
    // gVisor refuses a cgroup without controllers.
    host.needs_controllers(&["memory"])?;
    let told = tell_the_story_with(host, "runsc");
    match told {
        Err(failed) if !failed.is::<Skipped>() => match runsc_crashes_alone()? {
            Some(how) => skip(format!("runsc crashes here without davit too ({how}): {failed:#}")),
            None => Err(failed),
        },
        told => told,
    }
}

/// How gVisor crashes by itself, if it does: a build of it with a Go newer than its release knows does,
/// whatever the kernel.
fn runsc_crashes_alone() -> anyhow::Result<Option<String>> {
    let forking = "for i in 1 2 3 4 5; do sleep 0.1; done";
    for _ in 0..RUNSC_TRIES {
        let mut alone = Command::new("runsc");
        alone.args(["--network=none", "do", "busybox", "sh", "-c", forking]);
        let output = run_command(&mut alone, RUNSC_LIMIT)?;
        if !output.status.success() {
            return Ok(Some(output.status.to_string()));
        }
    }
    Ok(None)
}

fn the_default_runtime_is_the_operators(host: &mut Host) -> TestResult {
    let settings = host.settings().text("default_runtime", "runc");
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], "exit 0")?;
    run.wait_ended(host, 0)?.expect("/runtime", "runc")?;
    let image = host.image("busybox");
    let refused = host.davit(["run", "--runtime", "lxc", &image])?.refused()?;
    expect_says(&refused.error_text(), &["runtime", "lxc", "crun"])
}
