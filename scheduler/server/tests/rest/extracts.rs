//! Files that come out of runs: asked for, shown, and a tenant's own.

use davit_scheduler::service::access::Scope;
use davit_scheduler::store::{AttemptEnd, Event};
use davit_types::RunId;
use serde_json::{Value, json};

use crate::client::run_id;
use crate::world::{World, end, one_off, runner, segment};

fn asking(extracts: Value) -> Value {
    let mut asked = one_off();
    asked["extracts"] = extracts;
    asked
}

#[tokio::test]
async fn what_is_to_come_out_is_checked_and_shown() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let asked = asking(json!([{"from": "out", "to": "got"}, {"from": "/report"}]));
    let made = acme.post("/v1/runs", &asked).await.expect(201);
    let shown = &made["run"]["extracts"];
    assert_eq!(shown[0]["from"], "out");
    assert_eq!(
        (&shown[0]["to"], &shown[0]["status"]),
        (&json!("got"), &json!("pending"))
    );
    assert_eq!(shown[1]["to"], "/report", "it is called as it was there");
    let run = run_id(&made);
    let early = acme.get(&format!("/v1/runs/{run}/extracts/0")).await;
    assert_eq!(
        (early.status, early.problem().as_str()),
        (409, "no-extract")
    );

    let many: Vec<Value> = (0..65).map(|n| json!({"from": format!("f{n}")})).collect();
    for (extracts, fields) in [
        (
            json!([{"from": ""}]),
            vec!["extracts[0].from", "extracts[0].to"],
        ),
        (
            json!([{"from": "a"}, {"from": "a"}]),
            vec!["extracts[1].to"],
        ),
        (json!(many), vec!["extracts"]),
    ] {
        let refused = acme.post("/v1/runs", &asking(extracts.clone())).await;
        assert_eq!(
            (refused.status, refused.fields()),
            (422, fields.iter().map(|f| (*f).to_owned()).collect()),
            "{extracts}"
        );
        let mut saved = runner("with-files");
        saved["extracts"] = extracts;
        let refused = acme.post("/v1/runners", &saved).await;
        assert_eq!(refused.status, 422);
    }
}

#[tokio::test]
async fn a_runners_extracts_are_its_runs_unless_they_name_their_own() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let mut saved = runner("with-files");
    saved["extracts"] = json!([{"from": "out"}]);
    let saved = acme.post("/v1/runners", &saved).await.expect(201);
    assert_eq!(
        saved["runner"]["extracts"],
        json!([{"from": "out", "to": "out"}])
    );
    let path = format!("/v1/runners/{}", saved["runner"]["id"].as_str().unwrap());
    let runs = format!("{path}/runs");
    let from = async |asked: Value| {
        let made = acme.post(&runs, &asked).await.expect(201);
        let all = made["run"]["extracts"].as_array().unwrap().clone();
        all.iter()
            .map(|one| one["from"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(from(json!({})).await, ["out"]);
    assert_eq!(from(json!({"extracts": [{"from": "own"}]})).await, ["own"]);
    let changed = json!({"extracts": [{"from": "other", "to": "x"}]});
    acme.patch(&path, &changed).await.expect(200);
    assert_eq!(from(json!({})).await, ["other"]);
    acme.patch(&path, &json!({"name": "another-name"}))
        .await
        .expect(200);
    assert_eq!(from(json!({})).await, ["other"]);
    acme.patch(&path, &json!({"extracts": []}))
        .await
        .expect(200);
    assert_eq!(from(json!({})).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_became_of_them_is_told_and_what_is_not_here_is_not_served() {
    let world = World::begin().await;
    let acme = world.acme().await;
    let asked = asking(json!([{"from": "out"}, {"from": "report"}, {"from": "late"}]));
    let run: RunId = run_id(&acme.post("/v1/runs", &asked).await.expect(201));
    let peer = world.host().await;
    let key = world.running("acme", run, peer).await;
    let told = json!([
        {"status": "ok", "kind": "file", "bytes": 7, "sha256": "ab", "message": null},
        {"status": "missing", "kind": null, "bytes": 0, "sha256": null, "message": "was not there"},
    ]);
    let over = Event::Ended(AttemptEnd {
        extracts: Some(told.to_string()),
        ..end(10, 0)
    });
    world
        .say(peer, key, 2, over, vec![segment(key, 0, 0, 10, false)])
        .await;
    let path = format!("/v1/runs/{run}");
    let shown = acme.get(&path).await.expect(200)["run"]["extracts"].clone();
    assert_eq!(
        (&shown[0]["status"], &shown[0]["bytes"]),
        (&json!("ok"), &json!(7))
    );
    assert_eq!(shown[1]["status"], "missing");
    assert_eq!(shown[2]["status"], "error", "nothing was told of it");
    for (number, words) in [
        (0, "not here any more"),
        (1, "was not there"),
        (2, "nothing was collected"),
    ] {
        let refused = acme.get(&format!("{path}/extracts/{number}")).await;
        assert_eq!(
            (refused.status, refused.problem().as_str()),
            (409, "no-extract")
        );
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    assert_eq!(acme.get(&format!("{path}/extracts/3")).await.status, 404);
    let other = world.client("beta", &[Scope::RunsRead], None).await;
    assert_eq!(other.get(&format!("{path}/extracts/1")).await.status, 404);
}
