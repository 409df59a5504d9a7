//! `davit-bench costs`: system calls, programs started and allocations per launch.
//!
//! ```text
//!  an executor whose allocations are counted ──► some launches ──► divide
//!  strace -ff on executor, containerd, shims and slots, and on all they start ──► some launches, one after
//!  another, each cleaned up ──► wait for the background ──► count per program, divide by the launches
//! ```
//!
//! Counts hardly depend on the machine, so the table can be kept (`benches/costs.md`) and growth seen.
//! containerd's own idle wake-ups are in its figures. Allocations are counted apart, as strace sees the system calls of
//! what counts them. Absent on purpose: times, which mean nothing under strace.

pub(crate) mod allocations;
mod strace;
mod table;
mod trace;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::davit::executor::{Executor, Flavour};
use crate::davit::{Davit, check_succeeded, payload_run};
use crate::process;
use crate::report::{Report, Rows};
use crate::sample::Quantity;
use crate::session::say;
use crate::stage::Stage;
use allocations::Allocated;
use trace::{Counts, Role, Traces};

const SHIM: &str = "containerd-shim-davit-v1";
/// Launches before counting: pools are filled, caches are warm.
const WARM_UP_LAUNCHES: u32 = 5;
/// Slots are refilled and leftovers collected by then, also under strace.
const BACKGROUND: Duration = Duration::from_secs(5);

pub(crate) const SYSCALLS: Quantity = Quantity {
    name: "syscalls",
    unit: "1/run",
    spans: "system calls per launch of all processes of that program, from submit until all is cleaned up \
            and warm slots are filled again",
};

pub(crate) const ALLOCATIONS: Quantity = Quantity {
    name: "allocations",
    unit: "1/run",
    spans: "calls of malloc, calloc, realloc and memalign per launch, from submit until all is cleaned up and warm \
            slots are filled again; all shims, and the process they are forked from, count as one",
};

pub(crate) const EXECS: Quantity = Quantity {
    name: "execs",
    unit: "1/run",
    spans: "times per launch that a process became that program (execve), crun's of itself included",
};

pub(crate) const PROCESSES: Quantity = Quantity {
    name: "processes",
    unit: "1/run",
    spans: "processes per launch that executed a program; a container's first process is listed as such from \
            its birth, and becomes the job",
};

/// `davit-bench costs …`
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Launches counted.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    launches: u32,
    /// Where to write the table as Markdown.
    #[arg(long)]
    table: Option<PathBuf>,
    /// Where to write the sums as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Which commit is measured, for the report.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Where state goes: a real disk, as on any host.
    #[arg(long, default_value = "/var/lib/davit")]
    scratch: PathBuf,
}

/// Counts and reports.
///
/// # Errors
/// When a launch or strace fails.
pub(crate) fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let mut stage = Stage::set(&arguments.scratch)?;
    let allocated = allocated(&mut stage, arguments.launches)?;
    let counts = count(&mut stage, arguments.launches)?;
    let mut rows = Rows::default();
    for (quantity, value) in [
        (SYSCALLS, Counts::syscalls as fn(&Counts, _) -> u64),
        (PROCESSES, Counts::processes),
        (EXECS, Counts::execs),
    ] {
        for role in Role::ALL {
            let per_launch = table::per_launch(value(&counts, role), arguments.launches);
            rows.add(quantity, role.name(), &[per_launch]);
        }
    }
    for (role, allocated) in allocated {
        let per_launch = table::per_launch(allocated.allocations, arguments.launches);
        rows.add(ALLOCATIONS, role.name(), &[per_launch]);
    }
    let report = Report::new(&arguments.commit, rows, true)?;
    let table = table::markdown(&counts, &allocated, arguments.launches);
    writeln!(std::io::stdout(), "{}\n{table}", report.text(&[])).context("print the table")?;
    if let Some(file) = &arguments.table {
        std::fs::write(file, &table).with_context(|| format!("write {}", file.display()))?;
    }
    arguments
        .json
        .as_deref()
        .map_or(Ok(()), |file| report.write_json(file))
}

/// Launches one after another, each cleaned up, and what they leave to the background.
fn launch(davit: &Davit, launches: u32) -> anyhow::Result<()> {
    for _ in 0..launches {
        let accepted = davit.submit(payload_run(&[]))?;
        let run = davit.wait(&accepted.id)?;
        check_succeeded(&run)?;
        davit.wait_until_cleaned(&run)?;
        davit.remove(&run.id)?;
    }
    std::thread::sleep(BACKGROUND);
    Ok(())
}

fn allocated(stage: &mut Stage, launches: u32) -> anyhow::Result<[(Role, Allocated); 2]> {
    let executor = Executor::start(stage.scratch(), Flavour::Counted)?;
    let davit = Davit::connect(executor.socket(), Flavour::Counted)?;
    davit.pull().with_context(|| executor.log_tail())?;
    launch(&davit, WARM_UP_LAUNCHES)?;
    say(&format!(
        "{launches} launches with their allocations counted"
    ))?;
    let counted = executor.counted().context("it is of that flavour")?;
    let before = (counted.of_executor()?, counted.of_shims()?);
    launch(&davit, launches)?;
    Ok([
        (Role::Executor, counted.of_executor()?.since(before.0)),
        (Role::Shim, counted.of_shims()?.since(before.1)),
    ])
}

fn count(stage: &mut Stage, launches: u32) -> anyhow::Result<Counts> {
    let davit = stage.davit()?;
    launch(&davit, WARM_UP_LAUNCHES)?;
    let programs = programs_now()?;
    let tracing = strace::Tracing::start(&stage.scratch().join("traces"), &programs)?;
    say(&format!("{launches} launches under strace"))?;
    launch(&davit, launches)?;
    let traces: Traces = tracing.stop()?;
    Ok(traces.count())
}

/// All processes that take part before a launch, and the program that each is: executor and containerd, shims
/// made in advance, and the containers that wait in warm slots.
fn programs_now() -> anyhow::Result<Vec<(&'static str, u32)>> {
    let mut programs = Vec::new();
    for name in ["davit", "containerd", SHIM] {
        let found = process::all_of(name)?;
        programs.extend(found.into_iter().map(|(pid, _)| (name, pid)));
    }
    let shims: Vec<u32> = programs
        .iter()
        .filter(|(name, _)| *name == SHIM)
        .map(|(_, pid)| *pid)
        .collect();
    let waiting = process::children_of(&shims)?.into_iter();
    let known: Vec<u32> = programs.iter().map(|(_, pid)| *pid).collect();
    let waiting = waiting.filter(|pid| !known.contains(pid));
    programs.extend(waiting.map(|pid| (trace::CONTAINER, pid)));
    Ok(programs)
}
