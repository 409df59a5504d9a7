//! Orders to runs, and waiting for them.

use serde_json::json;

use crate::client::finished;
use crate::runs::detached;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_the_end_and_a_wait_tells_the_code() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = detached(&acme).await;
    let id = run.to_string();
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let waiting = acme.start(&["wait", &id]);
    let stopping = acme.start(&["stop", "--signal", "INT", "--grace", "3s", &id]);
    // A host hears of it and ends the run.
    for _ in 0..2_000 {
        let views = world.service.store.runs(None, vec![run]).await.unwrap();
        if views[0].active.as_ref().unwrap().desired.stop.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    world.end(peer, key, 2, 0, 0).await;
    let stopped = finished(stopping).await;
    assert_eq!(String::from_utf8_lossy(&stopped.stdout), format!("{id}\n"));
    let waited = finished(waiting).await;
    assert_eq!(String::from_utf8_lossy(&waited.stdout), "0\n");
    // Of a run that is over, nothing is changed.
    assert_eq!(acme.said(&["cancel", &id]).await, format!("{id}\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_is_extended() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let run = detached(&acme).await;
    let peer = world.host().await;
    world.running("acme", run, peer).await;
    let id = run.to_string();
    let shown = acme.json(&["extend", "--timeout", "2h", &id]).await;
    assert_eq!(shown["timeout_seconds"], json!(7_200), "{shown:#}");
}
