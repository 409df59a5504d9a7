//! What a replica does with a run that it has claimed: after a refused assignment, and when no host takes it.
//!
//! Invariant: a claim is never kept for a host that only another replica can reach.

use davit_placement::Outlook;

use crate::store::Refusal;

/// What follows from an assignment that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The run is over, or another replica's: nothing of it is here any more.
    Drop,
    /// The host has a later session, here or elsewhere: the run wants another place.
    HostLeft,
    /// The store takes this session for another replica's, or for over: the host is to dial again.
    HostUnknown,
    /// The host is not given runs.
    HostClosed,
}

/// What to do after a refusal.
pub(crate) const fn after(refusal: &Refusal) -> After {
    match refusal {
        Refusal::StaleEpoch { .. } => After::HostLeft,
        Refusal::NoSession { .. } => After::HostUnknown,
        Refusal::HostClosed { .. } => After::HostClosed,
        _ => After::Drop,
    }
}

/// A claimed run that found no host so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unplaced {
    /// Since it was claimed.
    pub(crate) waited_ms: u64,
    /// Since it was submitted.
    pub(crate) age_ms: u64,
    /// Whether hosts are kept off it for a while.
    pub(crate) avoids: bool,
    /// Whether hosts of its region are connected to other replicas.
    pub(crate) others: bool,
}

/// How long a claim is kept for a host that is full here, when others have hosts too.
pub(super) const HOLD_MS: u64 = 3_000;
/// A run of this age stays: a host is going to be reserved for it.
pub(super) const STAY_AGE_MS: u64 = 60_000;

/// Whether the claim is given back: for another replica to try, or for the run to be looked at anew.
pub(crate) const fn gives_back(outlook: &Outlook, run: Unplaced) -> bool {
    match outlook {
        Outlook::Elsewhere => true,
        Outlook::NoneAllowed | Outlook::NoneOpen if run.avoids => run.waited_ms >= HOLD_MS,
        Outlook::NoHosts | Outlook::NoneAllowed | Outlook::NoneOpen | Outlook::TooLarge(_) => {
            run.others && run.waited_ms >= HOLD_MS
        }
        Outlook::Full(_) | Outlook::Kept => {
            run.others && run.waited_ms >= HOLD_MS && run.age_ms < STAY_AGE_MS
        }
        Outlook::Live(_) | Outlook::Placeable(_) | Outlook::RunnerAtCap { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use davit_placement::Dimension;

    const YOUNG: Unplaced = Unplaced {
        waited_ms: HOLD_MS,
        age_ms: HOLD_MS,
        avoids: false,
        others: true,
    };

    #[test]
    fn a_claim_is_kept_where_nobody_else_could_do_better() {
        let alone = Unplaced {
            others: false,
            ..YOUNG
        };
        let early = Unplaced {
            waited_ms: HOLD_MS - 1,
            ..YOUNG
        };
        let old = Unplaced {
            age_ms: STAY_AGE_MS,
            ..YOUNG
        };
        let full = Outlook::Full(Dimension::Cpu);
        assert!(gives_back(&full, YOUNG));
        for kept in [alone, early, old] {
            assert!(!gives_back(&full, kept), "{kept:?}");
        }
        assert!(gives_back(&Outlook::Elsewhere, early));
        assert!(!gives_back(&Outlook::NoHosts, alone));
        let capped = Outlook::RunnerAtCap {
            live: 1,
            live_max: 1,
        };
        assert!(!gives_back(&capped, YOUNG), "the cap counts everywhere");
    }

    #[test]
    fn a_run_that_avoids_hosts_is_looked_at_anew() {
        let avoids = Unplaced {
            avoids: true,
            others: false,
            ..YOUNG
        };
        assert!(gives_back(&Outlook::NoneAllowed, avoids));
        assert!(!gives_back(&Outlook::Full(Dimension::Cpu), avoids));
    }

    #[test]
    fn a_refusal_that_is_the_hosts_leaves_the_run_here() {
        let host = uuid::Uuid::nil();
        assert_eq!(after(&Refusal::NoSession { host }), After::HostUnknown);
        let stale = Refusal::StaleEpoch {
            given: 1,
            current: 2,
        };
        assert_eq!(after(&stale), After::HostLeft);
        assert_eq!(after(&Refusal::NotClaimed), After::Drop);
    }
}
