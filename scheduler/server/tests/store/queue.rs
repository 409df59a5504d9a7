//! Submitting, claiming, assigning.

use davit_scheduler::store::*;
use davit_types::RunStatus;
use uuid::Uuid;

use crate::world::{NOW_MS, REGION, World, cases, only};

cases![
    a_submitted_run_waits_and_can_be_read,
    a_repeated_submit_makes_no_second_run,
    a_key_answers_the_first_answer_for_a_day,
    a_key_of_another_request_is_refused,
    a_key_belongs_to_its_tenant,
    closed_and_unknown_tenants_are_refused,
    a_batch_above_its_bound_is_refused_whole,
    claims_take_high_priority_first_then_old,
    claims_stay_within_shares_and_time,
    a_runners_cap_counts_what_is_claimed_and_running,
    a_full_runner_does_not_block_the_others,
    claims_can_be_read_again_and_given_back,
    waiting_names_each_tenant_once,
    only_the_claimer_assigns_and_only_to_its_own_hosts,
    a_repeated_assign_begins_no_second_attempt,
    pages_of_runs_are_keyset_pages,
];

async fn a_submitted_run_waits_and_can_be_read(world: World) {
    let submission = world.submission();
    assert_eq!(world.submit(&submission).await, Ok(Submitted::Created));
    let view = world.view(submission.base.run).await;
    assert_eq!(view.base, submission.base);
    let row = view.active.unwrap();
    assert_eq!((row.state, row.attempt), (ActiveState::Pending, 0));
    assert_eq!(row.state.status(), RunStatus::Pending);
    assert_eq!(view.ended, None);
    let other = Some("other".parse().unwrap());
    let seen = world.store.runs(other, vec![submission.base.run]).await;
    assert_eq!(seen.unwrap(), [], "another tenant's run does not exist");
}

async fn a_repeated_submit_makes_no_second_run(world: World) {
    let submission = world.submission();
    world.submit(&submission).await.unwrap();
    let again = Submitted::Replayed {
        run: submission.base.run,
        answer: String::new(),
    };
    assert_eq!(world.submit(&submission).await, Ok(again));
    assert_eq!(world.claim(10).await.len(), 1);
    let mut stolen = submission.clone();
    stolen.base.tenant = world.tenant("other", None).await;
    let run = submission.base.run;
    assert_eq!(
        world.submit(&stolen).await,
        Err(Refusal::UnknownRun { run })
    );
}

fn with_key(world: &World, key: &str, fingerprint: u8) -> Submission {
    let mut submission = world.submission();
    submission.idempotency = Some(Idempotency {
        key: key.to_owned(),
        fingerprint: [fingerprint; 32],
    });
    submission
}

async fn a_key_answers_the_first_answer_for_a_day(world: World) {
    let first = with_key(&world, "k", 1);
    assert_eq!(world.submit(&first).await, Ok(Submitted::Created));
    let replayed = Submitted::Replayed {
        run: first.base.run,
        answer: first.answer.clone(),
    };
    let mut second = with_key(&world, "k", 1);
    second.base.created_ms = NOW_MS + limits::IDEMPOTENCY_KEEP_MS - 1;
    assert_eq!(world.submit(&second).await, Ok(replayed.clone()));
    // Twice in one batch is the same as twice in a row.
    let third = with_key(&world, "two", 3);
    let fourth = with_key(&world, "two", 3);
    let both = vec![third.clone(), fourth];
    let answers = world.store.submit(both).await.unwrap();
    assert_eq!(answers[0], Ok(Submitted::Created));
    let again = Submitted::Replayed {
        run: third.base.run,
        answer: third.answer,
    };
    assert_eq!(answers[1], Ok(again));
    second.base.created_ms = NOW_MS + limits::IDEMPOTENCY_KEEP_MS;
    assert_eq!(world.submit(&second).await, Ok(Submitted::Created));
    let mut later = with_key(&world, "k", 1);
    later.base.created_ms = second.base.created_ms;
    let replayed = Submitted::Replayed {
        run: second.base.run,
        answer: second.answer.clone(),
    };
    assert_eq!(world.submit(&later).await, Ok(replayed));
}

async fn a_key_of_another_request_is_refused(world: World) {
    world.submit(&with_key(&world, "k", 1)).await.unwrap();
    let other = with_key(&world, "k", 2);
    assert_eq!(world.submit(&other).await, Err(Refusal::KeyReused));
    let seen = world.store.runs(None, vec![other.base.run]).await.unwrap();
    assert_eq!(seen, [], "nothing of it is stored");
}

async fn a_key_belongs_to_its_tenant(world: World) {
    world.submit(&with_key(&world, "k", 1)).await.unwrap();
    let mut other = with_key(&world, "k", 2);
    other.base.tenant = world.tenant("other", None).await;
    assert_eq!(world.submit(&other).await, Ok(Submitted::Created));
}

