//! A job in gVisor: limits, ends, pauses and secrets are what they are with any runtime; what it cannot have is refused.
//!
//! Its processes are none of the host's: the host sees the sandbox, its tasks, memory and CPU time, in the run's cgroup.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Test;
use super::story::{Record, Run, expect_says, flat_value, ran_ms};
use crate::host::{Host, run_command};
use crate::outcome::{Skipped, TestResult, skip};

pub(crate) const TESTS: &[Test] = tests![
    a_sandboxed_job_sees_another_kernel_and_nothing_of_the_host => 300,
    memory_beyond_the_type_ends_the_sandbox => 300,
    a_sandbox_is_throttled_to_the_type => 300,
    a_fork_bomb_in_a_sandbox_is_held_and_others_go_on => 300,
    a_sandboxed_deadline_kills_whatever_the_job_does => 300,
    a_sandbox_stands_still_while_it_is_paused => 300,
    a_sandbox_outlives_executor_and_containerd => 300,
    a_sandbox_ends_with_its_shim => 300,
    a_sandboxed_job_has_its_files_and_secrets => 300,
    what_a_sandbox_cannot_have_is_refused => 300,
];

/// How long a short script may take in gVisor alone.
const ALONE_LIMIT: Duration = Duration::from_secs(60);
/// How often a crash is looked for.
const ALONE_TRIES: usize = 8;
/// The kernel charges a page before it looks.
const PEAK_SLACK: u64 = 64 << 10;
/// A run is ended so long after its deadline at most.
const LATE_MS_MAX: u64 = 1_000;
/// The sandbox itself needs some of the run's memory.
const MEMORY: [&str; 4] = ["--runtime", "runsc", "--memory", "256MiB"];

/// Tells `story` where gVisor runs jobs at all.
pub(super) fn sandboxed(host: &mut Host, story: fn(&mut Host) -> TestResult) -> TestResult {
    // gVisor refuses a cgroup without controllers.
    host.needs_controllers(&["cpu", "memory", "pids"])?;
    match story(host) {
        Err(failed) if !failed.is::<Skipped>() => match crashes_alone()? {
            Some(how) => skip(format!("runsc crashes here without davit too ({how}): {failed:#}")),
            None => Err(failed),
        },
        told => told,
    }
}

/// How gVisor crashes by itself, if it does: a build of it with a Go newer than its release knows does,
/// whatever the kernel.
fn crashes_alone() -> anyhow::Result<Option<String>> {
    let forking = "for i in 1 2 3 4 5; do sleep 0.1; done";
    for _ in 0..ALONE_TRIES {
        let mut alone = Command::new("runsc");
        alone.args(["--network=none", "do", "busybox", "sh", "-c", forking]);
        let output = run_command(&mut alone, ALONE_LIMIT)?;
        if !output.status.success() {
            return Ok(Some(output.status.to_string()));
        }
    }
    Ok(None)
}

/// An executor, and a host that has gVisor.
fn begin(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let info = Record::parse("info", &host.davit(["info", "-o", "json"])?.success()?.stdout)?;
    let runtimes = info.list("/runtimes")?;
    if !runtimes.iter().any(|found| found.text("/name").ok() == Some("runsc")) {
        return skip("this host has no runsc");
    }
    Ok(())
}

/// A run in a sandbox.
fn submit(host: &Host, options: &[&str], script: &str) -> anyhow::Result<Run> {
    Run::submit(host, &[&MEMORY, options].concat(), script)
}

