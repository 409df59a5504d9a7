//! Many runs in one submit: all of them or none, and their environments with them.

use davit_scheduler::store::*;
use davit_types::{EndReason, RunStatus};
use futures::future::join_all;
use uuid::Uuid;

use crate::world::{NOW_MS, PRICE_MICROS, World, cases, segment, update};

cases![
    all_runs_are_made_in_their_order,
    one_that_is_refused_keeps_all_from_being_made,
    a_key_answers_for_the_whole,
    of_many_at_once_with_a_key_one_makes_runs,
    a_repeat_of_the_same_call_makes_nothing_twice,
    an_environment_comes_with_its_run_and_not_without,
    a_reached_cap_refuses_the_whole,
    bounds_and_stray_keys_are_refused,
    a_claimed_run_that_fits_nowhere_ends_with_a_reason,
];

fn batch(world: &World, count: usize) -> Vec<Submission> {
    (0..count).map(|_| world.submission()).collect()
}

fn keyed(world: &World, count: usize, fingerprint: u8) -> Vec<Submission> {
    let mut batch = batch(world, count);
    batch[0].idempotency = Some(Idempotency {
        key: "k".to_owned(),
        fingerprint: [fingerprint; 32],
    });
    batch
}

async fn submit(world: &World, batch: &[Submission]) -> Result<Submitted, Refusal> {
    let submitted = world.store.submit_together(batch.to_vec()).await;
    submitted.unwrap()
}

async fn runs(world: &World) -> usize {
    let filter = RunFilter::default();
    let page = world.store.runs_page(filter, None, 1_000).await.unwrap();
    page.len()
}

async fn all_runs_are_made_in_their_order(world: World) {
    let batch = batch(&world, limits::BATCH_ITEMS_MAX);
    assert_eq!(submit(&world, &batch).await, Ok(Submitted::Created));
    let claimed = world.claim(limits::BATCH_ITEMS_MAX).await;
    let claimed: Vec<_> = claimed.iter().map(|claimed| claimed.row.run).collect();
    let submitted: Vec<_> = batch.iter().map(|s| s.base.run).collect();
    assert_eq!(claimed, submitted);
    let tenant = Some(world.tenant.clone());
    let rows = world.store.audit_page(tenant, Cursor::default(), 1_000);
    let rows = rows.await.unwrap().rows;
    let told = rows.iter().filter(|row| row.action == "run.submitted");
    assert_eq!(told.count(), 999, "and the tenant's own row is the first");
}

async fn one_that_is_refused_keeps_all_from_being_made(world: World) {
    let mut dear = keyed(&world, 3, 1);
    dear[2].base.price_second_micros = u64::MAX;
    let refused = submit(&world, &dear).await;
    assert!(matches!(refused, Err(Refusal::OutOfRange { .. })));
    assert_eq!(runs(&world).await, 0);
    // Not even the key is used up.
    let right = keyed(&world, 3, 2);
    assert_eq!(submit(&world, &right).await, Ok(Submitted::Created));
}

async fn a_key_answers_for_the_whole(world: World) {
    let first = keyed(&world, 3, 1);
    assert_eq!(submit(&world, &first).await, Ok(Submitted::Created));
    let replayed = Submitted::Replayed {
        run: first[0].base.run,
        answer: first[0].answer.clone(),
    };
    let again = keyed(&world, 3, 1);
    assert_eq!(submit(&world, &again).await, Ok(replayed));
    let other = keyed(&world, 3, 2);
    assert_eq!(submit(&world, &other).await, Err(Refusal::KeyReused));
    assert_eq!(runs(&world).await, 3);
}

async fn of_many_at_once_with_a_key_one_makes_runs(world: World) {
    let all: Vec<_> = (0..8).map(|_| keyed(&world, 20, 1)).collect();
    let answers = join_all(all.iter().map(|batch| submit(&world, batch))).await;
    let made = answers
        .iter()
        .filter(|answer| **answer == Ok(Submitted::Created));
    assert_eq!(made.count(), 1, "{answers:?}");
    assert_eq!(runs(&world).await, 20);
}

async fn a_repeat_of_the_same_call_makes_nothing_twice(world: World) {
    let batch = batch(&world, 3);
    assert_eq!(submit(&world, &batch).await, Ok(Submitted::Created));
    let again = submit(&world, &batch).await;
    assert!(matches!(again, Ok(Submitted::Replayed { run, .. }) if run == batch[0].base.run));
    assert_eq!(runs(&world).await, 3);
}

