//! What `davit` exits with.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; of `run`, `attach`, `wait`: the job ended with 0, or `--detach-keys` left it |
//! | 1…255 | `run`, `attach`, `wait`: the job's own (128 + n when signal n ended it) |
//! | 124 | the run reached its timeout (or its program exits 124: `end_reason` tells) |
//! | 125 | davit's own failure in any command: wrong arguments, no executor, pull or start failed, run lost; a job that ended with 0, and not all that `--extract` asked for |
//! | 141 | whoever read our output went away |

use davit_rpc::local::Run;

/// davit, not the job, failed.
pub(crate) const DAVIT_FAILED: u8 = 125;
/// Our output was closed: what a shell reports of a program that SIGPIPE ended.
pub(crate) const OUTPUT_CLOSED: u8 = 141;
/// What `--help` says of commands that follow a run to its end.
pub(crate) const HELP: &str = "\
Exit codes:
  the job's own, 128 + n when signal n ended it (137: killed, also for memory)
  124  the timeout passed (or the program itself exits 124: `davit inspect` tells)
  125  davit failed, not the job: wrong arguments, no executor, pull or start failed, run lost;
       or the job ended with 0 and a file that --extract asked for is not there
  0    also when --detach-keys left the job, which goes on: davit attach -i RUN

With --output json, standard output is one JSON object a line instead of the job's bytes:
  {\"event\":\"log\",\"stream\":\"stdout\",\"line\":…}  each record of the log, of both streams
  {\"event\":\"end\",\"run\":{…}}                   at last, as `davit inspect` has it";

/// The exit code that tells of an ended run.
pub(crate) fn of_run(run: &Run) -> u8 {
    of_end(run.end_reason.as_deref(), run.exit_code)
}

/// The exit code that tells of an end.
pub(crate) fn of_end(reason: Option<&str>, exit_code: Option<u32>) -> u8 {
    match reason {
        Some("image_pull_failed" | "start_failed" | "executor_lost") => DAVIT_FAILED,
        _ => exit_code
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
