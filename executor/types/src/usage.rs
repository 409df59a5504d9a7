//! What a run used, and the contiguous segments it is billed from.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::RunKey;

/// Totals of one attempt. Times are on the boot-time clock: clock steps do not touch them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Container start → end, paused time included, milliseconds.
    pub wall_ms: u64,
    /// Of that, frozen, milliseconds.
    pub paused_ms: u64,
    /// CPU time (`cpu.stat` usage_usec), microseconds.
    pub cpu_us: u64,
    /// CPU time in user mode, microseconds.
    pub cpu_user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub cpu_system_us: u64,
    /// Time it was held back by `cpu.max`, microseconds.
    pub cpu_throttled_us: u64,
    /// `memory.peak`; absent where the kernel has no memory controller.
    pub memory_peak_bytes: Option<u64>,
    /// Bytes read from block devices (`io.stat`).
    pub io_read_bytes: u64,
    /// Bytes written to block devices.
    pub io_write_bytes: u64,
    /// `pids.peak`; absent before Linux 6.1 or without the pids controller.
    pub pids_peak: Option<u64>,
    /// `oom_kill` in `memory.events`.
    pub oom_kills: u64,
    /// `max` in `pids.events`: forks refused.
    pub pids_refused: u64,
    /// Bytes that reached it over its link, headers included; absent without a bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_received_bytes: Option<u64>,
    /// Bytes it sent over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_sent_bytes: Option<u64>,
    /// What it had on its own disk when it ended; absent without a quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_used_bytes: Option<u64>,
    /// How many files, directories and links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_used_files: Option<u64>,
}

impl Usage {
    /// The billed milliseconds: running, not paused.
    #[must_use]
    pub const fn billable_ms(&self) -> u64 {
        self.wall_ms.saturating_sub(self.paused_ms)
    }
}

/// One interval of an attempt's usage. Segments are contiguous, do not overlap and sum to the
/// runtime (invariant 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageSegment {
    /// [`segment_id`] of run, attempt and sequence.
    pub id: Uuid,
    /// Whose.
    pub key: RunKey,
    /// From 0 within the attempt.
    pub sequence: u32,
    /// Begin, milliseconds since container start on the boot-time clock.
    pub begin_ms: u64,
    /// End (exclusive), same clock; `begin_ms` of the next segment.
    pub end_ms: u64,
    /// Whether the job was frozen in it.
    pub paused: bool,
}

/// Namespace of davit's derived ids (a fixed random UUID).
const SEGMENT_NAMESPACE: Uuid = Uuid::from_u128(0x5d1f_6a0e_8f4b_4c0a_9b4e_2f6a_7c31_d0a7);

/// The deterministic id of segment `sequence` of an attempt: UUIDv5, so a resend is a duplicate by
/// name wherever it was made.
#[must_use]
pub fn segment_id(key: RunKey, sequence: u32) -> Uuid {
    Uuid::new_v5(&SEGMENT_NAMESPACE, format!("{key}/{sequence}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attempt, RunId};

    #[test]
    fn segment_ids_depend_on_all_three_parts_and_nothing_else() {
        let run = RunId::generate();
        let first = RunKey {
            run,
            attempt: Attempt::FIRST,
        };
        let second = RunKey {
            run,
            attempt: Attempt::new(2).unwrap(),
        };
        assert_eq!(segment_id(first, 0), segment_id(first, 0));
        assert_ne!(segment_id(first, 0), segment_id(first, 1));
        assert_ne!(segment_id(first, 0), segment_id(second, 0));
    }

    #[test]
    fn paused_time_is_not_billed() {
        let usage = Usage {
            wall_ms: 10_000,
            paused_ms: 4_000,
            ..Usage::default()
        };
        assert_eq!(usage.billable_ms(), 6_000);
    }
}
