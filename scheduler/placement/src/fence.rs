//! When a run on a host that fell silent may be given to another: never before the old host has provably stopped it.
//!
//! ```text
//!  executor    sends heartbeat ──────── stop_after ───────► stops it ── kill_grace ──► it is dead
//!                   │ answered                                                            │ clock_margin
//!  scheduler        └─► hears it ─────────────────── lost_after ──────────────────────────┴─► gives it away
//! ```
//!
//! Both count on a clock of their own that never steps and counts on in suspend. The executor counts from when it
//! **sent** the heartbeat that was answered last, so never from later than the scheduler. `clock_margin_ms` is what the
//! two clocks may drift apart in that time, and what a busy host may be late.
//!
//! Invariant: `lost_after ≥ stop_after + kill_grace + clock_margin`; there is no [`Fence`] without.
//!
//! Absent on purpose: the clocks; the store's compare-and-set by epoch, which refuses a host that comes back late; the
//! retry itself, which is a new attempt, submitted when the old one was ended here.

/// What becomes of a run whose host falls silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLost {
    /// It stays as it is until its host is back or declared gone.
    #[default]
    Wait,
    /// It is given up as lost.
    Fail,
    /// It is run again elsewhere.
    Requeue,
}

/// What is known of an attempt on a silent host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// Nothing: it may be running.
    Nothing,
    /// It does not run: its host has another boot id, or an operator declared the host gone.
    Dead,
}

/// What is to be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// Nothing yet.
    Keep,
    /// It ended as `executor_lost`.
    Fail,
    /// It ended as `executor_lost`, and its next attempt may be submitted.
    GiveAway,
}

/// The times of the fence; made by [`Fence::new`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    stop_after_ms: u64,
    lost_after_ms: u64,
}

/// Times that would let a run live twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "lost_after is {lost_after_ms} ms, but a silent host may need {needed_ms} ms to stop its runs \
     (stop_after + kill grace + clock margin); a run could live twice"
)]
pub struct UnsafeFence {
    /// What was asked.
    pub lost_after_ms: u64,
    /// The least that is safe.
    pub needed_ms: u64,
}

impl Fence {
    /// The fence with these times, if it holds.
    pub const fn new(
        stop_after_ms: u64,
        kill_grace_ms: u64,
        clock_margin_ms: u64,
        lost_after_ms: u64,
    ) -> Result<Self, UnsafeFence> {
        let needed_ms = stop_after_ms
            .saturating_add(kill_grace_ms)
            .saturating_add(clock_margin_ms);
        if lost_after_ms < needed_ms {
            return Err(UnsafeFence {
                lost_after_ms,
                needed_ms,
            });
        }
        Ok(Self {
            stop_after_ms,
            lost_after_ms,
        })
    }

    /// The executor's side: whether it stops the run by itself after so long without an answer.
    #[must_use]
    pub const fn stops_itself(&self, on_lost: OnLost, silent_ms: u64) -> bool {
        matches!(on_lost, OnLost::Requeue) && silent_ms >= self.stop_after_ms
    }

    /// The scheduler's side: what to do with a run whose host has been silent for so long.
    #[must_use]
    pub const fn judge(&self, on_lost: OnLost, silent_ms: u64, known: Known) -> Lost {
        let over = silent_ms >= self.lost_after_ms || matches!(known, Known::Dead);
        match (on_lost, over, known) {
            (_, false, _) | (OnLost::Wait, true, Known::Nothing) => Lost::Keep,
            (OnLost::Requeue, true, _) => Lost::GiveAway,
            (OnLost::Fail, true, _) | (OnLost::Wait, true, Known::Dead) => Lost::Fail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the clocks do within the margin, a run is dead before it is given away.
        #[test]
        fn nothing_lives_twice(
            stop_after in 0u64..100_000, grace in 0u64..20_000, margin in 0u64..10_000,
            lost_after in 0u64..200_000, silent in 0u64..300_000, drift in 0u64..10_000,
        ) {
            let Ok(fence) = Fence::new(stop_after, grace, margin, lost_after) else {
                prop_assert!(lost_after < stop_after + grace + margin);
                return Ok(());
            };
            if fence.judge(OnLost::Requeue, silent, Known::Nothing) == Lost::GiveAway {
                // Slow by as much as is allowed, the executor began to stop it a grace ago or earlier.
                let at_host = silent - drift.min(margin);
                prop_assert!(at_host >= grace && fence.stops_itself(OnLost::Requeue, at_host - grace));
            }
        }
    }

    #[test]
    fn only_requeue_gives_away_and_wait_waits_for_ever() {
        let fence = Fence::new(10, 5, 1, 16).expect("16 is enough");
        assert_eq!(fence.judge(OnLost::Requeue, 15, Known::Nothing), Lost::Keep);
        assert_eq!(
            fence.judge(OnLost::Requeue, 16, Known::Nothing),
            Lost::GiveAway
        );
        assert_eq!(fence.judge(OnLost::Requeue, 0, Known::Dead), Lost::GiveAway);
        assert_eq!(fence.judge(OnLost::Fail, 16, Known::Nothing), Lost::Fail);
        assert_eq!(
            fence.judge(OnLost::Wait, u64::MAX, Known::Nothing),
            Lost::Keep
        );
        assert_eq!(fence.judge(OnLost::Wait, 0, Known::Dead), Lost::Fail);
        assert!(!fence.stops_itself(OnLost::Wait, u64::MAX));
        let unsafe_ = Fence::new(10, 5, 1, 15).expect_err("15 is too early");
        assert_eq!(unsafe_.needed_ms, 16);
    }
}
