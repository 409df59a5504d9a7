//! What users want of runs.

use davit_scheduler::store::*;
use davit_types::{EndReason, RunId, RunStatus};

use crate::world::{NOW_MS, World, cases, end, only, wait_for};

cases![
    stopping_a_waiting_run_cancels_it,
    a_stop_is_wanted_until_it_is_heeded,
    stops_only_get_sooner,
    other_orders_merge,
    orders_to_ended_and_foreign_runs_change_nothing,
    an_order_while_it_waits_reaches_its_host,
    a_claimed_run_that_was_canceled_cannot_be_assigned,
    hints_tell_of_work,
    what_davit_ends_has_a_host_and_says_why,
    a_users_stop_keeps_its_own_words,
    open_orders_are_paged,
    runs_with_hosts_are_paged_by_tenant,
];

fn order(world: &World, run: RunId, want: Want) -> Order {
    Order {
        tenant: world.tenant.clone(),
        run,
        want,
        actor: "token 1".to_owned(),
        at_ms: NOW_MS + 9,
    }
}

async fn give(world: &World, run: RunId, want: Want) -> Result<Ordered, Refusal> {
    only(
        world
            .store
            .order(vec![order(world, run, want)])
            .await
            .unwrap(),
    )
}

fn stop(grace_ms: u64) -> Want {
    Want::Stop(Stop {
        signal: 15,
        grace_ms,
    })
}

async fn open(world: &World) -> Vec<OpenOrder> {
    world
        .store
        .open_orders(world.replica, None, 10)
        .await
        .unwrap()
}

async fn stopping_a_waiting_run_cancels_it(world: World) {
    let run = world.submitted().await;
    assert_eq!(give(&world, run, stop(10)).await, Ok(Ordered::Canceled));
    let ended = world.view(run).await.ended.unwrap();
    assert_eq!((ended.status, ended.cost_micros), (RunStatus::Canceled, 0));
    assert_eq!((ended.exit_code, ended.ended_ms), (None, NOW_MS + 9));
    assert_eq!(world.claim(1).await, []);
    let run = world.submitted().await;
    let twice = vec![order(&world, run, stop(10)), order(&world, run, stop(10))];
    let answers = world.store.order(twice).await.unwrap();
    assert_eq!(answers, [Ok(Ordered::Canceled), Ok(Ordered::Unchanged)]);
}

async fn a_stop_is_wanted_until_it_is_heeded(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    assert_eq!(give(&world, key.run, stop(10)).await, Ok(Ordered::Wanted));
    let wanted = only(open(&world).await);
    assert_eq!(
        (wanted.run, wanted.attempt, wanted.revision),
        (key.run, 1, 1)
    );
    assert_eq!(wanted.host, peer.sender.host);
    assert_eq!(wanted.desired.stop.unwrap().signal, 15);
    let stranger = world
        .store
        .open_orders(uuid::Uuid::now_v7(), None, 10)
        .await;
    assert_eq!(stranger.unwrap(), [], "its connection ends elsewhere");
    let heeded = Event::Heeded { revision: 1 };
    world.say(peer, key, 2, heeded).await.unwrap();
    assert_eq!(open(&world).await, []);
}

async fn stops_only_get_sooner(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    give(&world, key.run, stop(1000)).await.unwrap();
    assert_eq!(
        give(&world, key.run, stop(2000)).await,
        Ok(Ordered::Unchanged)
    );
    assert_eq!(give(&world, key.run, stop(0)).await, Ok(Ordered::Wanted));
    assert_eq!(
        give(&world, key.run, Want::Pause).await,
        Ok(Ordered::Unchanged)
    );
    let desired = only(open(&world).await).desired;
    assert_eq!(desired.stop.unwrap().grace_ms, 0);
    assert!(!desired.paused);
}

async fn other_orders_merge(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    give(&world, key.run, Want::Pause).await.unwrap();
    give(&world, key.run, Want::Timeout(60)).await.unwrap();
    let wanted = only(open(&world).await);
    let both = Desired {
        stop: None,
        paused: true,
        timeout_seconds: Some(60),
        because: None,
    };
    assert_eq!((wanted.desired, wanted.revision), (both, 2));
    let early = Event::Heeded { revision: 1 };
    world.say(peer, key, 2, early).await.unwrap();
    assert_eq!(open(&world).await.len(), 1, "the second is not heeded");
    give(&world, key.run, Want::Resume).await.unwrap();
    let beyond = Event::Heeded { revision: 99 };
    world.say(peer, key, 3, beyond).await.unwrap();
    let row = world.row(key.run).await;
    assert_eq!((row.desired_revision, row.heeded_revision), (3, 3));
}

async fn orders_to_ended_and_foreign_runs_change_nothing(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let mut foreign = order(&world, key.run, stop(1));
    foreign.tenant = world.tenant("other", None).await;
    let unknown = Err(Refusal::UnknownRun { run: key.run });
    let answer = only(world.store.order(vec![foreign.clone()]).await.unwrap());
    assert_eq!(answer, unknown);
    world
        .say(peer, key, 2, Event::Ended(end(0, 0)))
        .await
        .unwrap();
    let before = world.view(key.run).await;
    assert_eq!(give(&world, key.run, stop(1)).await, Ok(Ordered::Unchanged));
    assert_eq!(world.view(key.run).await, before);
    let answer = only(world.store.order(vec![foreign]).await.unwrap());
    assert_eq!(answer, unknown);
}

