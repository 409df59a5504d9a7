//! The words spoken on `shim.sock`: one JSON object a line each way, one reply a request, in order.
//!
//! The executor controls runs here rather than through containerd, so that stop, pause and deadline
//! work while containerd is down. A closed connection means the shim is gone: that is how its death
//! is noticed, without polling.

use serde::{Deserialize, Serialize};

use crate::{ExitRecord, StateRecord};

/// Longest line either side accepts, bytes, newline included. A state with [`crate::PAUSES_MAX`]
/// pauses is the largest message.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;

/// What the executor asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ControlRequest {
    /// The present state.
    State,
    /// Let the created job go; answered once it was. Starting a started run answers its state.
    Start,
    /// Freeze; answered once the cgroup is frozen. Pausing a paused run answers its state.
    Pause,
    /// Thaw; answered once running. Resuming a running run answers its state.
    Resume,
    /// Send `signal`; kill the cgroup after `grace_ms`; answered at once. The end is `canceled`.
    Stop {
        /// Signal number; the image's stop signal when absent.
        signal: Option<i32>,
        /// Milliseconds until the kill.
        grace_ms: u64,
    },
    /// Kill the cgroup now; answered at once. The end is `canceled`.
    Cancel,
    /// Let the job run `timeout_ms` in all (from its start), if that is still ahead.
    Extend {
        /// New total, milliseconds.
        timeout_ms: u64,
    },
    /// Answered with [`ControlReply::Exited`] once `exit.json` is durable.
    Wait,
    /// Answered with the present state; from then on both sides speak [`crate::ConsoleFrame`]s.
    Console,
}

/// What the shim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ControlReply {
    /// Done; this is the state now.
    State(Box<StateRecord>),
    /// The job is over; the record is on disk.
    Exited(Box<ExitRecord>),
    /// Not done.
    Error(ControlError),
}

/// Why the shim did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ControlError {
    /// For programs.
    pub code: ControlErrorCode,
    /// For people.
    pub message: String,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlErrorCode {
    /// The line is no request.
    Malformed,
    /// The job has not started yet, or is over.
    NotRunning,
    /// A value is out of its range.
    OutOfRange,
    /// The kernel refused.
    Failed,
    /// As many as there may be are there.
    TooMany,
    /// This runtime, or this job, has no such thing.
    Unsupported,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_flat_json_lines() {
        let stop = ControlRequest::Stop {
            signal: None,
            grace_ms: 10_000,
        };
        let line = serde_json::to_string(&stop).unwrap();
        assert_eq!(line, r#"{"do":"stop","signal":null,"grace_ms":10000}"#);
        assert_eq!(serde_json::from_str::<ControlRequest>(&line).unwrap(), stop);
        assert_eq!(
            serde_json::from_str::<ControlRequest>(r#"{"do":"pause"}"#).unwrap(),
            ControlRequest::Pause
        );
    }
}
