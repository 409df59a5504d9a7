//! A run as placement sees it: whose, how urgent, and what it asks of a host.
//!
//! Absent on purpose: everything about what it executes.

use std::fmt;

use davit_types::{RunId, RunKey, Tenant};
use uuid::Uuid;

use crate::amounts::{Amounts, Dimension};
use crate::bounds;
use crate::error::Refused;
use crate::names::{HostName, ImageRef, Region, RunnerName};

/// How urgent: 1 to 100, higher goes first. 50 is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Of runs that name none.
    pub const USUAL: Self = Self(50);
    /// The least urgent.
    pub const MIN: Self = Self(1);
    /// The most urgent.
    pub const MAX: Self = Self(100);

    /// Priority `n`, if it is one.
    #[must_use]
    pub const fn new(n: u8) -> Option<Self> {
        if n < Self::MIN.0 || n > Self::MAX.0 {
            return None;
        }
        Some(Self(n))
    }

    /// The number, 1 to 100.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::USUAL
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The saved runner that a run is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Its name.
    pub name: RunnerName,
    /// How many of its runs may be live at once; the number told last counts for all its runs.
    pub live_max: Option<u32>,
}

/// What a run asks of a host. Runs that ask for the same are one class: where one finds no room, none does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wants {
    /// What it takes. At least one of CPU, memory and pids each.
    pub need: Amounts,
    /// The only region it may go to.
    pub region: Option<Region>,
    /// The only executors it may go to; empty for any.
    pub executors: Vec<HostName>,
    /// Labels that its host must have.
    pub labels: Vec<(String, String)>,
    /// Hosts it must not go to, since it failed to start there. Whoever retries a run decides how long that lasts.
    pub excluded: Vec<HostName>,
}

impl Wants {
    /// Wants nothing but `need`.
    #[must_use]
    pub fn only(need: Amounts) -> Self {
        Self {
            need,
            ..Self::default()
        }
    }

    /// Checked, with every list in one order: equal demands are equal.
    pub(crate) fn canonical(mut self, whose: &dyn fmt::Display) -> Result<Self, Refused> {
        check_amounts(whose, &self.need, [1, 1, 1, 0])?;
        check_count(
            whose,
            "executors",
            self.executors.len(),
            bounds::EXECUTORS_PER_RUN_MAX,
        )?;
        check_count(
            whose,
            "excluded hosts",
            self.excluded.len(),
            bounds::EXCLUDED_PER_RUN_MAX,
        )?;
        check_count(whose, "labels", self.labels.len(), bounds::LABELS_MAX)?;
        self.executors.sort_unstable();
        self.executors.dedup();
        self.labels.sort_unstable();
        self.labels.dedup();
        self.excluded.sort_unstable();
        self.excluded.dedup();
        Ok(self)
    }
}

/// A run to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Which attempt of which run.
    pub key: RunKey,
    /// Whose.
    pub tenant: Tenant,
    /// The saved runner it is of; a one-off run has none.
    pub runner: Option<Runner>,
    /// How urgent.
    pub priority: Priority,
    /// When it joined the queue, in whatever counts up: smaller is older. A retry keeps its run's number.
    pub sequence: u64,
    /// The image it needs, as hosts tell theirs.
    pub image: Option<ImageRef>,
    /// What it asks of a host.
    pub wants: Wants,
}

/// A place in the order of age; no two runs have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Age {
    pub(crate) sequence: u64,
    pub(crate) run: RunId,
}

impl Age {
    /// None is older.
    pub(crate) const OLDEST: Self = Self {
        sequence: 0,
        run: RunId::from_uuid(Uuid::nil()),
    };
}

pub(crate) fn check_amounts(
    whose: &dyn fmt::Display,
    amounts: &Amounts,
    min: [u64; 4],
) -> Result<(), Refused> {
    let max = bounds::HOST_AMOUNT_MAX;
    for (at, amount) in amounts.to_array().into_iter().enumerate() {
        if amount < min[at] || amount > max {
            return Err(Refused::Amount {
                what: whose.to_string(),
                dimension: Dimension::ALL[at],
                amount,
                min: min[at],
                max,
            });
        }
    }
    Ok(())
}

pub(crate) fn check_count(
    whose: &dyn fmt::Display,
    items: &'static str,
    count: usize,
    max: usize,
) -> Result<(), Refused> {
    if count > max {
        return Err(Refused::TooMany {
            what: whose.to_string(),
            items,
            count,
            max,
        });
    }
    Ok(())
}
