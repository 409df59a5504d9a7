//! Copies that are here already: the warm path of every run, one call for what its tag stands for now.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::containerd::{ImageRecord, LAST_USED};

use super::manifest::{self, Document};
use super::{ImageConfig, ImageError, ImageName, Inner, ResolvedImage, config, manifest::Layer};

/// Last-used times are written at most this often per image, seconds: a run need not cost a write.
const LAST_USED_RESOLUTION_SECONDS: u64 = 60;
/// Resolutions kept in memory.
const KNOWN_IMAGES_MAX: usize = 1_000;

/// What follows from a digest alone, and hence never changes.
#[derive(Clone, Debug)]
pub(super) struct Resolution {
    pub(super) manifest_digest: String,
    pub(super) manifest: Vec<Layer>,
    pub(super) config_digest: String,
    pub(super) diff_ids: Vec<String>,
    pub(super) config: Arc<ImageConfig>,
}

impl Resolution {
    pub(super) fn chain_id(&self) -> String {
        super::unpack::chain_ids(&self.diff_ids)
            .pop()
            .unwrap_or_default()
    }
}

/// Memory of what was resolved and used.
#[derive(Default)]
pub(super) struct Known {
    by_digest: Mutex<HashMap<String, Arc<Resolution>>>,
    last_used: Mutex<HashMap<String, SystemTime>>,
    /// Chain ids seen unpacked, and not removed by us since.
    unpacked: Mutex<HashSet<String>>,
    /// Digests, and fingerprints of keys that signed them.
    signed: Mutex<HashSet<(String, String)>>,
}

impl Known {
    fn find(&self, digest: &str) -> Option<Arc<Resolution>> {
        let known = self
            .by_digest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(digest).cloned()
    }

    pub(super) fn remember(&self, digest: &str, resolution: Arc<Resolution>) {
        let mut known = self
            .by_digest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_IMAGES_MAX {
            // Rare and cheap to rebuild: a few reads per image.
            known.clear();
        }
        known.insert(digest.to_owned(), resolution);
    }

    /// Notes that `name` is used now; whether that should be written down.
    pub(super) fn touch(&self, name: &str, now: SystemTime) -> bool {
        let resolution = Duration::from_secs(LAST_USED_RESOLUTION_SECONDS);
        let mut last_used = self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let stale = last_used
            .get(name)
            .is_none_or(|then| now.duration_since(*then).unwrap_or(Duration::MAX) >= resolution);
        if stale {
            last_used.insert(name.to_owned(), now);
        }
        stale
    }

    fn is_unpacked(&self, chain_id: &str) -> bool {
        let unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        unpacked.contains(chain_id)
    }

    /// Whether it is known that the key with this fingerprint signed `digest`.
    pub(super) fn is_signed(&self, digest: &str, fingerprint: &str) -> bool {
        let signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        signed.contains(&(digest.to_owned(), fingerprint.to_owned()))
    }

    pub(super) fn remember_signed(&self, digest: &str, fingerprint: &str) {
        let mut signed = self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if signed.len() >= KNOWN_IMAGES_MAX {
            signed.clear();
        }
        signed.insert((digest.to_owned(), fingerprint.to_owned()));
    }

    pub(super) fn remember_unpacked(&self, chain_id: String) {
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if unpacked.len() >= KNOWN_IMAGES_MAX {
            unpacked.clear();
        }
        unpacked.insert(chain_id);
    }

    /// Something may be gone: what was seen must be looked for again.
    pub(super) fn forget_unpacked(&self) {
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        unpacked.clear();
    }

    pub(super) fn forget(&self, name: &str) {
        self.forget_unpacked();
        let mut last_used = self
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        last_used.remove(name);
    }
}

/// What this host has of an image.
pub(super) enum Local {
    /// Nothing, or not all of it.
    Absent,
    /// The blobs, but not unpacked, or not known to be signed by whom they must be.
    Packed,
    /// All.
    Ready(ResolvedImage),
}

