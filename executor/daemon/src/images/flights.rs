//! Pulls under way: the same request by many is one pull.
//!
//! ```text
//!  waiter ─┐ Arc                     spawned task
//!  waiter ─┼────► Flight ◄─ outcome ─ pull … then clean up
//!  waiter ─┘        │ drop of the last one
//!                   └── cancel ─────► pull dropped, then clean up
//! ```
//!
//! The task outlives its waiters for as long as the clean-up takes: nothing half-made is left.
//! Requests with other credentials are other flights: wrong credentials fail nobody else's pull, and
//! nobody rides on somebody else's right.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use davit_types::PullPolicy;
use tokio::sync::{oneshot, watch};

use super::pull::Pull;
use super::{Credentials, ImageError, ImageName, Inner, PullProgress, ResolvedImage};

type Outcome = Result<ResolvedImage, ImageError>;

/// What makes two requests the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlightKey {
    pub(super) name: ImageName,
    pub(super) policy: PullPolicy,
    pub(super) credentials: Option<Credentials>,
}

/// The flights of one name: differing policies and credentials are few.
type SameName = Vec<(FlightKey, Weak<Flight>)>;

#[derive(Default)]
pub(super) struct Flights {
    by_name: Mutex<HashMap<ImageName, SameName>>,
}

struct Flight {
    progress: watch::Receiver<PullProgress>,
    outcome: watch::Receiver<Option<Outcome>>,
    /// Never sent on: its drop cancels the pull.
    _cancel: oneshot::Sender<Infallible>,
}

impl Flights {
    /// Waits for the pull of `key`, starting it if it is not under way; `progress` follows it.
    pub(super) async fn join(
        &self,
        store: &Arc<Inner>,
        key: FlightKey,
        progress: &watch::Sender<PullProgress>,
    ) -> Outcome {
        let image = key.name.to_string();
        let flight = self.find_or_start(store, key);
        let mut steps = flight.progress.clone();
        let mut outcome = flight.outcome.clone();
        let mut steps_open = true;
        loop {
            progress.send_replace(*steps.borrow_and_update());
            tokio::select! {
                done = outcome.wait_for(Option::is_some) => {
                    let result = match done {
                        Ok(outcome) => outcome.clone(),
                        Err(_) => None,
                    };
                    progress.send_replace(*steps.borrow());
                    return result.unwrap_or(Err(ImageError::Abandoned { image }));
                }
                changed = steps.changed(), if steps_open => steps_open = changed.is_ok(),
            }
        }
    }

    fn find_or_start(&self, store: &Arc<Inner>, key: FlightKey) -> Arc<Flight> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.retain(|_, flights| {
            flights.retain(|(_, flight)| flight.strong_count() > 0);
            !flights.is_empty()
        });
        let same_name = by_name.entry(key.name.clone()).or_default();
        let running = same_name
            .iter()
            .filter(|(other, _)| *other == key)
            .filter_map(|(_, flight)| flight.upgrade())
            // A finished one has answered its own question, at its own time.
            .find(|flight| flight.outcome.borrow().is_none());
        running.unwrap_or_else(|| {
            let flight = Arc::new(start(Arc::clone(store), key.clone()));
            same_name.push((key, Arc::downgrade(&flight)));
            flight
        })
    }
}

fn start(store: Arc<Inner>, key: FlightKey) -> Flight {
    let (progress, progress_seen) = watch::channel(PullProgress::default());
    let (outcome, outcome_seen) = watch::channel(None);
    let (cancel, cancelled) = oneshot::channel();
    tokio::spawn(async move {
        let image = key.name.clone();
        let pull = Pull::new(&store, key, progress);
        let result = pull.run(cancelled).await;
        store.pulls.over(&result);
        if let Err(error) = &result {
            tracing::warn!(%image, %error, "pull failed");
        }
        outcome.send_replace(Some(result));
        store.evict_in_background();
    });
    Flight {
        progress: progress_seen,
        outcome: outcome_seen,
        _cancel: cancel,
    }
}
