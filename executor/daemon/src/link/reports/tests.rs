//! A scheduler that stores by the rules of `scheduler/server`'s store, told of random lives over connections that
//! break anywhere.

use davit_rundir::{Pause, Stamp, Timings};
use proptest::prelude::*;

use super::*;

const START: Stamp = Stamp {
    boot_ns: 5_000_000_000,
    unix_ns: 1_800_000_000_000_000_000,
};
const EVERY_MS: u64 = 700;

fn at_us(us: u64) -> Stamp {
    Stamp {
        boot_ns: START.boot_ns + us * 1_000,
        unix_ns: START.unix_ns + us * 1_000,
    }
}

fn end(at: Stamp, recorded: bool) -> End {
    End {
        reason: if recorded {
            EndReason::Exited
        } else {
            EndReason::ExecutorLost
        },
        exit_code: recorded.then_some(0),
        message: "over".into(),
        usage: Usage::default(),
        at,
        recorded,
        collected: Vec::new(),
    }
}

fn accepted() -> Facts {
    Facts {
        accepted: START,
        job: None,
        heeded: 0,
        end: None,
        log_last_id: None,
        extracts: Some(Vec::new()),
    }
}

/// What the store keeps of an attempt, and its rules.
#[derive(Clone, Debug)]
struct Stored {
    place: Place,
    segments: Vec<Segment>,
    events: Vec<Event>,
}

impl Stored {
    fn new() -> Self {
        Self {
            place: Place::ASSIGNED,
            segments: Vec::new(),
            events: Vec::new(),
        }
    }

    fn store(&mut self, report: &Report, log_last_id: u64) -> Result<(), String> {
        use Stage::{Accepted, Assigned, Over, Paused, Running};
        let place = &self.place;
        if report.step <= place.step {
            return Ok(());
        }
        if report.step != place.step + 1 {
            return Err(format!("step {} after {}", report.step, place.step));
        }
        if let Some(segment) = report.segment {
            let follows = segment.sequence == place.next_segment
                && segment.begin_ms == place.ledger_ms
                && segment.end_ms > segment.begin_ms
                && matches!(place.stage, Running | Paused);
            if !follows || segment.paused != (place.stage == Paused) {
                return Err(format!("{segment:?} after {place:?}"));
            }
            self.segments.push(segment);
        }
        let next = place.after(report);
        let fits = match (&report.event, place.stage) {
            (Event::Accepted, Assigned)
            | (Event::Declined { .. } | Event::Started { .. }, Assigned | Accepted)
            | (Event::Paused, Running)
            | (Event::Resumed, Paused)
            | (Event::Metered, Running | Paused)
            | (Event::Heeded { .. }, Assigned | Accepted | Running | Paused) => true,
            (Event::Ended(ended), stage) => {
                stage != Over && ended.wall_ms == next.ledger_ms && ended.log_last_id == log_last_id
            }
            _ => false,
        };
        if !fits {
            return Err(format!("{report:?} after {place:?}"));
        }
        self.events.push(report.event.clone());
        self.place = next;
        Ok(())
    }
}

/// A job's life: microseconds of its pauses, and of its end.
#[derive(Clone, Debug)]
struct Life {
    cuts_us: Vec<u64>,
    wall_us: u64,
    recorded: bool,
    heeded: u32,
}

impl Life {
    fn pauses(&self, now_us: u64) -> Vec<Pause> {
        let over = now_us >= self.wall_us;
        let seen = self.cuts_us.iter().filter(|cut| **cut <= now_us);
        let seen: Vec<u64> = seen.copied().collect();
        let pairs = seen.chunks(2);
        pairs
            .map(|pair| Pause {
                begin: at_us(pair[0]),
                end: match pair.get(1) {
                    Some(us) => Some(at_us(*us)),
                    None => over.then(|| at_us(self.wall_us)),
                },
            })
            .collect()
    }

