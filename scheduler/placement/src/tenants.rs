//! Whose runs hold how much, and what share of the fleet that is.
//!
//! A tenant's share is the largest of its four parts of the fleet (its dominant share), divided by its weight. Shares
//! are compared, never added.
//!
//! The fleet they are seen against is measured anew when it changed by more than an eighth: hosts come and go all the
//! time, and every new measure puts every tenant's place in the queue in question.

use davit_types::Tenant;
use slab::Slab;

use crate::amounts::Amounts;
use crate::bounds;
use crate::error::Refused;
use crate::map::Map;
use crate::run::check_count;

/// The whole fleet is a share of 2^32 at weight 1.
const WHOLE_BITS: u32 = 32;

#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) name: Tenant,
    pub(crate) held: Amounts,
    pub(crate) weight: u32,
    /// Its runs, waiting or live.
    runs: usize,
}

/// All tenants that have a run or a weight of their own.
#[derive(Debug)]
pub(crate) struct Tenants {
    pub(crate) all: Slab<Holder>,
    by_name: Map<Tenant, usize>,
    /// How many have a weight of their own.
    weighted: usize,
    fleet: Amounts,
    /// 2^96 by the fleet's amounts: a share is a multiplication.
    inverse: [u128; 4],
}

impl Tenants {
    pub(crate) fn new() -> Self {
        let mut new = Self {
            all: Slab::new(),
            by_name: Map::default(),
            weighted: 0,
            fleet: Amounts::ZERO,
            inverse: [0; 4],
        };
        new.measure(Amounts::ZERO);
        new
    }

    /// The tenant called so, with one run more.
    pub(crate) fn join(&mut self, name: &Tenant) -> usize {
        let at = self.enter(name);
        self.all[at].runs += 1;
        at
    }

    fn enter(&mut self, name: &Tenant) -> usize {
        if let Some(&at) = self.by_name.get(name) {
            return at;
        }
        let at = self.all.insert(Holder {
            name: name.clone(),
            held: Amounts::ZERO,
            weight: 1,
            runs: 0,
        });
        self.by_name.insert(name.clone(), at);
        at
    }

    /// One run of the tenant is no more.
    pub(crate) fn leave(&mut self, at: usize) {
        self.all[at].runs -= 1;
        self.forget_if_idle(at);
    }

    fn forget_if_idle(&mut self, at: usize) {
        let holder = &self.all[at];
        if holder.runs == 0 && holder.weight == 1 {
            let holder = self.all.remove(at);
            self.by_name.remove(&holder.name);
        }
    }

    /// Sets how much a tenant may hold beside others; 0 counts as 1. Answers where it is, if it has runs.
    pub(crate) fn set_weight(
        &mut self,
        name: &Tenant,
        weight: u32,
    ) -> Result<Option<usize>, Refused> {
        let weight = weight.max(1);
        let known = self.by_name.get(name).map_or(1, |&at| self.all[at].weight);
        let weighted = self.weighted - usize::from(known > 1) + usize::from(weight > 1);
        check_count(
            &"weights",
            "tenants with one",
            weighted,
            bounds::REMEMBERED_MAX,
        )?;
        self.weighted = weighted;
        let at = self.enter(name);
        self.all[at].weight = weight;
        let has_runs = self.all[at].runs > 0;
        self.forget_if_idle(at);
        Ok(has_runs.then_some(at))
    }

    /// Sees shares against this fleet from now on, if it is much different. Answers whether it is.
    pub(crate) fn see(&mut self, fleet: Amounts) -> bool {
        let (old, new) = (self.fleet.to_array(), fleet.to_array());
        let differs = old
            .into_iter()
            .zip(new)
            .any(|(old, new)| old.abs_diff(new) > old / 8);
        if differs {
            self.measure(fleet);
        }
        differs
    }

    fn measure(&mut self, fleet: Amounts) {
        self.fleet = fleet;
        self.inverse = fleet
            .to_array()
            .map(|amount| (1u128 << (64 + WHOLE_BITS)) / u128::from(amount.max(1)));
    }

    /// The tenant's share now.
    pub(crate) fn share(&self, at: usize) -> u64 {
        let holder = &self.all[at];
        self.share_of(holder.held, holder.weight)
    }

    /// The share that somebody with this would have.
    pub(crate) fn share_of(&self, held: Amounts, weight: u32) -> u64 {
        let parts = held.to_array().into_iter().zip(self.inverse);
        let part = parts.map(|(held, inverse)| u128::from(held).saturating_mul(inverse) >> 64);
        let largest = part.max().unwrap_or(0) / u128::from(weight);
        u64::try_from(largest).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_part_counts_and_weight_divides() {
        let mut tenants = Tenants::new();
        assert!(tenants.see(Amounts::all(1_000)));
        let held = Amounts {
            memory_bytes: 500,
            pids: 100,
            ..Amounts::ZERO
        };
        let half = 1u64 << (WHOLE_BITS - 1);
        assert!(tenants.share_of(held, 1).abs_diff(half) <= 1);
        assert!(tenants.share_of(held, 4).abs_diff(half / 4) <= 1);
    }

    #[test]
    fn a_few_hosts_more_or_less_change_no_share() {
        let mut tenants = Tenants::new();
        assert!(tenants.see(Amounts::all(1_000)));
        assert!(!tenants.see(Amounts::all(1_125)));
        assert!(tenants.see(Amounts::all(1_126)));
        assert!(tenants.see(Amounts::ZERO), "and none at all is a change");
    }
}
