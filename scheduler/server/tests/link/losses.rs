//! Hosts that are cut off: shorter than their lease, longer, and in another boot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::*;
use davit_scheduler::service::planned::LostPolicy;
use davit_scheduler::store::{ActiveState, PostgresSettings, StoreSettings, Tls};
use davit_types::{EndReason, RunId, RunStatus};

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::host::{Host, Line};
use crate::world::{Replica, Tweak, World, plan_when_lost, wait_for};

/// Silence after which the runs of these tests are given up.
const LOST_AFTER_MS: u64 = 1_200;
/// The same where they are not to be, however busy the machine is.
const LOST_LATE_MS: u64 = 60_000;

async fn running(
    world: &World,
    replica: &Replica,
    policy: LostPolicy,
    lost_after_ms: u64,
) -> (Host, Line, RunId, AttemptKey) {
    let host = Host::join(world, replica, "host-1", 1).await;
    let mut line = host.connect(replica, vec![]).await;
    let plan = plan_when_lost(policy, lost_after_ms, 200);
    let run = world.submit(&plan).await;
    let key = line.start().await;
    (host, line, run, key)
}

fn heartbeat(number: u64) -> host_message::Message {
    host_message::Message::Heartbeat(Heartbeat {
        number,
        memory_available_bytes: number,
        ..Heartbeat::default()
    })
}

