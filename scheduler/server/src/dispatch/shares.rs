//! How many runs of which tenants a replica claims: enough to keep its hosts busy, not so many that others starve.
//!
//! ```text
//!  window: runs that may wait here ──divided by──► tenants that have some waiting ──less──► what waits here of each
//!     ▲ doubles while all that was claimed found room; halves while runs are left over
//! ```
//!
//! Invariants: no share is 0, all of them are at most one batch together; a tenant never keeps another from being
//! claimed, because what waits of one is counted against itself alone.
//!
//! Absent on purpose: the order in which claimed runs are placed; that is the engine's.

use std::collections::HashMap;

use davit_types::Tenant;

use crate::store::Share;
use crate::store::limits::BATCH_ITEMS_MAX;

/// Runs that wait at a replica whose hosts are full: enough that a small one may pass a large one.
pub(super) const WINDOW_RUNS_MIN: usize = 64;
/// Runs that wait at a replica whose hosts take all they get.
pub(super) const WINDOW_RUNS_MAX: usize = 2_000;

/// The window after a round that left so many runs waiting.
pub(crate) const fn next_window(window: usize, left: usize) -> usize {
    let next = if left == 0 {
        window.saturating_mul(2)
    } else if left >= window / 2 {
        window / 2
    } else {
        window
    };
    if next < WINDOW_RUNS_MIN {
        WINDOW_RUNS_MIN
    } else if next > WINDOW_RUNS_MAX {
        WINDOW_RUNS_MAX
    } else {
        next
    }
}

/// What to claim of the tenants in `waiting`, of which so many runs are `here` already.
pub(crate) fn shares(
    waiting: Vec<Tenant>,
    here: &HashMap<Tenant, usize>,
    window: usize,
) -> Vec<Share> {
    let each = window.checked_div(waiting.len()).unwrap_or(0).max(1);
    let mut shares: Vec<(usize, Share)> = waiting
        .into_iter()
        .filter_map(|tenant| {
            let has = here.get(&tenant).copied().unwrap_or(0);
            let runs_max = each.saturating_sub(has);
            (runs_max > 0).then_some((has, Share { tenant, runs_max }))
        })
        .collect();
    // Whoever has least here comes first, should the batch not hold all.
    shares.sort_by(|a, b| (a.0, &a.1.tenant).cmp(&(b.0, &b.1.tenant)));
    let mut left = BATCH_ITEMS_MAX;
    let mut cut = Vec::new();
    for (_, mut share) in shares {
        share.runs_max = share.runs_max.min(left);
        left -= share.runs_max;
        if share.runs_max > 0 {
            cut.push(share);
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tenant(n: usize) -> Tenant {
        format!("tenant-{n}").parse().expect("a tenant")
    }

    proptest! {
        #[test]
        fn shares_are_within_the_batch_and_even(
            here in prop::collection::vec(0usize..3_000, 0..1_200), window in 0usize..5_000,
        ) {
            let waiting: Vec<_> = (0..here.len()).map(tenant).collect();
            let counts: HashMap<_, _> = waiting.iter().cloned().zip(here.iter().copied()).collect();
            let each = (window / here.len().max(1)).max(1);
            let got = shares(waiting.clone(), &counts, window);
            let sum: usize = got.iter().map(|share| share.runs_max).sum();
            prop_assert!(sum <= BATCH_ITEMS_MAX);
            for share in &got {
                prop_assert!(share.runs_max > 0 && share.runs_max + counts[&share.tenant] <= each);
            }
            // A tenant with nothing here is left out only when the batch is full.
            let starved = waiting.iter().filter(|t| counts[*t] == 0)
                .any(|t| got.iter().all(|share| share.tenant != *t));
            prop_assert!(!starved || sum == BATCH_ITEMS_MAX);
        }

        #[test]
        fn a_window_stays_within_its_bounds(window in 0usize..10_000, left in 0usize..10_000) {
            let next = next_window(window, left);
            prop_assert!((WINDOW_RUNS_MIN..=WINDOW_RUNS_MAX).contains(&next));
        }
    }

    #[test]
    fn a_window_opens_while_all_finds_room_and_closes_when_hosts_are_full() {
        let mut window = WINDOW_RUNS_MIN;
        for _ in 0..10 {
            window = next_window(window, 0);
        }
        assert_eq!(window, WINDOW_RUNS_MAX);
        assert_eq!(next_window(window, 10), window, "a few may wait");
        for _ in 0..10 {
            window = next_window(window, window);
        }
        assert_eq!(window, WINDOW_RUNS_MIN);
    }
}
