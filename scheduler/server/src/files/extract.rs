//! What comes out of runs: kept as uploads are, sent by hosts instead of tenants, gone with their runs.

use std::fmt::Display;

use bytes::Bytes;
use davit_types::{RunKey, Tenant};
use futures::Stream;
use uuid::Uuid;

use super::{Files, FilesError};
use crate::store::{NewExtract, Upload};

/// What a host has of an extract.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// How long its archive is.
    pub(crate) bytes: u64,
    /// SHA-256 of all of that, in hexadecimal digits.
    pub(crate) sha256: String,
}

impl Files {
    /// How far the bytes of an attempt's extract came.
    ///
    /// # Errors
    /// It is too large; a later attempt has its place; the store's.
    pub(crate) async fn begin_extract(
        &self,
        key: RunKey,
        number: u32,
        tenant: &Tenant,
        whole: &Whole,
    ) -> Result<Upload, FilesError> {
        let bytes_max = self.settings.upload_bytes_max;
        if whole.bytes > bytes_max {
            return Err(FilesError::TooLarge { bytes_max });
        }
        let begin = || {
            self.store.begin_extract(NewExtract {
                key,
                number,
                tenant: tenant.clone(),
                upload: Uuid::now_v7(),
                life_ms: self.settings.upload_life_ms,
            })
        };
        let known = begin().await??;
        let is_its = match &known.sha256 {
            Some(sha256) => known.bytes == whole.bytes && *sha256 == whole.sha256,
            None => known.bytes <= whole.bytes,
        };
        if is_its {
            return Ok(known);
        }
        self.store.drop_extract(known.upload).await?;
        Ok(begin().await??)
    }

    /// Takes the rest of an extract, and makes it whole. What is not what its host has is let go of: it is to be begun again.
    ///
    /// # Errors
    /// The rest broke off, and what came of it stays; it is something else; the stores'.
    pub(crate) async fn take_extract<E: Display>(
        &self,
        begun: &Upload,
        whole: &Whole,
        rest: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<(), FilesError> {
        let (tenant, upload) = (&begun.tenant, begun.upload);
        let taken = self.append(tenant, upload, begun.bytes, rest).await?;
        if taken.bytes < whole.bytes {
            return Err(FilesError::BrokeOff {
                problem: "its host sent no more".to_owned(),
                bytes: taken.bytes,
            });
        }
        let done = self.complete(tenant, upload, whole.bytes, &whole.sha256);
        match done.await {
            Ok(_) => Ok(()),
            Err(error) => {
                if matches!(error, FilesError::Differs { .. }) || taken.bytes > whole.bytes {
                    self.store.drop_extract(upload).await?;
                }
                Err(error)
            }
        }
    }
}
