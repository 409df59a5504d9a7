//! What a power cut must not change: the guest's half, before it and after the next boot.
//!
//! ```text
//!  vm/power.rs, outside                         here, in the guest
//!  Witness ◄─────────── words, a line each ──── before: makes runs, says what davit told it
//!     │  kill -9 of QEMU at the word `cut`
//!     │  the next boot, from the same disk
//!     └─ witness.json ───────────────────────►  after: a new executor must tell the same, and leave nothing
//!  executions ◄─ a line over TCP ── the jobs themselves, through both boots
//! ```
//!
//! Invariants: what is to be remembered leaves the guest as a word at once, so that nothing here writes it
//! to the disk: a sync of ours would make davit's own writes durable too. Jobs tell of themselves to the
//! outside: no record of davit's is evidence of how often a job ran.
//!
//! Absent on purpose: a disk that loses or reorders what was flushed. What the guest never flushed is lost
//! with its page cache; what it flushed, QEMU has written.

mod burst;
mod states;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::behaviour::story::{Record, Run};
use crate::host::{ExecutorSettings, Host};
use crate::outcome::TestResult;

/// What a word's line begins with; all other lines are for people.
const MARK: &str = "power-cut: ";
/// Where the guest reaches the machine it runs on (QEMU's user network).
const OUTSIDE: &str = "10.0.2.2";
/// How long the guest waits for the cut.
const CUT_SECONDS_MAX: u64 = 120;

/// One story of a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Act {
    /// Runs in every state.
    States,
    /// As many runs as the host makes, cut anywhere.
    Burst,
}

impl Act {
    /// All of them, in order.
    pub(crate) const ALL: [Self; 2] = [Self::States, Self::Burst];

    /// Its name as a test.
    pub(crate) const fn test(self) -> &'static str {
        match self {
            Self::States => "power_cut::runs_in_every_state_have_the_right_record_after_it",
            Self::Burst => "power_cut::whatever_was_told_in_a_burst_of_runs_still_holds",
        }
    }

    /// Its word on the command line.
    pub(crate) const fn argument(self) -> &'static str {
        match self {
            Self::States => "states",
            Self::Burst => "burst",
        }
    }
}

/// `power-cut`: one half of an act.
#[derive(Args)]
pub(crate) struct PowerCutArguments {
    /// Which story.
    #[arg(value_enum)]
    act: Act,
    /// Where jobs tell outside that they run.
    port: u16,
    /// What the outside remembers; without it this is the half before the cut.
    witness: Option<PathBuf>,
}

/// What goes out, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Word {
    /// The boot it is.
    Boot(String),
    /// davit accepted a run; the job calls itself `token`.
    Accepted { run: String, token: String },
    /// davit told how a run ended.
    Told { run: String, record: Value },
    /// Now.
    Cut,
    /// The job must have run once, and once only.
    Once(String),
    /// The job must not have run.
    Never(String),
    /// The half failed.
    Failed(String),
}

impl Word {
    /// The word in a line of output, if it is one.
    pub(crate) fn parse(line: &str) -> Option<anyhow::Result<Self>> {
        let json = line.strip_prefix(MARK)?;
        Some(serde_json::from_str(json).with_context(|| format!("{line:?} is no word")))
    }

    fn say(&self) -> anyhow::Result<()> {
        let json = serde_json::to_string(self).context("cannot write a word")?;
        // One write a line: threads do not mix, and it leaves at once.
        writeln!(std::io::stdout(), "{MARK}{json}").context("nobody listens")
    }
}

/// What was acknowledged before the cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Witness {
    /// The boot before.
    pub(crate) boot: String,
    /// Names of the jobs, by run.
    pub(crate) accepted: BTreeMap<String, String>,
    /// Ends told, by run.
    pub(crate) told: BTreeMap<String, Value>,
}

impl Witness {
    /// Remembers what a word says.
    pub(crate) fn hear(&mut self, word: Word) {
        match word {
            Word::Boot(id) => self.boot = id,
            Word::Accepted { run, token } => drop(self.accepted.insert(run, token)),
            Word::Told { run, record } => drop(self.told.insert(run, record)),
            Word::Cut | Word::Once(_) | Word::Never(_) | Word::Failed(_) => {}
        }
    }

    fn run_called(&self, host: &Host, token: &str) -> anyhow::Result<Run> {
        let found = self.accepted.iter().find(|(_, name)| *name == token);
        let (id, _) = found.with_context(|| format!("{token} was not accepted"))?;
        Ok(Run::known(host, id))
    }
}

/// Tells one half; what becomes of it goes out as a word.
pub(crate) fn tell(arguments: &PowerCutArguments) -> anyhow::Result<bool> {
    let act = arguments.act;
    let done = match &arguments.witness {
        None => Host::new(act.test()).and_then(|mut host| before(act, &mut host, arguments.port)),
        Some(file) => Host::again(act.test()).and_then(|mut host| {
            let done = after(act, &mut host, file, arguments.port);
            if let (Err(_), Ok(executor)) = (&done, host.executor()) {
                println!("--- the executor's log ends with\n{}", executor.log_tail());
            }
            done
        }),
    };
    if let Err(error) = &done {
        Word::Failed(format!("{error:#}")).say()?;
    }
    Ok(done.is_ok())
}

