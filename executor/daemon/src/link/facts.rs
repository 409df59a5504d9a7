//! What the run directory says of an attempt, as [`super::reports`] wants it.

use davit_rundir::{EndRecord, ExitRecord, FencedRecord, RunDirError, Stamp, Timings};
use davit_types::{EndReason, SecurityProfile};

use super::reports::{End, Facts, Job};
use crate::runs::{View, offload};

/// The facts of `view`'s attempt, but for what only the session knows.
///
/// # Errors
/// When a record cannot be read.
pub(super) async fn gather(view: &View) -> Result<Facts, RunDirError> {
    let view = view.clone();
    offload(move || read(&view)).await
}

fn read(view: &View) -> Result<Facts, RunDirError> {
    let dir = &view.dir;
    let mut facts = Facts {
        accepted: view.spec.accepted,
        job: None,
        heeded: 0,
        end: None,
        log_last_id: None,
        extracts: None,
    };
    let digest = || match &view.image_digest {
        Some(digest) => digest.to_string(),
        None => String::new(),
    };
    if view.is_over() {
        let exit = dir.read_exit()?;
        let end = match &view.end {
            Some(end) => Some((**end).clone()),
            None => dir.read_end()?,
        };
        facts.job = job_of(view, exit.as_ref(), end.as_ref(), digest())?;
        facts.end = Some(verdict(view, end, exit.as_ref(), dir.read_fenced()?));
    } else if view.has_final_log()
        && let Some(state) = dir.read_state()?
        && let Some(started) = state.started
    {
        facts.job = Some(Job {
            started,
            image_digest: digest(),
            timings: let_go(view, started),
            security: security(view),
            pauses: state.pauses,
        });
    }
    Ok(facts)
}

/// How the start went that ended so: the shim's stamp may be read before the owner has taken it in.
fn let_go(view: &View, started: Stamp) -> Timings {
    Timings {
        started: Some(started),
        ..view.timings
    }
}

/// What the job is locked in with, but for whose ids it has: those are the host's matter, and every job has others. A
/// record that cannot be read holds nothing up.
fn security(view: &View) -> Option<String> {
    let launch = view.dir.read_launch().ok().flatten()?;
    let profile = SecurityProfile {
        ids: None,
        ..launch.security?
    };
    serde_json::to_string(&profile).ok()
}

fn job_of(
    view: &View,
    exit: Option<&ExitRecord>,
    end: Option<&EndRecord>,
    image_digest: String,
) -> Result<Option<Job>, RunDirError> {
    let began = match (exit, end) {
        (Some(exit), _) => exit.started.map(|started| (started, exit.pauses.clone())),
        (None, Some(end)) => end.started.map(|started| (started, Vec::new())),
        (None, None) => {
            let state = view.dir.read_state()?;
            state.and_then(|state| Some((state.started?, state.pauses)))
        }
    };
    Ok(began.map(|(started, pauses)| Job {
        started,
        image_digest,
        timings: let_go(view, started),
        security: security(view),
        pauses,
    }))
}

