//! Which run goes to which host: an engine that is told of hosts, runs and ends, and answers with assignments.
//!
//! ```text
//!   hosts: capacity, region, labels, images, state ─┐
//!   runs: tenant, runner, priority, age, wants ─────┼─► Engine ── place ──► assignments, each reserved
//!   ends, starts, failed starts ────────────────────┘      └──── explain ─► why, where in the queue, what every host says
//! ```
//!
//! The rules:
//!
//! - **Fits**: a host takes a run when it has enough CPU, memory, pids and disk left. What was told by a host is its
//!   capacity; what is left is reckoned here, from the runs that were assigned and have not ended.
//! - **Order**: priority; then the tenant that holds the smallest share of the fleet now (its dominant share by weight);
//!   then age. Between tenants of equal share, the one whose oldest waiting run is older.
//! - **Backfill**: a run that finds no room lets others pass, but not for ever; see the module `place`
//!   for the exact rule of reservations.
//! - **Where**: the host its runner was warmed on, then hosts with its image, then any: see the module `choose`.
//! - **Never**: to a host of another region, one that is not named when executors are, lacks a label, is excluded, offline,
//!   draining, another replica's ([`HostState::Remote`]), or quarantined; beyond a runner's cap; twice.
//!
//! Invariants, each held by a property test:
//! - what is reserved on a host never exceeds its capacity by an assignment;
//! - every run that was submitted is pending, live or ended, exactly one of the three;
//! - the end of a run gives back what its assignment took, once;
//! - the same calls with the same seed give the same answers;
//! - a run that fits an empty host is placed after no more ends than there are runs on the host that is reserved for it;
//! - tenants with equal runs and a backlog hold equal shares, but for one run;
//! - what `explain` tells to be placeable is placed.
//!
//! What it costs: an assignment is a search in a tree of rooms and a few updates of ordered sets, so it grows with the
//! logarithm of hosts and runs. A run that fits nowhere is looked at once, not in every round: see the module `classes`.
//!
//! Absent on purpose: clocks (times are passed in), disk, network, randomness (a seed is passed in), threads; what has
//! been decided before this engine was made (the store knows: hosts, live and waiting runs are told anew); retries, which
//! are new attempts of the caller's; preemption: a live run is never ended for another.

#![forbid(unsafe_code)]

mod amounts;
#[cfg(test)]
mod audit;
pub mod bounds;
mod by_run;
mod choose;
mod classes;
mod engine;
mod error;
mod explain;
mod feed;
pub mod fence;
mod fleet;
mod health;
mod host;
mod images;
mod lane;
mod map;
mod names;
mod place;
#[cfg(test)]
mod properties;
mod queue;
mod run;
mod runners;
mod tenants;
mod tree;

pub use amounts::{Amounts, Dimension};
pub use engine::{Assignment, Counts, Ended, Engine, Rules, StartFailure};
pub use error::Refused;
pub use explain::{Explanation, Outlook, Position, Verdict};
pub use health::QuarantineRules;
pub use host::{HostSpec, HostState, HostView, Standing};
pub use names::{HostName, ImageRef, Region, RunnerName};
pub use run::{Priority, Run, Runner, Wants};
