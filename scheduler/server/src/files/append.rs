//! A body on its way to objects.
//!
//! Bytes are gathered up to a part, stored, and told to the store, part after part. A body that breaks off leaves what came of
//! it: its last part is as short as it is.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use davit_types::Tenant;
use futures::{Stream, StreamExt};
use uuid::Uuid;

use super::limits::{PART_BYTES_MAX, SILENT_MS_MAX};
use super::{Files, FilesError, prefix};
use crate::store::{Refusal, Upload, UploadPart};

impl Files {
    /// Adds what `body` brings at the end of an upload, which must be `offset`.
    ///
    /// # Errors
    /// The upload goes on elsewhere, is complete, not there, or would be too large; the body broke off; the stores'. What was
    /// stored before stays.
    pub async fn append<E: Display>(
        &self,
        tenant: &Tenant,
        upload: Uuid,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Upload, FilesError> {
        let _permit = self.stream()?;
        let whole = self.show(tenant, upload).await?;
        if let Some(sha256) = whole.sha256 {
            return Err(Refusal::UploadComplete { sha256 }.into());
        }
        if whole.bytes != offset {
            let expected = whole.bytes;
            return Err(Refusal::UploadOffset { expected }.into());
        }
        let mut sink = Sink {
            files: self,
            whole,
            part: BytesMut::new(),
        };
        let mut body = pin!(body);
        let limit = Duration::from_millis(SILENT_MS_MAX);
        let problem = loop {
            match tokio::time::timeout(limit, body.next()).await {
                Ok(Some(Ok(piece))) => sink.take(piece).await?,
                Ok(None) => break None,
                Ok(Some(Err(error))) => break Some(error.to_string()),
                Err(_) => break Some(format!("nothing came for {SILENT_MS_MAX} ms")),
            }
        };
        sink.store().await?;
        match problem {
            None => Ok(sink.whole),
            Some(problem) => Err(FilesError::BrokeOff {
                problem,
                bytes: sink.whole.bytes,
            }),
        }
    }
}

struct Sink<'a> {
    files: &'a Files,
    /// As it is stored.
    whole: Upload,
    /// What is not stored yet.
    part: BytesMut,
}

impl Sink<'_> {
    async fn take(&mut self, mut piece: Bytes) -> Result<(), FilesError> {
        let bytes_max = self.files.settings.upload_bytes_max;
        let bytes = self.whole.bytes + (self.part.len() + piece.len()) as u64;
        if bytes > bytes_max {
            return Err(FilesError::TooLarge { bytes_max });
        }
        while !piece.is_empty() {
            let room = PART_BYTES_MAX - self.part.len();
            self.part
                .extend_from_slice(&piece.split_to(room.min(piece.len())));
            if self.part.len() == PART_BYTES_MAX {
                self.store().await?;
            }
        }
        Ok(())
    }

    /// Stores what was gathered.
    async fn store(&mut self) -> Result<(), FilesError> {
        if self.part.is_empty() {
            return Ok(());
        }
        let bytes = self.part.split().freeze();
        let begins = self.whole.bytes;
        let below = prefix(self.whole.upload);
        let part = UploadPart {
            upload: self.whole.upload,
            begins,
            bytes: bytes.len() as u64,
            object: format!("{below}/{begins:020}-{}", Uuid::new_v4().simple()),
        };
        self.files.objects.put(&part.object, bytes).await?;
        let tenant = self.whole.tenant.clone();
        let bytes_max = self.files.settings.tenant_bytes_max;
        let added = self.files.store.add_upload_part(tenant, part, bytes_max);
        self.whole = added.await??;
        Ok(())
    }
}
