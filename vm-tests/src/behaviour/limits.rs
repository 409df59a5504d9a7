//! Limits are the kernel's: what the instance type says is what the job gets, and no more, whether its
//! container was made for it or waited for it.

use anyhow::{Context as _, ensure};

use super::Test;
use super::story::{Run, await_warm_slots, expect_says, flat_value};
use super::warm_story::prime;
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    a_named_type_and_single_limits_are_in_the_cgroup,
    cpu_is_throttled_to_the_type,
    memory_beyond_the_type_is_an_oom_kill => 300,
    a_fork_bomb_is_held_and_others_go_on => 300,
];

const FILES: [&str; 5] =
    ["cpu.max", "memory.max", "memory.swap.max", "memory.oom.group", "pids.max"];

/// Prints the limits as the job sees them, then stays.
const PRINT_LIMITS: &str = "cd /sys/fs/cgroup && cat cpu.max memory.max memory.swap.max \
    memory.oom.group pids.max && echo done && exec sleep 60";

fn a_named_type_and_single_limits_are_in_the_cgroup(host: &mut Host) -> TestResult {
    host.needs_controllers(&["cpu", "memory", "pids"])?;
    let odd = "[[instance_types]]\nslug = \"odd\"\nname = \"Odd\"\ncpu = 0.3\n\
               memory = \"96MiB\"\npids = 33\nprice_second_micros = 1";
    let settings = host.settings().tables(odd);
    host.start_executor(&settings)?;
    // A run with a container of its own, then one that is given a waiting one: the limits of that are set
    // when it is given.
    check_limits(host, false)?;
    await_warm_slots(host, 2)?;
    check_limits(host, true)
}

fn check_limits(host: &Host, warm: bool) -> TestResult {
    let named = Run::submit(host, &["--instance-type", "odd"], PRINT_LIMITS)?;
    let single = Run::submit(
        host,
        &["--cpu", "1.5", "--memory", "64MiB", "--pids", "20"],
        PRINT_LIMITS,
    )?;
    for (run, wanted) in [
        (&named, ["30000 100000", "100663296", "0", "1", "33"]),
        (&single, ["150000 100000", "67108864", "0", "1", "20"]),
    ] {
        run.wait_printed(host, "done")?;
        let launch = run.record("launch")?;
        ensure!(launch.is_null("/slot") != warm, "it should be {warm} that it was warm: {launch}");
        let seen_inside = run.stdout_text(host)?;
        ensure!(
            seen_inside.lines().take(FILES.len()).eq(wanted),
            "the job saw {seen_inside:?} where {wanted:?} was due"
        );
        for (file, wanted) in FILES.iter().zip(wanted) {
            let found = run.cgroup_file(file)?;
            ensure!(found == wanted, "{file} is {found:?}, not {wanted:?}");
        }
    }
    ensure!(single.cgroup_file("cpu.weight")? == "150", "the weight follows the share");
    for run in [&named, &single] {
        run.davit(host, "cancel", &[])?.success()?;
    }
    Ok(())
}

/// Tells a story of runs with containers of their own, then of runs that are given waiting ones.
fn cold_and_warm(host: &mut Host, tell: fn(&Host, bool) -> TestResult) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings.clone().value("warm.slots_max", "0"))?;
    tell(host, false)?;
    host.stop_executor()?;
    host.start_executor(&settings)?;
    tell(host, true)
}

/// A run with these limits; a warm one's slot is made first.
fn limited(host: &Host, warm: bool, options: &[&str], argv: &[&str]) -> anyhow::Result<Run> {
    let image = host.image("busybox");
    if warm {
        prime(host, options, &image, &["true"])?;
    }
    let run = Run::submit_argv(host, options, &image, argv)?;
    let launch = run.wait_launched()?;
    ensure!(launch.is_null("/slot") != warm, "it should be {warm} that it was warm: {launch}");
    Ok(run)
}

fn cpu_is_throttled_to_the_type(host: &mut Host) -> TestResult {
    host.needs_controllers(&["cpu"])?;
    cold_and_warm(host, expect_throttled)
}

