//! `vm`: the behaviours in a throwaway VM of each suite, or on this host with `--here`.
//!
//! A power cut is told from here: it takes somebody outside. `--here` goes without. Behaviours whose verdict is a time of few
//! milliseconds come last, with the guest's CPUs before all else on this machine.
//!
//! Invariants: the VM goes away whatever happens (its name carries this process's id, so that the
//! next `scripts/vm up` removes it even after a kill -9); logs are collected also when tests fail.

mod here;
mod machine;
mod power;
mod table;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use self::machine::Machine;
use crate::behaviour;
use crate::outcome::{Outcome, Tally, TestReport};
use crate::runner::Timed;

/// Where the programs lie in the guest: first in everybody's PATH there.
const GUEST_BINARIES: &str = "/opt/davit/bin";
/// Where the guest leaves its results.
const GUEST_OUTPUT: &str = "/var/tmp/davit-vm-tests";
const OWN_NAME: &str = "davit-vm-tests";
/// What is brought along, from where this program lies.
const PROGRAMS: &[&str] = &["davit", "containerd-shim-davit-v1", OWN_NAME];

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Debian 13: containerd 1.7, kernel 6.12.
    Trixie,
    /// Debian 14: containerd 2.1, a newer kernel.
    Forky,
    /// One after the other; what neither containerd nor the kernel has a part in on the last only.
    All,
}

/// `vm`: which suites, which behaviours.
#[derive(Args)]
pub(crate) struct VmArguments {
    /// Guest to test in.
    #[arg(long, value_enum, default_value = "all")]
    suite: Suite,
    /// Only behaviours whose name holds this.
    filter: Option<String>,
    /// On this host instead, with a containerd and a registry of its own: needs root, pure cgroup v2
    /// with cpu, memory and pids controllers, and containerd 1.7 or newer.
    #[arg(long, conflicts_with = "suite")]
    here: bool,
}

/// Runs the behaviours, prints a table and the closing line; true when none failed.
pub(crate) fn run_vm(arguments: &VmArguments) -> anyhow::Result<bool> {
    let repository = repository()?;
    if arguments.here {
        return here::run_here(&repository, arguments.filter.as_deref());
    }
    let suites: &[&str] = match arguments.suite {
        Suite::Trixie => &["trixie"],
        Suite::Forky => &["forky"],
        Suite::All => &["trixie", "forky"],
    };
    let mut results = Vec::new();
    for suite in suites {
        let wanted = Wanted {
            filter: arguments.filter.as_deref(),
            once: suites.last() == Some(suite),
        };
        let reports = run_suite(&repository, suite, wanted);
        results.push((
            *suite,
            reports.unwrap_or_else(|error| vec![broken_suite(suite, &error)]),
        ));
    }
    print!("{}", table::draw(&results));
    let tally = Tally::of(results.iter().flat_map(|(_, reports)| reports));
    println!("{tally}");
    Ok(tally.is_success())
}

/// A suite that could not be run counts as one failed test, so that the other still runs.
fn broken_suite(suite: &str, error: &anyhow::Error) -> TestReport {
    let reason = format!("{error:#}");
    println!("FAIL {suite}: {reason}");
    TestReport {
        name: "the VM runs its behaviours".to_owned(),
        outcome: Outcome::Failed { reason },
        duration_ms: 0,
    }
}

/// Which behaviours.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    /// Those whose names hold this.
    filter: Option<&'a str>,
    /// Also what is told once.
    once: bool,
}

impl Wanted<'_> {
    fn has(self, name: &str) -> bool {
        name.contains(self.filter.unwrap_or_default())
            && (self.once || !behaviour::is_told_once(name))
    }
}

