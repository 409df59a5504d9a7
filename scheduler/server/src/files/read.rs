//! What is kept, read from any offset, a part at a time.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::limits::{DOWNLOADS_MAX, PART_ROWS_MAX};
use super::{Files, FilesError, permit};
use crate::store::UploadPart;

/// Reads a kept file; counted among the streams while it is there.
pub struct Reader {
    files: Files,
    upload: Uuid,
    /// Where it goes on.
    offset: u64,
    /// Where it ends.
    end: u64,
    parts: VecDeque<UploadPart>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Files {
    /// Reads an upload from `offset` to before `end`, which it reaches.
    ///
    /// # Errors
    /// As many are read as may be.
    pub fn read(&self, upload: Uuid, offset: u64, end: u64) -> Result<Reader, FilesError> {
        Ok(self.reader(upload, offset, end, self.stream()?))
    }

    /// The same for a user, who may read as slowly as it likes.
    ///
    /// # Errors
    /// As many are downloaded as may be.
    pub(crate) fn download(
        &self,
        upload: Uuid,
        offset: u64,
        end: u64,
    ) -> Result<Reader, FilesError> {
        let permit = permit(&self.downloads, DOWNLOADS_MAX)?;
        Ok(self.reader(upload, offset, end, permit))
    }

    fn reader(&self, upload: Uuid, offset: u64, end: u64, permit: OwnedSemaphorePermit) -> Reader {
        Reader {
            files: self.clone(),
            upload,
            offset,
            end,
            parts: VecDeque::new(),
            _permit: permit,
        }
    }
}

impl Reader {
    /// The next piece, at most a part; `None` at the end.
    ///
    /// # Errors
    /// The stores'; a part that is not there.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FilesError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        if self.parts.is_empty() {
            let rows = self
                .files
                .store
                .upload_parts(self.upload, self.offset, PART_ROWS_MAX);
            self.parts = rows.await?.into();
        }
        let offset = self.offset;
        let lost = FilesError::Lost { offset };
        let Some(part) = self.parts.pop_front().filter(|part| part.begins <= offset) else {
            return Err(lost);
        };
        let mut bytes = self.files.objects.read(&part.object).await?;
        if bytes.len() as u64 != part.bytes {
            return Err(lost);
        }
        let skipped = usize::try_from(offset - part.begins).unwrap_or(usize::MAX);
        let wanted = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
        let mut piece = bytes.split_off(skipped.min(bytes.len()));
        piece.truncate(wanted);
        self.offset += piece.len() as u64;
        Ok(Some(piece))
    }
}
