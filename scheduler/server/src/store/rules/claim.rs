//! From the queue to a host.

use std::collections::HashMap;

use davit_types::EndReason;
use uuid::Uuid;

use super::super::model::{
    ActiveRun, ActiveState, Assignment, EndedRun, HostState, Refusal, Rejection,
};
use super::attempt::{Speaker, begin_attempt, end_waiting};
use super::back_to_queue;

/// A host as an assignment sees it.
#[derive(Clone, Debug)]
pub(crate) struct HostRow {
    pub(crate) state: HostState,
    pub(crate) replica: Option<Uuid>,
    pub(crate) speaker: Speaker,
}

/// How many runs of each capped runner may be out, and how many are.
pub(crate) type Caps = HashMap<Uuid, (u64, u64)>;

/// The candidates that fit below their runners' caps, in order; counts them in.
pub(crate) fn within_caps(candidates: Vec<ActiveRun>, caps: &mut Caps) -> Vec<ActiveRun> {
    let fits = |row: &ActiveRun| {
        let Some((max, out)) = row.runner.and_then(|runner| caps.get_mut(&runner)) else {
            return true;
        };
        let fits = *out < *max;
        *out += u64::from(fits);
        fits
    };
    candidates.into_iter().filter(fits).collect()
}

/// Gives a claimed run to a host; `false`: it has it already.
pub(crate) fn assign(
    row: &mut ActiveRun,
    host: Option<&HostRow>,
    assignment: &Assignment,
) -> Result<bool, Refusal> {
    let to = assignment.to;
    let ours = row.replica == Some(assignment.replica);
    if row.state == ActiveState::Assigned && ours && row.host == Some(to.host) {
        return Ok(false);
    }
    if row.state.has_host() {
        return Err(Refusal::WrongState { state: row.state });
    }
    if row.state != ActiveState::Claimed || !ours {
        return Err(Refusal::NotClaimed);
    }
    let host = host
        .filter(|host| host.replica == Some(assignment.replica))
        .ok_or(Refusal::NoSession { host: to.host })?;
    if host.speaker.epoch != to.epoch {
        return Err(Refusal::StaleEpoch {
            given: to.epoch,
            current: host.speaker.epoch,
        });
    }
    if host.state != HostState::Online {
        return Err(Refusal::HostClosed { state: host.state });
    }
    begin_attempt(
        row,
        assignment.replica,
        to.host,
        &host.speaker.boot_id,
        assignment.at_ms,
    );
    Ok(true)
}

/// How a claimed run ends that nobody can ever place.
pub(crate) fn reject(row: &ActiveRun, rejection: &Rejection) -> Result<EndedRun, Refusal> {
    if row.state != ActiveState::Claimed || row.replica != Some(rejection.replica) {
        return Err(Refusal::NotClaimed);
    }
    let (message, at_ms) = (&rejection.message, rejection.at_ms);
    Ok(end_waiting(row, EndReason::StartFailed, message, at_ms))
}

/// Puts a claimed run back; `false` if it is not this replica's claim any more.
pub(crate) fn unclaim(row: &mut ActiveRun, replica: Uuid) -> bool {
    let ours = row.state == ActiveState::Claimed && row.replica == Some(replica);
    if ours {
        let not_before_ms = row.not_before_ms;
        back_to_queue(row, not_before_ms);
    }
    ours
}