async fn answered(line: &mut Line) -> u64 {
    let pick = |message| match message {
        Message::HeartbeatAck(ack) => Some(ack.number),
        _ => None,
    };
    line.until("an answer to a heartbeat", pick).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_answered_when_it_is_stored() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    for number in [1, 2] {
        assert!(line.say(heartbeat(number)).await);
        assert_eq!(answered(&mut line).await, number);
        let stored = world.store.hosts(None, 1).await.unwrap();
        let beat = &stored[0].session.as_ref().unwrap().beat;
        let told = format!("\"memory_available_bytes\":{number},");
        assert!(beat.contains(&told), "{beat}");
    }
    // Of two that came before they were stored the later one answers for both.
    assert!(line.say(heartbeat(3)).await && line.say(heartbeat(4)).await);
    while answered(&mut line).await < 4 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_changes_nothing() {
    for policy in [LostPolicy::Wait, LostPolicy::Fail, LostPolicy::Requeue] {
        let world = World::sqlite().await;
        let replica = world.replica(Tweak::default()).await;
        let (host, line, run, key) = running(&world, &replica, policy, LOST_LATE_MS).await;
        drop(line);
        // Long enough to be noticed, and looked at.
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let line = host.connect(&replica, vec![key.clone()]).await;
        let Some(place::Standing::Live(live)) = line.place(&key) else {
            panic!("{policy:?}: {:?}", line.welcome)
        };
        assert_eq!(
            (live.step, live.assign),
            (2, None),
            "it is told nothing to execute"
        );
        let row = world.view(run).await.active.unwrap();
        assert_eq!((row.attempt, row.state), (1, ActiveState::Running));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_its_host_is_never_given_up() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let (host, line, run, key) = running(&world, &replica, LostPolicy::Wait, LOST_AFTER_MS).await;
    drop(line);
    tokio::time::sleep(Duration::from_millis(3 * LOST_AFTER_MS)).await;
    let row = world.view(run).await.active.unwrap();
    assert_eq!((row.attempt, row.state), (1, ActiveState::Running));
    let line = host.connect(&replica, vec![key.clone()]).await;
    assert!(matches!(line.place(&key), Some(place::Standing::Live(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_fails_with_its_host_has_no_exit_code() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let (host, line, run, key) = running(&world, &replica, LostPolicy::Fail, LOST_AFTER_MS).await;
    drop(line);
    let end = world.ended(run).await;
    assert_eq!(
        (end.status, end.end_reason),
        (RunStatus::Failed, EndReason::ExecutorLost)
    );
    assert_eq!((end.exit_code, end.attempts), (None, 1));
    let line = host.connect(&replica, vec![key.clone()]).await;
    assert!(matches!(line.place(&key), Some(place::Standing::Gone(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_given_away_only_behind_its_fence() {
    let world = World::sqlite().await;
    // Asked for is 1.2 s; with this fence no host would have ended it before 2.2 s.
    let tweak = Tweak {
        fence_ms_min: 2_000,
        ..Tweak::default()
    };
    let replica = world.replica(tweak).await;
    let begin = Instant::now();
    let (host, line, run, key) =
        running(&world, &replica, LostPolicy::Requeue, LOST_AFTER_MS).await;
    let other = Host::join(&world, &replica, "host-2", 1).await;
    drop(line);
    let mut line = other.connect(&replica, vec![]).await;
    let second = line.assigned().await.key.unwrap();
    // The host was heard of after `begin` for the last time.
    let silent = begin.elapsed();
    assert!(
        silent >= Duration::from_millis(2_200),
        "{silent:?}: too early"
    );
    assert_eq!(
        (second.run_id.as_str(), second.attempt),
        (key.run_id.as_str(), 2)
    );
    let attempts = world.store.attempts(run).await.unwrap();
    assert_eq!(
        (attempts[0].end_reason, attempts[0].complete),
        (EndReason::ExecutorLost, false)
    );
    let line = host.connect(&replica, vec![key.clone()]).await;
    assert!(matches!(line.place(&key), Some(place::Standing::Gone(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_boot_without_records_proves_a_run_dead() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let (mut host, line, run, key) =
        running(&world, &replica, LostPolicy::Wait, LOST_AFTER_MS).await;
    drop(line);
    // Same boot, no record: nobody can say that it is dead.
    let line = host.connect(&replica, vec![]).await;
    let Some(place::Standing::Live(live)) = line.place(&key) else {
        panic!("{:?}", line.welcome)
    };
    assert_eq!(live.assign, None, "it must not be executed a second time");
    host.boot_id = "boot 2".to_owned();
    let line = host.connect(&replica, vec![]).await;
    assert!(matches!(line.place(&key), Some(place::Standing::Gone(_))));
    let end = world.ended(run).await;
    assert_eq!(
        (end.end_reason, end.exit_code),
        (EndReason::ExecutorLost, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_cut_off_while_nobody_can_store_that_they_live() {
    let mut cluster = Cluster::start();
    let settings = StoreSettings::Postgres(PostgresSettings {
        url: cluster.create("davit"),
        connections_max: 4,
        tls: Tls::Off,
    });
    let world = World::open(settings, TempDir::new().unwrap()).await;
    let tweak = Tweak {
        heartbeat_ms: 1_500,
        ..Tweak::default()
    };
    let replica = world.replica(tweak).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let to = line.to.clone();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let beats = tokio::spawn(async move {
        loop {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let beat = HostMessage {
                message: Some(heartbeat(number)),
            };
            if to.send(beat).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let run = world
        .submit(&plan_when_lost(LostPolicy::Wait, 1_000, 100))
        .await;
    let key = line.start().await;
    tokio::time::sleep(Duration::from_millis(6_000)).await;
    assert_eq!(replica.sessions.count(), 1, "it is heard all the time");
    cluster.down("immediate");
    // What was sent before may have been stored; nothing of what comes now can be.
    let before = sent.load(Ordering::SeqCst);
    let answered = AtomicU64::new(0);
    let reason = line
        .until("a goodbye", |message| match message {
            Message::HeartbeatAck(ack) => {
                answered.fetch_max(ack.number, Ordering::SeqCst);
                None
            }
            Message::Goodbye(goodbye) => Some(goodbye.reason),
            _ => None,
        })
        .await;
    let (answered, sent) = (answered.into_inner(), sent.load(Ordering::SeqCst));
    assert!(
        answered > 30 && answered <= before && sent > before + 10,
        "{answered} {before} {sent}"
    );
    assert!(reason.contains("store"), "{reason}");
    beats.abort();
    cluster.up();
    let line = wait_for("the replica to serve again", async || {
        host.dial(replica.address, vec![key.clone()]).await.ok()
    })
    .await;
    assert!(matches!(line.place(&key), Some(place::Standing::Live(_))));
    let row = world.view(run).await.active.unwrap();
    assert_eq!((row.attempt, row.state), (1, ActiveState::Running));
}
