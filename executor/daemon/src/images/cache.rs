//! The images that are here: listed, removed, and evicted least recently used first.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::containerd::{ImageRecord, ImageUse, LAST_USED, MANAGED, SIZE_BYTES};

use super::{ImageError, ImageName, ImageStore, Inner};

/// An image on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Normalised reference.
    pub name: String,
    /// What it stands for.
    pub digest: String,
    /// Bytes on disk, compressed and unpacked; parts it shares with others are counted at each.
    /// 0 if it was not pulled by davit.
    pub size_bytes: u64,
    /// When a run last used it; the epoch if none ever did.
    pub last_used: SystemTime,
    /// Whether it is being used now.
    pub in_use: bool,
}

impl ImageStore {
    /// The images of the namespace, by name.
    ///
    /// # Errors
    /// When containerd fails.
    pub async fn list(&self) -> Result<Vec<ImageInfo>, ImageError> {
        let records = self.inner.containerd.image_list().await?;
        let containers = self.inner.images_of_runs().await?;
        let mut images: Vec<ImageInfo> = records
            .into_iter()
            .map(|record| {
                let in_use = self.inner.uses.is_used(&record.target.digest)
                    || containers.iter().any(|used| used.is(&record));
                info(record, in_use)
            })
            .collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// Removes an image; its content is gone on return, but for what other images share.
    ///
    /// # Errors
    /// [`ImageError::InUse`] while a run needs it, [`ImageError::NotHere`] if there is none.
    pub async fn remove(&self, reference: &str) -> Result<(), ImageError> {
        let name = ImageName::parse(reference).map_err(ImageError::Reference)?;
        let image = name.to_string();
        match self.inner.remove_unused(name.as_str()).await? {
            Removal::Done => Ok(()),
            Removal::InUse => Err(ImageError::InUse { image }),
            Removal::NotHere => Err(ImageError::NotHere { image }),
        }
    }

    /// Evicts images until the cache is within its bound; returns the names of the evicted.
    ///
    /// # Errors
    /// When containerd fails.
    pub async fn evict(&self) -> Result<Vec<String>, ImageError> {
        self.inner.evict().await
    }
}

enum Removal {
    Done,
    InUse,
    NotHere,
}

impl Inner {
    pub(super) async fn info(&self, name: &str) -> Result<ImageInfo, ImageError> {
        let record = self.containerd.image_find(name).await?;
        let record = record.ok_or_else(|| ImageError::NotHere {
            image: name.to_owned(),
        })?;
        let in_use = self.is_used(&record).await?;
        Ok(info(record, in_use))
    }

    async fn is_used(&self, record: &ImageRecord) -> Result<bool, ImageError> {
        if self.uses.is_used(&record.target.digest) {
            return Ok(true);
        }
        let containers = self.images_of_runs().await?;
        Ok(containers.iter().any(|used| used.is(record)))
    }

    /// Has the slots that wait for runs of the image destroyed.
    async fn release_slots(&self, record: &ImageRecord) {
        if let Some(slots) = self.slots.get() {
            slots.release(&record.target.digest).await;
        }
    }

    /// The images that containers need, slots that wait left out.
    async fn images_of_runs(&self) -> Result<Vec<ImageUse>, ImageError> {
        let mut used = self.containerd.images_of_containers().await?;
        if let Some(slots) = self.slots.get() {
            used.retain(|used| !slots.holds(&used.container));
        }
        Ok(used)
    }

    async fn remove_unused(&self, name: &str) -> Result<Removal, ImageError> {
        // Its slots take a moment to go: most of it before others have to wait.
        if let Some(record) = self.containerd.image_find(name).await?
            && !self.uses.is_used(&record.target.digest)
        {
            self.release_slots(&record).await;
        }
        // Nobody can find the image between the check and the removal.
        let _alone = self.removal.write().await;
        let Some(record) = self.containerd.image_find(name).await? else {
            return Ok(Removal::NotHere);
        };
        if self.is_used(&record).await? {
            return Ok(Removal::InUse);
        }
        self.release_slots(&record).await;
        self.known.forget(name);
        if self.containerd.image_delete(name).await? {
            Ok(Removal::Done)
        } else {
            Ok(Removal::NotHere)
        }
    }

    /// Evicts beside the caller; a failure is logged, the next pull tries again.
    pub(super) fn evict_in_background(self: &Arc<Self>) {
        if self.options.cache_bytes_max.is_none() {
            return;
        }
        let store = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = store.evict().await {
                tracing::warn!(%error, "cannot evict images");
            }
        });
    }

    async fn evict(&self) -> Result<Vec<String>, ImageError> {
        let Some(bytes_max) = self.options.cache_bytes_max else {
            return Ok(Vec::new());
        };
        // One at a time: two would each see the space the other is about to free.
        let _alone = self.evicting.lock().await;
        let mut evicted = Vec::new();
        let mut candidates = self.containerd.image_list().await?;
        // Images somebody put here by hand are his to remove.
        candidates.retain(|record| record.labels.contains_key(MANAGED));
        candidates.sort_by_key(last_used);
        for record in candidates {
            let bytes = self.cache_bytes().await?;
            if bytes <= bytes_max {
                return Ok(evicted);
            }
            if let Removal::Done = self.remove_unused(&record.name).await? {
                tracing::info!(image = record.name, bytes, bytes_max, "evicted an image");
                evicted.push(record.name);
            }
        }
        let bytes = self.cache_bytes().await?;
        if bytes > bytes_max {
            tracing::warn!(
                bytes,
                bytes_max,
                "the images in use alone exceed the cache's bound"
            );
        }
        Ok(evicted)
    }

    /// Bytes of all blobs and unpacked layers, each counted once.
    async fn cache_bytes(&self) -> Result<u64, ImageError> {
        let mut bytes = self.containerd.content_bytes().await?;
        for name in self.containerd.committed_snapshots().await? {
            match self.containerd.usage_of(&name).await {
                Ok(usage) => bytes += usage.bytes,
                // Collected meanwhile.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    }
}

fn info(record: ImageRecord, in_use: bool) -> ImageInfo {
    let size = record
        .labels
        .get(SIZE_BYTES)
        .and_then(|text| text.parse().ok());
    ImageInfo {
        size_bytes: size.unwrap_or(0),
        last_used: last_used(&record),
        name: record.name,
        digest: record.target.digest,
        in_use,
    }
}

fn last_used(record: &ImageRecord) -> SystemTime {
    let label = record
        .labels
        .get(LAST_USED)
        .and_then(|text| text.parse().ok());
    SystemTime::UNIX_EPOCH + Duration::from_nanos(label.unwrap_or(0))
}
