//! Every OCI runtime that the host has runs a job alike; one it lacks is refused by name.

use anyhow::ensure;

use super::Test;
use super::gvisor::sandboxed;
use super::story::{Record, Run, expect_says};
use crate::host::Host;
use crate::outcome::{TestResult, skip};

pub(crate) const TESTS: &[Test] = tests![
    crun_runs_a_job,
    runc_runs_a_job,
    runsc_runs_a_job,
    the_default_runtime_is_the_operators,
];

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
    sandboxed(host, |host| tell_the_story_with(host, "runsc"))
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
