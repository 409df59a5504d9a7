//! One round of placing: whose turn it is gets a host, until nobody waits who could have one.
//!
//! 1. Hosts whose quarantine is over are opened for one probe.
//! 2. Runs with a reserved host get it, if it has room by now.
//! 3. By turn: priority, then the smallest share, then age. A bin that finds no room is put aside.
//! 4. Runs that waited long for room, and are passed, get a host reserved.
//!
//! **The rule of reservations.** Of each tenant and priority the oldest run that waits for room is watched. When it has
//! waited for [`reserve_after_ms`](crate::Rules), a host is reserved for it: of those that *passed* it, the one that lacks
//! least. A host passed it when the last run that the host was given came after it in turn, was placed since it waits, and
//! needs less of something. (Where none did, nobody stands in its way but runs whose turn comes first; it asks again after
//! as long.)
//!
//! A reserved host takes another run only *beside* the waiting one: all that is given to the host from then on, and the
//! waiting run, fit its capacity together. So the waiting run waits only for runs that were on the host before, and never
//! for one that came later. Runs of a higher priority need not heed the reservation. The waiting run goes to any host that
//! has room for it sooner.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::amounts::Amounts;
use crate::bounds;
use crate::choose::{Search, mix};
use crate::engine::{Assignment, Engine, Place};
use crate::host::{Given, Reservation};
use crate::lane::{Owed, Turn, Wait};
use crate::run::Age;

impl Engine {
    /// Places waiting runs, `max` and [`BATCH_MAX`](crate::bounds::BATCH_MAX) at most, in the order in which they were
    /// decided. Each is reserved on its host from now on, until it is ended. `now_ms` is any clock that never goes back.
    pub fn place(&mut self, now_ms: u64, max: usize) -> Vec<Assignment> {
        let max = max
            .min(bounds::BATCH_MAX)
            .min(bounds::LIVE_MAX.saturating_sub(self.live()));
        let mut placed = Vec::new();
        self.queue.stamp.now_ms = now_ms;
        self.open_probes(now_ms);
        if self.tenants.see(self.fleet.total) {
            for (tenant, _) in &self.tenants.all {
                self.queue.set_share(tenant, self.tenants.share(tenant));
            }
        }
        loop {
            for class in self.classes.hope(&mut self.fleet) {
                self.queue.wake_class(class);
            }
            self.place_reserved(max, &mut placed);
            self.place_by_turn(max, &mut placed);
            // Hosts grow meanwhile where a reservation was lifted.
            if !self.fleet.has_grown() || placed.len() >= max {
                break;
            }
        }
        self.reserve_for_overdue(now_ms);
        placed
    }

    fn open_probes(&mut self, now_ms: u64) {
        while let Some(&(until_ms, host)) = self.probes.first() {
            if until_ms > now_ms {
                break;
            }
            self.probes.pop_first();
            if self.fleet.change(host, |host| host.health.due(now_ms)) {
                self.fleet.note_growth(host);
            }
        }
    }

    fn place_reserved(&mut self, max: usize, placed: &mut Vec<Assignment>) {
        for host in self.reserved.clone() {
            let at = &self.fleet.hosts[host];
            let Some(kept) = at.reservation.as_ref().filter(|_| placed.len() < max) else {
                continue;
            };
            let (run, fits) = (kept.run, kept.need.within(&at.free()));
            let Place::Pending { bin, .. } = self.runs[run].place else {
                continue;
            };
            if self.is_at_cap(bin) {
                // It waits for its runner now, not for room.
                let lane = self.queue.bins[bin].lane;
                self.queue.owe_next(lane);
                self.lift_reservation(host);
            } else if fits && at.is_open() {
                placed.push(self.assign(run, host));
            }
        }
    }

    fn place_by_turn(&mut self, max: usize, placed: &mut Vec<Assignment>) {
        let classes = self.classes.hopeful.iter();
        let first = |class: &usize| Some(Reverse((self.queue.next_roomless(*class)?, *class)));
        let mut hopeful: BinaryHeap<_> = classes.filter_map(first).collect();
        while placed.len() < max {
            let ready = self.queue.next_ready();
            let roomless = self.next_hopeful(&mut hopeful);
            let roomless = roomless.filter(|(turn, _)| ready.is_none_or(|ready| *turn < ready));
            let (turn, host) = if let Some((turn, class)) = roomless {
                hopeful.pop();
                let host = self.host_for_hopeful(&turn, class);
                if self.classes.hopeful.contains(&class) {
                    // Its next run's turn is found out when this one is placed.
                    hopeful.push(Reverse((turn, class)));
                }
                (turn, host)
            } else if let Some(turn) = ready {
                (turn, self.host_for_ready(&turn))
            } else {
                break;
            };
            let Some(host) = host else {
                continue;
            };
            let Some((_, run)) = self.queue.bins[turn.bin].head() else {
                continue;
            };
            placed.push(self.assign(run, host));
        }
    }

    /// The first turn of all hopeful classes. What was noted of a class may be outdated: shares grow, runs are placed.
    fn next_hopeful(
        &self,
        hopeful: &mut BinaryHeap<Reverse<(Turn, usize)>>,
    ) -> Option<(Turn, usize)> {
        loop {
            let Reverse((noted, class)) = *hopeful.peek()?;
            let now = self.queue.next_roomless(class);
            if now == Some(noted) {
                return Some((noted, class));
            }
            hopeful.pop();
            hopeful.extend(now.map(|now| Reverse((now, class))));
        }
    }

