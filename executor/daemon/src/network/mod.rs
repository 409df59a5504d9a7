//! Bridges: a network of its own for each container, and the way out of it (A12).
//!
//! ```text
//!  launch, slot ── allot(name) ──► a number: addresses, names; label `davit.network`     (before the container is made)
//!                └─ attach(name, pid) ──► a link into the namespace that the runtime made  (before the job is let go)
//!  first attach ── prepare ──► name servers, forwarding, the table of rules               (once an executor)
//!  cleanup ─────── release(name) ──► link, ports                                          (after nothing of it is left)
//! ```
//!
//! What there is of a *bridge* is its word: a link goes straight from the host into one container, and the host routes.
//! Two containers share no segment, so there is nothing to be spoofed or overheard.
//!
//! Invariants:
//! - the namespace is the runtime's, so it belongs to the container's user namespace, and goes with its last process; the
//!   link goes with it. What a crash leaves is a label, which the next executor reads;
//! - without a link a job has loopback alone: whatever fails here locks it in;
//! - the rules are the same for all runs (`rules`); a launch changes them only if it brings rules or ports nobody has;
//! - the table is replaced in one transaction; one that somebody flushed is made anew (`vigil`).
//!
//! Absent on purpose: a Linux bridge (a segment to defend), CNI (a program executed several times a launch, with a state of
//! its own), a pool of links beside the warm slots, which have theirs already.

mod link;
mod names;
mod netlink;
mod nft;
mod pool;
mod rules;
mod table;
mod uplink;
mod vigil;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use davit_rundir::NetworkRecord;
use davit_types::{EgressRule, PublishedPort, RunSpec};

use self::link::Plan;
use self::names::Names;
use self::netlink::{Netlink, NetlinkError};
use self::nft::NftError;
pub(crate) use self::pool::NoPlace;
use self::pool::{Pool, Subnets};
use self::table::Prepared;
use self::uplink::UplinkError;
pub(crate) use self::vigil::keep;
use crate::containerd::{ContainerName, Containerd, ContainerdError, NetworkHolder};
use crate::runs::{offload, sentence};
use crate::settings::{NetworkSettings, ParsedNetwork, Settings, WrongNetwork};

/// Sets of rules that stay in the table though no run has them, lest each run of a runner put them there anew.
const IDLE_POLICIES_MAX: usize = 256;
/// Where the kernel counts what went over a link.
const DEVICES: &str = "/sys/class/net";
/// The resolver's settings for containers, in the state directory.
const RESOLVER_FILE: &str = "bridge-resolv.conf";
/// Says in which boot this host forwarded nothing before davit came, in the state directory.
const FORWARDING_FILES: [&str; 2] = ["forwarding-ipv4", "forwarding-ipv6"];

/// Why a container cannot be given a network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("{0}")]
    Absent(String),
    #[error(transparent)]
    Settings(#[from] WrongNetwork),
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    #[error("cannot write {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the network namespace of process {pid} cannot be opened")]
    Namespace {
        pid: u32,
        #[source]
        source: std::io::Error,
    },
    #[error("process {pid} has no network namespace of its own")]
    NotItsOwn { pid: u32 },
    #[error("process {pid} is not of {name} any more")]
    Gone { pid: u32, name: ContainerName },
    #[error(
        "{DEVICES} is of another network namespace than this executor: what {0} carries cannot be metered"
    )]
    OtherDevices(String),
    #[error("two sets of rules have the same number {0:08x}: change one of them")]
    SameNumber(u32),
}

/// What a container asks of its network.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Wanted {
    /// Whom it may reach; whatever is public when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) egress: Vec<EgressRule>,
    /// Bytes a second in each direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_second_max: Option<u64>,
}

impl Wanted {
    /// What `run` asks for.
    pub(crate) fn of(run: &RunSpec) -> Self {
        Self {
            egress: run.egress.clone(),
            bytes_per_second_max: run.network_bytes_per_second_max,
        }
    }
}

/// The host's network.
#[derive(Debug)]
pub(crate) struct Network {
    settings: NetworkSettings,
    parsed: ParsedNetwork,
    subnets: Subnets,
    names: Names,
    state_dir: PathBuf,
    boot_id: String,
    name_servers: Vec<IpAddr>,
    /// nft, or why there are no bridges.
    nft: Result<PathBuf, String>,
    pool: Mutex<Pool>,
    /// What the table is made from, once it is there.
    prepared: tokio::sync::Mutex<Option<Prepared>>,
}