async fn closed_and_unknown_tenants_are_refused(world: World) {
    let mut submission = world.submission();
    submission.base.tenant = "nobody".parse().unwrap();
    let tenant = submission.base.tenant.clone();
    let closed = Err(Refusal::TenantClosed { tenant });
    assert_eq!(world.submit(&submission).await, closed);
    let tenancy = Tenancy {
        tenant: submission.base.tenant.clone(),
        open: false,
        spend_cap_micros: None,
        created_ms: NOW_MS,
    };
    let put = world
        .store
        .put_tenant(tenancy, "operator".to_owned(), NOW_MS);
    put.await.unwrap();
    assert_eq!(world.submit(&submission).await, closed);
}

async fn a_batch_above_its_bound_is_refused_whole(world: World) {
    let batch: Vec<_> = (0..=limits::BATCH_ITEMS_MAX)
        .map(|_| world.submission())
        .collect();
    let first = batch[0].base.run;
    let refused = world.store.submit(batch).await.unwrap_err();
    assert!(matches!(
        refused.failure,
        Failure::TooMuch { given: 1001, .. }
    ));
    assert!(!refused.is_retriable());
    let text = refused.to_string();
    assert_eq!(text, format!("cannot submit ({first} and 1000 more)"));
    assert_eq!(world.claim(10).await, []);
    let mut long = world.submission();
    long.base.spec = "x".repeat(limits::DOCUMENT_BYTES_MAX + 1);
    assert!(world.store.submit(vec![long]).await.is_err());
    let page = world
        .store
        .runs_page(RunFilter::default(), None, 1001)
        .await;
    assert!(matches!(page.unwrap_err().failure, Failure::TooMuch { .. }));
}

async fn claims_take_high_priority_first_then_old(world: World) {
    let old = world.submitted().await;
    let mut urgent = world.submission();
    urgent.base.priority = 5;
    world.submit(&urgent).await.unwrap();
    let young = world.submitted().await;
    let claimed = world.claim(10).await;
    let order: Vec<_> = claimed.iter().map(|c| c.row.run).collect();
    assert_eq!(order, [urgent.base.run, old, young]);
    assert_eq!(claimed[0].spec, urgent.base.spec);
    assert_eq!(claimed[0].row.replica, Some(world.replica));
    assert_eq!(world.claim(10).await, [], "nothing is claimed twice");
}

async fn claims_stay_within_shares_and_time(world: World) {
    for _ in 0..3 {
        world.submitted().await;
    }
    let mut other = world.submission();
    other.base.tenant = world.tenant("other", None).await;
    world.submit(&other).await.unwrap();
    let mut abroad = world.submission();
    abroad.base.region = "there".to_owned();
    world.submit(&abroad).await.unwrap();
    let mut claim = world.claim_of(world.replica, 2);
    claim.shares.push(Share {
        tenant: other.base.tenant.clone(),
        runs_max: 5,
    });
    let claimed = world.store.claim(claim).await.unwrap();
    let ours = claimed.iter().filter(|c| c.row.tenant == world.tenant);
    assert_eq!((ours.count(), claimed.len()), (2, 3));
    assert!(claimed.iter().all(|c| c.row.region == REGION));
}

async fn capped(world: &World, runs_max: u32) -> Uuid {
    let id = Uuid::now_v7();
    let put = CatalogPut {
        key: CatalogKey {
            kind: CatalogKind::Runner,
            tenant: Some(world.tenant.clone()),
            id,
        },
        revision: 0,
        name: format!("runner {id}"),
        body: "{}".to_owned(),
        runs_max: Some(runs_max),
        actor: "token 1".to_owned(),
        at_ms: NOW_MS,
    };
    assert_eq!(world.store.put_entry(put).await.unwrap(), Ok(Done::Applied));
    id
}

async fn a_runners_cap_counts_what_is_claimed_and_running(world: World) {
    let runner = capped(&world, 2).await;
    for _ in 0..5 {
        let mut submission = world.submission();
        submission.base.runner = Some(runner);
        world.submit(&submission).await.unwrap();
    }
    let claimed = world.claim(10).await;
    assert_eq!(claimed.len(), 2);
    let peer = world.host().await;
    world.assign(claimed[0].row.run, peer).await.unwrap();
    assert_eq!(world.claim(10).await, [], "one assigned, one claimed");
    let second = claimed[1].row.run;
    world
        .store
        .unclaim(world.replica, vec![second])
        .await
        .unwrap();
    assert_eq!(only(world.claim(10).await).row.run, second);
}

async fn a_full_runner_does_not_block_the_others(world: World) {
    let runner = capped(&world, 1).await;
    let mut batch = Vec::new();
    for _ in 0..20 {
        let mut submission = world.submission();
        submission.base.runner = Some(runner);
        batch.push(submission);
    }
    world.store.submit(batch).await.unwrap();
    assert_eq!(world.claim(5).await.len(), 1);
    let free = world.submitted().await;
    assert_eq!(only(world.claim(5).await).row.run, free);
}

