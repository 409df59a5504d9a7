//! Faults from outside, at schedulers that are processes of their own: killed, without a database, without room, fed
//! with rubbish, under a clock that steps.
//!
//! ```text
//!  World: settings, keys, tokens ── start() ──► Replica: this executable again, serving as `davit scheduler serve` does
//!     │                                           ▲ REST, with keys, tried until answered      ▲ the real link
//!     └── Load: submitters ───────────────────────┘                        Robot: hosts that execute nothing
//!  Judgement: every acknowledged run is there, once, ended once; every line once; the books add up
//! ```
//!
//! Absent on purpose: containers (the executor's own tests break its link), and faults between two chosen steps (the
//! tests of the link and the store choose them).

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at the first surprise, and says what it measured"
)]

mod bodies;
mod clocks;
#[path = "../store/cluster.rs"]
mod cluster;
mod disk;
mod failover;
#[path = "../link/host.rs"]
#[allow(dead_code, reason = "the link's tests need more of it")]
mod host;
mod kills;
mod load;
mod process;
#[path = "../link/robot.rs"]
mod robot;
#[path = "../fixtures/small_disk.rs"]
mod small_disk;
#[path = "../fixtures/waiting.rs"]
mod waiting;
mod world;
