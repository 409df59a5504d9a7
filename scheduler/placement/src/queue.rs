//! The runs that wait, and whose turn it is: priority, then the tenant that holds the smallest share, then age.
//!
//! ```text
//!  level (priority) ──► lane (tenant), by share ──► bin (runner, class), by the age of its first run ──► runs, by age
//! ```
//!
//! Runs are moved in bins: where the first one of a bin cannot go, none of them can, and the whole bin is put aside in
//! one step, until its class has hope of room or its runner of a free place.
//!
//! Invariants: a lane is listed in its level's sets exactly as its bins stand ([`Queue::relist`] after every change);
//! empty bins, lanes and levels are gone.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;

use crate::lane::{Bin, Lane, Level, List, Owed, Rank, Stamp, Turn, Wait};
use crate::map::Map;
use crate::run::{Age, Priority};

/// All waiting runs.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) bins: Slab<Bin>,
    pub(crate) lanes: Slab<Lane>,
    /// By descending urgency.
    pub(crate) levels: BTreeMap<std::cmp::Reverse<Priority>, Level>,
    bin_of: Map<(usize, Option<usize>, usize), usize>,
    lane_of: BTreeMap<(usize, Priority), usize>,
    /// By class: bins that wait for room, by lane and by the age of their first run.
    roomless: Map<usize, BTreeSet<(usize, Age, usize)>>,
    /// By runner: bins that wait for one of its runs to end.
    capped: Map<usize, BTreeSet<usize>>,
    /// Lanes with a run that may come to need a reservation and has none, by when that is looked at.
    pub(crate) owed: BTreeSet<(u64, usize)>,
    /// How long a run waits for room until then.
    patience_ms: u64,
    /// Now, as far as the queue was told.
    pub(crate) stamp: Stamp,
    pub(crate) len: usize,
}

impl Queue {
    /// An empty queue, whose runs wait so long for room until somebody looks whether they are passed.
    pub(crate) fn new(patience_ms: u64) -> Self {
        Self {
            patience_ms,
            ..Self::default()
        }
    }

    /// Adds a run. Answers its bin.
    pub(crate) fn push(
        &mut self,
        run: usize,
        age: Age,
        (tenant, share): (usize, u64),
        priority: Priority,
        (runner, class): (Option<usize>, usize),
    ) -> usize {
        let lanes = &mut self.lanes;
        let lane = *self
            .lane_of
            .entry((tenant, priority))
            .or_insert_with(|| lanes.insert(Lane::new(tenant, priority, share)));
        let bins = &mut self.bins;
        let bin = *self.bin_of.entry((lane, runner, class)).or_insert_with(|| {
            bins.insert(Bin {
                lane,
                runner,
                class,
                wait: Wait::Turn,
                runs: BTreeMap::new(),
            })
        });
        self.len += 1;
        self.lanes[lane].len += 1;
        if self.edit(bin, |bin| bin.runs.insert(age, run)).1 {
            self.relist(lane);
        }
        bin
    }

    /// Removes a run, and its bin if that is empty without it. Answers the host that was reserved for it.
    ///
    /// The tenant's share is to be [set](Queue::set_share) next, which lists the lane anew: a run that is placed
    /// changes that too.
    pub(crate) fn remove(&mut self, bin: usize, age: Age) -> Option<usize> {
        let lane = self.bins[bin].lane;
        let (run, _) = self.edit(bin, |bin| bin.runs.remove(&age));
        if self.bins[bin].runs.is_empty() {
            let gone = self.bins.remove(bin);
            self.bin_of.remove(&(lane, gone.runner, gone.class));
        }
        self.len -= 1;
        self.lanes[lane].len -= 1;
        let owed = self.lanes[lane].owed;
        let settled = owed.filter(|owed| Some(owed.run) == run);
        if settled.is_some() {
            self.owe_next(lane);
        }
        settled.and_then(|owed| owed.reserved)
    }

    /// Changes a bin, and in which sets it is. Answers whether that is so.
    fn edit<T>(&mut self, at: usize, with: impl FnOnce(&mut Bin) -> T) -> (T, bool) {
        let bin = &mut self.bins[at];
        let before = bin.listing();
        let answer = with(bin);
        let after = bin.listing();
        if before == after {
            return (answer, false);
        }
        if let Some((age, wait)) = before {
            self.unlist_bin(at, age, wait);
        }
        if let Some((age, wait)) = after {
            self.list_bin(at, age, wait);
        }
        (answer, true)
    }

    fn list_bin(&mut self, at: usize, age: Age, wait: Wait) {
        let bin = &self.bins[at];
        self.lanes[bin.lane].bins[wait as usize].insert((age, at));
        match (wait, bin.runner) {
            (Wait::Room, _) => {
                let bins = self.roomless.entry(bin.class).or_default();
                bins.insert((bin.lane, age, at));
            }
            (Wait::Cap, Some(runner)) => {
                self.capped.entry(runner).or_default().insert(at);
            }
            (Wait::Cap, None) | (Wait::Turn, _) => {}
        }
    }

    fn unlist_bin(&mut self, at: usize, age: Age, wait: Wait) {
        let bin = &self.bins[at];
        self.lanes[bin.lane].bins[wait as usize].remove(&(age, at));
        match (wait, bin.runner) {
            (Wait::Room, _) => {
                forget(&mut self.roomless, bin.class, &(bin.lane, age, at));
            }
            (Wait::Cap, Some(runner)) => forget(&mut self.capped, runner, &at),
            (Wait::Cap, None) | (Wait::Turn, _) => {}
        }
    }

