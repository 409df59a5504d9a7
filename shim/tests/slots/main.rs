//! Containers that are made before their run is known: a real daemon, a real crun, davit's own profile.
//!
//! They want cgroup v2 and root, and so are ignored but where `scripts/test` runs them, inside `scripts/native`.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod ends;
mod given;
mod host;
mod line;
mod making;
mod plain;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../support/mod.rs"]
mod support;
