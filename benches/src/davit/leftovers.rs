//! What a run leaves on the host until it is cleaned up.
//!
//! davit tells the end of a run before it cleans up, so the moment is found by looking, every
//! [`LOOK_AGAIN_US`], first at what costs nothing (cgroup, shim process), then in containerd
//! (lease, snapshot, container). Looking only ever makes davit seem slower: by up to one interval and
//! the last look, and by what the looks take from the two of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::StatSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::{GetContainerRequest, ListContainersRequest, ListRequest};
use davit_rundir::RunDir;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const SNAPSHOTTER: &str = "overlayfs";
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const LOOK_AGAIN_US: u64 = 250;
const GONE_SECONDS_MAX: u64 = 30;

/// Looks for what is left.
#[derive(Clone)]
pub(crate) struct Leftovers {
    containerd: Channel,
    namespace: &'static str,
}

/// Where something may be left, in the order of looking.
#[derive(Clone, Copy, Debug)]
enum Place {
    Cgroup,
    Shim,
    Lease,
    Snapshot,
    Container,
}

const PLACES: [Place; 5] = [
    Place::Cgroup,
    Place::Shim,
    // The lease goes last: while it is there, looking for the others would only be in the way.
    Place::Lease,
    Place::Snapshot,
    Place::Container,
];

/// What to look for of one run.
struct Traces {
    /// Of its lease, snapshot and container.
    name: String,
    cgroup: PathBuf,
    /// Its shim's directory in /proc.
    shim: PathBuf,
}

impl Traces {
    fn of(records: &RunDir) -> anyhow::Result<Self> {
        let launch = records
            .read_launch()?
            .context("the run has no launch record")?;
        let state = records
            .read_state()?
            .context("the run has no state record")?;
        Ok(Self {
            // A container made in advance keeps the name of its slot.
            name: match launch.slot {
                Some(slot) => slot.to_string(),
                None => records.key().to_string(),
            },
            cgroup: Path::new(CGROUP_ROOT).join(launch.cgroup.trim_start_matches('/')),
            shim: Path::new("/proc").join(state.shim_pid.to_string()),
        })
    }
}

impl Leftovers {
    pub(crate) async fn connect(namespace: &'static str) -> anyhow::Result<Self> {
        let containerd = containerd_client::connect(CONTAINERD_SOCKET)
            .await
            .with_context(|| format!("connect to containerd at {CONTAINERD_SOCKET}"))?;
        Ok(Self {
            containerd,
            namespace,
        })
    }

    /// Returns once nothing of the run recorded in `records` is left.
    pub(crate) async fn wait_until_gone(&self, records: &RunDir) -> anyhow::Result<()> {
        let traces = Traces::of(records)?;
        let begun = Instant::now();
        for place in PLACES {
            while !self.is_gone(place, &traces).await? {
                look_again(begun, || format!("{place:?} of {}", traces.name))?;
            }
        }
        Ok(())
    }

    /// The same of many runs. All of containerd is asked at once, so that looking costs little beside
    /// their load.
    pub(crate) async fn wait_until_all_gone(&self, records: &[RunDir]) -> anyhow::Result<()> {
        let all = records
            .iter()
            .map(Traces::of)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let ours: BTreeSet<&str> = all.iter().map(|traces| traces.name.as_str()).collect();
        let begun = Instant::now();
        loop {
            let known = self.known_to_containerd().await?;
            let left = known.iter().filter(|name| ours.contains(name.as_str()));
            match left.count() {
                0 => break,
                left => look_again(begun, || format!("{left} runs"))?,
            }
        }
        for traces in &all {
            while traces.cgroup.exists() || !is_dead(&traces.shim) {
                look_again(begun, || format!("cgroup or shim of {}", traces.name))?;
            }
        }
        Ok(())
    }

    async fn is_gone(&self, place: Place, traces: &Traces) -> anyhow::Result<bool> {
        match place {
            Place::Cgroup => Ok(!traces.cgroup.exists()),
            Place::Shim => Ok(is_dead(&traces.shim)),
            Place::Container => self.container_gone(&traces.name).await,
            Place::Snapshot => self.snapshot_gone(&traces.name).await,
            Place::Lease => self.lease_gone(&traces.name).await,
        }
    }

    /// Names of all leases and containers there are.
    async fn known_to_containerd(&self) -> anyhow::Result<Vec<String>> {
        let leases = LeasesClient::new(self.containerd.clone())
            .list(self.in_namespace(ListRequest::default()))
            .await
            .context("list leases")?;
        let containers = ContainersClient::new(self.containerd.clone())
            .list(self.in_namespace(ListContainersRequest::default()))
            .await
            .context("list containers")?;
        let leases = leases.into_inner().leases.into_iter().map(|lease| lease.id);
        let containers = containers.into_inner().containers;
        Ok(leases.chain(containers.into_iter().map(|c| c.id)).collect())
    }

    async fn container_gone(&self, id: &str) -> anyhow::Result<bool> {
        let request = self.in_namespace(GetContainerRequest { id: id.to_owned() });
        not_found(
            ContainersClient::new(self.containerd.clone())
                .get(request)
                .await,
        )
        .context("look for the container")
    }

    async fn snapshot_gone(&self, key: &str) -> anyhow::Result<bool> {
        let request = self.in_namespace(StatSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.to_owned(),
        });
        not_found(
            SnapshotsClient::new(self.containerd.clone())
                .stat(request)
                .await,
        )
        .context("look for the snapshot")
    }

    async fn lease_gone(&self, id: &str) -> anyhow::Result<bool> {
        let request = self.in_namespace(ListRequest {
            filters: vec![format!("id==\"{id}\"")],
        });
        let reply = LeasesClient::new(self.containerd.clone())
            .list(request)
            .await
            .context("look for the lease")?;
        Ok(reply.into_inner().leases.is_empty())
    }

    fn in_namespace<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = MetadataValue::from_static(self.namespace);
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace);
        request
    }
}

/// Blocks the runtime on purpose: its own timer is too coarse, and nothing else runs.
fn look_again(begun: Instant, what: impl FnOnce() -> String) -> anyhow::Result<()> {
    if begun.elapsed() > Duration::from_secs(GONE_SECONDS_MAX) {
        bail!("{} still there after {GONE_SECONDS_MAX} s", what());
    }
    std::thread::sleep(Duration::from_micros(LOOK_AGAIN_US));
    Ok(())
}

fn not_found<T>(reply: Result<T, Status>) -> Result<bool, Status> {
    match reply {
        Ok(_) => Ok(false),
        Err(status) if status.code() == Code::NotFound => Ok(true),
        Err(status) => Err(status),
    }
}

/// Whether the process at `/proc/<pid>` is gone, or waits only to be reaped by pid 1.
fn is_dead(process: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(process.join("stat")) else {
        return true;
    };
    // "pid (name) state …": the name may itself hold parentheses.
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_process_is_not_dead() {
        assert!(!is_dead(Path::new("/proc/self")));
        assert!(is_dead(Path::new("/proc/0")));
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Path::new("/proc").join(child.id().to_string());
        let begun = Instant::now();
        while !is_dead(&process) {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }
}
