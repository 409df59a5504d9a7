//! Unpacking layers into snapshots, watched for decompression bombs.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use containerd_client::types::Descriptor;
use sha2::{Digest, Sha256};

use super::ImageError;
use super::documents::digest_of;
use super::local::Resolution;
use super::pull::Pull;
use crate::containerd::SnapshotUsage;

/// Least time between two looks at how large an extract has grown, milliseconds.
const WATCH_MS: u64 = 1_000;
/// Looking walks the extract: it may take a fifth of the time.
const WATCH_COST: u32 = 5;

/// The names of an image's unpacked layers, lowest first (OCI image spec, "Layer ChainID").
pub(super) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => {
                digest_of(Sha256::digest(format!("{parent} {diff_id}").as_bytes()).as_slice())
            }
        };
        chain.push(next);
    }
    chain
}

impl Pull<'_> {
    /// Unpacks layer `at` upon those below it, unless it is unpacked already.
    pub(super) async fn unpack(
        &self,
        resolution: &Resolution,
        at: usize,
    ) -> Result<(), ImageError> {
        let containerd = &self.store.containerd;
        let chain = chain_ids(&resolution.diff_ids);
        let chain_id = &chain[at];
        // Held first, looked for then: it cannot vanish in between.
        containerd.lease_snapshot(&self.lease, chain_id).await?;
        if !containerd.snapshot_exists(chain_id).await? {
            let parent = at.checked_sub(1).map_or("", |below| &chain[below]);
            let extract = format!("{}-extract-{at}", self.lease.as_str());
            let result = self.unpack_into(&extract, parent, resolution, at).await;
            if let Err(error) = result {
                // The lease's end would do as well; this frees the disk at once.
                if let Err(error) = containerd.remove_snapshot(&extract).await {
                    tracing::warn!(image = %self.name, %error, "a half-unpacked layer may stay");
                }
                return Err(error);
            }
            containerd
                .extract_commit(&self.lease, &extract, chain_id)
                .await?;
        }
        self.layer_done();
        Ok(())
    }

    async fn unpack_into(
        &self,
        extract: &str,
        parent: &str,
        resolution: &Resolution,
        at: usize,
    ) -> Result<(), ImageError> {
        let containerd = &self.store.containerd;
        let layer = &resolution.manifest[at];
        let mounts = containerd
            .extract_prepare(&self.lease, extract, parent)
            .await?;
        let descriptor = Descriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.clone(),
            size: i64::try_from(layer.size).unwrap_or(i64::MAX),
            ..Descriptor::default()
        };
        let found = tokio::select! {
            applied = containerd.apply_layer(descriptor, mounts) => applied?,
            bomb = self.watch(extract) => return Err(bomb),
        };
        // A small bomb goes off between two looks.
        let total = self.below().and(containerd.usage_of(extract).await?);
        *self.unpacked.lock().unwrap_or_else(PoisonError::into_inner) = total;
        if let Some(bomb) = self.bomb(total) {
            return Err(bomb);
        }
        let expected = &resolution.diff_ids[at];
        if found != *expected {
            return Err(ImageError::WrongDigest {
                what: format!("the unpacked layer {at} of {}", self.name),
                registry: self.name.registry().to_owned(),
                expected: expected.clone(),
                found,
            });
        }
        Ok(())
    }

    /// What the layers below take.
    fn below(&self) -> SnapshotUsage {
        *self.unpacked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with an image that takes so much.
    fn bomb(&self, total: SnapshotUsage) -> Option<ImageError> {
        let limits = &self.store.options.limits;
        let bounds = [
            (
                total.bytes,
                limits.unpacked_bytes_max,
                "the unpacked size",
                "bytes",
            ),
            (
                total.inodes,
                limits.unpacked_files_max,
                "the number of files",
                "files",
            ),
        ];
        let (_, bound, what, unit) = bounds.into_iter().find(|(is, max, ..)| is > max)?;
        Some(ImageError::TooLarge {
            image: self.name.to_string(),
            what,
            bound: format!("{bound} {unit}"),
        })
    }

    /// Returns when the extract has outgrown the bound. containerd itself has none.
    async fn watch(&self, extract: &str) -> ImageError {
        let below = self.below();
        let mut pause = Duration::from_millis(WATCH_MS);
        loop {
            tokio::time::sleep(pause).await;
            let begin = Instant::now();
            match self.store.containerd.usage_of(extract).await {
                Ok(usage) => {
                    if let Some(bomb) = self.bomb(below.and(usage)) {
                        return bomb;
                    }
                }
                // The unpacking itself will say what is wrong.
                Err(error) => tracing::debug!(%error, "cannot measure a layer being unpacked"),
            }
            pause = (begin.elapsed() * WATCH_COST).max(Duration::from_millis(WATCH_MS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_follow_the_image_spec() {
        let a = format!("sha256:{}", "a".repeat(64));
        let b = format!("sha256:{}", "b".repeat(64));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain[0], a);
        let expected = digest_of(Sha256::digest(format!("{a} {b}").as_bytes()).as_slice());
        assert_eq!(chain[1], expected);
        assert!(chain_ids(&[]).is_empty());
    }
}
