//! What a cgroup may use, and the files that say so.

use davit_types::Resources;

use crate::CgroupError;
use crate::file::Dir;

/// Limits to set; an absent one is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `cpu.max`.
    pub cpu_max: Option<CpuMax>,
    /// `cpu.weight`, 1…10000.
    pub cpu_weight: Option<u64>,
    /// `memory.max`, bytes.
    pub memory_bytes_max: Option<u64>,
    /// `memory.swap.max`, bytes. Where the kernel has no swap, 0 is granted as it is.
    pub swap_bytes_max: Option<u64>,
    /// `memory.oom.group`: out of memory kills all of it or nothing.
    pub oom_group: Option<bool>,
    /// `pids.max`.
    pub pids_max: Option<u64>,
    /// `io.max`, one entry a device.
    pub io_max: Vec<IoMax>,
}

/// CPU bandwidth: `quota_us` of CPU time in every `period_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// Microseconds of CPU time a period; `None` is no limit.
    pub quota_us: Option<u64>,
    /// Length of a period, microseconds.
    pub period_us: u64,
}

/// Bandwidth of one block device; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoMax {
    /// Device number, major.
    pub major: u32,
    /// Device number, minor.
    pub minor: u32,
    /// Read bytes a second.
    pub read_bytes_s: Option<u64>,
    /// Written bytes a second.
    pub write_bytes_s: Option<u64>,
    /// Reads a second.
    pub read_ops_s: Option<u64>,
    /// Writes a second.
    pub write_ops_s: Option<u64>,
}

impl From<&Resources> for Limits {
    /// A run's limits: its share of CPU as quota and weight, its memory without swap and with a
    /// group kill, its number of processes.
    fn from(resources: &Resources) -> Self {
        Self {
            cpu_max: Some(CpuMax {
                quota_us: Some(resources.cpu_quota_us()),
                period_us: Resources::CPU_PERIOD_US,
            }),
            cpu_weight: Some(resources.cpu_weight()),
            memory_bytes_max: Some(resources.memory_bytes_max.0),
            swap_bytes_max: Some(0),
            oom_group: Some(true),
            pids_max: Some(u64::from(resources.pids_max)),
            io_max: Vec::new(),
        }
    }
}

impl Limits {
    /// What is to be written where, in order. Swap goes before memory: no instant with more of both.
    fn writes(&self) -> Vec<(&'static str, String)> {
        let mut writes = Vec::new();
        if let Some(oom_group) = self.oom_group {
            writes.push(("memory.oom.group", u8::from(oom_group).to_string()));
        }
        let numbers = [
            ("memory.swap.max", self.swap_bytes_max),
            ("memory.max", self.memory_bytes_max),
            ("pids.max", self.pids_max),
            ("cpu.weight", self.cpu_weight),
        ];
        for (file, value) in numbers {
            writes.extend(value.map(|value| (file, value.to_string())));
        }
        if let Some(CpuMax {
            quota_us,
            period_us,
        }) = self.cpu_max
        {
            writes.push(("cpu.max", format!("{} {period_us}", or_max(quota_us))));
        }
        for io in &self.io_max {
            let value = format!(
                "{}:{} rbps={} wbps={} riops={} wiops={}",
                io.major,
                io.minor,
                or_max(io.read_bytes_s),
                or_max(io.write_bytes_s),
                or_max(io.read_ops_s),
                or_max(io.write_ops_s),
            );
            writes.push(("io.max", value));
        }
        writes
    }

    pub(crate) fn apply(&self, dir: &Dir) -> Result<(), CgroupError> {
        for (file, value) in self.writes() {
            match dir.write(file, &value) {
                // CONFIG_SWAP off or swapaccount=0: there is nothing to forbid.
                Err(error) if file == "memory.swap.max" && value == "0" && error.is_gone() => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

fn or_max(limit: Option<u64>) -> String {
    limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_types::Bytes;

    #[test]
    fn a_runs_limits_are_these_writes() {
        let resources = Resources {
            cpu_millis: 1500,
            memory_bytes_max: Bytes::mib(64),
            pids_max: 32,
        };
        let writes: Vec<String> = Limits::from(&resources)
            .writes()
            .into_iter()
            .map(|(file, value)| format!("{file}={value}"))
            .collect();
        assert_eq!(
            writes,
            [
                "memory.oom.group=1",
                "memory.swap.max=0",
                "memory.max=67108864",
                "pids.max=32",
                "cpu.weight=150",
                "cpu.max=150000 100000",
            ]
        );
    }

    #[test]
    fn what_is_not_limited_is_max_or_left_alone() {
        assert!(Limits::default().writes().is_empty());
        let limits = Limits {
            cpu_max: Some(CpuMax {
                quota_us: None,
                period_us: 50_000,
            }),
            io_max: vec![IoMax {
                major: 8,
                minor: 16,
                write_bytes_s: Some(1_000_000),
                ..IoMax::default()
            }],
            ..Limits::default()
        };
        assert_eq!(
            limits.writes(),
            [
                ("cpu.max", "max 50000".to_owned()),
                (
                    "io.max",
                    "8:16 rbps=max wbps=1000000 riops=max wiops=max".to_owned()
                ),
            ]
        );
    }
}
