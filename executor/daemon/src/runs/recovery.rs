//! What to do with a run directory found at start: a pure decision on what is there.
//!
//! ```text
//!  a scheduler's, another boot or given up, not begun → executor_lost: it may be another host's by now
//!  end.json                          → clean up what is left, nothing is recorded again
//!  exit.json, the job began          → record the end
//!  exit.json, it never began         → clear leftovers, drive from the start; canceled if a user was first
//!  launch.json of another boot       → executor_lost, no exit code: it may have run
//!  created, containerd has no task   → clear leftovers, drive from the start: a start was never accepted
//!  a slot that was revoked, no state → the same: it took no run and never will
//!  no state.json                     → the same
//!  state.json, shim lives            → adopt: continue where the shim is
//!  state.json, shim dead             → executor_lost, no exit code
//! ```
//!
//! Never two launches: a run is driven from the start only if its shim says that the job never began,
//! without `state.json` in the boot that launched it, or if containerd does not know the task of a shim
//! that says so. The shim makes that record visible before it answers the create or the assignment, and
//! davit asks for the start only after that answer. `state.json` is not durable, so it proves nothing in
//! another boot: there `launch.json` does, which is durable before a shim hears of the run. An assignment
//! under way when an executor dies is settled by revoking the slot before its directory is looked at again.
//! (containerd takes a create back when the executor that asked for it dies: that is the exit of a job
//! that never began.)
//! A created task whose shim lives is let go at most once: a start of a started task is refused by the
//! shim, whose own state decides. A created task whose shim died is given up rather than run again,
//! for nothing on disk proves that the start was not under way.

use davit_lifecycle::Event;
use davit_rundir::StateRecord;

/// What was found of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// `end.json` is there.
    pub(crate) ended: bool,
    /// `exit.json` is there.
    pub(crate) exited: bool,
    /// … and says that the job had begun.
    pub(crate) began: bool,
    /// `state.json`, or what the shim said in its place.
    pub(crate) state: Option<StateRecord>,
    /// What `launch.json` says of the boot it was launched in.
    pub(crate) launched: Launched,
    /// Something accepts connections on `shim.sock`.
    pub(crate) shim_alive: bool,
    /// `settled.json` is there.
    pub(crate) settled: bool,
    /// Why it may not begin any more, if it has not.
    pub(crate) never_again: Option<LostHow>,
    /// Created as its shim says, but containerd knows of no task: it took the create back.
    pub(crate) taken_back: bool,
}

/// The boot in which a run was launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Launched {
    /// None: there is no `launch.json`.
    #[default]
    Never,
    /// This one, or one that a record of old does not name.
    Here,
    /// Another one; also that of a record which a power cut left unreadable.
    BeforeReboot,
}

impl Evidence {
    /// Whether its shim lives and holds a container that was never let go.
    pub(crate) fn is_created_only(&self) -> bool {
        let state = self.state.as_ref();
        let waiting = state.is_some_and(|state| state.started.is_none() && state.kill.is_none());
        self.shim_alive && waiting && !self.exited && !self.ended
    }
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// First event of its owner.
    pub(crate) event: Event,
    /// Remove what an earlier drive left in containerd before that.
    pub(crate) clear: bool,
    /// Why it is lost, when it is.
    pub(crate) lost: Option<LostHow>,
}

/// Why there is no exit record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostHow {
    /// Another boot: nothing of it can be alive.
    Rebooted,
    /// Same boot, shim gone.
    ShimGone,
    /// A scheduler's run that another boot had not begun.
    RebootedBefore,
    /// A scheduler's run that this host gave up before it began.
    Fenced,
}

impl LostHow {
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Rebooted => {
                "the host restarted while it ran and no exit was recorded: what the job did at the \
                 end is unknown"
            }
            Self::ShimGone => {
                "its shim died without an exit record: the container was killed, what the job did at \
                 the end is unknown"
            }
            Self::RebootedBefore => {
                "the host restarted before it began, and did not begin it again"
            }
            Self::Fenced => "the host had no scheduler for too long, and did not begin it",
        }
    }
}

