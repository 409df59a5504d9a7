//! Reckons from scratch what the engine keeps up to date, and compares. For tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::amounts::Amounts;
use crate::engine::{Engine, Place};
use crate::fleet::Fleet;
use crate::lane::{List, Rank, Wait};

impl Engine {
    /// Panics where what is kept differs from what is.
    pub(crate) fn audit(&self) {
        self.audit_runs();
        self.audit_hosts();
        self.audit_queue();
        self.audit_reservations();
        for (at, class) in &self.classes.all {
            assert_eq!(self.classes.hopeful.contains(&at), !class.hopes.is_empty());
            assert!(class.blocked || class.hopes.is_empty());
        }
    }

    fn audit_runs(&self) {
        let mut held: BTreeMap<usize, Amounts> = BTreeMap::new();
        let mut live: BTreeMap<usize, u32> = BTreeMap::new();
        let mut used: BTreeMap<usize, Amounts> = BTreeMap::new();
        assert_eq!(self.by_run.len(), self.runs.len());
        for (at, record) in &self.runs {
            assert_eq!(self.by_run.get(record.key.run, &self.runs), Some(at));
            let need = self.classes.all[record.class].wants.need;
            match record.place {
                Place::Pending { bin, age } => {
                    assert_eq!(self.queue.bins[bin].runs.get(&age), Some(&at));
                }
                Place::Live {
                    host, at: place, ..
                } => {
                    assert_eq!(self.fleet.hosts[host].live[place], at);
                    for (sums, of) in [(&mut held, record.tenant), (&mut used, host)] {
                        let sum = sums.entry(of).or_default();
                        *sum = sum.plus(need);
                    }
                    *live.entry(record.runner.unwrap_or(usize::MAX)).or_default() += 1;
                }
            }
        }
        for (at, host) in &self.fleet.hosts {
            assert_eq!(host.used, used.remove(&at).unwrap_or_default());
        }
        for (at, tenant) in &self.tenants.all {
            assert_eq!(tenant.held, held.remove(&at).unwrap_or_default());
        }
        for (at, runner) in &self.runners.all {
            assert_eq!(runner.live, live.remove(&at).unwrap_or_default());
        }
    }

    fn audit_hosts(&self) {
        let mut total = Amounts::ZERO;
        for (at, host) in &self.fleet.hosts {
            let pool = &self.fleet.pools[host.pool];
            assert_eq!(self.fleet.by_region[&host.spec.region], host.pool);
            assert_eq!(pool.hosts[host.place], at);
            assert_eq!(pool.rooms.room(host.place), host.offer());
            assert_eq!(host.load, host.used.load_of(&host.spec.capacity));
            for label in &host.spec.labels {
                assert!(self.fleet.by_label[label].contains(&at));
            }
            assert_eq!(host.offered, host.offer());
            for &image in &host.images {
                assert!(self.fleet.images.holders(image).contains(&at));
            }
            total = total.plus(host.spec.capacity);
        }
        assert_eq!(self.fleet.total, total);
        let listed: usize = self
            .fleet
            .pools
            .iter()
            .map(|(_, pool)| pool.hosts.len())
            .sum();
        assert_eq!(listed, self.fleet.hosts.len());
        for (_, pool) in &self.fleet.pools {
            let hosts = pool.hosts.iter().map(|(_, at)| &self.fleet.hosts[*at]);
            let distrusted = hosts.filter(|host| !host.health.is_trusted()).count();
            assert_eq!(pool.distrusted(), distrusted);
        }
    }

    fn audit_queue(&self) {
        let mut bins: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut len = 0;
        for (at, bin) in &self.queue.bins {
            let (age, _) = bin.head().expect("no bin is empty");
            assert!(
                self.queue.lanes[bin.lane]
                    .waiting_for(bin.wait)
                    .contains(&(age, at))
            );
            if bin.wait == Wait::Room {
                assert!(self.classes.all[bin.class].blocked, "room is there");
            }
            bins.entry(bin.lane).or_default().insert(at);
            len += bin.runs.len();
        }
        assert_eq!(self.queue.len, len);
        let mut lanes = 0;
        for (priority, level) in &self.queue.levels {
            assert!(!level.lanes.is_empty());
            lanes += level.lanes.len();
            let mut lists: [BTreeSet<Rank>; 2] = Default::default();
            for &at in &level.lanes {
                let lane = &self.queue.lanes[at];
                assert_eq!(lane.priority, priority.0);
                let known: BTreeSet<usize> =
                    lane.bins.iter().flatten().map(|(_, bin)| *bin).collect();
                assert_eq!(Some(&known), bins.get(&at));
                let rank = Rank {
                    share: self.tenants.share(lane.tenant),
                    oldest: lane.oldest().expect("no lane is empty"),
                    lane: at,
                };
                let roomless = !lane.waiting_for(Wait::Room).is_empty();
                assert!(
                    !roomless || lane.owed.is_some(),
                    "nobody looks after its runs"
                );
                for (list, is_in) in [
                    (List::Ready, !lane.waiting_for(Wait::Turn).is_empty()),
                    (List::Roomless, roomless),
                ] {
                    lists[list as usize].extend(is_in.then_some(rank));
                }
            }
            assert_eq!(lists, level.lists);
        }
        assert_eq!(lanes, self.queue.lanes.len());
    }

    fn audit_reservations(&self) {
        let kept: BTreeSet<usize> = self
            .fleet
            .hosts
            .iter()
            .filter(|(_, host)| host.reservation.is_some())
            .map(|(at, _)| at)
            .collect();
        assert_eq!(self.reserved, kept);
        let mut owed = BTreeSet::new();
        let mut reserved = BTreeSet::new();
        for (at, lane) in &self.queue.lanes {
            let Some(owes) = lane.owed else {
                continue;
            };
            let record = &self.runs[owes.run];
            assert!(matches!(record.place, Place::Pending { .. }));
            assert_eq!(
                (record.tenant, record.priority),
                (lane.tenant, lane.priority)
            );
            match owes.reserved {
                None => assert!(owed.insert((owes.due_ms, at))),
                Some(host) => {
                    let kept = self.fleet.hosts[host].reservation.as_ref();
                    assert_eq!(kept.map(|kept| kept.run), Some(owes.run));
                    assert!(reserved.insert(host));
                }
            }
        }
        assert_eq!(self.queue.owed, owed);
        assert_eq!(self.reserved, reserved);
    }

    /// Panics if a run waits that some host would take: after a round that was not cut short nobody does.
    pub(crate) fn audit_nobody_waits_for_nothing(&self) {
        for (_, record) in &self.runs {
            let Place::Pending { .. } = record.place else {
                continue;
            };
            let runner = record.runner.map(|runner| &self.runners.all[runner]);
            if runner.is_some_and(|runner| runner.is_at_cap()) {
                continue;
            }
            let wants = &self.classes.all[record.class].wants;
            for (_, host) in &self.fleet.hosts {
                let takes = Fleet::allows(wants, host)
                    && wants.need.within(&host.offer_to(record.priority));
                assert!(!takes, "{} waits beside {:?}", record.key, host);
            }
        }
    }
}
