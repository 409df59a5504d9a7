//! Uploads: files that runs come with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::time;
use crate::service::planned::PlannedFiles;
use crate::store::Upload;

/// The files that a run is to come with.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct FilesInput {
    /// A complete upload, which must be a tar stream. It is unpacked below the working directory before the job begins.
    pub(in crate::rest) upload_id: Uuid,
}

/// The files that a run came with.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct RunFilesView {
    upload_id: Uuid,
    bytes: u64,
    /// Of the tar stream, hexadecimal.
    sha256: String,
}

impl From<&PlannedFiles> for RunFilesView {
    fn from(files: &PlannedFiles) -> Self {
        Self {
            upload_id: files.upload,
            bytes: files.bytes,
            sha256: files.sha256.clone(),
        }
    }
}

/// An upload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct UploadView {
    id: Uuid,
    /// What is stored: the offset at which it goes on.
    bytes: u64,
    /// Whether it is whole: runs may come with it, and nothing can be added.
    complete: bool,
    /// Of all its bytes, hexadecimal, once it is complete.
    sha256: Option<String>,
    created_at: String,
    /// From then on nothing can be added, and no run be made with it. Runs that were made with it keep it.
    expires_at: String,
}

impl From<Upload> for UploadView {
    fn from(upload: Upload) -> Self {
        Self {
            id: upload.upload,
            bytes: upload.bytes,
            complete: upload.sha256.is_some(),
            sha256: upload.sha256,
            created_at: time(upload.created_ms),
            expires_at: time(upload.expires_ms),
        }
    }
}

/// One upload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::rest) struct UploadReply {
    pub(in crate::rest) upload: UploadView,
}

/// What an upload must be to be complete.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rest) struct CompleteInput {
    /// How long it is.
    pub(in crate::rest) bytes: u64,
    /// SHA-256 of all of it: 64 hexadecimal digits.
    pub(in crate::rest) sha256: String,
}
