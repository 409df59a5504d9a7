//! From the engine's decision to the host's message, through the store: what is not stored is not told.
//!
//! ```text
//!  placed ─► secrets ─► store.assign ─► stored: Assign to the session, if it is still there
//!                           │               (if not, the host's next hello finds the run)
//!                           ├─► refused: the run waits again, or is dropped; the host is judged
//!                           └─► failed: the same call is made again, before anything else
//! ```

use std::sync::Arc;

use davit_placement::{Assignment as Decision, HostState as Standing};
use davit_rpc::link::{self as proto, scheduler_message::Message};

use super::keeper::{Keeper, Placed, Waiting};
use super::retries::RetryRules;
use super::verdicts::{After, after};
use crate::clock::unix_ms;
use crate::link::{OutfitError, outfit, owners, sealed};
use crate::starts::Awaited;
use crate::store::{Assignment, Refusal, Sender, StoreError};

impl Keeper {
    /// Stores decisions and tells the hosts.
    pub(super) async fn settle(&mut self, decisions: Vec<Decision>) -> Result<(), StoreError> {
        let mut placed = Vec::with_capacity(decisions.len());
        for decision in decisions {
            let run = self.waiting.remove(&decision.key.run);
            let host = self.host_id(&decision.host);
            if let (Some(run), Some(host)) = (run, host) {
                let to = Sender {
                    host,
                    epoch: decision.epoch,
                };
                let host = decision.host;
                placed.push(Placed { run, host, to });
            }
        }
        self.unsettled.extend(placed);
        self.settle_again().await
    }

    /// Makes the call for what is not settled; again, if it failed before.
    pub(super) async fn settle_again(&mut self) -> Result<(), StoreError> {
        if self.unsettled.is_empty() {
            return Ok(());
        }
        let (fit, messages) = self.outfit_all().await?;
        let at_ms = unix_ms();
        let batch = fit.iter().map(|placed| Assignment {
            replica: self.settings.replica,
            run: placed.run.row.run,
            to: placed.to,
            at_ms,
        });
        let verdicts = match self.store.assign(batch.collect()).await {
            Ok(verdicts) => verdicts,
            Err(error) if error.is_retriable() => {
                self.unsettled = fit;
                return Err(error);
            }
            Err(error) => {
                // Nothing was stored: all of it is still claimed.
                for placed in &fit {
                    self.let_go(placed.run.key);
                }
                self.recover = true;
                return Err(error);
            }
        };
        for ((placed, message), verdict) in fit.into_iter().zip(messages).zip(verdicts) {
            match verdict {
                Ok(_) => self.tell(placed, at_ms, message),
                Err(refusal) => self.refused(placed, &refusal),
            }
        }
        Ok(())
    }

    /// Fetches what the hosts need; runs for which that cannot be had are given back.
    async fn outfit_all(&mut self) -> Result<(Vec<Placed>, Vec<proto::Assign>), StoreError> {
        let runs = self.unsettled.iter().map(|placed| &placed.run);
        let owners = runs.flat_map(|run| owners(&run.row.tenant, &run.plan));
        let sealed = sealed(self.store.as_ref(), owners).await?;
        let (mut fit, mut messages, mut unfit) = (Vec::new(), Vec::new(), Vec::new());
        for placed in std::mem::take(&mut self.unsettled) {
            let run = &placed.run;
            match outfit(&sealed, &self.keys, run.key, &run.row.tenant, &run.plan) {
                Ok(message) => {
                    fit.push(placed);
                    messages.push(message);
                }
                Err(error) => unfit.push((placed.run, error)),
            }
        }
        let mut back = Vec::new();
        for (run, error) in unfit {
            self.complain(&run, &error);
            self.let_go(run.key);
            self.hold_off(run.row.tenant);
            back.push(run.row.run);
        }
        if !back.is_empty() {
            let store = Arc::clone(&self.store);
            if let Err(error) = store.unclaim(self.settings.replica, back).await {
                self.recover = true;
                self.unsettled = fit;
                return Err(error);
            }
        }
        Ok((fit, messages))
    }

    fn complain(&self, run: &Waiting, error: &OutfitError) {
        let mut cause = std::error::Error::source(error);
        let mut text = error.to_string();
        while let Some(next) = cause {
            text = format!("{text}: {next}");
            cause = next.source();
        }
        tracing::error!(key = %run.key, problem = text, "a run waits for its secrets");
    }

    fn tell(&mut self, placed: Placed, assigned_ms: u64, message: proto::Assign) {
        let run = placed.run;
        let Some(peer) = self.sessions.at(placed.to) else {
            // Its next hello says so too.
            tracing::debug!(key = %run.key, "assigned to a host that is not there any more");
            return;
        };
        let awaited = Awaited::new(&run.row, Some(assigned_ms));
        peer.give(run.key, RetryRules::of(&run.plan), awaited);
        peer.send(Message::Assign(message));
    }

    fn refused(&mut self, placed: Placed, refusal: &Refusal) {
        tracing::info!(key = %placed.run.key, host = %placed.host, %refusal, "an assignment was refused");
        self.let_go(placed.run.key);
        let standing = match after(refusal) {
            After::Drop => return,
            After::HostLeft => Standing::Offline,
            After::HostUnknown => {
                if let Some(peer) = self.sessions.at(placed.to) {
                    peer.close("the store has no session of it here");
                }
                Standing::Offline
            }
            After::HostClosed => Standing::Draining,
        };
        self.stand(placed.to, standing);
        if let Err(refused) = self.queue(placed.run) {
            tracing::error!(problem = refused.1, "a run that was queued is refused");
            self.recover = true;
        }
    }
}
