//! The layers of an image: fetched a few at a time, resumed when a transfer breaks off, verified
//! before they are kept, and handed to unpacking in order.

use std::sync::{Arc, PoisonError};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc};

use crate::containerd::BlobWriter;

use super::documents::digest_of;
use super::local::Resolution;
use super::manifest::{Layer, Manifest};
use super::pull::{Pull, count};
use super::registry::Session;
use super::{ImageError, PullStep};

/// Layers of one pull fetched at a time.
const LAYERS_AT_ONCE_MAX: usize = 3;
/// Bytes handed to containerd in one message.
const WRITE_BYTES: usize = 512 * 1024;
/// Times a broken transfer of one blob is resumed.
const RESUMES_MAX: u32 = 2;

/// A blob being written, shared by who writes it and by the pull's clean-up.
pub(super) type OpenWrite = Arc<Mutex<BlobWriter>>;

impl Pull<'_> {
    pub(super) fn check_sizes(&self, manifest: &Manifest) -> Result<(), ImageError> {
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
    pub(super) async fn layers(
        &self,
        session: &Session,
        resolution: &Resolution,
    ) -> Result<(), ImageError> {
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
        match self.open_blob(&layer.digest, layer.size).await? {
            Some(writer) => {
                self.transfer(session, layer, &mut *writer.lock().await)
                    .await
            }
            None => Ok(()),
        }
    }

    /// Begins to write a blob; `None` if it is here by now. Unless it is committed, the end of the
    /// pull aborts it.
    pub(super) async fn open_blob(
        &self,
        digest: &str,
        size: u64,
    ) -> Result<Option<OpenWrite>, ImageError> {
        // One name per pull: two pulls never fight for the lock of one write.
        let reference = format!("{}-{digest}", self.lease.as_str());
        let containerd = &self.store.containerd;
        let opened = BlobWriter::open(containerd, &self.lease, &reference, digest, size).await?;
        Ok(opened.map(|writer| {
            let writer = Arc::new(Mutex::new(writer));
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            writes.push(Arc::clone(&writer));
            writer
        }))
    }

    /// Aborts the writes that were not committed; their errors are only logged, as the pull has an
    /// outcome already.
    pub(super) async fn abort_writes(&self) {
        let writes = {
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *writes)
        };
        for write in writes {
            let aborted = write.lock().await.abort(&self.store.containerd).await;
            if let Err(error) = aborted {
                tracing::warn!(image = %self.name, %error, "a half-written blob may stay");
            }
        }
    }

    async fn transfer(
        &self,
        session: &Session,
        layer: &Layer,
        writer: &mut BlobWriter,
    ) -> Result<(), ImageError> {
        let mut hasher = Sha256::new();
        // Held by another namespace of this containerd: committing it is all there is to do.
        let shared = writer.offset() == layer.size && layer.size > 0;
        let (mut received, mut resumes) = (0, 0);
        while !shared && received < layer.size {
            let copied = self
                .copy(session, layer, writer, &mut hasher, &mut received)
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
}
