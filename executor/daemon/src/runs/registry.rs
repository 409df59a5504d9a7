//! Which runs there are: live ones by handle, ended ones by directory. A plain map under a short lock
//! that is never held across an await.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use davit_rundir::RunDir;
use davit_types::RunId;

use super::{RunError, RunHandle};

/// Shortest id prefix accepted as a reference, characters.
const PREFIX_CHARS_MIN: usize = 4;

/// A run the host knows.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// It has an owner.
    Live {
        name: Option<String>,
        handle: RunHandle,
    },
    /// Its verdict and everything else is on disk only.
    Ended { name: Option<String>, dir: RunDir },
}

impl Entry {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Live { name, .. } | Self::Ended { name, .. } => name.as_deref(),
        }
    }

    /// Whether it counts against the bound and holds its name.
    pub(super) fn is_live(&self) -> bool {
        match self {
            Self::Live { handle, .. } => !handle.view.borrow().is_over(),
            Self::Ended { .. } => false,
        }
    }
}

/// All runs of this host.
#[derive(Debug)]
pub(super) struct Registry {
    live_runs_max: usize,
    runs: Mutex<BTreeMap<RunId, Entry>>,
}

impl Registry {
    pub(super) fn new(live_runs_max: usize) -> Self {
        Self {
            live_runs_max,
            runs: Mutex::default(),
        }
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Entry>> {
        // Each change is one insert or remove: there is no half-made state to be poisoned.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a new run, unless the host is full or its name taken.
    pub(super) fn admit(&self, name: Option<String>, handle: RunHandle) -> Result<(), RunError> {
        let mut runs = self.runs();
        if runs.values().filter(|entry| entry.is_live()).count() >= self.live_runs_max {
            return Err(RunError::TooManyLive {
                live_runs_max: self.live_runs_max,
            });
        }
        let holder = runs.iter().find(|(_, entry)| {
            name.is_some() && entry.is_live() && entry.name() == name.as_deref()
        });
        if let (Some((holder, _)), Some(name)) = (holder, &name) {
            return Err(RunError::NameTaken {
                name: name.clone(),
                holder: *holder,
            });
        }
        runs.insert(handle.run, Entry::Live { name, handle });
        Ok(())
    }

    /// Takes in a run found on disk: it was admitted once, bounds do not apply again.
    pub(super) fn restore(&self, run: RunId, entry: Entry) {
        self.runs().insert(run, entry);
    }

    /// From now on the run is known by its directory.
    pub(super) fn retire(&self, run: RunId, dir: RunDir) {
        if let Some(entry) = self.runs().get_mut(&run) {
            let name = entry.name().map(str::to_owned);
            *entry = Entry::Ended { name, dir };
        }
    }

    pub(super) fn forget(&self, run: RunId) {
        self.runs().remove(&run);
    }

    pub(super) fn knows(&self, run: RunId) -> bool {
        self.runs().contains_key(&run)
    }

    /// All runs, oldest first.
    pub(super) fn all(&self) -> Vec<(RunId, Entry)> {
        self.runs()
            .iter()
            .map(|(run, entry)| (*run, entry.clone()))
            .collect()
    }

    /// The run `reference` means: by id, by name (a live run's before an ended one's, the latest of
    /// those), or by the beginning of its id.
    pub(super) fn find(&self, reference: &str) -> Result<(RunId, Entry), RunError> {
        let runs = self.runs();
        let whole = |run: &RunId, entry: &Entry| (*run, entry.clone());
        if let Ok(run) = reference.parse::<RunId>()
            && let Some(entry) = runs.get(&run)
        {
            return Ok((run, entry.clone()));
        }
        let named = || {
            runs.iter()
                .rev()
                .filter(|(_, entry)| entry.name() == Some(reference))
        };
        if let Some((run, entry)) = named()
            .find(|(_, entry)| entry.is_live())
            .or(named().next())
        {
            return Ok(whole(run, entry));
        }
        let mut begun = runs.iter().filter(|(run, _)| {
            reference.len() >= PREFIX_CHARS_MIN && run.to_string().starts_with(reference)
        });
        match (begun.next(), begun.count()) {
            (Some((run, entry)), 0) => Ok(whole(run, entry)),
            (Some(_), more) => Err(RunError::Ambiguous {
                reference: reference.to_owned(),
                matches: more + 1,
            }),
            (None, _) => Err(RunError::NotFound {
                reference: reference.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::View;
    use crate::runs::samples::spec;
    use davit_lifecycle::State;
    use davit_rundir::{FORMAT_VERSION, SpecRecord, Stamp};
    use std::sync::Arc;
    use tokio::sync::{mpsc, watch};

    fn live(state: State) -> RunHandle {
        let spec = spec();
        let run = spec.run_id;
        let record = SpecRecord {
            version: FORMAT_VERSION,
            accepted: Stamp::now(),
            spec,
        };
        let dir = RunDir::at(std::path::Path::new("/nowhere"), record.spec.key());
        let mut view = View::accepted(dir, Arc::new(record));
        view.state = state;
        RunHandle {
            run,
            commands: mpsc::channel(1).0,
            view: watch::channel(view).1,
            progress: watch::channel(crate::images::PullProgress::default()).1,
        }
    }

    #[test]
    fn a_name_is_free_again_once_its_run_is_over() {
        let registry = Registry::new(10);
        let name = Some("build".to_owned());
        registry.admit(name.clone(), live(State::Closing)).unwrap();
        let holder = live(State::Running);
        registry.admit(name.clone(), holder.clone()).unwrap();
        let taken = registry.admit(name, live(State::Accepted)).unwrap_err();
        assert!(matches!(taken, RunError::NameTaken { holder: found, .. } if found == holder.run));
        assert_eq!(registry.find("build").unwrap().0, holder.run);
    }

    #[test]
    fn only_live_runs_count_against_the_bound() {
        let registry = Registry::new(1);
        registry.admit(None, live(State::Ended)).unwrap();
        registry.admit(None, live(State::Pulling)).unwrap();
        let full = registry.admit(None, live(State::Accepted)).unwrap_err();
        assert!(matches!(full, RunError::TooManyLive { live_runs_max: 1 }));
    }

    #[test]
    fn references_are_id_prefix_or_name() {
        let registry = Registry::new(10);
        let handle = live(State::Running);
        registry.admit(Some("only".into()), handle.clone()).unwrap();
        let id = handle.run.to_string();
        for reference in [&id[..], &id[..4], &id[..20], "only"] {
            assert_eq!(
                registry.find(reference).unwrap().0,
                handle.run,
                "{reference}"
            );
        }
        assert!(matches!(
            registry.find(&id[..3]),
            Err(RunError::NotFound { .. })
        ));
        assert!(matches!(
            registry.find("nobody"),
            Err(RunError::NotFound { .. })
        ));
        registry.admit(None, live(State::Running)).unwrap();
        assert!(matches!(
            registry.find(&id[..4]),
            Err(RunError::Ambiguous { matches: 2, .. })
        ));
    }
}
