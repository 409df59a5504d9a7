//! davit's adapters against a real containerd, a real registry and a lying one.
//!
//! These tests need a host with containerd (the native test namespace or the VM); elsewhere they are
//! ignored. Every test works in a containerd namespace of its own.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod cache;
mod cage;
mod faults;
mod flights;
mod hostile;
mod lying_registry;
mod pulls;
mod signatures;
mod signing;
mod support;
