//! The table as people review it, and the properties no edit of it may break.

use davit_lifecycle::{Action, Event, State, Verdict, graph, step, table_text};
use proptest::prelude::*;

/// Compares with a committed file; `DAVIT_UPDATE=1` rewrites it.
fn assert_committed(name: &str, now: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os("DAVIT_UPDATE").is_some() {
        std::fs::write(&path, now).expect("the crate's own directory is writable");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, now,
        "{name} is not the present table: review it, then run with DAVIT_UPDATE=1"
    );
}

#[test]
fn table_is_as_reviewed() {
    assert_committed("table.txt", &table_text());
}

#[test]
fn graph_is_as_reviewed() {
    assert_committed("graph.mmd", &graph());
}

#[test]
fn ended_absorbs_everything() {
    for event in Event::ALL {
        let row = step(State::Ended, event);
        assert_eq!(
            (row.next, row.actions),
            (State::Ended, &[][..]),
            "{event:?}"
        );
    }
}

#[test]
fn closing_is_entered_only_with_cleanup_and_left_only_when_cleaned() {
    for state in State::ALL {
        for event in Event::ALL {
            let row = step(state, event);
            let enters = row.next == State::Closing && state != State::Closing;
            assert_eq!(
                enters,
                row.actions.contains(&Action::Cleanup),
                "{state} {event:?}"
            );
            if row.next == State::Ended && state != State::Ended {
                assert_eq!((state, event), (State::Closing, Event::Cleaned));
            }
        }
    }
}

#[test]
fn every_state_is_reached_and_can_end() {
    let mut reached = vec![State::Accepted];
    let mut at = 0;
    while at < reached.len() {
        for event in Event::ALL {
            let next = step(reached[at], event).next;
            if !reached.contains(&next) {
                reached.push(next);
            }
        }
        at += 1;
    }
    assert_eq!(reached.len(), State::ALL.len());
    for state in State::ALL {
        let mut seen = vec![state];
        let mut at = 0;
        while at < seen.len() {
            for event in Event::ALL {
                let next = step(seen[at], event).next;
                if !seen.contains(&next) {
                    seen.push(next);
                }
            }
            at += 1;
        }
        assert!(seen.contains(&State::Ended), "{state} cannot end");
    }
}

#[test]
fn a_watched_run_ends_on_exit_and_on_loss() {
    for state in [
        State::Starting,
        State::Unstarting,
        State::Running,
        State::Paused,
        State::Stopping,
    ] {
        let exit = step(state, Event::Exited);
        assert_eq!(
            exit.actions[0],
            Action::RecordEnd(Verdict::FromExit),
            "{state}"
        );
        let lost = step(state, Event::ShimLost);
        assert_eq!(lost.actions[0], Action::RecordEnd(Verdict::Lost), "{state}");
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(proptest::sample::select(&Event::ALL[..]), 0..64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn whatever_happens_the_order_of_a_life_holds(events in events()) {
        let mut state = State::Accepted;
        let mut done: Vec<Action> = Vec::new();
        let mut found_end = false;
        for event in events {
            let row = step(state, event);
            if state == State::Ended {
                prop_assert!(row.actions.is_empty());
            }
            found_end |= state == State::Accepted && event == Event::FoundEnd;
            done.extend(row.actions);
            state = row.next;
        }
        let count = |wanted: fn(&Action) -> bool| done.iter().filter(|a| wanted(a)).count();
        for once in [Action::Pull, Action::Prepare, Action::Watch, Action::Start, Action::Cleanup] {
            prop_assert!(done.iter().filter(|a| **a == once).count() <= 1, "{:?} twice", once);
        }
        let recorded = count(|a| matches!(a, Action::RecordEnd(_)));
        let cleaned = count(|a| *a == Action::Cleanup);
        prop_assert_eq!(cleaned == 1, state.is_over());
        prop_assert_eq!(recorded + usize::from(found_end), usize::from(state.is_over()));

        // Recorded, then published, then cleaned; nothing is made or signalled afterwards.
        if let Some(at) = done.iter().position(|a| matches!(a, Action::RecordEnd(_))) {
            let rest: Vec<Action> = done[at + 1..].to_vec();
            prop_assert_eq!(&rest[..2], &[Action::Publish, Action::Cleanup]);
            prop_assert!(rest[2..].iter().all(|a| *a == Action::Publish));
        }
        // A launch is watched before it is let go.
        if let Some(start) = done.iter().position(|a| *a == Action::Start) {
            prop_assert!(done[..start].contains(&Action::Watch));
        }
    }

    #[test]
    fn a_stop_before_the_start_never_lets_the_job_go(events in events()) {
        let mut state = State::Accepted;
        let mut asked = false;
        for event in events {
            let row = step(state, event);
            if asked {
                prop_assert!(!row.actions.contains(&Action::Start), "{state} {event:?}");
            }
            asked |= matches!(event, Event::StopRequested | Event::CancelRequested);
            state = row.next;
        }
    }
}
