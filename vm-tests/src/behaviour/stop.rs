//! Stop asks first and kills later; cancel kills at once; neither touches a run that is over.

use anyhow::{Context, ensure};

use super::Test;
use super::story::{Record, Run, boot_now_ms, ran_ms};
use crate::host::Host;
use crate::outcome::TestResult;

pub(crate) const TESTS: &[Test] = tests![
    stop_returns_when_the_process_ends,
    a_job_that_ignores_the_signal_is_killed_after_the_grace,
    the_signal_is_the_users_or_the_images,
    cancel_kills_at_once,
];

/// Ends with 7 when asked to by SIGTERM.
const POLITE: &str = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
/// Cannot be asked.
const STUBBORN: &str = "trap '' TERM INT; echo ready; while :; do sleep 0.1; done";

fn canceled(record: &Record) -> TestResult {
    record.expect("/status", "canceled")?.expect("/end_reason", "canceled")?;
    Ok(())
}

fn stop_returns_when_the_process_ends(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], POLITE)?;
    run.wait_printed(host, "ready")?;
    let asked_ms = boot_now_ms()?;
    run.davit(host, "stop", &["--grace", "50s"])?.success()?;
    let record = run.inspect(host)?;
    canceled(&record)?;
    ensure!(run.stdout_text(host)?.ends_with("asked\n"), "its last words are in the log");
    let ended_ms = run.record("exit")?.number("/ended/boot_ns")? / 1_000_000;
    ensure!(ended_ms < asked_ms + 10_000, "asked at {asked_ms} ms, ended at {ended_ms} ms");

    // Once more changes nothing, and a run that ended by itself stays as it is.
    run.davit(host, "stop", &[])?.success()?;
    let done = Run::submit(host, &[], "exit 0")?;
    done.wait_ended(host, 0)?;
    for command in ["stop", "cancel"] {
        done.davit(host, command, &[])?.success()?;
    }
    done.inspect(host)?.expect("/status", "succeeded")?.expect("/end_reason", "exited")?;
    Ok(())
}

fn a_job_that_ignores_the_signal_is_killed_after_the_grace(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], STUBBORN)?;
    run.wait_printed(host, "ready")?;
    let asked_ms = boot_now_ms()?;
    run.davit(host, "stop", &["--grace", "1500ms"])?.success()?;
    canceled(&run.inspect(host)?)?;
    let ended_ms = run.record("exit")?.number("/ended/boot_ns")? / 1_000_000;
    let took_ms = ended_ms.checked_sub(asked_ms).context("it ended before it was asked")?;
    // The request itself takes a while under emulation.
    ensure!((1_500..8_000).contains(&took_ms), "it ended after {took_ms} ms");
    Ok(())
}

fn the_signal_is_the_users_or_the_images(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let traps = "trap 'echo USR1; exit 1' USR1; trap 'echo INT; exit 2' INT; \
                 trap 'echo TERM; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let named = Run::submit(host, &[], traps)?;
    // The image `entry` names SIGINT.
    let entry = host.image("entry");
    let options = ["--entrypoint", "/bin/sh"];
    let by_image = Run::submit_argv(host, &options, &entry, &["-c", traps])?;
    for (run, options, signal) in
        [(&named, &["--signal", "USR1"][..], "USR1"), (&by_image, &[][..], "INT")]
    {
        run.wait_printed(host, "ready")?;
        run.davit(host, "stop", options)?.success()?;
        let printed = run.stdout_text(host)?;
        ensure!(printed == format!("ready\n{signal}\n"), "it printed {printed:?}");
        canceled(&run.inspect(host)?)?;
    }
    Ok(())
}

fn cancel_kills_at_once(host: &mut Host) -> TestResult {
    let settings = host.settings();
    host.start_executor(&settings)?;
    let run = Run::submit(host, &[], STUBBORN)?;
    run.wait_printed(host, "ready")?;
    let asked_ms = boot_now_ms()?;
    run.davit(host, "cancel", &[])?.success()?;
    canceled(&run.inspect(host)?)?;
    let exit = run.record("exit")?;
    let ended_ms = exit.number("/ended/boot_ns")? / 1_000_000;
    ensure!(ended_ms < asked_ms + 5_000, "asked at {asked_ms} ms, ended at {ended_ms} ms");
    ensure!(ran_ms(&exit)? > 0, "it ran: {exit}");
    Ok(())
}
