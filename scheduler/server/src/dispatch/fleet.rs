//! The keeper's hosts: those connected here by their own word, all others by the store's.
//!
//! ```text
//!  connected here ──────── Online │ Draining (the operator's state)
//!  another replica's ───── Remote: nothing of it is reckoned here
//!  nobody's ────────────── Offline: what it holds stays reserved until it is lost
//! ```

use std::collections::HashSet;
use std::time::Instant;

use davit_placement::{HostName, HostSpec, HostState as Standing, ImageRef};
use davit_types::RunKey;
use uuid::Uuid;

use super::demand::Demand;
use super::keeper::Keeper;
use super::losses::{Judged, judge};
use super::silence::earlier;
use super::told::HostUp;
use crate::clock::unix_ms;
use crate::link::HostBeat;
use crate::service::planned::PlannedRun;
use crate::store::limits::{BATCH_ITEMS_MAX, PAGE_ROWS_MAX};
use crate::store::{Host, HostState, Loss, Sender, Session, StoreError};

/// Silent hosts whose runs are looked at in one survey; the others have their turn in the next.
const SILENT_LOOKS_MAX: usize = 64;

/// Of so many surveys one looks at all hosts.
const WHOLE_SURVEY_EVERY: u32 = 5;

/// A host as the engine was told of it.
pub(super) struct Known {
    pub(super) epoch: u64,
    pub(super) spec: HostSpec,
}

impl Keeper {
    /// A session began here: what the host holds replaces what was believed of it.
    pub(super) fn up(&mut self, up: HostUp) {
        let id = up.from.host;
        let known = self.hosts.get(&id);
        if known.is_some_and(|known| known.epoch > up.from.epoch) {
            return;
        }
        let spec = HostSpec {
            name: up.name.clone(),
            epoch: up.from.epoch,
            region: up.region,
            labels: up.labels,
            capacity: up.capacity,
            images: up.images,
            state: standing(up.state),
        };
        if !self.tell_engine(id, up.from.epoch, spec) {
            return;
        }
        self.silences.heard(id);
        let held: HashSet<RunKey> = up.held.iter().map(|adopted| adopted.key).collect();
        let live: HashSet<RunKey> = self.engine.live_on(&up.name).collect();
        for key in live.difference(&held) {
            self.let_go(*key);
        }
        for adopted in up
            .held
            .iter()
            .filter(|adopted| !live.contains(&adopted.key))
        {
            // It waited here before another replica had it.
            if let Some(waiting) = self.waiting.remove(&adopted.key.run) {
                self.let_go(waiting.key);
            }
            let demand = Demand::of(adopted.key, &adopted.row, &adopted.plan);
            let run = match demand.run() {
                Ok(run) => run,
                Err(error) => {
                    tracing::error!(key = %adopted.key, %error, "a live run is not reckoned with");
                    continue;
                }
            };
            if let Err(refused) = self.engine.adopt(run, &up.name) {
                tracing::error!(key = %adopted.key, %refused, "a live run is not reckoned with");
            }
        }
    }

    /// A session ended here.
    pub(super) fn down(&mut self, from: Sender) {
        self.stand(from, Standing::Offline);
        self.warmings_lost(from);
    }

    /// Changes how a host stands, in this session of it.
    pub(super) fn stand(&mut self, from: Sender, standing: Standing) {
        let Some(known) = self.hosts.get_mut(&from.host) else {
            return;
        };
        if known.epoch == from.epoch && known.spec.state != standing {
            known.spec.state = standing;
            if let Err(unknown) = self.engine.set_host_state(&known.spec.name, standing) {
                tracing::error!(%unknown, "a known host is not known to placement");
            }
        }
    }

    pub(super) fn images(&mut self, from: Sender, images: Vec<ImageRef>) {
        let known = self.hosts.get(&from.host);
        let Some(known) = known.filter(|known| known.epoch == from.epoch) else {
            return;
        };
        let mut spec = known.spec.clone();
        spec.images = images;
        self.tell_engine(from.host, from.epoch, spec);
    }

    pub(super) fn host_id(&self, name: &HostName) -> Option<Uuid> {
        self.ids.get(name).copied()
    }

    /// Whether the engine took it.
    fn tell_engine(&mut self, id: Uuid, epoch: u64, spec: HostSpec) -> bool {
        if let Err(refused) = self.engine.upsert_host(spec.clone()) {
            tracing::error!(host = %spec.name, %refused, "a host cannot be given runs");
            return false;
        }
        self.ids.insert(spec.name.clone(), id);
        self.names.insert(id, spec.name.clone());
        self.hosts.insert(id, Known { epoch, spec });
        true
    }

