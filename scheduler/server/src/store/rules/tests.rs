//! Properties of the rules: whatever order and repetition messages come in, the books add up.

use davit_types::{Attempt, RunId, RunKey, Tenant, UsageSegment, segment_id};
use proptest::prelude::*;
use uuid::Uuid;

use super::super::model::{
    ActiveRun, ActiveState, AttemptEnd, AttemptUpdate, Desired, Event, Order, Sender, Stop, Want,
};
use super::ledger::billed_seconds;
use super::{Charge, Decision, Speaker, apply, order};

const HOST: Uuid = Uuid::from_u128(1);
const PRICE_MICROS: u64 = 11;

pub(in crate::store) fn assigned() -> ActiveRun {
    ActiveRun {
        run: RunId::from_uuid(Uuid::from_u128(2)),
        tenant: Tenant::local(),
        runner: None,
        region: "here".to_owned(),
        instance_type: "small".to_owned(),
        price_second_micros: PRICE_MICROS,
        priority: 0,
        created_ms: 0,
        state: ActiveState::Assigned,
        not_before_ms: 0,
        replica: None,
        host: Some(HOST),
        boot_id: None,
        attempt: 1,
        step: 0,
        assigned_ms: Some(0),
        started_ms: None,
        paused_at_ms: None,
        ledger_sequence: 0,
        ledger_ms: 0,
        log_last_id: 0,
        active_ms: 0,
        ever_started: false,
        image_digest: None,
        profile: None,
        desired: Desired::default(),
        desired_revision: 0,
        heeded_revision: 0,
    }
}

fn speaker() -> Speaker {
    Speaker {
        epoch: 1,
        boot_id: "boot".to_owned(),
        heard_ms: 0,
    }
}

/// The messages of a whole attempt whose segments have these lengths; every third one is paused.
fn messages(lengths_ms: &[u64]) -> Vec<AttemptUpdate> {
    let key = RunKey {
        run: assigned().run,
        attempt: Attempt::FIRST,
    };
    let update = |step, event, segments| AttemptUpdate {
        key,
        from: Sender {
            host: HOST,
            epoch: 1,
        },
        step,
        event,
        segments,
        at_ms: 0,
    };
    let started = Event::Started {
        image_digest: String::new(),
        profile: None,
    };
    let mut all = vec![update(1, started, vec![])];
    let mut begin_ms = 0;
    for (sequence, length_ms) in (0..).zip(lengths_ms) {
        let segment = UsageSegment {
            id: segment_id(key, sequence),
            key,
            sequence,
            begin_ms,
            end_ms: begin_ms + length_ms,
            paused: sequence % 3 == 2,
        };
        begin_ms = segment.end_ms;
        all.push(update(sequence + 2, Event::Metered, vec![segment]));
    }
    let end = AttemptEnd {
        reason: davit_types::EndReason::Exited,
        exit_code: Some(0),
        message: String::new(),
        usage: "{}".to_owned(),
        wall_ms: begin_ms,
        log_last_id: 0,
        extracts: None,
        retry: None,
    };
    let step = u32::try_from(all.len()).unwrap() + 1;
    all.push(update(step, Event::Ended(end), vec![]));
    all
}

proptest! {
    #[test]
    fn any_order_and_repetition_of_messages_gives_the_same_books(
        lengths_ms in prop::collection::vec(1..5_000_u64, 0..8),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let all = messages(&lengths_ms);
        let mut row = assigned();
        let mut charged = Charge::default();
        let mut stored = Vec::new();
        let mut ended = None;
        // A storm of messages in any order; then what is missing, in order, as a host resends it.
        let storm = picks.iter().map(|pick| pick.get(&all));
        for message in storm.chain(&all) {
            if ended.is_some() {
                break;
            }
            let before = row.clone();
            match apply(&mut row, Some(&speaker()), message) {
                Ok(Some(outcome)) => {
                    prop_assert_eq!(message.step, before.step + 1);
                    charged.active_ms += outcome.charge.active_ms;
                    charged.cost_micros += outcome.charge.cost_micros;
                    stored.extend(outcome.segments);
                    ended = outcome.finished.and_then(|finished| finished.run);
                }
                Ok(None) | Err(_) => prop_assert_eq!(&row, &before, "refused, yet changed"),
            }
        }
        let ended = ended.expect("the resend in order completes it");
        let mut reached_ms = 0;
        for row in &stored {
            prop_assert_eq!(row.segment.begin_ms, reached_ms);
            reached_ms = row.segment.end_ms;
        }
        prop_assert_eq!(reached_ms, lengths_ms.iter().sum::<u64>());
        let active = stored.iter().filter(|row| !row.segment.paused);
        let active_ms: u64 = active.map(|row| row.segment.end_ms - row.segment.begin_ms).sum();
        prop_assert_eq!(ended.active_ms, active_ms);
        prop_assert_eq!(ended.cost_micros, billed_seconds(true, active_ms) * PRICE_MICROS);
        let total = Charge { active_ms, cost_micros: ended.cost_micros };
        prop_assert_eq!(charged, total, "totals are the sum of what each message added");
    }
}

#[test]
fn billing_rounds_up_once_and_bills_a_second_at_least() {
    assert_eq!(billed_seconds(false, 0), 0);
    assert_eq!(billed_seconds(true, 0), 1);
    assert_eq!(billed_seconds(true, 1_000), 1);
    assert_eq!(billed_seconds(true, 1_001), 2);
}

#[test]
fn a_stopped_run_takes_no_other_order() {
    let mut row = assigned();
    let give = |row: &mut ActiveRun, want| {
        let wanted = Order {
            tenant: Tenant::local(),
            run: row.run,
            want,
            actor: String::new(),
            at_ms: 0,
        };
        order(row, &wanted)
    };
    let stop = Stop {
        signal: 15,
        grace_ms: 5,
    };
    assert!(matches!(give(&mut row, Want::Stop(stop)), Decision::Wanted));
    let stopped = row.clone();
    for want in [
        Want::Pause,
        Want::Resume,
        Want::Timeout(9),
        Want::Stop(stop),
    ] {
        assert!(matches!(give(&mut row, want), Decision::Unchanged));
        assert_eq!(row, stopped);
    }
}
