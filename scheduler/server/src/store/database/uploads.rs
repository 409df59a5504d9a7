//! Files that runs come with.

use async_trait::async_trait;
use davit_types::{RunId, Tenant};
use uuid::Uuid;

use super::super::Stored;
use super::super::contract::UploadStore;
use super::super::limits::NAME_BYTES_MAX;
use super::super::model::*;
use super::super::ops::{extracts, uploads};
use super::{Database, Driver, bounded, fits_batch, fits_page, keys, run};

#[async_trait]
impl<D: Driver> UploadStore for Database<D> {
    async fn begin_upload(&self, new: NewUpload) -> Stored<Result<Upload, Refusal>> {
        let key = new.upload.to_string();
        run!(self.write, "begin_upload", key, [new], |tx| uploads::begin(
            tx, &new
        ))
    }

    async fn upload(&self, tenant: Tenant, upload: Uuid) -> Stored<Option<Upload>> {
        let key = upload.to_string();
        run!(self.read, "upload", key, [tenant, upload], |tx| {
            uploads::find(tx, &tenant, *upload)
        })
    }

    async fn add_upload_part(
        &self,
        tenant: Tenant,
        part: UploadPart,
        tenant_bytes_max: u64,
    ) -> Stored<Result<Upload, Refusal>> {
        let key = part.upload.to_string();
        let operation = "add_upload_part";
        let length = part.object.len();
        bounded(operation, &key, "object name bytes", length, NAME_BYTES_MAX)?;
        run!(
            self.write,
            operation,
            key,
            [tenant, part, tenant_bytes_max],
            |tx| uploads::add(tx, &tenant, &part, *tenant_bytes_max)
        )
    }

    async fn complete_upload(
        &self,
        tenant: Tenant,
        upload: Uuid,
        bytes: u64,
        sha256: String,
    ) -> Stored<Result<Upload, Refusal>> {
        let key = upload.to_string();
        let operation = "complete_upload";
        bounded(operation, &key, "SHA-256 digits", sha256.len(), 64)?;
        run!(
            self.write,
            operation,
            key,
            [tenant, upload, bytes, sha256],
            |tx| uploads::complete(tx, &tenant, *upload, *bytes, &sha256)
        )
    }

    async fn upload_parts(
        &self,
        upload: Uuid,
        after: u64,
        limit: usize,
    ) -> Stored<Vec<UploadPart>> {
        let key = upload.to_string();
        fits_page("upload_parts", &key, limit)?;
        run!(
            self.read,
            "upload_parts",
            key,
            [upload, after, limit],
            |tx| uploads::parts(tx, *upload, *after, *limit)
        )
    }

    async fn expired_uploads(&self, grace_ms: u64, limit: usize) -> Stored<Vec<Uuid>> {
        let key = "every tenant".to_owned();
        fits_page("expired_uploads", &key, limit)?;
        run!(self.read, "expired_uploads", key, [grace_ms, limit], |tx| {
            uploads::expired(tx, *grace_ms, *limit)
        })
    }

    async fn forget_uploads(&self, uploads: Vec<Uuid>) -> Stored<()> {
        let key = keys(uploads.iter());
        fits_batch("forget_uploads", &key, uploads.len())?;
        run!(self.write, "forget_uploads", key, [uploads], |tx| {
            uploads::forget(tx, &uploads)
        })
    }

    async fn begin_extract(&self, new: NewExtract) -> Stored<Result<Upload, Refusal>> {
        let key = new.key.to_string();
        run!(self.write, "begin_extract", key, [new], |tx| {
            extracts::begin(tx, &new)
        })
    }

    async fn extract(&self, run: RunId, number: u32) -> Stored<Option<(u32, Upload)>> {
        let key = run.to_string();
        run!(self.read, "extract", key, [run, number], |tx| {
            extracts::sent(tx, *run, *number)
        })
    }

    async fn drop_extract(&self, upload: Uuid) -> Stored<()> {
        let key = upload.to_string();
        run!(self.write, "drop_extract", key, [upload], |tx| {
            extracts::drop_upload(tx, *upload)
        })
    }
}
