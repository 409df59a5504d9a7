//! The one task that owns the zygote: passes orders on, starts it again when it ends.
//!
//! ```text
//!  started ──ended, broken, late──► refusing (back-off) ──► started …
//! ```

use std::time::{Duration, Instant};

use davit_rundir::ZygoteRequest;
use tokio::sync::{mpsc, oneshot};

use super::zygote::{Recipe, Zygote};
use super::{ShimProcess, ShimsError};
use crate::runs::{Backoff, sentence};

/// First and longest delay before a zygote is started again, milliseconds.
const RESTART_FIRST_MS: u64 = 100;
const RESTART_LONGEST_MS: u64 = 60_000;
/// A zygote that lived for so long begins a new series of delays, seconds.
const STEADY_SECONDS: u64 = 60;

/// Somebody wants a shim.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) socket: std::path::PathBuf,
    pub(super) done: oneshot::Sender<Result<ShimProcess, ShimsError>>,
}

/// Keeps a zygote until nobody can order any more.
pub(super) async fn keep(recipe: Recipe, mut orders: mpsc::Receiver<Order>) {
    let mut backoff = Backoff::new(RESTART_FIRST_MS, RESTART_LONGEST_MS);
    loop {
        let began = Instant::now();
        let problem = match Zygote::start(&recipe) {
            Ok(zygote) => match serve(zygote, &mut orders).await {
                Some(problem) => problem,
                None => return,
            },
            Err(error) => sentence(&error),
        };
        if began.elapsed() >= Duration::from_secs(STEADY_SECONDS) {
            backoff = Backoff::new(RESTART_FIRST_MS, RESTART_LONGEST_MS);
        }
        let delay = backoff.next_delay();
        tracing::warn!(
            problem,
            again_ms = delay.as_millis(),
            "the process that shims are forked from is gone: containerd executes them meanwhile"
        );
        if !refuse(delay, &mut orders).await {
            return;
        }
    }
}

/// Serves orders until the zygote is of no use (why), or nobody orders any more.
async fn serve(mut zygote: Zygote, orders: &mut mpsc::Receiver<Order>) -> Option<String> {
    loop {
        let order = tokio::select! {
            how = zygote.ended() => return Some(how),
            order = orders.recv() => order?,
        };
        let request = ZygoteRequest {
            id: order.id,
            socket: order.socket,
        };
        let forked = zygote.fork(&request).await;
        let broken = match &forked {
            Ok(_) | Err(ShimsError::Refused(_)) => None,
            Err(error) => Some(sentence(error)),
        };
        // Whoever ordered may have gone; the shim ends by itself then.
        drop(order.done.send(forked));
        if broken.is_some() {
            return broken;
        }
    }
}

/// Refuses orders for `delay`; `false` if nobody orders any more.
async fn refuse(delay: Duration, orders: &mut mpsc::Receiver<Order>) -> bool {
    let until = tokio::time::sleep(delay);
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return true,
            order = orders.recv() => match order {
                Some(order) => drop(order.done.send(Err(ShimsError::NoZygote))),
                None => return false,
            },
        }
    }
}
