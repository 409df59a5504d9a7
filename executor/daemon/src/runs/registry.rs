//! Which runs there are: live ones by handle, ended ones by directory; and which of them a scheduler still has to
//! hear the end of. Plain maps under a short lock that is never held across an await.
//!
//! A run has an entry for each of its attempts that this host had; who means the run means the last of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use davit_rundir::RunDir;
use davit_types::{Attempt, RunId, RunKey};

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
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    runs: BTreeMap<RunKey, Entry>,
    /// A scheduler's runs whose end it may not have stored.
    unsettled: BTreeSet<RunKey>,
}

impl Registry {
    pub(super) fn new(live_runs_max: usize) -> Self {
        Self {
            live_runs_max,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one insert or remove a map: there is no half-made state to be poisoned.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a new run, unless the host has it, is full, or its name is taken. `scheduled` says that somebody
    /// else will want to hear of its end.
    pub(super) fn admit(
        &self,
        key: RunKey,
        name: Option<String>,
        handle: RunHandle,
        scheduled: bool,
    ) -> Result<(), RunError> {
        let mut known = self.known();
        let runs = &known.runs;
        if let Some((last, _)) = attempts(runs, key.run).next_back()
            && *last >= key
        {
            let last = *last;
            return Err(RunError::AttemptKnown { key, last });
        }
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
                holder: holder.run,
            });
        }
        known.runs.insert(key, Entry::Live { name, handle });
        if scheduled {
            known.unsettled.insert(key);
        }
        Ok(())
    }

    /// Takes in a run found on disk: it was admitted once, bounds do not apply again.
    pub(super) fn restore(&self, key: RunKey, entry: Entry, unsettled: bool) {
        let mut known = self.known();
        known.runs.insert(key, entry);
        if unsettled {
            known.unsettled.insert(key);
        }
    }

    /// From now on the run is known by its directory.
    pub(super) fn retire(&self, dir: RunDir) {
        if let Some(entry) = self.known().runs.get_mut(&dir.key()) {
            let name = entry.name().map(str::to_owned);
            *entry = Entry::Ended { name, dir };
        }
    }

    /// Nobody else has to hear of the run's end any more.
    pub(super) fn settle(&self, key: RunKey) {
        self.known().unsettled.remove(&key);
    }

    /// The runs whose end somebody else still has to hear of.
    pub(super) fn unsettled(&self) -> Vec<RunKey> {
        self.known().unsettled.iter().copied().collect()
    }

    pub(super) fn is_unsettled(&self, key: RunKey) -> bool {
        self.known().unsettled.contains(&key)
    }

    pub(super) fn forget(&self, key: RunKey) {
        let mut known = self.known();
        known.runs.remove(&key);
        known.unsettled.remove(&key);
    }

    pub(super) fn knows(&self, key: RunKey) -> bool {
        self.known().runs.contains_key(&key)
    }

    /// This very attempt.
    pub(super) fn attempt(&self, key: RunKey) -> Option<Entry> {
        self.known().runs.get(&key).cloned()
    }

    /// The attempts of a run, in order.
    pub(super) fn attempts_of(&self, run: RunId) -> Vec<(RunKey, Entry)> {
        let known = self.known();
        attempts(&known.runs, run)
            .map(|(key, entry)| (*key, entry.clone()))
            .collect()
    }

    /// All attempts, oldest run first.
    pub(super) fn all(&self) -> Vec<(RunKey, Entry)> {
        let known = self.known();
        let all = known.runs.iter();
        all.map(|(key, entry)| (*key, entry.clone())).collect()
    }

    /// The run `reference` means, its last attempt: by id, by name (a live run's before an ended one's, the latest
    /// of those), or by the beginning of its id.
    pub(super) fn find(&self, reference: &str) -> Result<(RunKey, Entry), RunError> {
        let known = self.known();
        let runs = &known.runs;
        let whole = |(key, entry): (&RunKey, &Entry)| (*key, entry.clone());
        if let Ok(run) = reference.parse::<RunId>()
            && let Some(found) = attempts(runs, run).next_back()
        {
            return Ok(whole(found));
        }
        let named = || {
            runs.iter()
                .rev()
                .filter(|(_, entry)| entry.name() == Some(reference))
        };
        if let Some(found) = named()
            .find(|(_, entry)| entry.is_live())
            .or(named().next())
        {
            return Ok(whole(found));
        }
        let begun: BTreeSet<RunId> = runs
            .keys()
            .map(|key| key.run)
            .filter(|run| {
                reference.len() >= PREFIX_CHARS_MIN && run.to_string().starts_with(reference)
            })
            .collect();
        let mut matching = begun.iter();
        match (matching.next(), matching.count()) {
            (Some(run), 0) => {
                let last = attempts(runs, *run).next_back();
                last.map(whole).ok_or_else(|| RunError::NotFound {
                    reference: reference.to_owned(),
                })
            }
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

/// The attempts of `run`, in order.
fn attempts(
    runs: &BTreeMap<RunKey, Entry>,
    run: RunId,
) -> impl DoubleEndedIterator<Item = (&RunKey, &Entry)> {
    let key = |attempt| RunKey { run, attempt };
    runs.range(key(Attempt::FIRST)..=key(Attempt::LAST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::View;
    use crate::runs::samples::spec;
    use davit_lifecycle::State;
    use davit_rundir::{FORMAT_VERSION, SpecRecord, Stamp};
    use davit_types::RunSpec;
    use std::sync::Arc;
    use tokio::sync::{mpsc, watch};

    fn key(handle: &RunHandle) -> RunKey {
        handle.view().dir.key()
    }

    fn admit(registry: &Registry, name: Option<String>, handle: RunHandle) -> Result<(), RunError> {
        registry.admit(key(&handle), name, handle, false)
    }

    fn live(state: State) -> RunHandle {
        live_spec(state, spec())
    }

    fn live_spec(state: State, spec: RunSpec) -> RunHandle {
        let run = spec.run_id;
        let record = SpecRecord {
            version: FORMAT_VERSION,
            accepted: Stamp::now(),
            spec,
            scheduled: None,
        };
        let dir = RunDir::at(std::path::Path::new("/nowhere"), record.spec.key());
        let mut view = View::accepted(dir, Arc::new(record));
        view.state = state;
        RunHandle {
            run,
            commands: mpsc::channel(1).0,
            view: watch::channel(view).1,
            progress: watch::channel(crate::images::PullProgress::default()).1,
            collecting: watch::channel(Default::default()).1,
        }
    }

    #[test]
    fn a_name_is_free_again_once_its_run_is_over() {
        let registry = Registry::new(10);
        let name = Some("build".to_owned());
        admit(&registry, name.clone(), live(State::Closing)).unwrap();
        let holder = live(State::Running);
        admit(&registry, name.clone(), holder.clone()).unwrap();
        let taken = admit(&registry, name, live(State::Accepted)).unwrap_err();
        assert!(matches!(taken, RunError::NameTaken { holder: found, .. } if found == holder.run));
        assert_eq!(registry.find("build").unwrap().0, key(&holder));
    }

    #[test]
    fn only_live_runs_count_against_the_bound() {
        let registry = Registry::new(1);
        admit(&registry, None, live(State::Ended)).unwrap();
        admit(&registry, None, live(State::Pulling)).unwrap();
        let full = admit(&registry, None, live(State::Accepted)).unwrap_err();
        assert!(matches!(full, RunError::TooManyLive { live_runs_max: 1 }));
    }

    #[test]
    fn references_are_id_prefix_or_name() {
        let registry = Registry::new(10);
        let handle = live(State::Running);
        admit(&registry, Some("only".into()), handle.clone()).unwrap();
        let id = handle.run.to_string();
        for reference in [&id[..], &id[..4], &id[..20], "only"] {
            assert_eq!(
                registry.find(reference).unwrap().0,
                key(&handle),
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
        admit(&registry, None, live(State::Running)).unwrap();
        assert!(matches!(
            registry.find(&id[..4]),
            Err(RunError::Ambiguous { matches: 2, .. })
        ));
    }

    #[test]
    fn a_run_is_its_last_attempt_and_no_attempt_is_admitted_twice_or_after_a_later_one() {
        let registry = Registry::new(10);
        let first = spec();
        let attempt = |number| RunSpec {
            attempt: Attempt::new(number).unwrap(),
            ..first.clone()
        };
        let handles = [1, 3, 2].map(|number| live_spec(State::Running, attempt(number)));
        admit(&registry, None, handles[0].clone()).unwrap();
        admit(&registry, None, handles[1].clone()).unwrap();
        let later = key(&handles[1]);
        for handle in &handles {
            let refused = admit(&registry, None, handle.clone()).unwrap_err();
            assert!(matches!(refused, RunError::AttemptKnown { last, .. } if last == later));
        }
        for reference in [
            first.run_id.to_string(),
            first.run_id.to_string()[..20].to_owned(),
        ] {
            assert_eq!(registry.find(&reference).unwrap().0, later);
        }
        assert_eq!(registry.attempts_of(first.run_id).len(), 2);
    }

    #[test]
    fn a_schedulers_run_is_unsettled_until_it_is_settled() {
        let registry = Registry::new(10);
        let (handle, local) = (live(State::Running), live(State::Running));
        registry
            .admit(key(&handle), None, handle.clone(), true)
            .unwrap();
        admit(&registry, None, local).unwrap();
        assert_eq!(registry.unsettled(), [key(&handle)]);
        registry.settle(key(&handle));
        assert!(registry.unsettled().is_empty() && !registry.is_unsettled(key(&handle)));
    }
}
