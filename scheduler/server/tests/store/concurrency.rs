//! Two replicas, and many callers, at the same things.

use std::collections::BTreeSet;
use std::sync::Arc;

use davit_scheduler::store::*;
use davit_types::RunId;
use futures::future::join_all;
use uuid::Uuid;

use crate::world::{NOW_MS, World, cases, end, segment, update};

cases![
    two_replicas_never_claim_the_same_run,
    two_replicas_together_keep_a_runners_cap,
    two_submits_with_one_key_make_one_run,
    messages_of_one_attempt_are_applied_once,
    totals_are_exact_under_concurrency,
];

async fn two_replicas_never_claim_the_same_run(world: World) {
    let batch: Vec<_> = (0..300).map(|_| world.submission()).collect();
    world.store.submit(batch).await.unwrap();
    let other = open(&world.settings).await.unwrap();
    let stores = [Arc::clone(&world.store), Arc::clone(&other)];
    let claims = (0..40).map(|n| {
        let store = Arc::clone(&stores[n % 2]);
        let claim = world.claim_of(Uuid::from_u128(n as u128 % 2 + 1), 10);
        tokio::spawn(async move { store.claim(claim).await.unwrap() })
    });
    let mut seen: BTreeSet<RunId> = BTreeSet::new();
    for claimed in join_all(claims).await {
        for run in claimed.unwrap() {
            assert!(seen.insert(run.row.run), "claimed twice");
        }
    }
    assert_eq!(seen.len(), 300);
    other.close().await;
}

async fn two_replicas_together_keep_a_runners_cap(world: World) {
    let id = Uuid::now_v7();
    let put = CatalogPut {
        key: CatalogKey {
            kind: CatalogKind::Runner,
            tenant: Some(world.tenant.clone()),
            id,
        },
        revision: 0,
        name: "capped".to_owned(),
        body: "{}".to_owned(),
        runs_max: Some(7),
        actor: "token 1".to_owned(),
        at_ms: NOW_MS,
    };
    world.store.put_entry(put).await.unwrap().unwrap();
    let batch = (0..100).map(|_| {
        let mut submission = world.submission();
        submission.base.runner = Some(id);
        submission
    });
    world.store.submit(batch.collect()).await.unwrap();
    let other = open(&world.settings).await.unwrap();
    let stores = [Arc::clone(&world.store), Arc::clone(&other)];
    let claims = (0..20).map(|n| {
        let store = Arc::clone(&stores[n % 2]);
        let claim = world.claim_of(Uuid::from_u128(n as u128 % 2 + 1), 3);
        tokio::spawn(async move { store.claim(claim).await.unwrap().len() })
    });
    let claimed: usize = join_all(claims).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(claimed, 7);
    other.close().await;
}

async fn two_submits_with_one_key_make_one_run(world: World) {
    let submits = (0..16).map(|_| {
        let mut submission = world.submission();
        submission.idempotency = Some(Idempotency {
            key: "k".to_owned(),
            fingerprint: [1; 32],
        });
        let store = Arc::clone(&world.store);
        tokio::spawn(async move { store.submit(vec![submission]).await.unwrap().remove(0) })
    });
    let mut created = 0;
    for answer in join_all(submits).await {
        match answer.unwrap() {
            Ok(Submitted::Created) => created += 1,
            Ok(Submitted::Replayed { answer, .. }) => assert!(answer.contains("id")),
            Err(refused) => assert_eq!(refused, Refusal::KeyInFlight),
        }
    }
    assert_eq!(created, 1);
    assert_eq!(world.claim(100).await.len(), 1);
}

async fn messages_of_one_attempt_are_applied_once(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let last = update(
        peer,
        key,
        2,
        Event::Ended(end(500, 0)),
        vec![segment(key, 0, 0, 500)],
    );
    let reports = (0..16).map(|_| {
        let (store, last) = (Arc::clone(&world.store), last.clone());
        tokio::spawn(async move { store.report(vec![last]).await.unwrap().remove(0) })
    });
    let verdicts = join_all(reports).await;
    let applied = verdicts
        .iter()
        .filter(|v| *v.as_ref().unwrap() == Ok(Done::Applied));
    assert_eq!(applied.count(), 1);
    assert!(verdicts.iter().all(|v| v.as_ref().unwrap().is_ok()));
    assert_eq!(
        world
            .store
            .totals(world.tenant.clone())
            .await
            .unwrap()
            .active_ms,
        500
    );
}

async fn totals_are_exact_under_concurrency(world: World) {
    let peer = world.host().await;
    let mut keys = Vec::new();
    for _ in 0..20 {
        keys.push(world.running(peer).await);
    }
    let world = Arc::new(world);
    let reports = keys.into_iter().map(|key| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            for n in 0..10_u32 {
                let begin_ms = u64::from(n) * 100;
                let segments = vec![segment(key, n, begin_ms, begin_ms + 100)];
                let metered = update(peer, key, n + 2, Event::Metered, segments);
                assert_eq!(world.report(metered).await, Ok(Done::Applied));
            }
        })
    });
    for done in join_all(reports).await {
        done.unwrap();
    }
    let totals = world.store.totals(world.tenant.clone()).await.unwrap();
    assert_eq!(totals.active_ms, 20 * 1000);
    let page = world
        .store
        .usage_page(None, Cursor::default(), 1000)
        .await
        .unwrap();
    assert_eq!(page.rows.len(), 200);
}
