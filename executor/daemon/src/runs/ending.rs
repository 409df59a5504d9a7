//! The verdict on a run: from what the shim recorded, or from why there is no record. Pure.
//!
//! Invariant: an exit code is in the verdict only if the job ran and an exit record has it; a run
//! ended at its deadline has 124 in its place ([`TIMEOUT_EXIT_CODE`]).

use davit_rundir::{EndRecord, ExitRecord, FORMAT_VERSION, KillReason, LogTotals, Stamp, Timings};
use davit_types::{
    Bytes, EndReason, ExitStatus, Resources, RunKey, RunSpec, RunStatus, TIMEOUT_EXIT_CODE, Usage,
};

/// The verdict an exit record gives. `kill` is what `state.json` says was asked for.
pub(crate) fn from_exit(
    spec: &RunSpec,
    exit: &ExitRecord,
    kill: Option<KillReason>,
    timings: Timings,
) -> EndRecord {
    // A job that was never let go has no exit of its own: what ended is the runtime's init.
    let reason = match exit.end_reason {
        EndReason::Exited | EndReason::Signaled | EndReason::DiskFull if exit.started.is_none() => {
            EndReason::StartFailed
        }
        reason => reason,
    };
    let exit_code = match reason {
        EndReason::TimedOut => Some(TIMEOUT_EXIT_CODE),
        EndReason::ExecutorLost => None,
        _ => exit.started.map(|_| exit.status.shell_code()),
    };
    EndRecord {
        version: FORMAT_VERSION,
        key: exit.key,
        status: reason.status(exit_code),
        exit_code,
        end_reason: reason,
        message: match reason {
            EndReason::DiskFull => full_disk(spec.instance_type.disk_bytes_max, exit.status),
            _ => sentence(&spec.instance_type.resources, exit, reason, kill),
        },
        started: exit.started,
        ended: exit.ended,
        usage: exit.usage,
        log: exit.log,
        timings: Timings {
            // A short job is over before containerd confirms its start.
            started: exit.started.or(timings.started),
            ..timings
        },
        extracts: Vec::new(),
    }
}

/// Whether the exit record alone leads to the verdict `end`, its timings apart: then a power cut that loses
/// `end.json` changes nothing of what was told.
pub(crate) fn follows(spec: &RunSpec, exit: &ExitRecord, end: &EndRecord) -> bool {
    let again = EndRecord {
        timings: end.timings,
        ..from_exit(spec, exit, None, Timings::default())
    };
    again == *end
}

/// The verdict on a run without an exit record.
pub(crate) fn without_exit(
    key: RunKey,
    reason: EndReason,
    message: String,
    started: Option<Stamp>,
    timings: Timings,
) -> EndRecord {
    let status = match reason {
        EndReason::Canceled => RunStatus::Canceled,
        _ => RunStatus::Failed,
    };
    EndRecord {
        version: FORMAT_VERSION,
        key,
        status,
        exit_code: None,
        end_reason: reason,
        message,
        started,
        ended: Stamp::now(),
        usage: Usage::default(),
        log: LogTotals::default(),
        timings,
        extracts: Vec::new(),
    }
}

fn sentence(
    limits: &Resources,
    exit: &ExitRecord,
    reason: EndReason,
    kill: Option<KillReason>,
) -> String {
    match reason {
        EndReason::Exited => match exit.status {
            ExitStatus::Code(code) => format!("exited with code {code}"),
            ExitStatus::Signal(signal) => format!("ended by {}", signal_words(signal)),
        },
        EndReason::TimedOut if kill == Some(KillReason::PausedTooLong) => {
            "killed by davit: it stayed paused longer than allowed".to_owned()
        }
        EndReason::TimedOut => format!(
            "killed by davit: its timeout of {} passed",
            duration_words(exit.timeout_ms)
        ),
        EndReason::OomKilled => format!(
            "killed by the kernel: memory use reached {} (oom)",
            limits.memory_bytes_max
        ),
        EndReason::PidsLimit => format!(
            "failed at its limit of {} processes: the kernel refused {} more",
            limits.pids_max, exit.usage.pids_refused
        ),
        EndReason::Signaled => match exit.status {
            ExitStatus::Signal(signal) => {
                format!(
                    "ended by {}, which davit did not send",
                    signal_words(signal)
                )
            }
            ExitStatus::Code(code) => format!("exited with code {code} after a signal"),
        },
        EndReason::Canceled if exit.started.is_none() => "canceled before it started".to_owned(),
        EndReason::Canceled => "ended at the user's request".to_owned(),
        EndReason::DiskFull => "ended because its disk allowance was used up".to_owned(),
        EndReason::StartFailed => "its container ended before the job was let go".to_owned(),
        EndReason::ImagePullFailed => "its image could not be had".to_owned(),
        EndReason::ExecutorLost => "the host lost it".to_owned(),
    }
}

fn full_disk(bytes_max: Option<Bytes>, status: ExitStatus) -> String {
    let disk = bytes_max.map_or_else(|| "its disk".to_owned(), |max| format!("its disk of {max}"));
    match status {
        ExitStatus::Code(code) => format!("exited with code {code}, {disk} being full"),
        ExitStatus::Signal(signal) => {
            format!("ended by {}, {disk} being full", signal_words(signal))
        }
    }
}