/// Nothing of it is left: no process of the sandbox's, no state of the runtime's.
fn expect_no_sandbox(run: &Run) -> TestResult {
    let mut left = Vec::new();
    for _ in 0..50 {
        left.clear();
        for entry in fs::read_dir("/proc").context("cannot list /proc")?.flatten() {
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            if line.contains("runsc") && line.contains(run.id()) {
                left.push(line.replace('\0', " "));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    anyhow::bail!("of the sandbox there is left: {left:?}")
}

fn a_sandboxed_job_sees_another_kernel_and_nothing_of_the_host(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let script = "echo kernel $(uname -r); dmesg 2>/dev/null || echo no messages; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; id -u; \
                      cat /proc/net/dev | grep -c : ; hostname; pwd; ls /proc | grep -c '^[0-9]'; \
                      mount -t tmpfs none /tmp 2>/dev/null || echo no mount; \
                      unshare -U true 2>/dev/null || echo no namespace; \
                      cat /proc/1/cmdline | tr '\\0' ' ' | cut -c1-2";
        let options = ["--hostname", "inside", "--workdir", "/tmp", "--user", "12:34"];
        let run = submit(host, &options, script)?;
        let record = run.wait_ended(host, 0)?;
        let said = run.stdout_text(host)?;
        expect_says(
            &said,
            &["no messages", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "inside", "/tmp", "no mount", "no namespace"],
        )?;
        let own = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's name")?;
        ensure!(!said.contains(&format!("kernel {}", own.trim())), "the host's kernel: {said}");
        ensure!(said.lines().any(|line| line == "12"), "another user: {said}");
        record.expect("/security/runtime", "runsc")?.expect("/security/network", "none")?;
        ensure!(!record.is_null("/security/no_user_namespace"), "{record}");
        expect_no_sandbox(&run)
    })
}

fn memory_beyond_the_type_ends_the_sandbox(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let hog = "dd if=/dev/zero of=/dev/null bs=400M count=1 & wait; exec sleep 60";
        let run = submit(host, &[], hog)?;
        let record = run.wait_ended(host, 137)?;
        record.expect("/end_reason", "oom_killed")?.expect("/exit_code", 137)?;
        ensure!(record.number("/usage/memory_peak_bytes")? <= (256 << 20) + PEAK_SLACK, "peak: {record}");
        expect_says(record.text("/message")?, &["memory", "256MiB"])?;
        expect_no_sandbox(&run)?;

        // What suffices suffices, and is metered with what the sandbox needs itself.
        let run = submit(host, &[], "dd if=/dev/zero of=/dev/null bs=64M count=1")?;
        let record = run.wait_ended(host, 0)?;
        ensure!(record.number("/usage/memory_peak_bytes")? >= 64 << 20, "peak: {record}");
        Ok(())
    })
}

fn a_sandbox_is_throttled_to_the_type(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let busy = "timeout 6 sh -c 'while :; do :; done' & timeout 6 sh -c 'while :; do :; done'; wait";
        let run = submit(host, &["--cpu", "0.5"], busy)?;
        run.davit(host, "wait", &[])?;
        let record = run.inspect(host)?;
        record.expect("/end_reason", "exited")?;
        let wall_us = record.number("/usage/wall_ms")? * 1_000;
        let cpu_us = record.number("/usage/cpu_us")?;
        // The sandbox's own beginning is in it, before the job's clock runs.
        ensure!(cpu_us >= wall_us / 4, "used only {cpu_us} µs of {wall_us} µs");
        ensure!(record.number("/usage/cpu_throttled_us")? > 1_000_000, "throttled time: {record}");
        Ok(())
    })
}

fn a_fork_bomb_in_a_sandbox_is_held_and_others_go_on(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let limits = ["--pids", "64", "--cpu", "0.3", "--timeout", "60s"];
        let bomb = submit(host, &limits, "bomb() { bomb | bomb & }; bomb; exec sleep 60")?;
        bomb.wait_started()?;
        let image = host.image("busybox");
        let other = ["run", "--pids", "16", &image, "--", "sh", "-c", "echo alive | cat; exit 3"];
        let output = host.davit(other)?.expect_code(3)?;
        ensure!(output.text() == "alive", "the other run printed {output}");
        // The sandbox may come to its end by it, or go on without more.
        let held = (0..600).any(|_| {
            thread::sleep(Duration::from_millis(100));
            bomb.record("exit").is_ok() || bomb.cgroup_value("pids.events", "max").is_ok_and(|refused| refused > 0)
        });
        ensure!(held, "no task was refused for a minute");
        bomb.davit(host, "cancel", &[])?;
        let record = bomb.inspect(host)?;
        ensure!(record.number("/usage/pids_refused")? > 0, "no task was refused: {record}");
        ensure!(record.number("/usage/pids_peak")? <= 64, "peak of pids: {record}");
        expect_no_sandbox(&bomb)
    })
}

fn a_sandboxed_deadline_kills_whatever_the_job_does(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let scripts = [
            "exec sleep 60",
            "trap '' TERM INT HUP; while :; do sleep 0.3; done",
            "for i in 1 2 3; do (trap '' TERM; setsid sleep 60) & done; exec sleep 60",
        ];
        for script in scripts {
            let run = submit(host, &["--timeout", "5s"], script)?;
            let record = run.wait_ended(host, 124)?;
            record.expect("/end_reason", "timed_out")?.expect("/exit_code", 124)?;
            // The sandbox's many tasks take their time to die.
            let ran_ms = ran_ms(&run.record("exit")?)?;
            ensure!((5_000..5_000 + LATE_MS_MAX).contains(&ran_ms), "it ran for {ran_ms} ms");
            expect_no_sandbox(&run)?;
        }
        Ok(())
    })
}

