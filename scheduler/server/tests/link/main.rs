//! The link and dispatch as hosts and operators see them: the real gRPC server on loopback, a real store, and hosts
//! that speak the real link and execute nothing.
//!
//! ```text
//!  World: a store, keys ── replica() ──► Replica: store, dispatch and link in a runtime of its own (kill drops it whole)
//!                      └── host() ─────► Host: joined, authenticated
//!                                          ├─ connect ──► Line: one session, spoken by hand
//!                                          └─ Robot: executes whatever it is given, well or badly behaved
//! ```
//!
//! The executions of all robots are counted in one place: an attempt that is executed twice fails the test.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod access;
mod api;
#[path = "../store/cluster.rs"]
mod cluster;
mod console;
mod consoles;
mod consoles_end;
mod consoles_env;
mod consoles_held;
mod ends;
mod extracts;
#[path = "../logs/faulty.rs"]
mod faulty;
mod files;
mod flood;
mod host;
mod life;
mod losses;
mod old_hosts;
mod once;
mod replicas;
mod robot;
mod standard;
mod starts;
mod traces;
#[path = "../fixtures/waiting.rs"]
mod waiting;
mod world;
