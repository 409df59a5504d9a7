//! Runs from submission to nothing left, through a real executor process, containerd and shim.
//!
//! Where DAVIT_TEST_REAL_HOST is set (`scripts/test` does, inside `scripts/native SUITE`): a host with
//! containerd, davit's shim on containerd's PATH and the test registry. As root, one test at a time.
//! Elsewhere every test says that it was skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod control;
mod ends;
mod logs;
mod metering;
mod metrics;
mod no_containerd;
mod restarts;
mod shims;
mod support;
mod sys;
mod warm;