fn sealed(submission: &Submission, name: &str) -> Secret {
    Secret {
        key: SecretKey {
            tenant: submission.base.tenant.clone(),
            owner: *submission.base.run.as_uuid(),
            name: name.to_owned(),
        },
        version: 1,
        sealed: Sealed {
            key_id: "1".to_owned(),
            wrapped_key: vec![1; 40],
            ciphertext: name.as_bytes().to_vec(),
        },
    }
}

async fn an_environment_comes_with_its_run_and_not_without(world: World) {
    let mut batch = keyed(&world, 2, 1);
    for submission in &mut batch {
        submission.secrets = vec![sealed(submission, "A"), sealed(submission, "B")];
    }
    assert_eq!(submit(&world, &batch).await, Ok(Submitted::Created));
    for submission in &batch {
        let owner = *submission.base.run.as_uuid();
        let kept = world.store.secrets(world.tenant.clone(), owner).await;
        assert_eq!(kept.unwrap(), submission.secrets);
    }
    // What comes to nothing leaves nothing: a replay, a refusal, alone and with others.
    let mut again = keyed(&world, 1, 1);
    again[0].secrets = vec![sealed(&again[0], "A")];
    assert!(submit(&world, &again).await.is_ok());
    assert!(world.submit(&again[0]).await.is_ok());
    let mut dear = world.submission();
    dear.base.price_second_micros = u64::MAX;
    dear.secrets = vec![sealed(&dear, "A")];
    assert!(world.submit(&dear).await.is_err());
    assert!(submit(&world, &[dear]).await.is_err());
    let all = world.store.secrets_not_under(String::new(), 100).await;
    assert_eq!(all.unwrap().len(), 4);
}

async fn a_reached_cap_refuses_the_whole(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    world.tenant("acme", Some(PRICE_MICROS)).await;
    let used = vec![segment(key, 0, 0, 1_000)];
    let metered = update(peer, key, 2, Event::Metered, used);
    world.report(metered).await.unwrap();
    let refused = submit(&world, &batch(&world, 2)).await;
    assert!(matches!(refused, Err(Refusal::SpendCap { .. })));
    assert_eq!(runs(&world).await, 1);
}

async fn bounds_and_stray_keys_are_refused(world: World) {
    let many = batch(&world, limits::BATCH_ITEMS_MAX + 1);
    assert!(world.store.submit_together(many).await.is_err());
    let mut stray = batch(&world, 2);
    stray[1].idempotency = Some(Idempotency {
        key: "k".to_owned(),
        fingerprint: [1; 32],
    });
    assert!(world.store.submit_together(stray).await.is_err());
    let mut secret = batch(&world, 1);
    let mut large = sealed(&secret[0], "A");
    large.sealed.ciphertext = vec![0; limits::SECRET_BYTES_MAX];
    secret[0].secrets = vec![large];
    assert!(world.store.submit_together(secret).await.is_err());
}

async fn a_claimed_run_that_fits_nowhere_ends_with_a_reason(world: World) {
    let run = world.submitted().await;
    let rejection = Rejection {
        replica: world.replica,
        run,
        message: "no host could ever take it".to_owned(),
        actor: "davit".to_owned(),
        at_ms: NOW_MS + 1,
    };
    let reject = async |rejection: Rejection| world.store.reject(rejection).await.unwrap();
    assert_eq!(reject(rejection.clone()).await, Err(Refusal::NotClaimed));
    world.claim(1).await;
    let mut foreign = rejection.clone();
    foreign.replica = Uuid::now_v7();
    assert_eq!(reject(foreign).await, Err(Refusal::NotClaimed));
    assert_eq!(reject(rejection.clone()).await, Ok(Done::Applied));
    let ended = world.view(run).await.ended.unwrap();
    assert_eq!(ended.end_reason, EndReason::StartFailed);
    assert_eq!(ended.status, RunStatus::Failed);
    assert_eq!(ended.message, "no host could ever take it");
    assert_eq!(
        (ended.attempts, ended.cost_micros, ended.exit_code),
        (0, 0, None)
    );
    assert_eq!(reject(rejection).await, Err(Refusal::NotClaimed));
    let page = world
        .store
        .audit_page(Some(world.tenant.clone()), Cursor::default(), 10);
    let last = page.await.unwrap().rows.pop().unwrap();
    assert_eq!(
        (last.action.as_str(), last.actor.as_str()),
        ("run.rejected", "davit")
    );
}
