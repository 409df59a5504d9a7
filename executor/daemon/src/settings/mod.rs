//! The operator's settings: defaults < TOML file < environment < flags (D12).
//!
//! Layers, checks, schema and reference are `davit-settings`; here are the table of fields, the structure, and what
//! concerns several settings together.
//!
//! Invariants:
//! - what exists is within its documented range; every problem of every layer is told at once, with
//!   key, value, origin and what is expected;
//! - an unknown key is an error that names the nearest one;
//! - no secret is a setting: passwords come from a file or command at each use ([`Secret`]).
//!
//! Absent on purpose: reloading while serving (restart: it loses nothing).

mod disk_quota;
mod fields;
mod load;
mod model;
mod network;
mod secret;
mod server;
#[cfg(test)]
mod tests;

pub use davit_settings::{FILE_BYTES_MAX, FlagValue, Origin, SettingsError, Sources};
pub use disk_quota::{DiskQuotaMode, DiskQuotaSettings};
pub use load::{DEFAULT_FILE, ENVIRONMENT_PREFIX};
pub use model::{
    ContainerdSettings, FileSettings, ImageSettings, ImageSignatureSettings, InstanceTypeSettings,
    LinkSettings, LogFormat, LogSettings, ReapSettings, RegistrySettings, RetentionSettings,
    Settings, UserNamespaceMode, UserNamespaceSettings, WarmSettings,
};
pub use network::NetworkSettings;
pub(crate) use network::{ParsedNetwork, WrongNetwork};
pub use secret::{PASSWORD_BYTES_MAX, PASSWORD_SECONDS_MAX, Secret, SecretError};
pub use server::check_server;

/// The executor's settings, and where each came from.
pub type Loaded = davit_settings::Loaded<Settings>;

/// Reads all layers.
///
/// # Errors
/// A file that cannot be read or parsed; otherwise everything that is wrong in any layer at once.
pub fn load(sources: &Sources) -> Result<Loaded, SettingsError> {
    davit_settings::load(sources)
}

/// The effective settings as TOML that can be read back, with their origins.
#[must_use]
pub fn effective(loaded: &Loaded) -> String {
    davit_settings::effective(loaded)
}

/// The reference page, Markdown.
#[must_use]
pub fn reference() -> String {
    davit_settings::reference::<Settings>()
}

/// The JSON Schema (2020-12) of the settings file.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    davit_settings::json_schema::<Settings>()
}
