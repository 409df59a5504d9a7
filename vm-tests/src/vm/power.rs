//! The outside of a power cut: what survives it. Hears what davit acknowledged, cuts, boots, asks again.
//!
//! Invariant: a run's executions are counted here, as the jobs themselves tell them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::machine::{Heard, Machine};
use super::{GUEST_BINARIES, OWN_NAME, Wanted, programs};
use crate::outcome::{Outcome, TestReport, TestResult};
use crate::power_cut::{Act, Witness, Word};

/// Where the witness is handed to the guest.
const WITNESS_DIRECTORY: &str = "/var/tmp/davit-power-cut";
/// Longest half of an act, seconds.
const HALF_SECONDS_MAX: u64 = 400;
/// Ends told in a burst before the power goes.
const BURST_TOLD: usize = 12;
/// Bytes of a job's name, and how long it may take to tell it.
const TOKEN_BYTES_MAX: u64 = 128;
const TOKEN_SECONDS_MAX: u64 = 10;

/// Tells the wanted acts, on the machine that is up.
pub(super) fn cut_power(machine: &Machine, wanted: Wanted<'_>, output: &Path) -> Vec<TestReport> {
    let chosen = Act::ALL.into_iter().filter(|act| wanted.has(act.test()));
    chosen.map(|act| report(machine, act, output)).collect()
}

/// Whether any act is wanted.
pub(super) fn is_wanted(wanted: Wanted<'_>) -> bool {
    Act::ALL.iter().any(|act| wanted.has(act.test()))
}

fn report(machine: &Machine, act: Act, output: &Path) -> TestReport {
    let began = Instant::now();
    let outcome = Outcome::from(tell(machine, act, output));
    let seconds = began.elapsed().as_secs_f64();
    let name = act.test();
    match &outcome {
        Outcome::Failed { reason } => println!("FAIL {name} ({seconds:.1} s): {reason}"),
        _ => println!("ok   {name} ({seconds:.1} s)"),
    }
    TestReport {
        name: name.to_owned(),
        outcome,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

fn tell(machine: &Machine, act: Act, output: &Path) -> TestResult {
    let executions = Executions::listen()?;
    let port = executions.port.to_string();
    let own = format!("{GUEST_BINARIES}/{OWN_NAME}");
    // The programs must outlive the cut; what davit writes from here on is not synced by anybody else.
    machine.exec(&["sync"])?;
    let mut witness = Witness::default();
    let mut cut = false;
    machine.listen(
        &[&own, "power-cut", act.argument(), &port],
        half(),
        |line| {
            match Word::parse(line) {
                None => println!("     | {line}"),
                Some(word) => match word? {
                    Word::Cut => cut = true,
                    Word::Failed(reason) => bail!("before the cut: {reason}"),
                    word => witness.hear(word),
                },
            }
            cut |= act == Act::Burst && witness.told.len() >= BURST_TOLD;
            Ok(if cut { Heard::Enough } else { Heard::Go })
        },
    )?;
    ensure!(cut, "the guest ended before the power was to be cut");
    machine.cut()?;
    let file = output.join(format!("power-cut-{}.json", act.argument()));
    let json = serde_json::to_vec_pretty(&witness).context("cannot write the witness as JSON")?;
    fs::write(&file, json).with_context(|| format!("cannot write {}", file.display()))?;
    machine.boot_again()?;
    // Pushed again: these are not what the cut is to try.
    machine.push(&programs()?, GUEST_BINARIES)?;
    machine.push(std::slice::from_ref(&file), WITNESS_DIRECTORY)?;
    let remote = format!("{WITNESS_DIRECTORY}/power-cut-{}.json", act.argument());
    let (mut once, mut never) = (Vec::new(), Vec::new());
    let command = [&own, "power-cut", act.argument(), &port, &remote];
    machine.listen(&command, half(), |line| {
        match Word::parse(line).transpose()? {
            None => println!("     | {line}"),
            Some(Word::Once(token)) => once.push(token),
            Some(Word::Never(token)) => never.push(token),
            Some(Word::Failed(reason)) => bail!("after the next boot: {reason}"),
            Some(word) => bail!("nothing is to be said of {word:?}"),
        }
        Ok(Heard::Go)
    })?;
    ensure!(!once.is_empty(), "the guest ended without a word");
    executions.expect(&once, &never)
}

const fn half() -> Duration {
    Duration::from_secs(HALF_SECONDS_MAX)
}

/// How often each job ran, in all boots.
struct Executions {
    port: u16,
    counts: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Executions {
    /// Counts until the process ends.
    fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for jobs")?;
        let port = listener.local_addr().context("no address")?.port();
        let counts = Arc::new(Mutex::new(BTreeMap::new()));
        let counted = Arc::clone(&counts);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let limit = Some(Duration::from_secs(TOKEN_SECONDS_MAX));
                let mut token = String::new();
                let read = connection.set_read_timeout(limit).and_then(|()| {
                    BufReader::new(connection.take(TOKEN_BYTES_MAX)).read_line(&mut token)
                });
                if read.is_ok() && token.ends_with('\n') {
                    let mut counts = counted.lock().unwrap_or_else(PoisonError::into_inner);
                    *counts.entry(token.trim_end().to_owned()).or_insert(0) += 1;
                }
            }
        });
        Ok(Self { port, counts })
    }

    fn expect(&self, once: &[String], never: &[String]) -> TestResult {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let more: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(more.is_empty(), "jobs ran more than once: {more:?}");
        for token in once {
            ensure!(
                counts.contains_key(token),
                "{token} ended by itself and never ran"
            );
        }
        for token in never {
            ensure!(!counts.contains_key(token), "{token} ran and must not have");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpStream;

    use crate::wait::wait_for;

    #[test]
    fn a_job_that_tells_of_itself_twice_ran_twice() {
        let executions = Executions::listen().unwrap();
        let tell = |token: &str| {
            let mut stream = TcpStream::connect(("127.0.0.1", executions.port)).unwrap();
            stream.write_all(token.as_bytes()).unwrap();
        };
        let [once, never] = ["once", "never"].map(|token| [token.to_owned()]);
        tell("on");
        tell("once\n");
        let told = wait_for("it is counted", Duration::from_secs(10), || {
            executions.expect(&once, &never)
        });
        told.unwrap();
        assert!(executions.expect(&never, &[]).is_err());
        assert!(executions.expect(&[], &once).is_err());
        tell("once\n");
        let twice = || match executions.expect(&once, &[]) {
            Ok(()) => Err("counted once"),
            Err(_) => Ok(()),
        };
        wait_for("it is counted twice", Duration::from_secs(10), twice).unwrap();
    }
}
