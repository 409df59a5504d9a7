//! Snapshots: the root file systems of containers, and the unpacked layers of images.
//!
//! A root file system is a root of containerd's garbage collection by its own label: neither a lease nor a
//! container record need hold it, and it is there until it is removed by name.

use std::time::Duration;

use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, Kind, ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest,
    RemoveSnapshotRequest, StatSnapshotRequest, UsageRequest,
};
use containerd_client::tonic::transport::Channel;
use tokio::time::timeout;

use super::error::gone_is_fine;
use super::labels::{LabelMap, MANAGED};
use super::{
    Call, ContainerName, Containerd, ContainerdError, FILES_DEADLINE_MS, LISTED_ITEMS_MAX,
    LeaseName, Mount, REPLY_BYTES_MAX,
};

/// On a snapshot: the garbage collector leaves it, and what it stands on, alone.
const GC_ROOT: &str = "containerd.io/gc.root";

/// Times a snapshot is asked for that what a crash of containerd left is in the way of.
const RESIDUE_ATTEMPTS_MAX: u32 = 3;

/// What a snapshot takes on disk, its parents not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl SnapshotUsage {
    /// Both together.
    #[must_use]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

impl Containerd {
    pub(super) fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel()).max_decoding_message_size(REPLY_BYTES_MAX)
    }

    /// Makes the root file system of `container` upon the unpacked image `chain_id` and returns how to
    /// mount it; one that exists is returned as it is.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] when the image was removed meanwhile.
    pub async fn snapshot_prepare(
        &self,
        container: &ContainerName,
        chain_id: &str,
    ) -> Result<Vec<Mount>, ContainerdError> {
        let mut labels = container.labels();
        labels.insert(GC_ROOT.to_owned(), "true".to_owned());
        let request = PrepareSnapshotRequest {
            snapshotter: self.snapshotter().to_owned(),
            key: container.to_string(),
            parent: chain_id.to_owned(),
            labels,
        };
        match self.prepare(None, request).await {
            Err(error) if error.is_already_exists() => self.snapshot_mounts(container).await,
            other => other,
        }
    }

    /// How to mount the root file system of `container`.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] when it was never prepared.
    pub async fn snapshot_mounts(
        &self,
        container: &ContainerName,
    ) -> Result<Vec<Mount>, ContainerdError> {
        let name = container.to_string();
        let request = self.request(MountsRequest {
            snapshotter: self.snapshotter().to_owned(),
            key: name.clone(),
        });
        Call::files("find the mounts of snapshot", &name)
            .bound(self.snapshots().mounts(request))
            .await
            .map(|reply| reply.mounts)
    }

    /// Removes the root file system of `container`; fine if it is gone.
    ///
    /// # Errors
    /// When it is in use, or containerd fails.
    pub async fn snapshot_remove(&self, container: &ContainerName) -> Result<(), ContainerdError> {
        self.remove_snapshot(&container.to_string()).await
    }

    /// What the job itself wrote to its root file system.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`] when it does not exist.
    pub async fn snapshot_usage(
        &self,
        container: &ContainerName,
    ) -> Result<SnapshotUsage, ContainerdError> {
        self.usage_of(&container.to_string()).await
    }

    /// Makes a snapshot to unpack a layer into, upon `parent` (empty for the first layer).
    pub(crate) async fn extract_prepare(
        &self,
        lease: &LeaseName,
        name: &str,
        parent: &str,
    ) -> Result<Vec<Mount>, ContainerdError> {
        let labels = LabelMap::from([(MANAGED.to_owned(), "true".to_owned())]);
        let request = PrepareSnapshotRequest {
            snapshotter: self.snapshotter().to_owned(),
            key: name.to_owned(),
            parent: parent.to_owned(),
            labels,
        };
        self.prepare(Some(lease), request).await
    }

    /// Turns the unpacked `extract` into the committed layer `chain_id`; fine if another pull was
    /// first, the extract is removed then.
    pub(crate) async fn extract_commit(
        &self,
        lease: &LeaseName,
        extract: &str,
        chain_id: &str,
    ) -> Result<(), ContainerdError> {
        let request = self.leased(
            lease,
            CommitSnapshotRequest {
                snapshotter: self.snapshotter().to_owned(),
                name: chain_id.to_owned(),
                key: extract.to_owned(),
                labels: LabelMap::from([(MANAGED.to_owned(), "true".to_owned())]),
            },
        );
        let committed = Call::files("commit layer", chain_id)
            .bound(self.snapshots().commit(request))
            .await;
        match committed {
            Err(error) if error.is_already_exists() => {
                self.lease_snapshot(lease, chain_id).await?;
                self.remove_snapshot(extract).await
            }
            other => other,
        }
    }

    /// Whether the snapshot `name` exists.
    pub(crate) async fn snapshot_exists(&self, name: &str) -> Result<bool, ContainerdError> {
        let request = self.request(StatSnapshotRequest {
            snapshotter: self.snapshotter().to_owned(),
            key: name.to_owned(),
        });
        let found = Call::metadata("look for snapshot", name)
            .bound(self.snapshots().stat(request))
            .await;
        match found {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What one snapshot takes; of a snapshot being written, what is there now.
    pub(crate) async fn usage_of(&self, name: &str) -> Result<SnapshotUsage, ContainerdError> {
        let request = self.request(UsageRequest {
            snapshotter: self.snapshotter().to_owned(),
            key: name.to_owned(),
        });
        let usage = Call::files("measure snapshot", name)
            .bound(self.snapshots().usage(request))
            .await?;
        Ok(SnapshotUsage {
            bytes: u64::try_from(usage.size).unwrap_or(0),
            inodes: u64::try_from(usage.inodes).unwrap_or(0),
        })
    }

    /// Names of all committed snapshots: the unpacked layers of images.
    pub(crate) async fn committed_snapshots(&self) -> Result<Vec<String>, ContainerdError> {
        let found = self.list_snapshots(Vec::new()).await?;
        Ok(found
            .into_iter()
            .filter(|info| info.kind() == Kind::Committed)
            .map(|info| info.name)
            .collect())
    }

    pub(super) async fn list_snapshots(
        &self,
        filters: Vec<String>,
    ) -> Result<Vec<containerd_client::services::v1::snapshots::Info>, ContainerdError> {
        let call = Call::files("list", "snapshots");
        let request = self.request(ListSnapshotsRequest {
            snapshotter: self.snapshotter().to_owned(),
            filters,
        });
        let mut found = Vec::new();
        let mut pages = call.bound(self.snapshots().list(request)).await?;
        while let Some(page) = call.next(&mut pages).await? {
            found.extend(page.info);
            if found.len() > LISTED_ITEMS_MAX {
                return Err(call.malformed("lists more than davit handles"));
            }
        }
        Ok(found)
    }

    pub(crate) async fn remove_snapshot(&self, name: &str) -> Result<(), ContainerdError> {
        let request = self.request(RemoveSnapshotRequest {
            snapshotter: self.snapshotter().to_owned(),
            key: name.to_owned(),
        });
        gone_is_fine(
            Call::files("remove snapshot", name)
                .bound(self.snapshots().remove(request))
                .await,
        )
    }

    /// A containerd that was killed between making a snapshot's directory and recording it finds the directory in its
    /// way afterwards. The attempt that fails of it removes it (`createSnapshot` of its overlay snapshotter), but only
    /// after its number is free again: a snapshot that is made at that moment loses its own directory. So one at a time,
    /// which they are in containerd anyway.
    async fn prepare(
        &self,
        lease: Option<&LeaseName>,
        request: PrepareSnapshotRequest,
    ) -> Result<Vec<Mount>, ContainerdError> {
        let name = request.key.clone();
        // A containerd that hangs is waited for no longer than by a call of one's own.
        let wait = Duration::from_millis(FILES_DEADLINE_MS);
        let _alone = timeout(wait, self.inner.preparing.lock()).await.ok();
        let mut attempt = 1;
        loop {
            let request = match lease {
                Some(lease) => self.leased(lease, request.clone()),
                None => self.request(request.clone()),
            };
            let call = Call::files("prepare snapshot", &name);
            match call.bound(self.snapshots().prepare(request)).await {
                Err(error) if error.is_crash_residue() && attempt < RESIDUE_ATTEMPTS_MAX => {
                    tracing::info!(%name, "a crash of containerd left a directory in the way");
                    attempt += 1;
                }
                reply => return reply.map(|reply| reply.mounts),
            }
        }
    }
}
