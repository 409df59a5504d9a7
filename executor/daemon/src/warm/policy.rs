//! How many slots of which profile there should be. Pure: the caller brings the time.
//!
//! ```text
//!  a run of the profile, no slot ready   wanted doubles, up to slots_per_profile
//!  a quarter of idle_seconds unused      wanted halves
//!  idle_seconds unused                   the profile is forgotten
//!  a slot fails or dies                  none are made for a while, longer each time
//!  more wanted than slots_max            the profile used last comes first
//! ```
//!
//! Invariants (property-tested):
//! - never more slots, waiting and being made, than `slots_per_profile` each and `slots_max` together;
//! - never more than [`MAKING_AT_ONCE_MAX`] being made;
//! - left alone, every slot goes, and the last time to act is `idle_seconds` after the last run.

use std::collections::HashMap;
use std::hash::Hash;

/// Slots made at a time: their making must not starve the runs that are there.
pub(super) const MAKING_AT_ONCE_MAX: usize = 2;
/// Profiles remembered.
const PROFILES_MAX: usize = 64;
/// How long after its last use a profile's slots are not taken for another one, milliseconds.
const STEADY_MS: u64 = 10_000;
/// Delays after a failure: first and longest, milliseconds.
const RETRY_FIRST_MS: u64 = 1_000;
const RETRY_LONGEST_MS: u64 = 300_000;
/// Times that wanted is halved before a profile is forgotten.
const HALVINGS: u64 = 4;

/// The operator's bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) slots_per_profile: usize,
    pub(super) slots_max: usize,
    pub(super) idle_ms: u64,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan<P> {
    /// One slot each; counted as being made from now on.
    pub(super) make: Vec<P>,
    /// One waiting slot each; not counted any more.
    pub(super) drop: Vec<P>,
    /// When to look again if nothing happens.
    pub(super) again_ms: Option<u64>,
}

/// The demand for slots, and how many there are.
#[derive(Debug)]
pub(super) struct Policy<P> {
    bounds: Bounds,
    profiles: HashMap<P, Demand>,
}

#[derive(Clone, Copy, Debug)]
struct Demand {
    wanted: usize,
    used_ms: u64,
    ready: usize,
    making: usize,
    failures: u32,
    retry_ms: u64,
}

