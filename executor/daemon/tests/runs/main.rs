//! Runs from submission to nothing left, through a real executor process, containerd and shim.
//!
//! They need a host with containerd, davit's shim on containerd's PATH and the test registry, root, and to be
//! alone: `scripts/test` runs them one at a time inside `scripts/native SUITE`. Elsewhere they are ignored.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod consoles;
mod containerd_process;
mod control;
mod disk;
mod ends;
mod files_in;
mod files_out;
mod forked_shims;
mod ids;
mod image_policy;
mod leftovers;
mod linked;
mod logs;
mod metering;
mod metrics;
mod network;
mod no_containerd;
mod restarts;
mod runtime_binary;
mod scheduler;
mod secrets;
mod security;
mod serving;
mod shims;
mod starting;
mod support;
mod sys;
mod warm;