fn signal_words(signal: u8) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("signal {signal} ({name})")
}

fn duration_words(ms: u64) -> String {
    if ms.is_multiple_of(1_000) {
        format!("{} s", ms / 1_000)
    } else {
        format!("{ms} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::samples::{exit_record, spec};

    fn end(reason: EndReason, status: ExitStatus, kill: Option<KillReason>) -> EndRecord {
        let spec = spec();
        let exit = ExitRecord {
            end_reason: reason,
            status,
            ..exit_record(spec.key())
        };
        from_exit(&spec, &exit, kill, Timings::default())
    }

    #[test]
    fn codes_are_the_kernels_and_124_is_davits() {
        let cases = [
            (
                EndReason::Exited,
                ExitStatus::Code(0),
                Some(0),
                RunStatus::Succeeded,
            ),
            (
                EndReason::Exited,
                ExitStatus::Code(124),
                Some(124),
                RunStatus::Failed,
            ),
            (
                EndReason::TimedOut,
                ExitStatus::Signal(9),
                Some(124),
                RunStatus::Failed,
            ),
            (
                EndReason::OomKilled,
                ExitStatus::Signal(9),
                Some(137),
                RunStatus::Failed,
            ),
            (
                EndReason::Signaled,
                ExitStatus::Signal(11),
                Some(139),
                RunStatus::Failed,
            ),
            (
                EndReason::Canceled,
                ExitStatus::Signal(15),
                Some(143),
                RunStatus::Canceled,
            ),
            (
                EndReason::Canceled,
                ExitStatus::Code(0),
                Some(0),
                RunStatus::Canceled,
            ),
        ];
        for (reason, status, code, public) in cases {
            let end = end(reason, status, None);
            assert_eq!((end.exit_code, end.status), (code, public), "{reason}");
            assert_eq!(end.end_reason, reason);
        }
    }

    #[test]
    fn a_verdict_follows_from_the_exit_unless_the_state_had_a_part_in_it() {
        let spec = spec();
        for (reason, kill, expected) in [
            (EndReason::Exited, None, true),
            (EndReason::OomKilled, None, true),
            (EndReason::Canceled, Some(KillReason::Canceled), true),
            (EndReason::TimedOut, Some(KillReason::TimedOut), true),
            (EndReason::TimedOut, Some(KillReason::PausedTooLong), false),
        ] {
            let exit = ExitRecord {
                end_reason: reason,
                ..exit_record(spec.key())
            };
            let timings = Timings {
                accepted: Some(Stamp::now()),
                ..Timings::default()
            };
            let end = from_exit(&spec, &exit, kill, timings);
            assert_eq!(follows(&spec, &exit, &end), expected, "{reason}");
        }
        let exit = exit_record(spec.key());
        let lost = without_exit(
            spec.key(),
            EndReason::ExecutorLost,
            String::new(),
            None,
            Timings::default(),
        );
        assert!(!follows(&spec, &exit, &lost));
    }

    #[test]
    fn a_job_never_let_go_has_no_exit_code() {
        let spec = spec();
        let exit = ExitRecord {
            started: None,
            status: ExitStatus::Signal(9),
            end_reason: EndReason::Signaled,
            ..exit_record(spec.key())
        };
        let end = from_exit(&spec, &exit, None, Timings::default());
        assert_eq!(
            (end.exit_code, end.end_reason),
            (None, EndReason::StartFailed)
        );
    }

    #[test]
    fn a_lost_run_has_no_exit_code_whatever_is_known() {
        let end = without_exit(
            spec().key(),
            EndReason::ExecutorLost,
            "gone".into(),
            Some(Stamp::now()),
            Timings::default(),
        );
        assert_eq!((end.exit_code, end.status), (None, RunStatus::Failed));
    }

    #[test]
    fn sentences_name_the_limit() {
        let oom = end(EndReason::OomKilled, ExitStatus::Signal(9), None);
        assert_eq!(
            oom.message,
            "killed by the kernel: memory use reached 256MiB (oom)"
        );
        let late = end(
            EndReason::TimedOut,
            ExitStatus::Signal(9),
            Some(KillReason::TimedOut),
        );
        assert_eq!(late.message, "killed by davit: its timeout of 60 s passed");
        let frozen = end(
            EndReason::TimedOut,
            ExitStatus::Signal(9),
            Some(KillReason::PausedTooLong),
        );
        assert!(frozen.message.contains("paused"), "{}", frozen.message);
        let full = end(EndReason::DiskFull, ExitStatus::Code(2), None);
        assert_eq!(full.message, "exited with code 2, its disk being full");
        assert_eq!((full.exit_code, full.status), (Some(2), RunStatus::Failed));
        let bus = full_disk(Some(Bytes::gib(1)), ExitStatus::Signal(7));
        assert_eq!(
            bus,
            "ended by signal 7 (SIGBUS), its disk of 1GiB being full"
        );
        let fault = end(EndReason::Signaled, ExitStatus::Signal(11), None);
        assert!(fault.message.contains("SIGSEGV"), "{}", fault.message);
    }
}
