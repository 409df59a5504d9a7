//! How demand, time and failures move the numbers.

use super::*;
use proptest::prelude::*;

const IDLE_MS: u64 = 40_000;

fn policy(slots_per_profile: usize, slots_max: usize) -> Policy<u8> {
    Policy::new(Bounds {
        slots_per_profile,
        slots_max,
        idle_ms: IDLE_MS,
    })
}

/// Does what the plan says, at once and well.
fn settle(policy: &mut Policy<u8>, now_ms: u64) {
    loop {
        let plan = policy.plan(now_ms);
        if plan.make.is_empty() {
            return;
        }
        for profile in plan.make {
            assert!(policy.made(profile));
        }
    }
}

fn ready(policy: &Policy<u8>, profile: u8) -> usize {
    policy
        .profiles
        .get(&profile)
        .map_or(0, |demand| demand.ready)
}

#[test]
fn misses_double_the_slots_and_idleness_takes_them_again() {
    let mut policy = policy(8, 16);
    for (miss, slots) in [1, 2, 4, 8, 8].into_iter().enumerate() {
        policy.miss(1, 0);
        settle(&mut policy, 0);
        assert_eq!(ready(&policy, 1), slots, "after miss {miss}");
    }
    for (now_ms, slots) in [
        (9_999, 8),
        (10_000, 4),
        (20_000, 2),
        (30_000, 1),
        (40_000, 0),
    ] {
        settle(&mut policy, now_ms);
        assert_eq!(ready(&policy, 1), slots, "after {now_ms} ms");
    }
    assert!(!policy.knows(1));
}

#[test]
fn a_hit_is_refilled_and_keeps_the_profile() {
    let mut policy = policy(8, 16);
    policy.miss(1, 0);
    settle(&mut policy, 0);
    policy.hit(1, 39_000);
    settle(&mut policy, 39_000);
    assert_eq!(ready(&policy, 1), 1);
    settle(&mut policy, 78_000);
    assert_eq!(ready(&policy, 1), 1);
}

#[test]
fn failures_are_tried_again_later_each_time_and_a_run_makes_up_for_them() {
    let mut policy = policy(8, 16);
    policy.miss(1, 0);
    for delay_ms in [1_000, 2_000, 4_000] {
        let now_ms = policy.profiles[&1].retry_ms;
        assert_eq!(policy.plan(now_ms).make, [1]);
        assert_eq!(policy.failed(1, now_ms), delay_ms);
        let waits = policy.plan(now_ms + delay_ms - 1);
        assert!(waits.make.is_empty());
        assert_eq!(waits.again_ms, Some(now_ms + delay_ms));
    }
    policy.worked(1);
    assert_eq!(policy.refused(1, 10_000), 1_000);
}

#[test]
fn a_new_profile_takes_no_slot_of_one_in_use() {
    let mut policy = policy(4, 4);
    for _ in 0..3 {
        policy.miss(1, 0);
    }
    settle(&mut policy, 0);
    assert_eq!(ready(&policy, 1), 4);
    policy.miss(2, 5_000);
    settle(&mut policy, 5_000);
    assert_eq!((ready(&policy, 1), ready(&policy, 2)), (4, 0));
    policy.miss(2, 10_000);
    settle(&mut policy, 10_000);
    assert_eq!((ready(&policy, 1), ready(&policy, 2)), (2, 2));
}

#[test]
fn nothing_is_made_where_slots_are_off() {
    for mut policy in [policy(0, 4), policy(4, 0)] {
        policy.miss(1, 0);
        assert!(!policy.is_on() && !policy.knows(1));
        assert!(policy.plan(0).make.is_empty());
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Miss(u8),
    Hit(u8),
    Made(bool),
    Died(u8),
    Forget(u8),
    Later(u64),
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0u8..100).prop_map(Happening::Miss),
        (0u8..4).prop_map(Happening::Miss),
        (0u8..4).prop_map(Happening::Hit),
        any::<bool>().prop_map(Happening::Made),
        (0u8..4).prop_map(Happening::Died),
        (0u8..4).prop_map(Happening::Forget),
        (0u64..15_000).prop_map(Happening::Later),
    ]
}

proptest! {
    #[test]
    fn bounds_hold_and_idleness_ends_everything(
        bounds in (0usize..6, 0usize..10),
        happenings in proptest::collection::vec(any_happening(), 0..200),
    ) {
        let mut policy = policy(bounds.0, bounds.1);
        let mut now_ms = 0;
        let mut under_way: Vec<u8> = Vec::new();
        let act = |policy: &mut Policy<u8>, under_way: &mut Vec<u8>, now_ms| {
            let plan = policy.plan(now_ms);
            under_way.extend(&plan.make);
            plan
        };
        for happening in happenings {
            match happening {
                Happening::Miss(profile) => drop(policy.miss(profile, now_ms)),
                Happening::Hit(profile) if ready(&policy, profile) > 0 => policy.hit(profile, now_ms),
                Happening::Died(profile) if ready(&policy, profile) > 0 => drop(policy.died(profile, now_ms)),
                Happening::Forget(profile) if !under_way.contains(&profile) => policy.forget(profile),
                Happening::Made(well) => if let Some(profile) = under_way.pop() {
                    if well { policy.made(profile); } else { policy.failed(profile, now_ms); }
                },
                Happening::Later(ms) => now_ms += ms,
                _ => {}
            }
            act(&mut policy, &mut under_way, now_ms);
            let (ready, making) = policy.counts();
            prop_assert!(ready + making <= bounds.1, "{ready} + {making}");
            prop_assert!(making <= MAKING_AT_ONCE_MAX && making == under_way.len());
            prop_assert!(policy.profiles.len() <= PROFILES_MAX);
            prop_assert!(policy.profiles.values().all(|d| d.ready + d.making <= bounds.0));
        }
        let end_ms = now_ms + IDLE_MS;
        loop {
            for profile in std::mem::take(&mut under_way) {
                policy.made(profile);
            }
            let plan = act(&mut policy, &mut under_way, now_ms);
            match plan.again_ms {
                Some(again_ms) => now_ms = again_ms.max(now_ms),
                None if under_way.is_empty() => break,
                None => {}
            }
            prop_assert!(now_ms <= end_ms, "acts long after the last run");
        }
        prop_assert_eq!(policy.counts(), (0, 0));
    }
}
