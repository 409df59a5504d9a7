//! The shim is a shim like any other: plain `ctr run` works, with exec, kill, pause and metrics.

use std::time::Duration;

use anyhow::ensure;

use super::Test;
use super::story::expect_says;
use crate::host::{Containerd, Host};
use crate::outcome::TestResult;
use crate::wait::wait_for;

pub(crate) const TESTS: &[Test] = tests![ctr_runs_a_container, ctr_controls_a_container];

const RUNTIME: &str = "io.containerd.davit.v1";

fn pull(host: &Host, name: &str) -> anyhow::Result<String> {
    host.binary("containerd-shim-davit-v1")?;
    let image = host.image(name);
    host.containerd().ctr(["images", "pull", "--plain-http", &image])?.success()?;
    Ok(image)
}

fn ctr_runs_a_container(host: &mut Host) -> TestResult {
    let image = pull(host, "busybox")?;
    let run = |id: &str, script: &str| {
        let arguments =
            ["run", "--rm", "--runtime", RUNTIME, "--cpu-shares", "0", &image, id, "sh", "-c", script];
        host.containerd().ctr(arguments)
    };
    let output = run("plain", "echo out; echo err >&2; exit 3")?.expect_code(3)?;
    ensure!(output.text() == "out" && output.error_text() == "err", "it printed {output}");
    let many = run("many", "seq 1 5000")?.success()?;
    ensure!(many.text().lines().count() == 5_000, "output was lost");
    Ok(())
}

fn wait_status(containerd: &Containerd, id: &str, wanted: &str) -> TestResult {
    wait_for(&format!("task {id} is {wanted}"), Duration::from_secs(30), || {
        let listed = containerd.ctr(["tasks", "list"])?.success()?.text();
        let line = listed.lines().find(|line| line.starts_with(id)).unwrap_or("not listed");
        ensure!(line.contains(wanted), "{line}");
        Ok(())
    })
}

fn ctr_controls_a_container(host: &mut Host) -> TestResult {
    let image = pull(host, "busybox")?;
    let containerd = host.containerd();
    let detached =
        ["run", "--detach", "--runtime", RUNTIME, "--cpu-shares", "0", "--null-io", &image, "held"];
    let script = ["sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.1; done"];
    containerd.ctr(detached.iter().chain(&script))?.success()?;
    wait_status(containerd, "held", "RUNNING")?;

    let inside = ["tasks", "exec", "--exec-id", "one", "held", "sh", "-c", "echo inside; exit 4"];
    let output = containerd.ctr(inside)?.expect_code(4)?;
    ensure!(output.text() == "inside", "exec printed {output}");
    containerd.ctr(["tasks", "pause", "held"])?.success()?;
    wait_status(containerd, "held", "PAUSED")?;
    containerd.ctr(["tasks", "resume", "held"])?.success()?;
    wait_status(containerd, "held", "RUNNING")?;
    let metrics = containerd.ctr(["tasks", "metrics", "held"])?.success()?.text();
    ensure!(metrics.contains("cpu.usage_usec") || metrics.contains("usage_usec"), "{metrics}");
    let listed = containerd.ctr(["tasks", "ps", "held"])?.success()?.text();
    ensure!(listed.lines().count() >= 2, "no process is listed: {listed}");

    // It is the same container after containerd was killed.
    containerd.kill()?;
    containerd.start()?;
    wait_status(containerd, "held", "RUNNING")?;
    let again = ["tasks", "exec", "--exec-id", "two", "held", "echo", "still here"];
    ensure!(containerd.ctr(again)?.success()?.text() == "still here", "exec after the restart");

    containerd.ctr(["tasks", "kill", "--signal", "SIGUSR1", "held"])?.success()?;
    wait_status(containerd, "held", "STOPPED")?;
    // ctr itself exits with 0 and tells the job's code in a warning.
    let deleted = containerd.ctr(["tasks", "delete", "held"])?.success()?;
    expect_says(&deleted.error_text(), &["exit code 9"])?;
    containerd.ctr(["containers", "delete", "held"])?.success()?;
    Ok(())
}
