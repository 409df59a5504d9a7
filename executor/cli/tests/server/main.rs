//! The command line against a real scheduler on loopback, over SQLite; hosts are calls of its store.
//!
//! ```text
//!  a test ─ davit (a process) ─► proxy (cuts connections where told) ─► REST ─► store ◄─ world: hosts
//! ```
//!
//! World and its hosts are those of the scheduler's own tests. That real runs behave so is shown in `tests/dev`.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod catalogue;
mod client;
mod errors;
mod following;
mod orders;
mod place;
mod proxy;
mod runs;
mod secrets;
#[path = "../../../../scheduler/server/tests/rest/world.rs"]
#[allow(dead_code, reason = "the scheduler's tests use the rest of it")]
mod world;