fn before(act: Act, host: &mut Host, port: u16) -> TestResult {
    Word::Boot(boot_id()?).say()?;
    let settings = settings(host);
    match act {
        Act::States => states::before(host, &settings, port)?,
        Act::Burst => burst::before(host, &settings, port)?,
    }
    thread::sleep(Duration::from_secs(CUT_SECONDS_MAX));
    bail!("nobody cut the power within {CUT_SECONDS_MAX} s")
}

fn after(act: Act, host: &mut Host, file: &Path, port: u16) -> TestResult {
    let json = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let witness: Witness =
        serde_json::from_slice(&json).context("the witness is not understood")?;
    ensure!(boot_id()? != witness.boot, "this is still the boot before");
    let settings = settings(host);
    host.start_executor(&settings)?;
    match act {
        Act::States => states::after(host, &witness)?,
        Act::Burst => burst::after(host, &witness)?,
    }
    expect_told_again(host, &witness)?;
    // And whoever asks a later executor hears no other story.
    let mut all = BTreeMap::new();
    for run in witness.accepted.keys() {
        all.insert(run.clone(), told(&Run::known(host, run).inspect(host)?)?);
    }
    host.stop_executor()?;
    host.start_executor(&settings)?;
    for (run, record) in &all {
        let now = told(&Run::known(host, run).inspect(host)?)?;
        ensure!(
            now == *record,
            "a second executor tells {now} where the first told {record}"
        );
    }
    // The host is as good as new.
    let fresh = Job {
        token: "fresh",
        port,
    }
    .run(host, &[], "exit 8")?;
    fresh.wait_ended(host, 8)?;
    Word::Once("fresh".to_owned()).say()?;
    host.expect_nothing_left()
}

/// Jobs may use the host's network: they tell outside that they run.
fn settings(host: &Host) -> ExecutorSettings {
    host.settings().value("network.allow_host", "true")
}

/// Every run davit accepted is known, and every end it told is told again.
fn expect_told_again(host: &Host, witness: &Witness) -> TestResult {
    ensure!(!witness.accepted.is_empty(), "nothing was accepted");
    for (id, token) in &witness.accepted {
        let record = Run::known(host, id).inspect(host);
        let record = record.with_context(|| format!("{token} was accepted and is not known"))?;
        if let Some(before) = witness.told.get(id) {
            let now = told(&record)?;
            ensure!(
                now == *before,
                "of {token} was told {before}, and now {now}"
            );
        }
    }
    Ok(())
}

/// What is told of an ended run, but how long the parts of its start took: that is for tuning, and is kept
/// where a power cut may lose it.
fn told(record: &Record) -> anyhow::Result<Value> {
    let mut told = record.at("")?.clone();
    if let Some(fields) = told.as_object_mut() {
        fields.remove("timings");
    }
    Ok(told)
}

fn boot_id() -> anyhow::Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    Ok(id.context("cannot read the boot's id")?.trim().to_owned())
}

/// A job that tells outside that it runs.
#[derive(Clone, Copy)]
struct Job<'a> {
    token: &'a str,
    port: u16,
}

impl Job<'_> {
    /// The script: its name goes out, then it goes on. A job that is not heard ends with 99.
    fn script(self, then: &str) -> String {
        let Self { token, port } = self;
        format!("echo {token} | nc {OUTSIDE} {port} || exit 99; {then}")
    }

    /// Submits it.
    fn run(self, host: &Host, options: &[&str], then: &str) -> anyhow::Result<Run> {
        let options = [&["--network", "host"], options].concat();
        Run::submit(host, &options, &self.script(then))
    }

    /// Submits it and says so.
    fn submit(self, host: &Host, options: &[&str], then: &str) -> anyhow::Result<Run> {
        let run = self.run(host, options, then)?;
        self.is_accepted(&run)?;
        Ok(run)
    }

    fn is_accepted(self, run: &Run) -> anyhow::Result<()> {
        let (run, token) = (run.id().to_owned(), self.token.to_owned());
        Word::Accepted { run, token }.say()
    }
}

/// Waits for the end of a run and says what was told of it.
fn tell_end(host: &Host, run: &Run, exit_code: i32) -> anyhow::Result<()> {
    let record = told(&run.wait_ended(host, exit_code)?)?;
    let run = run.id().to_owned();
    Word::Told { run, record }.say()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_remembers_what_was_acknowledged_and_hears_nothing_else() {
        let mut witness = Witness::default();
        let record = serde_json::json!({"exit_code": 3});
        let words = [
            Word::Boot("one".into()),
            Word::Accepted {
                run: "id".into(),
                token: "job".into(),
            },
            Word::Told {
                run: "id".into(),
                record: record.clone(),
            },
            Word::Cut,
        ];
        for word in words {
            let line = format!("{MARK}{}", serde_json::to_string(&word).unwrap());
            witness.hear(Word::parse(&line).unwrap().unwrap());
        }
        assert_eq!(witness.boot, "one");
        assert_eq!(witness.accepted["id"], "job");
        assert_eq!(witness.told["id"], record);
        assert!(Word::parse("anything else").is_none());
        assert!(Word::parse("power-cut: {").unwrap().is_err());
    }
}
