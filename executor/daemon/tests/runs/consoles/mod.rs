//! Clients at the side of a run's processes.

mod client;
mod exec;
