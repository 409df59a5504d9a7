//! Why a run waits, and what would become of one that nobody has submitted. Changes nothing.
//!
//! The answer and the decision come from the same search: what is told to be placeable is placed, unless somebody whose
//! turn comes first takes the room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::ops::Bound;

use davit_types::RunKey;

use crate::amounts::Dimension;
use crate::bounds::POSITION_STEPS_MAX;
use crate::choose::Search;
use crate::engine::{Engine, Place};
use crate::error::Refused;
use crate::fleet::Fleet;
use crate::host::{Host, Standing};
use crate::names::HostName;
use crate::run::{Age, Priority, Run, Wants};

/// What one host has to say to a run: the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It would take the run now.
    Fits,
    /// It stands in another region.
    OtherRegion,
    /// The run is pinned to others.
    NotNamed,
    /// It lacks a label that the run wants.
    NoLabel,
    /// The run failed to start there.
    Excluded,
    /// Even empty it has too little, of this most.
    TooSmall(Dimension),
    /// Another replica places on it.
    Remote,
    /// It is not connected.
    Offline,
    /// It takes no new runs.
    Draining,
    /// It is kept off after failed starts, or busy with the one run that is to show that it starts runs again.
    Quarantined,
    /// It has too little left, of this most.
    Full(Dimension),
    /// It has enough left, but that is kept for a run that waited long and was passed.
    Kept,
}

/// What becomes of a run, and the one reason for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It is assigned to this host.
    Live(HostName),
    /// A host such as this takes it when its turn comes.
    Placeable(HostName),
    /// Its runner has as many live runs as it may.
    RunnerAtCap {
        /// How many those are.
        live: u32,
        /// How many may be.
        live_max: u32,
    },
    /// No host is known at all.
    NoHosts,
    /// No host is in its region, named by it, labelled as it wants, and not excluded.
    NoneAllowed,
    /// No host that it may go to is large enough even when empty; this is what most lack.
    TooLarge(Dimension),
    /// The hosts that could hold it are connected to other replicas.
    Elsewhere,
    /// The hosts that could hold it are offline, draining or quarantined.
    NoneOpen,
    /// The hosts that could hold it are full; this is what most lack.
    Full(Dimension),
    /// There is room, but it is kept for a run that waited long and was passed.
    Kept,
}

/// How many runs come before one, if nothing ended and all could be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// So many.
    Ahead(usize),
    /// More than so many.
    MoreThan(usize),
}

/// All that is to be said of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What becomes of it.
    pub outlook: Outlook,
    /// Where in the queue it is, if it is there.
    pub position: Option<Position>,
    /// How many hosts say what.
    pub hosts: BTreeMap<Verdict, usize>,
}

impl Engine {
    /// Why a run waits, or where it is.
    pub fn explain(&self, key: RunKey) -> Result<Explanation, Refused> {
        let at = self.find(key)?;
        let record = &self.runs[at];
        let wants = &self.classes.all[record.class].wants;
        let hosts = self.verdicts(wants, record.priority, Some(at));
        let (bin, age) = match record.place {
            Place::Live { host, .. } => {
                let outlook = Outlook::Live(self.fleet.hosts[host].spec.name.clone());
                return Ok(Explanation {
                    outlook,
                    position: None,
                    hosts,
                });
            }
            Place::Pending { bin, age } => (bin, age),
        };
        let runner = record.runner.map(|runner| &self.runners.all[runner]);
        let capped = runner.and_then(|runner| runner.live_max.map(|max| (runner.live, max)));
        let search = Search {
            wants,
            priority: record.priority,
            image: record.image,
            warm: runner.and_then(|runner| runner.warm),
            salt: self.salt(),
        };
        Ok(Explanation {
            outlook: self.outlook(&search, capped, Some(at), &hosts),
            position: Some(self.position(self.queue.bins[bin].lane, age)),
            hosts,
        })
    }

