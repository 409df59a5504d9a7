//! Twenty runs at once are twenty exact results.

use anyhow::ensure;

use super::Test;
use super::story::{Run, ran_ms};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![twenty_runs_at_once_are_exact => 300];

const RUNS: i32 = 20;

fn twenty_runs_at_once_are_exact(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let submit = |number: i32| {
        let script = format!(
            "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo {number} $i; done; sleep 1; exit {number}"
        );
        Ok((number, Run::submit(host, &["--memory", "32MiB", "--pids", "16"], &script)?))
    };
    let runs = (0..RUNS).map(submit).collect::<anyhow::Result<Vec<_>>>()?;
    for (number, run) in &runs {
        let record = run.wait_ended(host, *number)?;
        record.expect("/exit_code", *number)?.expect("/end_reason", "exited")?;
        let wanted: String = (1..=50).map(|line| format!("{number} {line}\n")).collect();
        let printed = run.stdout_text(host)?;
        ensure!(printed == wanted, "run {number} printed {printed:?}");
        let wall_ms = record.number("/usage/wall_ms")?;
        ensure!(wall_ms.abs_diff(ran_ms(&run.record("exit")?)?) <= 1, "usage: {record}");
    }
    let listed = host.davit(["ps", "-a", "-q"])?.success()?.text();
    ensure!(listed.lines().count() == runs.len(), "ps lists {listed}");
    Ok(())
}
