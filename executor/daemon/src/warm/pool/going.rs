//! Slots that go: with their image, for their memory, with the executor; and whose a slot is until then.
//!
//! A slot counts as this executor's from before its first directory until nothing of it is left, so that whoever
//! sweeps or waits sees it the whole time. Nothing is destroyed here: the keeper does that, by the list of the
//! discarded. Every wait ends after [`DESTROYED_MS_MAX`]; what is left then is the next executor's to remove.

use std::time::Duration;

use davit_rundir::SlotId;

use super::{Ours, Pool};
use crate::containerd::ContainerName;
use crate::warm::profile::{Blueprint, ProfileId};

/// Longest time that the removal of an image, or going down, waits for slots to be destroyed, milliseconds.
const DESTROYED_MS_MAX: u64 = 10_000;

impl Pool {
    /// Nothing is left of the container `name`.
    pub(crate) fn is_gone(&self, name: &ContainerName) {
        if let Some(slot) = name.slot() {
            self.shelf().ours.remove(slot);
            self.inner.gone.notify_waiters();
        }
    }

    /// Whether the slot is this executor's: being made, waiting, a run's or being destroyed.
    pub(crate) fn owns(&self, slot: &SlotId) -> bool {
        self.shelf().ours.contains_key(slot)
    }

    /// Whether the container `name` is a slot of this executor's that is no run.
    pub(crate) fn holds(&self, name: &str) -> bool {
        let Ok(slot) = name.parse::<SlotId>() else {
            return false;
        };
        self.shelf().ours.get(&slot).is_some_and(|ours| !ours.given)
    }

    /// Has the slots of an image destroyed; returns once they are, or after a while.
    pub(crate) async fn release(&self, image_digest: &str) {
        self.forget(|blueprint| blueprint.image_digest == image_digest);
        self.destroyed(|ours| ours.image_digest == image_digest)
            .await;
    }

    /// Has all waiting slots destroyed: their memory is needed. They come back with the demand.
    pub(in crate::warm) fn shrink(&self) {
        self.forget(|_| true);
        self.inner.changed.notify_one();
    }

    fn forget(&self, those: impl Fn(&Blueprint) -> bool) {
        let mut shelf = self.shelf();
        let profiles: Vec<ProfileId> = shelf
            .blueprints
            .iter()
            .filter(|(_, blueprint)| those(blueprint))
            .map(|(profile, _)| *profile)
            .collect();
        for profile in profiles {
            shelf.forget(profile);
        }
    }

    /// Takes no more demand and has all slots destroyed; returns once they are, or after a while.
    pub(crate) async fn close(&self) {
        self.shelf().open = false;
        self.shrink();
        self.destroyed(|_| true).await;
    }

    /// Waits until none of `those` slots is left that is no run.
    async fn destroyed(&self, those: impl Fn(&Ours) -> bool) {
        self.inner.changed.notify_one();
        let all = async {
            loop {
                let gone = self.inner.gone.notified();
                tokio::pin!(gone);
                gone.as_mut().enable();
                let left = |ours: &Ours| !ours.given && those(ours);
                if !self.shelf().ours.values().any(left) {
                    return;
                }
                gone.await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(DESTROYED_MS_MAX), all)
            .await
            .is_err()
        {
            tracing::warn!(
                "warm slots are not destroyed yet; they will be, by the next executor if need be"
            );
        }
    }
}
