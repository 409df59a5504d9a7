//! Whether an attempt that ended is followed by another: decided from its end and the run's plan.
//!
//! Invariants: never more attempts than the plan allows, and never more than [`ATTEMPTS_MAX`] however they end; a job's
//! own fault is not taken for the host's.
//!
//! Absent on purpose: whether the old attempt is dead (the module `losses`), and stops: the store never tries a run again
//! that is to stop.

use davit_types::EndReason;

use crate::service::planned::{ATTEMPTS_MAX, BACKOFF_MS_MAX, LostPolicy, PlannedRun, RetryPolicy};
use crate::store::{AttemptEnd, AttemptUpdate, Event, Retry};

/// What of a plan decides on retries. Kept for every live attempt, of which there may be millions.
#[derive(Clone, Debug)]
pub(crate) struct RetryRules {
    policy: RetryPolicy,
    /// Its host ends it when it is cut off, and then it is tried elsewhere.
    is_given_away: bool,
}

impl RetryRules {
    pub(crate) fn of(plan: &PlannedRun) -> Self {
        Self {
            policy: plan.retry.clone(),
            is_given_away: plan.on_lost.policy == LostPolicy::Requeue,
        }
    }
}

/// The retry of an attempt that ended so, if there is to be one; its pause begins at `at_ms`.
pub(crate) fn retry(
    rules: &RetryRules,
    attempt: u32,
    reason: EndReason,
    exit_code: Option<u8>,
    at_ms: u64,
) -> Option<Retry> {
    let policy = &rules.policy;
    let given_away = reason == EndReason::ExecutorLost && rules.is_given_away;
    let wanted = match reason {
        EndReason::StartFailed | EndReason::ImagePullFailed | EndReason::ExecutorLost => {
            policy.on_infrastructure
        }
        EndReason::Exited => exit_code.is_some_and(|code| policy.exit_codes.contains(&code)),
        EndReason::TimedOut
        | EndReason::OomKilled
        | EndReason::PidsLimit
        | EndReason::Signaled
        | EndReason::Canceled
        | EndReason::DiskFull => false,
    };
    let attempts_max = if given_away {
        ATTEMPTS_MAX
    } else {
        policy.attempts_max.min(ATTEMPTS_MAX)
    };
    if attempt >= attempts_max || !(wanted || given_away) {
        return None;
    }
    let doublings = attempt.saturating_sub(1).min(u64::BITS - 1);
    let pause_ms = policy
        .backoff_ms
        .saturating_mul(1 << doublings)
        .min(BACKOFF_MS_MAX);
    Some(Retry {
        not_before_ms: at_ms.saturating_add(pause_ms),
    })
}

/// A host's message as it is stored: an end with its retry. A run that hosts decline again and again ends. Nothing happened
/// later than now: a host whose clock is ahead would put off its runs' next attempts. What is declined waits again from now:
/// no host's clock says how long.
pub(crate) fn decided(
    mut update: AttemptUpdate,
    rules: Option<&RetryRules>,
    now_ms: u64,
) -> AttemptUpdate {
    update.at_ms = update.at_ms.min(now_ms);
    let attempt = update.key.attempt.number();
    match &mut update.event {
        Event::Ended(end) => {
            let decide = |rules| retry(rules, attempt, end.reason, end.exit_code, now_ms);
            end.retry = rules.and_then(decide);
        }
        Event::Declined { .. } if attempt < ATTEMPTS_MAX => update.at_ms = now_ms,
        Event::Declined { message } => {
            update.event = Event::Ended(AttemptEnd {
                reason: EndReason::StartFailed,
                exit_code: None,
                message: format!("declined, attempt {attempt}: {message}"),
                usage: "{}".to_owned(),
                wall_ms: 0,
                log_last_id: 0,
                extracts: None,
                retry: None,
            });
        }
        _ => {}
    }
    update
}

