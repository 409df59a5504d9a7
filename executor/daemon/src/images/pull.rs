//! One pull, from the reference to the recorded image.
//!
//! ```text
//!  turn ─► lease ─► resolve ─► allow-list ─► config ─► ┌ download layers (3 at a time) ┐ ─► record
//!                                                      └ unpack each when its turn is  ┘
//!  on any failure, deadline or cancel: drop what is under way, abort writes, drop the lease (sync)
//! ```

use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use containerd_client::types::Descriptor;
use davit_types::PullPolicy;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};

use crate::containerd::{BlobWriter, ImageRecord, LAST_USED, LeaseName, MANAGED, SIZE_BYTES};

use super::flights::FlightKey;
use super::local::{Resolution, unix_ns};
use super::manifest::{self, CONFIG_BYTES_MAX, Document, Layer, Manifest};
use super::registry::Session;
use super::{
    Credentials, ImageError, ImageName, Inner, PullProgress, PullStep, ResolvedImage, config,
};

/// Layers of one pull fetched at a time.
const LAYERS_AT_ONCE_MAX: usize = 3;
/// Bytes handed to containerd in one message.
const WRITE_BYTES: usize = 512 * 1024;
/// Times a broken transfer of one blob is resumed.
const RESUMES_MAX: u32 = 2;

/// A pull to be run once.
pub(super) struct Pull<'a> {
    pub(super) store: &'a Arc<Inner>,
    pub(super) name: ImageName,
    policy: PullPolicy,
    credentials: Option<Credentials>,
    progress: watch::Sender<PullProgress>,
    pub(super) lease: LeaseName,
}

/// A manifest or index with its digest, as it will be stored.
struct Stored {
    digest: String,
    bytes: Vec<u8>,
    media_type: String,
}

/// What the reference stands for.
struct Resolved {
    index: Option<Stored>,
    manifest_blob: Stored,
    manifest: Manifest,
}

