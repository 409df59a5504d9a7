//! No run is starved, and no tenant.

use proptest::prelude::*;

use super::world::{host_name, key, units};
use crate::engine::{Engine, Rules};
use crate::host::{HostSpec, HostState};
use crate::run::{Priority, Run, Wants};
use crate::{Ended, HostName};

fn host(n: u8, capacity: u64) -> HostSpec {
    HostSpec {
        name: host_name(n),
        epoch: 1,
        region: "here".parse().expect("a region"),
        labels: Vec::new(),
        capacity: units(capacity, capacity),
        images: Vec::new(),
        state: HostState::Online,
    }
}

fn run(n: u64, tenant: usize, size: u64) -> Run {
    Run {
        key: key(n),
        tenant: format!("tenant-{tenant}").parse().expect("a tenant"),
        runner: None,
        priority: Priority::USUAL,
        sequence: n,
        image: None,
        wants: Wants::only(units(size, 0)),
    }
}

fn engine(seed: u64, capacities: &[u64]) -> Engine {
    let mut engine = Engine::new(Rules {
        seed,
        reserve_after_ms: 0,
        ..Rules::default()
    });
    for (n, capacity) in (0u8..).zip(capacities) {
        engine
            .upsert_host(host(n, *capacity))
            .expect("the host is right");
    }
    engine
}

