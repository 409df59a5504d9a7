//! `davit dev` on real containers, asked over HTTP as its users ask: one process that is killed and started.
//!
//! ```text
//!  a test ── rest: HTTP/1.0 ──► davit dev (place: its directory, port, namespace) ──► this host's containerd
//! ```
//!
//! Invariants: every test has a directory and a `davit dev` of its own; every wait has a limit and ends with the last
//! answer. Absent on purpose: limits, and what one part alone does, which its own tests show.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise, and shows the log then"
)]

mod commands;
mod consoles;
mod extracts;
mod files;
mod host;
mod inside;
mod ledger;
mod place;
mod pty;
mod remote_consoles;
mod rest;
mod runs;
mod signals;
mod terminals;
mod tour;
mod uploads;
mod ways;