impl Resolved {
    /// What the image record points at.
    fn target(&self) -> &Stored {
        self.index.as_ref().unwrap_or(&self.manifest_blob)
    }
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
        // Its end drops unfinished writes, extracts and layers nothing else refers to.
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
            && let Some(image) = self.unpack_local().await?
        {
            return Ok(image);
        }
        if self.policy == PullPolicy::Never {
            return Err(ImageError::NoLocalCopy {
                image: self.name.to_string(),
            });
        }
        let limits = self.store.options.limits.clone();
        let session = self
            .store
            .registries
            .session(&self.name, credentials, limits)
            .await?;
        self.from_registry(&session).await
    }

    /// The image from blobs that are here already; `None` if some are not.
    async fn unpack_local(&self) -> Result<Option<ResolvedImage>, ImageError> {
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
        self.progress.send_modify(|progress| {
            progress.layers_total = count(resolution.manifest.len());
        });
        for at in 0..resolution.manifest.len() {
            self.unpack(&resolution, at).await?;
        }
        self.record(&resolution, record.target).await.map(Some)
    }

    async fn hold_blobs(&self, resolution: &Resolution) -> Result<(), ImageError> {
        let containerd = &self.store.containerd;
        let layers = resolution.manifest.iter().map(|layer| &layer.digest);
        for digest in layers.chain([&resolution.config_digest, &resolution.manifest_digest]) {
            containerd.lease_blob(&self.lease, digest).await?;
        }
        Ok(())
    }

    async fn from_registry(&self, session: &Session) -> Result<ResolvedImage, ImageError> {
        let resolved = self.resolve(session).await?;
        let target = resolved.target();
        self.store
            .check_allowed(&self.name, &target.digest, &resolved.manifest_blob.digest)?;
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
        let descriptor = Descriptor {
            media_type: target.media_type.clone(),
            digest: target.digest.clone(),
            size: i64::try_from(target.bytes.len()).unwrap_or(i64::MAX),
            ..Descriptor::default()
        };
        self.record(&resolution, descriptor).await
    }

    async fn resolve(&self, session: &Session) -> Result<Resolved, ImageError> {
        let (first, document) = self
            .fetch_document(session, self.name.identifier(), self.name.digest())
            .await?;
        let (index, manifest_blob, document) = match document {
            Document::Manifest(_) => (None, first, document),
            Document::Index(index) => {
                let chosen = index.choose(&self.name)?.digest.clone();
                let (second, document) =
                    self.fetch_document(session, &chosen, Some(&chosen)).await?;
                (Some(first), second, document)
            }
        };
        Ok(Resolved {
            index,
            manifest_blob,
            manifest: document.into_manifest(&self.name)?,
        })
    }

    async fn fetch_document(
        &self,
        session: &Session,
        identifier: &str,
        expected: Option<&str>,
    ) -> Result<(Stored, Document), ImageError> {
        let fetched = session.manifest(identifier).await?;
        let digest = self.verify(session, "the manifest", &fetched.bytes, expected)?;
        let document = manifest::parse(&self.name, &fetched.bytes, fetched.media_type.as_deref())?;
        let media_type = match &document {
            Document::Manifest(manifest) => manifest.media_type.clone(),
            Document::Index(index) => index.media_type.clone(),
        };
        let stored = Stored {
            digest,
            bytes: fetched.bytes,
            media_type,
        };
        Ok((stored, document))
    }

    async fn fetch_config(
        &self,
        session: &Session,
        manifest: &Manifest,
    ) -> Result<Stored, ImageError> {
        let wanted = &manifest.config;
        let local = self
            .store
            .containerd
            .blob_read(&wanted.digest, CONFIG_BYTES_MAX)
            .await?;
        let bytes = match local {
            Some(bytes) => bytes,
            None => session.small_blob(&wanted.digest, CONFIG_BYTES_MAX).await?,
        };
        let digest = self.verify(session, "the config", &bytes, Some(&wanted.digest))?;
        Ok(Stored {
            digest,
            bytes,
            media_type: wanted.media_type.clone(),
        })
    }

    /// The digest of `bytes`, which must be the expected one.
    fn verify(
        &self,
        session: &Session,
        what: &str,
        bytes: &[u8],
        expected: Option<&str>,
    ) -> Result<String, ImageError> {
        let found = digest_of(Sha256::digest(bytes).as_slice());
        match expected {
            Some(expected) if expected != found => Err(ImageError::WrongDigest {
                what: format!("{what} of {}", self.name),
                registry: session.registry().to_owned(),
                expected: expected.to_owned(),
                found,
            }),
            _ => Ok(found),
        }
    }

    fn check_sizes(&self, manifest: &Manifest) -> Result<(), ImageError> {
        let max = self.store.options.limits.compressed_bytes_max;
        let total = manifest
            .layers
            .iter()
            .try_fold(0u64, |sum, layer| sum.checked_add(layer.size));
        if total.is_none_or(|total| total > max) {
            return Err(ImageError::TooLarge {
                image: self.name.to_string(),
                what: "the size of all layers",
                bound: format!("{max} bytes compressed"),
            });
        }
        Ok(())
    }

    /// Downloads the layers, a few at a time, and unpacks each as soon as those below it are.
    async fn layers(&self, session: &Session, resolution: &Resolution) -> Result<(), ImageError> {
        self.hold_blobs(resolution).await?;
        let mut missing = 0;
        for layer in &resolution.manifest {
            if self
                .store
                .containerd
                .blob_size(&layer.digest)
                .await?
                .is_none()
            {
                missing += layer.size;
            }
        }
        self.progress.send_modify(|progress| {
            progress.step = PullStep::Downloading;
            progress.total_bytes = missing;
            progress.layers_total = count(resolution.manifest.len());
        });
        // Room for all: a finished download never waits for an unpack.
        let (done, mut ready) = mpsc::channel(resolution.manifest.len().max(1));
        let pending: Vec<_> = resolution
            .manifest
            .iter()
            .map(|layer| self.download(session, layer).boxed())
            .collect();
        let downloads = async move {
            let mut fetched = stream::iter(pending).buffered(LAYERS_AT_ONCE_MAX);
            while fetched.try_next().await?.is_some() {
                if done.send(()).await.is_err() {
                    break;
                }
            }
            Ok(())
        };
        let unpacks = async {
            for at in 0..resolution.manifest.len() {
                if ready.recv().await.is_none() {
                    break;
                }
                self.unpack(resolution, at).await?;
            }
            Ok::<_, ImageError>(())
        };
        tokio::try_join!(downloads, unpacks).map(|_| ())
    }

    async fn download(&self, session: &Session, layer: &Layer) -> Result<(), ImageError> {
        let containerd = &self.store.containerd;
        if containerd.blob_size(&layer.digest).await?.is_some() {
            return Ok(());
        }
        // One name per pull: two pulls never fight for the lock of one write.
        let reference = format!("{}-{}", self.lease.as_str(), layer.digest);
        let opened = BlobWriter::open(
            containerd,
            &self.lease,
            &reference,
            &layer.digest,
            layer.size,
        )
        .await?;
        let Some(writer) = opened else {
            return Ok(());
        };
        let result = self.transfer(session, layer, writer).await;
        if result.is_err() {
            // The lease's end would do as well; this frees the disk at once.
            containerd.blob_abort(&reference).await?;
        }
        result
    }

    async fn transfer(
        &self,
        session: &Session,
        layer: &Layer,
        mut writer: BlobWriter,
    ) -> Result<(), ImageError> {
        let mut hasher = Sha256::new();
        // Held by another namespace of this containerd: committing it is all there is to do.
        let shared = writer.offset() == layer.size && layer.size > 0;
        let (mut received, mut resumes) = (0, 0);
        while !shared && received < layer.size {
            let copied = self
                .copy(session, layer, &mut writer, &mut hasher, &mut received)
                .await;
            match copied {
                // Broken off, or closed early: go on from where it ended.
                Err(ImageError::Unreachable { .. }) | Ok(()) if received < layer.size => {
                    resumes += 1;
                    if resumes > RESUMES_MAX {
                        return Err(self.truncated(session, layer, received));
                    }
                }
                other => other?,
            }
        }
        let found = digest_of(hasher.finalize().as_slice());
        if !shared && found != layer.digest {
            return Err(ImageError::WrongDigest {
                what: format!("a layer of {}", self.name),
                registry: session.registry().to_owned(),
                expected: layer.digest.clone(),
                found,
            });
        }
        writer.commit(std::iter::empty().collect()).await?;
        Ok(())
    }

    /// Copies what one request yields, from `received` on.
    async fn copy(
        &self,
        session: &Session,
        layer: &Layer,
        writer: &mut BlobWriter,
        hasher: &mut Sha256,
        received: &mut u64,
    ) -> Result<(), ImageError> {
        let mut body = match session.blob(&layer.digest, *received).await {
            // A registry that cannot resume leaves us with what it sent.
            Err(ImageError::RegistryFailed { .. }) if *received > 0 => {
                return Err(self.truncated(session, layer, *received));
            }
            other => other?,
        };
        let mut buffer: Vec<u8> = Vec::with_capacity(WRITE_BYTES);
        loop {
            let next = body.next().await;
            let ended = !matches!(next, Ok(Some(_)));
            if let Ok(Some(bytes)) = &next {
                if *received + (buffer.len() + bytes.len()) as u64 > layer.size {
                    return Err(ImageError::WrongDigest {
                        what: format!("a layer of {} (longer than announced)", self.name),
                        registry: session.registry().to_owned(),
                        expected: layer.digest.clone(),
                        found: "(not computed)".to_owned(),
                    });
                }
                buffer.extend_from_slice(bytes);
            }
            if buffer.len() >= WRITE_BYTES || (ended && !buffer.is_empty()) {
                let length = buffer.len() as u64;
                hasher.update(&buffer);
                writer.write(std::mem::take(&mut buffer)).await?;
                *received += length;
                self.progress
                    .send_modify(|progress| progress.downloaded_bytes += length);
            }
            if ended {
                return next.map(drop);
            }
        }
    }

    fn truncated(&self, session: &Session, layer: &Layer, received: u64) -> ImageError {
        ImageError::Truncated {
            registry: session.registry().to_owned(),
            digest: layer.digest.clone(),
            received_bytes: received,
            total_bytes: layer.size,
        }
    }

    /// Stores a small document with labels that keep what it refers to.
    async fn store_document(
        &self,
        document: &Stored,
        references: Vec<(String, String)>,
    ) -> Result<(), ImageError> {
        let containerd = &self.store.containerd;
        let labels = references
            .into_iter()
            .map(|(key, digest)| (format!("containerd.io/gc.ref.content.{key}"), digest))
            .collect::<std::collections::HashMap<_, _>>();
        containerd.lease_blob(&self.lease, &document.digest).await?;
        let reference = format!("{}-{}", self.lease.as_str(), document.digest);
        let size = document.bytes.len() as u64;
        let opened =
            BlobWriter::open(containerd, &self.lease, &reference, &document.digest, size).await?;
        if let Some(mut writer) = opened {
            if writer.offset() < size {
                writer.write(document.bytes.clone()).await?;
            }
            writer.commit(labels).await?;
        } else if !labels.is_empty() {
            containerd.blob_label(&document.digest, labels).await?;
        }
        Ok(())
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

fn count(layers: usize) -> u32 {
    u32::try_from(layers).unwrap_or(u32::MAX)
}

/// `sha256:` and the hexadecimal digits of `hash`.
pub(super) fn digest_of(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