    /// A host for a run that waits for its turn; puts its bin aside if there is none.
    fn host_for_ready(&mut self, turn: &Turn) -> Option<usize> {
        if self.is_at_cap(turn.bin) {
            self.queue.put_aside(turn.bin, Wait::Cap);
            return None;
        }
        let class = self.queue.bins[turn.bin].class;
        let search = self.search(turn)?;
        let host = if self.classes.all[class].blocked {
            self.fleet
                .choose_among(&self.classes.all[class].hopes, &search)
        } else {
            self.fleet.choose(&search)
        };
        // What is kept for the less urgent is not kept from this one.
        let host = host.or_else(|| self.fleet.choose_among(&self.reserved, &search));
        if host.is_none() {
            if !self.classes.all[class].blocked {
                self.classes.block(class);
            }
            self.queue.put_aside(turn.bin, Wait::Room);
        }
        host
    }

    /// A host for a run of a blocked class that has hope; none is left for the class if there is none for this run,
    /// which is its first.
    fn host_for_hopeful(&mut self, turn: &Turn, class: usize) -> Option<usize> {
        if self.is_at_cap(turn.bin) {
            self.queue.put_aside(turn.bin, Wait::Cap);
            return None;
        }
        // Hosts that others filled meanwhile are asked once.
        let fleet = &self.fleet;
        let hopeful = &mut self.classes.all[class];
        let need = hopeful.wants.need;
        hopeful
            .hopes
            .retain(|host| need.within(&fleet.hosts[*host].free()));
        let search = self.search(turn)?;
        let host = self
            .fleet
            .choose_among(&self.classes.all[class].hopes, &search);
        if host.is_none() {
            self.classes.lose_hope(class);
        }
        host
    }

    fn is_at_cap(&self, bin: usize) -> bool {
        let runner = self.queue.bins[bin].runner;
        runner.is_some_and(|runner| self.runners.all[runner].is_at_cap())
    }

    fn search(&self, turn: &Turn) -> Option<Search<'_>> {
        let bin = &self.queue.bins[turn.bin];
        let (_, run) = bin.head()?;
        Some(Search {
            wants: &self.classes.all[bin.class].wants,
            priority: turn.priority,
            image: self.runs[run].image,
            warm: bin.runner.and_then(|runner| self.runners.all[runner].warm),
            salt: self.salt(),
        })
    }

    pub(crate) fn salt(&self) -> u64 {
        mix(self.rules.seed, self.placed)
    }

    fn assign(&mut self, run: usize, host: usize) -> Assignment {
        self.placed += 1;
        self.queue.stamp.placed = self.placed;
        if let Place::Pending { bin, age } = self.runs[run].place {
            let given = self.given(run, age, self.placed);
            self.fleet.hosts[host].given = Some(given);
            self.leave_queue(bin, age);
        }
        self.reserve_for(run, host, self.placed);
        let spec = &self.fleet.hosts[host].spec;
        Assignment {
            key: self.runs[run].key,
            host: spec.name.clone(),
            epoch: spec.epoch,
        }
    }

    fn given(&self, run: usize, age: Age, number: u64) -> Given {
        let record = &self.runs[run];
        Given {
            need: self.classes.all[record.class].wants.need,
            priority: record.priority,
            tenant: record.tenant,
            share: self.tenants.share(record.tenant),
            age,
            number,
        }
    }

    fn reserve_for_overdue(&mut self, now_ms: u64) {
        for _ in 0..bounds::RESERVATION_SEARCHES_MAX {
            let first = self.queue.owed.first().copied();
            let Some((_, lane)) = first.filter(|(due_ms, _)| *due_ms <= now_ms) else {
                break;
            };
            let owed = self.queue.lanes[lane].owed;
            let Some(owed) = owed.filter(|_| self.reserved.len() < bounds::RESERVATIONS_MAX) else {
                break;
            };
            match self.runs[owed.run].place {
                Place::Pending { bin, age } if self.queue.bins[bin].wait == Wait::Room => {
                    let reserved = self.reserve_host(&owed, age);
                    let again_ms = now_ms.saturating_add(self.rules.reserve_after_ms.max(1));
                    let owed = Owed {
                        reserved,
                        due_ms: again_ms,
                        ..owed
                    };
                    self.queue.owe(lane, Some(owed));
                }
                // It waits for something else by now.
                _ => self.queue.owe_next(lane),
            }
        }
    }

    /// Reserves a host for a run that waits for room.
    fn reserve_host(&mut self, owed: &Owed, age: Age) -> Option<usize> {
        let record = &self.runs[owed.run];
        let wants = &self.classes.all[record.class].wants;
        let waiting = self.given(owed.run, age, owed.since.placed);
        let host = self.fleet.to_reserve(wants, &waiting, self.salt())?;
        let reservation = Reservation {
            run: owed.run,
            need: wants.need,
            priority: record.priority,
            admitted: Amounts::ZERO,
            since: self.placed,
        };
        self.fleet
            .change(host, |host| host.reservation = Some(Box::new(reservation)));
        self.reserved.insert(host);
        Some(host)
    }
}