async fn claims_can_be_read_again_and_given_back(world: World) {
    let run = world.submitted().await;
    let claimed = world.claim(1).await;
    let held = world.store.claims(world.replica).await.unwrap();
    assert_eq!(held, claimed);
    let stranger = Uuid::now_v7();
    let freed = world.store.unclaim(stranger, vec![run]).await.unwrap();
    assert_eq!(freed, 0, "another replica's claim stays");
    let freed = world.store.unclaim(world.replica, vec![run]).await.unwrap();
    assert_eq!(freed, 1);
    assert_eq!(world.row(run).await.state, ActiveState::Pending);
    assert_eq!(world.store.claims(world.replica).await.unwrap(), []);
}

async fn waiting_names_each_tenant_once(world: World) {
    for name in ["beta", "alpha"] {
        let mut submission = world.submission();
        submission.base.tenant = world.tenant(name, None).await;
        world.submit(&submission).await.unwrap();
        world.submitted().await;
    }
    let waiting = world
        .store
        .waiting(REGION.to_owned(), None, 10)
        .await
        .unwrap();
    let names: Vec<_> = waiting.iter().map(davit_types::Tenant::as_str).collect();
    assert_eq!(names, ["acme", "alpha", "beta"]);
    world.claim(10).await;
    let waiting = world
        .store
        .waiting(REGION.to_owned(), None, 1)
        .await
        .unwrap();
    assert_eq!(only(waiting).as_str(), "alpha");
    let after = Some("alpha".parse().unwrap());
    let rest = world.store.waiting(REGION.to_owned(), after, 10).await;
    assert_eq!(only(rest.unwrap()).as_str(), "beta");
    let nowhere = world.store.waiting("nowhere".to_owned(), None, 10).await;
    assert_eq!(nowhere.unwrap(), []);
}

async fn only_the_claimer_assigns_and_only_to_its_own_hosts(world: World) {
    let peer = world.host().await;
    let run = world.submitted().await;
    assert_eq!(world.assign(run, peer).await, Err(Refusal::NotClaimed));
    world.claim(1).await;
    let mut foreign = Assignment {
        replica: Uuid::now_v7(),
        run,
        to: peer.sender,
        at_ms: NOW_MS,
    };
    let verdict = only(world.store.assign(vec![foreign]).await.unwrap());
    assert_eq!(verdict, Err(Refusal::NotClaimed));
    foreign.replica = world.replica;
    foreign.to.epoch += 1;
    let verdict = only(world.store.assign(vec![foreign]).await.unwrap());
    assert!(matches!(
        verdict,
        Err(Refusal::StaleEpoch {
            given: 2,
            current: 1
        })
    ));
    foreign.to.host = Uuid::now_v7();
    let verdict = only(world.store.assign(vec![foreign]).await.unwrap());
    assert!(matches!(verdict, Err(Refusal::NoSession { .. })));
    let actor = "operator".to_owned();
    let host = peer.sender.host;
    let drain = world
        .store
        .set_host_state(host, HostState::Draining, actor, NOW_MS);
    assert!(drain.await.unwrap());
    let state = HostState::Draining;
    assert_eq!(
        world.assign(run, peer).await,
        Err(Refusal::HostClosed { state })
    );
}

async fn a_repeated_assign_begins_no_second_attempt(world: World) {
    let peer = world.host().await;
    let key = world.assigned(peer).await;
    assert_eq!(world.assign(key.run, peer).await, Ok(Done::Duplicate));
    assert_eq!(world.row(key.run).await.attempt, 1);
    let other = world.host().await;
    let state = ActiveState::Assigned;
    let refused = Err(Refusal::WrongState { state });
    assert_eq!(world.assign(key.run, other).await, refused);
}

async fn pages_of_runs_are_keyset_pages(world: World) {
    let mut all = Vec::new();
    for _ in 0..7 {
        all.push(world.submitted().await);
    }
    all.reverse();
    let filter = RunFilter {
        tenant: Some(world.tenant.clone()),
        ..RunFilter::default()
    };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = world
            .store
            .runs_page(filter.clone(), before, 3)
            .await
            .unwrap();
        // A run that appears meanwhile is newer than the cursor: no page moves.
        world.submitted().await;
        let Some(last) = page.last() else { break };
        before = Some(last.base.run);
        seen.extend(page.iter().map(|view| view.base.run));
    }
    assert_eq!(seen, all);
    let running = RunFilter {
        status: Some(RunStatus::Running),
        ..filter
    };
    let page = world.store.runs_page(running, None, 10).await.unwrap();
    assert_eq!(page, []);
    let nobody = RunFilter {
        runner: Some(Uuid::now_v7()),
        ..RunFilter::default()
    };
    assert_eq!(world.store.runs_page(nobody, None, 10).await.unwrap(), []);
}
