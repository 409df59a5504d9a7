//! The slots that wait, and who is told what of them.
//!
//! How slots go, and how their going is waited for, is in `going`.

mod going;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use davit_rundir::SlotId;
use davit_types::RunKey;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::policy::{Bounds, Policy};
use super::profile::{Blueprint, Profile, ProfileId};
use super::slot::Line;
use super::taken::{Busy, Taken};
use super::users::Users;
use crate::settings::WarmSettings;

/// How long launches and clean-ups must have been over before a slot is made, and how long one waits for
/// that, milliseconds.
const QUIET_MS: u64 = 3;
const QUIET_WAIT_MS_MAX: u64 = 250;

/// The pool. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    on: bool,
    begun: Instant,
    shelf: Mutex<Shelf>,
    users: Users,
    /// Launches and clean-ups under way.
    busy: watch::Sender<usize>,
    /// For the keeper: there may be something to do.
    changed: Notify,
    /// For those who wait for slots to go.
    gone: Notify,
}

#[derive(Debug)]
struct Shelf {
    open: bool,
    policy: Policy<ProfileId>,
    blueprints: HashMap<ProfileId, Arc<Blueprint>>,
    waiting: HashMap<ProfileId, Vec<Waiting>>,
    /// Every slot this executor made and did not remove yet.
    ours: HashMap<SlotId, Ours>,
    /// To be destroyed.
    discarded: Vec<SlotId>,
    /// To be labelled with their run.
    given: Vec<(SlotId, RunKey)>,
}

#[derive(Debug)]
struct Waiting {
    slot: SlotId,
    line: Arc<Line>,
    watcher: AbortHandle,
}

#[derive(Debug)]
struct Ours {
    image_digest: String,
    given: bool,
}

/// What the keeper is to do.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) make: Vec<Profile>,
    pub(super) destroy: Vec<SlotId>,
    pub(super) label: Vec<(SlotId, RunKey)>,
    pub(super) again: Option<Duration>,
    pub(super) ready: usize,
    pub(super) making: usize,
}

impl Pool {
    /// An empty one; the keeper fills it.
    pub(crate) fn new(settings: &WarmSettings) -> Self {
        let policy = Policy::new(Bounds {
            slots_per_profile: settings.slots_per_profile,
            slots_max: settings.slots_max,
            idle_ms: settings.idle_seconds.saturating_mul(1_000),
        });
        Self {
            inner: Arc::new(Inner {
                on: policy.is_on(),
                begun: Instant::now(),
                shelf: Mutex::new(Shelf {
                    open: true,
                    policy,
                    blueprints: HashMap::new(),
                    waiting: HashMap::new(),
                    ours: HashMap::new(),
                    discarded: Vec::new(),
                    given: Vec::new(),
                }),
                users: Users::default(),
                busy: watch::Sender::new(0),
                changed: Notify::new(),
                gone: Notify::new(),
            }),
        }
    }

    /// Whether the settings allow any slot.
    pub(crate) fn is_on(&self) -> bool {
        self.inner.on
    }

