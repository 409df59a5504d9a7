//! `[disk_quota]`: whether what a run writes to its disk is bounded, and how much it may ask for.

use davit_types::Bytes;
use serde::{Deserialize, Serialize};

/// How much a run may write to its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskQuotaSettings {
    /// Whether runs are held to it.
    pub mode: DiskQuotaMode,
    /// The most that a run may ask for; absent: no bound.
    pub bytes_max: Option<Bytes>,
}

/// Whether runs are held to their disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskQuotaMode {
    /// Where the host can.
    #[default]
    Auto,
    /// Yes; a host that cannot takes no runs.
    Required,
    /// No: a run can fill the host's disk.
    Off,
}
