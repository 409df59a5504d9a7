//! The keeper: the one task that owns a replica's placement engine.
//!
//! ```text
//!  news ──────────────► hear: hosts come and go, runs start and end ─┐
//!  hint or poll ──────► claim ─► admit ─────────────────────────────►├─► engine.place ─► assign ─► Assign
//!                       open orders ─► Want                          │
//!  survey, seldom ────► all hosts, losses, claims compared ──────────┘
//! ```
//!
//! Those who tell wait for room, and hosts with them: what is told is heard before each claim, all of it.
//!
//! Invariants: every claimed run is in `waiting`, in `unsettled` or given back; what the engine holds as live is assigned
//! in the store, or in `unsettled`; a store that fails leaves all of it to the next round.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use davit_placement::{Engine, HostName, Rules};
use davit_types::{RunId, RunKey, Tenant};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::DispatchSettings;
use super::ends::Spent;
use super::fleet::Known;
use super::pace::Pace;
use super::shares::{WINDOW_RUNS_MIN, next_window};
use super::silence::Silences;
use super::told::{NEWS_MAX, Told};
use super::warm::Warming;
use crate::link::Sessions;
use crate::secrets::Keyring;
use crate::service::planned::PlannedRun;
use crate::store::limits::BATCH_ITEMS_MAX;
use crate::store::{ActiveRun, Sender, Store, StoreError};

/// Claims of one round: then news are heard again.
pub(super) const CLAIMS_PER_ROUND_MAX: usize = 4;
/// Pause after the store failed.
const STORE_PAUSE_MS: u64 = 100;

/// A claimed run that has no host yet.
pub(super) struct Waiting {
    pub(super) key: RunKey,
    pub(super) row: ActiveRun,
    pub(super) plan: Box<PlannedRun>,
    pub(super) excluded: Vec<HostName>,
    pub(super) since: Instant,
}

/// A run whose assignment is being stored.
pub(super) struct Placed {
    pub(super) run: Waiting,
    pub(super) host: HostName,
    pub(super) to: Sender,
}

pub(super) struct Keeper {
    pub(super) settings: DispatchSettings,
    pub(super) store: Arc<dyn Store>,
    pub(super) keys: Arc<Keyring>,
    pub(super) sessions: Sessions,
    news: mpsc::Receiver<Told>,
    pub(super) engine: Engine,
    pub(super) began: Instant,
    pub(super) hosts: HashMap<Uuid, Known>,
    pub(super) names: HashMap<Uuid, HostName>,
    pub(super) ids: HashMap<HostName, Uuid>,
    pub(super) waiting: HashMap<RunId, Waiting>,
    pub(super) unsettled: Vec<Placed>,
    pub(super) window: usize,
    pace: Pace,
    /// Nothing is claimed before then.
    pub(super) claims_due: Instant,
    /// There may be something to claim then.
    pub(super) owes_claim: bool,
    /// Tenants that are not claimed for before then.
    pub(super) held_off: HashMap<Tenant, Instant>,
    /// Tenants that nothing is claimed for: they spent what they may.
    pub(super) spent: watch::Receiver<Spent>,
    /// Where more tenants wait in a region than are looked at: the last that was.
    pub(super) turns: HashMap<String, Tenant>,
    /// Orders that hosts were told: session epoch and revision.
    pub(super) wanted: HashMap<RunKey, (u64, u32)>,
    /// A claim's answer was lost: the store is asked what is claimed.
    pub(super) recover: bool,
    /// When claims were last looked at, whether to give them back.
    looked: Instant,
    pub(super) silences: Silences,
    /// How many there were.
    pub(super) surveys: u32,
    pub(super) warming: HashMap<Uuid, Warming>,
}

/// What made the keeper look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    News,
    Work,
    Survey,
}

impl Keeper {
    pub(super) fn new(
        settings: DispatchSettings,
        store: Arc<dyn Store>,
        keys: Arc<Keyring>,
        sessions: Sessions,
        news: mpsc::Receiver<Told>,
        spent: watch::Receiver<Spent>,
    ) -> Self {
        let rules = Rules {
            seed: settings.replica.as_u64_pair().1,
            ..Rules::default()
        };
        Self {
            settings,
            store,
            keys,
            sessions,
            news,
            engine: Engine::new(rules),
            began: Instant::now(),
            hosts: HashMap::new(),
            names: HashMap::new(),
            ids: HashMap::new(),
            waiting: HashMap::new(),
            unsettled: Vec::new(),
            window: WINDOW_RUNS_MIN,
            pace: Pace::default(),
            claims_due: Instant::now(),
            owes_claim: false,
            held_off: HashMap::new(),
            spent,
            turns: HashMap::new(),
            wanted: HashMap::new(),
            recover: false,
            looked: Instant::now(),
            silences: Silences::default(),
            surveys: 0,
            warming: HashMap::new(),
        }
    }

