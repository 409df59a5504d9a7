//! Three executors with real containers at one scheduler: killed, cut off, and handed to the next scheduler.
//!
//! ```text
//!  a test ── REST ──► davit scheduler serve ◄── Wire (cut, moved) ◄── davit executor serve ──► this host's containerd
//!                            │ kill -9, another one over the same database, elsewhere
//!  Watch: looks at all processes all the time: in how many places does a run live?
//! ```
//!
//! The second scheduler follows the first: two at once want PostgreSQL, which is not among the guests' packages. Replicas at
//! once are in `scheduler/server/tests/faults`, with hosts that execute nothing.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends at the first surprise, and shows the logs then"
)]

mod place;
#[path = "../dev/rest.rs"]
#[expect(dead_code, reason = "the tests of davit dev need more of it")]
mod rest;
mod story;
mod watch;
mod wire;
