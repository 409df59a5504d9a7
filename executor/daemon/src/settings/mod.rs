//! The operator's settings: defaults < TOML file < environment < flags.

mod model;

pub use model::{
    ContainerdSettings, ImageSettings, InstanceTypeSettings, LogFormat, LogSettings,
    NetworkSettings, ReapSettings, RegistrySettings, RetentionSettings, Settings,
};
