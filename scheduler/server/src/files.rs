//! Files that runs come with: taken from tenants in pieces, kept as objects, given to the hosts of their runs.
//!
//! ```text
//!  POST, PATCH, PATCH … ─► parts: an object, then a row each ─► complete: read back, hashed ─► a run names it
//!                                                                                                 │
//!  gone with the last run that used it, or when it expired ◄── sweep          host ◄── read from an offset
//! ```
//!
//! Invariants:
//!
//! - What is said to be stored is: a part's object is durable before its row is.
//! - An object's name is used once, so two who send the same piece at once never write the same object. What was written
//!   and not taken lies below its upload's name, and goes with it.
//! - An upload is whole when what the object store has of it, read back, has the length and the SHA-256 that its sender
//!   says. It never changes afterwards.
//! - A stream holds one part in memory; streams are counted.
//!
//! Absent on purpose: looking into what is sent. Whether it is an archive, and what is in it, is the host's to judge, which
//! unpacks it within bounds of its own.

mod append;
mod error;
mod extract;
pub mod limits;
mod read;
mod sweep;

use std::sync::Arc;

use davit_types::Tenant;
use object_store::ObjectStore;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

pub use error::FilesError;
pub(crate) use extract::Whole;
pub use read::Reader;

use crate::logs::Objects;
use crate::store::{NewUpload, Store, Upload};

/// What an operator may set.
#[derive(Clone, Copy, Debug)]
pub struct FilesSettings {
    /// Bytes of one upload.
    pub upload_bytes_max: u64,
    /// Bytes of all that is kept of a tenant's, what came out of its runs too. Who send at once may be over it by a part each.
    pub tenant_bytes_max: u64,
    /// How long an upload may be added to, and runs may be made with it, milliseconds.
    pub upload_life_ms: u64,
    /// One that expired is not deleted before this, milliseconds: who just had it found whole may still make a run with it,
    /// and who was adding to it is done.
    pub grace_ms: u64,
}

impl Default for FilesSettings {
    fn default() -> Self {
        Self {
            upload_bytes_max: 1 << 30,
            tenant_bytes_max: 100 << 30,
            upload_life_ms: 24 * 60 * 60 * 1_000,
            grace_ms: limits::GRACE_MS,
        }
    }
}

/// Takes, keeps and gives files. Cheap to clone.
#[derive(Clone)]
pub struct Files {
    store: Arc<dyn Store>,
    objects: Objects,
    settings: FilesSettings,
    streams: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Files {
    /// Files whose bytes lie in `objects`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        objects: Arc<dyn ObjectStore>,
        settings: FilesSettings,
    ) -> Self {
        Self {
            store,
            objects: Objects::new(objects),
            settings,
            streams: Arc::new(Semaphore::new(limits::STREAMS_MAX)),
            downloads: Arc::new(Semaphore::new(limits::DOWNLOADS_MAX)),
        }
    }

    /// Begins an upload of a tenant.
    ///
    /// # Errors
    /// The tenant has too many; the store's.
    pub async fn begin(&self, tenant: &Tenant, upload: Uuid) -> Result<Upload, FilesError> {
        let new = NewUpload {
            upload,
            tenant: tenant.clone(),
            life_ms: self.settings.upload_life_ms,
        };
        Ok(self.store.begin_upload(new).await??)
    }

    /// A tenant's upload.
    ///
    /// # Errors
    /// There is none, or it has expired; the store's.
    pub async fn show(&self, tenant: &Tenant, upload: Uuid) -> Result<Upload, FilesError> {
        let found = self.store.upload(tenant.clone(), upload).await?;
        found.ok_or_else(|| crate::store::Refusal::UnknownUpload { upload }.into())
    }

    /// Makes an upload whole, if what is kept of it is what its sender says. It may be called again.
    ///
    /// # Errors
    /// Length or SHA-256 are others; it is there no more; the stores'.
    pub async fn complete(
        &self,
        tenant: &Tenant,
        upload: Uuid,
        bytes: u64,
        sha256: &str,
    ) -> Result<Upload, FilesError> {
        let known = self.show(tenant, upload).await?;
        if known.bytes == bytes && known.sha256.is_none() {
            let kept = self.digest(upload, bytes).await?;
            if kept != sha256 {
                let wanted = sha256.to_owned();
                return Err(FilesError::Differs { kept, wanted });
            }
        }
        let sha256 = sha256.to_owned();
        let whole = self
            .store
            .complete_upload(tenant.clone(), upload, bytes, sha256);
        Ok(whole.await??)
    }

    /// SHA-256 of what is kept.
    async fn digest(&self, upload: Uuid, bytes: u64) -> Result<String, FilesError> {
        let mut hash = Sha256::new();
        let mut reader = self.read(upload, 0, bytes)?;
        while let Some(piece) = reader.next().await? {
            hash.update(&piece);
        }
        Ok(hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }

    /// Deletes uploads that nobody needs any more; how many. Bounded: call it again while it finds some.
    ///
    /// # Errors
    /// Some could not be deleted; what was, is forgotten.
    pub async fn sweep(&self) -> Result<usize, FilesError> {
        sweep::sweep(&*self.store, &self.objects, self.settings.grace_ms).await
    }

    fn stream(&self) -> Result<OwnedSemaphorePermit, FilesError> {
        permit(&self.streams, limits::STREAMS_MAX)
    }
}

fn permit(of: &Arc<Semaphore>, streams_max: usize) -> Result<OwnedSemaphorePermit, FilesError> {
    let permit = Arc::clone(of).try_acquire_owned();
    permit.map_err(|_| FilesError::Busy { streams_max })
}

/// Below this all objects of an upload lie.
fn prefix(upload: Uuid) -> String {
    format!("files/{upload}")
}
