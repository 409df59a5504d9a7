//! Which host a run goes to, of those that have room.
//!
//! 1. The host its runner was warmed on.
//! 2. A host that holds its image.
//! 3. Any host.
//!
//! Within 2 and 3 two candidates are found from two seeded starts, and the less loaded is taken: that spreads runs
//! almost as evenly as looking at all hosts, at the price of two searches. In 2, at most
//! [`IMAGE_PROBES_MAX`] holders are asked for room.
//!
//! Invariant: 3 is exact. It finds a host if there is one.

use std::collections::BTreeSet;

use crate::bounds::IMAGE_PROBES_MAX;
use crate::fleet::{Fleet, Pool};
use crate::host::Given;
use crate::run::{Priority, Wants};

/// What a host is looked for with.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) wants: &'a Wants,
    pub(crate) priority: Priority,
    pub(crate) image: Option<usize>,
    /// Where its runner was warmed.
    pub(crate) warm: Option<usize>,
    /// Decides where the search begins.
    pub(crate) salt: u64,
}

/// Mixes a seed and a number into a salt (the finaliser of SplitMix64).
pub(crate) const fn mix(seed: u64, number: u64) -> u64 {
    let mut x = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number below `bound`, from a salt.
fn below(salt: u64, bound: usize) -> usize {
    let scaled = (u128::from(salt) * bound as u128) >> 64;
    usize::try_from(scaled).unwrap_or(0)
}

impl Fleet {
    /// The host for a run, of all that offer enough room to anybody.
    pub(crate) fn choose(&self, search: &Search<'_>) -> Option<usize> {
        let fits = |at: usize| self.fits(search.wants, at);
        if let Some(warm) = search.warm.filter(|&warm| fits(warm)) {
            return Some(warm);
        }
        if let Some(image) = search.image {
            let holders = self.images.holders(image);
            let probed = self.around(holders, search.salt).take(IMAGE_PROBES_MAX);
            if let Some(holder) = self.lighter(probed.filter(|&at| fits(at))) {
                return Some(holder);
            }
        }
        self.anywhere(search.wants, search.salt)
    }

    /// The host for a run, of these few: for each of them what it offers to this run's priority.
    pub(crate) fn choose_among<'a>(
        &self,
        few: impl IntoIterator<Item = &'a usize>,
        search: &Search<'_>,
    ) -> Option<usize> {
        let wants = search.wants;
        let holds = |at: usize| {
            search
                .image
                .is_some_and(|image| self.hosts[at].holds(image))
        };
        few.into_iter()
            .copied()
            .filter(|&at| self.fits_priority(wants, search.priority, at))
            .min_by_key(|&at| {
                (
                    search.warm != Some(at),
                    !holds(at),
                    self.hosts[at].load,
                    mix(search.salt, at as u64),
                )
            })
    }

    /// Whether the host may be given such a run now.
    fn fits(&self, wants: &Wants, at: usize) -> bool {
        let host = &self.hosts[at];
        wants.need.within(&host.offered) && Self::allows(wants, host)
    }

    /// The same for a run of this priority.
    pub(crate) fn fits_priority(&self, wants: &Wants, priority: Priority, at: usize) -> bool {
        let host = &self.hosts[at];
        wants.need.within(&host.offer_to(priority)) && Self::allows(wants, host)
    }

    fn anywhere(&self, wants: &Wants, salt: u64) -> Option<usize> {
        let fits = |at: &usize| self.fits(wants, *at);
        if !wants.executors.is_empty() {
            let named = wants.executors.iter();
            let hosts = named.filter_map(|name| self.lookup(name)).filter(fits);
            return hosts.min_by_key(|&at| (self.hosts[at].load, mix(salt, at as u64)));
        }
        if !wants.labels.is_empty() {
            let sets = wants.labels.iter().map(|label| self.by_label.get(label));
            let rarest = sets.min_by_key(|set| set.map_or(0, BTreeSet::len))??;
            return self.lighter(self.around(rarest, salt).filter(fits));
        }
        let other = mix(salt, 1);
        match &wants.region {
            Some(region) => {
                let pool = &self.pools[*self.by_region.get(region)?];
                let first = self.in_pool(pool, wants, salt)?;
                self.lighter(
                    [Some(first), self.in_pool(pool, wants, other)]
                        .into_iter()
                        .flatten(),
                )
            }
            None => {
                let first = self.in_any_pool(wants, salt)?;
                self.lighter(
                    [Some(first), self.in_any_pool(wants, other)]
                        .into_iter()
                        .flatten(),
                )
            }
        }
    }

    fn in_any_pool(&self, wants: &Wants, salt: u64) -> Option<usize> {
        let pools = self.by_region.values();
        let start = below(mix(salt, 2), pools.len());
        let turned = pools.clone().skip(start).chain(pools.take(start));
        turned
            .filter_map(|&pool| self.in_pool(&self.pools[pool], wants, salt))
            .next()
    }

    /// The first host with room from a seeded place on, and around.
    fn in_pool(&self, pool: &Pool, wants: &Wants, salt: u64) -> Option<usize> {
        let start = below(salt, pool.places);
        let search = |from: usize, to: usize| {
            let mut at = from;
            while let Some(place) = pool.rooms.first_from(at, &wants.need) {
                if place >= to {
                    break;
                }
                let host = pool.hosts[place];
                if wants.excluded.is_empty() || Self::allows(wants, &self.hosts[host]) {
                    return Some(host);
                }
                at = place + 1;
            }
            None
        };
        search(start, usize::MAX).or_else(|| search(0, start))
    }

    /// The members of a set from a seeded one on, and around.
    fn around<'a>(
        &self,
        set: &'a BTreeSet<usize>,
        salt: u64,
    ) -> impl Iterator<Item = usize> + use<'a> {
        let start = below(salt, self.places);
        set.range(start..).chain(set.range(..start)).copied()
    }

    /// The less loaded of the first two.
    fn lighter(&self, hosts: impl Iterator<Item = usize>) -> Option<usize> {
        hosts.take(2).min_by_key(|&at| self.hosts[at].load)
    }

    /// The host to reserve for a run that finds no room: one that passed it, has the capacity, is open and not reserved
    /// for another, and lacks least.
    pub(crate) fn to_reserve(&self, wants: &Wants, waiting: &Given, salt: u64) -> Option<usize> {
        let able = self.hosts.iter().filter(|(_, host)| {
            host.given.is_some_and(|given| given.passed(waiting))
                && host.is_open()
                && host.health.is_trusted()
                && host.reservation.is_none()
                && wants.need.within(&host.spec.capacity)
                && Self::allows(wants, host)
        });
        let least = able.min_by_key(|(at, host)| {
            let lack = wants.need.lack(&host.free(), &host.spec.capacity);
            (lack, mix(salt, *at as u64))
        });
        least.map(|(at, _)| at)
    }
}