    /// From now on the bin's runs wait for this.
    pub(crate) fn put_aside(&mut self, bin: usize, wait: Wait) {
        self.edit(bin, |bin| bin.wait = wait);
        let lane = self.bins[bin].lane;
        if wait == Wait::Room {
            let oldest = self.lanes[lane].waiting_for(Wait::Room).first();
            let older = |owed: Owed| {
                owed.reserved.is_none() && oldest.is_some_and(|(age, _)| *age < owed.age)
            };
            if self.lanes[lane].owed.is_none_or(older) {
                self.owe_next(lane);
            }
        }
        self.relist(lane);
    }

    /// The runner may have one more live run: its bins wait for their turn again.
    pub(crate) fn wake_runner(&mut self, runner: usize) {
        for bin in self.capped.remove(&runner).unwrap_or_default() {
            // `unlist_bin` finds the runner's set gone, which is what it wants.
            self.put_aside(bin, Wait::Turn);
        }
    }

    /// The class is open: its bins wait for their turn again.
    pub(crate) fn wake_class(&mut self, class: usize) {
        for (_, _, bin) in self.roomless.remove(&class).unwrap_or_default() {
            self.put_aside(bin, Wait::Turn);
        }
    }

    /// The tenant holds another share now.
    pub(crate) fn set_share(&mut self, tenant: usize, share: u64) {
        let all = (tenant, Priority::MIN)..=(tenant, Priority::MAX);
        let lanes = self.lane_of.range(all).map(|(_, lane)| *lane);
        for lane in lanes.collect::<Vec<_>>() {
            self.lanes[lane].share = share;
            self.relist(lane);
        }
    }

    /// Lists the lane as it is now, or removes it when it is empty.
    fn relist(&mut self, at: usize) {
        let lane = &mut self.lanes[at];
        let level = self
            .levels
            .entry(std::cmp::Reverse(lane.priority))
            .or_default();
        let rank = lane.oldest().map(|oldest| Rank {
            share: lane.share,
            oldest,
            lane: at,
        });
        let roomless = !lane.waiting_for(Wait::Room).is_empty();
        let ready = !lane.waiting_for(Wait::Turn).is_empty();
        let listed = [ready, roomless];
        if (lane.rank, lane.listed) == (rank, listed) {
            return;
        }
        for list in List::ALL.map(|list| list as usize) {
            if lane.rank == rank && lane.listed[list] == listed[list] {
                continue;
            }
            if let (Some(old), true) = (lane.rank, lane.listed[list]) {
                level.lists[list].remove(&old);
            }
            if let (Some(new), true) = (rank, listed[list]) {
                level.lists[list].insert(new);
            }
        }
        (lane.rank, lane.listed) = (rank, listed);
        level.lanes.insert(at);
        if rank.is_none() {
            level.lanes.remove(&at);
            if level.lanes.is_empty() {
                self.levels.remove(&std::cmp::Reverse(lane.priority));
            }
            let gone = self.lanes.remove(at);
            self.lane_of.remove(&(gone.tenant, gone.priority));
        }
    }

    /// The run whose turn it is, of those that wait for nothing else.
    pub(crate) fn next_ready(&self) -> Option<Turn> {
        let levels = self.levels.values();
        let rank = levels
            .filter_map(|level| level.lists[List::Ready as usize].first())
            .next()?;
        let lane = &self.lanes[rank.lane];
        let (age, bin) = *lane.waiting_for(Wait::Turn).first()?;
        Some(Turn {
            priority: lane.priority,
            rank: *rank,
            age,
            bin,
        })
    }

    /// The run whose turn it is, of a class's that wait for room.
    ///
    /// Either all lanes are asked in order of rank, or all of the class for their rank: with `n` lanes and `m` bins of
    /// the class, one takes about `n / m` steps, the other `m`.
    pub(crate) fn next_roomless(&self, class: usize) -> Option<Turn> {
        let of_class = self.roomless.get(&class)?;
        let turn = |&(lane, age, bin): &(usize, Age, usize)| {
            let lane = &self.lanes[lane];
            Some(Turn {
                priority: lane.priority,
                rank: lane.rank?,
                age,
                bin,
            })
        };
        if of_class.len().saturating_pow(2) <= self.lanes.len() {
            return of_class.iter().filter_map(turn).min();
        }
        let first_of = |lane: usize| {
            let of_lane = (lane, Age::OLDEST, 0)..(lane + 1, Age::OLDEST, 0);
            of_class.range(of_lane).next()
        };
        let ranks = self
            .levels
            .values()
            .flat_map(|level| &level.lists[List::Roomless as usize]);
        ranks
            .filter_map(|rank| first_of(rank.lane).and_then(turn))
            .next()
    }

    /// From now on the lane owes to its oldest run that waits for room, if there is one.
    pub(crate) fn owe_next(&mut self, at: usize) {
        let oldest = self.lanes[at].waiting_for(Wait::Room).first();
        let run = oldest.and_then(|(_, bin)| self.bins[*bin].head());
        let owed = run.map(|(age, run)| Owed {
            run,
            age,
            since: self.stamp,
            due_ms: self.stamp.now_ms.saturating_add(self.patience_ms),
            reserved: None,
        });
        self.owe(at, owed);
    }

    /// Changes what the lane owes.
    pub(crate) fn owe(&mut self, at: usize, owed: Option<Owed>) {
        let lane = &mut self.lanes[at];
        if let Some(old) = lane.owed {
            self.owed.remove(&(old.due_ms, at));
        }
        if let Some(new) = owed.filter(|new| new.reserved.is_none()) {
            self.owed.insert((new.due_ms, at));
        }
        lane.owed = owed;
    }
}

fn forget<T: Ord>(index: &mut Map<usize, BTreeSet<T>>, key: usize, item: &T) {
    if let Some(set) = index.get_mut(&key) {
        set.remove(item);
        if set.is_empty() {
            index.remove(&key);
        }
    }
}
