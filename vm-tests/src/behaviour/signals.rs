//! A signal that davit did not send is told as such, and never as an OOM kill or a timeout.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;

use super::Test;
use super::story::{Run, run_directories};
use crate::host::Host;
use crate::outcome::TestResult;
use crate::wait::wait_for;

pub(crate) const TESTS: &[Test] =
    tests![a_kill_from_elsewhere_is_signaled, the_attached_client_passes_signals_on];

fn a_kill_from_elsewhere_is_signaled(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let killed = Run::submit(host, &[], "exec sleep 60")?;
    let init = killed.wait_started()?.number("/init_pid")?.to_string();
    ensure!(Command::new("kill").args(["-9", &init]).status()?.success(), "cannot kill {init}");
    let record = killed.wait_ended(host, 137)?;
    record.expect("/end_reason", "signaled")?.expect("/status", "failed")?;
    record.expect("/exit_code", 137)?.expect("/usage/oom_kills", 0)?;

    // The shell outlives its killed child and says 137 itself: the first process did exit.
    let passed_on = Run::submit(host, &[], "sh -c 'kill -9 $$'; exit $?")?;
    passed_on.wait_ended(host, 137)?.expect("/end_reason", "exited")?;
    Ok(())
}

fn the_attached_client_passes_signals_on(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("busybox");
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let mut client = host.davit_command()?.args(["run", &image, "--", "sh", "-c", script]).spawn()?;
    let run = wait_for("the run", Duration::from_secs(60), || {
        ensure!(!run_directories(host)?.is_empty(), "not accepted yet");
        Run::newest(host)
    })?;
    run.wait_printed(host, "ready")?;
    let client_pid = client.id().to_string();
    ensure!(Command::new("kill").args(["-TERM", &client_pid]).status()?.success(), "no client");
    let status = wait_for("the client ends", Duration::from_secs(30), || {
        client.try_wait()?.ok_or_else(|| anyhow::anyhow!("it still runs"))
    })?;
    ensure!(status.code() == Some(5), "the client ended with {status}");
    run.inspect(host)?.expect("/exit_code", 5)?;
    Ok(())
}
