//! What may happen to a run, decided without a database.
//!
//! ```text
//!              claim            assign              Accepted           Started        Paused
//!   pending ─────────► claimed ────────► assigned ───────────► accepted ───────► running ◄────► paused
//!      ▲  ◄──────────────┘ ▲                │  Declined           │                 │  Resumed    │
//!      │   unclaim, sweep  └── stop: canceled                      │                 │             │
//!      └─────────────── Declined, or an end or loss with a retry ──┴─────────────────┴─────────────┘
//!                                                          an end or loss without one: ended, for good
//! ```
//!
//! Each rule takes the stored row, the session of the host that speaks, and one message; it answers with
//! the new row and what to write beside it, with "there already", or with a refusal. The row is
//! unchanged unless the answer is good. Both databases are driven by the same answers, so they cannot
//! decide differently.
//!
//! Invariants: a message is believed only if host, session epoch and attempt are the stored ones and its
//! step is the next; an end only if ledger and log index reach it; a run is given away only from a
//! fenced attempt.

mod attempt;
mod claim;
mod ledger;
mod order;
#[cfg(test)]
pub(super) mod tests;

pub(crate) use attempt::{Finished, Outcome, Speaker, apply, index_log, lose};
pub(crate) use claim::{Caps, HostRow, assign, reject, unclaim, within_caps};
pub(crate) use ledger::Charge;
pub use ledger::billed_seconds;
pub(crate) use order::{Decision, order};

use super::model::{ActiveRun, ActiveState};

/// Takes the attempt's own fields back: the run waits for its next one.
fn back_to_queue(row: &mut ActiveRun, not_before_ms: u64) {
    row.state = ActiveState::Pending;
    row.not_before_ms = not_before_ms;
    row.replica = None;
    row.host = None;
    row.boot_id = None;
    row.assigned_ms = None;
    row.started_ms = None;
    row.paused_at_ms = None;
    row.heeded_revision = row.desired_revision;
}