fn run_suite(
    repository: &Path,
    suite: &'static str,
    wanted: Wanted<'_>,
) -> anyhow::Result<Vec<TestReport>> {
    println!("── {suite}");
    let output = output_directory(repository, suite)?;
    let machine = Machine::up(repository, suite)?;
    machine.push(&programs()?, GUEST_BINARIES)?;
    let mut reports = Vec::new();
    let cuts = power::is_wanted(wanted);
    let chosen = |timed| {
        behaviour::all().any(|t| wanted.has(t.name) && behaviour::is_timed(t.name) == timed)
    };
    let timed = chosen(true);
    if chosen(false) || !(timed || cuts) {
        reports = run_in_guest(&machine, wanted, Timed::LeftOut, &output)?;
    }
    if timed {
        machine.set_realtime(true)?;
        reports.extend(run_in_guest(&machine, wanted, Timed::Only, &output)?);
        machine.set_realtime(false)?;
    }
    // Last, for the machine is another one afterwards.
    if cuts {
        reports.extend(power::cut_power(&machine, wanted, &output));
        write_journal(&machine, "all", &output.join("journal-power-cut.log"))?;
    }
    Ok(reports)
}

fn run_in_guest(
    machine: &Machine,
    wanted: Wanted<'_>,
    timed: Timed,
    output: &Path,
) -> anyhow::Result<Vec<TestReport>> {
    let json = format!("{GUEST_OUTPUT}/results.json");
    let own = format!("{GUEST_BINARIES}/{OWN_NAME}");
    let mut guest = vec![
        "guest",
        "--no-closing-line",
        "--output",
        GUEST_OUTPUT,
        "--json",
        &json,
    ];
    if !wanted.once {
        guest.push("--not-once");
    }
    guest.push(match timed {
        Timed::LeftOut => "--timed=left-out",
        Timed::Only => "--timed=only",
    });
    guest.extend(wanted.filter);
    machine.exec(&["mkdir", "-p", GUEST_OUTPUT])?;
    let ran = machine.exec_live(&own, &guest);
    // Collected whatever became of the tests: it is then that it is wanted.
    let collected = collect(machine, output);
    ran?;
    collected?;
    let file = output.join("davit-vm-tests/results.json");
    let text = fs::read(&file).with_context(|| format!("the guest left no {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", file.display()))
}

fn collect(machine: &Machine, output: &Path) -> anyhow::Result<()> {
    machine.pull(GUEST_OUTPUT, output)?;
    write_journal(machine, "0", &output.join("journal.log"))
}

fn write_journal(machine: &Machine, boot: &str, file: &Path) -> anyhow::Result<()> {
    let boot = format!("--boot={boot}");
    let journal = machine.exec(&["journalctl", &boot, "--no-pager", "--output=short-precise"])?;
    fs::write(file, journal).with_context(|| format!("cannot write {}", file.display()))
}

/// `target/vm-tests/NAME`, empty.
fn output_directory(repository: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map_or(repository.join("target"), PathBuf::from);
    let output = target.join("vm-tests").join(name);
    if output.exists() {
        fs::remove_dir_all(&output)
            .with_context(|| format!("cannot empty {}", output.display()))?;
    }
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    Ok(output)
}

/// The programs beside this one. A missing one is an error: tests must not pass for want of it.
fn programs() -> anyhow::Result<Vec<PathBuf>> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let directory = own.parent().context("this program has no directory")?;
    let paths: Vec<PathBuf> = PROGRAMS.iter().map(|name| directory.join(name)).collect();
    for path in &paths {
        ensure!(
            path.exists(),
            "there is no {}: build it with the same profile, e.g. cargo build -p {}",
            path.display(),
            path.file_name().unwrap_or_default().display()
        );
    }
    Ok(paths)
}

/// The source tree that holds `scripts/vm`: around the working directory, else where this was built.
fn repository() -> anyhow::Result<PathBuf> {
    let working = env::current_dir().context("cannot tell the working directory")?;
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    for start in [working.as_path(), built] {
        if let Some(root) = start
            .ancestors()
            .find(|root| root.join("scripts/vm").is_file())
        {
            return Ok(root.to_owned());
        }
    }
    bail!(
        "run this inside davit's source tree: there is no scripts/vm around {}",
        working.display()
    )
}
