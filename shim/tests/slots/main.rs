//! Containers that are made before their run is known: a real daemon, a real crun, davit's own profile.
//!
//! They want cgroup v2 and root, and so run only where `DAVIT_TEST_REAL_HOST` is set, inside `scripts/native`;
//! elsewhere each says that it is skipped.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test fails by panicking, and a skipped one says so"
)]

mod ends;
mod given;
mod host;
mod plain;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;
