//! davit's behaviours, tested on a real kernel with a real containerd.
//!
//! ```text
//!  vm ── scripts/vm up ──► guest (in the VM, over ssh) ── one process a test ──► one NAME
//!   │                        │                                                     │
//!   table, exit code         results.json, logs                          Host fixture, story
//!
//! vm ── words out ◄── power-cut, before │ kill -9 of QEMU, next boot │ power-cut, after ◄── what was heard
//! ```
//!
//! Invariants: a test is a process of its own, so a hang or a crash hurts nobody else; what a test
//! leaves behind fails it and is removed before the next one starts.
//!
//! Absent on purpose: mocks, parallel tests (they share one kernel and one containerd), and a
//! dependency on davit's crates: the tests see what a user sees.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program: its output is its result"
)]

mod behaviour;
mod host;
mod outcome;
mod power_cut;
mod runner;
mod vm;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "davit-vm-tests",
    about = "Tests davit's behaviours on a real kernel"
)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run the behaviours on this machine: root, cgroup v2, containerd, the test registry.
    Guest(runner::GuestArguments),
    /// Run the behaviours in a VM of each suite (or, with --here, on this host).
    Vm(vm::VmArguments),
    /// Run one behaviour in this process (what `guest` starts for each test).
    #[command(hide = true)]
    One {
        /// Full name of the behaviour.
        name: String,
        /// Directory of this test's logs and result.
        output: PathBuf,
    },
    /// Tell one half of a power cut in this process (what `vm` starts before it and after it).
    #[command(hide = true)]
    PowerCut(power_cut::PowerCutArguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().action {
        Action::Guest(arguments) => runner::run_guest(&arguments),
        Action::Vm(arguments) => vm::run_vm(&arguments),
        Action::One { name, output } => runner::run_one(&name, &output),
        Action::PowerCut(arguments) => power_cut::tell(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("davit-vm-tests: {error:#}");
            ExitCode::from(2)
        }
    }
}
