//! What a container is called: its record, task and snapshot in containerd, and its cgroup.
//!
//! Made for a run it bears the run's key, made in advance it bears the id of its slot, also after a run
//! was given it. Which of the two is told by the run's `launch.json`, and by nothing else.

use std::fmt;
use std::str::FromStr;

use davit_rundir::{LaunchRecord, SlotId};
use davit_types::RunKey;

use super::labels::{LabelMap, of_run, of_slot};

/// The name of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerName {
    /// Made for this execution.
    Run(RunKey),
    /// Made in advance.
    Slot(SlotId),
}

/// A name that davit gives to no container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is the name of no container of davit's")]
pub struct NoContainerName(String);

impl ContainerName {
    /// The container of the execution `key`, launched as `launch` says.
    #[must_use]
    pub fn of_launch(key: RunKey, launch: Option<&LaunchRecord>) -> Self {
        match launch.and_then(|launch| launch.slot.clone()) {
            Some(slot) => Self::Slot(slot),
            None => Self::Run(key),
        }
    }

    /// The slot it was made as.
    #[must_use]
    pub const fn slot(&self) -> Option<&SlotId> {
        match self {
            Self::Run(_) => None,
            Self::Slot(slot) => Some(slot),
        }
    }

    /// The labels of what bears this name.
    pub(super) fn labels(&self) -> LabelMap {
        match self {
            Self::Run(key) => of_run(*key),
            Self::Slot(slot) => of_slot(slot),
        }
    }

    /// The name of an object, if its labels agree that davit made it.
    pub(super) fn of_object(name: &str, labels: &LabelMap) -> Option<Self> {
        let name: Self = name.parse().ok()?;
        let ours = name
            .labels()
            .iter()
            .all(|(label, value)| labels.get(label) == Some(value));
        ours.then_some(name)
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(key) => key.fmt(f),
            Self::Slot(slot) => slot.fmt(f),
        }
    }
}

impl FromStr for ContainerName {
    type Err = NoContainerName;

    fn from_str(text: &str) -> Result<Self, NoContainerName> {
        if let Ok(key) = text.parse() {
            return Ok(Self::Run(key));
        }
        let slot = text.parse().map(Self::Slot);
        slot.map_err(|_| NoContainerName(text.to_owned()))
    }
}

impl From<RunKey> for ContainerName {
    fn from(key: RunKey) -> Self {
        Self::Run(key)
    }
}

impl From<SlotId> for ContainerName {
    fn from(slot: SlotId) -> Self {
        Self::Slot(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::run_of;
    use super::*;
    use davit_types::{Attempt, RunId};

    fn key() -> RunKey {
        RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        }
    }

    #[test]
    fn only_an_object_whose_name_and_labels_agree_is_ours() {
        let slot = SlotId::from_random(7);
        for name in [ContainerName::Run(key()), ContainerName::Slot(slot)] {
            let text = name.to_string();
            let found = |labels: &LabelMap| ContainerName::of_object(&text, labels);
            assert_eq!(found(&name.labels()), Some(name.clone()));
            assert_eq!(found(&ContainerName::Run(key()).labels()), None);
            assert_eq!(found(&LabelMap::new()), None);
            assert_eq!(ContainerName::of_object("other", &name.labels()), None);
        }
    }

    #[test]
    fn a_slot_that_was_given_to_a_run_keeps_its_name() {
        let slot = SlotId::from_random(7);
        let key = key();
        let mut labels = of_slot(&slot);
        labels.extend(of_run(key));
        let found = ContainerName::of_object(slot.as_str(), &labels);
        assert_eq!(found, Some(ContainerName::Slot(slot.clone())));
        assert_eq!(run_of(&labels), Some(key));
        assert_eq!(run_of(&of_slot(&slot)), None);
    }
}
