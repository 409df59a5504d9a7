//! Room for bytes: who wants more than there is gets none.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many bytes.
#[derive(Clone)]
pub(super) struct Room {
    free: Arc<Semaphore>,
}

/// Bytes that were taken; given back when dropped.
pub(super) struct Held {
    permits: Vec<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// So many bytes, at most the batch bound, which every room holds when it is empty.
    pub(super) fn take(&self, bytes: usize) -> Option<Held> {
        let bytes = u32::try_from(bytes).expect("a batch is bounded by less");
        let permit = Arc::clone(&self.free).try_acquire_many_owned(bytes).ok()?;
        Some(Held {
            permits: vec![permit],
        })
    }
}

impl Held {
    pub(super) fn none() -> Self {
        Self { permits: vec![] }
    }

    pub(super) fn join(&mut self, other: Self) {
        self.permits.extend(other.permits);
    }
}
