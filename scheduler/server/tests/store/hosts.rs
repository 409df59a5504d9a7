//! Hosts, sessions, replicas.

use davit_scheduler::store::*;
use uuid::Uuid;

use crate::world::{NOW_MS, REGION, World, cases, end, only, wait_for};

cases![
    a_join_token_works_once_and_in_time,
    each_hello_bumps_the_epoch,
    beats_of_old_sessions_are_refused,
    a_removed_host_may_not_say_hello,
    hosts_are_listed_with_their_sessions,
    hosts_that_are_simply_online_here_are_not_listed_apart,
    a_host_is_found_with_what_it_should_have,
    a_dead_replicas_claims_return_and_its_assigned_runs_stay,
    a_drain_is_due_by_the_stores_clock_while_there_are_runs,
];

async fn a_join_token_works_once_and_in_time(world: World) {
    let token = |hash: u8| JoinToken {
        hash: [hash; 32],
        region: REGION.to_owned(),
        expires_ms: NOW_MS + 10,
        actor: "operator".to_owned(),
        at_ms: NOW_MS,
    };
    world.store.add_join_token(token(100)).await.unwrap();
    let request = world.join_request([100; 32], Uuid::now_v7());
    let join = |request: &JoinRequest| world.store.join(request.clone());
    assert_eq!(join(&request).await.unwrap(), Ok(Done::Applied));
    assert_eq!(join(&request).await.unwrap(), Ok(Done::Duplicate));
    let second = world.join_request([100; 32], Uuid::now_v7());
    assert_eq!(join(&second).await.unwrap(), Err(Refusal::BadJoinToken));
    let unknown = world.join_request([101; 32], Uuid::now_v7());
    assert_eq!(join(&unknown).await.unwrap(), Err(Refusal::BadJoinToken));
    world.store.add_join_token(token(102)).await.unwrap();
    let mut late = world.join_request([102; 32], Uuid::now_v7());
    late.at_ms = NOW_MS + 10;
    assert_eq!(join(&late).await.unwrap(), Err(Refusal::BadJoinToken));
    let mut namesake = world.join_request([102; 32], Uuid::now_v7());
    namesake.name.clone_from(&request.name);
    let taken = Refusal::NameTaken {
        name: request.name.clone(),
    };
    assert_eq!(join(&namesake).await.unwrap(), Err(taken));
    namesake.name = "another".to_owned();
    let joined = join(&namesake).await.unwrap();
    assert_eq!(joined, Ok(Done::Applied), "a refusal does not use it up");
}

async fn each_hello_bumps_the_epoch(world: World) {
    let peer = world.host().await;
    assert_eq!(peer.sender.epoch, 1);
    assert_eq!(world.hello(peer.sender.host, "boot 1").await.epoch, 2);
    assert_eq!(world.hello(peer.sender.host, "boot 2").await.epoch, 3);
    let stranger = Hello {
        host: Uuid::now_v7(),
        replica: world.replica,
        boot_id: "boot 1".to_owned(),
        beat: "{}".to_owned(),
    };
    let host = stranger.host;
    let refused = world.store.hello(stranger).await.unwrap();
    assert_eq!(refused, Err(Refusal::NoSession { host }));
}

async fn beats_of_old_sessions_are_refused(world: World) {
    let peer = world.host().await;
    let beat = |epoch| Beat {
        from: Sender {
            epoch,
            ..peer.sender
        },
        body: format!("{{\"epoch\":{epoch}}}"),
    };
    world.hello(peer.sender.host, "boot 1").await;
    let verdicts = world.store.beat(vec![beat(2), beat(1)]).await.unwrap();
    assert_eq!(verdicts[0], Ok(Done::Applied));
    assert!(matches!(
        verdicts[1],
        Err(Refusal::StaleEpoch {
            given: 1,
            current: 2
        })
    ));
    let hosts = world.store.hosts(None, 10).await.unwrap();
    let session = only(hosts).session.unwrap();
    assert_eq!(session.beat, "{\"epoch\":2}");
}

async fn a_removed_host_may_not_say_hello(world: World) {
    let peer = world.host().await;
    let host = peer.sender.host;
    let remove = || {
        let actor = "operator".to_owned();
        world
            .store
            .set_host_state(host, HostState::Removed, actor, NOW_MS)
    };
    assert!(remove().await.unwrap());
    assert!(!remove().await.unwrap(), "it is so already");
    let hello = Hello {
        host,
        replica: world.replica,
        boot_id: "boot 1".to_owned(),
        beat: "{}".to_owned(),
    };
    let state = HostState::Removed;
    let refused = world.store.hello(hello).await.unwrap();
    assert_eq!(refused, Err(Refusal::HostClosed { state }));
}

async fn hosts_are_listed_with_their_sessions(world: World) {
    for _ in 0..3 {
        world.host().await;
    }
    let first = world.store.hosts(None, 2).await.unwrap();
    assert_eq!(first.len(), 2);
    let rest = world.store.hosts(Some(first[1].host), 2).await.unwrap();
    let last = only(rest);
    assert_eq!(
        (last.region.as_str(), last.state),
        (REGION, HostState::Online)
    );
    let session = last.session.unwrap();
    assert_eq!((session.epoch, session.replica), (1, Some(world.replica)));
    assert!(session.heard_ms > 0);
}