fn a_sandbox_stands_still_while_it_is_paused(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let run = submit(host, &[], "while :; do echo tick; sleep 0.1; done")?;
        run.wait_printed(host, "tick")?;
        run.davit(host, "pause", &[])?.success()?;
        thread::sleep(Duration::from_millis(500));
        let look = |run: &Run| {
            let lines = run.stdout_text(host)?.lines().count();
            anyhow::Ok((lines, flat_value(&run.cgroup_file("cpu.stat")?, "usage_usec")?))
        };
        let before = look(&run)?;
        thread::sleep(Duration::from_secs(2));
        let after = look(&run)?;
        ensure!(before == after, "lines and CPU µs went from {before:?} to {after:?}");
        run.davit(host, "resume", &[])?.success()?;
        thread::sleep(Duration::from_secs(1));
        run.davit(host, "stop", &["--grace", "0s"])?.success()?;
        ensure!(run.stdout_text(host)?.lines().count() > before.0, "it did not go on");
        let usage = run.wait_ended(host, 137)?;
        let paused_ms = usage.number("/usage/paused_ms")?;
        ensure!(paused_ms >= 2_500, "paused for {paused_ms} ms");
        usage.expect("/usage/billable_ms", usage.number("/usage/wall_ms")? - paused_ms)?;
        expect_no_sandbox(&run)
    })
}

fn a_sandbox_outlives_executor_and_containerd(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let count = "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; exit 7";
        let run = submit(host, &[], count)?;
        run.wait_printed(host, "line 5\n")?;
        host.kill_executor()?;
        host.containerd().kill()?;
        thread::sleep(Duration::from_secs(1));
        host.containerd().start()?;
        let settings = host.settings();
        host.start_executor(&settings)?;
        let record = run.wait_ended(host, 7)?;
        record.expect("/end_reason", "exited")?;
        let wanted: String = (1..=60).map(|number| format!("line {number}\n")).collect();
        let printed = run.stdout_text(host)?;
        ensure!(printed == wanted, "lines are lost or doubled: {printed:?}");
        let wall_ms = record.number("/usage/wall_ms")?;
        ensure!(wall_ms.abs_diff(ran_ms(&run.record("exit")?)?) <= 1, "metered {wall_ms} ms");
        expect_no_sandbox(&run)
    })
}

fn a_sandbox_ends_with_its_shim(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let run = submit(host, &[], "echo ready; exec sleep 60")?;
        run.wait_printed(host, "ready")?;
        let shim = run.wait_started()?.number("/shim_pid")?.to_string();
        let sent = Command::new("kill").args(["-KILL", &shim]).status()?;
        ensure!(sent.success(), "cannot kill shim {shim}");
        run.davit(host, "wait", &[])?;
        run.inspect(host)?.expect("/end_reason", "executor_lost")?;
        expect_no_sandbox(&run)
    })
}

fn a_sandboxed_job_has_its_files_and_secrets(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let directory = host.directory().join("in");
        fs::create_dir(&directory)?;
        fs::write(directory.join("given"), "of a file\n")?;
        let secret = host.directory().join("secret");
        fs::write(&secret, "hush-hush-hush")?;
        let file = format!("token={}", secret.display());
        let variable = format!("HUSH={}", secret.display());
        let options = ["--dir", &directory.to_string_lossy(), "--secret", &file, "--secret-env", &variable];
        let script = "cat given; wc -c < /run/secrets/token; echo ${#HUSH}; cat /run/secrets/token";
        let run = submit(host, &options, script)?;
        run.wait_ended(host, 0)?;
        let said = run.stdout_text(host)?;
        let lines: Vec<&str> = said.lines().map(str::trim).collect();
        ensure!(lines[..3] == ["of a file", "14", "14"], "it had {said:?}");
        ensure!(!said.contains("hush"), "its log has the secret: {said:?}");
        Ok(())
    })
}

fn what_a_sandbox_cannot_have_is_refused(host: &mut Host) -> TestResult {
    sandboxed(host, |host| {
        begin(host)?;
        let image = host.image("busybox");
        let out = host.directory().join("out");
        let extract = format!("/tmp:{}", out.display());
        for (options, words) in [
            (["--network", "bridge"], ["network", "runsc"]),
            (["--extract", &extract], ["extract", "runsc"]),
            (["--pids", "63"], ["pids_max", "runsc"]),
            (["--memory", "63MiB"], ["memory_bytes_max", "runsc"]),
        ] {
            let run = [&["run", "--runtime", "runsc"], &options[..], &[&image, "--", "true"]].concat();
            let refused = host.davit(run)?.refused()?;
            expect_says(&refused.error_text(), &words)?;
        }
        Ok(())
    })
}
