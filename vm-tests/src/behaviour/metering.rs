//! Usage is the kernel's: wall time from its exec and exit, CPU time from `cpu.stat`, pauses apart.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use super::Test;
use super::story::{EXEC_AND_EXIT_MS_MAX, Run, flat_value, seen_ms};
use crate::host::Host;
use crate::outcome::{TestResult, skip};

pub(crate) const TESTS: &[Test] =
    tests![wall_time_is_the_kernels, cpu_time_is_the_cgroups, wall_time_needs_no_tracing];

const TRACING: &str = "/sys/kernel/tracing";
/// A length that no other `sleep` of the host has.
const SLEEP_SECONDS: &str = "10.000";
/// How far wall time may be from the kernel's, microseconds.
const WALL_ERROR_US_MAX: u64 = 20_000;
/// The same where instructions are emulated: being woken alone takes tens of milliseconds there.
const WALL_ERROR_EMULATED_US_MAX: u64 = 250_000;
const WALL_TRIES_MAX: usize = 3;

/// The kernel's own record of every exec and exit, on the boot-time clock.
struct Trace;

impl Trace {
    fn start() -> anyhow::Result<Self> {
        let trace = Self;
        if !Path::new(TRACING).join("trace_clock").exists() {
            return skip("this host has no tracefs");
        }
        for (file, text) in [
            ("trace_clock", "boot"),
            ("trace", ""),
            ("events/sched/sched_process_exec/enable", "1"),
            ("events/sched/sched_process_exit/enable", "1"),
        ] {
            write(file, text)?;
        }
        Ok(trace)
    }

    /// Time of the last `event` of process `pid`, microseconds since boot.
    fn micros(&self, event: &str, pid: u64) -> anyhow::Result<u64> {
        let text = fs::read_to_string(Path::new(TRACING).join("trace")).context("no trace")?;
        // `sleep-1234  [001] .....   567.890123: sched_process_exec: filename=…`
        let mark = format!(": {event}: ");
        let is_it = |line: &&str| {
            line.contains(&mark)
                && line.split_whitespace().next().is_some_and(|task| task.ends_with(&format!("-{pid}")))
        };
        let line = text.lines().rev().find(is_it);
        let line = line.with_context(|| format!("no {event} of process {pid}"))?;
        let before = line.split(&mark).next().unwrap_or_default();
        let time = before.split_whitespace().next_back().unwrap_or_default();
        time.replace('.', "").parse().with_context(|| format!("no time in {line:?}"))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        for event in ["sched_process_exec", "sched_process_exit"] {
            write(&format!("events/sched/{event}/enable"), "0").unwrap_or_default();
        }
    }
}

fn write(file: &str, text: &str) -> anyhow::Result<()> {
    let path = Path::new(TRACING).join(file);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn wall_time_is_the_kernels(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let cpu = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let error_us_max =
        if cpu.contains("QEMU TCG") { WALL_ERROR_EMULATED_US_MAX } else { WALL_ERROR_US_MAX };
    // Any process may be woken late once; the meter as such is what is judged.
    let mut errors = Vec::new();
    while errors.len() < WALL_TRIES_MAX {
        match metered_against_the_kernel(host)? {
            (wall_us, kernel_us) if wall_us.abs_diff(kernel_us) <= error_us_max => return Ok(()),
            (wall_us, kernel_us) => {
                errors.push(format!("metered {wall_us} µs, the kernel saw {kernel_us} µs"));
            }
        }
    }
    bail!("{}", errors.join("; "))
}

/// Wall time of a sleep as metered and as the kernel traced it, microseconds.
fn metered_against_the_kernel(host: &Host) -> anyhow::Result<(u64, u64)> {
    let trace = Trace::start()?;
    let image = host.image("busybox");
    let run = Run::submit_argv(host, &[], &image, &["sleep", SLEEP_SECONDS])?;
    let pid = run.wait_started()?.number("/init_pid")?;
    let record = run.wait_ended(host, 0)?;
    let began = trace.micros("sched_process_exec", pid)?;
    let ended = trace.micros("sched_process_exit", pid)?;
    let kernel_us = ended.checked_sub(began).context("it ended before it began")?;
    ensure!(kernel_us >= 10_000_000, "the kernel saw {kernel_us} µs");
    let wall_ms = record.number("/usage/wall_ms")?;
    record.expect("/usage/paused_ms", 0)?;
    record.expect("/usage/billable_ms", wall_ms)?;
    Ok((wall_ms * 1_000, kernel_us))
}

fn wall_time_needs_no_tracing(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let began = Instant::now();
    // The job's own view of its time, less its exec and its exit.
    let run = Run::submit(host, &[], "cat /proc/uptime; sleep 2; cat /proc/uptime")?;
    let record = run.wait_ended(host, 0)?;
    let watched_ms = u64::try_from(began.elapsed().as_millis())?;
    let least_ms = seen_ms(&run.stdout_text(host)?)?;
    let wall_ms = record.number("/usage/wall_ms")?;
    let most_ms = watched_ms.min(least_ms + EXEC_AND_EXIT_MS_MAX);
    ensure!(
        least_ms >= 1_980 && (least_ms..=most_ms).contains(&wall_ms),
        "metered {wall_ms} ms; the job saw {least_ms} ms, its submitter {watched_ms} ms"
    );
    record.expect("/duration_ms", wall_ms)?;
    Ok(())
}

fn cpu_time_is_the_cgroups(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    // The last thing the job does is to read its own meter, without another process.
    // Long enough that its end, which it cannot see, is well below a hundredth also under emulation.
    let busy = "timeout 8 sh -c 'while :; do :; done'; \
                while read -r line; do echo \"$line\"; done </sys/fs/cgroup/cpu.stat";
    let run = Run::submit(host, &["--cpu", "1"], busy)?;
    let record = run.wait_ended(host, 0)?;
    let seen_us = flat_value(&run.stdout_text(host)?, "usage_usec")?;
    let metered_us = record.number("/usage/cpu_us")?;
    ensure!(seen_us > 1_000_000, "the job used only {seen_us} µs");
    ensure!(metered_us >= seen_us, "metered {metered_us} µs, the job saw {seen_us} µs");
    ensure!(metered_us - seen_us <= seen_us / 100, "metered {metered_us} µs, seen {seen_us} µs");
    let parts = record.number("/usage/cpu_user_us")? + record.number("/usage/cpu_system_us")?;
    ensure!(parts.abs_diff(metered_us) <= metered_us / 100, "user and system: {record}");
    Ok(())
}
