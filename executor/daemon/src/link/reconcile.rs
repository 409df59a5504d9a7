//! What becomes of each attempt when a session begins: a pure decision on what is here and what the scheduler says.
//!
//! | the scheduler says | held here | not held, never heard of | not held, was accepted once |
//! |---|---|---|---|
//! | live | go on from its place | begin it | tell that it is lost: it may have run |
//! | gone | end it, forget it | – | – |
//! | nothing | leave it: nobody may judge it | – | – |

use std::collections::BTreeSet;

use davit_types::RunKey;

use super::place::Stage;

/// What the scheduler says of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Live { stage: Stage, has_assign: bool },
    Gone,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    GoOn,
    Begin,
    TellLost,
    Forsake,
    Nothing,
}

/// The decision on `key`; `held` are the scheduler's attempts here whose end it may not have stored.
pub(super) fn decide(held: &BTreeSet<RunKey>, key: RunKey, said: Said) -> Decision {
    let is_held = held.contains(&key);
    let has_later = held
        .iter()
        .any(|other| other.run == key.run && other.attempt > key.attempt);
    match said {
        Said::Gone if is_held => Decision::Forsake,
        Said::Gone => Decision::Nothing,
        Said::Live { .. } if is_held => Decision::GoOn,
        // A word of old: the host was given the run again since.
        Said::Live { .. } if has_later => Decision::Nothing,
        Said::Live {
            stage: Stage::Assigned,
            has_assign: true,
        } => Decision::Begin,
        // It will be assigned once more.
        Said::Live {
            stage: Stage::Assigned,
            has_assign: false,
        } => Decision::Nothing,
        Said::Live { .. } => Decision::TellLost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_types::{Attempt, RunId};

    fn key(run: RunId, attempt: u32) -> RunKey {
        RunKey {
            run,
            attempt: Attempt::new(attempt).unwrap(),
        }
    }

    const fn live(stage: Stage, has_assign: bool) -> Said {
        Said::Live { stage, has_assign }
    }

    #[test]
    fn each_attempt_is_gone_on_with_begun_told_lost_or_ended() {
        let run = RunId::generate();
        let (held, none) = (BTreeSet::from([key(run, 2)]), BTreeSet::new());
        let second = key(run, 2);
        let stages = [
            Stage::Assigned,
            Stage::Accepted,
            Stage::Running,
            Stage::Paused,
        ];
        for stage in stages {
            for has_assign in [true, false] {
                let said = live(stage, has_assign);
                assert_eq!(decide(&held, second, said), Decision::GoOn);
                assert_eq!(decide(&held, key(run, 1), said), Decision::Nothing);
                let expected = match (stage, has_assign) {
                    (Stage::Assigned, true) => Decision::Begin,
                    (Stage::Assigned, false) => Decision::Nothing,
                    _ => Decision::TellLost,
                };
                assert_eq!(decide(&none, second, said), expected);
                assert_eq!(decide(&held, key(run, 3), said), expected);
            }
        }
        assert_eq!(decide(&held, second, Said::Gone), Decision::Forsake);
        assert_eq!(decide(&none, second, Said::Gone), Decision::Nothing);
        let other = key(RunId::generate(), 1);
        assert_eq!(
            decide(&held, other, live(Stage::Assigned, true)),
            Decision::Begin
        );
    }
}
