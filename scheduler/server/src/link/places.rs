//! Where a host goes on with each attempt, and what a refused message is answered: decided without a database.
//!
//! ```text
//!  stored row + "the host holds it" + boot id ──► Standing: live (with or without what to execute) │ lost │ gone
//!  refusal of a message ────────────────────────► Answer: forget it │ here is its place │ the session is over
//! ```
//!
//! Invariants: an attempt is handed out for execution only while no host has accepted it, so a host that lost its
//! records does not execute it a second time; one that a host accepted and does not hold any more is lost only where
//! another boot proves that it is dead.

use std::collections::BTreeSet;

use davit_rpc::link as proto;
use davit_types::RunKey;

use super::words::{told_key, want};
use crate::store::{ActiveRun, ActiveState, HeldRun, Refusal};

/// How an attempt stands when its host connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The host has it.
    Live,
    /// The host has never heard of it: it is told what to execute.
    Unheard,
    /// It was accepted in an earlier boot, and nothing of it is left.
    Lost,
}

/// How a stored attempt of the host stands.
pub(super) fn standing(row: &ActiveRun, boot_id: &str, held: bool) -> Standing {
    let same_boot = row.boot_id.as_deref() == Some(boot_id);
    match (held, row.state) {
        (true, _) => Standing::Live,
        (false, ActiveState::Assigned) => Standing::Unheard,
        (false, _) if same_boot => Standing::Live,
        (false, _) => Standing::Lost,
    }
}

/// Attempts that the host holds and the store does not know as its live ones.
pub(super) fn gone(held: &BTreeSet<RunKey>, stored: &[HeldRun]) -> Vec<RunKey> {
    let live: BTreeSet<RunKey> = stored.iter().filter_map(HeldRun::key).collect();
    held.difference(&live).copied().collect()
}

/// An attempt's place, as far as the store has it.
pub(super) fn live(key: RunKey, row: &ActiveRun, assign: Option<proto::Assign>) -> proto::Place {
    let open = row.heeded_revision < row.desired_revision;
    let live = proto::Live {
        state: row.state.to_string(),
        step: row.step,
        next_segment: row.ledger_sequence,
        next_segment_begin_ms: row.ledger_ms,
        log_last_id: row.log_last_id,
        assign,
        want: open.then(|| want(key, &row.desired, row.desired_revision)),
    };
    proto::Place {
        key: Some(told_key(key)),
        standing: Some(proto::place::Standing::Live(live)),
    }
}

/// The place of an attempt that is not the host's any more.
pub(super) fn over(key: RunKey, reason: &str) -> proto::Place {
    proto::Place {
        key: Some(told_key(key)),
        standing: Some(proto::place::Standing::Gone(forget(key, reason))),
    }
}

/// The order to let go of an attempt.
pub(super) fn forget(key: RunKey, reason: &str) -> proto::Forget {
    proto::Forget {
        key: Some(told_key(key)),
        reason: reason.to_owned(),
    }
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The attempt is not the host's, or over.
    Forget,
    /// The host is to go on from what is stored.
    Place,
    /// A later session speaks for the host, or none may.
    EndSession,
}

/// What a host is answered whose message was refused.
pub(super) const fn answer(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::UnknownRun { .. }
        | Refusal::RunEnded { .. }
        | Refusal::StaleAttempt { .. }
        | Refusal::WrongHost => Answer::Forget,
        Refusal::StaleEpoch { .. } | Refusal::NoSession { .. } | Refusal::HostClosed { .. } => {
            Answer::EndSession
        }
        Refusal::WrongState { .. }
        | Refusal::StepGap { .. }
        | Refusal::LedgerGap { .. }
        | Refusal::LedgerIncomplete { .. }
        | Refusal::LogGap { .. }
        | Refusal::LogIncomplete { .. }
        | Refusal::OutOfRange { .. }
        | Refusal::NotClaimed
        | Refusal::NotFenced
        | Refusal::KeyInFlight
        | Refusal::KeyReused
        | Refusal::TenantClosed { .. }
        | Refusal::SpendCap { .. }
        | Refusal::Revision { .. }
        | Refusal::NameTaken { .. }
        | Refusal::UnknownUpload { .. }
        | Refusal::UploadOffset { .. }
        | Refusal::UploadComplete { .. }
        | Refusal::UploadParts { .. }
        | Refusal::UploadsOpen { .. }
        | Refusal::FilesFull { .. }
        | Refusal::BadJoinToken => Answer::Place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::rows::row;
    use davit_types::{Attempt, RunId};

    #[test]
    fn only_what_no_host_accepted_is_handed_out() {
        for state in ActiveState::ALL.into_iter().filter(|s| s.has_host()) {
            let mut row = row(state);
            row.boot_id = Some("boot 1".to_owned());
            assert_eq!(standing(&row, "boot 1", true), Standing::Live);
            assert_eq!(standing(&row, "boot 2", true), Standing::Live);
            let unheard = state == ActiveState::Assigned;
            for (boot, otherwise) in [("boot 1", Standing::Live), ("boot 2", Standing::Lost)] {
                let wanted = if unheard {
                    Standing::Unheard
                } else {
                    otherwise
                };
                assert_eq!(standing(&row, boot, false), wanted, "{state} {boot}");
            }
        }
    }

    #[test]
    fn what_the_store_does_not_know_is_gone() {
        let row = row(ActiveState::Running);
        let (run, spec) = (row.run, String::new());
        let stored = [HeldRun { row, spec }];
        let key = |run, n| RunKey {
            run,
            attempt: Attempt::new(n).expect("not 0"),
        };
        let other = key(RunId::generate(), 1);
        let held = BTreeSet::from([key(run, 1), key(run, 2), other]);
        let mut wanted = vec![key(run, 2), other];
        wanted.sort_unstable();
        assert_eq!(gone(&held, &stored), wanted);
    }

    #[test]
    fn a_place_says_what_comes_next_and_what_is_wanted() {
        let mut row = row(ActiveState::Paused);
        (
            row.step,
            row.ledger_sequence,
            row.ledger_ms,
            row.log_last_id,
        ) = (4, 2, 900, 17);
        row.desired.paused = true;
        row.desired_revision = 3;
        let key = RunKey {
            run: row.run,
            attempt: Attempt::FIRST,
        };
        let place = |row: &ActiveRun| match live(key, row, None).standing {
            Some(proto::place::Standing::Live(live)) => live,
            other => panic!("{other:?}"),
        };
        let open = place(&row);
        assert_eq!((open.state.as_str(), open.step), ("paused", 4));
        assert_eq!((open.next_segment, open.next_segment_begin_ms), (2, 900));
        assert_eq!(open.log_last_id, 17);
        assert_eq!(
            open.want.map(|want| (want.revision, want.paused)),
            Some((3, true))
        );
        row.heeded_revision = 3;
        assert_eq!(place(&row).want, None);
    }
}
