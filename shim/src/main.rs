//! containerd-shim-davit-v1: a containerd runtime v2 shim that is also the holder of davit's runs.
//!
//! ```text
//!  containerd ──exec──► start ──► daemon ◄──ttrpc── containerd     (task API v2 and v3: service/)
//!  executor ──────────► zygote ──fork──► daemon                     (nothing exec'd: zygote.rs)
//!                                  │  ▲
//!                                  │  └──shim.sock── davit executor (run/control.rs, consoles/)
//!                                  ├──exec──► crun | runc | runsc   (runtime.rs)
//!                                  ├── pidfd ── init, execs         (reaper.rs, process.rs)
//!                                  ├── cgroup                       (cgroup.rs, davit-cgroup)
//!                                  ├── a container before its run   (slot/, init/)
//!                                  └── run directory                (run/, davit-rundir)
//! ```
//!
//! Who owns what: `Shim` the containers, `Container` its processes and their order of ending, `Reaper` every
//! wait(2), `Owner` a run's books and records, `Publisher` the way to containerd. Threads: one. Processes: one a
//! container (or pod).
//!
//! Invariants: see each module; above all: no exit is invented, exit.json is durable before TaskExit, no raw pid is
//! signalled, nothing polls while idle.
//!
//! Absent on purpose: cgroup v1, the sandbox API, Windows, a configuration file, an async logger, threads.

#![deny(unsafe_code)]

mod args;
mod bootstrap;
mod bundle;
mod cgroup;
mod consoles;
mod container;
mod daemon;
mod delete;
mod error;
mod events;
mod files;
mod idle;
mod info;
mod io;
mod lines;
mod logger;
mod metrics;
mod mounts;
mod oci_log;
mod polled;
mod process;
mod reaper;
mod run;
mod runtime;
mod secrets;
mod service;
mod slot;
mod start;
mod sys;
mod zygote;

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use args::{Action, Args};

/// Locks; a panic ends this process, so a poisoned lock is never seen.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> ExitCode {
    match run() {
        Ok(Output { text, told }) => {
            let mut stdout = std::io::stdout().lock();
            match stdout.write_all(&text).and_then(|()| stdout.flush()) {
                Ok(()) => {
                    if let Some(told) = told {
                        told.tell();
                    }
                    ExitCode::SUCCESS
                }
                // Nobody reads the answer; there is no place left to say so.
                Err(_) => ExitCode::FAILURE,
            }
        }
        Err(message) => {
            let mut stderr = std::io::stderr().lock();
            let _written = writeln!(stderr, "{}: {message}", env!("CARGO_PKG_NAME"));
            ExitCode::FAILURE
        }
    }
}

/// What to print, and who is to know that it was.
struct Output {
    text: Vec<u8>,
    told: Option<start::Told>,
}

impl From<Vec<u8>> for Output {
    fn from(text: Vec<u8>) -> Self {
        Self { text, told: None }
    }
}

/// Does what the command line says; returns what to print.
fn run() -> Result<Output, String> {
    let args = Args::parse(std::env::args().skip(1)).map_err(|error| error.to_string())?;
    let output: Vec<u8> = match args.action {
        Action::Start => return start::run(&args).map_err(|error| error::chain(&error)),
        Action::Delete => delete::run(&args).map_err(|error| error::chain(&error))?,
        Action::Daemon => daemon::run(&args)
            .map(|()| Vec::new())
            .map_err(|error| error::chain(&error))?,
        Action::Zygote => zygote::run(&args)
            .map(|()| Vec::new())
            .map_err(|error| error::chain(&error))?,
        Action::CheckIds => mounts::check(&args.layers)
            .map(|()| Vec::new())
            .map_err(|error| error::chain(&error))?,
        Action::Info => info::run().map_err(|error| error::chain(&error))?,
        Action::Version => format!(
            "{}:\n  Version:  {}\n",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION")
        )
        .into_bytes(),
    };
    Ok(output.into())
}
