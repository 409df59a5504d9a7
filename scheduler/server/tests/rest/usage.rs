//! The ledger's export, the caps, and whether it all adds up.

use davit_scheduler::service::access::Scope;
use davit_scheduler::service::tenants;
use davit_scheduler::store::*;
use davit_types::RunId;
use serde_json::{Value, json};

use crate::client::Client;
use crate::world::{World, end, one_off, segment};

/// Runs of both tenants: of one segment, of three with a pause, of none, live, waiting.
async fn history(world: &World) -> RunId {
    let acme = world.acme().await;
    let beta = world.client("beta", &Scope::ALL, None).await;
    let peer = world.host().await;
    for wall_ms in [1, 999, 1_000, 1_001, 60_000] {
        let key = world.running("acme", acme.run().await, peer).await;
        world.end(peer, key, 2, wall_ms, 0).await;
    }
    let key = world.running("beta", beta.run().await, peer).await;
    world.end(peer, key, 2, 5_000, 0).await;
    // Started and ended within a millisecond.
    let key = world.running("acme", acme.run().await, peer).await;
    world.end(peer, key, 2, 0, 0).await;
    let paused = acme.run().await;
    let key = world.running("acme", paused, peer).await;
    let first = vec![segment(key, 0, 0, 700, false)];
    world.say(peer, key, 2, Event::Paused, first).await;
    let still = vec![segment(key, 1, 700, 90_000, true)];
    world.say(peer, key, 3, Event::Resumed, still).await;
    let last = vec![segment(key, 2, 90_000, 90_400, false)];
    world
        .say(peer, key, 4, Event::Ended(end(90_400, 0)), last)
        .await;
    let live = world.running("acme", acme.run().await, peer).await;
    let some = vec![
        segment(live, 0, 0, 60_000, false),
        segment(live, 1, 60_000, 60_500, false),
    ];
    world.say(peer, live, 2, Event::Metered, some).await;
    acme.run().await;
    paused
}

/// The whole export in pages of so many rows.
async fn export(client: &Client, rows: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut path = format!("/v1/usage?limit={rows}");
    loop {
        let page = client.get(&path).await.expect(200);
        let charges = page["usage"].as_array().unwrap();
        all.extend(charges.iter().cloned());
        if page["more"] == false {
            return all;
        }
        path = format!(
            "/v1/usage?limit={rows}&after={}",
            page["next"].as_str().unwrap()
        );
    }
}

#[tokio::test]
async fn the_export_is_the_same_in_any_pages_and_adds_up() {
    let world = World::begin().await;
    let paused = history(&world).await;
    let acme = world.acme().await;
    let whole = export(&acme, 1000).await;
    assert_eq!(whole.len(), 10);
    for rows in [1, 2, 3, 7] {
        assert_eq!(export(&acme, rows).await, whole, "pages of {rows}");
    }
    let micros = |charge: &Value| charge["x_BilledMicros"].as_u64().unwrap();
    let of_paused: Vec<u64> = whole
        .iter()
        .filter(|charge| charge["ResourceId"] == paused.to_string())
        .map(micros)
        .collect();
    assert_eq!(
        of_paused,
        [7, 0, 7],
        "1.1 s are two seconds, by whatever segments"
    );
    let total: u64 = whole.iter().map(micros).sum();
    let tenant = acme.get("/v1/tenant").await.expect(200);
    // The run without a segment costs its least charge.
    assert_eq!(tenant["tenant"]["cost"]["micros"], total + 7);
    assert_eq!(total, (1 + 1 + 1 + 2 + 60 + 2 + 61) * 7);
    assert!(whole.iter().all(|charge| charge["SubAccountId"] == "acme"));
    assert!(
        whole
            .iter()
            .all(|charge| charge["x_RuleId"] == "ceil-second-1")
    );
    assert!(whole.iter().all(|charge| charge["BilledCost"].is_string()));
}

#[tokio::test]
async fn the_books_add_up_by_their_own_proof() {
    let world = World::begin().await;
    history(&world).await;
    let acme = world.acme().await;
    let report = acme.get("/v1/usage/reconciliation").await.expect(200);
    assert_eq!(report["problems"], json!([]));
    assert_eq!(report["good"], true);
    assert_eq!(report["replays"], 3);
    assert_eq!(report["segments"], 10);
    assert_eq!(report["runs"], 7);
    assert_eq!(report["runs_without_segments"], 1);
    assert_eq!(report["least_charges_micros"], 7);
}

#[tokio::test]
async fn the_export_has_four_shapes() {
    let world = World::begin().await;
    history(&world).await;
    let acme = world.acme().await;
    let whole = export(&acme, 1000).await;
    let answer = acme.get("/v1/usage?format=ndjson").await;
    let next = answer.header("davit-next").unwrap().to_owned();
    let lines: Vec<Value> = answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, whole);
    let headers = [("accept", "text/csv")];
    let answer = acme.send("GET", "/v1/usage", &headers, None).await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/csv")
    );
    let mut lines = answer.text.split_terminator("\r\n");
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), whole.len());
    for (row, charge) in rows.iter().zip(&whole) {
        assert_eq!(names.len(), charge.as_object().unwrap().len());
        for (name, value) in names.iter().zip(row) {
            let wanted = match &charge[*name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(*value, wanted, "{name}");
        }
    }
    let events = acme.get("/v1/usage?format=cloudevents").await.expect(200);
    for (event, charge) in events.as_array().unwrap().iter().zip(&whole) {
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["id"], charge["x_SegmentId"]);
        assert_eq!(event["data"], *charge);
    }
    let none = acme
        .get(&format!("/v1/usage?after={next}"))
        .await
        .expect(200);
    assert_eq!(none["usage"], json!([]));
    assert_eq!(none["next"], next.as_str());
}

#[tokio::test]
async fn a_spend_cap_refuses_what_comes_after_it() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let tenant = "acme".parse().unwrap();
    let cap = tenants::put(&world.service, "operator", tenant, true, Some(7));
    cap.await.unwrap();
    let run = acme.run().await;
    let peer = world.host().await;
    world.running("acme", run, peer).await;
    let refused = acme.post("/v1/runs", &one_off()).await;
    assert_eq!(refused.status, 402);
    assert_eq!(refused.problem(), "spend-cap");
}

#[tokio::test]
async fn totals_are_told_by_type_and_region_and_nothing_finer() {
    let world = World::begin().await;
    history(&world).await;
    let nobody = world.nobody();
    let wanted =
        "davit_usage_active_milliseconds_total{region=\"here\",instance_type=\"small\"} 129601";
    let found = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        loop {
            let text = nobody.get("/metrics").await.text;
            if text.contains(wanted) {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let text = found.await.expect("the totals of both tenants");
    for name in ["acme", "beta"] {
        assert!(!text.contains(name), "{name} is in the metrics");
    }
    assert!(text.contains("route=\"/v1/runs\""), "{text}");
    assert!(text.trim_end().ends_with("# EOF"));
}
