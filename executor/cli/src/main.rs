//! `davit`: the one binary. Client of the executor's local API, and the executor itself.
//!
//! ```text
//!  args (clap) ─► commands ─► client (gRPC on a unix socket) ─► output (tables or JSON)
//!                   │  └─ server (REST of a scheduler) ───────────┘
//!                   └─ executor serve ─► davit-executor
//! ```
//!
//! Invariants: a job's output goes through byte for byte; the exit code of `run`, `attach` and `wait`
//! is the run's own, [`exit::DAVIT_FAILED`] is davit's; every error says what to do.
//!
//! Absent on purpose: talking to containerd (the executor does), state of its own.

#![forbid(unsafe_code)]

mod args;
mod beside;
mod client;
mod commands;
mod error;
mod exit;
mod output;
mod server;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;

/// A scheduler's memory is many small things, scattered and long-lived: it places nearly half as many runs again in the same
/// time as with the system's allocator. Set in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return told_by_clap(&error),
    };
    match commands::dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}

/// Help and version go to stdout and succeed; a wrong command line is davit's failure.
fn told_by_clap(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told when our output is closed.
    error.print().unwrap_or_default();
    ExitCode::from(if error.use_stderr() {
        exit::DAVIT_FAILED
    } else {
        0
    })
}
