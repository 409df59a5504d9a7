//! How runs end, and the five statuses the public contract knows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Exit code of a run whose timeout passed (as `timeout(1)` reports it).
pub const TIMEOUT_EXIT_CODE: u8 = 124;

/// The public status of a run; exactly these five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Accepted, waiting for capacity or being prepared.
    Pending,
    /// The container executes, paused or not.
    Running,
    /// Exit code 0.
    Succeeded,
    /// Any other end but a cancel.
    Failed,
    /// Ended by the user before it completed.
    Canceled,
}

impl RunStatus {
    /// Whether nothing changes any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }

    /// The word in API, files and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The program ended by itself.
    Exited,
    /// davit killed it at its deadline; exit code 124.
    TimedOut,
    /// The kernel killed it for memory.
    OomKilled,
    /// It could not fork any more and failed for that.
    PidsLimit,
    /// A signal that davit did not send.
    Signaled,
    /// Stopped or cancelled by the user.
    Canceled,
    /// The image could not be had.
    ImagePullFailed,
    /// The container could not be started.
    StartFailed,
    /// Its disk allowance was used up.
    DiskFull,
    /// The host lost it: there is no exit record, hence no exit code.
    ExecutorLost,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Exited,
        Self::TimedOut,
        Self::OomKilled,
        Self::PidsLimit,
        Self::Signaled,
        Self::Canceled,
        Self::ImagePullFailed,
        Self::StartFailed,
        Self::DiskFull,
        Self::ExecutorLost,
    ];

    /// The word in API, files and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::TimedOut => "timed_out",
            Self::OomKilled => "oom_killed",
            Self::PidsLimit => "pids_limit",
            Self::Signaled => "signaled",
            Self::Canceled => "canceled",
            Self::ImagePullFailed => "image_pull_failed",
            Self::StartFailed => "start_failed",
            Self::DiskFull => "disk_full",
            Self::ExecutorLost => "executor_lost",
        }
    }

    /// The public status of a run that ended so. `exit_code` counts only for [`Self::Exited`].
    #[must_use]
    pub const fn status(self, exit_code: Option<u8>) -> RunStatus {
        match (self, exit_code) {
            (Self::Exited, Some(0)) => RunStatus::Succeeded,
            (Self::Canceled, _) => RunStatus::Canceled,
            _ => RunStatus::Failed,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the kernel said of the job's first process (`wait(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It called exit with this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

impl ExitStatus {
    /// The code as a shell reports it: signals are 128 + n.
    #[must_use]
    pub const fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => signal.saturating_add(128),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clean_exit_succeeds() {
        assert_eq!(EndReason::Exited.status(Some(0)), RunStatus::Succeeded);
        assert_eq!(EndReason::Exited.status(Some(3)), RunStatus::Failed);
        assert_eq!(EndReason::TimedOut.status(Some(0)), RunStatus::Failed);
        assert_eq!(EndReason::Canceled.status(Some(0)), RunStatus::Canceled);
        assert_eq!(EndReason::ExecutorLost.status(None), RunStatus::Failed);
    }

    #[test]
    fn signals_are_128_plus_n() {
        assert_eq!(ExitStatus::Signal(9).shell_code(), 137);
        assert_eq!(ExitStatus::Code(124).shell_code(), 124);
    }
}
