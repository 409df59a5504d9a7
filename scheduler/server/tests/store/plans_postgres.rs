//! Which way PostgreSQL finds rows, by its own statistics: what is rare must not be looked for among all.

use davit_scheduler::store::*;

use crate::cluster::Cluster;
use crate::postgres;
use crate::world::{NOW_MS, World};

const BATCHES: usize = 4;
const LOOKS: u64 = 20;

#[tokio::test]
async fn orders_are_found_without_looking_at_the_runs() {
    let cluster = Cluster::start();
    let world = World::open(postgres(cluster.create("plans"))).await;
    let host = world.host().await;
    for _ in 0..BATCHES {
        let batch = (0..limits::BATCH_ITEMS_MAX).map(|_| world.submission());
        let answers = world.store.submit(batch.collect()).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        let claimed = world.claim(limits::BATCH_ITEMS_MAX).await;
        let assigned = claimed.into_iter().map(|claimed| Assignment {
            replica: world.replica,
            run: claimed.row.run,
            to: host.sender,
            at_ms: NOW_MS,
        });
        let verdicts = world.store.assign(assigned.collect()).await.unwrap();
        assert!(verdicts.iter().all(Result::is_ok));
    }
    world.store.close().await;
    cluster.sql("plans", "ANALYZE");
    let read = || -> u64 {
        let rows = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'active_runs'";
        cluster.sql("plans", rows).trim().parse().unwrap()
    };
    let before = settled(read).await;
    let store = open(&world.settings).await.unwrap();
    for _ in 0..LOOKS {
        let orders = store.open_orders(world.replica, None, 10).await.unwrap();
        assert!(orders.is_empty());
    }
    // Connections tell what they read when they end.
    store.close().await;
    let looked_at = settled(read).await - before;
    assert!(looked_at < LOOKS * 10, "{looked_at} rows");
}

/// What is read twice in a row: statistics of connections that ended come a moment later.
async fn settled(read: impl Fn() -> u64) -> u64 {
    let mut last = read();
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        let now = read();
        if now == last {
            return now;
        }
        last = now;
    }
}
