//! Whether a host is trusted with runs: failed starts lead into quarantine, one good start out of it.
//!
//! ```text
//!           N failed starts in a row                    due
//!  trusted ──────── within W ────────► quarantined ──────────► probing ◄──┐ its run ended
//!     ▲                                     ▲                     │ one   │ before it started
//!     │                                     └── failed again, ────┤ run ──┘
//!     └───────────── it started ────────────── twice as long ─────┘ only
//! ```
//!
//! Invariants: all times are passed in, one clock for all; a probing host has at most one run given to it whose
//! start is not known yet.

use std::collections::VecDeque;

use crate::bounds::START_FAILURES_MAX;

/// When a host is quarantined, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineRules {
    /// So many failed starts in a row, 1 to [`START_FAILURES_MAX`],
    pub failures: usize,
    /// within so long,
    pub window_ms: u64,
    /// keep a host off for so long the first time; each failed probe doubles it,
    pub probe_after_ms: u64,
    /// up to this.
    pub probe_after_ms_max: u64,
}

impl Default for QuarantineRules {
    fn default() -> Self {
        Self {
            failures: 5,
            window_ms: 60_000,
            probe_after_ms: 30_000,
            probe_after_ms_max: 900_000,
        }
    }
}

/// What a host's starts say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Takes runs. Times of the failed starts since the last good one.
    Trusted { failures_ms: VecDeque<u64> },
    /// Takes none until then.
    Quarantined { until_ms: u64, wait_ms: u64 },
    /// Takes one run and waits for what becomes of it.
    Probing { wait_ms: u64, probe: Option<usize> },
}

impl Default for Health {
    fn default() -> Self {
        Self::Trusted {
            failures_ms: VecDeque::new(),
        }
    }
}

impl Health {
    /// Whether a run may be given to the host now.
    pub(crate) const fn admits(&self) -> bool {
        match self {
            Self::Trusted { .. } | Self::Probing { probe: None, .. } => true,
            Self::Quarantined { .. } | Self::Probing { probe: Some(_), .. } => false,
        }
    }

    /// Whether the host is trusted without reserve.
    pub(crate) const fn is_trusted(&self) -> bool {
        matches!(self, Self::Trusted { .. })
    }

    /// A run was given to the host.
    pub(crate) fn given(&mut self, run: usize) {
        if let Self::Probing { probe, .. } = self {
            *probe = Some(run);
        }
    }

    /// A run failed to start. Answers when to probe, if that begins a quarantine; `may_begin` says whether one
    /// may. Failures of runs given before a quarantine change nothing in it.
    pub(crate) fn failed(
        &mut self,
        run: usize,
        now_ms: u64,
        rules: &QuarantineRules,
        may_begin: bool,
    ) -> Option<u64> {
        let wait_ms = match self {
            Self::Trusted { failures_ms } => {
                failures_ms.push_back(now_ms);
                let wanted = rules.failures.clamp(1, START_FAILURES_MAX);
                while failures_ms.len() > wanted {
                    failures_ms.pop_front();
                }
                let first_ms = *failures_ms.front()?;
                let recent = now_ms.saturating_sub(first_ms) <= rules.window_ms;
                if failures_ms.len() < wanted || !recent || !may_begin {
                    return None;
                }
                rules.probe_after_ms.min(rules.probe_after_ms_max)
            }
            Self::Probing { wait_ms, probe } if *probe == Some(run) => {
                wait_ms.saturating_mul(2).min(rules.probe_after_ms_max)
            }
            Self::Quarantined { .. } | Self::Probing { .. } => return None,
        };
        let until_ms = now_ms.saturating_add(wait_ms);
        *self = Self::Quarantined { until_ms, wait_ms };
        Some(until_ms)
    }

    /// A run started. Answers whether that made the host trusted again.
    pub(crate) fn started(&mut self, run: usize) -> bool {
        match self {
            Self::Trusted { failures_ms } => {
                failures_ms.clear();
                false
            }
            Self::Probing { probe, .. } if *probe == Some(run) => {
                *self = Self::default();
                true
            }
            Self::Quarantined { .. } | Self::Probing { .. } => false,
        }
    }

    /// A run left the host. Answers whether the host wants another to probe with.
    pub(crate) fn left(&mut self, run: usize) -> bool {
        match self {
            Self::Probing { probe, .. } if *probe == Some(run) => {
                *probe = None;
                true
            }
            _ => false,
        }
    }

    /// Time has come to `now_ms`. Answers whether the host may be probed from now on.
    pub(crate) fn due(&mut self, now_ms: u64) -> bool {
        match *self {
            Self::Quarantined { until_ms, wait_ms } if until_ms <= now_ms => {
                *self = Self::Probing {
                    wait_ms,
                    probe: None,
                };
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: QuarantineRules = QuarantineRules {
        failures: 3,
        window_ms: 100,
        probe_after_ms: 1_000,
        probe_after_ms_max: 3_000,
    };

    #[test]
    fn a_good_start_and_a_long_while_both_forgive() {
        let mut health = Health::default();
        assert_eq!(health.failed(1, 0, &RULES, true), None);
        assert_eq!(health.failed(2, 10, &RULES, true), None);
        assert!(!health.started(3));
        assert_eq!(health.failed(4, 20, &RULES, true), None);
        assert_eq!(health.failed(5, 30, &RULES, true), None);
        assert_eq!(health.failed(6, 121, &RULES, true), None, "20 is too old");
        assert_eq!(health.failed(7, 122, &RULES, true), Some(1_122));
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_the_bound() {
        let mut health = Health::Quarantined {
            until_ms: 5,
            wait_ms: 1_000,
        };
        assert!(!health.due(4));
        assert!(health.due(5));
        health.given(9);
        assert!(!health.admits());
        assert_eq!(health.failed(8, 6, &RULES, true), None, "not the probe");
        assert_eq!(health.failed(9, 10, &RULES, true), Some(2_010));
        assert!(health.due(2_010));
        health.given(10);
        assert!(health.left(10) && health.admits());
        health.given(11);
        assert_eq!(health.failed(11, 2_020, &RULES, true), Some(5_020));
        assert!(health.due(5_020));
        health.given(12);
        assert!(health.started(12) && health.is_trusted());
    }

    #[test]
    fn where_no_quarantine_may_begin_none_does() {
        let mut health = Health::default();
        for at in 0..10 {
            assert_eq!(health.failed(1, at, &RULES, false), None);
        }
        assert!(health.is_trusted());
        assert_eq!(health.failed(1, 10, &RULES, true), Some(1_010));
    }
}