    fn facts(&self, now_us: u64) -> Facts {
        let over = now_us >= self.wall_us;
        Facts {
            job: Some(Job {
                started: START,
                image_digest: "sha256:0".into(),
                timings: Timings::default(),
                security: None,
                pauses: self.pauses(now_us.min(self.wall_us)),
            }),
            heeded: self.heeded,
            end: over.then(|| end(at_us(self.wall_us), self.recorded)),
            log_last_id: over.then_some(9),
            ..accepted()
        }
    }

    /// Whole milliseconds of each millisecond-long stretch, as the facts alone tell them.
    fn paused_ms(&self) -> u64 {
        let wall_ms = self.wall_us / 1_000;
        let mut paused = vec![false; usize::try_from(wall_ms).unwrap()];
        for pause in self.pauses(self.wall_us) {
            let ms = |stamp: Stamp| (stamp.boot_ns - START.boot_ns) / 1_000_000;
            for at in ms(pause.begin)..ms(pause.end.unwrap()).min(wall_ms) {
                paused[usize::try_from(at).unwrap()] = true;
            }
        }
        paused.into_iter().filter(|paused| *paused).count() as u64
    }
}

fn life() -> impl Strategy<Value = Life> {
    let cuts = proptest::collection::vec(0u64..6_000_000, 0..12);
    // Also many within one millisecond.
    let close = proptest::collection::vec(1_000_000u64..1_003_000, 0..8);
    (cuts, close, 0u64..6_000_000, any::<bool>(), 0u32..3).prop_map(
        |(cuts, close, wall_us, recorded, heeded)| {
            let mut cuts_us: Vec<u64> = cuts.into_iter().chain(close).collect();
            cuts_us.sort_unstable();
            cuts_us.retain(|cut| *cut <= wall_us);
            Life {
                cuts_us,
                wall_us,
                recorded,
                heeded,
            }
        },
    )
}

/// One look at the run: how much later, and how many of the reports that follow get through before the connection
/// breaks (many: none is lost).
type Look = (u64, usize);

fn tell(life: &Life, looks: &[Look]) -> Result<Stored, TestCaseError> {
    let mut stored = Stored::new();
    let mut now_us = 0;
    let last = [(10_000_000, usize::MAX)];
    for (later_us, through) in looks.iter().chain(&last) {
        now_us += later_us;
        let facts = life.facts(now_us);
        let meter = Meter {
            settled: at_us(now_us.min(life.wall_us)),
            every_ms: EVERY_MS,
        };
        // A new session: from what is stored.
        let mut place = stored.place;
        let mut sent = 0;
        while let Some(report) = next(&place, &facts, meter) {
            place = place.after(&report);
            if sent < *through {
                let outcome = stored.store(&report, 9);
                prop_assert!(outcome.is_ok(), "{:?}", outcome);
                // And once more: a repeat is nothing new.
                prop_assert!(stored.store(&report, 9).is_ok());
            }
            sent += 1;
            prop_assert!(sent < 10_000, "it never ends");
        }
    }
    Ok(stored)
}