    /// What would become of a run that is submitted now, alone in the queue.
    pub fn explain_new(&self, run: &Run) -> Result<Explanation, Refused> {
        let wants = run.wants.clone().canonical(&run.key)?;
        let hosts = self.verdicts(&wants, run.priority, None);
        let known = run
            .runner
            .as_ref()
            .and_then(|runner| self.runners.lookup(&runner.name));
        let state = known.map(|at| &self.runners.all[at]);
        let named = run.image.as_ref();
        let live = state.map_or(0, |state| state.live);
        let capped = run
            .runner
            .as_ref()
            .and_then(|runner| runner.live_max.map(|max| (live, max)));
        let search = Search {
            wants: &wants,
            priority: run.priority,
            image: named.and_then(|name| self.fleet.images.lookup(name)),
            warm: state.and_then(|state| state.warm),
            salt: self.salt(),
        };
        Ok(Explanation {
            outlook: self.outlook(&search, capped, None, &hosts),
            position: None,
            hosts,
        })
    }

    fn verdicts(
        &self,
        wants: &Wants,
        priority: Priority,
        run: Option<usize>,
    ) -> BTreeMap<Verdict, usize> {
        let mut hosts = BTreeMap::new();
        for (_, host) in &self.fleet.hosts {
            *hosts
                .entry(verdict(host, wants, priority, run))
                .or_insert(0) += 1;
        }
        hosts
    }

    fn outlook(
        &self,
        search: &Search<'_>,
        capped: Option<(u32, u32)>,
        run: Option<usize>,
        hosts: &BTreeMap<Verdict, usize>,
    ) -> Outlook {
        if let Some((live, live_max)) = capped.filter(|(live, max)| live >= max) {
            return Outlook::RunnerAtCap { live, live_max };
        }
        let own = |host: &&usize| {
            let kept = self.fleet.hosts[**host].reservation.as_ref();
            kept.is_some_and(|kept| Some(kept.run) == run)
        };
        let own = self.reserved.iter().find(own).copied().filter(|&host| {
            let host = &self.fleet.hosts[host];
            host.is_open() && search.wants.need.within(&host.free())
        });
        let chosen = own
            .or_else(|| self.fleet.choose(search))
            .or_else(|| self.fleet.choose_among(&self.reserved, search));
        match chosen {
            Some(host) => Outlook::Placeable(self.fleet.hosts[host].spec.name.clone()),
            None => reason(hosts),
        }
    }

    /// Plays the queue forward, as if everybody were placed in turn.
    fn position(&self, lane: usize, age: Age) -> Position {
        let priority = self.queue.lanes[lane].priority;
        let above = self.queue.levels.range(..Reverse(priority));
        let lanes = above.flat_map(|(_, level)| &level.lanes);
        let mut ahead: usize = lanes.map(|lane| self.queue.lanes[*lane].len).sum();
        let Some(level) = self.queue.levels.get(&Reverse(priority)) else {
            return Position::Ahead(ahead);
        };
        let mut waiting: BTreeMap<usize, BinaryHeap<Reverse<(Age, usize)>>> = BTreeMap::new();
        let mut turns = BinaryHeap::new();
        for &at in &level.lanes {
            let lane = &self.queue.lanes[at];
            let heads = lane.bins.iter().flatten().map(|head| Reverse(*head));
            waiting.insert(at, heads.collect());
            turns.extend(lane.rank.map(|rank| {
                let held = self.tenants.all[lane.tenant].held;
                Reverse((rank.share, rank.oldest, at, held.to_array()))
            }));
        }
        for _ in 0..POSITION_STEPS_MAX {
            let Some(Reverse((_, _, at, held))) = turns.pop() else {
                break;
            };
            let Some(Reverse((first, bin))) = waiting.get_mut(&at).and_then(BinaryHeap::pop) else {
                continue;
            };
            if (at, first) == (lane, age) {
                return Position::Ahead(ahead);
            }
            ahead += 1;
            let bin_at = bin;
            let bin = &self.queue.bins[bin_at];
            let holder = &self.tenants.all[self.queue.lanes[at].tenant];
            let need = self.classes.all[bin.class].wants.need;
            let held = crate::amounts::Amounts::from_array(held).plus(need);
            let later = bin
                .runs
                .range((Bound::Excluded(first), Bound::Unbounded))
                .next();
            let rest = waiting.entry(at).or_default();
            rest.extend(later.map(|(age, _)| Reverse((*age, bin_at))));
            if let Some(Reverse((oldest, _))) = rest.peek() {
                let share = self.tenants.share_of(held, holder.weight);
                turns.push(Reverse((share, *oldest, at, held.to_array())));
            }
        }
        Position::MoreThan(ahead.saturating_sub(1))
    }
}

