//! One host: what it told, what is reserved on it, and what it offers to whom.
//!
//! Invariants: `used` is the sum of what its live runs take; what is offered to a run never exceeds what is free.

use davit_types::RunKey;

use crate::amounts::Amounts;
use crate::bounds;
use crate::error::Refused;
use crate::health::Health;
use crate::names::{HostName, ImageRef, Region};
use crate::run::{Age, Priority, check_amounts, check_count};

/// What is known of a host from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostState {
    /// Connected here: may be given runs.
    Online,
    /// Connected here, finishes what it has.
    Draining,
    /// Not connected. What it holds stays reserved until somebody ends it.
    Offline,
    /// Connected to another replica, which alone places runs on it.
    Remote,
}

/// A host as it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its name.
    pub name: HostName,
    /// The epoch of its session; goes with every assignment to it.
    pub epoch: u64,
    /// Where it stands.
    pub region: Region,
    /// What the operator calls it.
    pub labels: Vec<(String, String)>,
    /// All it may give to runs.
    pub capacity: Amounts,
    /// Images it holds.
    pub images: Vec<ImageRef>,
    /// Whether it may be given runs.
    pub state: HostState,
}

impl HostSpec {
    /// Checked, with its lists in order and without doubles.
    pub(crate) fn canonical(mut self) -> Result<Self, Refused> {
        let what = format!("host {}", self.name);
        check_amounts(&what, &self.capacity, [0; 4])?;
        check_count(&what, "labels", self.labels.len(), bounds::LABELS_MAX)?;
        check_count(
            &what,
            "images",
            self.images.len(),
            bounds::IMAGES_PER_HOST_MAX,
        )?;
        self.labels.sort_unstable();
        self.labels.dedup();
        self.images.sort_unstable();
        self.images.dedup();
        Ok(self)
    }
}

/// How a host stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Takes runs.
    Online,
    /// Takes none, by the operator's will.
    Draining,
    /// Not connected.
    Offline,
    /// Another replica's.
    Remote,
    /// Kept off after failed starts.
    Quarantined,
    /// Takes one run, to see whether that starts.
    Probing,
}

/// A host as explained to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostView {
    /// How it stands.
    pub standing: Standing,
    /// All it may give.
    pub capacity: Amounts,
    /// What its live runs take.
    pub used: Amounts,
    /// How many those are. A draining host is drained at 0.
    pub live: usize,
    /// The run it is reserved for, if any.
    pub reserved_for: Option<RunKey>,
}

/// Room kept for a run that waited long and was passed.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) run: usize,
    pub(crate) need: Amounts,
    pub(crate) priority: Priority,
    /// What runs given to the host since the reservation take.
    pub(crate) admitted: Amounts,
    /// The number of the last assignment before it.
    pub(crate) since: u64,
}

/// The run that a host was given last, and whose turn that was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) need: Amounts,
    pub(crate) priority: Priority,
    pub(crate) tenant: usize,
    /// What the tenant held just before.
    pub(crate) share: u64,
    pub(crate) age: Age,
    /// The how-manieth assignment it was.
    pub(crate) number: u64,
}

impl Given {
    /// Whether that passed a run which has waited for room longer: its turn comes first, and the room that was given
    /// did not hold it.
    pub(crate) fn passed(&self, waiting: &Self) -> bool {
        let later = if self.priority != waiting.priority {
            self.priority < waiting.priority
        } else if self.tenant == waiting.tenant || self.share == waiting.share {
            self.age > waiting.age
        } else {
            self.share > waiting.share
        };
        later && self.number > waiting.number && !waiting.need.within(&self.need)
    }
}

/// A host within the engine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) spec: HostSpec,
    pub(crate) health: Health,
    pub(crate) used: Amounts,
    /// Its live runs, in no order.
    pub(crate) live: Vec<usize>,
    pub(crate) load: u32,
    /// Boxed: few hosts have one, and there are many hosts.
    pub(crate) reservation: Option<Box<Reservation>>,
    pub(crate) given: Option<Given>,
    /// The images it holds by number, in order; its spec names none.
    pub(crate) images: Vec<usize>,
    /// What it [`offers`](Host::offer) as it is.
    pub(crate) offered: Amounts,
    /// Whether it is noted as grown.
    pub(crate) has_grown: bool,
    /// Its region's pool, and its place there.
    pub(crate) pool: usize,
    pub(crate) place: usize,
}

impl Host {
    /// Whether runs may be given to it at all.
    pub(crate) fn is_open(&self) -> bool {
        self.spec.state == HostState::Online && self.health.admits()
    }

    pub(crate) fn holds(&self, image: usize) -> bool {
        self.images.binary_search(&image).is_ok()
    }

    /// What nobody uses.
    pub(crate) fn free(&self) -> Amounts {
        self.spec.capacity.minus(self.used)
    }

    /// What any run may take: nothing that would delay the run it is reserved for.
    pub(crate) fn offer(&self) -> Amounts {
        if !self.is_open() {
            return Amounts::ZERO;
        }
        match &self.reservation {
            None => self.free(),
            Some(kept) => {
                let beside = self.spec.capacity.minus(kept.need).minus(kept.admitted);
                self.free().lower(beside)
            }
        }
    }

    /// What a run of `priority` may take: a reservation does not hold against a more urgent run.
    pub(crate) fn offer_to(&self, priority: Priority) -> Amounts {
        match &self.reservation {
            Some(kept) if self.is_open() && kept.priority < priority => self.free(),
            _ => self.offered,
        }
    }

    pub(crate) const fn standing(&self) -> Standing {
        match (self.spec.state, &self.health) {
            (HostState::Draining, _) => Standing::Draining,
            (HostState::Offline, _) => Standing::Offline,
            (HostState::Remote, _) => Standing::Remote,
            (HostState::Online, Health::Trusted { .. }) => Standing::Online,
            (HostState::Online, Health::Quarantined { .. }) => Standing::Quarantined,
            (HostState::Online, Health::Probing { .. }) => Standing::Probing,
        }
    }
}
