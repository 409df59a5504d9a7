//! What every run on this host is driven with; made once at start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use davit_cgroup::{Cgroup, CgroupError, CgroupPath, Hierarchy};
use davit_types::{InstanceType, OciRuntime};

use super::given::GivenSecrets;
use crate::containerd::{ContainerName, Containerd};
use crate::disk::Disk;
use crate::ids::Ids;
use crate::images::ImageStore;
use crate::link::Fetches;
use crate::metrics::Metrics;
use crate::network::{Network, NetworkError, Wanted};
use crate::oci::{Controllers, HostFacts};
use crate::settings::Settings;
use crate::shims::Shims;
use crate::warm::Pool;

/// The host as runs see it.
#[derive(Debug)]
pub struct Host {
    /// The operator's settings.
    pub settings: Settings,
    /// The sizes offered, the first being the default.
    pub instance_types: Vec<InstanceType>,
    /// containerd.
    pub containerd: Containerd,
    /// How containers come to their shims.
    pub(crate) shims: Shims,
    /// Its images.
    pub images: ImageStore,
    /// The cgroup v2 file system.
    pub hierarchy: Hierarchy,
    /// The cgroup of all runs.
    pub cgroup_parent: CgroupPath,
    /// What limits its cgroups can have.
    pub controllers: Controllers,
    /// The OCI runtimes found, by absolute path.
    pub runtimes: BTreeMap<OciRuntime, PathBuf>,
    /// What the spec builder needs to know.
    pub facts: HostFacts,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Where run directories are.
    pub runs_dir: PathBuf,
    /// Where the directories of warm slots are.
    pub slots_dir: PathBuf,
    /// The ids of user namespaces.
    pub(crate) ids: Ids,
    /// What containers may write.
    pub(crate) disk: Disk,
    /// Bridges.
    pub(crate) network: Network,
    /// Containers made before anybody asked for them.
    pub(crate) warm: Pool,
    /// What came with a scheduler's runs and is nowhere on disk.
    pub(crate) given: GivenSecrets,
    /// What scheduler's runs come with.
    pub(crate) fetches: Fetches,
    /// What is counted and timed.
    pub(crate) metrics: Metrics,
}

impl Host {
    /// The cgroup of a container.
    ///
    /// # Errors
    /// When the parent is so deep that the path becomes too long.
    pub fn cgroup_path(&self, name: &ContainerName) -> Result<CgroupPath, CgroupError> {
        self.cgroup_parent.child(&name.to_string())
    }

    /// The cgroup of a container, if it exists. Blocking.
    ///
    /// # Errors
    /// When it cannot be opened for another reason than not being there.
    pub fn cgroup(&self, name: &ContainerName) -> Result<Option<Cgroup>, CgroupError> {
        match Cgroup::open(&self.hierarchy, &self.cgroup_path(name)?) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the created container `name`, whose first process is `pid`, its link to the outside.
    ///
    /// # Errors
    /// When it cannot be made: the container has loopback alone.
    pub(crate) async fn link(
        self: &Arc<Self>,
        name: &ContainerName,
        pid: u32,
        wanted: &Wanted,
    ) -> Result<(), NetworkError> {
        let (host, member) = (Arc::clone(self), name.clone());
        let is_member = move |pid| {
            let cgroup = host.cgroup(&member).ok().flatten();
            cgroup.is_some_and(|cgroup| cgroup.procs().is_ok_and(|all| all.contains(&pid)))
        };
        self.network.attach(name, pid, wanted, is_member).await
    }
}