/// Whether an event says that the host could not begin the attempt, through no fault of the job.
pub(crate) const fn is_hosts_fault(event: &Event) -> bool {
    match event {
        Event::Declined { .. } => true,
        Event::Ended(end) => matches!(end.reason, EndReason::StartFailed),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::rows::plan;
    use crate::store::Sender;
    use davit_types::{Attempt, RunId, RunKey};
    use proptest::prelude::*;
    use uuid::Uuid;

    const NOW_MS: u64 = 1_000;

    fn again(
        plan: &PlannedRun,
        attempt: u32,
        reason: EndReason,
        exit_code: Option<u8>,
    ) -> Option<Retry> {
        retry(&RetryRules::of(plan), attempt, reason, exit_code, NOW_MS)
    }

    fn policy(attempts_max: u32) -> RetryPolicy {
        RetryPolicy {
            attempts_max,
            on_infrastructure: true,
            exit_codes: vec![75],
            backoff_ms: 100,
        }
    }

    #[test]
    fn a_pause_doubles_and_ends_at_the_bound() {
        let mut plan = plan();
        plan.retry = policy(90);
        let pause = |attempt| {
            let again = again(&plan, attempt, EndReason::StartFailed, None);
            again.map(|retry| retry.not_before_ms - NOW_MS)
        };
        assert_eq!(pause(1), Some(100));
        assert_eq!(pause(3), Some(400));
        assert_eq!(pause(80), Some(BACKOFF_MS_MAX));
        assert_eq!(pause(90), None);
    }

    #[test]
    fn a_job_that_failed_is_tried_again_only_for_its_listed_codes() {
        let mut plan = plan();
        plan.retry = policy(3);
        let again = |reason, code| again(&plan, 1, reason, code).is_some();
        assert!(again(EndReason::Exited, Some(75)));
        assert!(!again(EndReason::Exited, Some(1)));
        assert!(!again(EndReason::OomKilled, Some(75)));
        assert!(!again(EndReason::Canceled, None));
        assert!(again(EndReason::ExecutorLost, None));
    }

    #[test]
    fn what_is_to_be_given_away_needs_no_other_policy() {
        let mut plan = plan();
        assert_eq!(again(&plan, 1, EndReason::ExecutorLost, None), None);
        plan.on_lost.policy = LostPolicy::Requeue;
        assert!(again(&plan, 1, EndReason::ExecutorLost, None).is_some());
        assert_eq!(again(&plan, 1, EndReason::StartFailed, None), None);
    }

    fn said(attempt: u32, at_ms: u64, event: Event) -> AttemptUpdate {
        let key = RunKey {
            run: RunId::generate(),
            attempt: Attempt::new(attempt).expect("not 0"),
        };
        AttemptUpdate {
            key,
            from: Sender {
                host: Uuid::nil(),
                epoch: 1,
            },
            step: 1,
            event,
            segments: Vec::new(),
            at_ms,
        }
    }

    #[test]
    fn a_host_whose_clock_is_ahead_puts_nothing_off() {
        let mut plan = plan();
        plan.retry = policy(3);
        let end = AttemptEnd {
            reason: EndReason::StartFailed,
            exit_code: None,
            message: String::new(),
            usage: String::new(),
            wall_ms: 0,
            log_last_id: 0,
            extracts: None,
            retry: None,
        };
        let update = decided(
            said(1, u64::MAX, Event::Ended(end)),
            Some(&RetryRules::of(&plan)),
            5_000,
        );
        let Event::Ended(end) = update.event else {
            panic!("{update:?}")
        };
        assert_eq!(update.at_ms, 5_000);
        assert_eq!(end.retry.map(|retry| retry.not_before_ms), Some(5_100));
    }

    #[test]
    fn a_run_that_everybody_declines_ends() {
        let declined = || Event::Declined {
            message: "no".to_owned(),
        };
        let early = decided(said(ATTEMPTS_MAX - 1, 1, declined()), None, 2);
        assert_eq!((early.event, early.at_ms), (declined(), 2));
        let last = decided(said(ATTEMPTS_MAX, 1, declined()), None, 2);
        assert!(matches!(last.event, Event::Ended(end) if end.retry.is_none()));
    }

    proptest! {
        #[test]
        fn attempts_end(attempts_max in 0u32..300, attempt in 1u32..300, requeue: bool, at in 0usize..10) {
            let mut plan = plan();
            plan.retry = policy(attempts_max);
            if requeue {
                plan.on_lost.policy = LostPolicy::Requeue;
            }
            let again = again(&plan, attempt, EndReason::ALL[at], Some(75));
            prop_assert!(again.is_none() || attempt < ATTEMPTS_MAX);
            prop_assert!(again.is_none_or(|again| (NOW_MS..=NOW_MS + BACKOFF_MS_MAX).contains(&again.not_before_ms)));
        }
    }
}