impl<P: Copy + Eq + Hash> Policy<P> {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            profiles: HashMap::new(),
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.bounds.slots_max > 0 && self.bounds.slots_per_profile > 0
    }

    /// Slots waiting and being made.
    pub(super) fn counts(&self) -> (usize, usize) {
        let add = |(ready, making), demand: &Demand| (ready + demand.ready, making + demand.making);
        self.profiles.values().fold((0, 0), add)
    }

    /// Whether any more slots may be of use to `profile`.
    pub(super) fn knows(&self, profile: P) -> bool {
        self.profiles.contains_key(&profile)
    }

    /// A run of `profile` took a slot.
    pub(super) fn hit(&mut self, profile: P, now_ms: u64) {
        if let Some(demand) = self.profiles.get_mut(&profile) {
            demand.used_ms = now_ms;
            demand.ready = demand.ready.saturating_sub(1);
        }
    }

    /// A run of `profile` found none. Returns a profile that is forgotten for it, with its waiting slots.
    pub(super) fn miss(&mut self, profile: P, now_ms: u64) -> Option<P> {
        if !self.is_on() {
            return None;
        }
        let most = self.bounds.slots_per_profile;
        if let Some(demand) = self.profiles.get_mut(&profile) {
            let wanted = decayed(demand, self.bounds.idle_ms, now_ms);
            demand.wanted = (wanted * 2).clamp(1, most);
            demand.used_ms = now_ms;
            return None;
        }
        let forgotten = (self.profiles.len() >= PROFILES_MAX).then(|| self.least_recent());
        if let Some(oldest) = forgotten.flatten() {
            self.profiles.remove(&oldest);
        }
        let demand = Demand {
            wanted: 1,
            used_ms: now_ms,
            ready: 0,
            making: 0,
            failures: 0,
            retry_ms: 0,
        };
        self.profiles.insert(profile, demand);
        forgotten.flatten()
    }

    /// The one to be forgotten, of those without a slot under way.
    fn least_recent(&self) -> Option<P> {
        let idle = self
            .profiles
            .iter()
            .filter(|(_, demand)| demand.making == 0);
        idle.min_by_key(|(_, demand)| demand.used_ms)
            .map(|(profile, _)| *profile)
    }

    /// A slot of a plan waits. False if its profile was forgotten meanwhile: it is not counted then.
    pub(super) fn made(&mut self, profile: P) -> bool {
        let Some(demand) = self.profiles.get_mut(&profile) else {
            return false;
        };
        demand.making = demand.making.saturating_sub(1);
        demand.ready += 1;
        true
    }

    /// A slot of a plan is not made: it is not wanted any more.
    pub(super) fn unmade(&mut self, profile: P) {
        if let Some(demand) = self.profiles.get_mut(&profile) {
            demand.making = demand.making.saturating_sub(1);
        }
    }

    /// A slot of a plan was not made. Returns milliseconds until the next is.
    pub(super) fn failed(&mut self, profile: P, now_ms: u64) -> u64 {
        let Some(demand) = self.profiles.get_mut(&profile) else {
            return 0;
        };
        demand.making = demand.making.saturating_sub(1);
        demand.fail(now_ms)
    }

    /// A waiting slot died. Returns milliseconds until the next is made.
    pub(super) fn died(&mut self, profile: P, now_ms: u64) -> u64 {
        let Some(demand) = self.profiles.get_mut(&profile) else {
            return 0;
        };
        demand.ready = demand.ready.saturating_sub(1);
        demand.fail(now_ms)
    }

    /// A slot that was taken became no run. Returns milliseconds until the next is made.
    pub(super) fn refused(&mut self, profile: P, now_ms: u64) -> u64 {
        let demand = self.profiles.get_mut(&profile);
        demand.map_or(0, |demand| demand.fail(now_ms))
    }

    /// A slot that was taken became a run.
    pub(super) fn worked(&mut self, profile: P) {
        if let Some(demand) = self.profiles.get_mut(&profile) {
            demand.failures = 0;
        }
    }

    /// No more slots of `profile`; those waiting are not counted any more.
    pub(super) fn forget(&mut self, profile: P) {
        self.profiles.remove(&profile);
    }

    /// What to do at `now_ms`; the plan counts as begun.
    pub(super) fn plan(&mut self, now_ms: u64) -> Plan<P> {
        let Bounds {
            slots_max, idle_ms, ..
        } = self.bounds;
        let mut plan = Plan {
            make: Vec::new(),
            drop: Vec::new(),
            again_ms: None,
        };
        let mut order: Vec<(P, Demand)> = self.profiles.iter().map(|(p, d)| (*p, *d)).collect();
        // Those in use keep what they have; after them, and for what is new, the last used comes first.
        let holds = |demand: &Demand| {
            let slots = demand.ready + demand.making;
            slots > 0 && now_ms.saturating_sub(demand.used_ms) < STEADY_MS
        };
        order.sort_by_key(|(_, demand)| (!holds(demand), std::cmp::Reverse(demand.used_ms)));
        let mut making = self.counts().1;
        // What is under way is counted first: it cannot be taken back.
        let mut left = slots_max.saturating_sub(making);
        for (profile, demand) in order {
            let wanted = decayed(&demand, idle_ms, now_ms);
            let room = wanted.saturating_sub(demand.making).min(left);
            left -= room;
            let ready = demand.ready.min(room);
            plan.drop
                .extend(std::iter::repeat_n(profile, demand.ready - ready));
            let mut begun = 0;
            if now_ms >= demand.retry_ms {
                begun = (room - ready).min(MAKING_AT_ONCE_MAX.saturating_sub(making));
                making += begun;
                plan.make.extend(std::iter::repeat_n(profile, begun));
            } else if ready < room {
                plan.look_again(demand.retry_ms);
            }
            if wanted > 0 {
                plan.look_again(next_decay_ms(&demand, idle_ms, now_ms));
            }
            if let Some(known) = self.profiles.get_mut(&profile) {
                known.ready = ready;
                known.making += begun;
            }
        }
        // Forgotten only with nothing under way, so that what is made finds its profile.
        self.profiles.retain(|_, demand| {
            demand.making > 0 || now_ms.saturating_sub(demand.used_ms) < idle_ms
        });
        plan
    }
}

impl<P> Plan<P> {
    fn look_again(&mut self, at_ms: u64) {
        self.again_ms = Some(self.again_ms.map_or(at_ms, |other| other.min(at_ms)));
    }
}

impl Demand {
    fn fail(&mut self, now_ms: u64) -> u64 {
        let delay_ms = (RETRY_FIRST_MS << self.failures.min(16)).min(RETRY_LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        self.retry_ms = now_ms + delay_ms;
        delay_ms
    }
}

/// What is still wanted at `now_ms`.
fn decayed(demand: &Demand, idle_ms: u64, now_ms: u64) -> usize {
    let unused_ms = now_ms.saturating_sub(demand.used_ms);
    if unused_ms >= idle_ms {
        return 0;
    }
    let halvings = unused_ms * HALVINGS / idle_ms;
    (demand.wanted >> halvings).max(1)
}

/// When [`decayed`] may next be less than at `now_ms`.
fn next_decay_ms(demand: &Demand, idle_ms: u64, now_ms: u64) -> u64 {
    let unused_ms = now_ms.saturating_sub(demand.used_ms);
    let halvings = unused_ms * HALVINGS / idle_ms.max(1);
    demand.used_ms + ((halvings + 1) * idle_ms).div_ceil(HALVINGS)
}

#[cfg(test)]
mod tests;
