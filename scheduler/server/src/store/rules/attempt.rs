//! Messages of attempts, the log index, and lost attempts.

use davit_types::{EndReason, RunKey};
use uuid::Uuid;

use super::super::limits::MILLISECONDS_MAX;
use super::super::model::{
    ActiveRun, ActiveState, AttemptEnd, AttemptRow, AttemptUpdate, EndedRun, Event, FencedBy,
    LedgerRow, LogChunk, Loss, Refusal, Retry, Sender,
};
use super::back_to_queue;
use super::ledger::{Charge, add_segments, billed_seconds, charge, cost_micros};

/// What the store knows of a host's session.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub(crate) epoch: u64,
    pub(crate) boot_id: String,
    pub(crate) heard_ms: u64,
}

/// What to write beside the changed row.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) segments: Vec<LedgerRow>,
    pub(crate) charge: Charge,
    /// What the audit log calls it; most usage messages are in the ledger only.
    pub(crate) action: Option<&'static str>,
    pub(crate) finished: Option<Finished>,
}

/// An attempt is over.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) attempt: AttemptRow,
    /// And the run with it.
    pub(crate) run: Option<EndedRun>,
}

/// Whether `from` may speak of the attempt at all.
fn hear(
    row: &ActiveRun,
    speaker: Option<&Speaker>,
    key: RunKey,
    from: Sender,
) -> Result<(), Refusal> {
    let Some(speaker) = speaker else {
        return Err(Refusal::NoSession { host: from.host });
    };
    if from.epoch != speaker.epoch {
        return Err(Refusal::StaleEpoch {
            given: from.epoch,
            current: speaker.epoch,
        });
    }
    if key.attempt.number() != row.attempt {
        return Err(Refusal::StaleAttempt {
            given: key.attempt,
            live: row.attempt,
        });
    }
    if row.host.is_some_and(|host| host != from.host) {
        return Err(Refusal::WrongHost);
    }
    Ok(())
}

/// One message of an attempt; `None`: it was applied before.
pub(crate) fn apply(
    row: &mut ActiveRun,
    speaker: Option<&Speaker>,
    update: &AttemptUpdate,
) -> Result<Option<Outcome>, Refusal> {
    hear(row, speaker, update.key, update.from)?;
    if update.step <= row.step {
        return Ok(None);
    }
    if row.host.is_none() {
        // Its attempt is over and the next has not begun.
        return Err(Refusal::StaleAttempt {
            given: update.key.attempt,
            live: row.attempt,
        });
    }
    if update.step != row.step + 1 {
        return Err(Refusal::StepGap {
            given: update.step,
            expected: row.step + 1,
        });
    }
    if update.at_ms > MILLISECONDS_MAX {
        return Err(Refusal::OutOfRange {
            what: "at_ms",
            given: update.at_ms,
        });
    }
    if let Some(segment) = update.segments.iter().find(|s| s.key != update.key) {
        return Err(Refusal::StaleAttempt {
            given: segment.key.attempt,
            live: row.attempt,
        });
    }
    let mut next = row.clone();
    next.step = update.step;
    let segments = add_segments(&mut next, &update.segments, update.from.host, update.at_ms)?;
    let (action, finished) = happen(&mut next, update)?;
    let charge = charge(row, &next);
    *row = next;
    Ok(Some(Outcome {
        segments,
        charge,
        action,
        finished,
    }))
}