fn verdict(
    view: &View,
    end: Option<EndRecord>,
    exit: Option<&ExitRecord>,
    fenced: Option<FencedRecord>,
) -> End {
    let Some(end) = end else {
        return End {
            reason: EndReason::ExecutorLost,
            exit_code: None,
            message: "its verdict cannot be read".to_owned(),
            usage: davit_types::Usage::default(),
            at: exit.map_or(view.spec.accepted, |exit| exit.ended),
            recorded: exit.is_some(),
            collected: Vec::new(),
        };
    };
    let mut told = End {
        reason: end.end_reason,
        exit_code: end.exit_code,
        message: end.message,
        usage: end.usage,
        at: end.ended,
        recorded: exit.is_some(),
        collected: end.extracts,
    };
    // Nobody asked for it: the host ended it, as it must when it has no scheduler.
    if let Some(fenced) = fenced
        && told.reason == EndReason::Canceled
    {
        told.reason = EndReason::ExecutorLost;
        told.exit_code = None;
        told.message = format!(
            "ended by its host, which had no scheduler for {} s",
            fenced.silent_ms / 1_000
        );
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::samples::{at_ms, exit_record, spec, state_record};
    use davit_lifecycle::State;
    use davit_rundir::{FORMAT_VERSION, LogTotals, Phase, RunDir, SpecRecord};
    use davit_types::{ExitStatus, RunStatus, Usage};
    use std::sync::Arc;
    use std::time::Duration;

    fn view(runs: &std::path::Path) -> View {
        let record = SpecRecord {
            version: FORMAT_VERSION,
            accepted: at_ms(0),
            spec: spec(),
            scheduled: None,
        };
        let dir = RunDir::create(runs, &record).unwrap();
        View::accepted(dir, Arc::new(record))
    }

    fn end_record(view: &View, reason: EndReason) -> EndRecord {
        EndRecord {
            version: FORMAT_VERSION,
            key: view.dir.key(),
            status: RunStatus::Canceled,
            exit_code: Some(137),
            end_reason: reason,
            message: "told".into(),
            started: None,
            ended: at_ms(5_000),
            usage: Usage::default(),
            log: LogTotals::default(),
            timings: Timings::default(),
            extracts: Vec::new(),
        }
    }

    #[test]
    fn a_live_run_is_what_its_shim_wrote() {
        let runs = tempfile::tempdir().unwrap();
        let mut view = view(runs.path());
        assert_eq!(read(&view).unwrap().job, None);
        view.dir.write_state(&state_record(view.dir.key())).unwrap();
        assert_eq!(read(&view).unwrap().job, None, "of an earlier launch");
        view.state = State::Starting;
        view.timings.created = Some(at_ms(0));
        let job = read(&view).unwrap().job.unwrap();
        assert_eq!(job.started, at_ms(0));
        let start = job.timings.phase(Phase::Start);
        assert_eq!(start, Some(Duration::ZERO), "before its owner knows");
    }

    #[test]
    fn a_run_that_its_host_gave_up_was_not_canceled_by_anybody() {
        let runs = tempfile::tempdir().unwrap();
        let mut view = view(runs.path());
        let key = view.dir.key();
        view.state = State::Ended;
        view.dir
            .write_exit(&ExitRecord {
                status: ExitStatus::Signal(9),
                ..exit_record(key)
            })
            .unwrap();
        view.end = Some(Arc::new(end_record(&view, EndReason::Canceled)));
        let end = read(&view).unwrap().end.unwrap();
        assert_eq!(
            (end.reason, end.exit_code),
            (EndReason::Canceled, Some(137))
        );
        let fenced = FencedRecord {
            version: FORMAT_VERSION,
            key,
            at: at_ms(4_000),
            silent_ms: 31_000,
        };
        view.dir.write_fenced(&fenced).unwrap();
        let end = read(&view).unwrap().end.unwrap();
        assert_eq!((end.reason, end.exit_code), (EndReason::ExecutorLost, None));
        assert!(end.message.contains("31 s") && end.recorded, "{end:?}");
        // What ended by itself before the kill ended by itself.
        view.end = Some(Arc::new(end_record(&view, EndReason::Exited)));
        assert_eq!(read(&view).unwrap().end.unwrap().reason, EndReason::Exited);
    }

    #[test]
    fn a_lost_run_has_no_recorded_exit() {
        let runs = tempfile::tempdir().unwrap();
        let mut view = view(runs.path());
        view.state = State::Ended;
        let lost = EndRecord {
            started: Some(at_ms(10)),
            ..end_record(&view, EndReason::ExecutorLost)
        };
        view.end = Some(Arc::new(lost));
        let facts = read(&view).unwrap();
        assert!(!facts.end.unwrap().recorded);
        assert_eq!(facts.job.unwrap().started, at_ms(10));
    }
}
