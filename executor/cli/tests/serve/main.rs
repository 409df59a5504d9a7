//! `davit scheduler serve` as a process with a settings file, asked by curl and by `davit executor register`.
//!
//! ```text
//!  a test ── settings file ─► davit scheduler serve (process) ◄── curl: REST      davit executor register: the link
//! ```
//!
//! Invariants: ports are free ones, told by the process itself; a process dies with its test; every wait has a limit.
//! Absent on purpose: executors with containers (tests/dev), what the API answers (the scheduler's own tests).

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, and shows the log then"
)]

mod certificates;
#[path = "../../../../scheduler/server/tests/store/cluster.rs"]
#[allow(
    dead_code,
    reason = "what the store's tests do to a server, nobody does here"
)]
mod cluster;
mod place;
mod replicas;
mod tls;
