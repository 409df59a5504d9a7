//! Warm slots: containers made before anybody asked for them, one of which becomes the run.
//!
//! ```text
//!  launch ── take(profile) ──► Pool ─ waiting slots by profile ◄── made ──┐
//!     │ hit or miss             │ policy: how many of which               │
//!     │                         ▼                                         │
//!     │                       keeper ── when launches and clean-ups are done: fill ─► containerd
//!     │                         ▲
//!     └─ assign on slot.sock    └─ a slot's connection closes, an image is removed, memory runs short
//! ```
//!
//! A **profile** is everything of a container that cannot be given late: image, runtime, and the whole
//! OCI spec but arguments, environment, host name and limits. A slot serves one run of its profile, once.
//!
//! Invariants:
//! - taking a slot neither waits nor asks anybody; the lock on the pool is never held across an await;
//! - a slot that was taken is a run's or is destroyed: it never goes back;
//! - all is bounded: slots by the settings, profiles, users and those being made by constants;
//! - a slot belongs to the executor that made it: it is destroyed when that one goes down, or by the next
//!   one at start; only `launch.json` of a run makes it a run's;
//! - slots hold no image: removing one destroys its slots first.
//!
//! Absent on purpose: sharing anything between two runs (a slot's root file system, namespaces, cgroup and
//! shim are new and used once), slots for other runtimes than crun, and polling: a dead slot is noticed by
//! its closed connection, and no timer here is shorter than a second while nothing runs.

mod fill;
mod keeper;
mod policy;
mod pool;
mod pressure;
mod profile;
mod slot;
mod sweep;
mod taken;
mod users;

pub(crate) use self::keeper::keep;
pub(crate) use self::pool::Pool;
pub(crate) use self::profile::Profile;
pub(crate) use self::slot::revoke;
pub(crate) use self::sweep::sweep;
pub(crate) use self::taken::Busy;