impl Network {
    /// Finds out whether this host can, and what is taken.
    ///
    /// # Errors
    /// When containerd fails, or the state directory cannot be written.
    pub(crate) async fn open(
        settings: &Settings,
        boot_id: &str,
        containerd: &Containerd,
    ) -> Result<Self, NetworkError> {
        let network = settings.network.clone();
        let nft = if network.bridge {
            nft::find(&settings.additional_binary_paths)
                .ok_or_else(|| "nft is not installed on this host (package nftables)".to_owned())
        } else {
            Err("network.bridge is off on this host".to_owned())
        };
        let parsed = network.parsed()?;
        let name_servers = match parsed.name_servers.as_slice() {
            [] => uplink::name_servers(),
            set => set.to_vec(),
        };
        let subnets = Subnets {
            ipv4: parsed.ipv4_subnet,
            ipv6: parsed.ipv6_subnet,
        };
        let opened = Self {
            settings: network,
            parsed,
            subnets,
            names: Names::of(&settings.state_dir),
            state_dir: settings.state_dir.clone(),
            boot_id: boot_id.to_owned(),
            name_servers,
            nft,
            pool: Mutex::new(Pool::new(subnets)),
            prepared: tokio::sync::Mutex::new(None),
        };
        opened.write_resolver_settings()?;
        let holders = if containerd.is_known() {
            containerd.networks().await?
        } else {
            Vec::new()
        };
        for (name, holder) in holders {
            opened.pool().adopt(name, holder);
        }
        Ok(opened)
    }

    /// Why no container gets a bridge; `None`: it can have one.
    pub(crate) fn absent(&self) -> Option<&str> {
        self.nft.as_ref().err().map(String::as_str)
    }

    /// Whether a run may list these addresses: public ones always, private ones where the operator allows it.
    pub(crate) fn may_reach(&self, rule: &EgressRule) -> bool {
        let allowed = &self.parsed.private_allowed;
        !rules::is_private(rule.to) || allowed.iter().any(|net| net.contains(&rule.to))
    }

    /// Whether a run may be reached at this port of the host's.
    pub(crate) fn may_publish(&self, port: PublishedPort) -> bool {
        let allowed = &self.parsed.publish_ports;
        allowed.iter().any(|ports| ports.contain(port.host_port))
    }

    /// Removes links of containers that are no more, which the kernel has kept.
    pub(crate) async fn sweep(&self) -> Result<(), NetworkError> {
        let (places, names) = (self.places(), self.names.clone());
        let swept = offload(move || -> Result<(), NetlinkError> {
            let mut netlink = Netlink::open()?;
            for number in link::numbers(&mut netlink, &names)? {
                if !places.contains(&number) {
                    link::remove(&mut netlink, &names.link(number))?;
                }
            }
            Ok(())
        });
        Ok(swept.await?)
    }

    /// Sweeps, and makes the table anew where containers have bridges already. What fails leaves them the rules they have.
    pub(crate) async fn recover(&self, containerd: &Containerd) {
        // Of a containerd that is away nobody knows which links are somebody's.
        if self.absent().is_some() || !containerd.is_known() {
            return;
        }
        let mut outcome = self.sweep().await;
        if !self.places().is_empty() {
            outcome = outcome.and(self.ready().await.map(drop));
        }
        if let Err(error) = outcome {
            let problem = sentence(&error);
            tracing::warn!(problem, "runs with a bridge keep the rules they have");
        }
    }

    fn places(&self) -> BTreeSet<u32> {
        let pool = self.pool();
        pool.holders().map(|(place, _)| place.number).collect()
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        // A map stays a map even if somebody panicked over it.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resolver's settings for containers with a bridge.
    pub(crate) fn resolver_file(state_dir: &Path) -> PathBuf {
        state_dir.join(RESOLVER_FILE)
    }

    fn write_resolver_settings(&self) -> Result<(), NetworkError> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = Self::resolver_file(&self.state_dir);
        let temporary = path.with_extension("tmp");
        let text = uplink::resolver_settings(&self.name_servers);
        // Through a rename: a container may have the old one mounted. Every user in every container reads it.
        fs::write(&temporary, text)
            .and_then(|()| fs::set_permissions(&temporary, fs::Permissions::from_mode(0o644)))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(|source| NetworkError::File { path, source })
    }

