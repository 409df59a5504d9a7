//! Answers that wait for a run's end, and drains that wait for a host's runs.

use std::time::{Duration, Instant};

use davit_scheduler::service::access::Scope;
use davit_scheduler::store::Event;
use serde_json::json;

use crate::world::{World, end};

/// An answer that came by the end, not by the time.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_the_end_and_no_longer() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let path = format!("/v1/runs/{run}");
    let short = acme.get(&format!("{path}?wait_ms=1")).await.expect(200);
    assert_eq!(short["run"]["status"], "running", "the time was up");
    let begun = Instant::now();
    let shown = format!("{path}?wait_ms=25000");
    let stop = format!("{path}/stop?wait_ms=25000");
    let (shown, stopped, ()) = tokio::join!(acme.get(&shown), acme.tell(&stop), async {
        // The host hears of the stop, and tells of the end.
        let told = tokio::time::timeout(SOON, async {
            loop {
                let open = world.service.store.open_orders(world.replica, None, 10);
                if let Some(order) = open.await.unwrap().pop() {
                    return order.desired.stop;
                }
                tokio::task::yield_now().await;
            }
        });
        assert!(told.await.unwrap().is_some());
        let mut last = end(0, 0);
        last.reason = davit_types::EndReason::Canceled;
        last.exit_code = None;
        world.say(peer, key, 2, Event::Ended(last), vec![]).await;
    });
    for answer in [shown, stopped] {
        assert_eq!(answer.expect(200)["run"]["status"], "canceled");
    }
    assert!(begun.elapsed() < SOON, "as soon as it was over");
    let over = acme.tell(&format!("{path}/cancel?wait_ms=25000")).await;
    assert_eq!(over.expect(200)["run"]["status"], "canceled");
}

#[tokio::test]
async fn a_wait_has_bounds_and_owners() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = acme.run().await;
    for wrong in ["25001", "-1", "x"] {
        for (method, rest) in [("GET", ""), ("POST", "/stop"), ("POST", "/cancel")] {
            let path = format!("/v1/runs/{run}{rest}?wait_ms={wrong}");
            assert_eq!(acme.send(method, &path, &[], None).await.status, 400);
        }
    }
    let shown = acme.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!(
        shown["run"]["status"], "pending",
        "a wrong wait orders nothing"
    );
    let beta = world.client("beta", &Scope::ALL, None).await;
    let theirs = beta.get(&format!("/v1/runs/{run}?wait_ms=25000")).await;
    assert_eq!(theirs.status, 404);
    let canceled = acme
        .tell(&format!("/v1/runs/{run}/stop?wait_ms=25000"))
        .await;
    assert_eq!(
        canceled.expect(200)["run"]["status"],
        "canceled",
        "it had no host"
    );
}

#[tokio::test]
async fn a_drain_names_what_it_waits_for_and_until_when() {
    let world = World::begin().await;
    let operator = world.client("acme", &Scope::ALL, None).await;
    let run = operator.run().await;
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let path = format!("/v1/executors/{}", peer.0.host);
    let shown = operator.get(&path).await.expect(200);
    assert_eq!(shown["executor"]["state"], "online");
    assert_eq!(shown["executor"]["drain_deadline"], json!(null));
    let wish = json!({"deadline_seconds": 60, "stop_runs": true});
    let drained = operator
        .post(&format!("{path}/drain"), &wish)
        .await
        .expect(200);
    assert_eq!(drained["executor"]["state"], "draining");
    assert!(drained["executor"]["drain_deadline"].is_string());
    assert_eq!(drained["executor"]["drain_stops_runs"], true);
    let held = &drained["runs"][0];
    assert_eq!(
        (&held["run_id"], &held["tenant"]),
        (&json!(run), &json!("acme"))
    );
    assert_eq!(
        (&held["status"], &held["stopping"]),
        (&json!("running"), &json!(false))
    );
    world.end(peer, key, 2, 5, 0).await;
    let empty = operator.get(&path).await.expect(200);
    assert_eq!(empty["runs"], json!([]), "it is ready");
    operator.tell(&format!("{path}/resume")).await;
    let open = operator.get(&path).await.expect(200);
    assert_eq!(open["executor"]["state"], "online");
    assert_eq!(open["executor"]["drain_deadline"], json!(null));
    assert_eq!(open["executor"]["drain_stops_runs"], false);
    for (wish, field) in [
        (json!({"deadline_seconds": 604_801}), "deadline_seconds"),
        (json!({"stop_runs": true}), "stop_runs"),
    ] {
        let refused = operator.post(&format!("{path}/drain"), &wish).await;
        assert_eq!(refused.fields(), [field]);
    }
    operator.delete(&path).await;
    let removed = operator.tell(&format!("{path}/drain")).await;
    assert_eq!(removed.status, 404, "what was removed is not drained");
}
