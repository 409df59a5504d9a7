//! What the scheduler reaches, each figure beside its target: `cargo xtask bench scheduler`.
//!
//! ```text
//!  measure ── one figure after the other, each in a world of its own ──► table, JSON
//!     │
//!     ├─ load: REST over loopback, in this process
//!     ├─ serve: replicas, a process each ──► SQLite file | PostgreSQL cluster, made for the figure
//!     └─ hosts: one process of simulated hosts over the real link
//! ```
//!
//! Scheduler, database, hosts and load generator share the machine's CPUs, so rates are lower bounds; the CPU time of
//! each is told apart. REST and link are plain, without TLS, on loopback. Durability is as it ships.
//!
//! Invariants: after every figure the books are read back from the store: each run there once, ended once, paid once,
//! and begun once on a host. A check that fails fails the bench, whatever the rate was.
//!
//! Absent on purpose: containers (benches has them), peers to compare with.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its table is what it is for")]
#![expect(clippy::print_stderr, reason = "progress is for people")]

mod books;
mod clock;
mod cluster;
mod figures;
mod fleet;
mod load;
mod logs;
mod place;
mod process;
mod report;
mod serve;
mod statistics;
mod world;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

/// The one that `davit` has: figures are of what ships.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[derive(Parser)]
#[command(about = "What the scheduler reaches, beside its targets")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures and prints a table.
    Measure(figures::Wish),
    /// One replica; ends with its standard input.
    #[command(hide = true)]
    Serve(serve::Wish),
    /// Simulated hosts; told what to do on standard input.
    #[command(hide = true)]
    Hosts(fleet::Wish),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Measure(wish) => figures::run(&wish),
        Command::Serve(wish) => serve::run(&wish),
        Command::Hosts(wish) => fleet::run(wish),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
