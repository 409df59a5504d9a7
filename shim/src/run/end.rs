//! Why a run ended: a pure function of what the kernel said and what davit did.
//!
//! | davit killed it | status | `oom_kill` | forks refused | end |
//! |---|---|---|---|---|
//! | for a stop or cancel | any | any | any | canceled |
//! | at the deadline, or paused too long | a signal | any | any | timed_out |
//! | no, or the program was faster | SIGKILL, or 137 | > 0 | any | oom_killed |
//! | " | another signal, or SIGKILL without OOM | | any | signaled |
//! | " | code ≠ 0 | | > 0 | pids_limit |
//! | " | code ≠ 0, SIGBUS or SIGABRT, its disk being full | | 0 | disk_full |
//! | " | any code | | | exited |
//!
//! A program that exits in the instant between the deadline and the kill has exited by itself: its code is
//! the kernel's word. A disk is full when the run's last process has left less than a hundredth of its bytes and less than 4
//! MiB, or no file more: who tidies up before he fails has only failed. Nobody is killed for it: writes fail (SIGBUS: those to
//! a mapped file). 137 is what a shell makes of a child the kernel killed for memory.

use davit_rundir::KillReason;
use davit_types::{EndReason, ExitStatus};

const SIGKILL: u8 = 9;
/// How a program ends that cannot write, if not by a code: at a mapped file; by giving up.
const SIGBUS: u8 = 7;
const SIGABRT: u8 = 6;

/// What is known of a run when all its processes are gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) status: ExitStatus,
    pub(crate) kill: Option<KillReason>,
    pub(crate) oom_kills: u64,
    pub(crate) pids_refused: u64,
    pub(crate) disk_full: bool,
}

pub(crate) fn end_reason(facts: Facts) -> EndReason {
    match (facts.kill, facts.status) {
        (Some(KillReason::Canceled), _) => return EndReason::Canceled,
        (Some(KillReason::TimedOut | KillReason::PausedTooLong), ExitStatus::Signal(_)) => {
            return EndReason::TimedOut;
        }
        _ => {}
    }
    match facts.status {
        ExitStatus::Signal(SIGKILL) | ExitStatus::Code(137) if facts.oom_kills > 0 => {
            EndReason::OomKilled
        }
        ExitStatus::Signal(SIGBUS | SIGABRT) if facts.disk_full => EndReason::DiskFull,
        ExitStatus::Signal(_) => EndReason::Signaled,
        ExitStatus::Code(0) => EndReason::Exited,
        ExitStatus::Code(_) if facts.pids_refused > 0 => EndReason::PidsLimit,
        ExitStatus::Code(_) if facts.disk_full => EndReason::DiskFull,
        ExitStatus::Code(_) => EndReason::Exited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EndReason::{Canceled, DiskFull, Exited, OomKilled, PidsLimit, Signaled, TimedOut};
    use ExitStatus::{Code, Signal};

    #[test]
    fn the_table() {
        let timed_out = Some(KillReason::TimedOut);
        let paused = Some(KillReason::PausedTooLong);
        let canceled = Some(KillReason::Canceled);
        for (kill, status, oom_kills, pids_refused, end) in [
            (None, Code(0), 0, 0, Exited),
            (None, Code(3), 0, 0, Exited),
            // A program's own 124 is no timeout.
            (None, Code(124), 0, 0, Exited),
            (timed_out, Signal(9), 0, 0, TimedOut),
            (timed_out, Signal(9), 2, 5, TimedOut),
            (paused, Signal(9), 0, 0, TimedOut),
            // Faster than the kill.
            (timed_out, Code(0), 0, 0, Exited),
            (canceled, Signal(15), 0, 0, Canceled),
            (canceled, Code(0), 0, 0, Canceled),
            (canceled, Signal(9), 1, 0, Canceled),
            // A user's own kill -9 inside is no OOM.
            (None, Signal(9), 0, 0, Signaled),
            (None, Signal(9), 1, 0, OomKilled),
            (None, Code(137), 1, 0, OomKilled),
            (None, Code(137), 0, 0, Exited),
            // A child was killed for memory, the program went on and died of something else.
            (None, Signal(11), 1, 0, Signaled),
            (None, Code(1), 1, 0, Exited),
            (None, Code(0), 1, 0, Exited),
            (None, Code(1), 0, 4, PidsLimit),
            (None, Code(0), 0, 4, Exited),
            (None, Signal(6), 0, 4, Signaled),
        ] {
            let facts = Facts {
                status,
                kill,
                oom_kills,
                pids_refused,
                disk_full: false,
            };
            assert_eq!(end_reason(facts), end, "{facts:?}");
        }
    }

    #[test]
    fn a_full_disk_is_why_only_a_job_failed_that_failed_by_itself() {
        for (kill, status, oom_kills, pids_refused, end) in [
            (None, Code(1), 0, 0, DiskFull),
            (None, Signal(7), 0, 0, DiskFull),
            (None, Signal(6), 0, 0, DiskFull),
            (None, Code(0), 0, 0, Exited),
            (None, Signal(11), 0, 0, Signaled),
            (None, Signal(9), 0, 0, Signaled),
            (None, Code(137), 1, 0, OomKilled),
            (None, Code(1), 0, 3, PidsLimit),
            (Some(KillReason::TimedOut), Signal(9), 0, 0, TimedOut),
            (Some(KillReason::Canceled), Code(1), 0, 0, Canceled),
        ] {
            let facts = Facts {
                status,
                kill,
                oom_kills,
                pids_refused,
                disk_full: true,
            };
            assert_eq!(end_reason(facts), end, "{facts:?}");
        }
    }
}
