//! What a run has used: the contiguous segments of an ended one, the figures of a live one. Pure.
//!
//! Invariant 4: segments are derived from one record, tile the runtime without gap or overlap, and
//! their ids follow from run, attempt and sequence, so making them twice makes them equal.

use davit_rundir::{ExitRecord, Pause, Stamp, StateRecord};
use davit_types::{RunKey, Usage, UsageSegment, segment_id};

const NS_PER_MS: u64 = 1_000_000;

/// Whole milliseconds from `start` to `at` on the boot-time clock.
fn ms_since(start: Stamp, at: Stamp) -> u64 {
    at.boot_ns.saturating_sub(start.boot_ns) / NS_PER_MS
}

/// The segments of an ended attempt: one a stretch of running or paused time, in order. Empty if the
/// job never began. Their lengths sum to its wall milliseconds.
#[must_use]
pub fn segments(exit: &ExitRecord) -> Vec<UsageSegment> {
    let Some(started) = exit.started else {
        return Vec::new();
    };
    tile(exit.key, started, exit.ended, &exit.pauses)
}

fn tile(key: RunKey, started: Stamp, ended: Stamp, pauses: &[Pause]) -> Vec<UsageSegment> {
    let wall_ms = ms_since(started, ended);
    let mut found = Vec::new();
    let mut at_ms = 0;
    let mut push = |begin_ms: u64, end_ms: u64, paused: bool| {
        if begin_ms < end_ms {
            let sequence = u32::try_from(found.len()).unwrap_or(u32::MAX);
            found.push(UsageSegment {
                id: segment_id(key, sequence),
                key,
                sequence,
                begin_ms,
                end_ms,
                paused,
            });
        }
    };
    for pause in pauses {
        let begin_ms = ms_since(started, pause.begin).clamp(at_ms, wall_ms);
        let end_ms = ms_since(started, pause.end.unwrap_or(ended)).clamp(begin_ms, wall_ms);
        push(at_ms, begin_ms, false);
        push(begin_ms, end_ms, true);
        at_ms = end_ms;
    }
    push(at_ms, wall_ms, false);
    found
}

/// Wall and paused milliseconds of a live run at `now`; zero before it began.
#[must_use]
pub fn elapsed(state: &StateRecord, now: Stamp) -> Usage {
    let Some(started) = state.started else {
        return Usage::default();
    };
    let segments = tile(state.key, started, now, &state.pauses);
    let paused = segments.iter().filter(|segment| segment.paused);
    Usage {
        wall_ms: ms_since(started, now),
        paused_ms: paused
            .map(|segment| segment.end_ms - segment.begin_ms)
            .sum(),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::samples::{START, at_ms, exit_record, spec, state_record};
    use proptest::prelude::*;

    #[test]
    fn a_pause_makes_three_segments() {
        let pauses = vec![Pause {
            begin: at_ms(1_000),
            end: Some(at_ms(3_000)),
        }];
        let exit = ExitRecord {
            pauses,
            ..exit_record(spec().key())
        };
        let times: Vec<_> = segments(&exit)
            .iter()
            .map(|s| (s.begin_ms, s.end_ms, s.paused))
            .collect();
        assert_eq!(
            times,
            [
                (0, 1_000, false),
                (1_000, 3_000, true),
                (3_000, 5_000, false)
            ]
        );
    }

    #[test]
    fn a_job_that_never_began_is_not_billed() {
        let exit = ExitRecord {
            started: None,
            ..exit_record(spec().key())
        };
        assert!(segments(&exit).is_empty());
    }

    #[test]
    fn an_open_pause_counts_until_now() {
        let mut state = state_record(spec().key());
        state.pauses.push(Pause {
            begin: at_ms(400),
            end: None,
        });
        let usage = elapsed(&state, at_ms(1_000));
        assert_eq!((usage.wall_ms, usage.paused_ms), (1_000, 600));
    }

    proptest! {
        #[test]
        fn segments_tile_the_runtime_whatever_the_clock_says(
            wall_ns in 0u64..100_000_000_000,
            cuts in proptest::collection::vec(0u64..120_000_000_000, 0..20),
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let stamp = |ns: u64| Stamp { boot_ns: START.boot_ns + ns, unix_ns: 0 };
            let pauses: Vec<Pause> = cuts
                .chunks(2)
                .map(|pair| Pause { begin: stamp(pair[0]), end: pair.get(1).map(|ns| stamp(*ns)) })
                .collect();
            let exit = ExitRecord { ended: stamp(wall_ns), pauses, ..exit_record(spec().key()) };
            let found = segments(&exit);
            let mut at = 0;
            for (sequence, segment) in (0u32..).zip(&found) {
                prop_assert_eq!(segment.begin_ms, at);
                prop_assert!(segment.end_ms > at);
                prop_assert_eq!(segment.sequence, sequence);
                prop_assert_eq!(segment.id, segment_id(exit.key, sequence));
                at = segment.end_ms;
            }
            prop_assert_eq!(at, wall_ns / NS_PER_MS);
            prop_assert_eq!(segments(&exit), found);
        }
    }
}
