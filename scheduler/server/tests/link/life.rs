//! Whole lives of runs through the real link.

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::report::Event;
use davit_rpc::link::scheduler_message::Message;
use davit_rpc::link::*;
use davit_scheduler::secrets::SecretValue;
use davit_scheduler::service::Placing;
use davit_scheduler::service::{Candidate, WarmWish};
use davit_scheduler::store::{
    ActiveState, HostState, Ordered, PostgresSettings, SecretKey, Stop, StoreSettings, Tls, Want,
};
use davit_types::{EndReason, RunStatus};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::host::{Host, started};
use crate::robot::{Executions, LINES, Robot, WALL_MS};
use crate::world::{REGION, Tweak, World, plan, wait_for};

/// Runs of a whole life.
const RUNS: usize = 40;

async fn live_and_die(world: World) {
    let replica = world.replica(Tweak::default()).await;
    let executions = Executions::default();
    let (_to, address) = watch::channel(replica.address);
    let mut robots = Vec::new();
    for name in ["host-1", "host-2"] {
        let host = Host::join(&world, &replica, name, 3).await;
        robots.push(Robot::start(
            host,
            address.clone(),
            executions.clone(),
            None,
        ));
    }
    world.tenant("other").await;
    let mut runs = Vec::new();
    for n in 0..RUNS {
        let tenant = ["acme", "other"][n % 2];
        runs.push(world.submit_as(tenant, &plan()).await);
    }
    for run in runs {
        let end = world.ended(run).await;
        assert_eq!(
            (end.status, end.exit_code, end.attempts),
            (RunStatus::Succeeded, Some(0), 1)
        );
        assert_eq!((end.active_ms, end.billed_seconds), (WALL_MS, 2));
        let attempts = world.store.attempts(run).await.unwrap();
        assert_eq!(
            (attempts[0].log_last_id, attempts[0].complete),
            (LINES, true)
        );
        let first = davit_types::Attempt::FIRST;
        let chunks = world.store.log_chunks(run, first, 0, 10).await.unwrap();
        assert_eq!(chunks.last().map(|chunk| chunk.last_id), Some(LINES));
    }
    assert_eq!(executions.count(), RUNS);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_live_and_die_on_sqlite() {
    live_and_die(World::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_live_and_die_on_postgres() {
    let cluster = Cluster::start();
    let settings = StoreSettings::Postgres(PostgresSettings {
        url: cluster.create("davit"),
        connections_max: 8,
        tls: Tls::Off,
    });
    live_and_die(World::open(settings, TempDir::new().unwrap()).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_host_and_are_not_in_the_plan() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 0).await;
    let mut plan = plan();
    plan.request.secret_env = vec!["TOKEN".to_owned()];
    plan.request.secret_files = vec!["key.pem".to_owned()];
    let registry = Uuid::now_v7();
    plan.registry_owner = Some(registry);
    let run = world.submit(&plan).await;
    let keys = world.keyring();
    let mut sealed = Vec::new();
    for (owner, name, value) in [
        (*run.as_uuid(), "TOKEN", "s3cret"),
        (*run.as_uuid(), "file/key.pem", "f1le"),
        (registry, "username", "robot"),
        (registry, "password", "pa55"),
    ] {
        let key = SecretKey {
            tenant: "acme".parse().unwrap(),
            owner,
            name: name.to_owned(),
        };
        let value = SecretValue::new(value.as_bytes().to_vec());
        sealed.push(keys.seal(&key, 1, &value).unwrap());
    }
    let put = world.store.put_secrets(sealed, "token".to_owned(), 1);
    put.await.unwrap();
    let roomy = Host {
        cpu_millis: 500,
        ..host
    };
    let mut line = roomy.connect(&replica, vec![]).await;
    let assign = line.assigned().await;
    assert_eq!(assign.secret_env.len(), 1);
    assert_eq!(
        (
            assign.secret_env[0].key.as_str(),
            assign.secret_env[0].value.as_str()
        ),
        ("TOKEN", "s3cret")
    );
    let files = assign.secret_files.iter();
    let files: Vec<_> = files
        .map(|file| (&file.name[..], &file.value[..]))
        .collect();
    assert_eq!(files, [("key.pem", &b"f1le"[..])]);
    assert_eq!(assign.redacted_env, ["TOKEN"]);
    let credentials = assign.credentials.clone().unwrap();
    assert_eq!(
        (credentials.username.as_str(), credentials.password.as_str()),
        ("robot", "pa55")
    );
    assert!(!assign.request_json.contains("s3cret"));
    assert!(!assign.request_json.contains("f1le"));
    assert!(!world.view(run).await.base.spec.contains("s3cret"));
    drop(line);
    // Its Assign may be lost: the next hello brings it again, secrets included.
    let line = roomy.connect(&replica, vec![]).await;
    let Some(place::Standing::Live(live)) = line.place(&assign.key.clone().unwrap()) else {
        panic!("{:?}", line.welcome)
    };
    assert_eq!(live.assign, Some(assign));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_a_stuck_run_and_gives_nothing_new() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 4).await;
    let mut line = host.connect(&replica, vec![]).await;
    let stuck = world.submit(&plan()).await;
    let key = line.start().await;
    let drain = world
        .store
        .set_host_state(host.id, HostState::Draining, "op".to_owned(), 1);
    assert!(drain.await.unwrap());
    // The survey and the store refuse it alike: whichever comes first, the run waits.
    let later = world.submit(&plan()).await;
    wait_for("the host to be closed", async || {
        let told = replica.dispatch.explain_new(candidate()).await;
        (told.reason == "none_open").then_some(())
    })
    .await;
    assert_eq!(
        world.view(stuck).await.active.unwrap().state,
        ActiveState::Running
    );
    let stop = Want::Stop(Stop {
        signal: 15,
        grace_ms: 10,
    });
    assert_eq!(world.order(stuck, stop).await, Ordered::Wanted);
    let want = line.wanted().await;
    assert_eq!((want.key.as_ref(), want.revision), (Some(&key), 1));
    assert_eq!(want.stop.unwrap().grace_ms, 10);
    line.report(&key, 3, Event::Heeded(Heeded { revision: 1 }))
        .await;
    let mut end = crate::host::ended(&key, 4, 700, 0);
    if let Some(Event::Ended(end)) = &mut end.event {
        end.end_reason = "canceled".to_owned();
        end.exit_code = None;
    }
    line.say(Said::Report(end)).await;
    assert_eq!(world.ended(stuck).await.status, RunStatus::Canceled);
    let open = world
        .store
        .set_host_state(host.id, HostState::Online, "op".to_owned(), 1);
    assert!(open.await.unwrap());
    let given = line.assigned().await.key.unwrap();
    assert_eq!(given.run_id, later.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_told_again_in_a_new_session_until_it_is_heeded() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.start().await;
    assert_eq!(world.order(run, Want::Pause).await, Ordered::Wanted);
    assert!(line.wanted().await.paused);
    drop(line);
    let mut line = host.connect(&replica, vec![key.clone()]).await;
    let Some(place::Standing::Live(live)) = line.place(&key) else {
        panic!("{:?}", line.welcome)
    };
    assert_eq!(
        live.want.map(|want| (want.paused, want.revision)),
        Some((true, 1))
    );
    line.report(&key, 3, Event::Paused(Paused {})).await;
    line.report(&key, 4, Event::Heeded(Heeded { revision: 1 }))
        .await;
    world.in_state(run, ActiveState::Paused).await;
    while line.acked().await.step < 4 {}
    drop(line);
    let line = host.connect(&replica, vec![key.clone()]).await;
    let Some(place::Standing::Live(live)) = line.place(&key) else {
        panic!("{:?}", line.welcome)
    };
    assert_eq!((live.want, live.state.as_str()), (None, "paused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_run_goes_to_another_host() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let first = Host::join(&world, &replica, "host-1", 1).await;
    let second = Host::join(&world, &replica, "host-2", 1).await;
    let mut line = first.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    let declined = Declined {
        message: "no".to_owned(),
    };
    let mut other = second.connect(&replica, vec![]).await;
    line.report(&key, 1, Event::Declined(declined)).await;
    let again = other.assigned().await.key.unwrap();
    assert_eq!(
        (again.run_id.as_str(), again.attempt),
        (key.run_id.as_str(), 2)
    );
    let attempts = world.store.attempts(run).await.unwrap();
    assert_eq!(attempts[0].end_reason, EndReason::StartFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_nothing_is_left_alone() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    for _ in 0..5 {
        world.submit(&plan()).await;
        let key = line.assigned().await.key.unwrap();
        let declined = Declined {
            message: "no".to_owned(),
        };
        line.report(&key, 1, Event::Declined(declined)).await;
    }
    wait_for("the quarantine", async || {
        let told = replica.dispatch.explain_new(candidate()).await;
        (told.hosts.get("quarantined") == Some(&1)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warmed_host_gets_the_runners_image() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let wish = WarmWish {
        warm_id: Uuid::now_v7(),
        tenant: "acme".parse().unwrap(),
        runner: Uuid::now_v7(),
        region: REGION.to_owned(),
        image: "busybox".to_owned(),
        registry_owner: None,
        executors: vec!["host-2".to_owned()],
        labels_wanted: Default::default(),
    };
    assert!(replica.dispatch.warm(wish.clone()).await.is_err());
    let mut lines = Vec::new();
    for name in ["host-1", "host-2"] {
        let host = Host::join(&world, &replica, name, 1).await;
        lines.push(host.connect(&replica, vec![]).await);
    }
    wait_for("the host to be known", async || {
        replica.dispatch.warm(wish.clone()).await.ok()
    })
    .await;
    let pick = |message| match message {
        Message::Warm(warm) => Some(warm),
        _ => None,
    };
    let warm = lines[1].until("a wish", pick).await;
    assert_eq!(warm.warm_id, wish.warm_id.to_string());
    assert_eq!(warm.image, "busybox");
}

fn candidate() -> Candidate {
    Candidate {
        tenant: "acme".parse().unwrap(),
        runner: None,
        region: REGION.to_owned(),
        priority: 50,
        plan: plan(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_run_waits_is_told_without_names() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let told = replica.dispatch.explain_new(candidate()).await;
    assert_eq!(told.reason, "no_hosts");
    let mut line = host.connect(&replica, vec![]).await;
    world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    line.report(&key, 1, started()).await;
    let waits = world.submit(&plan()).await;
    let told = wait_for("the run to be claimed", async || {
        replica.dispatch.explain(waits).await
    })
    .await;
    assert_eq!(
        (told.reason.as_str(), told.scarce.as_deref()),
        ("full", Some("cpu"))
    );
    assert_eq!(told.position.unwrap().ahead, 0);
    // Canceled while it waits here: nothing of it stays.
    let stop = Want::Stop(Stop {
        signal: 9,
        grace_ms: 0,
    });
    assert_eq!(world.order(waits, stop).await, Ordered::Canceled);
    wait_for("the run to be dropped", async || {
        let known = replica.dispatch.explain(waits).await;
        known.is_none().then_some(())
    })
    .await;
}
