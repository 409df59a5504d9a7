//! Which container has which number, and what follows from that: addresses, names, hardware addresses. Pure.
//!
//! Invariants:
//! - no number is taken twice, nor a port of the host's; both are taken from before the container is made until nothing
//!   of it is left;
//! - a number rests as long as there are others, so that what the network still remembers of the last run that had an
//!   address (connections, name servers' caches) meets no other run soon.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use davit_types::{EgressRule, Protocol, PublishedPort};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::containerd::{ContainerName, NetworkHolder};

/// The first two bytes of a link's hardware address (locally administered), on the host and in the container.
const HOST_MAC: [u8; 2] = [0x02, 0xda];
const CONTAINER_MAC: [u8; 2] = [0x02, 0xdb];
/// Numbers before the first container's: the subnet itself, and the gateway.
const FIRST: u32 = 2;

/// Why a container gets no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("all {0} addresses for runs are taken (`network.ipv4_subnet`)")]
    NoAddress(u32),
    #[error("port {port}/{} of this host is published by {holder}", .protocol.as_str())]
    Published {
        port: u16,
        protocol: Protocol,
        holder: String,
    },
}

/// A container's place, from its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: u32,
    pub(crate) ipv4: Ipv4Addr,
    pub(crate) ipv6: Ipv6Addr,
}

impl Place {
    pub(super) fn host_mac(&self) -> [u8; 6] {
        mac(HOST_MAC, self.ipv4)
    }

    pub(super) fn container_mac(&self) -> [u8; 6] {
        mac(CONTAINER_MAC, self.ipv4)
    }
}

const fn mac(kind: [u8; 2], address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [kind[0], kind[1], a, b, c, d]
}

/// The addresses that containers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnets {
    pub(super) ipv4: Ipv4Net,
    pub(super) ipv6: Ipv6Net,
}

impl Subnets {
    /// The host's end of every link.
    pub(super) fn gateway(&self) -> (Ipv4Addr, Ipv6Addr) {
        self.at(FIRST - 1)
    }

    pub(super) fn place(&self, number: u32) -> Place {
        let (ipv4, ipv6) = self.at(number);
        Place { number, ipv4, ipv6 }
    }

    fn at(&self, number: u32) -> (Ipv4Addr, Ipv6Addr) {
        let ipv4 = u32::from(self.ipv4.network()).wrapping_add(number);
        let ipv6 = u128::from(self.ipv6.network()).wrapping_add(number.into());
        (ipv4.into(), ipv6.into())
    }

    /// The number after the last container's: the last address is a broadcast.
    fn end(&self) -> u32 {
        u32::from(self.ipv4.broadcast()) - u32::from(self.ipv4.network())
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    subnets: Subnets,
    /// The number to be tried first.
    next: u32,
    taken: BTreeMap<u32, ContainerName>,
    holders: BTreeMap<ContainerName, NetworkHolder>,
}

impl Pool {
    pub(super) const fn new(subnets: Subnets) -> Self {
        Self {
            subnets,
            next: FIRST,
            taken: BTreeMap::new(),
            holders: BTreeMap::new(),
        }
    }

    /// `name` has had a place since before this executor.
    pub(super) fn adopt(&mut self, name: ContainerName, holder: NetworkHolder) {
        self.taken.insert(holder.number, name.clone());
        self.holders.insert(name, holder);
    }

    /// A place for `name`; its own if it has one.
    pub(super) fn allot(
        &mut self,
        name: &ContainerName,
        egress: &[EgressRule],
        publish: &[PublishedPort],
    ) -> Result<Place, NoPlace> {
        if let Some(holder) = self.holders.get(name) {
            return Ok(self.subnets.place(holder.number));
        }
        self.check_ports(publish)?;
        let end = self.subnets.end();
        let free = |number: &u32| !self.taken.contains_key(number);
        let found = (self.next..end).chain(FIRST..self.next).find(free);
        let number = found.ok_or(NoPlace::NoAddress(end - FIRST))?;
        self.next = if number + 1 < end { number + 1 } else { FIRST };
        let holder = NetworkHolder {
            number,
            egress: egress.to_vec(),
            publish: publish.to_vec(),
        };
        self.adopt(name.clone(), holder);
        Ok(self.subnets.place(number))
    }

