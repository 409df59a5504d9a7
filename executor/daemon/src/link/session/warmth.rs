//! Images that the scheduler wants here before runs need them.

use std::sync::Arc;

use davit_rpc::link::host_message::Message;
use davit_rpc::link::{HostMessage, Warm, Warmed, warmed::Outcome};
use davit_types::PullPolicy;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::super::words;
use crate::credentials;
use crate::images::PullProgress;
use crate::runs::{Runs, sentence};

/// Requests under way or waiting; more are refused.
const WARMS_MAX: usize = 64;
/// Of these under way, so that runs' own pulls find room.
const WARMS_AT_ONCE_MAX: usize = 2;

pub(super) struct Warmth {
    runs: Runs,
    out: mpsc::Sender<HostMessage>,
    turns: Arc<Semaphore>,
    /// They end with the session: nobody would hear of them.
    tasks: JoinSet<()>,
}

impl Warmth {
    pub(super) fn new(runs: &Runs, out: mpsc::Sender<HostMessage>) -> Self {
        Self {
            runs: runs.clone(),
            out,
            turns: Arc::new(Semaphore::new(WARMS_AT_ONCE_MAX)),
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn warm(&mut self, warm: Warm) {
        let (runs, out, turns) = (self.runs.clone(), self.out.clone(), Arc::clone(&self.turns));
        let full = self.tasks.len() >= WARMS_MAX;
        if full {
            tracing::warn!(image = warm.image, "too many images are to be warmed");
        }
        self.tasks.spawn(async move {
            let warm_id = warm.warm_id.clone();
            let outcome = if full {
                Outcome::Problem(format!("{WARMS_MAX} images are being fetched already"))
            } else {
                // The semaphore is never closed.
                let _turn = turns.acquire_owned().await;
                have(&runs, warm).await
            };
            let warmed = Warmed {
                warm_id,
                outcome: Some(outcome),
            };
            drop(out.send(words::host(Message::Warmed(warmed))).await);
        });
    }

    /// Takes away a task that is done; returns when one is.
    pub(super) async fn finished(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }
}

async fn have(runs: &Runs, warm: Warm) -> Outcome {
    let host = runs.host();
    let found = match warm.credentials.map(words::credentials) {
        None => credentials::configured(&host.settings, &warm.image).await,
        given => Ok(given),
    };
    let credentials = match found {
        Ok(credentials) => credentials,
        Err(error) => return Outcome::Problem(sentence(&error)),
    };
    let (progress, _) = watch::channel(PullProgress::default());
    let policy = PullPolicy::Missing;
    match host
        .images
        .ensure(&warm.image, policy, credentials, progress)
        .await
    {
        Ok(image) => Outcome::ImageDigest(image.digest),
        Err(error) => Outcome::Problem(sentence(&error)),
    }
}
