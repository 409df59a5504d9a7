//! All hosts, and the indexes that find one without looking at all: by region a tree of rooms, by label and by
//! image (see [`Images`]) a set.
//!
//! Invariant: a tree holds what each host offers to any run (see [`Host::offer`]); every change of a host goes
//! through [`Fleet::change`], which brings its place in the tree and its load up to date.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;

use crate::amounts::Amounts;
use crate::bounds;
use crate::error::Refused;
use crate::health::Health;
use crate::host::{Host, HostSpec};
use crate::images::Images;
use crate::map::Map;
use crate::names::{HostName, ImageRef, Region};
use crate::run::{Wants, check_count};
use crate::tree::RoomTree;

/// Hosts of one region.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) rooms: RoomTree,
    /// By place; a place may be vacant.
    pub(crate) hosts: Slab<usize>,
    /// Every place in use is below this.
    pub(crate) places: usize,
    /// How many of them are kept off after failed starts.
    distrusted: usize,
}

impl Pool {
    #[cfg(test)]
    pub(crate) const fn distrusted(&self) -> usize {
        self.distrusted
    }
}

/// All hosts.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) hosts: Slab<Host>,
    /// Every host's index is below this.
    pub(crate) places: usize,
    by_name: Map<HostName, usize>,
    pub(crate) pools: Slab<Pool>,
    pub(crate) by_region: BTreeMap<Region, usize>,
    pub(crate) by_label: Map<(String, String), BTreeSet<usize>>,
    pub(crate) images: Images,
    /// What all hosts have together.
    pub(crate) total: Amounts,
    /// Hosts that may hold more than when this was last emptied, each once.
    grown: Vec<usize>,
}

impl Fleet {
    pub(crate) fn find(&self, name: &HostName) -> Result<usize, Refused> {
        self.by_name
            .get(name)
            .copied()
            .ok_or_else(|| Refused::UnknownHost { host: name.clone() })
    }

