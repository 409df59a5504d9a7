//! What `davit` exits with.
//!
//! | code | meaning |
//! |---|---|
//! | 0…255 | `run`, `attach`, `wait`: the job's own (128 + n for a signal) |
//! | 124 | the run reached its timeout (or its program exits 124: `end_reason` tells) |
//! | 125 | davit's own failure: pull, start, lost run, executor not reachable |
//! | 1 | any other command failed |
//! | 2 | the command line is wrong |

use davit_rpc::local::Run;

/// davit, not the job, failed.
pub(crate) const DAVIT_FAILED: u8 = 125;
/// A command other than `run`, `attach` or `wait` failed.
pub(crate) const FAILED: u8 = 1;

/// The exit code that tells of an ended run.
pub(crate) fn of_run(run: &Run) -> u8 {
    match run.end_reason.as_deref() {
        Some("image_pull_failed" | "start_failed" | "executor_lost") => DAVIT_FAILED,
        _ => run
            .exit_code
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(DAVIT_FAILED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(reason: &str, code: Option<u32>) -> Run {
        Run {
            end_reason: Some(reason.into()),
            exit_code: code,
            ..Run::default()
        }
    }

    #[test]
    fn the_jobs_code_is_ours_and_a_missing_one_is_davits_failure() {
        assert_eq!(of_run(&ended("exited", Some(3))), 3);
        assert_eq!(of_run(&ended("timed_out", Some(124))), 124);
        assert_eq!(of_run(&ended("oom_killed", Some(137))), 137);
        assert_eq!(of_run(&ended("executor_lost", None)), DAVIT_FAILED);
        assert_eq!(of_run(&ended("canceled", None)), DAVIT_FAILED);
    }
}