async fn hosts_that_are_simply_online_here_are_not_listed_apart(world: World) {
    let mut hosts = Vec::new();
    for _ in 0..4 {
        hosts.push(world.host().await.sender.host);
    }
    hosts.sort_unstable();
    let apart = async |replica: Uuid| {
        let mut found = Vec::new();
        // A page each.
        while let Some(host) = {
            let page = world.store.hosts_apart(replica, found.last().copied(), 1);
            page.await.unwrap().pop()
        } {
            found.push(host.host);
        }
        found
    };
    let elsewhere = Uuid::now_v7();
    assert_eq!(apart(world.replica).await.len(), 0);
    assert_eq!(apart(elsewhere).await, hosts);
    let actor = || "operator".to_owned();
    let draining = HostState::Draining;
    let drained = world.store.set_host_state(hosts[2], draining, actor(), 1);
    assert!(drained.await.unwrap());
    let hello = Hello {
        host: hosts[1],
        replica: elsewhere,
        boot_id: "boot 1".to_owned(),
        beat: "{}".to_owned(),
    };
    world.store.hello(hello).await.unwrap().unwrap();
    assert_eq!(apart(world.replica).await, hosts[1..=2]);
    assert_eq!(apart(elsewhere).await, [hosts[0], hosts[2], hosts[3]]);
    let online = world
        .store
        .set_host_state(hosts[2], HostState::Online, actor(), 1);
    assert!(online.await.unwrap());
    assert_eq!(apart(world.replica).await, [hosts[1]]);
    // Nobody's, once their replica is swept.
    world.store.replica_beat(elsewhere).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    world.store.replica_beat(world.replica).await.unwrap();
    let swept = world.store.sweep_replicas(10).await.unwrap();
    assert_eq!(swept.replicas, [elsewhere]);
    assert_eq!(apart(elsewhere).await, hosts);
    assert_eq!(apart(world.replica).await, [hosts[1]]);
}

async fn a_host_is_found_with_what_it_should_have(world: World) {
    let (peer, other) = (world.host().await, world.host().await);
    let key = world.running(peer).await;
    let host = world.store.host(peer.sender.host).await.unwrap().unwrap();
    assert_eq!(host.host, peer.sender.host);
    assert_eq!(host.session.unwrap().epoch, peer.sender.epoch);
    assert_eq!(world.store.host(Uuid::now_v7()).await.unwrap(), None);
    let held = only(world.store.held(peer.sender.host).await.unwrap());
    assert_eq!(held.key(), Some(key));
    assert!(held.spec.contains(&key.run.to_string()));
    assert_eq!(world.store.held(other.sender.host).await.unwrap(), []);
}

async fn a_dead_replicas_claims_return_and_its_assigned_runs_stay(world: World) {
    let peer = world.host().await;
    let key = world.assigned(peer).await;
    let claimed = world.submitted().await;
    world.claim(1).await;
    let alive = world.store.sweep_replicas(60_000).await.unwrap();
    assert_eq!(alive, Swept::default());
    let other = Uuid::now_v7();
    let swept = wait_for("the replica to be silent for 500 ms", async || {
        world.store.replica_beat(other).await.unwrap();
        let swept = world.store.sweep_replicas(500).await.unwrap();
        (!swept.replicas.is_empty()).then_some(swept)
    })
    .await;
    assert_eq!(swept.replicas, [world.replica]);
    assert_eq!(
        (swept.runs, swept.hosts),
        (vec![claimed], vec![peer.sender.host])
    );
    assert_eq!(world.row(claimed).await.state, ActiveState::Pending);
    assert_eq!(world.row(key.run).await.state, ActiveState::Assigned);
    let session = only(world.store.hosts(None, 10).await.unwrap()).session;
    assert_eq!(session.unwrap().replica, None);
    let taken = world.store.claim(world.claim_of(other, 5)).await.unwrap();
    assert_eq!(only(taken).row.run, claimed);
}

async fn a_drain_is_due_by_the_stores_clock_while_there_are_runs(world: World) {
    let peer = world.host().await;
    let key = world.running(peer).await;
    let host = peer.sender.host;
    let drain = async |within_ms, stops_runs| {
        let order = DrainOrder {
            host,
            within_ms,
            stops_runs,
            actor: "operator".to_owned(),
            at_ms: NOW_MS,
        };
        world.store.drain_host(order).await.unwrap()
    };
    let due = async || world.store.drains_due(10).await.unwrap();
    assert!(drain(Some(0), false).await);
    assert!(due().await.is_empty(), "nobody asked for stops");
    assert!(
        drain(Some(3_600_000), true).await,
        "a later order replaces it"
    );
    assert!(due().await.is_empty());
    let found = world.store.host(host).await.unwrap().unwrap();
    assert_eq!(found.state, HostState::Draining);
    assert!(found.drain.deadline_ms.is_some() && found.drain.stops_runs);
    assert!(drain(Some(0), true).await);
    assert_eq!(due().await, [host]);
    let ended = Event::Ended(end(0, 0));
    world.say(peer, key, 2, ended).await.unwrap();
    assert!(due().await.is_empty(), "it is empty");
    let set = async |state| {
        let set = world
            .store
            .set_host_state(host, state, "op".to_owned(), NOW_MS);
        set.await.unwrap()
    };
    assert!(set(HostState::Online).await);
    let found = world.store.host(host).await.unwrap().unwrap();
    assert_eq!(
        (found.state, found.drain),
        (HostState::Online, Drain::default())
    );
    assert!(set(HostState::Removed).await);
    assert!(!drain(None, false).await, "what was removed is not drained");
}