    /// Users looked up in images.
    pub(crate) fn users(&self) -> &Users {
        &self.inner.users
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Counts and lists stay true even if somebody panicked over them.
        self.inner
            .shelf
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.inner.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A slot of `profile`, if one waits; the demand is noted either way.
    pub(crate) fn take(&self, profile: &Profile) -> Option<Taken> {
        let now_ms = self.now_ms();
        let mut shelf = self.shelf();
        let Some(waiting) = shelf.waiting.get_mut(&profile.id).and_then(Vec::pop) else {
            shelf.miss(profile, now_ms);
            drop(shelf);
            self.inner.changed.notify_one();
            return None;
        };
        shelf.policy.hit(profile.id, now_ms);
        drop(shelf);
        waiting.watcher.abort();
        self.inner.changed.notify_one();
        Some(Taken::new(
            self.clone(),
            profile.id,
            waiting.slot,
            waiting.line,
        ))
    }

    /// A run of `profile` was launched without asking for a slot.
    pub(crate) fn missed(&self, profile: &Profile) {
        self.shelf().miss(profile, self.now_ms());
        self.inner.changed.notify_one();
    }

    /// Something is under way that making slots must not be in the way of.
    pub(crate) fn busy(&self) -> Busy {
        self.inner.busy.send_modify(|busy| *busy += 1);
        Busy::new(self.clone())
    }

    pub(super) fn not_busy(&self) {
        self.inner.busy.send_modify(|busy| *busy -= 1);
    }

    /// Returns once nothing is under way, or after a while.
    pub(super) async fn quiet(&self) {
        let mut busy = self.inner.busy.subscribe();
        let quiet = async {
            loop {
                // The sender is ours: it cannot be gone.
                drop(busy.wait_for(|busy| *busy == 0).await);
                tokio::time::sleep(Duration::from_millis(QUIET_MS)).await;
                if matches!(busy.has_changed(), Ok(false)) {
                    return;
                }
            }
        };
        drop(tokio::time::timeout(Duration::from_millis(QUIET_WAIT_MS_MAX), quiet).await);
    }

    /// Returns when there may be something to do.
    pub(super) async fn changed(&self) {
        self.inner.changed.notified().await;
    }

    /// What is to be done now; it counts as begun.
    pub(super) fn work(&self) -> Work {
        let now_ms = self.now_ms();
        let mut shelf = self.shelf();
        let mut work = Work::default();
        if shelf.open {
            let plan = shelf.policy.plan(now_ms);
            for profile in plan.drop {
                let surplus = shelf.waiting.get_mut(&profile).and_then(Vec::pop);
                shelf.discard(surplus);
            }
            let blueprints = &shelf.blueprints;
            let known = |id| Some((id, Arc::clone(blueprints.get(&id)?)));
            let make = plan.make.into_iter().filter_map(known);
            work.make = make
                .map(|(id, blueprint)| Profile { id, blueprint })
                .collect();
            let again = plan.again_ms.map(|at_ms| at_ms.saturating_sub(now_ms));
            work.again = again.map(Duration::from_millis);
            let Shelf {
                policy, blueprints, ..
            } = &mut *shelf;
            blueprints.retain(|id, _| policy.knows(*id));
        }
        work.destroy = std::mem::take(&mut shelf.discarded);
        work.label = std::mem::take(&mut shelf.given);
        (work.ready, work.making) = shelf.policy.counts();
        work
    }

    /// A slot is about to be made; false if nobody wants it any more.
    pub(super) fn begin(&self, profile: &Profile, slot: &SlotId) -> bool {
        let mut shelf = self.shelf();
        if !shelf.open || !shelf.policy.knows(profile.id) {
            shelf.policy.unmade(profile.id);
            return false;
        }
        let ours = Ours {
            image_digest: profile.blueprint.image_digest.clone(),
            given: false,
        };
        shelf.ours.insert(slot.clone(), ours);
        true
    }

    /// Takes in a slot that was made, or has it destroyed if nobody wants it any more.
    pub(super) fn shelve(&self, profile: ProfileId, slot: SlotId, line: Line) {
        let line = Arc::new(line);
        let (pool, watched, id) = (self.clone(), Arc::clone(&line), slot.clone());
        let mut shelf = self.shelf();
        if !shelf.open || !shelf.policy.made(profile) {
            shelf.discarded.push(slot);
            drop(shelf);
            return self.inner.changed.notify_one();
        }
        let watcher = tokio::spawn(async move {
            watched.is_over().await;
            pool.died(profile, &id);
        });
        shelf.waiting.entry(profile).or_default().push(Waiting {
            slot,
            line,
            watcher: watcher.abort_handle(),
        });
    }

    /// A slot was not made, and what there was of it is removed.
    pub(super) fn failed(&self, profile: ProfileId, problem: &str) {
        let retry_ms = self.shelf().policy.failed(profile, self.now_ms());
        tracing::warn!(problem, retry_ms, "cannot make a warm slot");
        self.inner.changed.notify_one();
    }

    /// The shim of a slot is gone. Of a slot that was taken, whoever took it finds out.
    fn died(&self, profile: ProfileId, slot: &SlotId) {
        let now_ms = self.now_ms();
        let mut shelf = self.shelf();
        let waiting = shelf.waiting.entry(profile).or_default();
        let Some(at) = waiting.iter().position(|waiting| waiting.slot == *slot) else {
            return;
        };
        waiting.swap_remove(at);
        shelf.discarded.push(slot.clone());
        let retry_ms = shelf.policy.died(profile, now_ms);
        drop(shelf);
        tracing::warn!(%slot, retry_ms, "the shim of a warm slot died: the slot is replaced");
        self.inner.changed.notify_one();
    }

    /// A slot that was taken is the run `key` now.
    pub(super) fn given(&self, profile: ProfileId, slot: SlotId, key: RunKey) {
        let mut shelf = self.shelf();
        shelf.policy.worked(profile);
        if let Some(ours) = shelf.ours.get_mut(&slot) {
            ours.given = true;
        }
        shelf.given.push((slot, key));
        drop(shelf);
        self.inner.changed.notify_one();
    }

    /// A slot that was taken did not become a run; who took it removes it.
    pub(super) fn spoiled(&self, profile: ProfileId) {
        self.shelf().policy.refused(profile, self.now_ms());
    }

    /// A slot that was taken is nobody's.
    pub(super) fn dropped(&self, slot: SlotId) {
        self.shelf().discarded.push(slot);
        self.inner.changed.notify_one();
    }
}

impl Shelf {
    fn miss(&mut self, profile: &Profile, now_ms: u64) {
        if !self.open {
            return;
        }
        if let Some(forgotten) = self.policy.miss(profile.id, now_ms) {
            self.forget(forgotten);
        }
        if self.policy.knows(profile.id) {
            let blueprint = || Arc::clone(&profile.blueprint);
            self.blueprints.entry(profile.id).or_insert_with(blueprint);
        }
    }

    fn forget(&mut self, profile: ProfileId) {
        self.policy.forget(profile);
        self.blueprints.remove(&profile);
        let waiting = self.waiting.remove(&profile);
        self.discard(waiting.into_iter().flatten());
    }

    fn discard(&mut self, slots: impl IntoIterator<Item = Waiting>) {
        for waiting in slots {
            waiting.watcher.abort();
            self.discarded.push(waiting.slot);
        }
    }
}