/// The event itself: the only place where a host changes a state.
fn happen(
    row: &mut ActiveRun,
    update: &AttemptUpdate,
) -> Result<(Option<&'static str>, Option<Finished>), Refusal> {
    use ActiveState::{Accepted, Assigned, Paused, Running};
    let action = match (&update.event, row.state) {
        (Event::Accepted, Assigned) => {
            row.state = Accepted;
            None
        }
        (Event::Declined { message }, Assigned | Accepted) => {
            let finished = decline(row, message, update.at_ms);
            return Ok((Some("run.declined"), Some(finished)));
        }
        (
            Event::Started {
                image_digest,
                profile,
            },
            Assigned | Accepted,
        ) => {
            row.state = Running;
            row.started_ms = Some(update.at_ms);
            row.ever_started = true;
            row.image_digest = Some(image_digest.clone());
            row.profile = profile.as_ref().map(|profile| profile.id);
            Some("run.started")
        }
        (Event::Paused, Running) => {
            row.state = Paused;
            row.paused_at_ms = Some(update.at_ms);
            Some("run.paused")
        }
        (Event::Resumed, Paused) => {
            row.state = Running;
            row.paused_at_ms = None;
            Some("run.resumed")
        }
        (Event::Metered, Running | Paused) => None,
        (Event::Heeded { revision }, Assigned | Accepted | Running | Paused) => {
            let heeded = (*revision).min(row.desired_revision);
            row.heeded_revision = row.heeded_revision.max(heeded);
            None
        }
        (Event::Ended(end), Assigned | Accepted | Running | Paused) => {
            let finished = end_attempt(row, end, update)?;
            return Ok((Some("run.ended"), Some(finished)));
        }
        (_, state) => return Err(Refusal::WrongState { state }),
    };
    Ok((action, None))
}

/// An attempt that its host refused before it began: the run waits again, unless it is to stop.
fn decline(row: &mut ActiveRun, message: &str, at_ms: u64) -> Finished {
    let stopped = row.desired.stop.is_some();
    let attempt = AttemptRow {
        run: row.run,
        attempt: row.attempt,
        host: row.host,
        assigned_ms: row.assigned_ms,
        started_ms: None,
        ended_ms: at_ms,
        end_reason: if stopped {
            EndReason::Canceled
        } else {
            EndReason::StartFailed
        },
        exit_code: None,
        message: message.to_owned(),
        usage: "{}".to_owned(),
        wall_ms: 0,
        log_last_id: row.log_last_id,
        complete: true,
        profile: row.profile,
        extracts: None,
    };
    let retry = Retry {
        not_before_ms: at_ms,
    };
    finish(row, attempt, Some(retry))
}

fn end_attempt(
    row: &mut ActiveRun,
    end: &AttemptEnd,
    update: &AttemptUpdate,
) -> Result<Finished, Refusal> {
    if row.ledger_ms != end.wall_ms {
        return Err(Refusal::LedgerIncomplete {
            ledger_ms: row.ledger_ms,
            wall_ms: end.wall_ms,
        });
    }
    if row.log_last_id != end.log_last_id {
        return Err(Refusal::LogIncomplete {
            indexed: row.log_last_id,
            last: end.log_last_id,
        });
    }
    let attempt = AttemptRow {
        run: row.run,
        attempt: row.attempt,
        host: row.host,
        assigned_ms: row.assigned_ms,
        started_ms: row.started_ms,
        // Its runtime is what is exact: from start to end is neither more nor less, whatever a host's clock does.
        ended_ms: row.started_ms.map_or(update.at_ms, |at| at + end.wall_ms),
        end_reason: end.reason,
        exit_code: end.exit_code,
        message: end.message.clone(),
        usage: end.usage.clone(),
        wall_ms: end.wall_ms,
        log_last_id: end.log_last_id,
        complete: true,
        profile: row.profile,
        extracts: end.extracts.clone(),
    };
    Ok(finish(row, attempt, end.retry))
}

/// Ends the attempt and, without a retry, the run. A run that is to stop is never tried again.
fn finish(row: &mut ActiveRun, mut attempt: AttemptRow, retry: Option<Retry>) -> Finished {
    if let (EndReason::Canceled, Some(cause)) = (attempt.end_reason, row.desired.because) {
        cause.sentence().clone_into(&mut attempt.message);
    }
    let run = match retry.filter(|_| row.desired.stop.is_none()) {
        Some(retry) => {
            back_to_queue(row, retry.not_before_ms.min(MILLISECONDS_MAX));
            None
        }
        None => Some(ended_run(row, &attempt)),
    };
    Finished { attempt, run }
}

fn ended_run(row: &ActiveRun, last: &AttemptRow) -> EndedRun {
    EndedRun {
        run: row.run,
        tenant: row.tenant.clone(),
        runner: row.runner,
        status: last.end_reason.status(last.exit_code),
        end_reason: last.end_reason,
        exit_code: last.exit_code,
        message: last.message.clone(),
        attempts: row.attempt,
        host: last.host,
        image_digest: row.image_digest.clone(),
        started_ms: last.started_ms,
        ended_ms: last.ended_ms,
        active_ms: row.active_ms,
        billed_seconds: billed_seconds(row.ever_started, row.active_ms),
        cost_micros: cost_micros(row),
    }
}

