//! One cgroup v2 directory: limits, freeze, kill, statistics, events.
//!
//! ```text
//!  Hierarchy::find ─► enable_below(/davit, cpu memory pids io)      once a host
//!        │
//!        └─► Cgroup::create(/davit/<key>) ─► set_limits ─► the job is started into it
//!                   │  freeze ─► wait_frozen ─► thaw
//!                   │  watch_memory_events (OOM)
//!                   └► kill ─► wait_empty ─► stats ─► remove      in this order (invariant 9)
//! ```
//!
//! Invariants:
//! - an error names the file and, for a write, the value;
//! - a cgroup is never used twice: `memory.peak` cannot be reset before Linux 6.12, so
//!   [`Cgroup::create`] refuses one that exists;
//! - every wait ends: at its timeout, or by a named number of tries;
//! - a missing optional file (kernel too old, controller off) is an absent figure, never a zero that
//!   looks measured, except where the figure counts events that then cannot have happened.
//!
//! Rules come from the kernel's Documentation/admin-guide/cgroup-v2.rst.
//!
//! Absent on purpose: cgroup v1, async (an event file can be polled by whoever has a loop), threaded
//! cgroups, device filters (the OCI runtime's), and any policy on which limit a run gets.

#![forbid(unsafe_code)]

mod cgroup;
mod controllers;
mod error;
mod file;
mod hierarchy;
mod limits;
mod parse;
mod path;
mod remove;
mod stats;
mod watch;

pub use cgroup::Cgroup;
pub use controllers::{Controller, Controllers};
pub use error::CgroupError;
pub use hierarchy::Hierarchy;
pub use limits::{CpuMax, IoMax, Limits};
pub use path::{CgroupPath, PATH_BYTES_MAX};
pub use stats::Stats;
pub use watch::{Events, MemoryEvents, Watch};
