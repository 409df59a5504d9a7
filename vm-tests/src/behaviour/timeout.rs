//! The timeout ends a run whatever the job does, at the right moment, with exit code 124.

use std::process::Command;

use anyhow::ensure;

use super::Test;
use super::story::{Run, expect_killed_at_deadline, expect_says, ran_ms};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    the_deadline_kills_whatever_the_job_does,
    a_program_that_exits_124_was_not_timed_out,
    a_deadline_can_be_moved,
];

fn the_deadline_kills_whatever_the_job_does(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let options = ["--timeout", "4s"];
    let scripts = [
        "exec sleep 60",
        "trap '' TERM INT HUP; while :; do sleep 0.3; done",
        "for i in 1 2 3; do (trap '' TERM; setsid sleep 60) & done; exec sleep 60",
        "(kill -STOP $(cut -d' ' -f4 /proc/self/stat)) & exec sleep 60",
    ];
    let submit = |script| Run::submit(host, &options, script);
    let runs = scripts.iter().copied().map(submit).collect::<anyhow::Result<Vec<_>>>()?;

    // From outside even the first process can be stopped.
    let stopped = Run::submit(host, &options, "exec sleep 60")?;
    let init = stopped.wait_started()?.number("/init_pid")?.to_string();
    let sent = Command::new("kill").args(["-STOP", &init]).status()?;
    ensure!(sent.success(), "cannot stop process {init}");

    for run in runs.iter().chain([&stopped]) {
        let record = run.wait_ended(host, 124)?;
        record.expect("/end_reason", "timed_out")?.expect("/status", "failed")?;
        record.expect("/exit_code", 124)?;
        expect_says(record.text("/message")?, &["4 s"])?;
        expect_killed_at_deadline(&run.record("exit")?)?;
    }
    Ok(())
}

fn a_program_that_exits_124_was_not_timed_out(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let image = host.image("busybox");
    let run = ["run", "--timeout", "60s", &image, "--", "sh", "-c", "exit 124"];
    host.davit(run)?.expect_code(124)?;
    let record = Run::newest(host)?.inspect(host)?;
    record.expect("/end_reason", "exited")?.expect("/exit_code", 124)?;
    Ok(())
}

fn a_deadline_can_be_moved(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &["--timeout", "60s"], "exec sleep 60")?;
    run.wait_started()?;
    for (bad, limit) in [("0s", "1"), ("86401s", "86400")] {
        let refused = run.davit(host, "extend", &["--timeout", bad])?.refused()?;
        expect_says(&refused.error_text(), &["timeout", limit])?;
    }
    run.davit(host, "extend", &["--timeout", "5s"])?.success()?;
    ensure!(run.record("state")?.number("/timeout_ms")? == 5_000, "the state keeps it");
    run.davit(host, "extend", &["--timeout", "7s"])?.success()?;
    run.wait_ended(host, 124)?.expect("/end_reason", "timed_out")?;
    let exit = run.record("exit")?;
    expect_killed_at_deadline(&exit)?;
    ensure!(ran_ms(&exit)? >= 6_999, "the last extension counts: {exit}");
    // Over is over.
    run.davit(host, "extend", &["--timeout", "60s"])?.refused()?;
    Ok(())
}
