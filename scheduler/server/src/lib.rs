//! The scheduler: many hosts, one API, and books that add up.
//!
//! ```text
//!  REST ──► service ──┐                ┌── SQLite, embedded
//!                     ├──► store ──────┤
//!  hosts ══► link ────┤      ▲         └── PostgreSQL, for several replicas
//!             │       └──► logs ──► object store
//!             └──► dispatch ─┘ ──► placement engine
//!                      └──► traces ──► OpenTelemetry collector
//! ```
//!
//! Absent: containers, cgroups; a scheduler never touches a host but through the host's own connection.

#![forbid(unsafe_code)]

mod clock;
pub mod consoles;
pub mod credentials;
pub mod dispatch;
pub mod files;
mod key_files;
pub mod link;
pub mod logs;
mod prompt;
pub mod rest;
pub mod secrets;
pub mod serve;
pub mod service;
pub mod settings;
pub mod starts;
pub mod store;
pub mod traces;

pub use key_files::KeyFileError;