    /// A place for `name`, which has it until [`Self::release`].
    pub(crate) async fn allot(
        &self,
        name: &ContainerName,
        wanted: &Wanted,
        publish: &[PublishedPort],
    ) -> Result<NetworkHolder, NetworkError> {
        drop(self.ready().await?);
        let mut pool = self.pool();
        pool.allot(name, &wanted.egress, publish)?;
        let (_, holder) = pool.of(name).expect("it was given one");
        Ok(holder.clone())
    }

    /// What `launch.json` tells of the network of `name`.
    pub(crate) async fn record(&self, name: &ContainerName) -> Option<NetworkRecord> {
        let ipv6 = self.prepared.lock().await.as_ref()?.ipv6;
        let pool = self.pool();
        let (place, _) = pool.of(name)?;
        Some(NetworkRecord {
            interface: self.names.link(place.number),
            ipv4: place.ipv4,
            ipv6: ipv6.then_some(place.ipv6),
        })
    }

    /// Links the created container `name`, whose first process is `pid`, of cgroup `procs`.
    pub(crate) async fn attach(
        &self,
        name: &ContainerName,
        pid: u32,
        wanted: &Wanted,
        is_member: impl FnOnce(u32) -> bool + Send + 'static,
    ) -> Result<(), NetworkError> {
        let (place, publish) = {
            let pool = self.pool();
            let found = pool.of(name);
            let (place, holder) = found.ok_or_else(|| NetworkError::Gone {
                pid,
                name: name.clone(),
            })?;
            (place, holder.publish.clone())
        };
        let (mtu, ipv6) = self.let_through(wanted, &place, &publish).await?;
        let plan = Plan {
            place,
            name: self.names.link(place.number),
            gateway: self.subnets.gateway(),
            ipv6,
            group: rules::group(&wanted.egress),
            mtu,
            bytes_per_second_max: least(
                wanted.bytes_per_second_max,
                self.settings.bytes_per_second_max.map(|rate| rate.0),
            ),
        };
        let name = name.clone();
        offload(move || {
            let namespace = namespace_of(pid)?;
            // The number may have become another process's, before it was opened and not after.
            if !is_member(pid) {
                return Err(NetworkError::Gone { pid, name });
            }
            link::make(&plan, &namespace)?;
            let interface = plan.name;
            if !Path::new(DEVICES).join(&interface).exists() {
                return Err(NetworkError::OtherDevices(interface));
            }
            Ok(())
        })
        .await
    }

    /// Nothing is left of `name`, but for the link perhaps: the kernel takes that down with the namespace, in its own time,
    /// and a number rests for longer.
    ///
    /// # Errors
    /// When its ports cannot be taken out of the table: it has them still.
    pub(crate) async fn release(&self, name: &ContainerName) -> Result<(), NetworkError> {
        let held = self
            .pool()
            .of(name)
            .map(|(place, holder)| (place, holder.publish.clone()));
        let Some((place, publish)) = held else {
            return Ok(());
        };
        self.forget(&place, &publish).await?;
        self.pool().release(name);
        Ok(())
    }
}

/// Takes the rules of the executor with these settings out of this host; fine where there are none.
///
/// # Errors
/// What nft says.
pub async fn remove_rules(settings: &Settings) -> Result<(), String> {
    let Some(nft) = nft::find(&settings.additional_binary_paths) else {
        return Ok(());
    };
    let commands = rules::remove_all(&Names::of(&settings.state_dir));
    let removed = nft::apply(&nft, &commands).await;
    removed.map_err(|error| sentence(&error))
}

fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

/// The network namespace of `pid`, which is not this executor's.
fn namespace_of(pid: u32) -> Result<OwnedFd, NetworkError> {
    use std::os::unix::fs::MetadataExt as _;
    let open = |path: &str| fs::File::open(path);
    let failed = |source| NetworkError::Namespace { pid, source };
    let found = open(&format!("/proc/{pid}/ns/net")).map_err(failed)?;
    let own = open("/proc/self/ns/net").map_err(failed)?;
    let inode = |file: &fs::File| file.metadata().map(|data| data.ino());
    if inode(&found).map_err(failed)? == inode(&own).map_err(failed)? {
        return Err(NetworkError::NotItsOwn { pid });
    }
    Ok(found.into())
}
