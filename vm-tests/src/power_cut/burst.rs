//! A cut amid as many runs as the host makes: whatever davit said before it still holds.

use std::thread;

use anyhow::{Context, ensure};

use super::{Job, Witness, Word, tell_end};
use crate::behaviour::story::{Run, await_warm_slots};
use crate::host::{ExecutorSettings, Host};
use crate::outcome::TestResult;

/// Clients that submit and wait, each on its own.
const CLIENTS: u32 = 3;
/// Runs of a client: the power is gone long before.
const RUNS_MAX: u32 = 300;
/// Exit codes, by the number of a run.
const CODES: u32 = 5;

/// The name of a client's run; its exit code is in it.
fn token(client: u32, number: u32) -> String {
    format!("burst-{client}-{number}-{}", number % CODES)
}

fn exit_code(token: &str) -> anyhow::Result<i32> {
    let code = token.rsplit('-').next().unwrap_or_default();
    code.parse()
        .with_context(|| format!("no exit code in {token}"))
}

pub(super) fn before(host: &mut Host, settings: &ExecutorSettings, port: u16) -> TestResult {
    host.start_executor(settings)?;
    let first = Job {
        token: "burst-first-0",
        port,
    }
    .submit(host, &[], "exit 0")?;
    tell_end(host, &first, 0)?;
    await_warm_slots(host, 1)?;
    let host = &*host;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || submit_until_the_cut(host, client, port)))
            .collect();
        let ended = clients
            .into_iter()
            .map(|client| client.join().ok().context("a client panicked")?);
        ended.collect()
    })
}

fn submit_until_the_cut(host: &Host, client: u32, port: u16) -> TestResult {
    for number in 0..RUNS_MAX {
        let token = token(client, number);
        let job = Job {
            token: &token,
            port,
        };
        let run = job.submit(host, &[], &format!("echo {token}; exit {}", number % CODES))?;
        tell_end(host, &run, exit_code(&token)?)?;
    }
    Ok(())
}

pub(super) fn after(host: &mut Host, witness: &Witness) -> TestResult {
    let mut ends = [0; 2];
    for (id, token) in &witness.accepted {
        let run = Run::known(host, id);
        // What had not begun runs now.
        run.davit(host, "wait", &[])?;
        let record = run.inspect(host)?;
        let lost = record.expect("/end_reason", "executor_lost").is_ok();
        ends[usize::from(lost)] += 1;
        if lost {
            record.expect("/status", "failed")?;
            ensure!(
                record.is_null("/exit_code"),
                "an exit code was invented: {record}"
            );
            continue;
        }
        record
            .expect("/end_reason", "exited")?
            .expect("/exit_code", exit_code(token)?)?;
        let printed = run.stdout_text(host)?;
        let silent = token == "burst-first-0";
        ensure!(
            silent || printed == format!("{token}\n"),
            "{token} printed {printed:?}"
        );
        Word::Once(token.clone()).say()?;
    }
    println!("{} runs ended, {} were lost", ends[0], ends[1]);
    Ok(())
}
