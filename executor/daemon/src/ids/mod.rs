//! User namespaces: which ids of the host each container has to itself.
//!
//! ```text
//!  Ids::open ── settings, kernel, snapshotter, shim check-ids ──► on, or why not        (support)
//!     │  └───── labels of the containers that are there ───────► what is taken
//!  launch, slot ── allot(name) ──► 65,536 ids ──► spec, label `davit.ids-first`         (before the container is made)
//!  cleanup ─────── release(name)                                                       (after nothing of it is left)
//! ```
//!
//! Invariants:
//! - no id is in two ranges that are taken; a range is taken from before its container's record until nothing of the
//!   container is left, through any death of the executor: the record's label says so;
//! - a range rests as long as there are others: what was forgotten about a run, if anything, meets no other run's ids
//!   soon;
//! - nothing on disk bears ids of a range (the shim maps mounts, and chowns nothing), so giving it on needs no sweep.
//!
//! Absent on purpose: /etc/subuid. It divides a host's ids among those who may map them without privileges; the ranges
//! here are outside of what it, or systemd, gives anybody by default.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use davit_types::{IdRange, OciRuntime};

use self::support::Unsupported;
use crate::containerd::{ContainerName, Containerd, ContainerdError};
use crate::runs::sentence;
use crate::settings::{Settings, UserNamespaceMode, UserNamespaceSettings};

/// Ids of one container, and what the first of its range is a multiple of.
pub(crate) const IDS: u32 = 1 << 16;

/// Every range is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {ranges} ranges of ids for user namespaces are taken (`user_namespaces.ranges`)")]
pub(crate) struct NoRange {
    ranges: u32,
}

/// Why user namespaces cannot be had as set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdsError {
    /// They are required, and cannot be had.
    #[error("{0}")]
    Required(String),
    /// What is taken cannot be asked.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
}

/// The host's ranges.
#[derive(Debug)]
pub(crate) struct Ids {
    absent: Option<String>,
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    first: u32,
    ranges: u32,
    /// The range to be tried first, counted from 0.
    next: u32,
    /// Who has the range that begins at an id.
    taken: BTreeMap<u32, ContainerName>,
}

impl Ids {
    /// Finds out whether this host can, and what is taken.
    ///
    /// # Errors
    /// When the settings want what cannot be had, or containerd fails.
    pub(crate) async fn open(
        settings: &Settings,
        containerd: &Containerd,
        shim: Option<&Path>,
    ) -> Result<Self, IdsError> {
        let mode = settings.user_namespaces.mode;
        // Of one that is away nothing can be asked; nothing is begun before the executor starts anew when it answers.
        let absent = match support::check(settings, containerd, shim).await {
            Ok(()) => None,
            Err(why @ Unsupported::Off) => Some(why.to_string()),
            Err(why) if mode == UserNamespaceMode::Required && containerd.is_known() => {
                return Err(IdsError::Required(sentence(&why)));
            }
            Err(why) => Some(sentence(&why)),
        };
        let ids = Self {
            absent,
            pool: Mutex::new(Pool::new(settings.user_namespaces)),
        };
        if containerd.is_known() {
            for (name, first) in containerd.id_ranges().await? {
                ids.pool().taken.insert(first, name);
            }
        }
        Ok(ids)
    }

    /// Why a container of `runtime` gets no user namespace; `None`: it gets one.
    pub(crate) fn absent_for(&self, runtime: OciRuntime) -> Option<&str> {
        match runtime {
            OciRuntime::Runsc => Some("runsc keeps its jobs from the host's kernel by itself"),
            OciRuntime::Crun | OciRuntime::Runc => self.absent(),
        }
    }

    /// Why no container gets one; `None`: those of crun and runc do.
    pub(crate) fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // A map stays a map even if somebody panicked over it.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A range for `name`, which has it until [`Self::release`]; its own if it has one.
    ///
    /// # Errors
    /// When none is left.
    pub(crate) fn allot(&self, name: &ContainerName) -> Result<IdRange, NoRange> {
        self.pool().allot(name).map(range)
    }

    /// The range of `name`.
    pub(crate) fn of(&self, name: &ContainerName) -> Option<IdRange> {
        self.pool().of(name).map(range)
    }

    /// Nothing is left of `name`.
    pub(crate) fn release(&self, name: &ContainerName) {
        self.pool().taken.retain(|_, holder| holder != name);
    }
}

const fn range(first: u32) -> IdRange {
    IdRange { first, count: IDS }
}

impl Pool {
    const fn new(settings: UserNamespaceSettings) -> Self {
        Self {
            first: settings.first_id,
            ranges: settings.ranges,
            next: 0,
            taken: BTreeMap::new(),
        }
    }

    fn of(&self, name: &ContainerName) -> Option<u32> {
        let mut taken = self.taken.iter();
        taken.find_map(|(first, holder)| (holder == name).then_some(*first))
    }

    fn allot(&mut self, name: &ContainerName) -> Result<u32, NoRange> {
        if let Some(first) = self.of(name) {
            return Ok(first);
        }
        for _ in 0..self.ranges {
            let first = self.first + self.next * IDS;
            self.next = (self.next + 1) % self.ranges;
            // Ranges of other settings than today's may begin anywhere.
            let overlapping = first.saturating_sub(IDS - 1)..=first.saturating_add(IDS - 1);
            if self.taken.range(overlapping).next().is_none() {
                self.taken.insert(first, name.clone());
                return Ok(first);
            }
        }
        Err(NoRange {
            ranges: self.ranges,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_rundir::SlotId;
    use proptest::prelude::*;

    const FIRST: u32 = 1_879_048_192;

    fn pool(ranges: u32) -> Pool {
        Pool::new(UserNamespaceSettings {
            mode: UserNamespaceMode::Auto,
            first_id: FIRST,
            ranges,
        })
    }

    fn name(number: u8) -> ContainerName {
        ContainerName::Slot(SlotId::from_random(number.into()))
    }

    #[test]
    fn a_range_rests_while_there_are_others() {
        let mut pool = pool(3);
        let first = pool.allot(&name(1)).unwrap();
        assert_eq!(pool.allot(&name(1)).unwrap(), first, "it has one");
        pool.taken.clear();
        let others = [2, 3, 4].map(|number| pool.allot(&name(number)).unwrap());
        assert_eq!(others, [FIRST + IDS, FIRST + 2 * IDS, first]);
        assert_eq!(pool.allot(&name(5)), Err(NoRange { ranges: 3 }));
    }

    proptest! {
        #[test]
        fn no_id_is_in_two_ranges(
            found in proptest::collection::btree_map(any::<u32>(), any::<u8>().prop_map(name), 0..3),
            steps in proptest::collection::vec((any::<bool>(), 0..20u8), 1..100),
        ) {
            let mut pool = pool(8);
            pool.taken = found;
            let foreign: Vec<u32> = pool.taken.keys().copied().collect();
            for (allot, number) in steps {
                let name = name(number);
                if !allot {
                    pool.taken.retain(|_, holder| *holder != name);
                    continue;
                }
                let before = pool.of(&name);
                let Ok(first) = pool.allot(&name) else { continue };
                prop_assert_eq!(pool.of(&name), Some(first));
                if before.is_some() {
                    continue;
                }
                prop_assert!((FIRST..FIRST + 8 * IDS).contains(&first) && first % IDS == 0);
                for other in pool.taken.keys().chain(&foreign).filter(|other| pool.taken.contains_key(other)) {
                    prop_assert!(*other == first || other.abs_diff(first) >= IDS, "{other} and {first}");
                }
            }
        }
    }
}