/// A run that ends while it waits, without a host.
pub(super) fn end_waiting(
    row: &ActiveRun,
    end_reason: EndReason,
    message: &str,
    at_ms: u64,
) -> EndedRun {
    EndedRun {
        run: row.run,
        tenant: row.tenant.clone(),
        runner: row.runner,
        status: end_reason.status(None),
        end_reason,
        exit_code: None,
        message: message.to_owned(),
        attempts: row.attempt,
        host: None,
        image_digest: row.image_digest.clone(),
        started_ms: None,
        ended_ms: at_ms,
        active_ms: row.active_ms,
        billed_seconds: billed_seconds(row.ever_started, row.active_ms),
        cost_micros: cost_micros(row),
    }
}

/// Declares an attempt lost: no exit code, nothing billed that was not reported (invariant 1).
pub(crate) fn lose(
    row: &mut ActiveRun,
    speaker: Option<&Speaker>,
    loss: &Loss,
    now_ms: u64,
) -> Result<Finished, Refusal> {
    if loss.key.attempt.number() != row.attempt || !row.state.has_host() {
        return Err(Refusal::StaleAttempt {
            given: loss.key.attempt,
            live: row.attempt,
        });
    }
    let fenced = match (loss.fenced_by, speaker) {
        (FencedBy::Operator, _) => true,
        (FencedBy::Lease { silent_ms_min }, Some(speaker)) => {
            now_ms.saturating_sub(speaker.heard_ms) >= silent_ms_min
        }
        (FencedBy::Boot, Some(speaker)) => row.boot_id.as_ref() != Some(&speaker.boot_id),
        (FencedBy::Lease { .. } | FencedBy::Boot, None) => false,
    };
    if !fenced {
        return Err(Refusal::NotFenced);
    }
    let attempt = AttemptRow {
        run: row.run,
        attempt: row.attempt,
        host: row.host,
        assigned_ms: row.assigned_ms,
        started_ms: row.started_ms,
        ended_ms: loss.at_ms,
        end_reason: EndReason::ExecutorLost,
        exit_code: None,
        message: loss.message.clone(),
        usage: "{}".to_owned(),
        wall_ms: row.ledger_ms,
        log_last_id: row.log_last_id,
        complete: false,
        profile: row.profile,
        extracts: None,
    };
    Ok(finish(row, attempt, loss.retry))
}

/// One piece of a log; `false`: it is indexed already.
pub(crate) fn index_log(
    row: &mut ActiveRun,
    speaker: Option<&Speaker>,
    from: Sender,
    chunk: &LogChunk,
) -> Result<bool, Refusal> {
    hear(row, speaker, chunk.key, from)?;
    if chunk.last_id <= row.log_last_id {
        return Ok(false);
    }
    if row.host.is_none() {
        return Err(Refusal::StaleAttempt {
            given: chunk.key.attempt,
            live: row.attempt,
        });
    }
    if chunk.last_id > MILLISECONDS_MAX {
        return Err(Refusal::OutOfRange {
            what: "last_id",
            given: chunk.last_id,
        });
    }
    if chunk.first_id != row.log_last_id + 1 {
        return Err(Refusal::LogGap {
            given: chunk.first_id,
            expected: row.log_last_id + 1,
        });
    }
    row.log_last_id = chunk.last_id;
    Ok(true)
}

/// Starts the next attempt on a host.
pub(super) fn begin_attempt(
    row: &mut ActiveRun,
    replica: Uuid,
    host: Uuid,
    boot_id: &str,
    at_ms: u64,
) {
    row.state = ActiveState::Assigned;
    row.replica = Some(replica);
    row.host = Some(host);
    row.boot_id = Some(boot_id.to_owned());
    row.attempt += 1;
    row.step = 0;
    row.assigned_ms = Some(at_ms);
    row.started_ms = None;
    row.paused_at_ms = None;
    row.profile = None;
    row.ledger_sequence = 0;
    row.ledger_ms = 0;
    row.log_last_id = 0;
}