async fn an_order_while_it_waits_reaches_its_host(world: World) {
    let run = world.submitted().await;
    assert_eq!(give(&world, run, Want::Pause).await, Ok(Ordered::Wanted));
    assert_eq!(open(&world).await, [], "there is nobody to tell");
    let peer = world.host().await;
    let claimed = only(world.claim(1).await);
    assert!(claimed.row.desired.paused);
    world.assign(run, peer).await.unwrap();
    assert_eq!(only(open(&world).await).run, run);
}

async fn a_claimed_run_that_was_canceled_cannot_be_assigned(world: World) {
    let peer = world.host().await;
    let run = world.submitted().await;
    world.claim(1).await;
    assert_eq!(give(&world, run, stop(1)).await, Ok(Ordered::Canceled));
    assert_eq!(
        world.assign(run, peer).await,
        Err(Refusal::UnknownRun { run })
    );
}

async fn hints_tell_of_work(world: World) {
    let other = davit_scheduler::store::open(&world.settings).await.unwrap();
    let mut here = world.store.hints();
    let mut there = other.hints();
    here.mark_unchanged();
    world.submitted().await;
    assert!(
        here.has_changed().unwrap(),
        "its own replica is told at once"
    );
    if matches!(world.settings, StoreSettings::Postgres(_)) {
        // The other's listening connection may still be under way, so it is told again and again.
        wait_for("a hint at the other replica", async || {
            world.submitted().await;
            there.has_changed().unwrap().then(|| there.mark_unchanged())
        })
        .await;
    }
    other.close().await;
}

async fn what_davit_ends_has_a_host_and_says_why(world: World) {
    let peer = world.host().await;
    let waiting = world.submitted().await;
    let end = Want::End(Cause::SpendCap);
    assert_eq!(give(&world, waiting, end).await, Ok(Ordered::Unchanged));
    assert_eq!(world.row(waiting).await.state, ActiveState::Pending);
    give(&world, waiting, stop(0)).await.unwrap();
    let key = world.running(peer).await;
    assert_eq!(give(&world, key.run, end).await, Ok(Ordered::Wanted));
    assert_eq!(give(&world, key.run, end).await, Ok(Ordered::Unchanged));
    let wanted = only(open(&world).await).desired;
    assert_eq!(wanted.stop, Some(Cause::SpendCap.stop()));
    let mut last = end_of(EndReason::Canceled);
    last.exit_code = None;
    // Even where the plan would have it tried again.
    last.retry = Some(Retry { not_before_ms: 0 });
    let ended = Event::Ended(last);
    assert_eq!(world.say(peer, key, 2, ended).await, Ok(Done::Applied));
    let run = world.view(key.run).await.ended.unwrap();
    assert_eq!(run.status, RunStatus::Canceled);
    assert_eq!(run.message, Cause::SpendCap.sentence());
    let attempts = world.store.attempts(key.run).await.unwrap();
    assert_eq!(attempts[0].message, Cause::SpendCap.sentence());
    // One that ended by itself meanwhile says how.
    let key = world.running(peer).await;
    give(&world, key.run, end).await.unwrap();
    let by_itself = Event::Ended(end_of(EndReason::Exited));
    world.say(peer, key, 2, by_itself).await.unwrap();
    let run = world.view(key.run).await.ended.unwrap();
    assert_eq!(run.message, "exited with code 0");
}

fn end_of(reason: EndReason) -> AttemptEnd {
    AttemptEnd {
        reason,
        ..end(0, 0)
    }
}

async fn a_users_stop_keeps_its_own_words(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    give(&world, key.run, stop(5)).await.unwrap();
    let late = give(&world, key.run, Want::End(Cause::Drained)).await;
    assert_eq!(late, Ok(Ordered::Unchanged));
    let ended = Event::Ended(end_of(EndReason::Canceled));
    world.say(peer, key, 2, ended).await.unwrap();
    let run = world.view(key.run).await.ended.unwrap();
    assert_eq!(run.message, "exited with code 0", "the host's");
}

async fn open_orders_are_paged(world: World) {
    let peer = world.host().await;
    let mut wanted = Vec::new();
    for _ in 0..5 {
        let key = world.running(peer).await;
        give(&world, key.run, Want::Pause).await.unwrap();
        wanted.push(key.run);
    }
    let mut found = Vec::new();
    loop {
        let after = found.last().copied();
        let page = world.store.open_orders(world.replica, after, 2).await;
        let page = page.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().map(|order| order.run));
    }
    assert_eq!(found, wanted);
}

async fn runs_with_hosts_are_paged_by_tenant(world: World) {
    let hosts = [world.host().await, world.host().await];
    let mut wanted = std::collections::BTreeSet::new();
    for n in 0..6 {
        let peer = hosts[n % 2];
        wanted.insert((peer.sender.host, world.running(peer).await.run));
    }
    world.submitted().await;
    let mut found = Vec::new();
    loop {
        let after = found.last().copied();
        let page = world.store.hosted(world.tenant.clone(), after, 4).await;
        let page = page.unwrap();
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().map(|row| (row.host.unwrap(), row.run)));
    }
    assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
    let other = "other".parse().unwrap();
    assert_eq!(world.store.hosted(other, None, 4).await.unwrap(), []);
}
