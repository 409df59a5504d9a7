//! One pull, from the reference to the recorded image.
//!
//! ```text
//!  turn ─► lease ─► resolve ─► allow-list, signatures ─► config ─► ┌ download layers (3 at a time) ┐ ─► record
//!                                                                  └ unpack each when its turn is  ┘
//!  on any failure, deadline or cancel: drop what is under way, abort writes, drop the lease (sync)
//! ```

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use containerd_client::types::Descriptor;
use davit_types::PullPolicy;
use tokio::sync::{oneshot, watch};

use crate::containerd::{ImageRecord, LAST_USED, LeaseName, MANAGED, SIZE_BYTES, SnapshotUsage};

use super::download::OpenWrite;
use super::flights::FlightKey;
use super::local::{Resolution, unix_ns};
use super::registry::Session;
use super::{
    Credentials, ImageError, ImageName, Inner, PullProgress, PullStep, ResolvedImage, config,
};

/// A pull to be run once.
pub(super) struct Pull<'a> {
    pub(super) store: &'a Arc<Inner>,
    pub(super) name: ImageName,
    policy: PullPolicy,
    credentials: Option<Credentials>,
    pub(super) progress: watch::Sender<PullProgress>,
    pub(super) lease: LeaseName,
    /// What this pull has unpacked so far.
    pub(super) unpacked: Mutex<SnapshotUsage>,
    /// All blobs it began to write.
    pub(super) writes: Mutex<Vec<OpenWrite>>,
}

impl<'a> Pull<'a> {
    pub(super) fn new(
        store: &'a Arc<Inner>,
        key: FlightKey,
        progress: watch::Sender<PullProgress>,
    ) -> Self {
        Self {
            store,
            name: key.name,
            policy: key.policy,
            credentials: key.credentials,
            progress,
            lease: LeaseName::for_pull(),
            unpacked: Mutex::default(),
            writes: Mutex::default(),
        }
    }

    /// Runs to the end, the deadline, or until `cancelled` is dropped; cleans up in any case.
    pub(super) async fn run(
        mut self,
        cancelled: oneshot::Receiver<Infallible>,
    ) -> Result<ResolvedImage, ImageError> {
        let credentials = self.credentials.take();
        let deadline = self.store.options.limits.deadline;
        let result = tokio::select! {
            _ = cancelled => Err(ImageError::Abandoned { image: self.name.to_string() }),
            result = tokio::time::timeout(deadline, self.under_lease(credentials)) => {
                result.unwrap_or_else(|_| Err(ImageError::Deadline {
                    image: self.name.to_string(),
                    deadline_seconds: deadline.as_secs(),
                }))
            }
        };
        self.abort_writes().await;
        // Its end drops extracts, layers and blobs nothing else refers to.
        let collect = result.is_err();
        if let Err(error) = self
            .store
            .containerd
            .pull_lease_delete(&self.lease, collect)
            .await
        {
            tracing::warn!(image = %self.name, %error, "a pull's lease stays until it expires");
        }
        if result.is_ok() {
            self.progress
                .send_modify(|progress| progress.step = PullStep::Done);
        }
        result
    }

    async fn under_lease(
        &self,
        credentials: Option<Credentials>,
    ) -> Result<ResolvedImage, ImageError> {
        let _turn = self.store.turns.acquire().await;
        self.store.containerd.pull_lease_create(&self.lease).await?;
        if self.policy != PullPolicy::Always
            && let Some(image) = self.unpack_local(credentials.as_ref()).await?
        {
            return Ok(image);
        }
        if self.policy == PullPolicy::Never {
            return Err(ImageError::NoLocalCopy {
                image: self.name.to_string(),
            });
        }
        let session = self.session(credentials).await?;
        self.fetch_and_unpack(&session).await
    }

    async fn session(&self, credentials: Option<Credentials>) -> Result<Session, ImageError> {
        let limits = self.store.options.limits.clone();
        self.store
            .registries
            .session(&self.name, credentials, limits)
            .await
    }

    /// The image from blobs that are here already; `None` if some are not.
    async fn unpack_local(
        &self,
        credentials: Option<&Credentials>,
    ) -> Result<Option<ResolvedImage>, ImageError> {
        let store = self.store;
        let Some(record) = store.containerd.image_find(self.name.as_str()).await? else {
            return Ok(None);
        };
        let Some(resolution) = store.resolve_local(&self.name, &record).await? else {
            return Ok(None);
        };
        self.hold_blobs(&resolution).await?;
        for layer in &resolution.manifest {
            if store.containerd.blob_size(&layer.digest).await? != Some(layer.size) {
                return Ok(None);
            }
        }
        let digest = record.target.digest.clone();
        store.check_allowed(&self.name, &digest, &resolution.manifest_digest)?;
        if !store.is_known_signed(&self.name, &digest).await? {
            self.verify_local(&digest, credentials).await?;
        }
        self.progress.send_modify(|progress| {
            progress.layers_total = count(resolution.manifest.len());
        });
        for at in 0..resolution.manifest.len() {
            self.unpack(&resolution, at).await?;
        }
        self.record(&resolution, record.target).await.map(Some)
    }

