//! A process that is begun beside a job is in the run's limits, on its meter, and stands still with it.

use anyhow::ensure;

use super::Test;
use super::story::{Run, await_warm_slots, expect_says};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    a_process_beside_a_job_has_the_runs_limits_and_meter => 300,
    a_process_beside_a_paused_job_is_refused,
];

const IDLE: &str = "echo ready; while :; do sleep 0.2; done";

fn a_process_beside_a_job_has_the_runs_limits_and_meter(host: &mut Host) -> TestResult {
    host.needs_controllers(&["cpu", "memory", "pids"])?;
    let settings = host.settings();
    host.start_executor(&settings)?;
    // With a container of its own under both runtimes, then in one that waited for it.
    for (runtime, warm) in [("runc", false), ("crun", false), ("crun", true)] {
        if warm {
            await_warm_slots(host, 1)?;
        }
        let limits = ["--memory", "64MiB", "--pids", "20", "--cpu", "0.5"];
        let run = Run::submit(host, &[&["--runtime", runtime][..], &limits].concat(), IDLE)?;
        let launch = run.wait_launched()?;
        ensure!(launch.is_null("/slot") != warm, "it should be {warm} that it was warm: {launch}");
        run.wait_printed(host, "ready")?;
        let exec = |script: &str| host.davit(["exec", run.id(), "--", "sh", "-c", script]);

        let seen = "echo hello; cat /proc/self/cgroup; exit 7";
        let output = exec(seen)?.expect_code(7)?;
        expect_says(&output.text(), &["hello", "0::/exec-"])?;

        // Its CPU time is the run's.
        let before = run.cgroup_value("cpu.stat", "usage_usec")?;
        exec("timeout 2 sh -c 'while :; do :; done'; exit 0")?.success()?;
        let used_us = run.cgroup_value("cpu.stat", "usage_usec")? - before;
        ensure!((500_000..2_500_000).contains(&used_us), "used {used_us} µs of half a core");

        // So are its processes: with the job's own there are not so many.
        let many = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done";
        let forked = exec(many)?;
        ensure!(!forked.error_text().is_empty(), "no fork was refused: {forked}");
        ensure!(run.cgroup_value("pids.events", "max")? > 0, "no fork was refused");

        // So is its memory, and who takes all of it ends the run.
        exec("dd if=/dev/zero of=/dev/null bs=128M count=1")?;
        let record = run.wait_ended(host, 137)?;
        record.expect("/end_reason", "oom_killed")?;
    }
    Ok(())
}

fn a_process_beside_a_paused_job_is_refused(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], IDLE)?;
    run.wait_printed(host, "ready")?;
    run.davit(host, "pause", &[])?.success()?;
    let refused = host.davit(["exec", run.id(), "--", "true"])?.refused()?;
    expect_says(&refused.error_text(), &["paused"])?;
    run.davit(host, "resume", &[])?.success()?;
    host.davit(["exec", run.id(), "--", "true"])?.success()?;
    run.davit(host, "cancel", &[])?.success()?;
    // It is over, and so is what is begun beside it.
    host.davit(["exec", run.id(), "--", "true"])?.refused()?;
    Ok(())
}
