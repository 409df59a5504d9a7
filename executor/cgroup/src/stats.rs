//! What a cgroup has used.

use davit_types::Usage;

use crate::CgroupError;
use crate::file::Dir;
use crate::parse::{keyed, nested_sum, number};

/// Figures of one cgroup and everything below it, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time, microseconds; there even without the cpu controller.
    pub cpu_us: u64,
    /// Of that in user mode, microseconds.
    pub cpu_user_us: u64,
    /// Of that in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// Time held back by `cpu.max`, microseconds; 0 without the cpu controller, which does it.
    pub cpu_throttled_us: u64,
    /// `memory.current`; absent without the memory controller.
    pub memory_current_bytes: Option<u64>,
    /// `memory.peak`; absent before Linux 5.19 or without the memory controller.
    pub memory_peak_bytes: Option<u64>,
    /// Out-of-memory kills; 0 without the memory controller, which does them.
    pub oom_kills: u64,
    /// Bytes read from block devices; 0 without the io controller, which counts them.
    pub io_read_bytes: u64,
    /// Bytes written to block devices; 0 without the io controller, which counts them.
    pub io_write_bytes: u64,
    /// Processes and threads now; absent without the pids controller.
    pub pids_current: Option<u64>,
    /// `pids.peak`; absent before Linux 6.1 or without the pids controller.
    pub pids_peak: Option<u64>,
    /// Forks refused for `pids.max`; 0 without the pids controller, which refuses them.
    pub pids_refused: u64,
}

impl Stats {
    pub(crate) fn read(dir: &Dir) -> Result<Self, CgroupError> {
        let text = |name| dir.read_optional(name).map(Option::unwrap_or_default);
        let figure = |name: &str| match dir.read_optional(name)? {
            None => Ok(None),
            Some(text) => match number(&text) {
                None => Err(dir.malformed(name, format!("`{}` is no number", text.trim()))),
                some => Ok(some),
            },
        };
        let cpu = dir.read("cpu.stat")?;
        let needed = |key: &str| {
            keyed(&cpu, key).ok_or_else(|| dir.malformed("cpu.stat", format!("no `{key}`")))
        };
        let io = text("io.stat")?;
        Ok(Self {
            cpu_us: needed("usage_usec")?,
            cpu_user_us: needed("user_usec")?,
            cpu_system_us: needed("system_usec")?,
            cpu_throttled_us: keyed(&cpu, "throttled_usec").unwrap_or(0),
            memory_current_bytes: figure("memory.current")?,
            memory_peak_bytes: figure("memory.peak")?,
            oom_kills: keyed(&text("memory.events")?, "oom_kill").unwrap_or(0),
            io_read_bytes: nested_sum(&io, "rbytes"),
            io_write_bytes: nested_sum(&io, "wbytes"),
            pids_current: figure("pids.current")?,
            pids_peak: figure("pids.peak")?,
            pids_refused: keyed(&text("pids.events")?, "max").unwrap_or(0),
        })
    }
}

impl From<Stats> for Usage {
    /// The cgroup's part of a run's usage; wall and paused time are the caller's to fill in.
    fn from(stats: Stats) -> Self {
        Self {
            wall_ms: 0,
            paused_ms: 0,
            cpu_us: stats.cpu_us,
            cpu_user_us: stats.cpu_user_us,
            cpu_system_us: stats.cpu_system_us,
            cpu_throttled_us: stats.cpu_throttled_us,
            memory_peak_bytes: stats.memory_peak_bytes,
            io_read_bytes: stats.io_read_bytes,
            io_write_bytes: stats.io_write_bytes,
            pids_peak: stats.pids_peak,
            oom_kills: stats.oom_kills,
            pids_refused: stats.pids_refused,
            // No file of a cgroup's tells of the network.
            network_received_bytes: None,
            network_sent_bytes: None,
            // Nor of the disk's room.
            disk_used_bytes: None,
            disk_used_files: None,
        }
    }
}
