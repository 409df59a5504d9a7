//! The log index.

use davit_scheduler::store::*;
use davit_types::RunKey;

use crate::world::{NOW_MS, Peer, World, cases, end, only, segment, update};

cases![
    chunks_must_be_contiguous,
    an_end_waits_for_its_log,
    an_old_session_indexes_nothing,
    chunks_are_found_by_line,
    chunks_of_ended_runs_expire,
];

fn chunk(key: RunKey, first_id: u64, last_id: u64) -> LogChunk {
    LogChunk {
        key,
        first_id,
        last_id,
        object: format!("logs/{key}/{first_id}"),
        bytes: 10,
        at_ms: NOW_MS,
    }
}

async fn index(world: &World, peer: Peer, chunk: LogChunk) -> Verdict {
    only(
        world
            .store
            .index_logs(vec![(peer.sender, chunk)])
            .await
            .unwrap(),
    )
}

async fn chunks_must_be_contiguous(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    assert_eq!(
        index(&world, peer, chunk(key, 1, 50)).await,
        Ok(Done::Applied)
    );
    assert_eq!(
        index(&world, peer, chunk(key, 1, 50)).await,
        Ok(Done::Duplicate)
    );
    let gap = |given| Refusal::LogGap {
        given,
        expected: 51,
    };
    assert_eq!(index(&world, peer, chunk(key, 52, 60)).await, Err(gap(52)));
    assert_eq!(index(&world, peer, chunk(key, 40, 60)).await, Err(gap(40)));
    assert_eq!(
        index(&world, peer, chunk(key, 51, 51)).await,
        Ok(Done::Applied)
    );
    let batch = vec![
        (peer.sender, chunk(key, 52, 60)),
        (peer.sender, chunk(key, 61, 70)),
    ];
    let both = world.store.index_logs(batch).await.unwrap();
    assert_eq!(both, [Ok(Done::Applied), Ok(Done::Applied)]);
    assert_eq!(world.row(key.run).await.log_last_id, 70);
}

async fn an_end_waits_for_its_log(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    index(&world, peer, chunk(key, 1, 9)).await.unwrap();
    let last = || {
        let segments = vec![segment(key, 0, 0, 1)];
        world.report(update(peer, key, 2, Event::Ended(end(1, 10)), segments))
    };
    let incomplete = Refusal::LogIncomplete {
        indexed: 9,
        last: 10,
    };
    assert_eq!(last().await, Err(incomplete));
    index(&world, peer, chunk(key, 10, 10)).await.unwrap();
    assert_eq!(last().await, Ok(Done::Applied));
    assert_eq!(
        index(&world, peer, chunk(key, 10, 10)).await,
        Ok(Done::Duplicate)
    );
}

async fn an_old_session_indexes_nothing(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    world.hello(peer.sender.host, "boot 1").await;
    let refused = index(&world, peer, chunk(key, 1, 5)).await;
    assert!(matches!(refused, Err(Refusal::StaleEpoch { .. })));
    assert_eq!(world.row(key.run).await.log_last_id, 0);
}

async fn chunks_are_found_by_line(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    for (first_id, last_id) in [(1, 10), (11, 20), (21, 30)] {
        index(&world, peer, chunk(key, first_id, last_id))
            .await
            .unwrap();
    }
    let after = |id, limit| world.store.log_chunks(key.run, key.attempt, id, limit);
    assert_eq!(after(0, 9).await.unwrap().len(), 3);
    assert_eq!(only(after(10, 1).await.unwrap()), chunk(key, 11, 20));
    assert_eq!(only(after(25, 9).await.unwrap()), chunk(key, 21, 30));
    assert_eq!(after(30, 9).await.unwrap(), []);
}

async fn chunks_of_ended_runs_expire(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    index(&world, peer, chunk(key, 1, 5)).await.unwrap();
    let expired = || world.store.expired_log_chunks(NOW_MS + 1, 10);
    assert_eq!(expired().await.unwrap(), [], "the run lives");
    let segments = vec![segment(key, 0, 0, 1)];
    let last = update(peer, key, 2, Event::Ended(end(1, 5)), segments);
    world.report(last).await.unwrap();
    let young = world.store.expired_log_chunks(NOW_MS, 10).await.unwrap();
    assert_eq!(young, []);
    let found = expired().await.unwrap();
    assert_eq!(found, [chunk(key, 1, 5)]);
    world.store.forget_log_chunks(found).await.unwrap();
    assert_eq!(expired().await.unwrap(), []);
}