proptest! {
    /// Small runs never stop coming; still the big one is placed after as many ends as runs were live when a host was
    /// reserved for it, when the oldest ends first.
    #[test]
    fn a_big_run_is_placed_within_as_many_ends_as_there_were_runs(
        seed: u64, capacities in proptest::collection::vec(2u64..12, 1..6), sizes in proptest::collection::vec(1u64..3, 1..4),
    ) {
        let largest = *capacities.iter().max().expect("there are hosts");
        let mut engine = engine(seed, &capacities);
        let mut next = 0;
        let mut live = std::collections::VecDeque::new();
        let mut feed = |engine: &mut Engine| {
            for size in &sizes {
                next += 1;
                engine.submit(run(next, 0, *size)).expect("the run is right");
            }
        };
        for _ in 0..40 {
            feed(&mut engine);
        }
        live.extend(engine.place(0, 1_000).into_iter().map(|placed| placed.key));
        let big = run(0, 0, largest);
        engine.submit(big.clone()).expect("the run is right");
        // One of its tenant's runs may have been passed before it, and then gets its reservation first.
        let mut bound = 2 * live.len() as u64 + 2;
        let mut reserved = false;
        for end in 1.. {
            let oldest = live.pop_front().expect("a full fleet has runs");
            engine.end(oldest).expect("it is live");
            feed(&mut engine);
            let placed = engine.place(end, 1_000);
            if placed.iter().any(|placed| placed.key == big.key) {
                break;
            }
            live.extend(placed.into_iter().map(|placed| placed.key));
            if !reserved && reserved_for(&engine, capacities.len(), &big).is_some() {
                reserved = true;
                bound = end + live.len() as u64;
            }
            prop_assert!(end < bound, "{bound} ends were enough; reserved: {reserved}");
        }
    }

    /// What comes after a reservation does not delay the run it is for: ending only what was on the host before is enough.
    #[test]
    fn what_comes_later_does_not_delay_a_reserved_run(
        seed: u64, capacities in proptest::collection::vec(4u64..12, 1..5), part in 50u64..=100,
        later in proptest::collection::vec(1u64..6, 0..60),
    ) {
        let largest = *capacities.iter().max().expect("there are hosts");
        let mut engine = engine(seed, &capacities);
        let small = (1..200u64).map(|n| run(n, 0, 1));
        small.for_each(|run| engine.submit(run).expect("the run is right"));
        engine.place(0, 1_000);
        // Older than what waits, so it is passed by the first that is placed.
        let big = run(0, 0, (largest * part / 100).max(2));
        engine.submit(big.clone()).expect("the run is right");
        engine.place(0, 1_000);
        // Only there a run that is placed passes it: no other host could hold it.
        let at = capacities.iter().position(|capacity| *capacity == largest);
        let at = u8::try_from(at.expect("one is the largest")).expect("few hosts");
        let victim = engine.live_on(&host_name(at)).next().expect("the fleet is full");
        engine.end(victim).expect("it is live");
        engine.place(1, 1_000);
        let Some(reserved) = reserved_for(&engine, capacities.len(), &big) else {
            // Two small places in one: it fitted.
            prop_assert!(matches!(engine.end(big.key), Ok(Ended::Live(_))));
            return Ok(());
        };
        let before: Vec<_> = engine.live_on(&reserved).collect();
        for (n, size) in (1_000..).zip(later) {
            engine.submit(run(n, 0, size)).expect("the run is right");
        }
        for old in before {
            engine.place(2, 1_000);
            if engine.end(old) != Ok(Ended::Live(reserved.clone())) {
                break;
            }
        }
        engine.place(3, 1_000);
        prop_assert!(matches!(engine.end(big.key), Ok(Ended::Live(_))), "delayed by what came later");
    }

    /// Tenants with equal runs and a backlog hold shares by weight, but for one run.
    #[test]
    fn shares_are_by_weight_but_for_one_run(
        seed: u64, capacities in proptest::collection::vec(4u64..20, 1..5),
        weights in proptest::collection::vec(1u32..4, 2..5), ends in proptest::collection::vec(any::<usize>(), 0..60),
    ) {
        let mut engine = engine(seed, &capacities);
        let total: u64 = capacities.iter().sum();
        let mut tenant_of = std::collections::BTreeMap::new();
        for (tenant, weight) in weights.iter().enumerate() {
            let name = format!("tenant-{tenant}").parse().expect("a tenant");
            engine.set_weight(&name, *weight).expect("few tenants");
            for n in 0..total + 60 {
                let run = run(tenant as u64 * 10_000 + n, tenant, 1);
                tenant_of.insert(run.key, tenant);
                engine.submit(run).expect("the run is right");
            }
        }
        let mut live: Vec<_> = engine.place(0, 1_000).into_iter().map(|placed| placed.key).collect();
        prop_assert_eq!(live.len() as u64, total);
        let held = |live: &[davit_types::RunKey]| {
            let mut held = vec![0u64; weights.len()];
            live.iter().for_each(|key| held[tenant_of[key]] += 1);
            held
        };
        let even = |held: &[u64]| {
            // Nobody could have given its last run to another and still hold more than that one does then.
            held.iter().enumerate().all(|(a, mine)| held.iter().enumerate().all(|(b, other)| {
                let (mine, other) = (mine.saturating_sub(1) * u64::from(weights[b]), other * u64::from(weights[a]));
                mine <= other
            }))
        };
        prop_assert!(even(&held(&live)), "{:?} of {:?}", held(&live), weights);
        for (at, end) in (1..).zip(ends) {
            let gone = live.swap_remove(end % live.len());
            let poorer = held(&live);
            engine.end(gone).expect("it is live");
            let placed = engine.place(at, 1_000);
            prop_assert_eq!(placed.len(), 1);
            // It goes to one who holds least for its weight.
            let to = tenant_of[&placed[0].key];
            let least = |other: usize| poorer[to] * u64::from(weights[other]) <= poorer[other] * u64::from(weights[to]);
            prop_assert!((0..weights.len()).all(least), "to {to}: {poorer:?} of {weights:?}");
            live.push(placed[0].key);
        }
    }
}

fn reserved_for(engine: &Engine, hosts: usize, run: &Run) -> Option<HostName> {
    (0u8..).take(hosts).map(host_name).find(|name| {
        let host = engine.host(name).expect("it was told");
        host.reserved_for == Some(run.key)
    })
}