fn verdict(host: &Host, wants: &Wants, priority: Priority, run: Option<usize>) -> Verdict {
    let spec = &host.spec;
    if !Fleet::allows(wants, host) {
        return if wants
            .region
            .as_ref()
            .is_some_and(|region| *region != spec.region)
        {
            Verdict::OtherRegion
        } else if !wants.executors.is_empty() && !wants.executors.contains(&spec.name) {
            Verdict::NotNamed
        } else if wants.excluded.contains(&spec.name) {
            Verdict::Excluded
        } else {
            Verdict::NoLabel
        };
    }
    if let Some(dimension) = wants.need.scarcest(&spec.capacity, &spec.capacity) {
        return Verdict::TooSmall(dimension);
    }
    match host.standing() {
        Standing::Remote => return Verdict::Remote,
        Standing::Offline => return Verdict::Offline,
        Standing::Draining => return Verdict::Draining,
        Standing::Quarantined | Standing::Probing if !host.is_open() => {
            return Verdict::Quarantined;
        }
        Standing::Online | Standing::Quarantined | Standing::Probing => {}
    }
    let own = host
        .reservation
        .as_ref()
        .is_some_and(|kept| Some(kept.run) == run);
    if let Some(dimension) = wants.need.scarcest(&host.free(), &spec.capacity) {
        Verdict::Full(dimension)
    } else if own || wants.need.within(&host.offer_to(priority)) {
        Verdict::Fits
    } else {
        Verdict::Kept
    }
}

/// The reason for which no host takes a run, from what they all say: of those that come closest.
fn reason(hosts: &BTreeMap<Verdict, usize>) -> Outlook {
    let count = |verdict: Verdict| hosts.get(&verdict).copied().unwrap_or(0);
    let most = |of: fn(Dimension) -> Verdict| {
        let counted = Dimension::ALL.into_iter().rev().map(|d| (count(of(d)), d));
        counted
            .max_by_key(|(count, _)| *count)
            .filter(|(count, _)| *count > 0)
    };
    if hosts.is_empty() {
        Outlook::NoHosts
    } else if count(Verdict::Kept) > 0 {
        Outlook::Kept
    } else if let Some((_, dimension)) = most(Verdict::Full) {
        Outlook::Full(dimension)
    } else if count(Verdict::Remote) > 0 {
        Outlook::Elsewhere
    } else if count(Verdict::Offline) + count(Verdict::Draining) + count(Verdict::Quarantined) > 0 {
        Outlook::NoneOpen
    } else if let Some((_, dimension)) = most(Verdict::TooSmall) {
        Outlook::TooLarge(dimension)
    } else {
        Outlook::NoneAllowed
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(host) => write!(f, "assigned to {host}"),
            Self::Placeable(host) => write!(f, "{host} has room for it; waits for its turn"),
            Self::RunnerAtCap { live, live_max } => write!(
                f,
                "its runner has {live} live runs of at most {live_max}; waits for one to end"
            ),
            Self::NoHosts => f.write_str("no host is known"),
            Self::NoneAllowed => f.write_str(
                "no host is in its region, among the executors it names, labelled as it wants, and one \
                 on which it did not fail to start",
            ),
            Self::TooLarge(dimension) => {
                write!(f, "no host is large enough even when empty: most lack {dimension}")
            }
            Self::Elsewhere => {
                f.write_str("the hosts that could hold it are connected to other replicas")
            }
            Self::NoneOpen => {
                f.write_str("the hosts that could hold it are offline, draining or quarantined")
            }
            Self::Full(dimension) => {
                write!(f, "the hosts that could hold it are full: most lack {dimension}")
            }
            Self::Kept => f.write_str("all room is kept for a run that waited long"),
        }
    }
}
