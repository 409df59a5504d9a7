//! Runs from submission to nothing left, through a real executor process, containerd and shim.
//!
//! Inside `scripts/native SUITE` (or any host with containerd, davit's shim on containerd's PATH and
//! the test registry): run the test binary as root, with `--test-threads=1`. Elsewhere every test says
//! that it was skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod control;
mod ends;
mod logs;
mod restarts;
mod support;
