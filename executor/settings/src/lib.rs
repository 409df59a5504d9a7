//! Settings of a program: defaults < TOML file < environment < flags, from one table of fields.
//!
//! ```text
//!  file ──► value (tree with origins) ─┐
//!  PREFIX_…__… ────────────────────────┼─► check ──► load (over the defaults) ──► S + origins
//!  flags ──────────────────────────────┘      ▲                                     │
//!                     Table: every field, once ──► schema, reference                ▼ effective
//! ```
//!
//! Executor and scheduler each have a structure ([`Layered`]) and its [`Table`]; everything else is here.
//!
//! Invariants:
//! - what exists is within its documented range; every problem of every layer is told at once, with
//!   key, value, origin and what is expected;
//! - an unknown key is an error that names the nearest one.
//!
//! Absent on purpose: reloading (a restart loses nothing), secrets, and figment, which stops at the first problem
//! and knows no line numbers.

#![forbid(unsafe_code)]

mod check;
mod describe;
mod edit;
mod fields;
mod load;
mod value;

pub use check::Findings;
pub use describe::{effective, json_schema, reference};
pub use edit::{Change, edit};
pub use fields::{Field, Kind, Table, field, required};
pub use load::{FILE_BYTES_MAX, FlagValue, Layered, Loaded, Origins, SettingsError, Sources, load};
pub use value::Origin;
