//! The scheduler: many hosts, one API, and books that add up.
//!
//! ```text
//!  REST ──┐                      ┌── SQLite, embedded
//!         ├──► service ──► store ┤
//!  hosts ─┘                      └── PostgreSQL, for several replicas
//! ```
//!
//! So far there is the [`store`]: everything that must survive a process, and the rules by which it
//! may change. Absent: placement (its own pure crate), containers, cgroups; a scheduler never touches a
//! host but through the host's own connection.

#![forbid(unsafe_code)]

pub mod credentials;
mod key_files;
pub mod logs;
pub mod rest;
pub mod secrets;
pub mod service;
pub mod store;

pub use key_files::KeyFileError;
