//! Room for bytes: who wants more than there is waits his turn.

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

    /// Waits for so many bytes, at most the batch bound, which every room holds.
    pub(super) async fn take(&self, bytes: usize) -> Held {
        let bytes = u32::try_from(bytes).expect("a batch is bounded by less");
        let permit = Arc::clone(&self.free).acquire_many_owned(bytes).await;
        Held {
            permits: vec![permit.expect("this semaphore is never closed")],
        }
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
