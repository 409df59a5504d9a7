//! The host's part of bridges, and what of the table changes with runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use davit_types::{EgressRule, PublishedPort};
use tokio::sync::{MappedMutexGuard, MutexGuard};

use super::pool::Place;
use super::rules::{self, Ground};
use super::{FORWARDING_FILES, IDLE_POLICIES_MAX, Network, NetworkError, Wanted, nft, uplink};
use crate::runs::{offload, sentence};

/// What was found out and set up for the first run with a bridge.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) mtu: u32,
    pub(super) ipv6: bool,
    /// Sets of rules in the table, by their links' group.
    policies: BTreeMap<u32, Vec<EgressRule>>,
    /// Whose ports are in the table, by number.
    published: BTreeSet<u32>,
}

impl Network {
    /// What is set up, which is done now if it is not yet.
    pub(super) async fn ready(&self) -> Result<MappedMutexGuard<'_, Prepared>, NetworkError> {
        let mut guard = self.prepared.lock().await;
        if guard.is_none() {
            *guard = Some(self.prepare().await?);
        }
        Ok(MutexGuard::map(guard, |prepared| {
            prepared.as_mut().expect("it was set just now")
        }))
    }

    /// Has the table know the rules and ports of a container; MTU and IPv6 of its link.
    pub(super) async fn let_through(
        &self,
        wanted: &Wanted,
        place: &Place,
        publish: &[PublishedPort],
    ) -> Result<(u32, bool), NetworkError> {
        let mut prepared = self.ready().await?;
        let fresh = !publish.is_empty() && !prepared.published.contains(&place.number);
        let mut commands = String::new();
        if fresh {
            commands.push_str(&rules::publish(&self.names, place, publish, prepared.ipv6));
        }
        let group = rules::group(&wanted.egress);
        match prepared.policies.get(&group) {
            Some(known) if *known != wanted.egress => {
                return Err(NetworkError::SameNumber(group));
            }
            Some(_) => {}
            None if group == 0 => {}
            None => commands.push_str(&rules::add_policy(&self.names, &wanted.egress)),
        }
        if !commands.is_empty() {
            self.nft(&commands).await?;
        }
        if group != 0 {
            prepared.policies.insert(group, wanted.egress.clone());
        }
        if fresh {
            prepared.published.insert(place.number);
        }
        Ok((prepared.mtu, prepared.ipv6))
    }

    /// The host's part, and the whole table with all that containers have.
    async fn prepare(&self) -> Result<Prepared, NetworkError> {
        let (subnets, names) = (self.subnets, self.names.clone());
        let uplink = offload(move || uplink::find(&subnets, &names)).await?;
        let ipv6 = uplink.ipv6 && self.settings.ipv6;
        let ground = Ground {
            names: self.names.clone(),
            subnets,
            ipv6,
            name_servers: self.name_servers.clone(),
            connections_max: self.settings.connections_max,
            interfaces: uplink.interfaces,
            forwarding_is_ours: [
                self.forwarding_is_ours(false)?,
                ipv6 && self.forwarding_is_ours(true)?,
            ],
        };
        let (text, policies, published) = {
            let pool = self.pool();
            let holders: Vec<_> = pool.holders().collect();
            let egress = holders.iter().map(|(_, holder)| holder.egress.as_slice());
            let ports = holders
                .iter()
                .map(|(place, holder)| (*place, holder.publish.as_slice()));
            let policies: BTreeMap<u32, Vec<EgressRule>> = holders
                .iter()
                .filter(|(_, holder)| !holder.egress.is_empty())
                .map(|(_, holder)| (rules::group(&holder.egress), holder.egress.clone()))
                .collect();
            let published = holders
                .iter()
                .filter(|(_, holder)| !holder.publish.is_empty());
            let numbers = published.map(|(place, _)| place.number).collect();
            (rules::whole(&ground, egress, ports), policies, numbers)
        };
        self.nft(&text).await?;
        // With the rules in place, and not before.
        for family in [false, true] {
            if (ipv6 || !family) && !uplink::forwards(family)? {
                uplink::forward(family)?;
            }
        }
        if self.name_servers.is_empty() {
            tracing::warn!(
                "runs with a bridge resolve no names: no name server but on this host itself (`network.name_servers`)"
            );
        }
        Ok(Prepared {
            mtu: self.settings.mtu.unwrap_or(uplink.mtu),
            ipv6,
            policies,
            published,
        })
    }

    /// Whether the host forwards packets of this family, or is about to, for runs alone.
    fn forwarding_is_ours(&self, ipv6: bool) -> Result<bool, NetworkError> {
        let path = self.state_dir.join(FORWARDING_FILES[usize::from(ipv6)]);
        if uplink::forwards(ipv6)? {
            let ours = fs::read_to_string(&path).is_ok_and(|boot| boot == self.boot_id);
            return Ok(ours);
        }
        fs::write(&path, &self.boot_id).map_err(|source| NetworkError::File { path, source })?;
        Ok(true)
    }

    /// Makes the table anew if it was there and is not: somebody flushed it.
    pub(super) async fn see_to_table(&self) {
        let mut guard = self.prepared.lock().await;
        if guard.is_none() {
            return;
        }
        let looked = format!("list table inet {}\n", self.names.table());
        if self.nft(&looked).await.is_ok() {
            return;
        }
        match self.prepare().await {
            Ok(prepared) => {
                *guard = Some(prepared);
                tracing::warn!("somebody removed the rules of bridges: they are made anew");
            }
            Err(error) => {
                // The next run with a bridge tries again.
                *guard = None;
                let problem = sentence(&error);
                tracing::error!(
                    problem,
                    "somebody removed the rules of bridges, and they cannot be made anew"
                );
            }
        }
    }

    async fn nft(&self, commands: &str) -> Result<(), NetworkError> {
        match &self.nft {
            Ok(binary) => Ok(nft::apply(binary, commands).await?),
            Err(why) => Err(NetworkError::Absent(why.clone())),
        }
    }

    /// Takes out of the table what `place` alone had there.
    pub(super) async fn forget(
        &self,
        place: &Place,
        publish: &[PublishedPort],
    ) -> Result<(), NetworkError> {
        let mut guard = self.prepared.lock().await;
        let Some(prepared) = guard.as_mut() else {
            return Ok(());
        };
        if prepared.published.contains(&place.number) {
            let commands = rules::unpublish(&self.names, place, publish, prepared.ipv6);
            self.nft(&commands).await?;
            prepared.published.remove(&place.number);
        }
        self.forget_policies(prepared).await
    }

    async fn forget_policies(&self, prepared: &mut Prepared) -> Result<(), NetworkError> {
        if prepared.policies.len() <= IDLE_POLICIES_MAX {
            return Ok(());
        }
        let used: Vec<u32> = {
            let pool = self.pool();
            let groups = pool
                .holders()
                .map(|(_, holder)| rules::group(&holder.egress));
            groups.collect()
        };
        let idle: Vec<u32> = prepared
            .policies
            .keys()
            .copied()
            .filter(|group| !used.contains(group))
            .collect();
        let commands: String = idle
            .iter()
            .map(|group| rules::remove_policy(&self.names, *group))
            .collect();
        if commands.is_empty() {
            return Ok(());
        }
        self.nft(&commands).await?;
        prepared.policies.retain(|group, _| used.contains(group));
        Ok(())
    }
}
