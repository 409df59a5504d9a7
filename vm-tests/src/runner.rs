//! Running behaviours on this machine: one process a test, a limit each, a clean host between them.
//!
//! Invariants: a test that hangs, crashes or aborts is a failed test, not a failed run; the host is
//! cleaned by force after every test that did not pass.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::behaviour::{self, Test};
use crate::host::{self, Host};
use crate::outcome::{Outcome, Tally, TestReport};
use crate::wait::wait_for;

/// The files of each test's own directory below `--output`.
const LOG_FILE: &str = "log";
const RESULT_FILE: &str = "result.json";

/// What becomes of the behaviours whose verdict is a time of few milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Timed {
    /// All the others.
    LeftOut,
    /// No others.
    Only,
}

/// `guest`: the behaviours on this machine.
#[derive(Args)]
pub(crate) struct GuestArguments {
    /// Only behaviours whose name holds this.
    filter: Option<String>,
    /// Leave out what neither containerd nor the kernel has a part in: another suite tells it.
    #[arg(long)]
    not_once: bool,
    /// Leave out what is timed to the millisecond, or all else: the caller sees to it that nothing disturbs this machine.
    #[arg(long, value_enum)]
    timed: Option<Timed>,
    /// Print the names and stop.
    #[arg(long)]
    list: bool,
    /// Write all reports to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where each test's log goes.
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "/var/tmp/davit-vm-tests"
    )]
    output: PathBuf,
    /// Leave out the closing line (the caller prints one for all).
    #[arg(long, hide = true)]
    no_closing_line: bool,
}

impl GuestArguments {
    /// What `vm --here` runs.
    pub(crate) fn for_here(filter: Option<String>, output: PathBuf) -> Self {
        let json = Some(output.join("results.json"));
        Self {
            filter,
            not_once: false,
            timed: None,
            list: false,
            json,
            output,
            no_closing_line: false,
        }
    }
}

/// Runs the chosen behaviours; true when none failed.
pub(crate) fn run_guest(arguments: &GuestArguments) -> anyhow::Result<bool> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let chosen: Vec<_> = behaviour::all()
        .filter(|test| test.name.contains(filter))
        .filter(|test| !(arguments.not_once && behaviour::is_told_once(test.name)))
        .filter(|test| {
            let only = arguments.timed.map(|timed| timed == Timed::Only);
            only.is_none_or(|only| behaviour::is_timed(test.name) == only)
        })
        .collect();
    if arguments.list {
        chosen.iter().for_each(|test| println!("{}", test.name));
        return Ok(true);
    }
    if chosen.is_empty() {
        bail!("no behaviour's name holds {filter:?}");
    }
    print_problems(host::clean());
    let mut reports = Vec::new();
    for test in chosen {
        let report = run_in_process(test, &arguments.output)?;
        print_report(&report, &log_path(&arguments.output, test.name));
        reports.push(report);
    }
    if let Some(file) = &arguments.json {
        let json = serde_json::to_vec_pretty(&reports).context("cannot write reports as JSON")?;
        fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let tally = Tally::of(&reports);
    if !arguments.no_closing_line {
        println!("{tally}");
    }
    Ok(tally.is_success())
}

/// The process of one test: runs it and leaves its outcome in the output directory.
pub(crate) fn run_one(name: &str, output: &Path) -> anyhow::Result<bool> {
    let test = behaviour::all().find(|test| test.name == name);
    let test = test.with_context(|| format!("there is no behaviour {name}"))?;
    let result = Host::new(name).and_then(|mut host| {
        let result = (test.run)(&mut host);
        let result = result.and_then(|()| host.expect_nothing_left());
        result.map_err(|error| match host.executor() {
            // Seen only by people: the reason stays the error.
            Ok(executor) => {
                println!("--- the executor's log ends with\n{}", executor.log_tail());
                error
            }
            Err(_) => error,
        })
    });
    let outcome = Outcome::from(result);
    let file = output.join(RESULT_FILE);
    let json = serde_json::to_vec(&outcome).context("cannot write an outcome as JSON")?;
    fs::write(&file, json).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(!matches!(outcome, Outcome::Failed { .. }))
}

fn run_in_process(test: &Test, output: &Path) -> anyhow::Result<TestReport> {
    let directory = output.join(test.name.replace("::", "."));
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let log_path = log_path(output, test.name);
    let log =
        File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
    let own = std::env::current_exe().context("cannot tell where this program is")?;

    let began = Instant::now();
    let mut child = Command::new(own)
        .args(["one", test.name])
        .arg(&directory)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", test.name))?;
    let ended = wait_for("its end", test.limit, || {
        child
            .try_wait()
            .context("cannot wait for it")?
            .context("still running")
    });
    let outcome = match ended {
        Ok(status) => read_outcome(&directory.join(RESULT_FILE))
            .unwrap_or_else(|_| failed(format!("the test's process ended with {status}"))),
        Err(_) => {
            kill_group(&mut child)?;
            failed(format!("took longer than {} s", test.limit.as_secs()))
        }
    };
    if !matches!(outcome, Outcome::Passed) {
        print_problems(host::clean());
    }
    keep_executor_log(test.name, &directory);
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(TestReport {
        name: test.name.to_owned(),
        outcome,
        duration_ms,
    })
}

fn read_outcome(file: &Path) -> anyhow::Result<Outcome> {
    let json = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&json).with_context(|| format!("cannot understand {}", file.display()))
}

fn failed(reason: String) -> Outcome {
    Outcome::Failed { reason }
}

/// Ends a test's process and all it started in its group (not containers: those are cleaned).
fn kill_group(child: &mut Child) -> anyhow::Result<()> {
    let group = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("no pid")?;
    kill_process_group(group, Signal::KILL).context("cannot kill the test's process group")?;
    child.wait().context("cannot reap the test's process")?;
    Ok(())
}

/// The executor's log lies in the test's state directory, which the next run empties.
fn keep_executor_log(test: &str, directory: &Path) {
    let log = host::executor_log(test);
    if log.exists()
        && let Err(error) = fs::copy(&log, directory.join("executor.log"))
    {
        println!("     cannot keep {}: {error}", log.display());
    }
}

fn log_path(output: &Path, test: &str) -> PathBuf {
    output.join(test.replace("::", ".")).join(LOG_FILE)
}

fn print_problems(problems: Vec<String>) {
    problems
        .iter()
        .for_each(|problem| println!("     not cleaned: {problem}"));
}

fn print_report(report: &TestReport, log: &Path) {
    let seconds = Duration::from_millis(report.duration_ms).as_secs_f64();
    let name = &report.name;
    match &report.outcome {
        Outcome::Passed => println!("ok   {name} ({seconds:.1} s)"),
        Outcome::Skipped { reason } => println!("skip {name}: {reason}"),
        Outcome::Failed { reason } => {
            println!("FAIL {name} ({seconds:.1} s): {reason}");
            let text = host::tail(log, 16 * 1024);
            text.lines().for_each(|line| println!("     | {line}"));
        }
    }
}
