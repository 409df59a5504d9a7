//! Forgetting, and what is never forgotten.

use davit_scheduler::store::*;

use crate::world::{NOW_MS, World, cases, end, segment, update};

cases![old_things_go_and_the_ledger_stays];

async fn old_things_go_and_the_ledger_stays(world: World) {
    let peer = world.host().await;
    let old = world.running(peer).await;
    let live = world.running(peer).await;
    let last = update(
        peer,
        old,
        2,
        Event::Ended(end(10, 0)),
        vec![segment(old, 0, 0, 10)],
    );
    world.report(last).await.unwrap();
    let mut keyed = world.submission();
    keyed.idempotency = Some(Idempotency {
        key: "k".to_owned(),
        fingerprint: [1; 32],
    });
    world.submit(&keyed).await.unwrap();
    let keep = |before_ms, rows_max| Retention {
        runs_before_ms: before_ms,
        audit_before_ms: before_ms,
        keys_before_ms: before_ms,
        rows_max,
    };
    let none = world
        .store
        .sweep_retention(keep(NOW_MS, 100))
        .await
        .unwrap();
    assert_eq!(none, Expired::default());
    let later = NOW_MS + 1000;
    let some = world.store.sweep_retention(keep(later, 2)).await.unwrap();
    assert_eq!(
        (some.runs, some.audit, some.keys),
        (1, 2, 1),
        "a piece at a time"
    );
    let found = world
        .store
        .runs(None, vec![old.run, live.run])
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].base.run, live.run);
    assert_eq!(world.store.attempts(old.run).await.unwrap(), []);
    let rows = world.store.usage_of_run(old.run, None, 10).await.unwrap();
    assert_eq!(rows.len(), 1, "the ledger outlives the run");
    assert_eq!(
        world
            .store
            .totals(world.tenant.clone())
            .await
            .unwrap()
            .active_ms,
        10
    );
    let mut again = world.submission();
    again.idempotency.clone_from(&keyed.idempotency);
    assert_eq!(world.submit(&again).await, Ok(Submitted::Created));
}
