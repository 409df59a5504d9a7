//! What hosts say of attempts: told from repeats, gaps, replays and old sessions; ends and losses.

use davit_scheduler::store::*;
use davit_types::{Attempt, EndReason, RunKey, RunStatus};

use crate::world::{NOW_MS, Peer, World, cases, end, first, only, segment, started, update};

cases![
    a_run_goes_from_start_to_end,
    duplicates_and_gaps_are_told_apart,
    a_batch_may_hold_a_whole_life,
    an_old_epoch_is_refused_and_the_new_one_goes_on,
    another_host_is_refused,
    another_attempt_is_refused,
    events_out_of_order_are_refused,
    an_end_is_repeated_without_harm,
    a_retry_begins_a_new_attempt_with_books_of_its_own,
    a_declined_run_waits_again,
    a_lost_run_needs_a_fence,
    a_lost_run_has_no_exit_code_and_its_host_is_refused,
    a_run_that_is_to_stop_is_not_tried_again,
    an_unknown_run_is_refused,
];

async fn a_run_goes_from_start_to_end(world: World) {
    let peer = world.host().await;
    let key = world.assigned(peer).await;
    world.say(peer, key, 1, Event::Accepted).await.unwrap();
    assert_eq!(world.row(key.run).await.state, ActiveState::Accepted);
    world.say(peer, key, 2, started()).await.unwrap();
    let row = world.row(key.run).await;
    assert_eq!(row.state, ActiveState::Running);
    assert_eq!(row.image_digest.as_deref(), Some("sha256:00"));
    world.say(peer, key, 3, Event::Paused).await.unwrap();
    assert_eq!(world.row(key.run).await.paused_at_ms, Some(NOW_MS + 3));
    world.say(peer, key, 4, Event::Resumed).await.unwrap();
    let ended = update(
        peer,
        key,
        5,
        Event::Ended(end(1500, 0)),
        vec![segment(key, 0, 0, 1500)],
    );
    assert_eq!(world.report(ended).await, Ok(Done::Applied));
    let view = world.view(key.run).await;
    assert_eq!(view.active, None);
    let ended = view.ended.unwrap();
    assert_eq!(ended.status, RunStatus::Succeeded);
    assert_eq!((ended.exit_code, ended.attempts), (Some(0), 1));
    assert_eq!(
        (ended.active_ms, ended.billed_seconds, ended.cost_micros),
        (1500, 2, 14)
    );
    let attempt = only(world.store.attempts(key.run).await.unwrap());
    assert!(attempt.complete);
    assert_eq!(attempt.started_ms, Some(NOW_MS + 2));
    assert_eq!(attempt.usage, "{\"cpu_us\":1}");
}

async fn duplicates_and_gaps_are_told_apart(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    assert_eq!(
        world.say(peer, key, 1, started()).await,
        Ok(Done::Duplicate)
    );
    let gap = Refusal::StepGap {
        given: 3,
        expected: 2,
    };
    assert_eq!(world.say(peer, key, 3, Event::Paused).await, Err(gap));
    assert_eq!(world.row(key.run).await.state, ActiveState::Running);
    assert_eq!(
        world.say(peer, key, 2, Event::Paused).await,
        Ok(Done::Applied)
    );
    assert_eq!(
        world.say(peer, key, 2, Event::Paused).await,
        Ok(Done::Duplicate)
    );
}

async fn a_batch_may_hold_a_whole_life(world: World) {
    let peer = world.host().await;
    let key = world.assigned(peer).await;
    let life = vec![
        update(peer, key, 1, started(), vec![]),
        update(peer, key, 1, started(), vec![]),
        update(peer, key, 2, Event::Metered, vec![segment(key, 0, 0, 10)]),
        update(
            peer,
            key,
            3,
            Event::Ended(end(20, 0)),
            vec![segment(key, 1, 10, 20)],
        ),
        update(
            peer,
            key,
            3,
            Event::Ended(end(20, 0)),
            vec![segment(key, 1, 10, 20)],
        ),
    ];
    let verdicts = world.store.report(life).await.unwrap();
    use Done::{Applied, Duplicate};
    let wanted = [Applied, Duplicate, Applied, Applied, Duplicate].map(Ok);
    assert_eq!(verdicts, wanted);
    assert_eq!(world.view(key.run).await.ended.unwrap().active_ms, 20);
}

async fn an_old_epoch_is_refused_and_the_new_one_goes_on(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let told = world.hello(peer.sender.host, "boot 1").await;
    assert_eq!(told.epoch, 2);
    let held = only(told.runs);
    assert_eq!((held.row.run, held.row.step), (key.run, 1));
    assert!(held.spec.contains(&key.run.to_string()));
    let stale = Refusal::StaleEpoch {
        given: 1,
        current: 2,
    };
    assert_eq!(
        world.say(peer, key, 2, Event::Paused).await,
        Err(stale.clone())
    );
    assert_eq!(world.say(peer, key, 1, started()).await, Err(stale));
    let peer = again(peer, 2);
    assert_eq!(
        world.say(peer, key, 2, Event::Paused).await,
        Ok(Done::Applied)
    );
}

