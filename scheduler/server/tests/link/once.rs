//! Messages that come twice, out of order, late, or from a session or attempt that is over: none of them counts.

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::report::Event;
use davit_rpc::link::*;
use davit_scheduler::service::planned::LostPolicy;
use davit_scheduler::store::ActiveState;
use tokio::sync::watch;

use crate::host::{Host, ended, started};
use crate::robot::{Executions, Robot, WALL_MS};
use crate::world::{Tweak, World, plan, plan_when_lost};

/// Runs executed by badly behaved hosts.
const RUNS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn badly_behaved_hosts_execute_each_attempt_once() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let executions = Executions::default();
    let (_to, address) = watch::channel(replica.address);
    let mut robots = Vec::new();
    for (name, seed) in [("host-1", 11), ("host-2", 22), ("host-3", 33)] {
        let host = Host::join(&world, &replica, name, 4).await;
        let robot = Robot::start(host, address.clone(), executions.clone(), Some(seed));
        robots.push(robot);
    }
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(world.submit(&plan()).await);
    }
    for run in runs {
        let end = world.ended(run).await;
        assert_eq!((end.attempts, end.active_ms), (1, WALL_MS));
        let usage = world.store.usage_of_run(run, None, 10).await.unwrap();
        assert_eq!(usage.len(), 1, "one segment, however often it was told");
    }
    assert_eq!(executions.count(), RUNS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_out_of_order_is_answered_with_the_place() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    line.report(&key, 2, started()).await;
    let ack = line.acked().await;
    let refused = ack.refused.unwrap();
    assert!(
        refused.reason.contains("before step 1"),
        "{}",
        refused.reason
    );
    let Some(place::Standing::Live(live)) = refused.place.unwrap().standing else {
        panic!("the attempt is live")
    };
    assert_eq!(
        (ack.step, live.step, live.state.as_str()),
        (0, 0, "assigned")
    );
    line.report(&key, 1, Event::Accepted(Accepted {})).await;
    line.report(&key, 2, started()).await;
    line.report(&key, 1, Event::Accepted(Accepted {})).await;
    world.in_state(run, ActiveState::Running).await;
    // An end whose log is not there is refused until it is.
    line.say(Said::Report(ended(&key, 3, 900, 2))).await;
    let refused = loop {
        if let Some(refused) = line.acked().await.refused {
            break refused;
        }
    };
    assert!(refused.reason.contains("log"), "{}", refused.reason);
    let records = (1..=2).map(|id| LogRecord {
        id,
        stream: "stderr".to_owned(),
        ..LogRecord::default()
    });
    let batch = LogBatch {
        key: Some(key.clone()),
        records: records.collect(),
    };
    line.say(Said::Log(batch)).await;
    line.say(Said::Report(ended(&key, 3, 900, 2))).await;
    assert_eq!(world.ended(run).await.active_ms, 900);
    // A repeat of the end is acknowledged: the host may have missed that.
    line.say(Said::Report(ended(&key, 3, 900, 2))).await;
    assert_eq!(line.acked().await.step, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_session_says_nothing_any_more() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let other = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.assigned().await.key.unwrap();
    // The same replica: it is told at once.
    let mut second = host.connect(&replica, vec![]).await;
    assert!(line.goodbye().await.contains("later session"));
    assert_eq!(second.welcome.epoch, line.welcome.epoch + 1);
    // Another replica: the store tells.
    let third = host.connect(&other, vec![]).await;
    assert_eq!(third.welcome.epoch, second.welcome.epoch + 1);
    second.report(&key, 1, Event::Accepted(Accepted {})).await;
    let reason = second.goodbye().await;
    assert!(
        reason.contains("epoch") || reason.contains("later session"),
        "{reason}"
    );
    let row = world.view(run).await.active.unwrap();
    assert_eq!((row.state, row.step), (ActiveState::Assigned, 0));
    assert!(third.place(&key).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_attempt_is_to_be_forgotten() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let plan = plan_when_lost(LostPolicy::Requeue, 600, 100);
    let run = world.submit(&plan).await;
    let key = line.start().await;
    drop(line);
    let other = Host::join(&world, &replica, "host-2", 1).await;
    let mut line = other.connect(&replica, vec![]).await;
    let second = line.start().await;
    assert_eq!(
        (second.run_id.as_str(), second.attempt),
        (key.run_id.as_str(), 2)
    );
    // It comes back and knows nothing of that.
    let mut back = host.connect(&replica, vec![key.clone()]).await;
    assert!(matches!(back.place(&key), Some(place::Standing::Gone(_))));
    back.say(Said::Report(ended(&key, 3, 900, 0))).await;
    assert_eq!(back.forgotten().await.key.as_ref(), Some(&key));
    // Nor does it speak for the attempt of another host.
    back.say(Said::Report(ended(&second, 3, 900, 0))).await;
    assert_eq!(back.forgotten().await.key.as_ref(), Some(&second));
    let row = world.view(run).await.active.unwrap();
    assert_eq!((row.attempt, row.state), (2, ActiveState::Running));
}
