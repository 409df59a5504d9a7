//! Properties of the engine: any calls in any order, checked against a model that reckons everything from scratch.

mod fairness;
mod world;

use proptest::prelude::*;

use crate::engine::Engine;
use crate::explain::Outlook;
use world::{Op, World, host_name, op, run_of, small_run};

proptest! {
    /// Never over capacity, never where it may not go, never beyond a cap; every run in one place; what is given back is
    /// what was taken; nobody waits for nothing. All of it after each of many calls.
    #[test]
    fn any_calls_keep_the_books(ops in proptest::collection::vec(op(), 1..120)) {
        let mut world = World::new(7);
        for op in ops {
            world.apply(&op);
            world.engine.audit();
            world.check();
        }
        world.end_all();
        world.engine.audit();
        for n in 0..world::HOSTS {
            if let Some(host) = world.engine.host(&host_name(n)) {
                prop_assert_eq!((host.live, host.used), (0, crate::Amounts::ZERO));
            }
        }
        let counts = world.engine.counts();
        prop_assert_eq!((counts.pending, counts.live, counts.classes, counts.reserved), (0, 0, 0, 0));
    }

    /// The same calls and seed give the same answers.
    #[test]
    fn the_same_calls_give_the_same_answers(
        ops in proptest::collection::vec(op(), 1..120), seed: u64,
    ) {
        let (mut one, mut two) = (World::new(seed), World::new(seed));
        for op in ops {
            one.apply(&op);
            two.apply(&op);
        }
        prop_assert_eq!(one.story, two.story);
    }

    /// What is told to be placeable is placed when it is alone; what is not, is not. Asking changes nothing.
    #[test]
    fn explain_agrees_with_place(
        ops in proptest::collection::vec(op(), 1..80), run in small_run(),
    ) {
        let mut world = World::new(3);
        for op in ops {
            world.apply(&op);
        }
        world.withdraw_pending();
        let run = run_of(&run, 999_999);
        let before = format!("{:?}", world.engine);
        let told = world.engine.explain_new(&run).expect("the run is right");
        prop_assert_eq!(before, format!("{:?}", world.engine), "asking changed something");
        let hosts: usize = told.hosts.values().sum();
        prop_assert_eq!(hosts, world.engine.counts().hosts);
        world.engine.submit(run.clone()).expect("the run is right");
        let waiting = world.engine.explain(run.key).expect("it was submitted");
        prop_assert_eq!(&waiting.outlook, &told.outlook);
        let placed = world.engine.place(world.now_ms, 10);
        match told.outlook {
            Outlook::Placeable(_) => {
                prop_assert_eq!(placed.len(), 1);
                let now = world.engine.explain(run.key).expect("it is live").outlook;
                prop_assert_eq!(now, Outlook::Live(placed[0].host.clone()));
            }
            _ => prop_assert_eq!(placed, []),
        }
    }

    /// Refused calls change nothing.
    #[test]
    fn a_refused_call_changes_nothing(ops in proptest::collection::vec(op(), 1..60)) {
        let mut world = World::new(5);
        for op in &ops {
            let before = snapshot(&world.engine);
            if !world.apply(op) {
                prop_assert_eq!(before, snapshot(&world.engine), "{:?}", op);
            }
        }
    }
}

fn snapshot(engine: &Engine) -> String {
    format!("{engine:?}")
}

#[test]
fn ops_reach_every_kind_of_state() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut reserved, mut quarantined, mut placed) = (0, 0, 0);
    for _ in 0..300 {
        let ops = proptest::collection::vec(op(), 120).new_tree(&mut runner);
        let mut world = World::new(1);
        for op in ops.expect("ops can be made").current() {
            world.apply(&op);
            reserved += usize::from(world.engine.counts().reserved > 0);
            quarantined += usize::from(!world.engine.probes.is_empty());
            placed += usize::from(matches!(op, Op::Place { .. }) && world.engine.counts().live > 0);
        }
    }
    assert!(
        reserved > 100 && quarantined > 100 && placed > 1_000,
        "the properties are shown on too tame a world: {reserved} {quarantined} {placed}"
    );
}
