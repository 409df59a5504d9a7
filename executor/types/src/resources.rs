//! What a run may use, and the operator's named bundles of it.

use serde::{Deserialize, Serialize};

use crate::Bytes;

/// Limits of one run, in the kernel's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Thousandths of a CPU: 1500 is one and a half cores. At least 10.
    pub cpu_millis: u32,
    /// `memory.max`. Swap is always off.
    pub memory_bytes_max: Bytes,
    /// `pids.max`.
    pub pids_max: u32,
}

impl Resources {
    /// Length of a CPU bandwidth period (`cpu.max`), microseconds.
    pub const CPU_PERIOD_US: u64 = 100_000;

    /// CPU time per [`Self::CPU_PERIOD_US`], microseconds.
    #[must_use]
    pub const fn cpu_quota_us(&self) -> u64 {
        self.cpu_millis as u64 * Self::CPU_PERIOD_US / 1000
    }

    /// `cpu.weight` (1…10000) in proportion to the CPU share; 100 is one core.
    #[must_use]
    pub fn cpu_weight(&self) -> u64 {
        (u64::from(self.cpu_millis) / 10).clamp(1, 10_000)
    }
}

/// A named size the operator offers (A7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Name in requests, e.g. `small`.
    pub slug: String,
    /// Name for people.
    pub name: String,
    /// The limits it stands for.
    pub resources: Resources,
    /// Price of one second in millionths of the currency unit.
    pub price_second_micros: u64,
    /// What it may write to its root file system, bytes on disk; absent: as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes_max: Option<Bytes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_cpu_become_quota_and_weight() {
        let half = Resources {
            cpu_millis: 500,
            memory_bytes_max: Bytes::mib(64),
            pids_max: 32,
        };
        assert_eq!(half.cpu_quota_us(), 50_000);
        assert_eq!(half.cpu_weight(), 50);
    }
}
