//! Clients at the side of a run's processes.

mod attach;
mod client;
mod ends;
mod exec;
