//! A run belongs to no client: anybody may attach, at any time, and gets everything.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Run, expect_says};
use crate::host::Host;
use crate::outcome::TestResult;
use crate::wait::wait_for;

pub(crate) const TESTS: &[Test] = tests![
    attaching_right_after_submitting_misses_nothing,
    a_run_outlives_its_client,
    the_commands_tell_of_runs,
    a_removed_run_is_gone,
];

fn attaching_right_after_submitting_misses_nothing(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    for code in [0, 5] {
        let run = Run::submit(host, &[], &format!("seq 1 100; echo err >&2; exit {code}"))?;
        // Twice: while it begins, and when it is over.
        for _ in 0..2 {
            let output = run.davit(host, "attach", &[])?.expect_code(code)?;
            ensure!(output.text().lines().count() == 100, "lines are missing: {output}");
            ensure!(output.error_text().contains("err"), "stderr is missing: {output}");
        }
    }
    Ok(())
}

fn a_run_outlives_its_client(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("busybox");
    let script = "echo begin; sleep 4; echo end; exit 6";
    let mut client = host
        .davit_command()?
        .args(["run", "--name", "kept", &image, "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start davit")?;
    wait_for("the job prints", Duration::from_secs(60), || {
        let printed = host.davit(["logs", "kept"])?.success()?.text();
        ensure!(printed == "begin", "{printed:?}");
        Ok(())
    })?;
    client.kill().context("cannot kill the client")?;
    client.wait().context("cannot reap the client")?;
    let followed = host.davit(["logs", "--follow", "kept"])?.success()?;
    ensure!(followed.text() == "begin\nend", "followed: {followed}");
    host.davit(["wait", "kept"])?.expect_code(6)?;
    Ok(())
}

fn the_commands_tell_of_runs(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &["--name", "told", "--label", "a=b"], "exec sleep 300")?;
    run.wait_started()?;
    let listed = host.davit(["ps"])?.success()?.text();
    expect_says(&listed, &["told", "running"])?;
    ensure!(host.davit(["ps", "-q"])?.success()?.text() == run.id(), "ps -q lists ids");
    let refused = run.davit(host, "rm", &[])?.refused()?;
    expect_says(&refused.error_text(), &["running", "stop"])?;
    run.davit(host, "cancel", &[])?.success()?;
    ensure!(host.davit(["ps", "-q"])?.success()?.text().is_empty(), "ps lists live runs only");
    expect_says(&host.davit(["ps", "-a"])?.success()?.text(), &["told", "canceled"])?;
    let record = run.inspect(host)?;
    record.expect("/id", run.id())?.expect("/name", "told")?.expect("/labels/a", "b")?;
    ensure!(!record.is_null("/started_at") && !record.is_null("/completed_at"), "{record}");
    host.davit(["usage", run.id()])?.success()?;
    host.davit(["usage", "-o", "json", run.id()])?.success()?;
    expect_says(&host.davit(["images"])?.success()?.text(), &["davit/busybox", "sha256"])?;
    expect_says(&host.davit(["info"])?.success()?.text(), &["containerd", "crun"])
}

fn a_removed_run_is_gone(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], "echo some words")?;
    run.wait_ended(host, 0)?;
    run.davit(host, "rm", &[])?.success()?;
    ensure!(!run.directory().exists(), "its directory stays");
    run.davit(host, "logs", &[])?.refused()?;

    let image = host.image("busybox");
    let output = host.davit(["run", "--rm", &image, "--", "sh", "-c", "echo once; exit 2"])?;
    ensure!(output.expect_code(2)?.text() == "once", "its output is told all the same");
    ensure!(host.davit(["ps", "-a", "-q"])?.success()?.text().is_empty(), "--rm leaves nothing");
    Ok(())
}