/// The decision, given the present boot's id.
pub(crate) fn decide(evidence: &Evidence, boot_id: &str) -> Recovery {
    let go_on = |event| Recovery {
        event,
        clear: false,
        lost: None,
    };
    if evidence.ended {
        return go_on(Event::FoundEnd);
    }
    let lost = |how| Recovery {
        event: Event::ShimLost,
        clear: false,
        lost: Some(how),
    };
    let anew = evidence.never_again.map_or(
        Recovery {
            event: Event::Begin,
            clear: true,
            lost: None,
        },
        lost,
    );
    if evidence.exited {
        let state = evidence.state.as_ref();
        let began = evidence.began || state.is_some_and(|state| state.started.is_some());
        let killed = state.is_some_and(|state| state.kill.is_some());
        return if began || killed {
            go_on(Event::Exited)
        } else {
            anew
        };
    }
    if evidence.launched == Launched::BeforeReboot {
        return lost(LostHow::Rebooted);
    }
    let Some(state) = &evidence.state else {
        return anew;
    };
    if state.boot_id != boot_id {
        return lost(LostHow::Rebooted);
    }
    if !evidence.shim_alive {
        return lost(LostHow::ShimGone);
    }
    go_on(match (state.started, state.kill) {
        (_, Some(_)) => Event::FoundStopping,
        (None, None) if evidence.taken_back || evidence.never_again.is_some() => return anew,
        (None, None) => Event::FoundCreated,
        (Some(_), None) if state.is_paused() => Event::FoundPaused,
        (Some(_), None) => Event::FoundRunning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::samples::{START, spec, state_record};
    use davit_lifecycle::{Action, State, step};
    use davit_rundir::{KillReason, Pause};
    use proptest::prelude::*;

    fn alive(change: impl FnOnce(&mut StateRecord)) -> Evidence {
        let mut state = state_record(spec().key());
        change(&mut state);
        Evidence {
            state: Some(state),
            shim_alive: true,
            ..Evidence::default()
        }
    }

    fn gone(evidence: Evidence) -> Evidence {
        Evidence {
            shim_alive: false,
            ..evidence
        }
    }

    fn exited(evidence: Evidence) -> Evidence {
        Evidence {
            exited: true,
            ..evidence
        }
    }

    fn ran() -> Evidence {
        Evidence {
            began: true,
            ..exited(alive(|_| ()))
        }
    }

    fn launched(launched: Launched) -> Evidence {
        Evidence {
            launched,
            ..Evidence::default()
        }
    }

    fn check(cases: impl IntoIterator<Item = (&'static str, Evidence, Event)>) {
        for (name, evidence, event) in cases {
            assert_eq!(decide(&evidence, "boot").event, event, "{name}");
        }
    }

    #[test]
    fn what_was_never_let_go_is_launched_anew_unless_it_may_yet_run() {
        let created = || alive(|s| s.started = None);
        let unrecorded = Evidence {
            shim_alive: true,
            ..Evidence::default()
        };
        let no_task = Evidence {
            taken_back: true,
            ..created()
        };
        let before_reboot = launched(Launched::BeforeReboot);
        check([
            ("spec only", Evidence::default(), Event::Begin),
            ("shim up, nothing recorded", unrecorded, Event::Begin),
            ("created", created(), Event::FoundCreated),
            ("created, no task", no_task, Event::Begin),
            ("create taken back", exited(created()), Event::Begin),
            ("created, shim gone", gone(created()), Event::ShimLost),
            (
                "no state, launched here",
                launched(Launched::Here),
                Event::Begin,
            ),
            (
                "no state, launched before the reboot",
                before_reboot,
                Event::ShimLost,
            ),
        ]);
    }

    #[test]
    fn what_was_let_go_is_adopted_has_ended_or_is_lost() {
        let open = Pause {
            begin: START,
            end: None,
        };
        let stopping = alive(|s| s.kill = Some(KillReason::Canceled));
        let stopped_first = exited(alive(|s| {
            s.started = None;
            s.kill = Some(KillReason::Canceled);
        }));
        let ended = Evidence {
            ended: true,
            ..ran()
        };
        let rebooted = alive(|s| s.boot_id = "before".into());
        check([
            ("running", alive(|_| ()), Event::FoundRunning),
            ("paused", alive(|s| s.pauses.push(open)), Event::FoundPaused),
            ("stopping", stopping, Event::FoundStopping),
            ("exited", ran(), Event::Exited),
            (
                "exited, shim gone, rebooted or not",
                gone(ran()),
                Event::Exited,
            ),
            ("stopped before it began", stopped_first, Event::Exited),
            ("ended", ended, Event::FoundEnd),
            ("shim gone", gone(alive(|_| ())), Event::ShimLost),
            ("other boot", rebooted, Event::ShimLost),
        ]);
    }

    fn any_evidence() -> impl Strategy<Value = Evidence> {
        let launched = prop_oneof![
            Just(Launched::Never),
            Just(Launched::Here),
            Just(Launched::BeforeReboot)
        ];
        (any::<[bool; 12]>(), launched).prop_map(
            |(
                [
                    ended,
                    exited,
                    began,
                    state,
                    shim_alive,
                    taken_back,
                    started,
                    paused,
                    kill,
                    boot,
                    settled,
                    fenced,
                ],
                launched,
            )| Evidence {
                launched,
                ended,
                exited,
                began,
                shim_alive,
                taken_back,
                settled,
                never_again: fenced.then_some(LostHow::Fenced),
                state: state.then(|| {
                    let mut record = state_record(spec().key());
                    record.started = started.then_some(START);
                    record.kill = kill.then_some(KillReason::TimedOut);
                    if paused {
                        record.pauses.push(Pause {
                            begin: START,
                            end: None,
                        });
                    }
                    if boot {
                        record.boot_id = "before".into();
                    }
                    record
                }),
            },
        )
    }

    proptest! {
        #[test]
        fn nothing_that_may_have_run_is_driven_again(evidence in any_evidence()) {
            let recovery = decide(&evidence, "boot");
            let row = step(State::Accepted, recovery.event);
            prop_assert!(row.next != State::Accepted, "{:?} leaves the run nowhere", recovery.event);
            let unknown = evidence.state.is_some() && !evidence.exited && !evidence.taken_back;
            let began = evidence.began && evidence.exited
                || evidence.state.as_ref().is_some_and(|s| s.started.is_some());
            if began || unknown || evidence.ended {
                prop_assert!(!row.actions.contains(&Action::Pull));
            }
            if evidence.state.as_ref().is_some_and(|s| s.started.is_some()) {
                prop_assert!(!row.actions.contains(&Action::Start));
            }
            if evidence.launched == Launched::BeforeReboot && !evidence.exited {
                prop_assert!(!row.actions.contains(&Action::Pull));
                prop_assert!(!row.actions.contains(&Action::Start));
            }
            if evidence.never_again.is_some() {
                prop_assert!(!row.actions.contains(&Action::Pull));
                prop_assert!(!row.actions.contains(&Action::Start));
            }
            prop_assert_eq!(recovery.lost.is_some(), recovery.event == Event::ShimLost);
            prop_assert_eq!(recovery.event == Event::FoundEnd, evidence.ended);
        }
    }
}