proptest! {
    #[test]
    fn any_life_over_any_connections_is_stored_once_in_order_and_whole(
        life in life(),
        looks in proptest::collection::vec((0u64..2_000_000, 0usize..6), 0..12),
    ) {
        let stored = tell(&life, &looks)?;
        prop_assert_eq!(stored.place.stage, Stage::Over);
        let mut at_ms = 0;
        for (sequence, segment) in (0u32..).zip(&stored.segments) {
            prop_assert_eq!(segment.sequence, sequence);
            prop_assert_eq!(segment.begin_ms, at_ms);
            at_ms = segment.end_ms;
        }
        let starts = stored.events.iter().filter(|e| matches!(e, Event::Started { .. })).count();
        prop_assert_eq!(starts, 1);
        let ended = match stored.events.last() {
            Some(Event::Ended(ended)) => ended.clone(),
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(ended.wall_ms, at_ms);
        if life.recorded {
            prop_assert_eq!(at_ms, life.wall_us / 1_000);
            let paused: u64 = stored.segments.iter().filter(|s| s.paused).map(|s| s.end_ms - s.begin_ms).sum();
            prop_assert_eq!(paused, life.paused_ms());
            prop_assert_eq!((ended.usage.wall_ms, ended.usage.paused_ms), (at_ms, paused));
        }
    }

    #[test]
    fn a_live_job_is_metered_in_time(life in life(), looks in 1u64..40) {
        let life = Life { wall_us: u64::MAX / 4, ..life };
        let mut place = Place::ASSIGNED;
        for look in 0..looks {
            let now_us = look * 250_000;
            let facts = life.facts(now_us);
            let meter = Meter { settled: at_us(now_us), every_ms: EVERY_MS };
            while let Some(report) = next(&place, &facts, meter) {
                place = place.after(&report);
            }
            prop_assert!(now_us / 1_000 - place.ledger_ms < EVERY_MS);
            let wait_ms = meter_in_ms(&place, &facts, meter).unwrap();
            prop_assert_eq!(wait_ms, place.ledger_ms + EVERY_MS - now_us / 1_000);
        }
    }
}

const IDLE: Meter = Meter {
    settled: START,
    every_ms: EVERY_MS,
};

fn all(place: Place, facts: &Facts) -> Vec<Event> {
    let mut place = place;
    std::iter::from_fn(|| {
        let report = next(&place, facts, IDLE)?;
        place = place.after(&report);
        Some(report.event)
    })
    .collect()
}

#[test]
fn the_end_waits_for_the_log_and_a_run_that_never_started_used_nothing() {
    let mut facts = accepted();
    facts.end = Some(end(at_us(50_000), false));
    assert_eq!(all(Place::ASSIGNED, &facts), [Event::Accepted]);
    facts.log_last_id = Some(0);
    let events = all(Place::ASSIGNED, &facts);
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(matches!(&events[1], Event::Ended(ended) if ended.wall_ms == 0));
    // And for what came out of it, until that is with the scheduler.
    facts.extracts = None;
    assert_eq!(all(Place::ASSIGNED, &facts), [Event::Accepted]);
}

#[test]
fn a_lost_run_is_billed_what_was_reported() {
    let mut facts = accepted();
    facts.job = Some(Job {
        started: START,
        image_digest: String::new(),
        timings: Timings::default(),
        security: None,
        pauses: Vec::new(),
    });
    facts.end = Some(end(at_us(9_000_000), false));
    facts.log_last_id = Some(3);
    let place = Place {
        stage: Stage::Running,
        step: 4,
        next_segment: 2,
        ledger_ms: 1_234,
        heeded: 0,
    };
    let report = next(&place, &facts, IDLE).unwrap();
    assert_eq!((report.step, report.segment), (5, None));
    assert!(matches!(report.event, Event::Ended(ended) if ended.wall_ms == 1_234));
}

#[test]
fn an_end_before_what_was_metered_moves_to_it() {
    let mut facts = accepted();
    facts.job = Some(Job {
        started: START,
        image_digest: String::new(),
        timings: Timings::default(),
        security: None,
        pauses: Vec::new(),
    });
    facts.end = Some(end(at_us(1_000_000), true));
    facts.log_last_id = Some(0);
    let place = Place {
        stage: Stage::Running,
        step: 3,
        next_segment: 1,
        ledger_ms: 1_001,
        heeded: 0,
    };
    let report = next(&place, &facts, IDLE).unwrap();
    assert!(matches!(report.event, Event::Ended(ended) if ended.wall_ms == 1_001));
}

#[test]
fn what_was_heeded_is_told_once() {
    let mut facts = accepted();
    facts.heeded = 3;
    assert_eq!(
        all(Place::ASSIGNED, &facts),
        [Event::Accepted, Event::Heeded { revision: 3 }]
    );
}
