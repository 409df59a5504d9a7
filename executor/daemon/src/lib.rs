//! The executor of one host: takes runs on a unix socket, drives them through containerd, and may be
//! killed and replaced at any instant.
//!
//! ```text
//!  serve: checks ─► reconcile ─► api (davit.local.v1) ─► runs ─┬─► images ─► registry
//!                                                               ├─► oci (spec builder)
//!                                                               ├─► containerd
//!                                                               └─► run directory, shim.sock
//! ```
//!
//! Each module says in its header what it promises and what is absent on purpose.

#![forbid(unsafe_code)]

mod api;
mod consoles;
pub mod containerd;
mod cores;
mod credentials;
mod disk;
pub mod files;
mod ids;
pub mod images;
pub mod link;
mod metrics;
mod network;
pub mod oci;
pub mod runs;
pub mod runtimes;
mod serve;
pub mod settings;
mod shims;
mod warm;

pub use cores::dump_no_core;
pub use network::remove_rules;
pub use serve::{ServeError, serve, serve_until};
