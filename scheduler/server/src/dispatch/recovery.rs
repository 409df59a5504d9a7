//! What a keeper makes of its claims when the store's answers were lost: no run is dropped, none is ended.

use davit_placement::HostName;
use davit_types::{Attempt, RunKey};

use super::world::{HOST, World};

#[tokio::test]
async fn a_run_whose_assignment_is_being_stored_is_in_hand() {
    let mut world = World::open().await;
    let run = world.waiting().await;
    let placed = world.placed(run);
    world.keeper.unsettled.push(placed);
    world.keeper.recover = true;
    world.keeper.recover().await.expect("a store");
    assert!(world.is_live(run).await, "it was ended");
    assert!(world.keeper.waiting.is_empty());
    assert_eq!(world.keeper.unsettled.len(), 1);
    let name: HostName = HOST.parse().expect("a name");
    assert_eq!(world.keeper.engine.live_on(&name).count(), 1);
}

#[tokio::test]
async fn a_run_that_only_the_engine_holds_waits_again() {
    let mut world = World::open().await;
    let run = world.waiting().await;
    drop(world.placed(run));
    world.keeper.recover = true;
    world.keeper.recover().await.expect("a store");
    assert!(world.is_live(run).await, "it was ended");
    let key = world.keeper.waiting.get(&run).map(|waiting| waiting.key);
    let attempt = Attempt::FIRST;
    assert_eq!(key, Some(RunKey { run, attempt }));
    let again = world.placed(run);
    assert_eq!(again.run.key.run, run);
}