fn again(peer: Peer, epoch: u64) -> Peer {
    Peer {
        sender: Sender {
            epoch,
            ..peer.sender
        },
    }
}

async fn another_host_is_refused(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let other = world.host().await;
    assert_eq!(
        world.say(other, key, 2, Event::Paused).await,
        Err(Refusal::WrongHost)
    );
    let stranger = Peer {
        sender: Sender {
            host: uuid::Uuid::now_v7(),
            epoch: 1,
        },
    };
    let refused = world.say(stranger, key, 2, Event::Paused).await;
    assert!(matches!(refused, Err(Refusal::NoSession { .. })));
}

async fn another_attempt_is_refused(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let next = RunKey {
        attempt: Attempt::new(2).unwrap(),
        ..key
    };
    let stale = Refusal::StaleAttempt {
        given: next.attempt,
        live: 1,
    };
    assert_eq!(world.say(peer, next, 2, Event::Paused).await, Err(stale));
}

async fn events_out_of_order_are_refused(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let state = ActiveState::Running;
    for event in [Event::Accepted, started(), Event::Resumed] {
        let refused = Err(Refusal::WrongState { state });
        assert_eq!(world.say(peer, key, 2, event).await, refused);
    }
    let late = Event::Declined {
        message: "no".to_owned(),
    };
    let refused = Err(Refusal::WrongState { state });
    assert_eq!(world.say(peer, key, 2, late).await, refused);
    assert_eq!(
        world.row(key.run).await.step,
        1,
        "a refused message is no step"
    );
}

async fn an_end_is_repeated_without_harm(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let last = update(
        peer,
        key,
        2,
        Event::Ended(end(5, 0)),
        vec![segment(key, 0, 0, 5)],
    );
    assert_eq!(world.report(last.clone()).await, Ok(Done::Applied));
    let totals = world.store.totals(world.tenant.clone()).await.unwrap();
    assert_eq!(world.report(last).await, Ok(Done::Duplicate));
    let after = world.store.totals(world.tenant.clone()).await.unwrap();
    assert_eq!(totals, after);
    let told = world.hello(peer.sender.host, "boot 1").await;
    assert_eq!(told.runs, []);
    let peer = again(peer, told.epoch);
    let repeated = world.say(peer, key, 2, Event::Ended(end(5, 0))).await;
    assert_eq!(repeated, Ok(Done::Duplicate), "also in a later session");
}

async fn a_retry_begins_a_new_attempt_with_books_of_its_own(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let failed = AttemptEnd {
        exit_code: Some(3),
        retry: Some(Retry {
            not_before_ms: NOW_MS + 100,
        }),
        ..end(1200, 0)
    };
    let last = update(
        peer,
        key,
        2,
        Event::Ended(failed.clone()),
        vec![segment(key, 0, 0, 1200)],
    );
    world.report(last.clone()).await.unwrap();
    let row = world.row(key.run).await;
    assert_eq!((row.state, row.active_ms), (ActiveState::Pending, 1200));
    assert_eq!(world.report(last.clone()).await, Ok(Done::Duplicate));
    assert_eq!(world.claim(1).await, [], "not before its time");
    let mut claim = world.claim_of(world.replica, 1);
    claim.at_ms = NOW_MS + 99 - limits::PUT_OFF_MS_MAX; // The clock has stepped back since.
    assert_eq!(world.store.claim(claim.clone()).await.unwrap().len(), 1);
    let back = world.store.unclaim(world.replica, vec![key.run]).await;
    back.unwrap();
    claim.at_ms = NOW_MS + 100;
    assert_eq!(world.store.claim(claim).await.unwrap().len(), 1);
    world.assign(key.run, peer).await.unwrap();
    let second = RunKey {
        attempt: Attempt::new(2).unwrap(),
        ..key
    };
    assert_eq!(
        world.report(last).await,
        Ok(Done::Duplicate),
        "its end is stored"
    );
    world.say(peer, second, 1, started()).await.unwrap();
    let ended = update(
        peer,
        second,
        2,
        Event::Ended(end(700, 0)),
        vec![segment(second, 0, 0, 700)],
    );
    world.report(ended).await.unwrap();
    let ended = world.view(key.run).await.ended.unwrap();
    assert_eq!((ended.attempts, ended.active_ms), (2, 1900));
    assert_eq!(
        ended.billed_seconds, 2,
        "rounded once a run, not once an attempt"
    );
    let totals = world.store.totals(world.tenant.clone()).await.unwrap();
    assert_eq!(
        (totals.active_ms, totals.cost_micros),
        (1900, ended.cost_micros)
    );
    let attempts = world.store.attempts(key.run).await.unwrap();
    let codes: Vec<_> = attempts.iter().map(|attempt| attempt.exit_code).collect();
    assert_eq!(codes, [Some(3), Some(0)]);
}

