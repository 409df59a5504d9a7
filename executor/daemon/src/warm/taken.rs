//! What the pool hands out: a slot, and the word that somebody is busy.

use std::sync::Arc;

use davit_rundir::{Assignment, SlotId};
use davit_types::RunKey;

use super::pool::Pool;
use super::profile::ProfileId;
use super::slot::{Line, SlotError};

/// A launch or a clean-up under way; over when dropped.
#[derive(Debug)]
pub(crate) struct Busy {
    pool: Pool,
}

impl Busy {
    pub(super) const fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.pool.not_busy();
    }
}

/// A slot taken from the pool: a run's, or destroyed when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    pool: Pool,
    profile: ProfileId,
    slot: SlotId,
    line: Arc<Line>,
    settled: bool,
}

impl Taken {
    pub(super) const fn new(pool: Pool, profile: ProfileId, slot: SlotId, line: Arc<Line>) -> Self {
        Self {
            pool,
            profile,
            slot,
            line,
            settled: false,
        }
    }

    /// Its name.
    pub(crate) const fn id(&self) -> &SlotId {
        &self.slot
    }

    /// Gives it to a run, whose `launch.json` names it, durably.
    pub(crate) async fn assign(&self, assignment: Assignment) -> Result<(), SlotError> {
        self.line.assign(assignment).await
    }

    /// It is the run `key` now.
    pub(crate) fn become_run(mut self, key: RunKey) {
        self.settled = true;
        self.pool.given(self.profile, self.slot.clone(), key);
    }

    /// It did not become a run; the caller removes it.
    pub(crate) fn spoil(mut self) {
        self.settled = true;
        self.pool.spoiled(self.profile);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.settled {
            self.pool.dropped(self.slot.clone());
        }
    }
}
