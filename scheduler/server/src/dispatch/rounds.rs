//! What a round of the keeper takes from its queues: news always, claims when they are due.

use std::time::{Duration, Instant};

use davit_types::{Attempt, RunId, RunKey};
use uuid::Uuid;

use super::fleet::Known;
use super::keeper::CLAIMS_PER_ROUND_MAX;
use super::shares::WINDOW_RUNS_MIN;
use super::told::{NEWS_MAX, Told};
use super::world::{World, host};

#[tokio::test]
async fn nobody_who_tells_waits_for_a_round() {
    let mut world = World::open().await;
    for _ in 0..NEWS_MAX {
        let news = Told::Started(RunKey {
            run: RunId::generate(),
            attempt: Attempt::FIRST,
        });
        world.teller.0.try_send(news).expect("room");
    }
    assert_eq!(world.teller.0.capacity(), 0);
    world.keeper.round().await.expect("a store");
    assert_eq!(world.teller.0.capacity(), NEWS_MAX);
}

/// A world whose keeper claims for its host.
async fn claiming() -> World {
    let mut world = World::open().await;
    let (epoch, spec) = (1, host());
    let known = Known { epoch, spec };
    world.keeper.hosts.insert(Uuid::nil(), known);
    world
}

#[tokio::test]
async fn a_round_that_ends_before_the_queue_is_followed_by_another() {
    let mut world = claiming().await;
    let each = CLAIMS_PER_ROUND_MAX * WINDOW_RUNS_MIN;
    for _ in 0..=each {
        world.submitted().await;
    }
    world.keeper.round().await.expect("a store");
    assert_eq!(world.claims().await, each);
    assert!(world.keeper.owes_claim, "the rest would wait for the poll");
    world.keeper.round().await.expect("a store");
    assert_eq!(world.claims().await, each + 1);
    assert!(!world.keeper.owes_claim);
}

#[tokio::test]
async fn nothing_is_claimed_before_it_is_due() {
    let mut world = claiming().await;
    world.submitted().await;
    world.keeper.claims_due = Instant::now() + Duration::from_secs(3_600);
    world.keeper.round().await.expect("a store");
    assert!(world.keeper.owes_claim, "nobody would look again");
    assert_eq!(world.claims().await, 0);
    world.keeper.claims_due = Instant::now();
    world.keeper.round().await.expect("a store");
    assert!(!world.keeper.owes_claim);
    assert_eq!(world.claims().await, 1);
}
