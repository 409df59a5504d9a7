//! What hosts report of attempts, and attempts that are declared lost.

use std::collections::{BTreeSet, HashMap};

use davit_types::{RunId, RunKey};

use super::super::error::Failure;
use super::super::limits::STEP_BACK_MS_MIN;
use super::super::model::{
    ActiveRun, AttemptUpdate, AuditEntry, Done, Event, Loss, Refusal, Sender, Verdict,
};
use super::super::rules::{self, Speaker};
use super::super::tx::Tx;
use super::changes::Changes;
use super::hosts::heard_now;
use super::load::{self, Past};

pub(crate) async fn report(
    tx: &mut dyn Tx,
    batch: &[AttemptUpdate],
) -> Result<Vec<Verdict>, Failure> {
    let speakers = load::speakers(tx, batch.iter().map(|u| u.from.host)).await?;
    let mut active = load::active(tx, batch.iter().map(|u| u.key.run)).await?;
    let past = past_of(tx, &active, batch.iter().map(|u| u.key)).await?;
    let mut over = Past::default();
    let mut changes = Changes::default();
    let mut verdicts = Vec::with_capacity(batch.len());
    for update in batch {
        let speaker = speakers.get(&update.from.host);
        let verdict = match active.get_mut(&update.key.run) {
            Some(row) => {
                let host_before = row.host;
                match rules::apply(row, speaker, update) {
                    Ok(None) => Ok(Done::Duplicate),
                    Ok(Some(outcome)) => {
                        if let Some(action) = outcome.action {
                            changes.audit(happened(row, update, action));
                        }
                        if outcome.finished.is_some() {
                            over.attempts
                                .insert((row.run, update.key.attempt.number()), true);
                        }
                        if let Some(profile) = update.event.profile() {
                            changes.locked_in(row, profile);
                        }
                        if changes.take(row, host_before, outcome) {
                            active.remove(&update.key.run);
                        }
                        Ok(Done::Applied)
                    }
                    Err(refusal) => already_over(&past, update.key, refusal),
                }
            }
            None if over.has_ended(update.key) => Ok(Done::Duplicate),
            None => unknown(&past, speaker, update.key, update.from),
        };
        verdicts.push(verdict);
    }
    changes.write(tx).await?;
    Ok(verdicts)
}

/// Loads what ended, of runs that are not live or have had other attempts.
pub(super) async fn past_of(
    tx: &mut dyn Tx,
    active: &HashMap<RunId, ActiveRun>,
    keys: impl Iterator<Item = RunKey>,
) -> Result<Past, Failure> {
    let asked = |key: &RunKey| {
        let live = active.get(&key.run).filter(|row| row.host.is_some());
        live.is_none_or(|row| row.attempt != key.attempt.number())
    };
    let runs: BTreeSet<RunId> = keys.filter(asked).map(|key| key.run).collect();
    load::past(tx, runs).await
}

/// A repeat of an attempt that ended well is no news; anything else about an old attempt is refused.
pub(super) fn already_over(past: &Past, key: RunKey, refusal: Refusal) -> Verdict {
    match refusal {
        Refusal::StaleAttempt { .. } if past.has_ended(key) => Ok(Done::Duplicate),
        refusal => Err(refusal),
    }
}

/// A message about a run that is not live.
pub(super) fn unknown(
    past: &Past,
    speaker: Option<&Speaker>,
    key: RunKey,
    from: Sender,
) -> Verdict {
    let Some(speaker) = speaker else {
        return Err(Refusal::NoSession { host: from.host });
    };
    if speaker.epoch != from.epoch {
        return Err(Refusal::StaleEpoch {
            given: from.epoch,
            current: speaker.epoch,
        });
    }
    if past.has_ended(key) {
        return Ok(Done::Duplicate);
    }
    match past.runs.get(&key.run) {
        Some((_, status)) => Err(Refusal::RunEnded { status: *status }),
        None => Err(Refusal::UnknownRun { run: key.run }),
    }
}

fn happened(row: &ActiveRun, update: &AttemptUpdate, action: &'static str) -> AuditEntry {
    let detail = match &update.event {
        Event::Ended(end) => match end.exit_code {
            Some(code) => format!("{}, exit code {code}", end.reason),
            None => end.reason.to_string(),
        },
        Event::Declined { message } => message.clone(),
        _ => String::new(),
    };
    AuditEntry {
        tenant: Some(row.tenant.clone()),
        actor: format!("host {}", update.from.host),
        action,
        subject: update.key.to_string(),
        detail,
        at_ms: update.at_ms,
    }
}

pub(crate) async fn lose(tx: &mut dyn Tx, batch: &[Loss]) -> Result<Vec<Verdict>, Failure> {
    let keys = || batch.iter().map(|loss| loss.key);
    let now_ms = tx.now_ms().await?;
    // Hosts are locked before runs, everywhere; so the rows are looked at once to learn their hosts.
    let hosts = load::hosts_of(tx, keys().map(|key| key.run).collect()).await?;
    let speakers = load::speakers(tx, hosts.into_iter()).await?;
    let mut active = load::active(tx, keys().map(|key| key.run)).await?;
    let past = past_of(tx, &active, keys()).await?;
    let mut changes = Changes::default();
    let mut verdicts = Vec::with_capacity(batch.len());
    let mut ahead = BTreeSet::new();
    for loss in batch {
        let verdict = match active.get_mut(&loss.key.run) {
            Some(row) => {
                let host_before = row.host;
                let speaker = row.host.and_then(|host| speakers.get(&host));
                match rules::lose(row, speaker, loss, now_ms) {
                    Ok(finished) => {
                        changes.audit(lost(row, loss));
                        if changes.finish(row, host_before, finished) {
                            active.remove(&loss.key.run);
                        }
                        Ok(Done::Applied)
                    }
                    Err(refusal) => {
                        ahead.extend(
                            row.host
                                .filter(|_| speaker.is_some_and(|host| is_ahead(host, now_ms))),
                        );
                        Err(refusal)
                    }
                }
            }
            None => match past.runs.get(&loss.key.run) {
                Some((_, status)) => Err(Refusal::RunEnded { status: *status }),
                None => Err(Refusal::UnknownRun { run: loss.key.run }),
            },
        };
        verdicts.push(verdict);
    }
    changes.write(tx).await?;
    heard_now(tx, ahead, now_ms).await?;
    Ok(verdicts)
}

/// Whether a host was heard of in the future: the store's clock has stepped back since, and would take it for alive until
/// it is there again.
fn is_ahead(host: &Speaker, now_ms: u64) -> bool {
    host.heard_ms > now_ms.saturating_add(STEP_BACK_MS_MIN)
}

fn lost(row: &ActiveRun, loss: &Loss) -> AuditEntry {
    AuditEntry {
        tenant: Some(row.tenant.clone()),
        actor: loss.actor.clone(),
        action: "run.lost",
        subject: loss.key.to_string(),
        detail: format!("{:?}: {}", loss.fenced_by, loss.message),
        at_ms: loss.at_ms,
    }
}