    /// Runs until nobody can tell it anything any more.
    pub(super) async fn run(mut self) {
        self.announce().await;
        let mut hints = self.store.hints();
        let mut hinted = true;
        let tick = |ms| {
            let mut ticks = tokio::time::interval(Duration::from_millis(ms));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut polls = tick(self.settings.poll_ms);
        let mut surveys = tick(self.settings.survey_ms);
        loop {
            let cause = tokio::select! {
                told = self.news.recv() => match told {
                    Some(told) => {
                        self.hear(told);
                        Cause::News
                    }
                    None => return,
                },
                hint = hints.changed(), if hinted => {
                    hinted = hint.is_ok();
                    Cause::Work
                }
                _ = polls.tick() => Cause::Work,
                () = tokio::time::sleep_until(self.claims_due.into()), if self.owes_claim => Cause::Work,
                _ = surveys.tick() => Cause::Survey,
            };
            self.hear_all();
            let done = match cause {
                Cause::News => self.place().await,
                Cause::Work => self.round().await,
                Cause::Survey => self.survey().await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, cause = %error.failure, "dispatch is delayed");
                tokio::time::sleep(Duration::from_millis(STORE_PAUSE_MS)).await;
            }
        }
    }

    /// A replica that others cannot see claims nothing: nobody would give its claims back.
    async fn announce(&self) {
        while let Err(error) = self.store.replica_beat(self.settings.replica).await {
            tracing::warn!(%error, cause = %error.failure, "the store cannot be told of this replica");
            tokio::time::sleep(Duration::from_millis(STORE_PAUSE_MS)).await;
        }
    }

    /// The engine's clock.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Hears what was told until now.
    fn hear_all(&mut self) {
        for _ in 0..NEWS_MAX {
            let Ok(told) = self.news.try_recv() else {
                return;
            };
            self.hear(told);
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Up(up) => self.up(*up),
            Told::Down(from) => self.down(from),
            Told::Images { from, images } => self.images(from, images),
            Told::Started(key) => {
                // Ended meanwhile, or adopted by another replica: then nothing is waited for.
                if let Err(unknown) = self.engine.started(key) {
                    tracing::debug!(%unknown, "a start is no news");
                }
            }
            Told::Over { key, hosts_fault } => self.over(key, hosts_fault),
            Told::Warmed {
                from,
                warm_id,
                problem,
            } => self.warmed(from, warm_id, problem),
            Told::Explain { run, answer } => drop(answer.send(self.explain(run))),
            Told::ExplainNew { run, answer } => {
                drop(answer.send(self.engine.explain_new(&run).ok()));
            }
            Told::Warm { wish, answer } => self.warm(*wish, answer),
        }
    }

    /// An attempt's end is stored.
    pub(super) fn trace(&self, key: RunKey) {
        if let Some(tracer) = &self.settings.tracer {
            tracer.over(key.run);
        }
    }

    pub(super) fn over(&mut self, key: RunKey, hosts_fault: bool) {
        if hosts_fault {
            match self.engine.start_failed(key, self.now_ms()) {
                Ok(failure) => {
                    if let Some(until_ms) = failure.quarantined_until_ms {
                        tracing::warn!(host = %failure.host, until_ms, "a host is in quarantine");
                    }
                }
                Err(unknown) => tracing::debug!(%unknown, "a failed start is no news"),
            }
        }
        self.trace(key);
        self.let_go(key);
    }

    /// Gives back what an attempt holds, if it holds anything.
    pub(super) fn let_go(&mut self, key: RunKey) {
        self.wanted.remove(&key);
        if let Err(unknown) = self.engine.end(key) {
            tracing::debug!(%unknown, "an end is no news");
        }
    }

    fn explain(&self, run: RunId) -> Option<davit_placement::Explanation> {
        self.engine.explain(self.engine.attempt_of(run)?).ok()
    }

    /// Everything that a hint or the poll may be about.
    pub(super) async fn round(&mut self) -> Result<(), StoreError> {
        self.recover().await?;
        self.owes_claim = Instant::now() < self.claims_due;
        if !self.owes_claim {
            self.claim_some().await?;
        }
        if self.looked.elapsed() >= Duration::from_millis(self.settings.poll_ms) {
            self.looked = Instant::now();
            self.give_back_spent().await?;
            self.give_back().await?;
        }
        self.tell_orders().await
    }

    async fn claim_some(&mut self) -> Result<(), StoreError> {
        for _ in 0..CLAIMS_PER_ROUND_MAX {
            let begin = Instant::now();
            let more = self.claim().await?;
            let took = begin.elapsed();
            self.hear_all();
            self.place().await?;
            self.hear_all();
            // A round ends before the queue does; the next one is due at once.
            self.owes_claim = more;
            if !more {
                self.claims_due = Instant::now() + self.pace.looked(took);
                break;
            }
        }
        self.window = next_window(self.window, self.waiting.len());
        Ok(())
    }

    /// Places what waits, and stores where.
    async fn place(&mut self) -> Result<(), StoreError> {
        self.settle_again().await?;
        loop {
            let placed = self.engine.place(self.now_ms(), BATCH_ITEMS_MAX);
            if placed.is_empty() {
                return Ok(());
            }
            self.settle(placed).await?;
        }
    }

    /// Looks at all that changes seldom.
    async fn survey(&mut self) -> Result<(), StoreError> {
        self.survey_hosts().await?;
        self.compare_claims().await?;
        self.held_off.retain(|_, until| *until > Instant::now());
        self.forget_old_warmings();
        self.round().await
    }
}
