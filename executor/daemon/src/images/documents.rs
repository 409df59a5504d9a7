//! The small documents of an image: index, manifest, config. Fetched, verified, stored.

use sha2::{Digest, Sha256};

use super::ImageError;
use super::manifest::{self, CONFIG_BYTES_MAX, Document, Manifest};
use super::pull::Pull;
use super::registry::Session;

/// A manifest or index with its digest, as it will be stored.
pub(super) struct Stored {
    pub(super) digest: String,
    pub(super) bytes: Vec<u8>,
    pub(super) media_type: String,
}

/// What the reference stands for.
pub(super) struct Resolved {
    pub(super) index: Option<Stored>,
    pub(super) manifest_blob: Stored,
    pub(super) manifest: Manifest,
}

impl Resolved {
    /// What the image record points at.
    pub(super) fn target(&self) -> &Stored {
        self.index.as_ref().unwrap_or(&self.manifest_blob)
    }
}

impl Pull<'_> {
    pub(super) async fn resolve(&self, session: &Session) -> Result<Resolved, ImageError> {
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

    pub(super) async fn fetch_config(
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

    /// Stores a small document with labels that keep what it refers to.
    pub(super) async fn store_document(
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
        let size = document.bytes.len() as u64;
        if let Some(writer) = self.open_blob(&document.digest, size).await? {
            let mut writer = writer.lock().await;
            if writer.offset() < size {
                writer.write(document.bytes.clone()).await?;
            }
            writer.commit(labels).await?;
        } else if !labels.is_empty() {
            containerd.blob_label(&document.digest, labels).await?;
        }
        Ok(())
    }
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
