//! A run as it was planned when it was submitted: what [`BaseRun::spec`](crate::store::BaseRun) holds, as JSON.
//!
//! ```text
//!  POST …/runs ──► runner's settings + the run's own ──► PlannedRun ──► store ──► dispatch ──► a host
//! ```
//!
//! It is a snapshot: a runner that is changed or deleted afterwards changes nothing of its submitted runs.
//!
//! Invariants: no secret value is in it, and no environment variable at all: these are sealed in the store, owned by
//! [`PlannedRun::secrets_owner`], named by their keys. The instance type is the only one its request names.
//!
//! Absent on purpose: tenant, runner, region, price, priority, which are columns of the store's row.

use std::collections::BTreeMap;

use davit_types::{Bytes, InstanceType, RunRequest, limits};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bytes of disk that a run takes whose instance type names no other number.
pub const DISK_BYTES_DEFAULT: u64 = 10 << 30;
/// How long a host may be silent before its runs are given up, when the runner names nothing else.
pub const LOST_AFTER_MS_DEFAULT: u64 = 300_000;
/// How long a host without a connection goes on with a run that will be given away.
pub const STOP_AFTER_MS_DEFAULT: u64 = 120_000;
/// The shortest such time. On a good connection a host's last answered heartbeat is eleven seconds old at most, ten between
/// two and one in which they are gathered: with less, and some for dialling again, runs would end without need.
pub const STOP_AFTER_MS_MIN: u64 = 20_000;
/// How long any of the two may be: a day.
pub const LOST_AFTER_MS_MAX: u64 = 86_400_000;
/// By how much `lost_after_ms` exceeds `stop_after_ms` at least: the longest grace of a kill, and what two clocks may
/// differ by.
pub const FENCE_MS_MIN: u64 = 30_000;
/// Attempts of a run, the first included.
pub const ATTEMPTS_MAX: u32 = 100;
/// Exit codes a retry policy may list.
pub const RETRY_EXIT_CODES_MAX: usize = 64;
/// Pause before the second attempt, when the runner names none; it doubles.
pub const BACKOFF_MS_DEFAULT: u64 = 1_000;
/// The longest pause before an attempt: an hour.
pub const BACKOFF_MS_MAX: u64 = crate::store::limits::PUT_OFF_MS_MAX;
/// Executors a runner may be pinned to.
pub const EXECUTORS_MAX: usize = 64;

/// What is to be executed, and how it is to be placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// The request that the host gets; its `env` is empty.
    pub request: RunRequest,
    /// The type the request names, as it was offered then.
    pub instance_type: InstanceType,
    /// Disk that is reserved on the host.
    pub disk_bytes: u64,
    /// What becomes of it when its host cannot be reached.
    #[serde(default)]
    pub on_lost: OnLost,
    /// Whether it is tried again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Names of the executors it may go to; any, when empty.
    #[serde(default)]
    pub executors: Vec<String>,
    /// Labels that its host must have.
    #[serde(default)]
    pub labels_wanted: BTreeMap<String, String>,
    /// How many runs of its runner may be live at once.
    #[serde(default)]
    pub live_runs_max: Option<u32>,
    /// Who owns its environment's values: the run itself, as a UUID. Absent if it has none.
    #[serde(default)]
    pub secrets_owner: Option<Uuid>,
    /// The registry whose secrets `username` and `password` the pull needs.
    #[serde(default)]
    pub registry_owner: Option<Uuid>,
    /// The files it comes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<PlannedFiles>,
}

/// An upload that a run comes with, as it was when the run was made; it does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFiles {
    /// Which.
    pub upload: Uuid,
    /// How long.
    pub bytes: u64,
    /// Of all of it, in hexadecimal digits.
    pub sha256: String,
}

/// A host takes files that a run comes with.
pub(crate) const FEATURE_FILES: &str = "files";
/// A host collects files, and sends them.
pub(crate) const FEATURE_EXTRACTS: &str = "extracts";

impl PlannedRun {
    /// What its host must be able to do: one of old would run it without a word, and without its files. Fields of the request
    /// are not among them: a host refuses one that has a field it does not know.
    pub(crate) fn features(&self) -> impl Iterator<Item = &'static str> + use<> {
        let files = self.files.is_some().then_some(FEATURE_FILES);
        let extracts = !self.request.extracts.is_empty();
        let extracts = extracts.then_some(FEATURE_EXTRACTS);
        files.into_iter().chain(extracts)
    }

    /// Its type as its host gets it: what is reserved of the disk is all that the run may have of it, but never so little
    /// that nothing begins.
    pub(crate) fn bounded_type(&self) -> InstanceType {
        let reserved = Bytes(self.disk_bytes).max(limits::DISK_BYTES_MIN);
        InstanceType {
            disk_bytes_max: (self.disk_bytes > 0).then_some(reserved),
            ..self.instance_type.clone()
        }
    }
}

/// What becomes of a run whose host is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnLost {
    /// Which way.
    pub policy: LostPolicy,
    /// Silence after which a run is given up (`fail`, `requeue`), milliseconds.
    pub lost_after_ms: u64,
    /// Time without a connection after which the host itself ends it (`requeue`), milliseconds.
    pub stop_after_ms: u64,
}

impl Default for OnLost {
    fn default() -> Self {
        Self {
            policy: LostPolicy::Wait,
            lost_after_ms: LOST_AFTER_MS_DEFAULT,
            stop_after_ms: STOP_AFTER_MS_DEFAULT,
        }
    }
}

/// Ways to deal with a silent host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostPolicy {
    /// The run stays as it is until the host returns, or an operator declares it gone.
    #[default]
    Wait,
    /// It ends as `executor_lost`.
    Fail,
    /// It is tried elsewhere, once the host has surely ended it.
    Requeue,
}

/// When a run whose attempt failed is tried again. Never after a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts at most, the first included; 1 is no retry.
    pub attempts_max: u32,
    /// After an end that is no fault of the job: `start_failed`, `image_pull_failed`, `executor_lost`.
    pub on_infrastructure: bool,
    /// After an exit with one of these codes.
    pub exit_codes: Vec<u8>,
    /// Pause before the second attempt, milliseconds; it doubles up to [`BACKOFF_MS_MAX`].
    pub backoff_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 1,
            on_infrastructure: false,
            exit_codes: Vec::new(),
            backoff_ms: BACKOFF_MS_DEFAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_the_least_words_has_the_defaults() {
        let plan: PlannedRun = serde_json::from_value(serde_json::json!({
            "request": {"image": "busybox"},
            "instance_type": {
                "slug": "small", "name": "Small", "price_second_micros": 3,
                "resources": {"cpu_millis": 500, "memory_bytes_max": 1 << 28, "pids_max": 64},
            },
            "disk_bytes": 1,
        }))
        .unwrap();
        assert_eq!(plan.on_lost.policy, LostPolicy::Wait);
        assert_eq!(plan.retry.attempts_max, 1);
        let again = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<PlannedRun>(&again).unwrap(), plan);
        for (reserved, bound) in [
            (0, None),
            (1, Some(limits::DISK_BYTES_MIN)),
            (10 << 30, Some(Bytes::gib(10))),
        ] {
            let plan = PlannedRun {
                disk_bytes: reserved,
                ..plan.clone()
            };
            assert_eq!(plan.bounded_type().disk_bytes_max, bound);
        }
    }
}