async fn a_declined_run_waits_again(world: World) {
    let peer = world.host().await;
    let key = world.assigned(peer).await;
    let declined = Event::Declined {
        message: "no room".to_owned(),
    };
    world.say(peer, key, 1, declined).await.unwrap();
    let row = world.row(key.run).await;
    assert_eq!((row.state, row.host), (ActiveState::Pending, None));
    let attempt = only(world.store.attempts(key.run).await.unwrap());
    assert_eq!(attempt.end_reason, EndReason::StartFailed);
    assert_eq!((attempt.message.as_str(), attempt.wall_ms), ("no room", 0));
}

fn loss(key: RunKey, fenced_by: FencedBy, retry: Option<Retry>) -> Loss {
    Loss {
        key,
        fenced_by,
        retry,
        message: "the host is gone".to_owned(),
        actor: "davit".to_owned(),
        at_ms: NOW_MS + 50,
    }
}

async fn lose(world: &World, loss: Loss) -> Verdict {
    only(world.store.lose(vec![loss]).await.unwrap())
}

async fn a_lost_run_needs_a_fence(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let lease = |silent_ms_min| FencedBy::Lease { silent_ms_min };
    let early = loss(key, lease(3_600_000), None);
    assert_eq!(lose(&world, early).await, Err(Refusal::NotFenced));
    let same_boot = loss(key, FencedBy::Boot, None);
    assert_eq!(
        lose(&world, same_boot.clone()).await,
        Err(Refusal::NotFenced)
    );
    world.hello(peer.sender.host, "boot 2").await;
    let requeued = Loss {
        retry: Some(Retry { not_before_ms: 0 }),
        ..same_boot
    };
    assert_eq!(lose(&world, requeued.clone()).await, Ok(Done::Applied));
    assert_eq!(world.row(key.run).await.state, ActiveState::Pending);
    let twice = lose(&world, requeued).await;
    assert!(matches!(twice, Err(Refusal::StaleAttempt { .. })));
    let other = world.host().await;
    let key = world.claim(1).await;
    let key = first(key[0].row.run);
    world.assign(key.run, other).await.unwrap();
    let second = RunKey {
        attempt: Attempt::new(2).unwrap(),
        ..key
    };
    assert_eq!(
        lose(&world, loss(second, lease(0), None)).await,
        Ok(Done::Applied)
    );
}

async fn a_lost_run_has_no_exit_code_and_its_host_is_refused(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let metered = update(
        peer,
        key,
        2,
        Event::Metered,
        vec![segment(key, 0, 0, 60_000)],
    );
    world.report(metered).await.unwrap();
    let lost = loss(key, FencedBy::Operator, None);
    assert_eq!(lose(&world, lost).await, Ok(Done::Applied));
    let ended = world.view(key.run).await.ended.unwrap();
    assert_eq!(ended.end_reason, EndReason::ExecutorLost);
    assert_eq!((ended.status, ended.exit_code), (RunStatus::Failed, None));
    assert_eq!(ended.active_ms, 60_000, "what was reported is billed");
    assert!(!only(world.store.attempts(key.run).await.unwrap()).complete);
    let status = RunStatus::Failed;
    let late = world.say(peer, key, 3, Event::Ended(end(60_000, 0))).await;
    assert_eq!(late, Err(Refusal::RunEnded { status }));
}

async fn a_run_that_is_to_stop_is_not_tried_again(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let order = Order {
        tenant: world.tenant.clone(),
        run: key.run,
        want: Want::Stop(Stop {
            signal: 15,
            grace_ms: 10,
        }),
        actor: "token 1".to_owned(),
        at_ms: NOW_MS,
    };
    world.store.order(vec![order]).await.unwrap();
    let killed = AttemptEnd {
        reason: EndReason::Canceled,
        retry: Some(Retry { not_before_ms: 0 }),
        ..end(0, 0)
    };
    world.say(peer, key, 2, Event::Ended(killed)).await.unwrap();
    assert_eq!(
        world.view(key.run).await.ended.unwrap().status,
        RunStatus::Canceled
    );
}

async fn an_unknown_run_is_refused(world: World) {
    let peer = world.host().await;
    let run = davit_types::RunId::generate();
    let refused = world.say(peer, first(run), 1, Event::Accepted).await;
    assert_eq!(refused, Err(Refusal::UnknownRun { run }));
}