    /// Hosts as the store has them: operators' states, other replicas' hosts, silent ones. Of those that are simply online
    /// at this replica there are many, and little to be found out: they are looked at once in [`WHOLE_SURVEY_EVERY`].
    pub(super) async fn survey_hosts(&mut self) -> Result<(), StoreError> {
        let looks_at_all = self.surveys.is_multiple_of(WHOLE_SURVEY_EVERY);
        self.surveys = self.surveys.wrapping_add(1);
        let mut after = None;
        let mut silent = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let page = match looks_at_all {
                true => self.store.hosts(after, PAGE_ROWS_MAX).await?,
                false => {
                    let replica = self.settings.replica;
                    let apart = self.store.hosts_apart(replica, after, PAGE_ROWS_MAX);
                    apart.await?
                }
            };
            let is_last = page.len() < PAGE_ROWS_MAX;
            after = page.last().map(|host| host.host);
            for host in page {
                silent.extend(self.look_at(&host));
                seen.insert(host.host);
            }
            if is_last {
                break;
            }
        }
        self.undrain(&seen);
        for (host, session) in silent.into_iter().take(SILENT_LOOKS_MAX) {
            self.judge_silent(host, &session).await?;
        }
        Ok(())
    }

    /// Hosts connected here that are given no runs are online again when they are not `seen` apart from the others.
    fn undrain(&mut self, seen: &HashSet<Uuid>) {
        let draining = self
            .hosts
            .iter()
            .filter(|(host, known)| known.spec.state == Standing::Draining && !seen.contains(host));
        let back: Vec<Sender> = draining
            .filter_map(|(host, _)| Some(self.sessions.of(*host)?.from()))
            .collect();
        for from in back {
            self.stand(from, Standing::Online);
        }
    }

    /// One host's row; if it is silent, its session.
    fn look_at(&mut self, host: &Host) -> Option<(Uuid, Session)> {
        let session = host.session.as_ref()?;
        let peer = self.sessions.of(host.host);
        let ours = session.replica == Some(self.settings.replica);
        if let Some(peer) = peer.filter(|peer| peer.from().epoch <= session.epoch) {
            let from = peer.from();
            if from.epoch < session.epoch || !ours {
                peer.close("the store has a later session of it, or none");
            } else if host.state == HostState::Removed {
                peer.close("it was removed");
            } else {
                self.stand(from, standing(host.state));
                return None;
            }
        }
        let now = Instant::now();
        let silent_ms = self.silences.seen(host.host, session, now);
        let state = match session.replica {
            Some(replica) if replica != self.settings.replica => Standing::Remote,
            _ => Standing::Offline,
        };
        if host.state == HostState::Removed {
            self.forget(host.host);
        } else {
            self.stand_elsewhere(host, session, state);
        }
        let due =
            silent_ms >= self.settings.silent_after_ms && self.silences.is_due(host.host, now);
        due.then(|| (host.host, session.clone()))
    }

    /// A host that is not to come back. What it holds keeps it known until that is lost.
    fn forget(&mut self, host: Uuid) {
        let Some(name) = self.names.get(&host) else {
            return;
        };
        match self.engine.remove_host(name) {
            Ok(()) => {
                self.ids.remove(name);
                self.names.remove(&host);
                self.hosts.remove(&host);
            }
            Err(held) => tracing::debug!(%held, "a removed host is remembered"),
        }
    }

    /// A host that is not connected here.
    fn stand_elsewhere(&mut self, host: &Host, session: &Session, state: Standing) {
        let known = self.hosts.get(&host.host);
        let same = known.is_some_and(|k| k.epoch == session.epoch && k.spec.state == state);
        let later_here = known.is_some_and(|known| known.epoch > session.epoch);
        if same || later_here {
            return;
        }
        let names = (host.name.parse(), host.region.parse());
        let (Ok(name), Ok(region)) = names else {
            return;
        };
        let beat: HostBeat = serde_json::from_str(&session.beat).unwrap_or_default();
        let spec = HostSpec {
            name,
            epoch: session.epoch,
            region,
            labels: beat.placed_labels(),
            capacity: beat.capacity.amounts(),
            images: Vec::new(),
            state,
        };
        let told = self.tell_engine(host.host, session.epoch, spec);
        if let Some(name) = self
            .names
            .get(&host.host)
            .filter(|_| told && state == Standing::Remote)
        {
            // The other replica hears of their ends.
            let live: Vec<RunKey> = self.engine.live_on(name).collect();
            for key in live {
                self.let_go(key);
            }
        }
    }

    /// Declares lost what a silent host is given no more time for.
    async fn judge_silent(&mut self, host: Uuid, session: &Session) -> Result<(), StoreError> {
        let now_ms = unix_ms();
        let now = Instant::now();
        let silent_ms = self.silences.seen(host, session, now);
        let mut losses: Vec<Loss> = Vec::new();
        let mut due = None;
        for run in self.store.held(host).await? {
            let plan: Result<PlannedRun, _> = serde_json::from_str(&run.spec);
            let (Some(key), Ok(plan)) = (run.key(), plan) else {
                continue;
            };
            let fence_ms = self.settings.fence_ms_min;
            match judge(key, &plan, silent_ms, fence_ms, now_ms) {
                Judged::Wait => {}
                Judged::Later { after_ms } => due = earlier(due, now, after_ms),
                Judged::Lose(loss) => losses.push(*loss),
            }
        }
        for batch in losses.chunks(BATCH_ITEMS_MAX) {
            let verdicts = self.store.lose(batch.to_vec()).await?;
            for (loss, verdict) in batch.iter().zip(verdicts) {
                match verdict {
                    Ok(_) => {
                        tracing::warn!(key = %loss.key, %host, silent_ms, "lost with its host");
                        self.trace(loss.key);
                        self.let_go(loss.key);
                    }
                    Err(refusal) => {
                        // By the store's clock it is too early, or the host is back.
                        tracing::info!(key = %loss.key, %refusal, "not lost");
                        due = earlier(due, now, self.settings.survey_ms);
                    }
                }
            }
        }
        self.silences.looked(host, due);
        Ok(())
    }
}

/// A connected host's state in placement's words.
const fn standing(state: HostState) -> Standing {
    match state {
        HostState::Online => Standing::Online,
        HostState::Draining | HostState::Quarantined | HostState::Removed => Standing::Draining,
    }
}
