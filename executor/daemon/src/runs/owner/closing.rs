//! The last that an owner decides: how its run ended, written down before anybody hears of it.

use std::sync::Arc;

use davit_lifecycle::Verdict;
use davit_rundir::{EndRecord, KillReason};
use davit_types::EndReason;

use super::Owner;
use crate::runs::backoff::Backoff;
use crate::runs::ending;
use crate::runs::error::sentence;
use crate::runs::offload::offload;
use crate::runs::recovery::LostHow;

/// Delays between attempts at making a verdict durable (a full disk): first and longest, milliseconds.
const RECORD_RETRY_FIRST_MS: u64 = 100;
const RECORD_RETRY_LONGEST_MS: u64 = 10_000;

impl Owner {
    pub(super) async fn record_end(&mut self, verdict: Verdict) {
        let (mut end, mut follows) = self.verdict(verdict).await;
        // No upload is waited for any more.
        self.files = None;
        if let Some(collected) = self.collected.take() {
            end.extracts = collected;
            follows = false;
        }
        let dir = self.view.dir.clone();
        let mut backoff = Backoff::new(RECORD_RETRY_FIRST_MS, RECORD_RETRY_LONGEST_MS);
        let end = Arc::new(end);
        loop {
            let (at, record) = (dir.clone(), Arc::clone(&end));
            let written = offload(move || {
                if follows {
                    at.write_end_that_follows(&record)
                } else {
                    at.write_end(&record)
                }
            });
            let Err(error) = written.await else {
                break;
            };
            let problem = sentence(&error);
            tracing::error!(key = %dir.key(), problem, "cannot record how a run ended; trying again");
            backoff.wait().await;
        }
        tracing::info!(
            key = %dir.key(),
            status = %end.status,
            reason = %end.end_reason,
            exit_code = end.exit_code,
            message = end.message,
            "run ended"
        );
        self.count(&end);
        self.view.timings = end.timings;
        self.view.end = Some(end);
    }

    fn count(&self, end: &EndRecord) {
        let ours = self.view.timings;
        // A short job is over before its start is confirmed; one that was adopted was counted by the
        // executor that started it.
        let unheard = ours.created.is_some() && ours.started.is_none();
        if unheard && end.timings.started.is_some() {
            self.host.metrics.started(&end.timings);
        }
        self.host.metrics.ended(end.end_reason);
    }

    /// The verdict, and whether it follows from a record that is durable.
    async fn verdict(&mut self, verdict: Verdict) -> (EndRecord, bool) {
        let key = self.view.dir.key();
        let timings = self.view.timings;
        let started = self.view.shim.as_ref().and_then(|shim| shim.started);
        let failure = self.failure.take();
        let without =
            |reason, message| ending::without_exit(key, reason, message, started, timings);
        let end = match (verdict, self.exit.take()) {
            (Verdict::FromExit, Some(exit)) => {
                let spec = &self.view.spec.spec;
                let kill = match exit.end_reason {
                    EndReason::TimedOut => self.kill_reason().await,
                    // Does not count.
                    _ => None,
                };
                let end = ending::from_exit(spec, &exit, kill, timings);
                let follows = self.exit_told && ending::follows(spec, &exit, &end);
                return (end, follows);
            }
            (Verdict::FromExit, None) => without(
                EndReason::ExecutorLost,
                "its exit record cannot be read: how the job ended is unknown".to_owned(),
            ),
            (Verdict::Lost, _) => {
                let how = self.recovery.lost.unwrap_or(LostHow::ShimGone);
                without(EndReason::ExecutorLost, how.sentence().to_owned())
            }
            (Verdict::PullFailed, _) => {
                without(EndReason::ImagePullFailed, failure.unwrap_or_default())
            }
            (Verdict::StartFailed, _) => {
                without(EndReason::StartFailed, failure.unwrap_or_default())
            }
            (Verdict::Canceled, _) => {
                without(EndReason::Canceled, "canceled before it started".to_owned())
            }
        };
        (end, false)
    }

    /// Why its shim killed it, if it did.
    async fn kill_reason(&self) -> Option<KillReason> {
        let dir = self.view.dir.clone();
        let state = offload(move || dir.read_state().ok().flatten()).await;
        state.and_then(|state| state.kill)
    }
}
