//! The parts the queue is made of: bins in lanes in levels.

use std::collections::{BTreeMap, BTreeSet};

use crate::run::{Age, Priority};

/// What the runs of a bin wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Their turn.
    Turn,
    /// Room: their class is blocked.
    Room,
    /// One of their runner's live runs to end.
    Cap,
}

/// Where a lane stands among those of its priority: the tenant's share, then the lane's oldest run. No two lanes have
/// the same rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) share: u64,
    pub(crate) oldest: Age,
    pub(crate) lane: usize,
}

/// The next run of a bin, and where that stands among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) priority: Priority,
    pub(crate) rank: Rank,
    pub(crate) age: Age,
    pub(crate) bin: usize,
}

impl Turn {
    /// Sorts what goes first first.
    const fn key(&self) -> (u8, Rank, Age, usize) {
        (
            u8::MAX - self.priority.number(),
            self.rank,
            self.age,
            self.bin,
        )
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Runs that are alike: one lane, one runner, one class. They go by age.
#[derive(Debug)]
pub(crate) struct Bin {
    pub(crate) lane: usize,
    pub(crate) runner: Option<usize>,
    pub(crate) class: usize,
    pub(crate) wait: Wait,
    /// By age, the run's index.
    pub(crate) runs: BTreeMap<Age, usize>,
}

impl Bin {
    pub(crate) fn head(&self) -> Option<(Age, usize)> {
        self.runs.first_key_value().map(|(age, run)| (*age, *run))
    }

    /// Under what it is listed: the age of its first run, and what it waits for.
    pub(crate) fn listing(&self) -> Option<(Age, Wait)> {
        self.head().map(|(age, _)| (age, self.wait))
    }
}

/// When something was, on the caller's clock and by the number of assignments before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) now_ms: u64,
    pub(crate) placed: u64,
}

/// A run that waits for room and may come to need a reservation: the oldest of its lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) run: usize,
    pub(crate) age: Age,
    /// Since when it waits for room.
    pub(crate) since: Stamp,
    /// When it is looked whether others are placed before it.
    pub(crate) due_ms: u64,
    /// The host reserved for it.
    pub(crate) reserved: Option<usize>,
}

/// The waiting runs of one tenant at one priority.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) tenant: usize,
    pub(crate) priority: Priority,
    pub(crate) share: u64,
    /// Its bins with the age of their first run, by what they wait for.
    pub(crate) bins: [BTreeSet<(Age, usize)>; 3],
    /// At most one of its runs has a reservation at a time, or may come to need one.
    pub(crate) owed: Option<Owed>,
    /// Its place in the level's sets, while it has runs.
    pub(crate) rank: Option<Rank>,
    /// In which of the level's sets that is.
    pub(crate) listed: [bool; 2],
    pub(crate) len: usize,
}

impl Lane {
    pub(crate) const fn new(tenant: usize, priority: Priority, share: u64) -> Self {
        Self {
            tenant,
            priority,
            share,
            bins: [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()],
            owed: None,
            rank: None,
            listed: [false; 2],
            len: 0,
        }
    }

    pub(crate) fn waiting_for(&self, wait: Wait) -> &BTreeSet<(Age, usize)> {
        &self.bins[wait as usize]
    }

    pub(crate) fn oldest(&self) -> Option<Age> {
        let heads = self.bins.iter().filter_map(BTreeSet::first);
        heads.map(|(age, _)| *age).min()
    }
}

/// The sets of a level that a lane may be listed in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum List {
    /// Has a run that waits for its turn only.
    Ready,
    /// Has a run that waits for room.
    Roomless,
}

impl List {
    pub(crate) const ALL: [Self; 2] = [Self::Ready, Self::Roomless];
}

/// All lanes of one priority.
#[derive(Debug, Default)]
pub(crate) struct Level {
    pub(crate) lists: [BTreeSet<Rank>; 2],
    pub(crate) lanes: BTreeSet<usize>,
}
