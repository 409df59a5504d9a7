//! The engine: hosts, waiting runs and reservations, changed by one call at a time.
//!
//! ```text
//!   submit ──► pending ──place──► live ──end──► (forgotten)
//!                 │                ▲
//!                 └──end──► …      └──adopt── found on a host after a restart
//! ```
//!
//! Invariants: a run that was told is pending or live until it is ended, and has one attempt here at most; what a live
//! run takes is reserved on its host from the assignment to its end and is given back exactly once; a refused call
//! has changed nothing.

use std::collections::BTreeSet;

use davit_types::RunKey;
use slab::Slab;

use crate::amounts::Amounts;
use crate::bounds;
use crate::by_run::ByRun;
use crate::classes::Classes;
use crate::error::Refused;
use crate::fleet::Fleet;
use crate::health::QuarantineRules;
use crate::names::HostName;
use crate::queue::Queue;
use crate::run::{Age, Priority, Run, check_amounts, check_count};
use crate::runners::Runners;
use crate::tenants::Tenants;

/// What the operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Decides between equals. Same seed, same calls: same answers.
    pub seed: u64,
    /// A run that has found no room for so long, and is passed, gets a host reserved.
    pub reserve_after_ms: u64,
    /// When hosts are kept off.
    pub quarantine: QuarantineRules,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            seed: 0,
            reserve_after_ms: 30_000,
            quarantine: QuarantineRules::default(),
        }
    }
}

/// One decision: this attempt goes to this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The attempt.
    pub key: RunKey,
    /// The host.
    pub host: HostName,
    /// The epoch of the host's session; whoever stores the assignment compares it there.
    pub epoch: u64,
}

/// Where a run that was ended has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In the queue.
    Pending,
    /// On this host, whose reservation is given back.
    Live(HostName),
}

/// What a failed start led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// Where; a retry should be kept off it.
    pub host: HostName,
    /// When the host is probed, if this put it into quarantine.
    pub quarantined_until_ms: Option<u64>,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts known, whatever their state.
    pub hosts: usize,
    /// Runs that wait.
    pub pending: usize,
    /// Runs that hold a reservation.
    pub live: usize,
    /// Hosts reserved for runs that waited long and were passed.
    pub reserved: usize,
    /// Different demands of all those runs.
    pub classes: usize,
}

#[derive(Debug)]
pub(crate) enum Place {
    Pending {
        bin: usize,
        age: Age,
    },
    Live {
        host: usize,
        /// Its place in the host's list.
        at: usize,
        /// The how-manieth assignment it was.
        number: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) key: RunKey,
    pub(crate) tenant: usize,
    pub(crate) runner: Option<usize>,
    pub(crate) class: usize,
    pub(crate) priority: Priority,
    /// Until it is placed.
    pub(crate) image: Option<usize>,
    pub(crate) place: Place,
}

/// Places runs on hosts. See the crate's documentation for the rules.
#[derive(Debug)]
pub struct Engine {
    pub(crate) rules: Rules,
    pub(crate) fleet: Fleet,
    pub(crate) classes: Classes,
    pub(crate) queue: Queue,
    pub(crate) tenants: Tenants,
    pub(crate) runners: Runners,
    pub(crate) runs: Slab<Record>,
    pub(crate) by_run: ByRun,
    /// Hosts with a reservation.
    pub(crate) reserved: BTreeSet<usize>,
    /// Hosts in quarantine by when they may be probed.
    pub(crate) probes: BTreeSet<(u64, usize)>,
    /// Assignments so far; with the seed it decides between equals.
    pub(crate) placed: u64,
}

