//! The operator's settings: defaults < TOML file < environment < flags (D12).
//!
//! ```text
//!  file ──► value (tree with origins) ─┐
//!  DAVIT_…__… ─────────────────────────┼─► check ──► load (over the defaults) ──► Settings + origins
//!  flags ──────────────────────────────┘      ▲                                        │
//!                               fields: every setting, once ──► schema, reference      ▼ effective
//! ```
//!
//! Invariants:
//! - what exists is within its documented range; every problem of every layer is told at once, with
//!   key, value, origin and what is expected;
//! - an unknown key is an error that names the nearest one;
//! - no secret is a setting: passwords come from a file or command at each use ([`Secret`]).
//!
//! Absent on purpose: reloading while serving (restart: it loses nothing) and figment, which stops at
//! the first problem and knows no line numbers.

mod check;
mod describe;
mod fields;
mod load;
mod model;
mod secret;
mod server;
#[cfg(test)]
mod tests;
mod value;

pub use describe::{effective, json_schema, reference};
pub use load::{
    DEFAULT_FILE, ENVIRONMENT_PREFIX, FILE_BYTES_MAX, FlagValue, Loaded, SettingsError, Sources,
    load,
};
pub use model::{
    ContainerdSettings, ImageSettings, InstanceTypeSettings, LinkSettings, LogFormat, LogSettings,
    NetworkSettings, ReapSettings, RegistrySettings, RetentionSettings, Settings, WarmSettings,
};
pub use secret::{PASSWORD_BYTES_MAX, PASSWORD_SECONDS_MAX, Secret, SecretError};
pub use server::check_server;
pub use value::Origin;