fn expect_throttled(host: &Host, warm: bool) -> TestResult {
    // Two busy loops want two CPUs for three seconds; they get a fifth of one.
    let busy = "cat /sys/fs/cgroup/cpu.stat; echo then; \
                timeout 3 sh -c 'while :; do :; done' & timeout 3 sh -c 'while :; do :; done'; \
                cat /sys/fs/cgroup/cpu.stat";
    let run = limited(host, warm, &["--cpu", "0.2"], &["sh", "-c", busy])?;
    run.davit(host, "wait", &[])?;
    let said = run.stdout_text(host)?;
    let (before, after) = said.split_once("then\n").with_context(|| said.clone())?;
    ensure!(flat_value(after, "nr_throttled")? >= 10, "hardly throttled: {said}");

    // The kernel deals out 20 ms a period, and at most a period's worth in advance. What was used before the
    // job began is the runtime's: of a slot, before there was a limit.
    let grown = |key| anyhow::Ok(flat_value(after, key)? - flat_value(before, key)?);
    let (periods, used_us) = (grown("nr_periods")?, grown("usage_usec")?);
    ensure!(used_us <= (periods + 2) * 20_000, "used {used_us} µs in {periods} periods");

    let record = run.inspect(host)?;
    record.expect("/end_reason", "exited")?;
    let wall_us = record.number("/usage/wall_ms")? * 1_000;
    let cpu_us = record.number("/usage/cpu_us")?;
    // A fifth, a few periods' worth in advance, and what the runtime used before the job looked.
    let runtime_us = flat_value(before, "usage_usec")?;
    ensure!(
        cpu_us <= runtime_us + wall_us / 5 + 100_000,
        "used {cpu_us} µs of {wall_us} µs, {runtime_us} µs of it before the job"
    );
    ensure!(cpu_us >= wall_us / 10, "used only {cpu_us} µs of {wall_us} µs");
    ensure!(record.number("/usage/cpu_throttled_us")? > 1_000_000, "throttled time: {record}");
    Ok(())
}

fn memory_beyond_the_type_is_an_oom_kill(host: &mut Host) -> TestResult {
    host.needs_controllers(&["memory"])?;
    cold_and_warm(host, expect_oom_kill)
}

fn expect_oom_kill(host: &Host, warm: bool) -> TestResult {
    // The hog is a child: without the group kill the first process would sleep on.
    let hog = "dd if=/dev/zero of=/dev/null bs=64M count=1 & wait; exec sleep 60";
    let options = ["--memory", "16MiB"];
    let run = limited(host, warm, &options, &["sh", "-c", hog])?;
    let record = run.wait_ended(host, 137)?;
    record.expect("/end_reason", "oom_killed")?.expect("/status", "failed")?;
    record.expect("/exit_code", 137)?;
    ensure!(record.number("/usage/oom_kills")? >= 1, "no OOM kill counted: {record}");
    ensure!(record.number("/usage/memory_peak_bytes")? <= 16 << 20, "peak: {record}");
    expect_says(record.text("/message")?, &["memory", "16MiB"])?;

    // The same with the hog as first process, and a limit that suffices.
    let alone = ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M count=1"];
    let run = limited(host, warm, &options, &alone)?;
    run.wait_ended(host, 137)?.expect("/end_reason", "oom_killed")?;
    let run = limited(host, warm, &["--memory", "96MiB"], &alone)?;
    let record = run.wait_ended(host, 0)?;
    record.expect("/usage/oom_kills", 0)?;
    ensure!(record.number("/usage/memory_peak_bytes")? >= 64 << 20, "peak: {record}");
    Ok(())
}

fn a_fork_bomb_is_held_and_others_go_on(host: &mut Host) -> TestResult {
    host.needs_controllers(&["cpu", "pids"])?;
    cold_and_warm(host, expect_bomb_held)
}

fn expect_bomb_held(host: &Host, warm: bool) -> TestResult {
    let limits = ["--pids", "32", "--cpu", "0.3", "--timeout", "60s"];
    let script = "bomb() { bomb | bomb & }; bomb; exec sleep 60";
    let bomb = limited(host, warm, &limits, &["sh", "-c", script])?;
    bomb.wait_started()?;

    let image = host.image("busybox");
    let other = ["run", "--pids", "16", &image, "--", "sh", "-c", "echo alive | cat; exit 3"];
    let output = host.davit(other)?.expect_code(3)?;
    ensure!(output.text() == "alive", "the other run printed {output}");

    ensure!(bomb.cgroup_file("pids.current")?.parse::<u64>()? <= 32, "more pids than allowed");
    bomb.davit(host, "cancel", &[])?.success()?;
    let record = bomb.inspect(host)?;
    record.expect("/end_reason", "canceled")?;
    ensure!(record.number("/usage/pids_refused")? > 0, "no fork was refused: {record}");
    ensure!(record.number("/usage/pids_peak")? <= 32, "peak of pids: {record}");

    // A job that fails because it cannot fork is told apart from one that fails by itself.
    let many = "i=0; while [ $i -lt 40 ]; do sleep 30 & i=$((i+1)); done; exit 0";
    let run = limited(host, warm, &["--pids", "16"], &["sh", "-c", many])?;
    run.davit(host, "wait", &[])?;
    let record = run.inspect(host)?;
    record.expect("/end_reason", "pids_limit")?.expect("/status", "failed")?;
    expect_says(record.text("/message")?, &["16"])
}