impl Engine {
    /// An engine that knows nothing yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            fleet: Fleet::default(),
            classes: Classes::new(),
            queue: Queue::new(rules.reserve_after_ms),
            tenants: Tenants::new(),
            runners: Runners::default(),
            runs: Slab::new(),
            by_run: ByRun::new(),
            reserved: BTreeSet::new(),
            probes: BTreeSet::new(),
            placed: 0,
        }
    }

    /// A run joins the queue.
    pub fn submit(&mut self, run: Run) -> Result<(), Refused> {
        check_count(
            &run.key,
            "waiting runs",
            self.queue.len + 1,
            bounds::PENDING_MAX,
        )?;
        let age = Age {
            sequence: run.sequence,
            run: run.key.run,
        };
        let at = self.enter(run, Place::Pending { bin: 0, age })?;
        let record = &self.runs[at];
        let bin = self.queue.push(
            at,
            age,
            (record.tenant, self.tenants.share(record.tenant)),
            record.priority,
            (record.runner, record.class),
        );
        self.runs[at].place = Place::Pending { bin, age };
        Ok(())
    }

    /// A run that is live on a host already, by the host's own word or the store's: it is reserved for, even beyond
    /// the host's capacity and whatever the host's state.
    pub fn adopt(&mut self, run: Run, host: &HostName) -> Result<(), Refused> {
        let host = self.fleet.find(host)?;
        check_count(&run.key, "live runs", self.live() + 1, bounds::LIVE_MAX)?;
        let used = self.fleet.hosts[host].used.plus(run.wants.need);
        let beyond = used.minus(Amounts::all(bounds::HOST_AMOUNT_MAX));
        check_amounts(&run.key, &beyond, [0; 4])?;
        let place = Place::Live {
            host,
            at: 0,
            number: 0,
        };
        let at = self.enter(run, place)?;
        self.reserve_for(at, host, 0);
        Ok(())
    }

    fn enter(&mut self, run: Run, place: Place) -> Result<usize, Refused> {
        if let Some(known) = self.by_run.get(run.key.run, &self.runs) {
            return Err(Refused::AttemptAlive {
                run: run.key.run,
                given: run.key.attempt.number(),
                alive: self.runs[known].key.attempt.number(),
            });
        }
        let wants = run.wants.canonical(&run.key)?;
        let class = self.classes.join(wants, &run.key)?;
        let at = self.runs.insert(Record {
            key: run.key,
            tenant: self.tenants.join(&run.tenant),
            runner: run.runner.as_ref().map(|runner| self.runners.join(runner)),
            class,
            priority: run.priority,
            image: run.image.map(|image| self.fleet.images.join(image)),
            place,
        });
        if let Some(runner) = self.runs[at].runner {
            self.wake_below_cap(runner);
        }
        self.by_run.insert(run.key.run, at);
        Ok(at)
    }

    /// Takes what the run needs from the host and counts it to whom it belongs.
    pub(crate) fn reserve_for(&mut self, run: usize, host: usize, number: u64) {
        let record = &mut self.runs[run];
        let need = self.classes.all[record.class].wants.need;
        if let Some(image) = record.image.take() {
            self.fleet.images.leave(image);
        }
        let at = self.fleet.change(host, |host| {
            host.used = host.used.plus(need);
            if let Some(kept) = host.reservation.as_mut().filter(|kept| number > kept.since) {
                kept.admitted = kept.admitted.plus(need);
            }
            if number > 0 {
                host.health.given(run);
            }
            host.live.push(run);
            host.live.len() - 1
        });
        record.place = Place::Live { host, at, number };
        if let Some(runner) = record.runner {
            self.runners.all[runner].live += 1;
        }
        let holder = &mut self.tenants.all[record.tenant];
        holder.held = holder.held.plus(need);
        self.queue
            .set_share(record.tenant, self.tenants.share(record.tenant));
    }

    /// An attempt is over, however it ended and wherever it was: withdrawn from the queue, finished, failed to start,
    /// lost behind the fence, or never stored. What it held is given back.
    pub fn end(&mut self, key: RunKey) -> Result<Ended, Refused> {
        let at = self.find(key)?;
        let ended = match self.runs[at].place {
            Place::Pending { bin, age } => {
                let tenant = self.runs[at].tenant;
                self.leave_queue(bin, age);
                self.queue.set_share(tenant, self.tenants.share(tenant));
                Ended::Pending
            }
            Place::Live { host, .. } => {
                self.give_back(at);
                Ended::Live(self.fleet.hosts[host].spec.name.clone())
            }
        };
        let record = self.runs.remove(at);
        self.by_run.remove(key.run, at);
        self.classes.leave(record.class);
        self.tenants.leave(record.tenant);
        if let Some(image) = record.image {
            self.fleet.images.leave(image);
        }
        if let Some(runner) = record.runner {
            self.wake_below_cap(runner);
            self.runners.leave(runner);
        }
        Ok(ended)
    }

    fn give_back(&mut self, run: usize) {
        let record = &self.runs[run];
        let Place::Live { host, at, number } = record.place else {
            return;
        };
        let need = self.classes.all[record.class].wants.need;
        let moved = self.fleet.change(host, |host| {
            host.used = host.used.minus(need);
            if let Some(kept) = host.reservation.as_mut().filter(|kept| number > kept.since) {
                kept.admitted = kept.admitted.minus(need);
            }
            host.health.left(run);
            host.live.swap_remove(at);
            host.live.get(at).copied()
        });
        self.fleet.note_growth(host);
        if let Some(runner) = record.runner {
            self.runners.all[runner].live -= 1;
        }
        let tenant = record.tenant;
        let holder = &mut self.tenants.all[tenant];
        holder.held = holder.held.minus(need);
        if let Some(Record {
            place: Place::Live { at: place, .. },
            ..
        }) = moved.map(|moved| &mut self.runs[moved])
        {
            *place = at;
        }
        self.queue.set_share(tenant, self.tenants.share(tenant));
    }

    /// Takes a run out of the queue, and lifts the reservation that was held for it. Its tenant's share is to be set next.
    pub(crate) fn leave_queue(&mut self, bin: usize, age: Age) {
        if let Some(host) = self.queue.remove(bin, age) {
            self.lift_reservation(host);
        }
    }

    pub(crate) fn lift_reservation(&mut self, host: usize) {
        self.fleet.change(host, |host| host.reservation = None);
        self.fleet.note_growth(host);
        self.reserved.remove(&host);
    }

    pub(crate) fn find(&self, key: RunKey) -> Result<usize, Refused> {
        self.by_run
            .get(key.run, &self.runs)
            .filter(|at| self.runs[*at].key == key)
            .ok_or(Refused::UnknownRun { key })
    }

    pub(crate) fn find_live(&self, key: RunKey) -> Result<(usize, usize), Refused> {
        let run = self.find(key)?;
        match self.runs[run].place {
            Place::Live { host, .. } => Ok((run, host)),
            Place::Pending { .. } => Err(Refused::NotAssigned { key }),
        }
    }

    /// Live runs.
    pub(crate) fn live(&self) -> usize {
        self.runs.len() - self.queue.len
    }
}
