//! Several replicas on one store: hosts that move, claims that compete, replicas that die.

use std::time::Duration;

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::*;
use davit_scheduler::store::{ActiveState, PostgresSettings, StoreSettings, Tls};
use davit_types::RunStatus;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::cluster::Cluster;
use crate::host::{Host, ended};
use crate::robot::{Executions, Robot};
use crate::world::{Tweak, World, plan, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_on_at_another_replica() {
    let world = World::sqlite().await;
    let first = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &first, "host-1", 2).await;
    let mut line = host.connect(&first, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.start().await;
    let second = world.replica(Tweak::default()).await;
    first.kill();
    let mut line = host.connect(&second, vec![key.clone()]).await;
    let Some(place::Standing::Live(live)) = line.place(&key) else {
        panic!("{:?}", line.welcome)
    };
    assert_eq!((live.state.as_str(), live.step), ("running", 2));
    line.say(Said::Report(ended(&key, 3, 800, 0))).await;
    assert_eq!(world.ended(run).await.status, RunStatus::Succeeded);
    // What it held is given back: there is room for two again.
    for _ in 0..2 {
        world.submit(&plan()).await;
        line.assigned().await;
    }
}

/// Runs that two replicas compete for.
const RUNS: usize = 60;

async fn compete(world: World) {
    let replicas = [
        world.replica(Tweak::default()).await,
        world.replica(Tweak::default()).await,
    ];
    let executions = Executions::default();
    let (_first, at_first) = watch::channel(replicas[0].address);
    let (_second, at_second) = watch::channel(replicas[1].address);
    let mut robots = Vec::new();
    for (n, address) in [at_first, at_second].into_iter().enumerate() {
        let host = Host::join(&world, &replicas[n], &format!("host-{n}"), 3).await;
        robots.push(Robot::start(host, address, executions.clone(), None));
    }
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(world.submit(&plan()).await);
    }
    for run in runs {
        let end = world.ended(run).await;
        assert_eq!((end.status, end.attempts), (RunStatus::Succeeded, 1));
    }
    assert_eq!(executions.count(), RUNS);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_a_queue_on_sqlite() {
    compete(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_a_queue_on_postgres() {
    let cluster = Cluster::start();
    let settings = StoreSettings::Postgres(PostgresSettings {
        url: cluster.create("davit"),
        connections_max: 8,
        tls: Tls::Off,
    });
    compete(World::open(settings, TempDir::new().unwrap()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_between_claim_and_assign_loses_nothing() {
    let world = World::sqlite().await;
    let first = world.replica(Tweak::default()).await;
    // Its host is too small, so it claims and cannot assign.
    let small = Host::join(&world, &first, "small", 0).await;
    let _line = small.connect(&first, vec![]).await;
    let run = world.submit(&plan()).await;
    let row = world.in_state(run, ActiveState::Claimed).await;
    assert_eq!(row.replica, Some(first.id));
    let second = world.replica(Tweak::default()).await;
    let large = Host::join(&world, &second, "large", 1).await;
    first.kill();
    let mut line = large.connect(&second, vec![]).await;
    let key = line.assigned().await.key.unwrap();
    assert_eq!((key.run_id, key.attempt), (run.to_string(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_after_assign_leaves_the_run_to_its_host() {
    let world = World::sqlite().await;
    let first = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &first, "host-1", 1).await;
    let line = host.connect(&first, vec![]).await;
    let run = world.submit(&plan()).await;
    world.in_state(run, ActiveState::Assigned).await;
    first.kill();
    drop(line);
    // The host has never heard of it.
    let second = world.replica(Tweak::default()).await;
    let line = host.connect(&second, vec![]).await;
    let given = line.welcome.places.first().cloned().unwrap();
    let Some(place::Standing::Live(live)) = given.standing else {
        panic!("{given:?}")
    };
    assert!(live.assign.is_some());
    assert_eq!(given.key.unwrap().run_id, run.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_goes_back_for_a_replica_whose_host_is_named() {
    let world = World::sqlite().await;
    let first = world.replica(Tweak::default()).await;
    let second = world.replica(Tweak::default()).await;
    let here = Host::join(&world, &first, "host-1", 9).await;
    let there = Host::join(&world, &second, "host-2", 9).await;
    let _idle = here.connect(&first, vec![]).await;
    let mut line = there.connect(&second, vec![]).await;
    let mut plan = plan();
    plan.executors = vec!["host-2".to_owned()];
    for _ in 0..5 {
        let run = world.submit(&plan).await;
        let key = line.assigned().await.key.unwrap();
        assert_eq!(key.run_id, run.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_taken_for_dead_gets_its_hosts_back() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    // Somebody with another idea of time sweeps it away while it lives.
    wait_for("the replica to be swept", async || {
        let swept = world.store.sweep_replicas(0).await.unwrap();
        swept.replicas.contains(&replica.id).then_some(())
    })
    .await;
    line.goodbye().await;
    let mut line = host.connect(&replica, vec![]).await;
    world.submit(&plan()).await;
    line.assigned().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_tells_its_hosts() {
    let world = World::sqlite().await;
    let mut replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    replica.stop();
    let reason = line.goodbye().await;
    assert!(reason.contains("goes away"), "{reason}");
    assert!(line.next().await.is_none(), "a goodbye is the last word");
}

/// Replicas that are killed, one after the other, while runs come and go.
const KILLS: u64 = 6;

/// Hosts that behave badly, at a scheduler that dies again and again: each attempt once, each run to its end.
async fn be_killed(world: World) {
    let tweak = Tweak {
        dead_after_ms: 800,
        ..Tweak::default()
    };
    let mut replica = world.replica(tweak.clone()).await;
    let executions = Executions::default();
    let (to, address) = watch::channel(replica.address);
    let mut robots = Vec::new();
    for (name, seed) in [("host-1", 5), ("host-2", 6), ("host-3", 7)] {
        let host = Host::join(&world, &replica, name, 3).await;
        let robot = Robot::start(host, address.clone(), executions.clone(), Some(seed));
        robots.push(robot);
    }
    let mut runs = Vec::new();
    for kill in 0..KILLS {
        for _ in 0..RUNS / 5 {
            runs.push(world.submit(&plan()).await);
        }
        // Not at the same moment of the runs' lives each time.
        tokio::time::sleep(Duration::from_millis(40 + 37 * kill)).await;
        let next = world.replica(tweak.clone()).await;
        replica.kill();
        to.send(next.address).unwrap();
        replica = next;
    }
    for run in &runs {
        let end = world.ended(*run).await;
        assert_eq!((end.status, end.attempts), (RunStatus::Succeeded, 1));
    }
    assert_eq!(executions.count(), runs.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_may_be_killed_at_any_moment_on_sqlite() {
    be_killed(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_may_be_killed_at_any_moment_on_postgres() {
    let cluster = Cluster::start();
    let settings = StoreSettings::Postgres(PostgresSettings {
        url: cluster.create("davit"),
        connections_max: 8,
        tls: Tls::Off,
    });
    be_killed(World::open(settings, TempDir::new().unwrap()).await).await;
}
