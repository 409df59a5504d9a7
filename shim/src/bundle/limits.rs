//! The limits that config.json wants of a cgroup. Pure.
//!
//! crun and runc set them in any cgroup. gVisor sets them only in one that it makes itself and takes one that is there as
//! configured; a run's is made before its container. So the shim sets what it would leave out.

use std::collections::HashMap;

use davit_cgroup::{CpuMax, Limits};
use serde::Deserialize;

/// `linux.resources`, as far as davit fills it in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    cpu: Cpu,
    memory: Memory,
    pids: Pids,
    unified: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    quota: Option<i64>,
    period: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    limit: Option<i64>,
    /// Memory and swap together.
    swap: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pids {
    limit: Option<i64>,
}

impl Resources {
    /// The same as a cgroup's files; negative is no limit, as it is to the runtimes.
    pub(super) fn limits(&self) -> Limits {
        let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let memory_bytes_max = positive(self.memory.limit);
        let both = positive(self.memory.swap);
        Limits {
            cpu_max: self.cpu.period.map(|period_us| CpuMax {
                quota_us: positive(self.cpu.quota),
                period_us,
            }),
            cpu_weight: self.number("cpu.weight"),
            memory_bytes_max,
            swap_bytes_max: memory_bytes_max
                .zip(both)
                .map(|(memory, both)| both.saturating_sub(memory)),
            oom_group: self.number("memory.oom.group").map(|group| group == 1),
            pids_max: positive(self.pids.limit),
            io_max: Vec::new(),
        }
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.unified.get(file)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Limits {
        serde_json::from_str::<Resources>(json).unwrap().limits()
    }

    #[test]
    fn what_davit_writes_into_a_spec_is_a_limit_of_the_cgroup() {
        let limits = limits(
            r#"{"cpu":{"quota":50000,"period":100000},"memory":{"limit":4096,"swap":4096},"pids":{"limit":7},
                "unified":{"cpu.weight":"50","memory.oom.group":"1"},"devices":[{"allow":false,"access":"rwm"}]}"#,
        );
        let wanted = Limits {
            cpu_max: Some(CpuMax {
                quota_us: Some(50_000),
                period_us: 100_000,
            }),
            cpu_weight: Some(50),
            memory_bytes_max: Some(4_096),
            swap_bytes_max: Some(0),
            oom_group: Some(true),
            pids_max: Some(7),
            io_max: Vec::new(),
        };
        assert_eq!(limits, wanted);
    }

    #[test]
    fn what_has_no_controller_is_left_alone() {
        assert_eq!(limits("{}"), Limits::default());
        let unlimited = limits(r#"{"memory":{"limit":-1},"pids":{"limit":-1}}"#);
        assert_eq!(unlimited, Limits::default());
    }
}