    /// The host called so, if there is one.
    pub(crate) fn lookup(&self, name: &HostName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A new host, or news of a known one.
    pub(crate) fn upsert(&mut self, spec: HostSpec) -> Result<usize, Refused> {
        let spec = spec.canonical()?;
        let at = match self.by_name.get(&spec.name) {
            Some(&at) => {
                self.unlink(at);
                self.hosts[at].spec = spec;
                at
            }
            None => {
                let what = format!("host {}", spec.name);
                check_count(&what, "hosts", self.hosts.len() + 1, bounds::HOSTS_MAX)?;
                let name = spec.name.clone();
                let at = self.hosts.insert(Host {
                    spec,
                    health: Health::default(),
                    used: Amounts::ZERO,
                    live: Vec::new(),
                    load: 0,
                    reservation: None,
                    given: None,
                    images: Vec::new(),
                    offered: Amounts::ZERO,
                    has_grown: false,
                    pool: 0,
                    place: 0,
                });
                self.by_name.insert(name, at);
                self.places = self.places.max(at + 1);
                at
            }
        };
        self.link(at);
        self.change(at, |_| ());
        self.note_growth(at);
        Ok(at)
    }

    /// The host may hold more than before.
    pub(crate) fn note_growth(&mut self, at: usize) {
        if !std::mem::replace(&mut self.hosts[at].has_grown, true) {
            self.grown.push(at);
        }
    }

    /// Whether any host may hold more than when [`Fleet::take_grown`] was called last.
    pub(crate) const fn has_grown(&self) -> bool {
        !self.grown.is_empty()
    }

    /// The hosts that may hold more than when this was called last, in order.
    pub(crate) fn take_grown(&mut self) -> Vec<usize> {
        let mut grown = std::mem::take(&mut self.grown);
        grown.sort_unstable();
        for &at in &grown {
            self.hosts[at].has_grown = false;
        }
        grown
    }

    /// Forgets a host without live runs.
    pub(crate) fn remove(&mut self, at: usize) {
        self.unlink(at);
        self.grown.retain(|grown| *grown != at);
        let host = self.hosts.remove(at);
        self.by_name.remove(&host.spec.name);
    }

    fn link(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let pools = &mut self.pools;
        let known = self.by_region.get_key_value(&host.spec.region);
        let pool = if let Some((name, pool)) = known {
            // One text for all: it is compared often.
            host.spec.region = name.clone();
            *pool
        } else {
            let pool = pools.insert(Pool {
                rooms: RoomTree::new(),
                hosts: Slab::new(),
                places: 0,
                distrusted: 0,
            });
            self.by_region.insert(host.spec.region.clone(), pool);
            pool
        };
        let place = self.pools[pool].hosts.insert(at);
        self.pools[pool].places = self.pools[pool].places.max(place + 1);
        self.pools[pool].distrusted += usize::from(!host.health.is_trusted());
        for label in &host.spec.labels {
            self.by_label.entry(label.clone()).or_default().insert(at);
        }
        let names = std::mem::take(&mut host.spec.images).into_iter();
        host.images = names.map(|name| self.images.pulled(name, at)).collect();
        host.images.sort_unstable();
        self.total = self.total.plus(host.spec.capacity);
        (host.pool, host.place) = (pool, place);
    }

    fn unlink(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let pool = &mut self.pools[host.pool];
        pool.hosts.remove(host.place);
        pool.rooms.set(host.place, Amounts::ZERO);
        pool.distrusted -= usize::from(!host.health.is_trusted());
        if pool.hosts.is_empty() {
            self.pools.remove(host.pool);
            self.by_region.remove(&host.spec.region);
        }
        for label in &host.spec.labels {
            forget(&mut self.by_label, label, at);
        }
        for image in std::mem::take(&mut host.images) {
            self.images.evicted(image, at);
        }
        self.total = self.total.minus(host.spec.capacity);
    }

    /// Changes a host and what follows from it.
    pub(crate) fn change<T>(&mut self, at: usize, with: impl FnOnce(&mut Host) -> T) -> T {
        let host = &mut self.hosts[at];
        let trusted = host.health.is_trusted();
        let answer = with(host);
        host.load = host.used.load_of(&host.spec.capacity);
        let pool = &mut self.pools[host.pool];
        match (trusted, host.health.is_trusted()) {
            (true, false) => pool.distrusted += 1,
            (false, true) => pool.distrusted -= 1,
            _ => {}
        }
        host.offered = host.offer();
        pool.rooms.set(host.place, host.offered);
        answer
    }

    /// Notes that the host holds an image now, or no more.
    pub(crate) fn set_image(
        &mut self,
        at: usize,
        image: ImageRef,
        held: bool,
    ) -> Result<(), Refused> {
        let host = &mut self.hosts[at];
        let known = self.images.lookup(&image).filter(|&at| host.holds(at));
        match (known, held) {
            (None, true) => {
                let what = format!("host {}", host.spec.name);
                let count = host.images.len() + 1;
                check_count(&what, "images", count, bounds::IMAGES_PER_HOST_MAX)?;
                let image = self.images.pulled(image, at);
                let place = host.images.partition_point(|other| *other < image);
                host.images.insert(place, image);
            }
            (Some(image), false) => {
                host.images.retain(|other| *other != image);
                self.images.evicted(image, at);
            }
            (Some(_), true) | (None, false) => {}
        }
        Ok(())
    }

    /// Whether one more host of this one's region may be kept off: a quarter of them at most, but one always.
    /// Where more fail, it is not the hosts.
    pub(crate) fn may_quarantine(&self, at: usize) -> bool {
        let pool = &self.pools[self.hosts[at].pool];
        pool.distrusted < (pool.hosts.len() / 4).max(1)
    }

    /// Whether a run that wants this may ever be given to the host, as far as names go.
    pub(crate) fn allows(wants: &Wants, host: &Host) -> bool {
        let spec = &host.spec;
        let has = |label| spec.labels.binary_search(label).is_ok();
        wants
            .region
            .as_ref()
            .is_none_or(|region| *region == spec.region)
            && (wants.executors.is_empty() || wants.executors.binary_search(&spec.name).is_ok())
            && wants.labels.iter().all(has)
            && wants.excluded.binary_search(&spec.name).is_err()
    }
}

fn forget<K: std::hash::Hash + Eq>(index: &mut Map<K, BTreeSet<usize>>, key: &K, at: usize) {
    if let Some(set) = index.get_mut(key) {
        set.remove(&at);
        if set.is_empty() {
            index.remove(key);
        }
    }
}
