//! The tree's own rules and chores: `cargo xtask check`, `cargo xtask bench`.
//!
//! ```text
//!  main ─► check ─► tidy        text rules over the files git knows
//!                   links       what documents point at is there, tests among it
//!                   arrows      who may depend on whom      ┐ over one
//!                   licences    allowed licences, versions  ┘ `cargo metadata`
//!                   fmt, clippy, doc, tests                   cargo itself
//!       ─► bench    builds, then davit-bench in the native test namespace, or in a VM too
//! ```
//!
//! A chore is a module with a `run` and one line in [`main`]. Absent on purpose: anything a product
//! binary needs, and dependencies that would make this slow to build.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "it talks to a person at a terminal")]
#![allow(clippy::print_stderr, reason = "it talks to a person at a terminal")]

mod arrows;
mod bench;
mod bench_limits;
mod check;
mod licences;
mod links;
mod metadata;
mod spdx;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  check [--no-tests]    tidiness, arrows, licences, formatting, lints, docs, tests
  bench NAME [--json FILE] [--suite SUITE] [--rounds N] [--warm-up N] [--seed N] [--only PEER,…]
             [--allow-missing]    davit and its peers side by side, as root; NAME is one of
        launch     submit to first user instruction, to durable end, to cleaned up
        rate       runs a second, 1 to 64 at once
        density    memory, threads, wake-ups of 100 idle runs
        memory     one shim's memory
        logs       log lines and bytes a second, their CPU time, latency
        files      1 GiB of 100,000 files into a run and out of it
        recover    an executor's death under 500 live runs
        costs      system calls and programs started per launch; writes benches/costs.md
        limits     launch ratios natively and, with limits on, in a VM
  bench scheduler [--json FILE] [--only FIGURE,…] [--scale N] [--full] [--seed N] [--dir DIR]
             the scheduler's figures beside their targets; wants postgresql; `--help` names the figures
  help                  this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["check"] => check::run(root(), true),
        ["check", "--no-tests"] => check::run(root(), false),
        ["bench", words @ ..] => bench::run(root(), words),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!(
            "no such command: {}\n\n{HELP}",
            words.join(" ")
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}
