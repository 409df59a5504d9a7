//! What the engine is told of hosts, starts, runners and tenants, and what it tells of them.

use davit_types::{RunId, RunKey, Tenant};

use crate::engine::{Counts, Engine, StartFailure};
use crate::error::Refused;
use crate::host::{HostSpec, HostState, HostView};
use crate::names::{HostName, ImageRef, RunnerName};

impl Engine {
    /// A host, new or known: all it tells replaces what it told before. What it holds stays reserved.
    pub fn upsert_host(&mut self, spec: HostSpec) -> Result<(), Refused> {
        let at = self.fleet.upsert(spec)?;
        self.review_reservation(at);
        Ok(())
    }

    /// A host's state changed.
    pub fn set_host_state(&mut self, name: &HostName, state: HostState) -> Result<(), Refused> {
        let at = self.fleet.find(name)?;
        self.fleet.change(at, |host| host.spec.state = state);
        self.fleet.note_growth(at);
        self.review_reservation(at);
        Ok(())
    }

    /// A host that is not open, or became too small, is no longer reserved: the run is owed another.
    pub(crate) fn review_reservation(&mut self, at: usize) {
        let host = &self.fleet.hosts[at];
        let Some(kept) = &host.reservation else {
            return;
        };
        let run = &self.runs[kept.run];
        let wants = &self.classes.all[run.class].wants;
        let holds = host.is_open()
            && wants.need.within(&host.spec.capacity)
            && crate::fleet::Fleet::allows(wants, host);
        if holds {
            return;
        }
        let run = kept.run;
        self.lift_reservation(at);
        let crate::engine::Place::Pending { bin, .. } = self.runs[run].place else {
            return;
        };
        let lane = self.queue.bins[bin].lane;
        if let Some(mut owed) = self.queue.lanes[lane].owed {
            owed.reserved = None;
            self.queue.owe(lane, Some(owed));
        }
    }

    /// Forgets a host. Refused while runs hold reservations on it.
    pub fn remove_host(&mut self, name: &HostName) -> Result<(), Refused> {
        let at = self.fleet.find(name)?;
        let live = self.fleet.hosts[at].live.len();
        if live > 0 {
            let host = name.clone();
            return Err(Refused::HostHolds { host, live });
        }
        self.set_host_state(name, HostState::Offline)?;
        self.probes.retain(|(_, host)| *host != at);
        self.classes.forget_host(at);
        self.runners.forget_host(at);
        self.fleet.remove(at);
        Ok(())
    }

    /// A host pulled an image, or evicted it.
    pub fn set_image(
        &mut self,
        host: &HostName,
        image: ImageRef,
        held: bool,
    ) -> Result<(), Refused> {
        let at = self.fleet.find(host)?;
        self.fleet.set_image(at, image, held)
    }

    /// A run was warmed up on a host: the runner's next runs go there while there is room.
    pub fn warm(&mut self, runner: &RunnerName, host: &HostName) -> Result<(), Refused> {
        let at = self.fleet.find(host)?;
        self.runners.warm(runner, at)
    }

    /// The runner prefers no host any more.
    pub fn cool(&mut self, runner: &RunnerName) {
        if let Some(at) = self.runners.lookup(runner) {
            self.runners.cool(at);
        }
    }

    /// The runner's cap changed. Runs above a lowered cap go on.
    pub fn set_live_max(&mut self, runner: &RunnerName, live_max: Option<u32>) {
        if let Some(at) = self.runners.lookup(runner) {
            self.runners.all[at].live_max = live_max;
            self.wake_below_cap(at);
        }
    }

    pub(crate) fn wake_below_cap(&mut self, runner: usize) {
        if !self.runners.all[runner].is_at_cap() {
            self.queue.wake_runner(runner);
        }
    }

    /// A tenant of weight 2 may hold twice what one of weight 1 holds before others go first. 0 counts as 1.
    pub fn set_weight(&mut self, tenant: &Tenant, weight: u32) -> Result<(), Refused> {
        if let Some(at) = self.tenants.set_weight(tenant, weight)? {
            self.queue.set_share(at, self.tenants.share(at));
        }
        Ok(())
    }

    /// The attempt's job was let go: its host starts runs.
    pub fn started(&mut self, key: RunKey) -> Result<(), Refused> {
        let (run, host) = self.find_live(key)?;
        if self.fleet.change(host, |host| host.health.started(run)) {
            self.fleet.note_growth(host);
        }
        Ok(())
    }

    /// The attempt could not be started, through no fault of its own. To be told before its end.
    pub fn start_failed(&mut self, key: RunKey, now_ms: u64) -> Result<StartFailure, Refused> {
        let (run, host) = self.find_live(key)?;
        let rules = self.rules.quarantine;
        let may_begin = self.fleet.may_quarantine(host);
        let until = self.fleet.change(host, |host| {
            host.health.failed(run, now_ms, &rules, may_begin)
        });
        if let Some(until_ms) = until {
            self.probes.insert((until_ms, host));
            self.review_reservation(host);
        }
        Ok(StartFailure {
            host: self.fleet.hosts[host].spec.name.clone(),
            quarantined_until_ms: until,
        })
    }

    /// How much there is of everything.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            hosts: self.fleet.hosts.len(),
            pending: self.queue.len,
            live: self.live(),
            reserved: self.reserved.len(),
            classes: self.classes.all.len(),
        }
    }

    /// One host.
    #[must_use]
    pub fn host(&self, name: &HostName) -> Option<HostView> {
        let host = &self.fleet.hosts[self.fleet.lookup(name)?];
        Some(HostView {
            standing: host.standing(),
            capacity: host.spec.capacity,
            used: host.used,
            live: host.live.len(),
            reserved_for: host
                .reservation
                .as_ref()
                .map(|kept| self.runs[kept.run].key),
        })
    }

    /// The attempt of a run that waits or is live here.
    #[must_use]
    pub fn attempt_of(&self, run: RunId) -> Option<RunKey> {
        let at = self.by_run.get(run, &self.runs)?;
        Some(self.runs[at].key)
    }

    /// The attempts that hold reservations on a host, in no order: what a drain waits for, what a lost host had.
    pub fn live_on(&self, name: &HostName) -> impl Iterator<Item = RunKey> {
        let host = self.fleet.lookup(name).map(|at| &self.fleet.hosts[at]);
        let runs = host.into_iter().flat_map(|host| &host.live);
        runs.map(|run| self.runs[*run].key)
    }
}
