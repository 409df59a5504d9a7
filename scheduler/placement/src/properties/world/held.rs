//! What must hold of every assignment, and of the books after every call.

use std::collections::BTreeMap;

use davit_types::RunKey;

use super::World;
use crate::{Amounts, Assignment, HostName, HostState, Run, Standing};

/// What hosts were before a round.
type Before = BTreeMap<HostName, Option<Standing>>;

impl World {
    pub(super) fn place(&mut self, max: usize) {
        let standing = |name: &HostName| self.engine.host(name).map(|host| host.standing);
        let before = self.hosts.keys().map(|name| (name.clone(), standing(name)));
        let before: Before = before.collect();
        let placed = self.engine.place(self.now_ms, max);
        assert!(placed.len() <= max);
        for assignment in &placed {
            let (_, host) = self
                .runs
                .get_mut(&assignment.key)
                .expect("it was submitted");
            assert_eq!(*host, None, "placed twice");
            *host = Some(assignment.host.clone());
            self.expect_allowed(assignment);
            self.expect_probed(assignment, &placed, &before);
            self.expect_room(assignment);
        }
        self.expect_caps_held(&placed);
        if placed.len() < max {
            self.engine.audit_nobody_waits_for_nothing();
        }
        self.story.extend(placed);
    }

    fn expect_allowed(&self, assignment: &Assignment) {
        let spec = &self.hosts[&assignment.host];
        let wants = &self.runs[&assignment.key].0.wants;
        assert_eq!(spec.state, HostState::Online);
        assert_eq!(spec.epoch, assignment.epoch);
        let region = wants.region.as_ref();
        assert!(region.is_none_or(|region| *region == spec.region));
        assert!(wants.executors.is_empty() || wants.executors.contains(&spec.name));
        assert!(wants.labels.iter().all(|label| spec.labels.contains(label)));
        assert!(!wants.excluded.contains(&spec.name));
    }

    /// A host that was in quarantine takes one run at most, and only when that is over.
    fn expect_probed(&self, assignment: &Assignment, placed: &[Assignment], before: &Before) {
        let name = &assignment.host;
        if before[name] == Some(Standing::Online) {
            return;
        }
        let to = placed.iter().filter(|other| other.host == *name);
        assert_eq!(to.count(), 1);
        let now = self.engine.host(name).map(|host| host.standing);
        assert_eq!(now, Some(Standing::Probing));
    }

    /// Adopted runs may take more than there is; nothing is given that is not there.
    fn expect_room(&self, assignment: &Assignment) {
        let spec = &self.hosts[&assignment.host];
        let beside = |(key, (_, host)): &(&RunKey, &(Run, Option<HostName>))| {
            host.as_ref() == Some(&spec.name) && **key != assignment.key
        };
        let used = self.runs.iter().filter(beside);
        let used = used.fold(Amounts::ZERO, |used, (_, (run, _))| {
            used.plus(run.wants.need)
        });
        let need = self.runs[&assignment.key].0.wants.need;
        assert!(
            need.within(&spec.capacity.minus(used)),
            "{} is over capacity",
            spec.name
        );
    }

    fn expect_caps_held(&self, placed: &[Assignment]) {
        for (runner, cap) in &self.caps {
            let mine = |key: &RunKey| {
                let (run, _) = &self.runs[key];
                run.runner.as_ref().is_some_and(|of| of.name == *runner)
            };
            if placed.iter().any(|assignment| mine(&assignment.key)) {
                let live = |(key, (_, host)): &(&RunKey, &(Run, Option<HostName>))| {
                    host.is_some() && mine(key)
                };
                let live = self.runs.iter().filter(live).count();
                assert!(
                    cap.is_none_or(|cap| live <= cap as usize),
                    "{runner} is over its cap"
                );
            }
        }
    }

    /// Every run that was told is where the model has it, and no other is anywhere.
    pub(crate) fn check(&self) {
        let live = self
            .runs
            .values()
            .filter(|(_, host)| host.is_some())
            .count();
        let counts = self.engine.counts();
        assert_eq!(
            (counts.pending, counts.live),
            (self.runs.len() - live, live)
        );
        for name in self.hosts.keys() {
            let mut on: Vec<RunKey> = self.engine.live_on(name).collect();
            on.sort_unstable();
            let model = self
                .runs
                .iter()
                .filter(|(_, (_, host))| host.as_ref() == Some(name));
            assert_eq!(on, model.map(|(key, _)| *key).collect::<Vec<_>>());
        }
    }
}
