//! Doing what the scheduler wants of a live run. What is wanted is a state: the newest one counts, and doing it twice
//! changes nothing.
//!
//! A stop is heeded by the end. What cannot be done (a timeout that has passed already) counts as heeded, with a line in
//! the executor's log: it would be refused for ever.

use std::time::Duration;

use davit_lifecycle::State;
use tokio::sync::watch;

use crate::runs::{RunError, RunHandle, StopOrder, View, sentence};

/// Delay before what a shim did not do is asked for again, milliseconds.
const AGAIN_MS: u64 = 1_000;

/// All that is wanted of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) revision: u32,
    pub(super) stop: Option<StopOrder>,
    pub(super) paused: bool,
    pub(super) timeout_ms: Option<u64>,
}

/// Heeds whatever is wanted of the run, and tells the last revision that was done; ends with the run.
pub(super) async fn heed(
    handle: RunHandle,
    mut wanted: watch::Receiver<Option<Want>>,
    done: watch::Sender<u32>,
) {
    loop {
        let want = *wanted.borrow_and_update();
        let open = want.filter(|want| want.revision > *done.borrow());
        let act = async {
            match open {
                Some(want) => {
                    fulfil(&handle, want).await;
                    want.revision
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            revision = act => {
                done.send_replace(revision);
            }
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

async fn fulfil(handle: &RunHandle, want: Want) {
    let mut changes = handle.changes();
    while let Err(error) = once(handle, want, &mut changes).await {
        match error {
            RunError::Refused { .. } => {
                let (run, problem) = (handle.view().run_id(), sentence(&error));
                tracing::warn!(%run, problem, "what the scheduler wants cannot be done");
                return;
            }
            // Its end says the rest.
            RunError::ShuttingDown => return std::future::pending().await,
            _ => tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await,
        }
    }
}

/// Returns once the run is as wanted, or over.
async fn once(
    handle: &RunHandle,
    want: Want,
    changes: &mut watch::Receiver<View>,
) -> Result<(), RunError> {
    if let Some(order) = want.stop {
        return handle.stop(order).await.map(drop);
    }
    let up = |view: &View| match view.state {
        State::Running | State::Paused => true,
        State::Accepted
        | State::Pulling
        | State::Preparing
        | State::Unpreparing
        | State::Starting
        | State::Unstarting => false,
        State::Stopping | State::Closing | State::Ended => true,
    };
    let view = changes.wait_for(up).await;
    let view = view.map_err(|_| RunError::ShuttingDown)?.clone();
    let is_paused = match view.state {
        State::Running => false,
        State::Paused => true,
        // It ends: nothing else matters any more.
        _ => return Ok(()),
    };
    let timeout_ms = view.shim.as_ref().map(|shim| shim.timeout_ms);
    if let Some(wanted_ms) = want.timeout_ms.filter(|ms| Some(*ms) != timeout_ms) {
        handle.extend(wanted_ms).await?;
    }
    match (want.paused, is_paused) {
        (true, false) => handle.pause().await.map(drop),
        (false, true) => handle.resume().await.map(drop),
        _ => Ok(()),
    }
}
