//! Files that come out of runs, as the store knows them: their bytes are an upload's.

use davit_types::{RunKey, Tenant};
use uuid::Uuid;

/// What a host is about to send of an attempt of its own.
#[derive(Clone, Debug)]
pub struct NewExtract {
    /// Of which attempt.
    pub key: RunKey,
    /// Which of the run's, from 0.
    pub number: u32,
    /// Whose run.
    pub tenant: Tenant,
    /// The upload that takes its bytes, unless one does already.
    pub upload: Uuid,
    /// How long that may be added to, milliseconds.
    pub life_ms: u64,
}
