//! What becomes of a run whose host is silent: the fence of `davit-placement` on the run's own plan.
//!
//! ```text
//!  silence of the host, as this replica saw it ┐
//!  plan: wait │ fail │ requeue, lost_after ───┼─► wait on │ look again in … │ lose it, with or without another attempt
//!  fence: what a host needs to stop it ───────┘
//! ```
//!
//! Invariants: an attempt that might live is followed by another only under `requeue`, and no earlier than its host has
//! ended it by itself; the store checks the silence again, by its own clock, when the loss is written.

use davit_placement::fence::{Fence, Known, Lost, OnLost};
use davit_types::{EndReason, RunKey};

use super::retries::{RetryRules, retry};
use crate::service::planned::{LostPolicy, PlannedRun};
use crate::store::{FencedBy, Loss};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Judged {
    /// Nothing, however long it takes.
    Wait,
    /// Nothing before so much more silence.
    Later {
        /// Milliseconds.
        after_ms: u64,
    },
    /// It is over.
    Lose(Box<Loss>),
}

/// Judges an attempt whose host has been silent for `silent_ms`. A host needs `fence_ms_min` beside the plan's
/// `stop_after_ms` to be sure to have ended it: the kill's grace, and what clocks differ by.
pub(crate) fn judge(
    key: RunKey,
    plan: &PlannedRun,
    silent_ms: u64,
    fence_ms_min: u64,
    now_ms: u64,
) -> Judged {
    let on_lost = match plan.on_lost.policy {
        LostPolicy::Wait => OnLost::Wait,
        LostPolicy::Fail => OnLost::Fail,
        LostPolicy::Requeue => OnLost::Requeue,
    };
    let (fence, lost_after_ms) = match fence(plan, on_lost, fence_ms_min) {
        Some(found) => found,
        None => return Judged::Wait,
    };
    let attempt = key.attempt.number();
    let lost = EndReason::ExecutorLost;
    let again = match fence.judge(on_lost, silent_ms, Known::Nothing) {
        Lost::Keep if on_lost == OnLost::Wait => return Judged::Wait,
        Lost::Keep => {
            let after_ms = lost_after_ms.saturating_sub(silent_ms);
            return Judged::Later { after_ms };
        }
        Lost::Fail => None,
        Lost::GiveAway => retry(&RetryRules::of(plan), attempt, lost, None, now_ms),
    };
    Judged::Lose(Box::new(Loss {
        key,
        fenced_by: FencedBy::Lease {
            silent_ms_min: lost_after_ms,
        },
        retry: again,
        message: format!("its host has not been heard of for {silent_ms} ms"),
        actor: "davit".to_owned(),
        at_ms: now_ms,
    }))
}

/// The plan's fence; one that would not hold is made wider until it does.
fn fence(plan: &PlannedRun, on_lost: OnLost, fence_ms_min: u64) -> Option<(Fence, u64)> {
    // Only who gives a run away depends on that the host ends it.
    let (stop_after_ms, margin_ms) = match on_lost {
        OnLost::Requeue => (plan.on_lost.stop_after_ms, fence_ms_min),
        OnLost::Wait | OnLost::Fail => (0, 0),
    };
    let lost_after_ms = plan.on_lost.lost_after_ms;
    let fence = |after_ms| Fence::new(stop_after_ms, 0, margin_ms, after_ms).map(|f| (f, after_ms));
    fence(lost_after_ms)
        .or_else(|short| fence(short.needed_ms))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::rows::plan;
    use crate::service::planned::OnLost as Planned;
    use davit_types::{Attempt, RunId};
    use proptest::prelude::*;

    fn key() -> RunKey {
        RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        }
    }

    fn planned(policy: LostPolicy, lost_after_ms: u64, stop_after_ms: u64) -> PlannedRun {
        let mut plan = plan();
        plan.on_lost = Planned {
            policy,
            lost_after_ms,
            stop_after_ms,
        };
        plan.retry.on_infrastructure = true;
        plan.retry.attempts_max = 9;
        plan
    }

    proptest! {
        /// Whatever the plan says: given away only when its host has ended it, and never for another policy.
        #[test]
        fn nothing_lives_twice(
            lost_after in 0u64..100_000, stop_after in 0u64..100_000, fence in 0u64..50_000, silent in 0u64..300_000,
            policy in prop::sample::select(vec![LostPolicy::Wait, LostPolicy::Fail, LostPolicy::Requeue]),
        ) {
            let plan = planned(policy, lost_after, stop_after);
            match judge(key(), &plan, silent, fence, 7) {
                Judged::Lose(loss) => {
                    prop_assert!(policy != LostPolicy::Wait && silent >= lost_after);
                    if loss.retry.is_some() {
                        prop_assert!(policy == LostPolicy::Requeue && silent >= stop_after + fence);
                    }
                    let FencedBy::Lease { silent_ms_min } = loss.fenced_by else {
                        return Err(TestCaseError::fail("not a lease"));
                    };
                    prop_assert!(silent_ms_min <= silent && silent_ms_min >= lost_after);
                }
                Judged::Later { after_ms } => {
                    let later = judge(key(), &plan, silent + after_ms, fence, 7);
                    prop_assert!(after_ms > 0 && matches!(later, Judged::Lose(_)));
                }
                Judged::Wait => prop_assert!(policy == LostPolicy::Wait),
            }
        }
    }

    #[test]
    fn each_policy_at_its_time() {
        let told = |policy, silent| judge(key(), &planned(policy, 100, 50), silent, 30, 7);
        assert!(matches!(told(LostPolicy::Wait, u64::MAX), Judged::Wait));
        assert!(matches!(
            told(LostPolicy::Fail, 60),
            Judged::Later { after_ms: 40 }
        ));
        let lost = |policy| match told(policy, 100) {
            Judged::Lose(loss) => loss.retry.is_some(),
            other => panic!("{other:?}"),
        };
        assert!(!lost(LostPolicy::Fail), "it may live: no second attempt");
        assert!(lost(LostPolicy::Requeue));
        let short = judge(key(), &planned(LostPolicy::Requeue, 10, 50), 79, 30, 7);
        assert!(matches!(short, Judged::Later { after_ms: 1 }));
    }
}
