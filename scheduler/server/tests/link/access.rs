//! Who gets in, and for how long.

use std::time::{Duration, Instant};

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::{AttemptKey, JoinRequest, Renew};
use davit_scheduler::store::HostState;
use tonic::Code;
use uuid::Uuid;

use crate::host::{Host, client};
use crate::world::{Tweak, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_works_for_one_host() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let request = JoinRequest {
        join_token: world.join_token().await,
        host_id: Uuid::now_v7().to_string(),
        name: "host-1".to_owned(),
        labels: Default::default(),
    };
    let mut client = client(replica.address).await;
    let first = client.join(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.region, crate::world::REGION);
    let again = client.join(request.clone()).await.unwrap().into_inner();
    assert_eq!(again, first, "its answer was lost: the same again");
    let other = JoinRequest {
        host_id: Uuid::now_v7().to_string(),
        name: "host-2".to_owned(),
        ..request.clone()
    };
    let refused = client.join(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let wrong = JoinRequest {
        join_token: "davit_join_x".to_owned(),
        ..request
    };
    let refused = client.join(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let host = world
        .store
        .host(first.host_id.parse().unwrap())
        .await
        .unwrap();
    let body = host.unwrap().body;
    assert!(!body.contains(&first.client_secret), "the secret is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_or_token_opens_nothing() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut thief = host.clone();
    thief.secret.push('x');
    let refused = thief.token(replica.address).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    thief = Host {
        id: Uuid::now_v7(),
        ..host.clone()
    };
    let refused = thief.token(replica.address).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::Unauthenticated,
        "no word on who is known"
    );
    let refused = host.dial_with(replica.address, "x.y.z", vec![]).await;
    assert_eq!(refused.err().map(|s| s.code()), Some(Code::Unauthenticated));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token_unless_that_is_renewed() {
    let world = World::sqlite().await;
    let tweak = Tweak {
        token_seconds: 5,
        heartbeat_ms: 20_000,
        ..Tweak::default()
    };
    let replica = world.replica(tweak).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let begin = Instant::now();
    let mut line = host.connect(&replica, vec![]).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let access_token = host.token(replica.address).await.unwrap();
    line.say(Said::Renew(Renew { access_token })).await;
    let reason = line.goodbye().await;
    assert!(reason.contains("token"), "{reason}");
    let lived = begin.elapsed();
    assert!(
        lived >= Duration::from_millis(5_000),
        "{lived:?}: not renewed"
    );

    let other = Host::join(&world, &replica, "host-2", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let access_token = other.token(replica.address).await.unwrap();
    line.say(Said::Renew(Renew { access_token })).await;
    let reason = line.goodbye().await;
    assert!(reason.contains("credentials"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_falls_silent_is_cut_off() {
    let world = World::sqlite().await;
    let tweak = Tweak {
        heartbeat_ms: 100,
        ..Tweak::default()
    };
    let replica = world.replica(tweak).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let reason = line.goodbye().await;
    assert!(reason.contains("heard"), "{reason}");
    assert_eq!(replica.sessions.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_ends_the_session() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let nobody = AttemptKey {
        run_id: "nonsense".to_owned(),
        attempt: 1,
    };
    line.say(Said::Report(crate::host::ended(&nobody, 1, 1, 0)))
        .await;
    let reason = line.goodbye().await;
    assert!(reason.contains("nonsense"), "{reason}");
    let mut line = host.connect(&replica, vec![]).await;
    line.say(Said::Hello(host.hello(vec![]))).await;
    let reason = line.goodbye().await;
    assert!(reason.contains("second hello"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_host_is_cut_off_and_not_let_in_again() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let actor = "operator".to_owned();
    let removed = world
        .store
        .set_host_state(host.id, HostState::Removed, actor, 1);
    assert!(removed.await.unwrap());
    let reason = line.goodbye().await;
    assert!(reason.contains("removed"), "{reason}");
    let refused = host.dial(replica.address, vec![]).await.err().unwrap();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}
