//! What users want of live runs.

use davit_types::EndReason;

use super::super::model::{ActiveRun, EndedRun, Order, Want};
use super::attempt::end_waiting;

/// What an order comes to.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    /// The row changed: its host is to be told.
    Wanted,
    /// The run had no host, so it is over.
    Canceled(EndedRun),
    /// It was wanted before.
    Unchanged,
}

/// Merges an order into what is wanted. Stops only get sooner; a run that is to stop takes no other order. What
/// davit itself ends has a host: a run that waits costs nothing.
pub(crate) fn order(row: &mut ActiveRun, order: &Order) -> Decision {
    if !row.state.has_host() && matches!(order.want, Want::Stop(_)) {
        let message = "canceled before it had a host";
        let end = end_waiting(row, EndReason::Canceled, message, order.at_ms);
        return Decision::Canceled(end);
    }
    let before = row.desired;
    match (order.want, before.stop) {
        (Want::Stop(stop), None) => row.desired.stop = Some(stop),
        (Want::Stop(stop), Some(first)) if stop.grace_ms < first.grace_ms => {
            row.desired.stop = Some(stop);
        }
        (Want::End(cause), None) if row.state.has_host() => {
            row.desired.stop = Some(cause.stop());
            row.desired.because = Some(cause);
        }
        (Want::Pause, None) => row.desired.paused = true,
        (Want::Resume, None) => row.desired.paused = false,
        (Want::Timeout(seconds), None) => row.desired.timeout_seconds = Some(seconds),
        (Want::End(_), None) | (_, Some(_)) => {}
    }
    if row.desired == before {
        return Decision::Unchanged;
    }
    row.desired_revision += 1;
    Decision::Wanted
}
