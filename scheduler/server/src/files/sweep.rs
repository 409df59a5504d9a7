//! Uploads that expired and that no run uses any more: objects first, then rows. A crash between leaves rows whose objects
//! are gone; the next sweep is content with that.

use super::limits::{SWEEP_ROWS_MAX, SWEEP_UPLOADS_MAX};
use super::{FilesError, prefix};
use crate::logs::Objects;
use crate::store::Store;

pub(super) async fn sweep(
    store: &dyn Store,
    objects: &Objects,
    grace_ms: u64,
) -> Result<usize, FilesError> {
    let mut total = 0;
    while total < SWEEP_UPLOADS_MAX {
        let expired = store.expired_uploads(grace_ms, SWEEP_ROWS_MAX).await?;
        if expired.is_empty() {
            break;
        }
        for upload in &expired {
            objects.delete_below(&prefix(*upload)).await?;
        }
        total += expired.len();
        store.forget_uploads(expired).await?;
    }
    Ok(total)
}