    /// Asks the registry about the signatures of what is here already.
    async fn verify_local(
        &self,
        digest: &str,
        credentials: Option<&Credentials>,
    ) -> Result<(), ImageError> {
        if self.policy == PullPolicy::Never {
            let problem = "it is here, but was never verified, and with pull policy never its registry is not asked";
            return Err(self.unsigned(digest, problem.to_owned()));
        }
        let session = self.session(credentials.cloned()).await?;
        let keys = self.verify_signed(&session, digest).await?;
        self.store.note_signed(digest, &keys).await
    }

    pub(super) async fn hold_blobs(&self, resolution: &Resolution) -> Result<(), ImageError> {
        let containerd = &self.store.containerd;
        let layers = resolution.manifest.iter().map(|layer| &layer.digest);
        for digest in layers.chain([&resolution.config_digest, &resolution.manifest_digest]) {
            containerd.lease_blob(&self.lease, digest).await?;
        }
        Ok(())
    }

    async fn fetch_and_unpack(&self, session: &Session) -> Result<ResolvedImage, ImageError> {
        let resolved = self.resolve(session).await?;
        let target = resolved.target();
        self.store
            .check_allowed(&self.name, &target.digest, &resolved.manifest_blob.digest)?;
        let signers = self.verify_signed(session, &target.digest).await?;
        self.check_sizes(&resolved.manifest)?;
        let config_blob = self.fetch_config(session, &resolved.manifest).await?;
        let parsed =
            config::parse(&config_blob.bytes).map_err(|problem| ImageError::Malformed {
                image: self.name.to_string(),
                what: "config",
                problem,
            })?;
        resolved.manifest.check_config(&self.name, &parsed)?;
        let resolution = Resolution {
            manifest_digest: resolved.manifest_blob.digest.clone(),
            manifest: resolved.manifest.layers.clone(),
            config_digest: config_blob.digest.clone(),
            diff_ids: parsed.diff_ids,
            config: Arc::new(parsed.config),
        };
        self.layers(session, &resolution).await?;
        // Documents after the blobs they refer to: a label that refers to nothing holds nothing.
        self.store_document(&config_blob, Vec::new()).await?;
        let children = resolution.manifest.iter().map(|layer| layer.digest.clone());
        let mut references = vec![("config".to_owned(), config_blob.digest.clone())];
        references.extend(
            children
                .enumerate()
                .map(|(at, digest)| (format!("l.{at}"), digest)),
        );
        self.store_document(&resolved.manifest_blob, references)
            .await?;
        if let Some(index) = &resolved.index {
            let child = resolved.manifest_blob.digest.clone();
            self.store_document(index, vec![("m.0".to_owned(), child)])
                .await?;
        }
        self.store.note_signed(&target.digest, &signers).await?;
        let descriptor = Descriptor {
            media_type: target.media_type.clone(),
            digest: target.digest.clone(),
            size: i64::try_from(target.bytes.len()).unwrap_or(i64::MAX),
            ..Descriptor::default()
        };
        self.record(&resolution, descriptor).await
    }

    /// Records the unpacked image and takes it into use.
    async fn record(
        &self,
        resolution: &Resolution,
        target: Descriptor,
    ) -> Result<ResolvedImage, ImageError> {
        let containerd = &self.store.containerd;
        let snapshot_label = format!("containerd.io/gc.ref.snapshot.{}", containerd.snapshotter());
        let chain = [(snapshot_label, resolution.chain_id())].into();
        containerd
            .blob_label(&resolution.config_digest, chain)
            .await?;
        let size = self.size_on_disk(resolution).await?;
        let digest = target.digest.clone();
        let labels = [
            (MANAGED.to_owned(), "true".to_owned()),
            (SIZE_BYTES.to_owned(), size.to_string()),
            (LAST_USED.to_owned(), unix_ns(SystemTime::now()).to_string()),
        ]
        .into();
        let _no_removal = self.store.removal.read().await;
        let record = ImageRecord {
            name: self.name.to_string(),
            target,
            labels,
        };
        containerd.image_put(record).await?;
        self.store
            .known
            .remember(&digest, Arc::new(resolution.clone()));
        Ok(self.store.in_use(&self.name, &digest, resolution))
    }

    async fn size_on_disk(&self, resolution: &Resolution) -> Result<u64, ImageError> {
        let mut bytes: u64 = resolution.manifest.iter().map(|layer| layer.size).sum();
        for chain_id in super::unpack::chain_ids(&resolution.diff_ids) {
            bytes += self.store.containerd.usage_of(&chain_id).await?.bytes;
        }
        Ok(bytes)
    }

    pub(super) fn layer_done(&self) {
        self.progress.send_modify(|progress| {
            progress.layers_done += 1;
            if progress.downloaded_bytes >= progress.total_bytes {
                progress.step = PullStep::Unpacking;
            }
        });
    }
}

pub(super) fn count(layers: usize) -> u32 {
    u32::try_from(layers).unwrap_or(u32::MAX)
}