    fn check_ports(&self, wanted: &[PublishedPort]) -> Result<(), NoPlace> {
        if wanted.is_empty() {
            return Ok(());
        }
        for (name, holder) in &self.holders {
            for held in &holder.publish {
                let same = |port: &&PublishedPort| {
                    (port.host_port, port.protocol) == (held.host_port, held.protocol)
                };
                if let Some(port) = wanted.iter().find(same) {
                    return Err(NoPlace::Published {
                        port: port.host_port,
                        protocol: port.protocol,
                        holder: name.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    pub(super) fn of(&self, name: &ContainerName) -> Option<(Place, &NetworkHolder)> {
        let holder = self.holders.get(name)?;
        Some((self.subnets.place(holder.number), holder))
    }

    pub(super) fn release(&mut self, name: &ContainerName) -> Option<(Place, NetworkHolder)> {
        let holder = self.holders.remove(name)?;
        self.taken.remove(&holder.number);
        Some((self.subnets.place(holder.number), holder))
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = (Place, &NetworkHolder)> {
        let place = |holder: &NetworkHolder| self.subnets.place(holder.number);
        self.holders
            .values()
            .map(move |holder| (place(holder), holder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::SlotId;

    fn name(number: u128) -> ContainerName {
        ContainerName::Slot(SlotId::from_random(number))
    }

    fn pool(ipv4: &str) -> Pool {
        Pool::new(Subnets {
            ipv4: ipv4.parse().expect("a network"),
            ipv6: "fd00:1::/64".parse().expect("a network"),
        })
    }

    #[test]
    fn the_subnets_own_addresses_are_nobodys() {
        let mut pool = pool("10.0.0.0/29");
        let places: Vec<_> = (0..5)
            .map(|at| pool.allot(&name(at), &[], &[]).expect("a place"))
            .collect();
        let addresses: Vec<String> = places.iter().map(|place| place.ipv4.to_string()).collect();
        assert_eq!(
            addresses,
            ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]
        );
        assert_eq!(places[0].ipv6.to_string(), "fd00:1::2");
        assert_eq!(pool.subnets.gateway().0.to_string(), "10.0.0.1");
        let full = pool.allot(&name(9), &[], &[]).expect_err("a full pool");
        assert_eq!(full, NoPlace::NoAddress(5));
        // Whoever has one keeps it.
        assert_eq!(pool.allot(&name(3), &[], &[]), Ok(places[3]));
    }

    #[test]
    fn a_number_rests_while_there_are_others() {
        let mut pool = pool("10.0.0.0/29");
        let first = pool.allot(&name(1), &[], &[]).expect("a place").number;
        pool.release(&name(1));
        for at in 2..6 {
            let number = pool.allot(&name(at), &[], &[]).expect("a place").number;
            assert_ne!(number, first);
        }
        let again = pool.allot(&name(7), &[], &[]).expect("the rested one");
        assert_eq!(again.number, first);
    }

    #[test]
    fn a_port_of_the_hosts_is_one_runs() {
        let mut pool = pool("10.0.0.0/24");
        let port = |text: &str| vec![text.parse::<PublishedPort>().expect("ports")];
        pool.allot(&name(1), &[], &port("80:8080")).expect("free");
        let taken = pool.allot(&name(2), &[], &port("80:1")).expect_err("taken");
        assert!(
            matches!(taken, NoPlace::Published { port: 80, .. }),
            "{taken}"
        );
        pool.allot(&name(2), &[], &port("80:1/udp"))
            .expect("of another protocol");
        pool.release(&name(1));
        pool.allot(&name(3), &[], &port("80:1"))
            .expect("free again");
    }

    #[test]
    fn the_two_ends_have_addresses_of_their_own() {
        let place = pool("10.0.0.0/8").subnets.place((1 << 24) - 2);
        assert_ne!(place.host_mac(), place.container_mac());
    }
}
