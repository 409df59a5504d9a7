//! What davit itself ends, seen from the host: runs of a tenant that spent what it may, runs left when a drain is due.

use davit_rpc::link::host_message::Message as Said;
use davit_rpc::link::report::Event;
use davit_rpc::link::*;
use davit_scheduler::store::{ActiveState, Cause, Cursor, DrainOrder, Tenancy};
use davit_types::RunStatus;

use crate::host::{Host, report};
use crate::world::{Tweak, World, plan};

/// A run of the link's tests costs so much a second.
const PRICE_MICROS: u64 = 7;

async fn cap(world: &World, spend_cap_micros: Option<u64>) {
    let tenancy = Tenancy {
        tenant: "acme".parse().unwrap(),
        open: true,
        spend_cap_micros,
        created_ms: 1,
    };
    let put = world.store.put_tenant(tenancy, "operator".to_owned(), 1);
    put.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reached_cap_stops_what_lives_and_holds_what_waits_until_it_is_raised() {
    let world = World::sqlite().await;
    // Two replicas look, one stop is the outcome.
    let replica = world.replica(Tweak::default()).await;
    let _other = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let live = world.submit(&plan()).await;
    let key = line.start().await;
    let waiting = world.submit(&plan()).await;
    world.in_state(waiting, ActiveState::Claimed).await;
    world.tenant("other").await;
    cap(&world, Some(PRICE_MICROS * 2)).await;
    let used = Segment {
        sequence: 0,
        begin_ms: 0,
        end_ms: 1_500,
        paused: false,
    };
    let metered = report(&key, 3, Event::Metered(Metered {}), vec![used]);
    line.say(Said::Report(metered)).await;
    let want = line.wanted().await;
    let stop = want.stop.unwrap();
    assert_eq!((want.key.as_ref(), stop.signal), (Some(&key), 15));
    assert!(stop.grace_ms > 0, "as by a user who says nothing else");
    // What waits is given back before there is room for it.
    world.in_state(waiting, ActiveState::Pending).await;
    let heeded = Event::Heeded(Heeded {
        revision: want.revision,
    });
    line.report(&key, 4, heeded).await;
    let last = Event::Ended(Ended {
        extracts: Vec::new(),
        end_reason: "canceled".to_owned(),
        exit_code: None,
        message: "stopped".to_owned(),
        usage_json: "{}".to_owned(),
        wall_ms: 1_500,
        log_last_id: 0,
    });
    line.report(&key, 5, last).await;
    let ended = world.ended(live).await;
    assert_eq!(ended.status, RunStatus::Canceled);
    assert_eq!(ended.message, Cause::SpendCap.sentence());

    // There is room now; another tenant's run gets it, the spent one's waits.
    let others = world.submit_as("other", &plan()).await;
    let given = line.assigned().await.key.unwrap();
    assert_eq!(given.run_id, others.to_string());
    let audit = world.store.audit_page(None, Cursor::default(), 1_000).await;
    let stops = audit.unwrap().rows;
    let stops: Vec<_> = stops
        .iter()
        .filter(|row| row.action == "run.stop")
        .collect();
    assert_eq!(stops.len(), 1, "once, though every replica looks");
    assert_eq!(stops[0].actor, "davit");
    assert_eq!(stops[0].detail, Cause::SpendCap.sentence());

    let end = Report {
        segments: vec![],
        ..crate::host::ended(&given, 1, 0, 0)
    };
    line.say(Said::Report(end)).await;
    cap(&world, Some(PRICE_MICROS * 100)).await;
    let given = line.assigned().await.key.unwrap();
    assert_eq!(given.run_id, waiting.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_when_a_drain_is_due_is_stopped_if_that_was_asked_for() {
    let world = World::sqlite().await;
    let replica = world.replica(Tweak::default()).await;
    let host = Host::join(&world, &replica, "host-1", 1).await;
    let mut line = host.connect(&replica, vec![]).await;
    let run = world.submit(&plan()).await;
    let key = line.start().await;
    let drain = async |within_ms, stops_runs| {
        let order = DrainOrder {
            host: host.id,
            within_ms,
            stops_runs,
            actor: "operator".to_owned(),
            at_ms: 1,
        };
        assert!(world.store.drain_host(order).await.unwrap());
    };
    drain(Some(0), false).await;
    drain(Some(3_600_000), true).await;
    drain(None, false).await;
    assert!(world.store.drains_due(10).await.unwrap().is_empty());
    drain(Some(0), true).await;
    let want = line.wanted().await;
    assert_eq!((want.key.as_ref(), want.revision), (Some(&key), 1));
    let heeded = Event::Heeded(Heeded { revision: 1 });
    line.report(&key, 3, heeded).await;
    let last = Event::Ended(Ended {
        extracts: Vec::new(),
        end_reason: "canceled".to_owned(),
        exit_code: None,
        message: "stopped".to_owned(),
        usage_json: "{}".to_owned(),
        wall_ms: 0,
        log_last_id: 0,
    });
    line.report(&key, 4, last).await;
    let ended = world.ended(run).await;
    assert_eq!(ended.status, RunStatus::Canceled);
    assert_eq!(ended.message, Cause::Drained.sentence());
    assert!(world.store.drains_due(10).await.unwrap().is_empty());
}
