//! Dispatch: from the store's queue to the hosts that are connected here.
//!
//! ```text
//!  store ── waiting, claim ──► Keeper ── place ──► engine        one task a replica owns it
//!    ▲ assign, unclaim, lose     │  ▲                            (keeper, queue, assigning, fleet, warm)
//!    └───────────────────────────┤  └─ news from the link: hosts come and go, runs start and end
//!                                └──► Assign, Want, Warm ──► sessions
//!  pulse: this replica lives; what dead ones left is cleared up
//!  ends: whose spend cap is reached, which drain is due; their runs are stopped
//!
//!  pure: shares (how much to claim), demand (a run in placement's words), verdicts (what follows from a refusal,
//!        when a claim is given back), pace (how often to look at the queue), losses (when a silent host's run is lost),
//!        retries (whether it is tried again)
//! ```
//!
//! No leader: each replica places on the hosts whose sessions it ends, and claims what it may place there. Its death
//! loses nothing: its hosts dial another replica, its claims are given back by whoever notices first.
//!
//! Invariants:
//! - a host is told of an attempt after the store has it, so a replica that dies in between is no different from a
//!   message that is lost: the host's next hello finds the run;
//! - the poll is the truth: a hint that never comes delays a run by [`POLL_MS`] at most;
//! - a run is given away only by the store's own check of the fence;
//! - the keeper waits for nobody but the store.
//!
//! Absent on purpose: retries of a store that refuses (the next round asks again), state that outlives the process.

mod assigning;
mod demand;
mod ends;
mod explained;
mod fleet;
mod keeper;
mod losses;
mod pace;
mod pulse;
mod queue;
#[cfg(test)]
mod recovery;
pub(crate) mod retries;
#[cfg(test)]
mod rounds;
#[cfg(test)]
pub(crate) mod rows;
mod shares;
mod silence;
pub(crate) mod told;
mod verdicts;
mod warm;
#[cfg(test)]
mod world;

use std::sync::Arc;

use async_trait::async_trait;
use davit_placement::Explanation;
use davit_types::{Attempt, RunId, RunKey};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::link::Sessions;
use crate::secrets::Keyring;
use crate::service::planned::FENCE_MS_MIN;
use crate::service::{Candidate, Explained, Placing, WarmRefused, WarmWish};
use crate::store::Store;
use crate::traces::Tracer;
use demand::Demand;
use keeper::Keeper;
use told::{NEWS_MAX, Teller, Told};

pub use warm::{WARM_MS_MAX, WARMINGS_MAX};

/// Work that nobody hinted at is found after so long.
pub const POLL_MS: u64 = 250;

/// How dispatch behaves.
#[derive(Clone, Debug)]
pub struct DispatchSettings {
    /// This replica: a new id at each start.
    pub replica: Uuid,
    /// Work is looked for this often without a hint, milliseconds.
    pub poll_ms: u64,
    /// Hosts that are not simply online here are looked at this often, all of them one time in five, milliseconds.
    pub survey_ms: u64,
    /// A host's runs are looked at after so long a silence, milliseconds.
    pub silent_after_ms: u64,
    /// What a host may need beyond `stop_after_ms` to have ended a run: the kill's grace, and the clocks' difference.
    pub fence_ms_min: u64,
    /// This replica says that it lives this often, milliseconds.
    pub pulse_ms: u64,
    /// A replica that was silent for so long is dead, milliseconds.
    pub dead_after_ms: u64,
    /// Who makes traces of ended runs.
    pub tracer: Option<Tracer>,
}

impl DispatchSettings {
    /// The usual ones.
    #[must_use]
    pub const fn new(replica: Uuid) -> Self {
        Self {
            replica,
            poll_ms: POLL_MS,
            survey_ms: 2_000,
            silent_after_ms: 15_000,
            fence_ms_min: FENCE_MS_MIN,
            pulse_ms: 1_000,
            dead_after_ms: 4_000,
            tracer: None,
        }
    }
}

/// A replica's placement. Cheap to clone; ends with the last clone.
#[derive(Clone)]
pub struct Dispatch {
    news: Teller,
    _tasks: Arc<JoinSet<()>>,
}

impl Dispatch {
    /// Begins to claim and place. Needs a tokio runtime.
    #[must_use]
    pub fn start(
        store: Arc<dyn Store>,
        keys: Arc<Keyring>,
        sessions: Sessions,
        settings: DispatchSettings,
    ) -> Self {
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(pulse::run(Arc::clone(&store), settings.clone()));
        let (tell_spent, spent) = watch::channel(ends::Spent::default());
        tasks.spawn(ends::run(Arc::clone(&store), settings.clone(), tell_spent));
        let keeper = Keeper::new(settings, store, keys, sessions, heard, spent);
        tasks.spawn(keeper.run());
        Self {
            news: Teller(news),
            _tasks: Arc::new(tasks),
        }
    }

    /// Who tells it what happens on hosts.
    pub(crate) fn teller(&self) -> Teller {
        self.news.clone()
    }

    async fn ask(
        &self,
        told: Told,
        answer: oneshot::Receiver<Option<Explanation>>,
    ) -> Option<Explanation> {
        self.news.tell(told).await;
        answer.await.ok().flatten()
    }
}

#[async_trait]
impl Placing for Dispatch {
    async fn explain(&self, run: RunId) -> Option<Explained> {
        let (answer, answered) = oneshot::channel();
        let found = self.ask(Told::Explain { run, answer }, answered).await?;
        Some(explained::explained(&found))
    }

    async fn explain_new(&self, candidate: Candidate) -> Explained {
        let key = RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        };
        let demand = Demand {
            key,
            tenant: &candidate.tenant,
            runner: candidate.runner,
            region: &candidate.region,
            priority: candidate.priority,
            created_ms: crate::clock::unix_ms(),
            plan: &candidate.plan,
            excluded: Vec::new(),
        };
        let run = match demand.run() {
            Ok(run) => Box::new(run),
            Err(error) => return explained::unreadable(&error.to_string()),
        };
        let (answer, answered) = oneshot::channel();
        match self.ask(Told::ExplainNew { run, answer }, answered).await {
            Some(found) => explained::explained(&found),
            None => explained::unreadable("placement cannot take such a run"),
        }
    }

    async fn warm(&self, wish: WarmWish) -> Result<(), WarmRefused> {
        let (answer, answered) = oneshot::channel();
        let region = wish.region.clone();
        let wish = Box::new(wish);
        self.news.tell(Told::Warm { wish, answer }).await;
        answered
            .await
            .unwrap_or(Err(WarmRefused::NoHost { region }))
    }
}