impl Inner {
    pub(super) async fn find_local(
        self: &Arc<Self>,
        name: &ImageName,
    ) -> Result<Local, ImageError> {
        let _no_removal = self.removal.read().await;
        let Some(record) = self.containerd.image_find(name.as_str()).await? else {
            return Ok(Local::Absent);
        };
        let Some(resolution) = self.resolve_local(name, &record).await? else {
            return Ok(Local::Absent);
        };
        self.check_allowed(name, &record.target.digest, &resolution.manifest_digest)?;
        if !self.is_known_signed(name, &record.target.digest).await? {
            return Ok(Local::Packed);
        }
        let chain_id = resolution.chain_id();
        if !self.known.is_unpacked(&chain_id) {
            if !self.containerd.snapshot_exists(&chain_id).await? {
                return Ok(Local::Packed);
            }
            self.known.remember_unpacked(chain_id);
        }
        Ok(Local::Ready(self.in_use(
            name,
            &record.target.digest,
            &resolution,
        )))
    }

    /// Reads manifest and config of a recorded image; `None` if a blob is missing.
    pub(super) async fn resolve_local(
        &self,
        name: &ImageName,
        record: &ImageRecord,
    ) -> Result<Option<Arc<Resolution>>, ImageError> {
        let digest = &record.target.digest;
        if let Some(known) = self.known.find(digest) {
            return Ok(Some(known));
        }
        let mut manifest_digest = digest.clone();
        let Some(mut document) = self.read_document(name, &manifest_digest).await? else {
            return Ok(None);
        };
        if let Document::Index(index) = &document {
            manifest_digest = index.choose(name)?.digest.clone();
            match self.read_document(name, &manifest_digest).await? {
                Some(chosen) => document = chosen,
                None => return Ok(None),
            }
        }
        let manifest = document.into_manifest(name)?;
        let config_digest = manifest.config.digest.clone();
        let bytes = self
            .containerd
            .blob_read(&config_digest, manifest::CONFIG_BYTES_MAX)
            .await?;
        let Some(bytes) = bytes else {
            return Ok(None);
        };
        let parsed = config::parse(&bytes).map_err(|problem| ImageError::Malformed {
            image: name.to_string(),
            what: "config",
            problem,
        })?;
        manifest.check_config(name, &parsed)?;
        let resolution = Arc::new(Resolution {
            manifest_digest,
            manifest: manifest.layers,
            config_digest,
            diff_ids: parsed.diff_ids,
            config: Arc::new(parsed.config),
        });
        self.known.remember(digest, Arc::clone(&resolution));
        Ok(Some(resolution))
    }

    async fn read_document(
        &self,
        name: &ImageName,
        digest: &str,
    ) -> Result<Option<Document>, ImageError> {
        let bytes = self
            .containerd
            .blob_read(digest, manifest::MANIFEST_BYTES_MAX)
            .await?;
        bytes
            .map(|bytes| manifest::parse(name, &bytes, None))
            .transpose()
    }

    pub(super) fn check_allowed(
        &self,
        name: &ImageName,
        digest: &str,
        manifest_digest: &str,
    ) -> Result<(), ImageError> {
        if self
            .options
            .allowed
            .allows(name, &[digest, manifest_digest])
        {
            return Ok(());
        }
        Err(ImageError::NotAllowed {
            image: name.to_string(),
            digest: digest.to_owned(),
        })
    }

    /// The image, guarded, with its use noted. The write behind it does not delay the run.
    pub(super) fn in_use(
        self: &Arc<Self>,
        name: &ImageName,
        digest: &str,
        resolution: &Resolution,
    ) -> ResolvedImage {
        let guard = self.uses.begin(digest);
        let now = SystemTime::now();
        if self.known.touch(name.as_str(), now) {
            let (store, name) = (Arc::clone(self), name.to_string());
            tokio::spawn(async move {
                let label = [(LAST_USED.to_owned(), unix_ns(now).to_string())].into();
                if let Err(error) = store.containerd.image_label(&name, label).await {
                    tracing::warn!(image = name, %error, "cannot note when the image was used");
                }
            });
        }
        ResolvedImage {
            name: name.to_string(),
            digest: digest.to_owned(),
            chain_id: resolution.chain_id(),
            config: Arc::clone(&resolution.config),
            guard,
        }
    }
}

/// Nanoseconds since 1970; 0 before, and the end of time after 2554.
pub(super) fn unix_ns(time: SystemTime) -> u64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_written_once_a_minute() {
        let known = Known::default();
        let now = SystemTime::now();
        assert!(known.touch("a", now));
        assert!(!known.touch("a", now + Duration::from_secs(59)));
        assert!(known.touch("b", now));
        assert!(known.touch("a", now + Duration::from_secs(60)));
    }
}
