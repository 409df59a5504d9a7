//! `davit-bench`: measures davit and its peers side by side, in one interleaved run.
//!
//! Runs as root beside a containerd and an OCI registry on 127.0.0.1:5000 that it may fill: normally
//! through `cargo xtask bench`, which gives it such a place (`scripts/native`).
//!
//! ```text
//!   stage (payload image, spec) ──► peers ──► runner: rounds, shuffled by a printed seed
//!                                               │ samples
//!                                   report ◄────┘   table on stdout, JSON with --json
//! ```
//!
//! Invariants: no figure is written down that was not measured in this very run; a peer that is missing
//! or fails is named with the reason, and fails the whole benchmark unless that was allowed. Absent on
//! purpose: a comparison with stored figures, since absolute times drift by a quarter within minutes on
//! the machines we have.

#![forbid(unsafe_code)]

mod bundle;
mod clock;
mod command;
mod costs;
mod davit;
mod density;
mod files;
mod host;
mod image;
mod launch;
mod limits;
mod logs;
mod memory;
mod order;
mod peers;
mod process;
mod quiet;
mod rate;
mod recover;
mod report;
mod runner;
mod sample;
mod session;
mod stage;
mod statistics;
mod target;

use clap::{Parser, Subcommand};

/// Measures davit and its peers side by side.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From submit to the first user instruction, the durable end, and all cleaned up.
    Launch(launch::Arguments),
    /// Runs a second, with 1 to 64 under way at once.
    Rate(rate::Arguments),
    /// What idle runs cost: memory, threads, descriptors, wake-ups.
    Density(density::Arguments),
    /// How fast output becomes a record, what that costs, and how soon a line is in it.
    Logs(logs::Arguments),
    /// 1 GiB of 100,000 files into a run and out of it.
    Files(session::Options),
    /// How long hundreds of runs are without an executor when it dies, and that nothing is lost.
    Recover(recover::Arguments),
    /// System calls and programs started per launch.
    Costs(costs::Arguments),
    /// Memory of the shim of one running container.
    Memory(session::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::Launch(arguments) => launch::measure(&arguments),
        Bench::Rate(arguments) => rate::measure(&arguments),
        Bench::Density(arguments) => density::measure(&arguments),
        Bench::Logs(arguments) => logs::measure(&arguments),
        Bench::Files(options) => files::measure(&options),
        Bench::Recover(arguments) => recover::measure(&arguments),
        Bench::Costs(arguments) => costs::measure(&arguments),
        Bench::Memory(options) => memory::measure(&options),
    }
}
