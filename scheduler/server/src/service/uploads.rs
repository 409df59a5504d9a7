//! Files that a run is to come with: an upload of its tenant's, whole, and not expired.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use davit_types::Tenant;
use uuid::Uuid;

use super::plan::Job;
use super::planned::PlannedFiles;
use super::{Service, ServiceError, catalogue};

/// The id of a new upload: with an idempotency key the same one each time.
#[must_use]
pub fn new_id(tenant: &Tenant, key: Option<&str>) -> Uuid {
    key.map_or_else(Uuid::now_v7, |key| catalogue::id_for(tenant, "upload", key))
}

/// Uploads that were found, by id: many runs of one request may come with the same.
#[derive(Debug, Default)]
pub(super) struct Found(HashMap<Uuid, PlannedFiles>);

impl Found {
    /// `job` with the upload it names, if it names one.
    ///
    /// # Errors
    /// It names one that it cannot have; the store's.
    pub(super) async fn supply(
        &mut self,
        service: &Service,
        tenant: &Tenant,
        mut job: Job,
    ) -> Result<Job, ServiceError> {
        let Some(upload) = job.overrides.upload else {
            return Ok(job);
        };
        let files = match self.0.entry(upload) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(look(service, tenant, upload).await?),
        };
        job.uploaded = Some(files.clone());
        Ok(job)
    }
}

async fn look(
    service: &Service,
    tenant: &Tenant,
    upload: Uuid,
) -> Result<PlannedFiles, ServiceError> {
    let wrong = |problem: String| ServiceError::field("files.upload_id", upload, problem);
    let found = service.store.upload(tenant.clone(), upload).await?;
    let Some(found) = found else {
        let problem = "is not an upload of yours, or has expired: begin one with POST /v1/uploads";
        return Err(wrong(problem.to_owned()));
    };
    match found.sha256 {
        Some(sha256) => Ok(PlannedFiles {
            upload,
            bytes: found.bytes,
            sha256,
        }),
        None => Err(wrong(format!(
            "is not complete: {} bytes are stored; complete it with POST /v1/uploads/{upload}/complete",
            found.bytes
        ))),
    }
}
